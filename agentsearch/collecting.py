"""What `agentsearch collect` does: run folders become files of training data.

    report = collect(["runs/round1"], "data/round1", options(["theta=0.1"]))
    print(report.card["files"]["preferences"]["rows"])

Search may not have known the truth; rows may. Every path to an end is taken again in the
environment of the run's recipe and judged by its verifier. Tasks of dev and test are
refused, whatever the recipe says of them. Equal runs and options give equal files.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agentsearch import config
from agentsearch.data import card as cards
from agentsearch.data import rows
from agentsearch.data.card import Tally
from agentsearch.data.preferences import PairRule, preference_rows
from agentsearch.data.rl_groups import rl_rows
from agentsearch.data.rows import KINDS, Kind, Row, Table
from agentsearch.data.runs import Run, tree_name
from agentsearch.data.segments import NO_LOGPROBS, NO_TOKENS, Ended, Labelled
from agentsearch.data.sft import sft_rows
from agentsearch.errors import ConfigError, DataError, EnvError, boundary
from agentsearch.protocols import Environment
from agentsearch.runner import first_error
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node
from agentsearch.types import Step, Task, Trajectory, Turn

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Most tasks whose paths are taken again side by side."""
HELD_OUT = ("test", "dev")
"""Splits that measure policies and never train them."""
Progress = Callable[[int, int], None]
"""Told how many tasks of how many are done."""


@dataclass(frozen=True)
class Options(PairRule):
    """What is collected; the pairs as `PairRule` says.

    Attributes:
        kinds: which files; None makes all that get a row, and an empty one is an error only
            where it is named here.
        min_credit: least credit of a success; 1 asks for what the verifier calls correct.
        successes_per_task: most successes of a task in `sft`.
    """

    kinds: tuple[Kind, ...] | None = None
    min_credit: float = 1.0
    successes_per_task: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.discount <= 1:
            raise ConfigError(f"discount={self.discount}: must lie in (0, 1].")
        for name in ("alpha", "min_credit"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must lie in [0, 1].")
        for name, least in (
            ("theta", 0),
            ("min_visits_for_pair", 0),
            ("pairs_per_node", 1),
            ("pairs_per_task", 1),
            ("successes_per_task", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least {least}.")
        if self.kinds is not None and not self.kinds:
            raise ConfigError(f"kinds=[]: asks for no file; name some of {', '.join(KINDS)}.")

    @property
    def wanted(self) -> list[Kind]:
        """The kinds to try, in the order of the files."""
        return [kind for kind in KINDS if self.kinds is None or kind in self.kinds]

    @property
    def needs_labels(self) -> bool:
        """Whether some row depends on what the verifier says."""
        paired = self.trajectory_pairs or self.values == "outcomes"
        return paired or self.wanted != ["preferences"]


def options(overrides: Sequence[str] = ()) -> Options:
    """Options from `key=value`.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    return config.validated(Options, config.merge({}, overrides), "")


@dataclass(frozen=True)
class World:
    """An environment, and which of its tasks are held out, by id with their split."""

    env: Environment[Any]
    held_out: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """A run to collect from.

    Attributes:
        lines: its results by task id.
        tasks: its tasks, as the environment has them.
        planned: tasks its recipe names.
    """

    run: Run
    recipe: config.Recipe
    env: Environment[Any]
    lines: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[str, Task]
    planned: int
    counts: Counter[str] = field(default_factory=Counter[str])

    def describe(self) -> dict[str, Any]:
        """This run's part of the card."""
        made_with = self.run.config.get(config.MADE_WITH, {})
        results = self.run.path / "results.jsonl"
        return {
            "run": self.run.name,
            "env": self.env.spec.id,
            "env_version": self.env.spec.version,
            "search": self.recipe.search["name"],
            "policy": self.recipe.policy["name"],
            "policy_fields": self.recipe.policy,
            "models": made_with.get("models", []),
            "seed": self.recipe.seed,
            "reward_visible": self.recipe.reward_visible,
            "planned": self.planned,
            "finished": len(self.lines),
            "failed": sum(line.get("status") == "failed" for line in self.lines.values()),
            "paths": self.counts["paths"],
            "replayed": self.counts["replayed"],
            "correct": self.counts["correct"],
            "results_sha256": hashlib.sha256(results.read_bytes()).hexdigest(),
        }


@dataclass(frozen=True)
class Report:
    """What was collected.

    Attributes:
        card: the numbers of card.json.
        folder: where the files are; None after a dry run.
    """

    card: dict[str, Any]
    folder: Path | None


@dataclass
class Part:
    """The rows of one task, and what was dropped on the way."""

    tables: dict[Kind, Table]
    tallies: dict[Kind, Tally]


def collect(
    runs: Sequence[str | Path],
    to: str | Path,
    chosen: Options | None = None,
    on_progress: Progress | None = None,
    dry_run: bool = False,
) -> Report:
    """Turn run folders into training data.

    Args:
        runs: run folders; of equal paths the earlier run's is kept.
        to: folder to make; it may exist if it is empty.
        chosen: what is collected.
        on_progress: told after each task.
        dry_run: count and check, but write nothing.

    Raises:
        ConfigError: an option, a folder, or a held-out task; pyarrow is not installed.
        DataError: a damaged run, or no row of a kind that was asked for.
    """
    rows.import_libraries()
    chosen = chosen or Options()
    folder = Path(os.path.abspath(to))
    if not dry_run:
        check_target(folder)
    card, tables = asyncio.run(_collected([Run(path) for path in runs], chosen, on_progress))
    if dry_run:
        return Report(card, None)
    write(folder, tables, card)
    return Report(card, folder)


async def _collected(
    runs: Sequence[Run], chosen: Options, on_progress: Progress | None
) -> tuple[dict[str, Any], dict[Kind, Table]]:
    """The card, and the tables of all kinds that have rows."""
    check_runs(runs)
    worlds: dict[str, World] = {}
    try:
        sources = [open_source(run, worlds) for run in runs]
        parts, dropped = await parts_of(sources, chosen, on_progress)
    finally:
        for world in worlds.values():
            await config.close_environment(world.env)
    tables: dict[Kind, Table] = {}
    files: dict[str, Any] = {}
    notes = [
        f"{source.run.name}: only {len(source.lines)} of {source.planned} tasks have finished."
        for source in sources
        if len(source.lines) < source.planned
    ]
    for kind in chosen.wanted:
        table, tally = joined(kind, parts)
        if len(table):
            tables[kind] = table
            files[kind] = cards.describe(kind, table, tally)
            continue
        notes.append(why_empty(kind, tally, len(parts), chosen, dropped))
        if chosen.kinds is not None:
            raise DataError(notes[-1])
    if not tables:
        raise DataError(" ".join(notes))
    versions = {version for file in files.values() for version in file["policy_version"]}
    if len(versions) > 1:
        notes.append(
            f"The rows are of {len(versions)} policy versions; trainers refuse that unless told."
        )
    card = {
        "format": rows.FORMAT,
        "options": {**asdict(chosen), "kinds": chosen.wanted},
        "tasks": len(parts),
        "sources": [source.describe() for source in sources],
        "dropped_paths": dict(dropped.most_common()),
        "files": files,
        "notes": notes,
    }
    return card, tables


async def parts_of(
    sources: Sequence[Source], chosen: Options, on_progress: Progress | None
) -> tuple[list[Part], Counter[str]]:
    """The rows of each task, in order of its id, and the paths that could not be judged."""
    jobs: dict[tuple[str, str], list[Source]] = {}
    for source in sources:
        for task_id in source.tasks:
            jobs.setdefault((task_id, source.env.spec.id), []).append(source)
    dropped: Counter[str] = Counter()
    slots, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(task_id: str, searched: Sequence[Source]) -> Part:
        nonlocal done
        async with slots:
            trees = [await labelled(source, task_id, chosen, dropped) for source in searched]
            part = part_of([tree for tree in trees if tree is not None], chosen)
        done += 1
        if on_progress is not None:
            on_progress(done, len(jobs))
        return part

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(key[0], jobs[key])) for key in sorted(jobs)]
    except BaseExceptionGroup as group:
        raise first_error(group) from group
    return [each.result() for each in running], dropped


# -- before anything is read -----------------------------------------------------------


def check_target(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        ConfigError: it does, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder to make.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: already holds something; name another folder.")


def check_runs(runs: Sequence[Run]) -> None:
    """Refuse no run, and two of one name, whose rows could not be told apart.

    Raises:
        ConfigError: that is so.
    """
    if not runs:
        raise ConfigError("There is no run to collect from; name one or more run folders.")
    [(name, count)] = Counter(run.name for run in runs).most_common(1)
    if count > 1:
        raise ConfigError(
            f"{name}: {count} of the runs have this name, by which rows name their run; "
            "give each once, or rename one folder."
        )


def open_source(run: Run, worlds: dict[str, World]) -> Source:
    """A run, its environment and its tasks, none of them held out.

    Args:
        run: to collect from.
        worlds: environments made so far; this run's is added.

    Raises:
        ConfigError: a task of another split than train, or a recipe that cannot be built.
        DataError: no task has finished.
    """
    lines = {line["task_id"]: line for line in run.results}
    if not lines:
        raise DataError(f"{run.path}: none of its tasks has finished.")
    try:
        recipe = config.load_recipe(run.config)
        mark = repr(sorted(recipe.env.items()))
        if mark not in worlds:
            env = config.Builder().build("envs", "env", recipe.env, {})
            held = {task.id: split for split in HELD_OUT for task in env.tasks(split)}
            worlds[mark] = World(env, held)
    except ConfigError as error:
        raise ConfigError(f"{run.path}/config.yaml: {error}") from error
    env, choice = worlds[mark].env, recipe.tasks
    stop = None if choice.limit is None else choice.start + choice.limit
    place = slice(choice.start, stop)
    tasks = train_tasks(run, worlds[mark], lines, place)
    planned = len(choice.ids) or len(range(len(env.tasks(choice.split)))[place])
    return Source(run, recipe, env, lines, tasks, max(planned, len(lines)))


def train_tasks(run: Run, world: World, ids: Mapping[str, Any], likely: slice) -> dict[str, Task]:
    """The tasks of these ids, which must all be of the split train and of no other.

    Args:
        run: whose tasks they are.
        world: its environment.
        ids: of its results.
        likely: where in the split to look first.

    Raises:
        ConfigError: they are not.
    """
    held = [id for id in ids if id in world.held_out]
    if held:
        raise ConfigError(
            f"{run.path}: {len(held)} of its {len(ids)} tasks, such as {held[0]!r}, belong to the "
            f"split {world.held_out[held[0]]!r}, which measures policies and must not train them; "
            "collect from runs with tasks.split=train."
        )
    found: dict[str, Task] = {}
    train = world.env.tasks("train")
    places = range(len(train))
    for place in itertools.chain(places[likely], places):  # a task may be a whole world to make
        task = train[place]
        if task.id in ids:
            found[task.id] = task
            if len(found) == len(ids):
                return found
    lost = [id for id in ids if id not in found]
    raise ConfigError(
        f"{run.path}: {len(lost)} of its {len(ids)} tasks, such as {lost[0]!r}, are not in the "
        f"split 'train' of {world.env.spec.id!r}; only such tasks may train a policy."
    )


# -- labels ----------------------------------------------------------------------------

NO_TREE = "tasks that left no tree"
ANOTHER_START = "trees that begin otherwise than the task does now"
RAISED = "paths on which the environment raised"
NO_WAY = "paths to which there is no way back"
DIFFERS = "paths that led elsewhere when they were taken again"


async def labelled(
    source: Source, task_id: str, chosen: Options, dropped: Counter[str]
) -> Labelled | None:
    """The tree of a task with its ends judged; None where it cannot be used."""
    failed = source.lines[task_id].get("status") == "failed"
    if failed and not (source.run.path / "trees" / tree_name(task_id)).is_file():
        dropped[NO_TREE] += 1
        return None
    tree, task, env = source.run.tree(task_id), source.tasks[task_id], source.env
    try:
        with boundary(EnvError, "reset"):
            seed = derive_seed(source.recipe.seed, task_id, "reset")
            start = Step(await env.reset(task, seed=seed))
            same = env.observe(start.state) == tree.root.observation
    except EnvError as error:
        log.warning("task %s: %s", task_id, error)
        dropped[RAISED] += sum(node.done for node in tree.nodes)
        return None
    if not same or task.prompt != tree.prompt:
        dropped[ANOTHER_START] += 1
        return None
    leaves = [node for node in tree.nodes if node.done] if chosen.needs_labels else []
    reached: dict[int, Step[Any] | str] = {0: start}
    ended: list[Ended] = []
    for leaf in leaves:
        source.counts["paths"] += 1
        found = await judged(task, env, leaf, reached)
        if isinstance(found, str):
            dropped[found] += 1
            continue
        source.counts["replayed"] += 1
        source.counts["correct"] += found.verdict.correct
        ended.append(found)
    return Labelled(env.spec.id, source.run.name, tree, tuple(ended))


async def judged(
    task: Task, env: Environment[Any], leaf: Node, reached: dict[int, Step[Any] | str]
) -> Ended | str:
    """Take the path to a leaf again and ask the verifier; or why that cannot be done.

    Args:
        task: whose tree it is.
        env: the environment of the run.
        leaf: where an episode ends.
        reached: what came of nodes taken before, by number; the new ones are added.
    """
    path, turns = leaf.path(), list[Turn]()
    try:
        for before, node in zip(path, path[1:], strict=False):
            if node.id not in reached:
                reached[node.id] = await taken(env, reached[before.id], node)
            step = reached[node.id]
            if isinstance(step, str):
                return step
            tokens = node.proposal.tokens if node.proposal else None
            turns.append(Turn(before.observation, node.action, step.reward, tokens))
        last = reached[leaf.id]
        assert not isinstance(last, str)
        trajectory = Trajectory(
            task.id, tuple(turns), leaf.terminated, leaf.truncated, leaf.observation
        )
        with boundary(EnvError, "verify"):
            return Ended(leaf, await env.verifier.verify(task, trajectory, last.state))
    except EnvError as error:
        log.warning("task %s, leaf %d: %s", task.id, leaf.id, error)
        return RAISED


async def taken(env: Environment[Any], before: Step[Any] | str, node: Node) -> Step[Any] | str:
    """The step to a node, if it leads where the tree says."""
    if isinstance(before, str):
        return before
    try:
        with boundary(EnvError, "step"):
            step = await env.step(before.state, node.action)
            same = step.valid and env.observe(step.state) == node.observation
    except EnvError as error:
        log.warning("node %d: %s", node.id, error)
        return RAISED
    if step.stale:
        return NO_WAY
    as_seen = same and (step.terminated, step.truncated) == (node.terminated, node.truncated)
    return step if as_seen else DIFFERS


# -- rows ------------------------------------------------------------------------------


def part_of(trees: Sequence[Labelled], chosen: Options) -> Part:
    """All rows of one task as tables."""
    part = Part({}, {kind: Tally() for kind in chosen.wanted})
    for kind, tally in part.tallies.items():
        part.tables[kind] = rows.table(rows_of(kind, trees, tally, chosen), kind)
    return part


def joined(kind: Kind, parts: Sequence[Part]) -> tuple[Table, Tally]:
    """The rows of one kind of all tasks, and what was dropped."""
    import pyarrow as pa

    tally = Tally()
    for part in parts:
        tally.add(part.tallies[kind])
    return pa.concat_tables([rows.table([], kind), *(part.tables[kind] for part in parts)]), tally


def rows_of(kind: Kind, trees: Sequence[Labelled], tally: Tally, chosen: Options) -> Sequence[Row]:
    """The rows of one kind and task."""
    if kind == "sft":
        return sft_rows(
            trees,
            tally,
            min_credit=chosen.min_credit,
            successes_per_task=chosen.successes_per_task,
        )
    if kind == "preferences":
        return preference_rows(trees, tally, chosen)
    return [row for tree in trees for row in rl_rows(tree, tally)]


def why_empty(
    kind: Kind, tally: Tally, tasks: int, chosen: Options, dropped: Mapping[str, int]
) -> str:
    """Why there is no row of a kind, and what to do."""
    seen, paths = tally.seen, f"{tally.seen['paths']} finished paths of {tasks} tasks"
    advice = f"search more, or leave {kind} out with kinds=[...]"
    if kind == "preferences" and tally.most > chosen.theta:
        why = f"none of {seen['explored step pairs']} explored pairs can be trained on"
    elif kind == "preferences" and seen["explored step pairs"]:
        why = (
            f"no pair above theta={chosen.theta:g}: the widest margin of "
            f"{seen['explored step pairs']} explored pairs of {tasks} tasks is {tally.most:.3g}"
        )
        advice = f"lower theta, {advice}"
    elif kind == "preferences":
        why = (
            f"no two siblings were both visited, {seen['unvisited siblings']} of "
            f"{seen['siblings']} siblings in {tasks} tasks never were"
        )
    elif kind == "sft" and not seen["successes"]:
        why = f"no success among {paths}; the highest credit is {tally.most:.3g}"
        advice = f"lower min_credit, {advice}"
    else:
        why = f"none of {paths} can be trained on"
    lost = [f"{count} {reason}" for reason, count in (tally.drops + Counter(dropped)).items()]
    if lost:
        why += f". Dropped: {', '.join(lost)}"
    if any(reason.endswith((NO_TOKENS, NO_LOGPROBS)) for reason in tally.drops):
        advice = (
            "use an engine that gives token ids with log-probabilities (hf, or openai with "
            "logprobs=true and a vLLM server) and a policy without stop strings"
        )
    return f"{kind}: {why}. To get rows, {advice}."


# -- writing ---------------------------------------------------------------------------


def write(folder: Path, tables: Mapping[Kind, Table], card: Mapping[str, Any]) -> None:
    """Write all files beside the folder first, so that it appears whole.

    Raises:
        ConfigError: a folder of somebody else stands where they are written.
        DataError: it cannot be written.
    """
    part = folder.with_name(folder.name + ".part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for name in (*(rows.path_of(part, kind).name for kind in KINDS), *cards.FILES):
            (part / name).unlink(missing_ok=True)  # of a process that was ended
        check_target(part)
        for kind, table in tables.items():
            rows.write(part, kind, table)
        text = json.dumps(card, indent=2, ensure_ascii=False)
        for name, content in zip(cards.FILES, (text + "\n", cards.markdown(card)), strict=True):
            (part / name).write_text(content, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except OSError as cause:
        raise DataError(f"{folder}: cannot be written ({cause.strerror}).") from cause
