"""A suite: rows of one table, each a recipe, run at equal budgets on the same tasks.

    name: demo
    base: {env: game24, policy: ..., tasks: {split: dev, limit: 50}}
    budgets: {32 calls: {calls: 32}, 4000 tokens: {tokens: 4000}}
    rows: {policy only: {search: greedy}, MCTS: {search: mcts}}
    baseline: policy only        # what differences are taken against

Every row of a budget sees the same tasks, seed and limits; a row may change anything
else, and the table says what it used.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agentsearch.config import (
    Builder,
    Recipe,
    choose_tasks,
    data_folder,
    load_recipe,
    merge,
    read_yaml,
    settle,
    validated,
)
from agentsearch.errors import ConfigError, did_you_mean
from agentsearch.runner import Result, RunFolder, run, summarise
from agentsearch.types import Task
from agentsearch_eval.metrics import Interval, paired_difference, success_rate


@dataclass(frozen=True)
class Suite:
    """What a suite file holds.

    Attributes:
        name: of the table, and of its folder unless `run` says otherwise.
        title: one line above the table.
        base: recipe fields that all rows share.
        budgets: limits by the name of their table.
        rows: by name, the recipe fields that the row changes.
        baseline: the row that differences are taken against.
        headline: the row whose tree the report shows.
        workers: processes that run rows side by side.
        run: name of the folder.
    """

    name: str
    rows: dict[str, dict[str, Any]]
    budgets: dict[str, dict[str, Any]]
    base: dict[str, Any] = field(default_factory=dict[str, Any])
    title: str = ""
    baseline: str = "policy only"
    headline: str | None = None
    workers: int = 1
    run: str | None = None

    def __post_init__(self) -> None:
        if not self.rows or not self.budgets:
            raise ConfigError(f"suite {self.name!r}: needs at least one row and one budget.")
        for key, row in (("baseline", self.baseline), ("headline", self.headline)):
            if row is not None and row not in self.rows:
                close = did_you_mean(row, self.rows)
                raise ConfigError(f"{key}={row!r}: no row of that name.{close}")
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: must be at least 1.")

    def recipes(self) -> Iterator[tuple[str, str, Recipe]]:
        """Budget name, row name and recipe of every cell, all validated."""
        for budget, limits in self.budgets.items():
            for row, changes in self.rows.items():
                fields = {**self.base, **changes, "budget": limits}
                try:
                    yield budget, row, load_recipe(fields)
                except ConfigError as error:
                    raise ConfigError(f"row {row!r}: {error}") from error


@dataclass(frozen=True)
class Row:
    """One row of a table: what it is and how it did.

    Attributes:
        budget, name: which table, which row.
        success: rate over the tasks.
        difference: success less the baseline's, paired by task; None for the baseline.
        summary: as in the row's `summary.json`.
        folder: of the row's run, relative to the suite's.
    """

    budget: str
    name: str
    success: Interval
    difference: Interval | None
    summary: dict[str, Any]
    folder: str


def load_suite(source: str, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite by path or short name, with dotted overrides.

    Raises:
        ConfigError: no such suite, or a key or value that is wrong.
    """
    data = merge(read_yaml(suite_path(source)), overrides)
    suite: Suite = validated(Suite, data, "")
    list(suite.recipes())
    return suite


def suite_names() -> list[str]:
    """Short names of the shipped suites."""
    return sorted(path.stem for path in data_folder("agentsearch_eval", "suites").glob("*.yaml"))


def suite_path(source: str) -> Path:
    """The file that a path or short name stands for."""
    for path in (Path(source), data_folder("agentsearch_eval", "suites") / f"{source}.yaml"):
        if path.is_file():
            return path
    known = suite_names()
    raise ConfigError(
        f"suite {source!r}: no such file or short name.{did_you_mean(source, known)} "
        f"Shipped: {', '.join(known)}."
    )


def run_suite(
    suite: Suite, runs: Path, on_row: Callable[[str, str, dict[str, Any]], None] | None = None
) -> list[Row]:
    """Run every cell into its own run folder and put the table together.

    Raises:
        ConfigError: the folder holds something that is not an earlier run of a suite.
    """
    folder = _fresh_folder(runs / (suite.run or suite.name))
    cells = list(suite.recipes())
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for budget, row, lines in _run_cells(cells, folder, suite.workers):
        results[budget, row] = lines
        if on_row:
            on_row(budget, row, _summary(folder, budget, row))
    (folder / "suite.yaml").write_text(yaml.safe_dump(vars(suite), sort_keys=False))
    table = [_row(folder, suite, budget, row, results) for budget, row, _ in cells]
    text = json.dumps([_plain(row) for row in table], indent=2)
    (folder / "table.json").write_text(text + "\n", encoding="utf-8")
    return table


def _run_cells(
    cells: Sequence[tuple[str, str, Recipe]], folder: Path, workers: int
) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    if workers == 1:
        for budget, row, recipe in cells:
            yield budget, row, run_cell(recipe, folder / cell_name(budget, row))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        jobs = {
            pool.submit(run_cell, recipe, folder / cell_name(budget, row)): (budget, row)
            for budget, row, recipe in cells
        }
        for job in as_completed(jobs):
            yield *jobs[job], job.result()


_builder: list[Builder] = []


def run_cell(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """Run one recipe into `folder`; the lines of its `results.jsonl`.

    Engines are kept for the next cell of this process.
    """
    if not _builder:
        _builder.append(Builder())
    results = asyncio.run(_run_cell(_builder[0], recipe, folder))
    return [result.to_dict() for result in results]


async def _run_cell(builder: Builder, recipe: Recipe, folder: Path) -> list[Result]:
    recipe, setup = await settle(recipe, builder.setup(recipe))
    tasks: list[Task] = choose_tasks(setup, recipe.tasks)
    run_folder = RunFolder(folder, recipe.to_dict())
    results = await run(setup, tasks, run_folder, concurrency=recipe.concurrency)
    run_folder.close(summarise(results, setup.setting))
    return results


def cell_name(budget: str, row: str) -> str:
    """Folder of one cell."""
    return "".join(c if c.isalnum() else "-" for c in f"{row}-{budget}".lower())


def _summary(folder: Path, budget: str, row: str) -> dict[str, Any]:
    return json.loads((folder / cell_name(budget, row) / "summary.json").read_text())


def _row(
    folder: Path,
    suite: Suite,
    budget: str,
    name: str,
    results: dict[tuple[str, str], list[dict[str, Any]]],
) -> Row:
    correct = [bool(line["correct"]) for line in results[budget, name]]
    difference = None
    if name != suite.baseline:
        baseline = [float(line["correct"]) for line in results[budget, suite.baseline]]
        difference = paired_difference([float(c) for c in correct], baseline)
    return Row(
        budget,
        name,
        success_rate(correct),
        difference,
        _summary(folder, budget, name),
        cell_name(budget, name),
    )


def _plain(row: Row) -> dict[str, Any]:
    difference = None if row.difference is None else vars(row.difference)
    return {**vars(row), "success": vars(row.success), "difference": difference}


def _fresh_folder(folder: Path) -> Path:
    """An empty folder; an earlier run of a suite under this name is replaced."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "suite.yaml").is_file():
            raise ConfigError(
                f"{folder}: holds something else than a finished suite; choose run=NAME."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.yaml").write_text("# the suite is running\n")
    return folder
