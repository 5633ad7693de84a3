"""`report.html` of a loop: how the policy did round after round, and what that cost.

    python -m agentsearch_eval.loop_report runs/agent_q

Made from nothing but the loop's folder; `agentsearch loop` runs it in the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from agentsearch.data.runs import Run
from agentsearch.errors import DataError
from agentsearch.runner import write_whole
from agentsearch_eval.metrics import Array, Interval, paired_difference
from agentsearch_eval.plots import Curve, Point, row_styles, success_against
from agentsearch_eval.report import interval_of_points, main, percent, points, template
from agentsearch_eval.table_file import Outcome, TableFile, read_table

ALONE = "policy alone"
SHOWN = 5
"""Tasks shown of those newly solved, and of those newly failed, in an environment."""


@dataclass(frozen=True)
class Change:
    """A task that one policy solved and the other did not, with what each did."""

    task_id: str
    first: Sequence[str]
    first_reason: str
    best: Sequence[str]
    best_reason: str


@dataclass(frozen=True)
class Final:
    """The first and the best policy on tasks that no decision of the loop looked at."""

    env: str
    name: str
    tasks: int
    first: Interval
    best: Interval
    difference: Interval | None


class LoopReport:
    """What the page says, read from a loop's folder.

    Raises:
        DataError: something is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.loop: dict[str, Any] = json.loads((folder / "loop.json").read_text("utf-8"))
            self.recipe = (folder / "loop.yaml").read_text("utf-8")
        except (OSError, ValueError) as cause:
            raise DataError(f"{folder}: holds no finished loop ({cause}).") from cause
        self.rounds: list[dict[str, Any]] = self.loop["rounds"]
        self.best: int = self.loop["best"]
        self.envs = list(self.rounds[0]["success"])
        self.rows = list(dict.fromkeys(r for e in self.rounds[0]["success"].values() for r in e))
        self.styles = row_styles(self.rows)
        self.shown = SHOWN
        self.ended = {"all rounds": "its last round", "no gain": "rounds without a gain"}[
            self.loop["ended"]
        ]

    @cached_property
    def tables(self) -> dict[tuple[str, int], TableFile]:
        """Every evaluation, by environment and round."""
        places = [(env, each["round"]) for env in self.envs for each in self.rounds]
        return {(e, n): read_table(self.folder / "evals" / f"{e}-{n}") for e, n in places}

    data_columns = ("rows", "pairs", "rows trained on", "steps", "training, minutes")

    def data_of(self, each: dict[str, Any]) -> list[str]:
        """What a round learned from, for `data_columns`."""
        cards, train = each["data"].values(), each["train"]
        rows = [
            sum(card["files"].get(kind, {}).get("rows", 0) for card in cards)
            for kind in ("sft", "preferences")
        ]
        counts = [*rows, train["rows"], train["steps"]]
        return [*(f"{count:,}" for count in counts), f"{train['seconds'] / 60:.1f}"]

    @property
    def findings(self) -> list[str]:
        """What a reader wants to know first."""
        found: list[str] = []
        for env in self.envs:
            first, best = (self.success(env, ALONE, n) for n in (0, self.best))
            gain = self.difference(ALONE, self.best, env)
            assert first is not None and best is not None
            if gain is None:
                rate = percent(first.estimate)
                found.append(f"{env}: no round beats the first policy alone, {rate} %.")
                continue
            sure = "" if gain.significant else ", which may be chance"
            found.append(
                f"{env}: the policy alone goes from {percent(first.estimate)} % to "
                f"{percent(best.estimate)} %, {points(gain.estimate)} points "
                f"({interval_of_points(gain)}){sure}."
            )
        return found

    def tasks(self, env: str) -> int:
        """How many held-out tasks an evaluation has."""
        return len(outcomes(self.tables[env, 0]))

    def setting(self, env: str) -> str:
        """What stands beside the results of an environment."""
        return next(cell.setting for cell in self.tables[env, 0].rows if cell.row == ALONE)

    def success(self, env: str, row: str, number: int) -> Interval | None:
        """Success of a row in a round; None where it was not tried."""
        return rate_of(self.tables[env, number], row)

    def difference(self, row: str, number: int, env: str | None = None) -> Interval | None:
        """Success of a round less that of round 0 on the same tasks; of one environment or all."""
        envs = [e for e in self.envs if env in (None, e)]
        ours = [correct(self.tables[e, number], row) for e in envs]
        theirs = [correct(self.tables[e, 0], row) for e in envs]
        found = [(a, b) for a, b in zip(ours, theirs, strict=True) if len(a)]
        if not number or len(found) < len(envs):
            return None
        return paired_difference([a for a, _ in found], [b for _, b in found])

    def curve(self, env: str) -> str:
        """Success of both rows over the rounds, as SVG."""
        curves: list[Curve] = []
        for row in self.rows:
            rates = [(each["round"], self.success(env, row, each["round"])) for each in self.rounds]
            points = [Point(Interval(n, n, n), rate) for n, rate in rates if rate is not None]
            if points:
                curves.append(Curve(self.styles[row], tuple(points)))
        return success_against(curves, "round", env)

    def changes(self, env: str) -> tuple[list[Change], list[Change]]:
        """Tasks that the best policy alone newly solves, and those that it newly fails."""
        first, best = (outcomes(self.tables[env, n]) for n in (0, self.best))
        solved = [t for t, o in best.items() if o.correct and not first[t].correct]
        failed = [t for t, o in best.items() if not o.correct and first[t].correct]
        return self._changes(env, solved), self._changes(env, failed)

    def _changes(self, env: str, tasks: Sequence[str]) -> list[Change]:
        runs = {n: self.folder / "evals" / f"{env}-{n}" for n in (0, self.best)}
        first, best = (outcomes(self.tables[env, n]) for n in (0, self.best))
        found: list[Change] = []
        for task in tasks:
            a, b = first[task], best[task]
            actions = [
                Run(runs[n] / o.folder).result(task)["actions"] if len(found) < SHOWN else []
                for n, o in ((0, a), (self.best, b))
            ]
            found.append(Change(task, actions[0], a.reason, actions[1], b.reason))
        return found

    @cached_property
    def finals(self) -> list[Final]:
        """The first and the best policy on the tasks kept for the end."""
        found: list[Final] = []
        for path in sorted((self.folder / "finals").glob("*-0/table.json")):
            name = path.parent.name.removesuffix("-0")
            first = read_table(path.parent)
            best = read_table(path.parent.with_name(f"{name}-{self.best}"))
            env = next(e for e in self.envs if name.startswith(f"{e}-"))
            ours, theirs = correct(best, ALONE), correct(first, ALONE)
            rates = rate_of(first, ALONE), rate_of(best, ALONE)
            assert rates[0] is not None and rates[1] is not None
            difference = paired_difference([ours], [theirs]) if self.best else None
            short = name.removeprefix(f"{env}-")
            found.append(Final(env, short, len(ours), rates[0], rates[1], difference))
        return found


def rate_of(table: TableFile, row: str) -> Interval | None:
    """Success of a row of a table with one budget."""
    return next((cell.success for cell in table.rows if cell.row == row), None)


def outcomes(table: TableFile, row: str = ALONE) -> dict[str, Outcome]:
    """What became of each task in a row, in the order of the tasks."""
    return {o.task_id: o for o in table.results if o.row == row}


def correct(table: TableFile, row: str) -> Array:
    """`[T, 1]`: whether each task was solved, in the order of their ids."""
    found = outcomes(table, row)
    return np.array([[float(found[task].correct)] for task in sorted(found)]).reshape(-1, 1)


def write_report(folder: Path) -> Path:
    """Make the page.

    Raises:
        ConfigError: Jinja or matplotlib is not installed.
        DataError: something is missing or damaged, or the page cannot be written.
    """
    page = template("loop_report.html.j2")
    path = folder / "report.html"
    try:
        write_whole(path, page.render(report=LoopReport(folder)).lstrip())
    except OSError as cause:
        raise DataError(f"{path}: cannot be written ({cause.strerror}).") from cause
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], write_report, "agentsearch_eval.loop_report"))
