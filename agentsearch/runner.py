"""Many problems at once: search each, carry out its answer, verify, write the run folder.

    runs/<name>/config.yaml     the resolved recipe, seed, version, commit
                journal.sqlite  every reply of a model, written before it is used
                results.jsonl   one line a task
                trees/          one compressed JSON a task
                summary.json    success with interval, usage, counts

A run that was ended in any way goes on from its folder: finished tasks are kept, and the
others begin again with the replies in the journal, which are not asked for again.

The verifier is met here, after the search has committed, and nowhere before.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from agentsearch.budget import Budget, Limits, Metered, Replies, Usage
from agentsearch.data.runs import Run, tree_name
from agentsearch.errors import (
    AgentSearchError,
    BudgetExhausted,
    ConfigError,
    DataError,
    EnvError,
    SearchError,
    boundary,
)
from agentsearch.journal import Attempt, Journal
from agentsearch.problem import Problem
from agentsearch.protocols import Environment, SearchAlgorithm
from agentsearch.search import choose
from agentsearch.seeds import derive_seed
from agentsearch.throughput import Concurrency, Slots, Watch, at_once
from agentsearch.tree import Node, Tree
from agentsearch.types import Cycles, Step, Task, Trajectory, Turn, Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """The objects of one run; the fields mean what they mean in a recipe."""

    env: Environment[Any]
    policy: Any
    value: Any
    search: SearchAlgorithm
    limits: Limits
    mode: Literal["plan", "act"] = "plan"
    commit: int = 1
    reward_visible: bool = False
    seed: int = 0
    prefer_finished: bool | None = None
    cycles: Cycles = "keep"
    readings: tuple[Limits, ...] = ()
    chooser: Any = None

    def __post_init__(self) -> None:
        if self.commit < 1:
            raise ConfigError(f"commit={self.commit}: must be at least 1 action per decision.")
        self._check_readings()
        if getattr(self.value, "needs_reward", False) and not self.reward_visible:
            raise ConfigError(
                f"value {type(self.value).__name__} needs the reward, which is hidden; "
                "set reward_visible=true or use another value such as votes."
            )
        if getattr(self.search, "needs_chooser", False) and self.chooser is None:
            raise ConfigError(
                f"search {type(self.search).__name__} ranks actions by a chooser, and there is "
                "none; set chooser=prompted, or chooser=random for its control."
            )
        choose.rule(self.rule)
        for name, part in self.parts.items():
            object.__setattr__(self, name, metered(part))

    def _check_readings(self) -> None:
        if not self.readings:
            return
        if self.mode != "plan":
            raise ConfigError(
                "readings: in `act` mode a smaller budget leads to another episode; "
                "use mode=plan, or a run for each budget."
            )
        if not getattr(self.search, "anytime", False):
            raise ConfigError(
                f"readings: {type(self.search).__name__} is not anytime, a part of its search "
                "is not its search at a smaller budget; use a run for each budget."
            )
        for i, smaller in enumerate(self.readings):
            check_reading(f"readings[{i}]", smaller, self.limits)

    @property
    def parts(self) -> dict[str, Any]:
        """What may ask a model, by name; the chooser where there is one."""
        parts = {"policy": self.policy, "value": self.value}
        return parts if self.chooser is None else {**parts, "chooser": self.chooser}

    @property
    def rule(self) -> str:
        """Name of the search's rule for the final answer."""
        return getattr(self.search, "choose", "best_value")

    def choose(self, root: Node) -> Node:
        """The node whose path the search's rule chooses.

        Unless told otherwise, a plan prefers finished episodes and a decision does not.
        """
        finished = self.mode == "plan" if self.prefer_finished is None else self.prefer_finished
        discount = getattr(self.search, "discount", 1.0)
        return choose.rule(self.rule, finished, discount)(root)

    @property
    def oracles(self) -> list[str]:
        """Which of the parts hold the environment, so that they know the solution.

        A part that asks it for nothing but what stands in the text says so with `reads_text`.
        """
        return [
            name
            for name, part in self.parts.items()
            if hasattr(part, "env") and not getattr(part, "reads_text", False)
        ]

    @property
    def engines(self) -> list[Metered]:
        """Those of the parts, where they have any."""
        found = [getattr(part, "engine", None) for part in self.parts.values()]
        return [each for each in found if isinstance(each, Metered)]

    async def settled(self) -> Setup:
        """Let the parts decide what was left open by asking their engines."""
        asked = {k: await p.settled() for k, p in self.parts.items() if hasattr(p, "settled")}
        return replace(self, **asked)

    @property
    def setting(self) -> str:
        """What stands beside every result: mode, what search sees, what was played."""
        visible = "visible (retries allowed)" if self.reward_visible else "hidden"
        back = "can go back" if self.env.spec.reversible else "cannot go back"
        about = f", {self.env.spec.about}" if self.env.spec.about else ""
        return f"{self.mode}, reward {visible}, {back}{about}"


def check_reading(name: str, smaller: Limits, budget: Limits) -> None:
    """Refuse limits that cannot be read off a search of `budget`.

    Raises:
        ConfigError: they are limits of time, or somewhere looser than the budget.
    """
    if smaller.seconds is not None or budget.seconds is not None:
        raise ConfigError(
            f"{name}: seconds cannot be read off a longer search; "
            "limit calls, tokens, env_steps or iterations, in the budget too."
        )
    for kind in ("calls", "tokens", "env_steps"):
        most, limit = getattr(budget, kind), getattr(smaller, kind)
        if most is not None and (limit is None or limit > most):
            raise ConfigError(
                f"{name}.{kind}={limit}: the budget has {kind}={most}; give at most that."
            )
    if smaller.finite_iterations > budget.finite_iterations:
        raise ConfigError(
            f"{name}: allows {smaller.finite_iterations} iterations, more than the budget's "
            f"{budget.finite_iterations}; set iterations to at most that."
        )


@dataclass
class Result:
    """What became of one task.

    Attributes:
        status: `failed` where a part raised; `error` says which and why.
        correct, credit, reason: the verdict; a failed task is not correct.
        score: the environment's own return of the episode that was carried out.
        any_correct: whether some finished leaf of the tree would have been correct.
        truncated: whether a limit cut the episode short, the environment's or `max_steps`.
        stop: in `plan` mode why the search ended: `finished`, `budget:KIND`, or its own
            word. In `act` mode why the episode did: `terminated`, `truncated`, `max_steps`,
            or where no action was found `no action` or `budget:KIND`.
        steps: actions carried out.
        decisions: searches made, 1 in `plan` mode.
        mismatches: actions whose outcome differed from the one search had seen.
        cycles: proposals that were pruned because they lead back.
        readings: what smaller budgets would have given, see `read_off`.
        reading_calls: calls made for the readings beyond those of the search itself; no
            part of `usage`.
    """

    task_id: str
    status: Literal["ok", "failed"] = "ok"
    correct: bool = False
    credit: float = 0.0
    reason: str = ""
    score: float = 0.0
    any_correct: bool = False
    actions: list[str] = field(default_factory=list[str])
    answer: str = ""
    truncated: bool = False
    stop: str = ""
    steps: int = 0
    decisions: int = 0
    nodes: int = 0
    mismatches: int = 0
    cycles: int = 0
    readings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    reading_calls: int = 0
    error: str = ""
    usage: Usage = field(default_factory=Usage)
    tree: Tree | None = None

    def to_dict(self) -> dict[str, Any]:
        """A line of `results.jsonl`."""
        plain = {k: v for k, v in vars(self).items() if k not in ("tree", "usage")}
        return {**plain, "usage": self.usage.to_dict()}

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> Result:
        """The result of a line, without its tree; what only other versions know is left out."""
        known = {each.name for each in fields(cls)} - {"usage", "tree"}
        spent = {each.name: line["usage"].get(each.name, 0) for each in fields(Usage)}
        return cls(**{k: v for k, v in line.items() if k in known}, usage=Usage(**spent))

    def summary(self) -> str:
        """One line for people."""
        verdict = "correct" if self.correct else "failed" if self.status == "failed" else "wrong"
        what = self.answer or " ; ".join(self.actions) or "no action"
        return (
            f"{self.task_id}: {verdict} ({self.reason or self.error}); {what}; {self.nodes} nodes, "
            f"{self.usage.calls} calls, {self.usage.tokens} tokens, {self.usage.env_steps} steps"
        )


def metered(part: Any) -> Any:
    """A part with its engine metered, so that what it asks is paid for."""
    engine = getattr(part, "engine", None)
    if engine is None or isinstance(engine, Metered):
        return part
    if not is_dataclass(part) or isinstance(part, type):
        raise ConfigError(f"{type(part).__name__}: its engine is not metered; use Metered(engine).")
    return replace(part, engine=Metered(engine))


async def solve(task: Task, setup: Setup, journal: Journal | None = None) -> Result:
    """Search one task, carry out the answer, verify it.

    A part that fails is recorded on the result; a bug in an algorithm is not caught.
    """
    replies = Replies() if setup.readings else None
    result = await attempt(task, setup, replies, Attempt(task.id, journal))
    for i, limits in enumerate(setup.readings):
        known, smaller = Replies(replies), replace(setup, limits=limits, readings=())
        read = await attempt(task, smaller, known, Attempt(task.id, journal, i + 1))
        read.usage.seconds = known.seconds
        result.readings.append(reading(limits, read))
        result.reading_calls += known.asked
    if result.tree is not None:
        add_pictures(result.tree, setup.env)
    return result


async def attempt(task: Task, setup: Setup, replies: Replies | None, journaled: Attempt) -> Result:
    """Solve one task, with answers that are known already where there are any."""
    result = Result(task.id)
    try:
        with boundary(EnvError, "reset"):
            seed = derive_seed(setup.seed, task.id, "reset")
            state = await setup.env.reset(task, seed=seed)
            episode = Episode(task, setup, state, result, replies, journaled)
        result.tree = episode.problem.tree
        await (episode.plan() if setup.mode == "plan" else episode.act())
        await episode.verify()
    except SearchError as error:
        result.status, result.error = "failed", f"{type(error).__name__}: {error}"
        result.correct, result.credit = False, 0.0
        log.warning("task %s failed: %s", task.id, error)
    result.usage.seconds = journaled.seconds
    result.nodes = len(result.tree) if result.tree is not None else 0
    return result


def reading(limits: Limits, result: Result) -> dict[str, Any]:
    """What a smaller budget gives, for `Result.readings`."""
    return {
        "limits": {k: v for k, v in asdict(limits).items() if v is not None},
        "status": result.status,
        "correct": result.correct,
        "credit": result.credit,
        "score": result.score,
        "reason": result.reason or result.error,
        "stop": result.stop or result.status,
        "truncated": result.truncated,
        "steps": result.steps,
        "mismatches": result.mismatches,
        "actions": result.actions,
        "usage": result.usage.to_dict(),
    }


def add_pictures(tree: Tree, env: Environment[Any]) -> None:
    """Draw every node, where the environment can; what cannot be drawn is left without."""
    picture = getattr(env, "picture", None)
    if picture is None:
        return
    try:
        with boundary(EnvError, "picture"):
            for node in tree.nodes:
                node.extra = {**(node.extra or {}), "picture": picture(node.state)}
    except EnvError as error:
        log.warning("task %s: %s", tree.task_id, error)


class Episode:
    """One task being solved: the tree on one side, what was really done on the other."""

    def __init__(
        self,
        task: Task,
        setup: Setup,
        state: Any,
        result: Result,
        replies: Replies | None,
        journaled: Attempt,
    ) -> None:
        self.task = task
        self.setup = setup
        self.journaled = journaled
        self.state = state
        self.result = result
        self.turns: list[Turn] = []
        self.last: Step[Any] = Step(state)
        self.committed: list[int] = []
        self.problem = Problem(
            task,
            setup.env,
            setup.policy,
            setup.value,
            state=state,
            budget=Budget(setup.limits, setup.env.spec.max_steps, replies, journaled),
            seed=setup.seed,
            reward_visible=setup.reward_visible,
            cycles=setup.cycles,
            attempt=journaled,
            chooser=setup.chooser,
        )

    async def plan(self) -> None:
        """Grow one tree, then carry out its chosen path; the greedy policy finishes it."""
        with self.charged():
            leaf = await self.decide()
            leaf = await self.finish(leaf, max(self.setup.env.spec.max_steps - leaf.depth, 0))
        for node in leaf.path()[1:]:
            await self.carry_out(node)

    async def act(self) -> None:
        """Search, carry out the first `commit` actions, go on from there."""
        problem, left = self.problem, self.setup.env.spec.max_steps
        while not self.last.terminated and not self.last.truncated:
            if not left:
                self.result.stop = "max_steps"
                return
            root = problem.root
            problem.budget = Budget(
                self.setup.limits,
                finishing_steps=0 if root.children else 1,
                attempt=self.journaled,
            )
            with self.charged():
                leaf = await self.decide()
                if leaf is root:
                    leaf = await self.without_search(root)
            self.record(root)
            if leaf is root:
                return
            for node in self.searched(leaf.path()[root.depth + 1 :])[:left]:
                left -= 1
                as_seen = await self.carry_out(node)
                if not as_seen:  # what search grew below is about another state
                    node = problem.observed(node, self.last)
                    self.committed[-1] = node.id
                problem.reroot(node)
                if not as_seen:
                    break
        self.result.stop = "terminated" if self.last.terminated else "truncated"

    def record(self, root: Node) -> None:
        """Write down for the tree's readers what this decision cost and why it ended."""
        problem = self.problem
        decision = {
            "root": root.id,
            "nodes": len(problem.tree),
            "calls": problem.budget.usage.calls,
            "stop": self.result.stop,
        }
        problem.tree.meta.setdefault("decisions", []).append(decision)

    async def without_search(self, root: Node) -> Node:
        """Where no rule chose an action: the likeliest that was proposed, else the policy's."""
        if root.children:
            return max(root.children, key=lambda child: child.prior)
        try:
            after = await self.greedy_step(root)
        except BudgetExhausted as spent:
            self.result.stop = f"budget:{spent.kind}"
            return root
        if after is None:
            self.result.stop = "no action"
        return after or root

    def searched(self, path: Sequence[Node]) -> Sequence[Node]:
        """The actions to commit: the first, and those after it that search has looked at."""
        looked_at = itertools.takewhile(lambda node: node.visits, path[1 : self.setup.commit])
        return [path[0], *looked_at]

    @contextmanager
    def charged(self) -> Generator[None]:
        """Count on the result what the budget of this decision spends, come what may."""
        try:
            yield
        finally:
            self.result.usage.add(self.problem.budget.usage)
            self.result.cycles = self.problem.pruned_cycles

    async def decide(self) -> Node:
        """One search below the problem's root, and the leaf its rule chooses."""
        problem, result = self.problem, self.result
        problem.tree.meta.pop("stop", None)
        try:
            await self.setup.search.search(problem)
            spent = problem.budget.exhausted()
            ended = "budget:iterations" if problem.budget.out_of_iterations else "finished"
            stop = ended if spent is None else f"budget:{spent.kind}"
            result.stop = problem.tree.meta.get("stop", stop)
        except BudgetExhausted as spent:
            result.stop = f"budget:{spent.kind}"
        finally:
            result.decisions += 1
        return self.setup.choose(problem.root)

    async def finish(self, node: Node, steps: int) -> Node:
        """Let the greedy policy go on from `node` with what is left of the budget."""
        with suppress(BudgetExhausted):
            while not node.done and steps:
                after = await self.greedy_step(node)
                if after is None:
                    break
                node, steps = after, steps - 1
        return node

    async def greedy_step(self, node: Node) -> Node | None:
        """The child by the policy's likeliest action, if that can be read and carried out."""
        self.problem.budget.free_reserve()
        [children] = await self.problem.sample([(node, 1)], mode="greedy")
        return children[0][0] if children else None

    async def carry_out(self, node: Node) -> bool:
        """Take the action of `node` in the real episode, if that has not ended before.

        Returns:
            Whether it led where search had seen it lead.
        """
        env = self.setup.env
        if self.last.terminated or self.last.truncated:
            return True
        with boundary(EnvError, "step"):
            observation = env.observe(self.state)
            self.last = await env.step(self.state, node.action)
            same = env.key(self.last.state) == env.key(node.state)
            same = same and env.observe(self.last.state) == node.observation
        ended = (self.last.terminated, self.last.truncated)
        as_seen = same and ended == (node.terminated, node.truncated)
        self.result.usage.env_steps += (not self.last.stale) + self.last.replayed
        self.result.usage.replayed_steps += self.last.replayed
        if self.last.stale:
            self.result.mismatches += 1
            raise EnvError(f"There is no way back to carry out {node.action!r}: {self.last.stale}")
        self.result.steps += 1
        tokens = node.proposal.tokens if node.proposal else None
        self.turns.append(Turn(observation, node.action, self.last.reward, tokens))
        self.state = self.last.state
        self.committed.append(node.id)
        self.result.mismatches += not as_seen
        return as_seen

    async def verify(self) -> None:
        """Judge what was done, and label the finished leaves of the tree for reports."""
        result, env = self.result, self.setup.env
        result.actions = [turn.action for turn in self.turns]
        result.score = sum(turn.reward or 0.0 for turn in self.turns)
        result.truncated = self.last.truncated or result.stop == "max_steps"
        with boundary(EnvError, "observe"):
            final = env.observe(self.state)
        done = Trajectory(
            self.task.id, tuple(self.turns), self.last.terminated, self.last.truncated, final
        )
        verdict = await self.judge(done, self.state)
        result.correct, result.credit, result.reason = asdict(verdict).values()
        answer = getattr(env, "answer", None)
        if answer is not None and (self.last.terminated or self.last.truncated):
            with boundary(EnvError, "answer"):
                result.answer = answer(self.state)
        await self.label()

    async def label(self) -> None:
        """Credit every finished leaf, for reports; one that cannot be judged has none."""
        tree, credits = self.problem.tree, dict[str, float]()
        self.result.any_correct = self.result.correct
        for leaf in tree.root.leaves():
            if leaf.terminated:
                try:
                    verdict = await self.judge(tree.trajectory(leaf), leaf.state)
                except EnvError as error:
                    log.warning("task %s, leaf %d: %s", self.task.id, leaf.id, error)
                    continue
                credits[str(leaf.id)] = verdict.credit
                self.result.any_correct |= verdict.correct
        tree.meta |= {"committed": self.committed, "credit_after_search": credits}

    async def judge(self, trajectory: Trajectory, state: Any) -> Verdict:
        """Ask the environment's verifier."""
        with boundary(EnvError, "verify"):
            return await self.setup.env.verifier.verify(self.task, trajectory, state)


# -- many tasks, one folder ------------------------------------------------------------

Event = Callable[[str, Task, Result | None], None]
"""Told of `started`, `finished` and `failed`, with the task and its result; when a run is
resumed, first of those that are `kept`."""


async def run(
    setup: Setup,
    tasks: Sequence[Task],
    folder: RunFolder | None = None,
    *,
    concurrency: Concurrency = 16,
    on_event: Event | None = None,
    journal: Journal | None = None,
    watch: Watch | None = None,
) -> list[Result]:
    """Solve `tasks`, at most `concurrency` at a time, and write each as it ends.

    Replies are recorded in the folder's journal, or in `journal` where there is no folder.
    A `watch` looks at the engines meanwhile; with `auto` there is one anyway.

    Returns:
        Results in the order of `tasks`; their trees are kept only without a folder.
    """
    if concurrency != "auto" and concurrency < 1:
        raise ConfigError(f"concurrency={concurrency}: must be at least 1, or auto.")
    slots = Slots(at_once(concurrency))
    if concurrency == "auto":
        watch = watch or Watch(setup.engines)
        watch.slots = slots
    journal = journal if folder is None else folder.journal

    async def one(task: Task) -> Result:
        async with slots:
            if on_event:
                on_event("started", task, None)
            result = await solve(task, setup, journal)
            if folder is not None:
                folder.write(result)
                result.tree = None
            if on_event:
                on_event("finished" if result.status == "ok" else "failed", task, result)
            return result

    try:
        async with watch or nullcontext(), asyncio.TaskGroup() as group:
            running = [group.create_task(one(task)) for task in tasks]
    except BaseExceptionGroup as group:  # of tasks side by side: a user's error is shown alone
        errors = group.subgroup(AgentSearchError)
        if errors is None:
            raise
        raise first_error(errors) from group
    return [each.result() for each in running]


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first error inside nested groups."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error


class RunFolder:
    """Writes one run; every file appears whole, results a line at a time.

    Attributes:
        finished: results that an earlier process wrote, in order of finishing.
    """

    def __init__(self, path: Path, config: dict[str, Any] | None) -> None:
        """Make the folder, or go on with it where there is no `config`.

        Raises:
            ConfigError: it holds another run, or another process is at work in it.
            DataError: it cannot be written, or holds no run to go on with.
        """
        import yaml

        if config is not None and path.exists() and any(path.iterdir()):
            raise ConfigError(f"{path}: already holds a run; choose another name with run=NAME.")
        self.path = path
        self.summary: dict[str, Any] = {}
        try:
            (path / "trees").mkdir(parents=True, exist_ok=True)
            self._lock = lock(path)
            if config is not None:
                write_whole(path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
            self.finished = finished_results(path)
            self.journal = Journal(path / "journal.sqlite")
            self._results = (path / "results.jsonl").open(
                "a", encoding="utf-8", errors="backslashreplace"
            )
        except OSError as cause:
            raise DataError(f"{path}: cannot be written ({cause.strerror}).") from cause

    def write(self, result: Result) -> None:
        """Write a finished task: first its tree, then its line.

        Raises:
            DataError: the disk is full, or the folder is gone.
        """
        try:
            if result.tree is not None:
                result.tree.save(self.path / "trees" / tree_name(result.task_id))
            self._results.write(json.dumps(result.to_dict(), ensure_ascii=False) + "\n")
            self._results.flush()
        except OSError as cause:
            raise DataError(
                f"{self.path}: task {result.task_id} cannot be written ({cause.strerror}); "
                "the tasks before it are kept. Make room, then resume the run."
            ) from cause

    @contextmanager
    def closing(self, summary: Callable[[], dict[str, Any]]) -> Generator[None]:
        """Close with the summary of what was done inside.

        An error inside outranks one of closing: what went wrong first is what a user must hear.
        """
        try:
            yield
        except BaseException:
            with suppress(DataError):
                self.close(summary())
            raise
        self.close(summary())

    def close(self, summary: dict[str, Any]) -> None:
        """Write the summary and close.

        Raises:
            DataError: the disk is full, or the folder is gone.
        """
        self.summary = summary
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        try:
            self.journal.close()
            self._results.close()
            write_whole(self.path / "summary.json", text + "\n")
        except OSError as cause:
            raise DataError(
                f"{self.path}: the summary cannot be written ({cause.strerror}); "
                "the finished tasks are kept."
            ) from cause
        finally:
            self._lock.release()


def lock(path: Path) -> FileLock:
    """Take a run folder for this process alone, until it lets go or dies.

    Raises:
        ConfigError: another process holds it.
    """
    taken = FileLock(path / "lock")
    try:
        taken.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"{path}: another process is at work in it; wait for its end or stop it."
        ) from None
    return taken


def finished_results(path: Path) -> list[Result]:
    """The tasks that had finished, without a last line that was cut short by a crash.

    Raises:
        DataError: a line before the last is damaged.
    """
    file = path / "results.jsonl"
    if not file.exists():
        return []
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(file, len(whole))
    return [Result.from_dict(line) for line in Run(path).results]


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(partial, path)


def summarise(
    results: Sequence[Result], setting: str = "", oracles: Sequence[str] = ()
) -> dict[str, Any]:
    """Success with its 95 % Wilson interval, mean score, usage and counts of failures.

    Args:
        results: one a task.
        setting: what stands beside the result, `Setup.setting`.
        oracles: which parts know the solution, `Setup.oracles`; such a row is no result.
    """
    n = len(results)
    correct = sum(result.correct for result in results)
    low, high = wilson(correct, n)
    usage = Usage()
    for result in results:
        usage.add(result.usage)
    return {
        "setting": setting,
        "oracle": list(oracles),
        "tasks": n,
        "correct": correct,
        "success": correct / n if n else 0.0,
        "success_low": low,
        "success_high": high,
        "mean_credit": sum(r.credit for r in results) / n if n else 0.0,
        "mean_score": sum(r.score for r in results) / n if n else 0.0,
        "best_leaf_correct": sum(result.any_correct for result in results),
        "failed": sum(result.status == "failed" for result in results),
        "truncated": sum(result.truncated for result in results),
        "mean_steps": sum(result.steps for result in results) / n if n else 0.0,
        "mismatches": sum(result.mismatches for result in results),
        "cycles": sum(result.cycles for result in results),
        "stops": _counts(result.stop for result in results),
        "usage": usage.to_dict(),
    }


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson, 1927); (0, 1) without data."""
    if not n:
        return 0.0, 1.0
    from scipy.stats import binomtest  # half a second to import: only where it is used

    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _counts(words: Any) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(words).most_common())
