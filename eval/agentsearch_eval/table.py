"""A suite's table from the results of its cells, and the files that hold it.

table.json            the suite, every row with its intervals, every result
table.csv             a line for each environment, budget and row
results.csv           a line for each result
<env>-<row>-<budget>  a run folder for each cell
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from agentsearch.budget import Usage
from agentsearch.config import MADE_WITH
from agentsearch.data.runs import tree_name
from agentsearch.runner import Result, Setup, summarise, write_whole
from agentsearch_eval.cells import Cell, Done
from agentsearch_eval.metrics import Array, Interval, bootstrap, paired_difference, success_rate
from agentsearch_eval.store import Store

ALL = "all"
"""Name of the section that holds means over the environments."""
PER_TASK = ("steps", "calls", "tokens", "env_steps", "seconds", "requests")
"""What is shown as a mean per task: actions carried out, and what was spent."""
COUNTED = ("invalid_actions", "parse_failures", "fallbacks", "truncations")
"""Counts taken from a result's usage; `counts` adds those of the episodes."""
UNSUPPORTED = 0.2
"""Share of judgments that could not be read above which a model cannot play its role."""
Line = Mapping[str, Any]
"""A line of `results.jsonl`."""


@dataclass(frozen=True)
class Ran:
    """A cell of the table with its results.

    Attributes:
        lines: in the order of the tasks.
        folder: of its run, relative to the suite's.
        trees: whether each task has a tree there.
        setting, oracle: what search saw, and which parts knew the solution.
        stored: how many results came from the store.
        read_off: the larger budget of the run that this is read off from.
    """

    cell: Cell
    lines: Sequence[Line]
    folder: str
    trees: Sequence[bool]
    setting: str = ""
    oracle: Sequence[str] = ()
    stored: int = 0
    read_off: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of a table: what was run and how it did.

    Attributes:
        env: empty where the suite does not name it; `all` is the mean over environments.
        tasks: different ones, however many seeds.
        oracle: parts that read the solution: then the row is a ceiling, never a result.
        differences, score_differences: success, and score, less that of each row it is compared
            with, paired by task and seed.
        score: mean of the environment's own return, in its units.
        per_task: means of the actions carried out and of what was spent on a task.
        counts: sums over all tasks and seeds.
        unsupported: whether so many replies could not be read that the row says nothing
            about its search: the model cannot play the role.
        read_off, stored: as in `Ran`.
    """

    env: str
    budget: str
    row: str
    setting: str
    seeds: list[int]
    tasks: int
    oracle: list[str]
    success: Interval
    score: Interval
    differences: dict[str, Interval]
    per_task: dict[str, Interval]
    counts: dict[str, int]
    unsupported: bool
    read_off: str | None
    stored: int
    folders: list[str]
    score_differences: dict[str, Interval] = field(default_factory=dict[str, Interval])

    @property
    def label(self) -> str:
        """The name, marked where a part reads the solution."""
        return f"{self.row} (ORACLE: {', '.join(self.oracle)})" if self.oracle else self.row

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in `table.json`."""
        plain: dict[str, Any] = {**vars(self), "label": self.label}
        for name in ("success", "score"):
            plain[name] = vars(plain[name])
        for name in ("differences", "score_differences", "per_task"):
            plain[name] = {key: vars(each) for key, each in plain[name].items()}
        return plain


@dataclass(frozen=True)
class Table:
    """All that a report says.

    Attributes:
        suite: name, title, budgets, rows and what else was asked for.
        made_with: versions, commit, models and date.
        results: one dict for each environment, budget, row, seed and task.
    """

    suite: dict[str, Any]
    made_with: dict[str, Any]
    rows: list[Row]
    results: list[dict[str, Any]]


# -- rows ------------------------------------------------------------------------------


def make_rows(ran: Sequence[Ran], references: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """Every row of every environment and budget, then the means over environments.

    Args:
        ran: all cells, in the order of the table.
        references: by row, the rows that it is compared with, by the name to show.
    """
    groups: dict[tuple[str, str, str], list[Ran]] = {}
    for each in ran:
        groups.setdefault(each.cell[:3], []).append(each)
    envs = list(dict.fromkeys(env for env, _, _ in groups))
    sections = [(env, [env]) for env in envs] + ([(ALL, envs)] if len(envs) > 1 else [])
    pairs = dict.fromkeys((budget, row) for _, budget, row in groups)
    rows: list[Row] = []
    for section, members in sections:
        for budget, row in pairs:
            others = {
                name: [groups[env, budget, other] for env in members]
                for name, other in references[row].items()
            }
            rows.append(_row(section, [groups[env, budget, row] for env in members], others))
    return rows


def _row(
    env: str, strata: Sequence[Sequence[Ran]], others: Mapping[str, Sequence[Sequence[Ran]]]
) -> Row:
    """One row.

    Args:
        env: what the section is called.
        strata: for each environment its cells, a seed each.
        others: the same of rows to compare with.
    """
    cells = [cell for stratum in strata for cell in stratum]
    names = ("score", *PER_TASK)
    score, *spent = bootstrap([quantities(stratum, names) for stratum in strata])
    success = [correct(stratum) for stratum in strata]
    counted = counts(line for cell in cells for line in cell.lines)
    first = cells[0]
    return Row(
        env=env,
        budget=first.cell.budget,
        row=first.cell.row,
        setting="; ".join(dict.fromkeys(cell.setting for cell in cells)),
        seeds=[cell.cell.seed for cell in strata[0]],
        tasks=sum(len(stratum[0].lines) for stratum in strata),
        oracle=list(first.oracle),
        success=success_rate(success),
        score=score,
        differences={
            name: paired_difference(success, [correct(stratum) for stratum in other])
            for name, other in others.items()
        },
        per_task=dict(zip(PER_TASK, spent, strict=True)),
        counts=counted,
        unsupported=any(unsupported(stratum) for stratum in strata),
        read_off=first.read_off,
        stored=sum(cell.stored for cell in cells),
        folders=list(dict.fromkeys(cell.folder for cell in cells)),
        score_differences={
            name: paired_difference(scores(strata), scores(other)) for name, other in others.items()
        },
    )


def scores(strata: Sequence[Sequence[Ran]]) -> list[Array]:
    """For each environment `[T, S]`, the environment's own return."""
    return [quantities(stratum, ("score",))[0] for stratum in strata]


def correct(stratum: Sequence[Ran]) -> Array:
    """`[T, S]`, 1 where the task was solved with the seed."""
    return quantities(stratum, ("correct",))[0]


def quantities(stratum: Sequence[Ran], names: Sequence[str]) -> Array:
    """`[Q, T, S]`: numbers of a result or its usage, by name, over tasks and seeds.

    Raises:
        ValueError: the seeds have different tasks.
    """
    tasks = [[line["task_id"] for line in cell.lines] for cell in stratum]
    if any(each != tasks[0] for each in tasks):
        raise ValueError("results of different tasks cannot be paired by seed")
    values = [[_numbers(line, names) for line in cell.lines] for cell in stratum]
    return np.asarray(values, float).transpose(2, 1, 0)


def _numbers(line: Line, names: Sequence[str]) -> list[float]:
    return [float(line[name] if name in line else line["usage"][name]) for name in names]


def counts(lines: Iterable[Line]) -> dict[str, int]:
    """What went wrong, summed: of replies, of actions and of whole episodes."""
    found = Counter[str](dict.fromkeys(COUNTED, 0))
    found.update(truncated_episodes=0, failures=0, mismatches=0)
    for line in lines:
        found.update({name: line["usage"][name] for name in COUNTED})
        found["truncated_episodes"] += bool(line.get("truncated"))
        found["failures"] += line["status"] == "failed"
        found["mismatches"] += line["mismatches"]
    return dict(found)


def unsupported(stratum: Sequence[Ran]) -> bool:
    """Whether more than a fifth of what a model was asked to judge or choose is unread.

    Where nobody counted `judgments`, all calls stand for them.
    """
    usage = [line["usage"] for cell in stratum for line in cell.lines]
    asked = sum(each["judgments"] or each["calls"] for each in usage)
    return sum(each["fallbacks"] for each in usage) > UNSUPPORTED * asked


def score_tells_more(rows: Iterable[Row]) -> bool:
    """Whether the score of some row is not just its success."""
    return any(
        not math.isclose(row.score.estimate, row.success.estimate, abs_tol=1e-9) for row in rows
    )


# -- results ---------------------------------------------------------------------------


def result_line(ran: Ran, line: Line, has_tree: bool) -> dict[str, Any]:
    """One result as in `table.json`."""
    cell = ran.cell
    same = ("task_id", "status", "correct", "credit", "score", "reason", "error", "stop")
    return {
        "env": cell.env,
        "budget": cell.budget,
        "row": cell.row,
        "seed": cell.seed,
        **{name: line[name] for name in same},
        "truncated": bool(line.get("truncated")),
        "decisions": line["decisions"],
        "steps": line["steps"],
        "usage": line["usage"],
        "folder": ran.folder,
        "tree": f"{ran.folder}/trees/{tree_name(line['task_id'])}" if has_tree else None,
    }


# -- files -----------------------------------------------------------------------------


def write_cell(
    folder: Path, done: Done, setup: Setup, store: Store, made_with: Mapping[str, Any]
) -> None:
    """A complete run folder of one cell; trees share their bytes with the store."""
    (folder / "trees").mkdir(parents=True)
    record = {**done.recipe.to_dict(), MADE_WITH: dict(made_with)}
    write_whole(folder / "config.yaml", yaml.safe_dump(record, sort_keys=False))
    for each in done.results:
        store.link_tree(each, folder / "trees" / tree_name(each.line["task_id"]))
    text = "".join(json.dumps(each.line, ensure_ascii=False) + "\n" for each in done.results)
    write_whole(folder / "results.jsonl", text)
    results = [as_result(each.line) for each in done.results]
    summary = {**summarise(results, setup.setting, setup.oracles), "stored": done.stored}
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    write_whole(folder / "summary.json", text + "\n")


def as_result(line: Line) -> Result:
    """A line of `results.jsonl` as a result again, without its tree."""
    known = {each.name for each in fields(Result)} - {"usage", "tree"}
    spent = {each.name: line["usage"][each.name] for each in fields(Usage)}
    return Result(**{k: v for k, v in line.items() if k in known}, usage=Usage(**spent))


def write_table(table: Table, folder: Path) -> None:
    """`table.json`, with a line for each result, `table.csv` and `results.csv`."""
    head = {
        "suite": table.suite,
        "made_with": table.made_with,
        "rows": [row.to_dict() for row in table.rows],
    }
    results = ",\n".join(json.dumps(each) for each in table.results)
    text = json.dumps(head, indent=2).removesuffix("\n}")
    write_whole(folder / "table.json", f'{text},\n  "results": [\n{results}\n  ]\n}}\n')
    compared = table.suite["compare"]
    _write_csv(folder / "table.csv", [flat_row(row, compared) for row in table.rows])
    _write_csv(folder / "results.csv", [flat_result(each) for each in table.results])


def flat_row(row: Row, compared: Sequence[str]) -> dict[str, Any]:
    """A row of `table.csv`; an interval takes three columns, a difference a fourth.

    Every row has the columns of each name in `compared`, empty where it has no difference.
    """
    found: dict[str, Any] = {
        **{name: getattr(row, name) for name in ("env", "budget", "row", "setting", "tasks")},
        "seeds": " ".join(map(str, row.seeds)),
        "oracle": " ".join(row.oracle),
    }
    shown = {"success": row.success, "score": row.score, **row.per_task}
    for name, each in shown.items():
        found |= {name: each.estimate, f"{name} low": each.low, f"{name} high": each.high}
    kinds = {"difference": row.differences, "score difference": row.score_differences}
    for kind, differences in kinds.items():
        for name in compared:
            each = vars(differences[name]) if name in differences else {}
            found[f"{kind} to {name}"] = each.get("estimate")
            for part in ("low", "high", "reliable"):
                found[f"{kind} to {name} {part}"] = each.get(part)
    last = {name: getattr(row, name) for name in ("unsupported", "read_off", "stored")}
    return {**found, **row.counts, **last}


def flat_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `results.csv`: usage has a column for each of its counts."""
    plain = {k: v for k, v in result.items() if k != "usage"}
    return {**plain, **result["usage"]}


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
