"""Cells of a table being run, here, in other processes or on a cluster, and kept in the store.

A cell is one row with one budget and one seed in one environment. Each process keeps its
event loop and its models for all cells that it runs. Tasks whose result is in the store
are not run; every other result is stored the moment its task ends, and so is every reply
until its cell has ended. A run may be read at smaller budgets, whose results are stored like
any other.
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from agentsearch import shards
from agentsearch.commands import Plan, preflight
from agentsearch.config import Builder, Recipe, choose_tasks, settle
from agentsearch.errors import AgentSearchError
from agentsearch.runner import Result, Setup, run
from agentsearch.types import Task
from agentsearch_eval.store import (
    Store,
    Stored,
    engines,
    journal_name,
    recipe_digest,
    task_keys,
)


class Cell(NamedTuple):
    """What is run on one list of tasks; `env` is empty where the suite does not name it."""

    env: str
    budget: str
    row: str
    seed: int


@dataclass(frozen=True)
class Done:
    """What a cell came to.

    Attributes:
        recipe: as policy and value settled it.
        results: in the order of the tasks.
        stored: how many of them came from the store.
    """

    recipe: Recipe
    results: Sequence[Stored]
    stored: int = 0


@dataclass(frozen=True)
class Job:
    """What one process does in one go.

    Attributes:
        recipe: to run.
        smaller: by cell, the same recipe with smaller limits, for results that are read
            off from this run.
    """

    cell: Cell
    recipe: Recipe
    smaller: Mapping[Cell, Recipe] = field(default_factory=dict[Cell, Recipe])


@dataclass(frozen=True)
class Found:
    """What the store has of a cell that has not been run.

    Attributes:
        recipe: as it was settled when it ran last; None if it never did.
        results: by task id.
    """

    recipe: Recipe | None
    results: Mapping[str, Stored]


def look_up(plan: Plan, store: Store) -> Found:
    """Results of a planned cell that are in the store; asks no model and loads none."""
    recipe = store.settled(plan.recipe, recipe_digest(plan.recipe, plan.setup))
    if recipe is None:
        return Found(None, {})
    found: dict[str, Stored] = {}
    for key, task in task_keys(recipe, plan.setup, plan.tasks).items():
        stored = store.finished(key)
        if stored is not None:
            found[task.id] = stored
    return Found(recipe, found)


def complete(plan: Plan, found: Found) -> Done | None:
    """A cell all of whose results were found; None where some are missing."""
    if found.recipe is None or any(task.id not in found.results for task in plan.tasks):
        return None
    results = [found.results[task.id] for task in plan.tasks]
    return Done(found.recipe, results, len(results))


async def reach_servers(plans: Collection[Plan]) -> None:
    """Preflight of all engines but those that would load a model into this process."""
    reached = {
        id(engine): engine
        for plan in plans
        for part in plan.setup.parts.values()
        for engine in engines(part)
    }.values()
    try:
        await preflight([each for each in reached if not hasattr(each.engine, "load")])
    finally:
        for each in reached:
            await each.close()


def run_cells(
    jobs: Sequence[Job],
    store: Store,
    *,
    workers: int = 1,
    fresh: bool = False,
    executor: str = "local",
) -> Iterator[tuple[Cell, Done]]:
    """Run cells and yield each as it ends.

    Args:
        jobs: what to run.
        store: where results are found and kept.
        workers: processes that run jobs side by side; 1 runs them in this one.
        fresh: run every task, also those whose result is in the store.
        executor: `ray` has the connected cluster run them, a job on each free core.

    Raises:
        AgentSearchError: the first mistake; no further cell is begun.
    """
    if executor == "ray":
        run_one = partial(_run_alone, store.folder.parent.resolve(), fresh)
        for found in shards.spread(run_one, jobs):
            yield from found.items()
        return
    workers = min(workers, len(jobs))
    if workers <= 1:
        with closing(Worker(store, fresh)) as worker:
            for job in jobs:
                yield from worker.run(job).items()
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, _begin, (store.folder.parent, fresh)) as pool:
        try:
            with _deaf_children():
                running = [pool.submit(_run_job, job) for job in jobs]
            for each in as_completed(running):
                yield from each.result().items()
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
    """Does jobs one after the other with one event loop, so that engines stay open."""

    def __init__(self, store: Store, fresh: bool = False) -> None:
        self._store = store
        self._fresh = fresh
        self._loop = asyncio.Runner()
        self._builder = Builder()

    def run(self, job: Job) -> dict[Cell, Done]:
        """Run what is missing of a cell and of those that are read off from it."""
        return self._loop.run(self._run(job))

    def close(self) -> None:
        """Close every engine."""
        with self._loop as loop:
            loop.run(self._builder.close())

    async def _run(self, job: Job) -> dict[Cell, Done]:
        read: set[str] = set()
        done = {job.cell: await self._run_cell(job.recipe, list(job.smaller.values()), read)}
        for cell, recipe in job.smaller.items():  # tasks that could not be read are run
            done[cell] = await self._run_cell(recipe, [], read)
        return done

    async def _run_cell(self, recipe: Recipe, smaller: Sequence[Recipe], read: set[str]) -> Done:
        """Run one cell.

        Args:
            recipe: of the cell.
            smaller: recipes to read off from its run.
            read: keys of results that were read off just now; gains those of `smaller`.
        """
        recipe, setup = await self._settled(recipe)
        keys = task_keys(recipe, setup, choose_tasks(setup, recipe.tasks))
        found = {
            keys[key].id: (key, stored)
            for key in keys
            if (not self._fresh or key in read) and (stored := self._store.finished(key))
        }
        done = {task_id: stored for task_id, (_, stored) in found.items()}
        missing = {task.id: key for key, task in keys.items() if task.id not in done}
        limits = [each.budget for each in smaller]
        of_smaller = [
            task_keys(replace(recipe, budget=b), setup, list(keys.values())) for b in limits
        ]
        smaller_keys = [{task.id: key for key, task in each.items()} for each in of_smaller]

        def keep(event: str, task: Task, result: Result | None) -> None:
            if result is None:
                return
            for by_task, reading in zip(smaller_keys, result.readings, strict=True):
                if reading["status"] != "failed":
                    read.add(by_task[task.id])
                    self._store.put(by_task[task.id], read_line(task, reading, recipe))
            line = {**result.to_dict(), "readings": []}
            done[task.id] = self._store.put(missing[task.id], line, result.tree)
            result.tree = None  # it may be large, and is on disk

        tasks = [task for task in keys.values() if task.id in missing]
        read_too = replace(setup, readings=tuple(limits)) if limits else setup
        with self._store.journal(journal_name(recipe, setup, limits), self._fresh) as journal:
            await run(
                read_too, tasks, concurrency=recipe.concurrency, on_event=keep, journal=journal
            )
        stored = sum(key not in read for key, _ in found.values())
        return Done(recipe, [done[task.id] for task in keys.values()], stored)

    async def _settled(self, recipe: Recipe) -> tuple[Recipe, Setup]:
        """Build a recipe, reach its models and let its parts decide; the store takes note."""
        reached = len(self._builder.engines)
        setup = self._builder.setup(recipe)
        await preflight(self._builder.engines[reached:])
        before = recipe_digest(recipe, setup)
        recipe, setup = await settle(recipe, setup)
        self._store.note_settled(before, recipe)
        return recipe, setup


def read_line(task: Task, reading: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The result of a task at smaller limits, read off from a run of `recipe`."""
    known = {key: value for key, value in reading.items() if key != "limits"}
    limits = {key: value for key, value in asdict(recipe.budget).items() if value is not None}
    return {
        **Result(task.id, decisions=1, any_correct=reading["correct"]).to_dict(),
        **known,
        "read_off": limits,
    }


# -- in a process of its own -----------------------------------------------------------

_worker: list[Worker] = []


def _begin(runs: Path, fresh: bool) -> None:
    """Make the worker of this process, which ends with the process that began it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.append(Worker(Store(runs), fresh))
    atexit.register(_worker[0].close)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_job(job: Job) -> dict[Cell, Done]:
    return _worker[0].run(job)


def _run_alone(runs: Path, fresh: bool, job: Job) -> dict[Cell, Done]:
    with closing(Worker(Store(runs), fresh)) as worker:
        return worker.run(job)
