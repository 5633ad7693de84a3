"""A suite: rows of one table, each a recipe, run at equal budgets on the same tasks.

    name: demo
    base: {env: game24, policy: ..., tasks: {split: dev, limit: 50}}
    budgets: {32 calls: {calls: 32}, 4000 tokens: {tokens: 4000}}
    rows: {policy only: {search: greedy}, MCTS: {search: mcts}}
    baseline: policy only        # what differences are taken against

Every row of a budget sees the same tasks, seed and limits; a row may change anything
else, and the table says what it used and which setting it ran in.

    runs/<name>/suite.yaml      the suite, as it was run
                table.json      every row with its intervals
                report.html     the same for people
                <row>-<budget>/ a run folder each

The folder is written as `<name>.partial-<process>` and takes its place, and that of an
earlier suite, once every row has finished.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agentsearch.commands import Plan, estimate, made_with, preflight
from agentsearch.config import (
    MADE_WITH,
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
from agentsearch.errors import AgentSearchError, ConfigError, did_you_mean
from agentsearch.runner import Result, RunFolder, run, summarise
from agentsearch.types import Task
from agentsearch_eval.metrics import Interval, paired_difference, success_rate

SHARED = {"tasks": "base.tasks", "seed": "base.seed", "budget": "budgets"}
"""Fields that no row may change, and where they are set: they make rows comparable."""

LONGEST_NAME = 200
"""Bytes of a cell's folder name; file systems take 255."""


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
        if not re.fullmatch(r"\w[\w.-]*", self.folder):
            raise ConfigError(
                f"run={self.folder!r}: is no name for a folder; use letters, digits, '-', '_' "
                "and '.'."
            )
        self._check_cell_names()

    @property
    def per(self) -> str:
        """What a budget is for: `task`, or `decision` where some row acts."""
        modes = {row.get("mode", self.base.get("mode")) for row in self.rows.values()}
        if "act" not in modes:
            return "task"
        return "decision" if modes == {"act"} else "task, or decision of a row that acts"

    @property
    def folder(self) -> str:
        """Name of the suite's folder."""
        return self.run or self.name

    def _check_cell_names(self) -> None:
        taken: dict[str, str] = {}
        for budget in self.budgets:
            for row in self.rows:
                name, cell = cell_name(budget, row), f"row {row!r} at {budget!r}"
                if name in taken:
                    raise ConfigError(
                        f"{cell}: would share the folder {name!r} with {taken[name]}; rename one."
                    )
                if len(name.encode()) > LONGEST_NAME:
                    raise ConfigError(f"{cell}: is too long a name for a folder; shorten it.")
                taken[name] = cell

    def recipes(self) -> Iterator[tuple[str, str, Recipe]]:
        """Budget name, row name and recipe of every cell, all validated.

        Raises:
            ConfigError: a recipe is wrong, or changes what makes rows comparable.
        """
        if "budget" in self.base:
            raise ConfigError("base.budget: is not read; set budgets.")
        for row, changes in self.rows.items():
            for key, where in SHARED.items():
                if key in changes:
                    raise ConfigError(f"row {row!r}: {key} is the same for all rows; set {where}.")
        for budget, limits in self.budgets.items():
            for row, changes in self.rows.items():
                fields = {**self.base, **changes, "budget": limits}
                try:
                    yield budget, row, load_recipe(fields)
                except ConfigError as error:
                    raise ConfigError(f"row {row!r} at {budget!r}: {error}") from error


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

    @property
    def label(self) -> str:
        """The name, marked where a part reads the solution: a ceiling, never a result."""
        oracle = self.summary["oracle"]
        return f"{self.name} (ORACLE: {', '.join(oracle)})" if oracle else self.name

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in `table.json`."""
        difference = None if self.difference is None else vars(self.difference)
        plain = {**vars(self), "success": vars(self.success), "difference": difference}
        return {**plain, "oracle": self.summary["oracle"]}


@dataclass(frozen=True)
class Lines:
    """What one cell came to: the lines of its `results.jsonl`, and its summary."""

    results: list[dict[str, Any]]
    summary: dict[str, Any]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a suite.

    Attributes:
        finished: cells that had finished.
        folder: what keeps them; None where there are none.
    """

    def __init__(self, finished: int, folder: Path | None) -> None:
        super().__init__()
        self.finished = finished
        self.folder = folder


def load_suite(source: str, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite by path or short name, with dotted overrides.

    Raises:
        ConfigError: no such suite, or a key or value that is wrong.
    """
    data = merge(read_yaml(suite_path(source)), overrides, whole=("rows", "budgets"))
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


def plan_suite(suite: Suite) -> dict[tuple[str, str], Plan]:
    """Every cell, by budget and row: built and given its tasks, and no model loaded.

    Raises:
        AgentSearchError: parts that do not fit together, or rows with different tasks.
    """
    builder = Builder()
    plans: dict[tuple[str, str], Plan] = {}
    tasks: list[Task] = []
    for budget, row, recipe in suite.recipes():
        try:
            setup = builder.setup(recipe)
            chosen = choose_tasks(setup, recipe.tasks)
        except ConfigError as error:
            raise ConfigError(f"row {row!r}: {error}") from error
        tasks = tasks or chosen
        if chosen != tasks:
            raise ConfigError(
                f"row {row!r}: its environment has other tasks than that of the first row, "
                "so they cannot be compared; set base.env."
            )
        plans[budget, row] = Plan(recipe, setup, chosen, builder)
    return plans


def most_calls(plans: dict[tuple[str, str], Plan]) -> dict[str, int | None]:
    """Upper bound of the model calls of each budget; None where it does not limit calls."""
    bounds: dict[str, int | None] = {}
    for (budget, _), plan in plans.items():
        calls = estimate(plan).calls
        bounds[budget] = None if calls is None else (bounds.get(budget) or 0) + calls
    return bounds


def run_suite(
    suite: Suite, runs: Path, on_row: Callable[[str, str, dict[str, Any]], None] | None = None
) -> list[Row]:
    """Run every cell into its own run folder and put the table together.

    Servers are reached before anything is written. Local models are loaded by the
    process that runs them.

    Args:
        suite: what to run.
        runs: where the suite's folder is made.
        on_row: told budget, row and summary of every cell that has finished.

    Raises:
        AgentSearchError: a mistake of the user, such as a folder of that name that holds
            something else than an earlier suite.
        Interrupted: Ctrl-C.
    """
    target = runs / suite.folder
    check_replaceable(target)
    plans = plan_suite(suite)
    asyncio.run(_reach_servers(next(iter(plans.values())).builder))
    folder = _new_folder(target)
    cells = {key: plan.recipe for key, plan in plans.items()}
    done: dict[tuple[str, str], Lines] = {}
    try:
        for (budget, row), lines in _run_cells(cells, folder, suite.workers):
            done[budget, row] = lines
            if on_row:
                on_row(budget, row, lines.summary)
        table = [_row(suite, budget, row, done) for budget, row in cells]
        _write(suite, table, folder)
        _replace(target, folder)
    except KeyboardInterrupt:
        raise Interrupted(len(done), _keep(folder, done)) from None
    except AgentSearchError as error:
        if _keep(folder, done) is None:
            raise
        raise AgentSearchError(f"{error} Rows that had finished are kept in {folder}.") from error
    except BaseException:
        _keep(folder, done)
        raise
    return table


async def _reach_servers(builder: Builder) -> None:
    """Preflight of all engines but those that would load a model into this process."""
    try:
        await preflight([each for each in builder.engines if not hasattr(each.engine, "load")])
    finally:
        await builder.close()


# -- cells, here or in other processes -------------------------------------------------


def _run_cells(
    cells: dict[tuple[str, str], Recipe], folder: Path, workers: int
) -> Iterator[tuple[tuple[str, str], Lines]]:
    if workers == 1:
        with closing(Worker()) as worker:
            for key, recipe in cells.items():
                yield key, worker.run(recipe, folder / cell_name(*key))
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            with _deaf_children():
                jobs = {
                    pool.submit(run_cell, recipe, folder / cell_name(*key)): key
                    for key, recipe in cells.items()
                }
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BaseException as error:  # nobody waits for the rest any more
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise AgentSearchError(
                    "a process that ran a row was killed, perhaps for want of memory; "
                    "try workers=1."
                ) from error
            raise


@contextmanager
def _deaf_children() -> Generator[None]:
    """Processes begun here ignore Ctrl-C, so that this one alone answers to it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Worker:
    """Runs cells one after the other with one event loop, so that engines stay open."""

    def __init__(self) -> None:
        self._loop = asyncio.Runner()
        self._builder = Builder()

    def run(self, recipe: Recipe, folder: Path) -> Lines:
        """Run one recipe into `folder`."""
        return self._loop.run(self._run(recipe, folder))

    def close(self) -> None:
        """Close every engine."""
        with self._loop as loop:
            loop.run(self._builder.close())

    async def _run(self, recipe: Recipe, folder: Path) -> Lines:
        reached = len(self._builder.engines)
        setup = self._builder.setup(recipe)
        await preflight(self._builder.engines[reached:])
        recipe, setup = await settle(recipe, setup)
        tasks = choose_tasks(setup, recipe.tasks)
        results: list[Result] = []

        def keep(event: str, task: Task, result: Result | None) -> None:
            if result is not None:
                results.append(result)

        record = {**recipe.to_dict(), MADE_WITH: made_with(self._builder.models)}
        run_folder = RunFolder(folder, record)
        with run_folder.closing(lambda: summarise(results, setup.setting, setup.oracles)):
            await run(setup, tasks, run_folder, concurrency=recipe.concurrency, on_event=keep)
        return Lines([result.to_dict() for result in results], run_folder.summary)


_worker: list[Worker] = []


def run_cell(recipe: Recipe, folder: Path) -> Lines:
    """Run one recipe with the worker of this process, which keeps its models loaded."""
    if not _worker:
        _worker.append(Worker())
        atexit.register(_worker[0].close)
    return _worker[0].run(recipe, folder)


# -- the table -------------------------------------------------------------------------


def _row(suite: Suite, budget: str, name: str, done: dict[tuple[str, str], Lines]) -> Row:
    correct = _correct(done[budget, name])
    difference = None
    if name != suite.baseline:
        baseline = _correct(done[budget, suite.baseline])
        ours = [float(correct[task]) for task in baseline]
        difference = paired_difference(ours, [float(each) for each in baseline.values()])
    return Row(
        budget,
        name,
        success_rate(list(correct.values())),
        difference,
        done[budget, name].summary,
        cell_name(budget, name),
    )


def _correct(lines: Lines) -> dict[str, bool]:
    """Whether each task was solved, in an order that does not depend on who finished first."""
    return {line["task_id"]: line["correct"] for line in sorted(lines.results, key=_task_id)}


def _task_id(line: dict[str, Any]) -> str:
    return line["task_id"]


def by_setting(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The rows of each setting (mode, and what search sees), by name."""
    settings: dict[str, list[str]] = {}
    for row in rows:
        settings.setdefault(row.summary["setting"], []).append(row.name)
    return settings


# -- the folder ------------------------------------------------------------------------


def cell_name(budget: str, row: str) -> str:
    """Folder of one cell."""
    return "".join(c if c.isalnum() else "-" for c in f"{row}-{budget}".lower())


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds something else than a finished suite.

    Raises:
        ConfigError: with the folder's name.
    """
    finished = all((folder / name).is_file() for name in ("suite.yaml", "table.json"))
    if folder.exists() and not finished and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder}: holds something else than a finished suite; choose run=NAME.")


def _new_folder(target: Path) -> Path:
    """An empty folder beside `target`."""
    folder = _beside(target, "partial")
    try:
        folder.mkdir(parents=True)
    except OSError as cause:
        raise ConfigError(f"{folder}: cannot be made ({cause.strerror}).") from cause
    return folder


def _beside(target: Path, kind: str) -> Path:
    """Such as `demo.partial-4711`, or another number where that is taken."""
    number = os.getpid()
    while (path := target.with_name(f"{target.name}.{kind}-{number}")).exists():
        number += 1
    return path


def _write(suite: Suite, table: Sequence[Row], folder: Path) -> None:
    settings = yaml.safe_dump(vars(suite), sort_keys=False, allow_unicode=True)
    (folder / "suite.yaml").write_text(settings, encoding="utf-8")
    text = json.dumps([row.to_dict() for row in table], indent=2)
    (folder / "table.json").write_text(text + "\n", encoding="utf-8")


def _replace(target: Path, folder: Path) -> None:
    """Put `folder` in the place of `target`."""
    check_replaceable(target)
    if target.exists():
        old = target.rename(_beside(target, "old"))
        folder.rename(target)
        shutil.rmtree(old)
    else:
        folder.rename(target)


def _keep(folder: Path, done: dict[tuple[str, str], Lines]) -> Path | None:
    """The folder if a row has finished; else it goes."""
    if done:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    return None
