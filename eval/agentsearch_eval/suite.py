"""A suite: rows of one table, each a recipe, run at equal budgets on the same tasks.

    name: demo
    base: {policy: tiny, tasks: {split: dev, limit: 50}}
    envs: {go to: {env: {name: babyai_text, kind: go_to}}, ...}     # a section each
    seeds: [0, 1, 2]
    budgets: {32 calls: {calls: 32}, 4000 tokens: {tokens: 4000}}
    rows: {policy only: {search: greedy}, MCTS: {search: mcts}}
    baseline: policy only        # what differences are taken against

`searches`, `policies` and `values` make rows of all their combinations. Every row of a
budget and environment sees the same tasks, seeds and limits; a row may change anything
else, and the table says what it used and which setting it ran in. `docs/evaluation.md`
has the whole format.

    runs/.results/       every result ever paid for, by content
         <name>/         suite.yaml, table.json, table.csv, results.csv, report.html, and
                         a run folder for each cell

The folder is put together as `<name>.partial-<process>` once every cell is complete, and
takes the place of an earlier suite of that name.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from agentsearch import shards
from agentsearch.commands import EXECUTORS, Plan, estimate, made_with
from agentsearch.config import (
    Builder,
    Recipe,
    choose_tasks,
    data_folder,
    load_recipe,
    merge,
    read_yaml,
    validated,
)
from agentsearch.errors import AgentSearchError, ConfigError, did_you_mean
from agentsearch.runner import Setup
from agentsearch.types import Task
from agentsearch_eval.cells import (
    Cell,
    Done,
    Found,
    Job,
    complete,
    look_up,
    reach_servers,
    run_cells,
)
from agentsearch_eval.store import Store, models
from agentsearch_eval.table import (
    ALL,
    Ran,
    Table,
    make_rows,
    result_line,
    write_cell,
    write_table,
)

Fragment = dict[str, Any]
"""Some fields of a recipe."""

AXES = ("searches", "policies", "values")
"""Named fragments that are combined to rows, in the order in which rows are named."""
SHARED = {"tasks": "base.tasks", "seed": "base.seed", "budget": "budgets", "run": "run"}
"""Fields that no row may change, and where they are set: they make rows comparable."""
BEST_OF_N = "best-of-N"
"""Row that differences are taken against too, where there is one of that name."""
LONGEST_NAME = 200
"""Bytes of a cell's folder name; file systems take 255."""


@dataclass(frozen=True)
class Suite:
    """What a suite file holds. A fragment's fields take the place of the base's.

    Attributes:
        name: of the table, and of its folder unless `run` says otherwise.
        title: one line above the table.
        base: recipe fields that all cells share.
        envs: by name, the recipe fields of a section of the table, such as `env` and
            `tasks`. Empty: the base has the only environment.
        seeds: every row runs with each; None takes `base.seed` alone.
        budgets: limits by the name of their table.
        rows: by name, the recipe fields that the row changes.
        searches, policies, values: fragments by name; every combination is a row, after
            those of `rows`, named by the axes that have more than one entry.
        baseline: the row that differences are taken against. In combinations the name of
            a search stands for its row with the same policy and value.
        compare: all rows that differences are taken against; None takes the baseline and
            `best-of-N`, where there is one.
        headline: the row whose tree the report shows.
        read_off: whether a budget that lies within another is read off from the run at
            the larger one, for searches that can stop at any time.
        workers: processes that run cells side by side.
        run: name of the folder.
    """

    name: str
    budgets: dict[str, Fragment]
    rows: dict[str, Fragment] = field(default_factory=dict[str, Fragment])
    base: Fragment = field(default_factory=Fragment)
    envs: dict[str, Fragment] = field(default_factory=dict[str, Fragment])
    searches: dict[str, Fragment] = field(default_factory=dict[str, Fragment])
    policies: dict[str, Fragment] = field(default_factory=dict[str, Fragment])
    values: dict[str, Fragment] = field(default_factory=dict[str, Fragment])
    seeds: list[int] | None = None
    title: str = ""
    baseline: str = "policy only"
    compare: list[str] | None = None
    headline: str | None = None
    read_off: bool = True
    workers: int = 1
    run: str | None = None

    def __post_init__(self) -> None:
        if not self.all_rows or not self.budgets:
            raise ConfigError(f"suite {self.name!r}: needs at least one row and one budget.")
        for name in (self.baseline, *(self.compare or ())):
            if name not in self.all_rows and name not in self.searches:
                key = "baseline" if name == self.baseline else "compare"
                close = did_you_mean(name, [*self.all_rows, *self.searches])
                raise ConfigError(f"{key}={name!r}: no row of that name.{close}")
        if self.headline is not None and self.headline not in self.all_rows:
            close = did_you_mean(self.headline, self.all_rows)
            raise ConfigError(f"headline={self.headline!r}: no row of that name.{close}")
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: must be at least 1.")
        self._check_seeds()
        if ALL in self.envs:
            raise ConfigError(f"envs.{ALL}: is the name of the mean over all; choose another.")
        if not re.fullmatch(r"\w[\w.-]*", self.folder):
            raise ConfigError(
                f"run={self.folder!r}: is no name for a folder; use letters, digits, '-', '_' "
                "and '.'."
            )
        self._check_cell_names()

    @property
    def folder(self) -> str:
        """Name of the suite's folder."""
        return self.run or self.name

    @property
    def all_seeds(self) -> list[int]:
        """The seeds that every row runs with."""
        return [self.base.get("seed", 0)] if self.seeds is None else self.seeds

    @cached_property
    def all_rows(self) -> dict[str, Fragment]:
        """Explicit rows, then every combination of searches, policies and values.

        Raises:
            ConfigError: two rows have one name, or two axes set one field.
        """
        rows = dict(self.rows)
        for name, parts in self.combinations.items():
            where = ", ".join(f"{axis}.{part}" for axis, part in parts.items())
            if name in rows:
                raise ConfigError(f"row {name!r}: is made by {where} too; rename one.")
            rows[name] = {}
            for axis, part in parts.items():
                fragment: Fragment = getattr(self, axis)[part]
                for key in fragment:
                    if key in rows[name]:
                        raise ConfigError(
                            f"row {name!r}: {key} is set twice, by {where}; set it in one axis."
                        )
                rows[name] |= fragment
        return rows

    @cached_property
    def combinations(self) -> dict[str, dict[str, str]]:
        """By row name, which entry of each axis it combines."""
        axes = {axis: list(getattr(self, axis)) for axis in AXES if getattr(self, axis)}
        if not axes:
            return {}
        naming = [axis for axis, entries in axes.items() if len(entries) > 1] or list(axes)[:1]
        combined = [
            dict(zip(axes, each, strict=True)) for each in itertools.product(*axes.values())
        ]
        return {", ".join(parts[axis] for axis in naming): parts for parts in combined}

    @property
    def references(self) -> dict[str, dict[str, str]]:
        """By row, the rows it is compared with, by the name that `compare` gives them."""
        found: dict[str, dict[str, str]] = {}
        for row in self.all_rows:
            others = {name: self.reference(name, row) for name in self.compared}
            found[row] = {n: other for n, other in others.items() if other not in (None, row)}
        return found

    @property
    def compared(self) -> list[str]:
        """What differences are taken against."""
        if self.compare is not None:
            return self.compare
        known = BEST_OF_N in self.all_rows or BEST_OF_N in self.searches
        return list(dict.fromkeys([self.baseline, *([BEST_OF_N] if known else [])]))

    def reference(self, name: str, row: str) -> str | None:
        """The row that `name` means for `row`; None where it means none.

        That is the row of that name, or the combination that differs by its search alone.
        """
        if name in self.all_rows:
            return name
        parts = self.combinations.get(row)
        if parts is None:
            return None
        sought = {**parts, "searches": name}
        return next((other for other, each in self.combinations.items() if each == sought), None)

    def recipes(self) -> Iterator[tuple[str, str, str, Recipe]]:
        """Environment, budget, row and recipe of every cell, all validated.

        All have the first seed.

        Raises:
            ConfigError: a recipe is wrong, or changes what makes rows comparable.
        """
        if "budget" in self.base:
            raise ConfigError("base.budget: is not read; set budgets.")
        for row, changes in self.all_rows.items():
            for key, where in SHARED.items():
                if key in changes:
                    raise ConfigError(f"row {row!r}: {key} is the same for all rows; set {where}.")
        for env, changes in self.envs.items():
            for key in ("seed", "budget", "run"):
                if key in changes:
                    where = "seeds" if key == "seed" else SHARED[key]
                    raise ConfigError(f"envs.{env}.{key}: is the same for all; set {where}.")
        for env, section in (self.envs or {"": Fragment()}).items():
            for budget, limits in self.budgets.items():
                for row, changes in self.all_rows.items():
                    fields = {**self.base, **section, **changes, "budget": limits}
                    fields["seed"] = self.all_seeds[0]
                    try:
                        yield env, budget, row, load_recipe(fields)
                    except AgentSearchError as error:
                        raise type(error)(f"{place(env, budget, row)}: {error}") from error

    def _check_seeds(self) -> None:
        if self.seeds is None:
            return
        if "seed" in self.base:
            raise ConfigError("base.seed: is not read where there are seeds; set seeds.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds={self.seeds}: name each seed once, and at least one.")

    def _check_cell_names(self) -> None:
        taken: dict[str, str] = {}
        seed = str(max(self.all_seeds, key=lambda each: len(str(each))))
        for env, budget, row in itertools.product(self.envs or [""], self.budgets, self.all_rows):
            name, where = cell_name(env, budget, row, f"seed {seed}"), place(env, budget, row)
            if name in taken:
                raise ConfigError(
                    f"{where}: would share the folder {name!r} with {taken[name]}; rename one."
                )
            if len(name.encode()) > LONGEST_NAME:
                raise ConfigError(f"{where}: is too long a name for a folder; shorten it.")
            taken[name] = where

    def cell_folder(self, cell: Cell) -> str:
        """Name of a cell's run folder."""
        seed = f"seed {cell.seed}" if len(self.all_seeds) > 1 else ""
        return cell_name(cell.env, cell.budget, cell.row, seed)


def place(env: str, budget: str, row: str) -> str:
    """A cell in words, for messages."""
    return f"row {row!r} at {budget!r}" + (f" in {env!r}" if env else "")


def cell_name(*parts: str) -> str:
    """A folder's name from those parts of environment, budget, row and seed that there are."""
    env, budget, row, *rest = parts
    text = " ".join(part for part in (env, row, budget, *rest) if part).lower()
    return "".join(c if c.isalnum() else "-" for c in text)


def load_suite(source: str, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite by path or short name, with dotted overrides.

    Raises:
        ConfigError: no such suite, or a key or value that is wrong.
    """
    whole = ("rows", "budgets", "envs", "seeds", "compare", *AXES)
    data = merge(read_yaml(suite_path(source)), overrides, whole=whole)
    suite: Suite = validated(Suite, data, "")
    for _ in suite.recipes():
        pass
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


# -- what will run ---------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """Every cell of a suite, built and given its tasks, and no model loaded.

    Attributes:
        cells: in the order of the table.
        read_from: by cell, the one with a larger budget that it can be read off from.
    """

    cells: dict[Cell, Plan]
    read_from: dict[Cell, Cell] = field(default_factory=dict[Cell, Cell])

    @property
    def per(self) -> str:
        """What a budget is for: `task`, or `decision` where rows act."""
        modes = {plan.setup.mode for plan in self.cells.values()}
        if "act" not in modes:
            return "task"
        return "decision" if modes == {"act"} else "task, or decision of a row that acts"


def plan_suite(suite: Suite) -> Planned:
    """Build every cell and choose its tasks.

    Raises:
        AgentSearchError: parts that do not fit together, or rows with different tasks.
    """
    builder = Builder()
    tasks: dict[str, list[Task]] = {}
    plans: dict[Cell, Plan] = {}
    for env, budget, row, recipe in suite.recipes():
        try:
            setup = builder.setup(recipe)
            chosen = choose_tasks(setup, recipe.tasks)
        except AgentSearchError as error:
            raise type(error)(f"{place(env, budget, row)}: {error}") from error
        if chosen != tasks.setdefault(env, chosen):
            raise ConfigError(
                f"row {row!r}: its environment has other tasks than that of the first row, "
                "so they cannot be compared; set base.env."
            )
        for seed in suite.all_seeds:
            seeded = dataclasses.replace(recipe, seed=seed)
            again = dataclasses.replace(setup, seed=seed)
            plans[Cell(env, budget, row, seed)] = Plan(seeded, again, chosen, builder)
    if not suite.read_off:
        return Planned(plans)
    larger = {budget: largest_around(budget, suite.budgets) for budget in suite.budgets}
    read_from = {
        cell: cell._replace(budget=around)
        for cell, plan in plans.items()
        if (around := larger[cell.budget]) is not None and can_be_read(plan.setup)
    }
    return Planned(plans, read_from)


def can_be_read(setup: Setup) -> bool:
    """Whether a part of a search is the search at a smaller budget, in one tree for a task."""
    return setup.mode == "plan" and getattr(setup.search, "anytime", False)


def largest_around(budget: str, budgets: Mapping[str, Mapping[str, float]]) -> str | None:
    """The largest budget with the same kinds of limits, none of them smaller, if any.

    None too where seconds are limited: they differ from run to run.
    """
    limits, found = budgets[budget], budget
    if limits.get("seconds") is not None:
        return None
    for name, other in budgets.items():
        inside = budgets[found]
        around = other.keys() == limits.keys() and all(other[k] >= inside[k] for k in limits)
        if around and other != inside:
            found = name
    return None if found == budget else found


def most_calls(cells: Mapping[Cell, Plan]) -> dict[str, int | None]:
    """Upper bound of the model calls of each budget; None where it does not limit calls."""
    bounds: dict[str, int | None] = {}
    for cell, plan in cells.items():
        calls = estimate(plan).calls if plan.tasks else 0
        bounds[cell.budget] = None if calls is None else (bounds.get(cell.budget) or 0) + calls
    return bounds


def find_stored(planned: Planned, runs: Path) -> dict[Cell, Found]:
    """What the store has of every cell; no model is loaded."""
    store = Store(runs)
    return {cell: look_up(plan, store) for cell, plan in planned.cells.items()}


# -- running ---------------------------------------------------------------------------


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a suite.

    Attributes:
        finished: cells that were complete.
        planned: cells to run in all.
        store: where the results of all tasks that had finished are kept.
    """

    def __init__(self, finished: int, planned: int, store: Path) -> None:
        super().__init__()
        self.finished = finished
        self.planned = planned
        self.store = store


def run_suite(
    suite: Suite,
    runs: Path,
    on_cell: Callable[[Cell, Done], None] | None = None,
    *,
    fresh: bool = False,
    executor: str = "local",
) -> Table:
    """Run what is missing of every cell, put the table together and write its folder.

    Servers are reached before anything is written. Local models are loaded by the
    process that runs them.

    Args:
        suite: what to run.
        runs: where the suite's folder and the store are.
        on_cell: told of every cell that is complete.
        fresh: run every task again, also those whose result is in the store.
        executor: `local` for processes of this machine, `ray` for a Ray cluster.

    Raises:
        AgentSearchError: a mistake of the user, such as a folder of that name that holds
            something else than an earlier suite.
        Interrupted: Ctrl-C.
    """
    if executor not in EXECUTORS:
        raise ConfigError(f"executor={executor!r}: is none; use {' or '.join(EXECUTORS)}.")
    check_replaceable(runs / suite.folder)
    planned, store = plan_suite(suite), Store(runs)
    done: dict[Cell, Done] = {}
    try:
        with shards.cluster() if executor == "ray" else nullcontext():
            for cell, each in _complete_cells(suite, planned, store, fresh, executor):
                done[cell] = each
                if on_cell:
                    on_cell(cell, each)
        return _write(suite, planned, done, store, runs / suite.folder)
    except KeyboardInterrupt:
        raise Interrupted(len(done), len(planned.cells), store.folder) from None
    except AgentSearchError as error:
        if not store.folder.exists():
            raise
        raise type(error)(
            f"{error} Finished tasks are kept; run the suite again to go on."
        ) from error


def _complete_cells(
    suite: Suite, planned: Planned, store: Store, fresh: bool, executor: str
) -> Iterator[tuple[Cell, Done]]:
    """Cells that the store has whole, then the others as they end."""
    missing: dict[Cell, Plan] = {}
    for cell, plan in planned.cells.items():
        whole = None if fresh else complete(plan, look_up(plan, store))
        if whole is None:
            missing[cell] = plan
        else:
            yield cell, whole
    if not missing:
        return
    asyncio.run(reach_servers(missing.values()))
    _make_folder(store.folder.parent)
    jobs = _jobs({cell: plan.recipe for cell, plan in missing.items()}, planned.read_from)
    yield from run_cells(jobs, store, workers=suite.workers, fresh=fresh, executor=executor)


def _jobs(missing: Mapping[Cell, Recipe], read_from: Mapping[Cell, Cell]) -> list[Job]:
    """A job for each cell, but those that are read off from another that must run too."""
    sources = {cell: source for cell, source in read_from.items() if source in missing}
    return [
        Job(cell, recipe, {c: missing[c] for c, s in sources.items() if s == cell and c in missing})
        for cell, recipe in missing.items()
        if cell not in sources
    ]


def _make_table(suite: Suite, planned: Planned, done: Mapping[Cell, Done]) -> Table:
    ran = [_ran(suite, plan, done[cell], cell) for cell, plan in planned.cells.items()]
    engines = [model for plan in planned.cells.values() for model in models(plan.setup)]
    facts = {
        "name": suite.name,
        "title": suite.title,
        "baseline": suite.baseline,
        "headline": suite.headline,
        "compare": suite.compared,
        "budgets": suite.budgets,
        "envs": list(suite.envs),
        "rows": list(suite.all_rows),
        "seeds": suite.all_seeds,
        "per": planned.per,
    }
    results = [
        result_line(each, line, tree)
        for each in ran
        for line, tree in zip(each.lines, each.trees, strict=True)
    ]
    models_used = list(dict.fromkeys(engines))
    return Table(facts, made_with(models_used), make_rows(ran, suite.references), results)


def _ran(suite: Suite, plan: Plan, done: Done, cell: Cell) -> Ran:
    """A cell with its results and what the table says of it."""
    setup, lines = plan.setup, [stored.line for stored in done.results]
    return Ran(
        cell,
        lines,
        folder=suite.cell_folder(cell),
        trees=[stored.tree is not None for stored in done.results],
        setting=setup.setting + (f", commit {setup.commit}" if setup.mode == "act" else ""),
        oracle=setup.oracles,
        stored=done.stored,
        read_off=_larger_budget(suite, lines),
    )


def _larger_budget(suite: Suite, lines: Sequence[Mapping[str, Any]]) -> str | None:
    """The budget of the run that some lines were read off from, by its name or in words."""
    limits = next((line["read_off"] for line in lines if "read_off" in line), None)
    if limits is None:
        return None
    names = (name for name, each in suite.budgets.items() if each == limits)
    return next(names, ", ".join(f"{value:,} {kind}" for kind, value in limits.items()))


# -- the folder ------------------------------------------------------------------------


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds something else than a finished suite.

    Raises:
        ConfigError: with the folder's name.
    """
    finished = all((folder / name).is_file() for name in ("suite.yaml", "table.json"))
    if folder.exists() and not finished and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder}: holds something else than a finished suite; choose run=NAME.")


def _write(
    suite: Suite, planned: Planned, done: Mapping[Cell, Done], store: Store, target: Path
) -> Table:
    """Everything but the report, in a folder that takes the place of `target`."""
    table = _make_table(suite, planned, done)
    _sweep(target)
    folder = _beside(target, "partial")
    _make_folder(folder)
    try:
        for cell, plan in planned.cells.items():
            made = {**table.made_with, "models": models(plan.setup)}
            write_cell(folder / suite.cell_folder(cell), done[cell], plan.setup, store, made)
        settings = yaml.safe_dump(_settings(suite), sort_keys=False, allow_unicode=True)
        (folder / "suite.yaml").write_text(settings, encoding="utf-8")
        write_table(table, folder)
        _replace(target, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # there only if something went wrong
    return table


def _settings(suite: Suite) -> dict[str, Any]:
    """The fields of a suite that say something."""
    found = {each.name: getattr(suite, each.name) for each in dataclasses.fields(suite)}
    return {name: value for name, value in found.items() if value not in (None, {}, "")}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise ConfigError(f"{folder}: cannot be made ({cause.strerror}).") from cause


def _beside(target: Path, kind: str) -> Path:
    """Such as `demo.partial-4711`, or another number where that is taken."""
    number = os.getpid()
    while (path := target.with_name(f"{target.name}.{kind}-{number}")).exists():
        number += 1
    return path


def _sweep(target: Path) -> None:
    """Remove what processes that were killed left beside `target`."""
    for path in target.parent.glob(f"{target.name}.*-*"):
        left = re.fullmatch(r"(partial|old)-(\d+)", path.name.removeprefix(f"{target.name}."))
        if left and not _runs(int(left[2])):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    with suppress(ProcessLookupError):
        with suppress(PermissionError):
            os.kill(process, 0)
        return True
    return False


def _replace(target: Path, folder: Path) -> None:
    """Put `folder` in the place of `target`."""
    check_replaceable(target)
    if target.exists():
        old = target.rename(_beside(target, "old"))
        folder.rename(target)
        shutil.rmtree(old)
    else:
        folder.rename(target)
