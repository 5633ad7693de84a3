"""`report.html`: one self-contained page made from nothing but a suite's folder.

    python -m agentsearch_eval.report runs/demo

The page holds no script and loads nothing; what models wrote is escaped.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from agentsearch.data.runs import Run
from agentsearch.errors import AgentSearchError, ConfigError, DataError
from agentsearch.runner import write_whole
from agentsearch_eval import failures
from agentsearch_eval.metrics import Interval
from agentsearch_eval.table import ALL, Row, score_tells_more
from agentsearch_eval.table_file import KINDS, Outcome, TableFile, read_table

if TYPE_CHECKING:
    from agentsearch_eval.plots import Curve, Style

COSTS = {
    "calls": "calls",
    "tokens": "tokens",
    "env_steps": "environment steps",
    "seconds": "seconds",
}
"""What a budget limits and a row spends, in words."""
COUNTS = {
    "invalid_actions": ("invalid", "proposed actions that the environment could not carry out"),
    "parse_failures": ("unparsed", "replies that held no action"),
    "fallbacks": ("fallbacks", "judgments or choices that could not be read"),
    "truncations": ("cut replies", "completions cut by max_tokens"),
    "truncated_episodes": ("cut episodes", "episodes ended by a limit of steps"),
    "failures": ("failed", "tasks on which a part raised an error; they count as not solved"),
    "mismatches": ("mismatches", "carried-out actions that ended otherwise than search had seen"),
}
"""Counts of what went wrong: heading and meaning."""
SOLVED, PARTLY, NOT_RUN = "solved", "partly", "not run"


def write_report(folder: Path) -> Path:
    """Make `report.html` from the table, the run folders and the trees of a suite.

    Raises:
        ConfigError: Jinja or matplotlib is not installed.
        DataError: the table or a run folder is missing or damaged, or the page cannot be
            written. A missing tree only drops the example that would show it.
    """
    page = template()
    text = page.render(report=Report(folder, read_table(folder)))
    path = folder / "report.html"
    try:
        write_whole(path, text.lstrip())
    except OSError as cause:
        raise DataError(f"{path}: cannot be written ({cause.strerror}).") from cause
    return path


def template(name: str = "report.html.j2") -> Any:
    """A page before it is filled.

    Raises:
        ConfigError: Jinja or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined

        from agentsearch_eval.plots import DARK, LIGHT
    except ImportError as missing:
        raise ConfigError(f"reports need {missing.name}: pip install 'agentsearch[eval]'") from None
    folder = resources.files("agentsearch_eval")
    jinja = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    jinja.filters.update(percent=percent, points=points, amount=amount, href=quote)
    return jinja.get_template(name, globals={"light": LIGHT, "dark": DARK})


# -- numbers in words -------------------------------------------------------------------


def percent(value: float) -> str:
    """A rate between 0 and 1, without its sign: `61`."""
    return "–" if math.isnan(value) else f"{100 * value:.0f}"


def points(value: float) -> str:
    """A difference of rates in points: `+21`, `−4`, `0`."""
    if math.isnan(value):
        return "–"
    rounded = round(100 * value)
    return f"{rounded:+d}".replace("-", "−") if rounded else "0"


def amount(value: float) -> str:
    """Three digits of small numbers, all digits of large ones: `0.66`, `21.4`, `3,469`."""
    if math.isnan(value):
        return "–"
    if abs(value) >= 100 or not value:
        return f"{value:,.0f}"
    if abs(value) < 0.01:
        return f"{value:.1g}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def interval_of_points(found: Interval) -> str:
    """`+12 to +30`."""
    return f"{points(found.low)} to {points(found.high)}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


# -- what the page shows ----------------------------------------------------------------


@dataclass(frozen=True)
class GridCell:
    """What became of one task under one row, over the seeds.

    Attributes:
        state: `solved`, `partly` (by some of the seeds), one of `failures.kind_of`'s
            groups, or `not run`.
        title: the same in words, with the task.
    """

    state: str
    title: str

    @property
    def mark(self) -> str:
        """Class of the cell: the first letter of its state."""
        return self.state[0] if self.state != NOT_RUN else "x"


@dataclass(frozen=True)
class Grid:
    """Tasks across, rows down; tasks that most rows solve come first.

    Attributes:
        rows: cells by name of row, one a task.
        solved: how many tasks each row solves, averaged over the seeds.
    """

    budget: str
    tasks: list[str]
    rows: dict[str, list[GridCell]]
    solved: dict[str, float]

    @property
    def cell_px(self) -> int:
        """Width of a cell in pixels, small where there are many tasks."""
        return max(3, min(14, 1000 // max(len(self.tasks), 1)))


class Report:
    """Everything that the template asks for."""

    def __init__(self, folder: Path, table: TableFile) -> None:
        from agentsearch_eval import plots

        self.folder = folder
        self.table = table
        self.suite = table.suite
        self.counts = COUNTS
        self.kinds = KINDS
        self.costs = COSTS
        self.styles: dict[str, Style] = plots.row_styles(table.suite.rows, table.ceilings)
        for path in sorted({f for cell in table.rows for f in cell.folders}):
            Run(folder / path)  # a report that links to a run must find it

    def env_name(self, env: str) -> str:
        """Heading of a section; empty where the only environment has no name."""
        if env == ALL:
            return f"mean over {len(self.table.single_envs)} environments"
        return env

    @property
    def settings(self) -> dict[str, list[str]]:
        """The labels of the rows of each setting: mode, and what search sees."""
        found: dict[str, list[str]] = {}
        for cell in self.table.rows:
            labels = found.setdefault(cell.setting, [])
            if cell.label not in labels:
                labels.append(cell.label)
        return found

    def scored(self, budget: str) -> bool:
        """Whether the table of a budget has a column of scores."""
        return score_tells_more(cell for cell in self.table.rows if cell.budget == budget)

    # -- sentences ----------------------------------------------------------------------

    @cached_property
    def findings(self) -> list[str]:
        """What the table says about the headline row, a sentence a budget."""
        headline = self.suite.headline
        if headline is None:
            return ["No row was named as the headline beforehand; the table stands for itself."]
        env = self.table.envs[0] if self.table.envs else ""
        cells = [c for b in self.suite.budgets for c in self.table.cells(env, b)]
        found = [self._finding(cell) for cell in cells if cell.row == headline]
        return found or [f"The headline row, {headline}, has no result."]

    def _finding(self, cell: Row) -> str:
        rate, where = cell.success, f" ({self.env_name(ALL)})" if cell.env == ALL else ""
        sentence = (
            f"At most {cell.budget} per {self.suite.per}, {cell.label} solves "
            f"{percent(rate.estimate)}\u00a0% of {cell.tasks} tasks{where}, 95\u00a0% interval "
            f"{percent(rate.low)} to {percent(rate.high)}"
        )
        against = [
            self._comparison(found, versus)
            for versus, found in cell.differences.items()
            if versus != cell.row
        ]
        return f"{sentence}: {'; '.join(against)}." if against else f"{sentence}."

    def _comparison(self, found: Interval, versus: str) -> str:
        shift = points(abs(found.estimate)).lstrip("+")
        unit = "point" if shift == "1" else "points"
        more = "fewer" if found.estimate < 0 else "more"
        text = f"{shift} {unit} {more} than {self.table.labels.get(versus, versus)}"
        if shift == "0":
            text = f"as many as {self.table.labels.get(versus, versus)}"
        text += f" (paired difference {interval_of_points(found)}"
        if not found.reliable:
            return text + ", from too little data to rely on)"
        return text + (
            ")" if found.excludes_zero else ", which includes 0: no difference is shown)"
        )

    @cached_property
    def cautions(self) -> list[str]:
        """What a reader must know before quoting a number."""
        table = self.table
        notes = list[str]()
        if table.ceilings:
            names = listed([table.labels[r] for r in table.ceilings])
            notes.append(f"Ceilings, which read the solution and are no results: {names}.")
        unsupported = self._rows_where("unsupported")
        if unsupported:
            notes.append(
                "Marked unsupported, because more than 20 % of their choices or judgments could "
                f"not be read from this model: {listed(unsupported)}."
            )
        read_off = self._rows_where("read_off")
        if read_off:
            notes.append(
                f"Read off, at the smaller budget, from a run at a larger one: {listed(read_off)}."
            )
        failed = sum(o.status == "failed" for o in table.results)
        if failed:
            notes.append(
                f"{failed:,} of {len(table.results):,} episodes failed with an error and count "
                "as not solved."
            )
        return notes

    def _rows_where(self, mark: str) -> list[str]:
        marked = [cell.label for cell in self.table.rows if getattr(cell, mark)]
        return list(dict.fromkeys(marked))

    # -- figures ------------------------------------------------------------------------

    @cached_property
    def budget_kinds(self) -> dict[str, list[str]]:
        """Budgets by what they limit; their rows are compared at equal compute."""
        kinds: dict[str, list[str]] = {}
        for budget in self.suite.budgets:
            kinds.setdefault(self.suite.kind(budget), []).append(budget)
        return kinds

    def curves(self, env: str, budgets: Sequence[str]) -> list[str]:
        """Success against calls, tokens, environment steps and seconds, as `<svg>`."""
        from agentsearch_eval.plots import success_against

        salt = f"{env} {budgets}"
        return [
            success_against(curves, f"{COSTS[cost]} per task", salt)
            for cost in KINDS
            if (curves := self._curves(env, budgets, cost))
        ]

    def _curves(self, env: str, budgets: Sequence[str], cost: str) -> list[Curve]:
        from agentsearch_eval.plots import Curve, Point

        found = list[Curve]()
        for row in self.suite.rows:
            cells = [c for b in budgets for c in self.table.cells(env, b) if c.row == row]
            points = [Point(c.per_task[cost], c.success) for c in cells if cost in c.per_task]
            if points:
                found.append(Curve(self.styles[row], tuple(points)))
        return found

    def forests(self, env: str) -> list[str]:
        """Paired differences, a figure for each row that others are compared with."""
        from agentsearch_eval.plots import Difference, forest

        figures = list[str]()
        for versus in self.suite.compare:
            groups = {
                budget: [
                    Difference(cell.row, self.styles[cell.row], cell.differences[versus])
                    for cell in self.table.cells(env, budget)
                    if versus in cell.differences and cell.row != versus
                ]
                for budget in self.suite.budgets
            }
            if any(groups.values()):
                figures.append(forest({b: g for b, g in groups.items() if g}, versus, salt=env))
        return figures

    # -- tasks and failures -------------------------------------------------------------

    def grids(self, env: str) -> list[Grid]:
        """Which row solved which task, a grid a budget."""
        found = [self._grid(b, self.table.outcomes(env, b)) for b in self.suite.budgets]
        return [grid for grid in found if grid.tasks]

    def _grid(self, budget: str, outcomes: Sequence[Outcome]) -> Grid:
        met: dict[str, dict[str, list[Outcome]]] = {}
        for outcome in outcomes:
            met.setdefault(outcome.task_id, {}).setdefault(outcome.row, []).append(outcome)
        tasks = sorted(met, key=lambda task: (-_share_solved(met[task], self.suite.rows), task))
        present = {outcome.row for outcome in outcomes}
        rows = [row for row in self.suite.rows if row in present]
        return Grid(
            budget,
            tasks,
            {row: [_grid_cell(task, met[task].get(row, [])) for task in tasks] for row in rows},
            {row: sum(_share(met[task].get(row, [])) for task in tasks) for row in rows},
        )

    def failures(self, env: str) -> list[tuple[failures.Failures, failures.Example]]:
        """Unsolved tasks by kind, each with one to look at."""
        outcomes = [o for o in self.table.outcomes(env) if o.row not in self.table.ceilings]
        found = failures.group_failures(outcomes, self.suite.headline)
        return [(each, failures.example_of(each, self.folder)) for each in found]

    def stops(self, env: str) -> dict[str, Counter[str]]:
        """How often each row's search stopped for each reason, frequent reasons first."""
        found: dict[str, Counter[str]] = {}
        for outcome in self.table.outcomes(env):
            reason = outcome.stop or "not recorded"
            found.setdefault(reason, Counter())[outcome.row] += 1
        return dict(sorted(found.items(), key=lambda item: (-item[1].total(), item[0])))

    # -- provenance ---------------------------------------------------------------------

    @property
    def made_with(self) -> dict[str, str]:
        """Versions, commit, models and date, one line each."""
        return {name: _plain(value) for name, value in self.table.made_with.items()}

    @property
    def stored(self) -> int:
        """Results that had been stored by an earlier run."""
        return sum(cell.stored for cell in self.table.rows if cell.env != ALL)


def _share(outcomes: Sequence[Outcome]) -> float:
    """Share of the seeds that solved a task; 0 where it was not run."""
    return sum(o.correct for o in outcomes) / len(outcomes) if outcomes else 0.0


def _share_solved(rows: Mapping[str, Sequence[Outcome]], names: Sequence[str]) -> float:
    return sum(_share(rows.get(name, ())) for name in names)


def _grid_cell(task: str, outcomes: Sequence[Outcome]) -> GridCell:
    if not outcomes:
        return GridCell(NOT_RUN, f"{task}: {NOT_RUN}")
    solved = sum(o.correct for o in outcomes)
    if solved == len(outcomes):
        return GridCell(SOLVED, f"{task}: {SOLVED}")
    if solved:
        return GridCell(PARTLY, f"{task}: {SOLVED} with {solved} of {len(outcomes)} seeds")
    kinds = [kind for kind in map(failures.kind_of, outcomes) if kind is not None]
    worst = next((k for k in kinds if k.group == failures.FAILED), kinds[0])
    detail = f", {worst.detail}" if worst.group == failures.FAILED else ""
    return GridCell(worst.group, f"{task}: {worst.group}{detail}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return "unknown" if value is None else str(value)


def main(
    arguments: Sequence[str],
    write: Callable[[Path], Path] = write_report,
    module: str = "agentsearch_eval.report",
) -> int:
    """Make a report again; the exit code."""
    if len(arguments) != 1:
        print(f"usage: python -m {module} FOLDER", file=sys.stderr)
        return 2
    try:
        print(write(Path(arguments[0])))
    except AgentSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
