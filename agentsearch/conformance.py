"""The contracts of plug-ins, as checks that say what was broken and where.

    from agentsearch.conformance import check_environment

    broken = [finding for finding in check_environment(MyEnv()) if not finding.passed]

Every check is one function below, and its first line is the contract. A check that does
not apply passes and says so. Nothing is printed or written.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import math
import pickle
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from agentsearch import registry
from agentsearch.budget import Account, Budget, Limits
from agentsearch.choosers.plain import RandomChooser
from agentsearch.config import (
    Builder,
    as_component,
    close_environment,
    engine_component,
    load_recipe,
)
from agentsearch.errors import AgentSearchError, BudgetExhausted, ConfigError
from agentsearch.policies.scripted import Random
from agentsearch.problem import Problem
from agentsearch.protocols import (
    Chooser,
    Engine,
    Environment,
    NodePolicy,
    NodeValue,
    Policy,
    SearchAlgorithm,
    ValueModel,
)
from agentsearch.search import choose
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node, Tree
from agentsearch.types import (
    Completion,
    Context,
    EnvSpec,
    Message,
    Proposal,
    ProposeMode,
    Request,
    Step,
    Task,
    Trajectory,
    Turn,
    Verdict,
)
from agentsearch.values.plain import ScriptedValue, Uniform

SPLITS = ("train", "dev", "test")
NONSENSE = ("", "\x00 no such action \x00")
PLENTY = Limits(calls=100_000, iterations=200)

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """What one check found; `detail` says what is wrong, or what was looked at."""

    name: str
    passed: bool
    detail: str = ""


class _Broken(Exception):
    """A contract that does not hold."""


def _expect(holds: bool, detail: str) -> None:
    if not holds:
        raise _Broken(detail)


Contract = Callable[[Any], Awaitable[str | None]]


async def _findings(contracts: Sequence[Contract], subject: Any) -> list[Finding]:
    """Every contract on its own; whatever is raised is a finding too."""
    found: list[Finding] = []
    for contract in contracts:
        name = contract.__name__.strip("_").replace("_", " ")
        try:
            detail = await contract(subject)
        except _Broken as broken:
            found.append(Finding(name, False, str(broken)))
        except Exception as error:  # a plug-in may raise anything
            found.append(Finding(name, False, f"raised {type(error).__name__}: {error}"))
        else:
            found.append(Finding(name, True, detail or ""))
    return found


def check(kind: str, name: str) -> list[Finding]:
    """Check the plug-in of that kind and name, made with its defaults.

    Policies, values and choosers meet the environment `game24`, searches a tiny one of this
    module.

    Args:
        kind: envs, search, policies, values, choosers or engines.
        name: a registered name or `module:Class`; policies and engines also as
            `hf:PATH` or `openai:MODEL@URL`.

    Raises:
        AgentSearchError: it cannot be made, or there are no checks for its kind.
    """
    return asyncio.run(_check(kind, name))


async def _check(kind: str, name: str) -> list[Finding]:
    builder = Builder()
    component: dict[str, Any] = {"name": name}
    registered = name in registry.names(kind)
    try:
        if kind == "envs":
            return await _environment(builder.build(kind, "env", component, {}))
        if kind == "search":
            return await _search(builder.build(kind, "search", component, {}))
        if kind == "engines":
            component = component if registered or not _is_engine(name) else engine_component(name)
            return await _engine(builder.build(kind, "engine", component, {}))
        if kind == "policies":
            component = component if registered else as_component("policy", name)
            setup = builder.setup(load_recipe({"policy": component, "value": "uniform"}))
            return await _policy(setup.policy, setup.env)
        if kind == "values":
            recipe = {"policy": "random", "value": component, "reward_visible": True}
            setup = builder.setup(load_recipe(recipe))
            return await _value(setup.value, setup.env)
        if kind == "choosers":
            recipe = {"policy": "random", "value": "uniform", "chooser": component}
            setup = builder.setup(load_recipe(recipe))
            return await _chooser(setup.chooser, setup.env)
    finally:
        await builder.close()
    raise ConfigError(f"{kind}: there are no checks for a {registry.SINGULAR[kind]} yet.")


def _is_engine(name: str) -> bool:
    return name.partition(":")[0] in registry.names("engines")


# -- environments ----------------------------------------------------------------------


@dataclass(frozen=True)
class _World:
    env: Environment[Any]
    split: str
    count: int
    seed: int

    def tasks(self) -> list[Task]:
        """The first tasks of the split."""
        tasks = list(self.env.tasks(self.split)[: self.count])
        _expect(bool(tasks), f"split {self.split!r} has no tasks")
        return tasks

    async def walk(self, task: Task) -> AsyncIterator[tuple[Any, str, Step[Any]]]:
        """A random episode, or the oracle's where actions are open: state, action, step."""
        env, rng = self.env, random.Random(derive_seed(self.seed, task.id, "walk"))
        state = await env.reset(task, seed=self.seed)
        for _ in range(env.spec.max_steps):
            legal = env.legal_actions(state)
            action = rng.choice(list(legal)) if legal else _oracle_action(env, state)
            if action is None:
                return
            step = await env.step(state, action)
            yield state, action, step
            state = step.state
            if step.terminated or step.truncated:
                return


def check_environment(
    env: Environment[Any], split: str = "train", tasks: int = 3, seed: int = 0
) -> list[Finding]:
    """Check an environment on the first tasks of a split."""
    return asyncio.run(_environment(env, split, tasks, seed))


async def _environment(
    env: Environment[Any], split: str = "train", tasks: int = 3, seed: int = 0
) -> list[Finding]:
    try:
        return await _findings(ENVIRONMENT, _World(env, split, tasks, seed))
    finally:
        await close_environment(env)


async def _spec_is_sane(world: _World) -> None:
    """The spec names the environment, its version, its actions and a step limit."""
    spec = world.env.spec
    _expect(isinstance(spec, EnvSpec), f"spec is a {type(spec).__name__}, not an EnvSpec")  # pyright: ignore[reportUnnecessaryIsInstance]
    _expect(
        bool(spec.id and spec.version), f"id={spec.id!r}, version={spec.version!r}: one is empty"
    )
    _expect(spec.max_steps >= 1, f"max_steps={spec.max_steps}: an episode needs at least 1")
    _expect(spec.actions in ("finite", "template", "open"), f"actions={spec.actions!r}")


async def _splits_are_disjoint(world: _World) -> str:
    """No task id stands twice, in one split or in two."""
    seen: dict[str, str] = {}
    sizes: list[str] = []
    for split in SPLITS:
        tasks = world.env.tasks(split)
        sizes.append(f"{split} {len(tasks)}")
        for task in tasks:
            _expect(bool(task.id and task.prompt), f"task {task.id!r}: its id or prompt is empty")
            _expect(task.id not in seen, f"task {task.id!r}: in {seen.get(task.id)} and {split}")
            seen[task.id] = split
    return ", ".join(sizes)


async def _reset_depends_on_task_and_seed_alone(world: _World) -> None:
    """Two resets with one seed give equal states, keys and observations."""
    for task in world.tasks():
        first, again = [await _unseeded(world.env.reset(task, seed=world.seed)) for _ in range(2)]
        _expect_equal(world.env, first, again, f"{task.id}: two resets with seed {world.seed}")


async def _steps_depend_on_state_and_action_alone(world: _World) -> str:
    """The same action in the same state leads to the same."""
    env, steps = world.env, 0
    for task in world.tasks():
        async for state, action, step in world.walk(task):
            again = await _unseeded(env.step(state, action))
            where = f"{task.id}: {action!r} taken twice"
            _expect_equal(env, step.state, again.state, where)
            _expect(_outcome(step) == _outcome(again), f"{where}: {step} and {again}")
            steps += 1
    return _walked(steps)


async def _step_leaves_its_input_untouched(world: _World) -> str:
    """A state is a value: taking an action does not change it."""
    env, steps = world.env, 0
    for task in world.tasks():
        async for state, action, _ in world.walk(task):
            before, copied = (env.key(state), env.observe(state)), _copy(state)
            for each in (action, *NONSENSE):
                await env.step(state, each)
                where = f"{task.id}: {each!r} changed the state it was taken in"
                _expect((env.key(state), env.observe(state)) == before, where)
                _expect(copied is None or copied == state, where)
            steps += 1
    return _walked(steps)


async def _keys_are_stable(world: _World) -> str:
    """A key can be hashed, and asking again for key, observation or actions changes nothing."""
    env, steps = world.env, 0
    for task in world.tasks():
        async for _, _, step in world.walk(task):
            state = step.state
            key: Hashable = env.key(state)
            _expect(hash(key) == hash(env.key(state)), f"{task.id}: two hashes for one state")
            _expect_equal(env, state, state, f"{task.id}: asked twice about one state")
            _expect(
                env.legal_actions(state) == env.legal_actions(state),
                f"{task.id}: two lists of actions for one state",
            )
            steps += 1
    return _walked(steps)


async def _legal_actions_are_valid(world: _World) -> str:
    """Every listed action, once, can be carried out; `finite` environments list them all."""
    env, tried, form = world.env, 0, world.env.spec.actions
    for task in world.tasks():
        async for state, _, _ in world.walk(task):
            legal = env.legal_actions(state)
            _expect(
                form != "finite" or bool(legal), f"{task.id}: actions=finite, but none is listed"
            )
            _expect(
                form != "open" or legal is None, f"{task.id}: actions=open, but some are listed"
            )
            listed = list(legal or ())
            _expect(len(set(listed)) == len(listed), f"{task.id}: an action is listed twice")
            for action in random.Random(world.seed).sample(listed, min(len(listed), 12)):
                step = await env.step(state, action)
                _expect(step.valid, f"{task.id}: {action!r} is listed as legal, but is not valid")
                tried += 1
    return f"{tried} listed actions tried" if tried else "no action is listed anywhere"


async def _an_invalid_action_is_flagged_and_changes_nothing(world: _World) -> str:
    """Nonsense never raises: it is flagged and the state stays, or the form is open."""
    env, flagged = world.env, 0
    for task in world.tasks():
        state = await env.reset(task, seed=world.seed)
        for action in NONSENSE:
            step = await env.step(state, action)
            _expect(
                not step.valid or env.spec.actions != "finite",
                f"{task.id}: {action!r} is no legal action, but the step says valid=True",
            )
            if not step.valid:
                _expect_equal(
                    env, state, step.state, f"{task.id}: before and after invalid {action!r}"
                )
                flagged += 1
    return f"{flagged} flagged" if flagged else "any text is an action here"


async def _episodes_end_within_max_steps(world: _World) -> str:
    """Random play never raises, pays finite rewards, and ends by `max_steps` actions."""
    limit, lengths = world.env.spec.max_steps, list[int]()
    for task in world.tasks():
        length, ended = 0, True
        async for _, action, step in world.walk(task):
            _expect(math.isfinite(step.reward), f"{task.id}: {action!r} pays {step.reward}")
            length, ended = length + 1, step.terminated or step.truncated
        _expect(ended or length < limit, f"{task.id}: not ended after max_steps={limit} actions")
        lengths.append(length)
    return f"lengths {', '.join(map(str, lengths))}"


async def _observations_are_text(world: _World) -> None:
    """An observation is a string, and not the task's own words again."""
    for task in world.tasks():
        state = await world.env.reset(task, seed=world.seed)
        text = world.env.observe(state)
        _expect(isinstance(text, str), f"{task.id}: observe gives a {type(text).__name__}")  # pyright: ignore[reportUnnecessaryIsInstance]
        _expect(len(task.prompt) < 20 or task.prompt not in text, f"{task.id}: repeats the prompt")


async def _the_verifier_judges(world: _World) -> None:
    """A verdict has credit in [0, 1], and full credit where it is correct."""
    for task in world.tasks():
        verdict = await _verified(world, task, [step async for step in world.walk(task)])
        _expect(isinstance(verdict, Verdict), f"{task.id}: {verdict!r} is no Verdict")  # pyright: ignore[reportUnnecessaryIsInstance]
        _expect(0.0 <= verdict.credit <= 1.0, f"{task.id}: credit={verdict.credit}")


async def _the_oracle_solves_its_tasks(world: _World) -> str:
    """Where there is an oracle, its actions pass the verifier."""
    env = world.env
    if getattr(env, "oracle", None) is None:
        return "there is none"
    for task in world.tasks():
        state, taken = await env.reset(task, seed=world.seed), list[tuple[Any, str, Step[Any]]]()
        for _ in range(env.spec.max_steps):
            action = _oracle_action(env, state)
            if action is None:
                break
            step = await env.step(state, action)
            _expect(step.valid, f"{task.id}: the oracle's {action!r} is not valid")
            taken.append((state, action, step))
            state = step.state
            if step.terminated or step.truncated:
                break
        verdict = await _verified(world, task, taken)
        actions = " ; ".join(action for _, action, _ in taken)
        _expect(verdict.correct, f"{task.id}: {verdict.reason} after {actions or 'no action'}")
    return f"{len(world.tasks())} tasks solved"


ENVIRONMENT: tuple[Contract, ...] = (
    _spec_is_sane,
    _splits_are_disjoint,
    _reset_depends_on_task_and_seed_alone,
    _steps_depend_on_state_and_action_alone,
    _step_leaves_its_input_untouched,
    _keys_are_stable,
    _legal_actions_are_valid,
    _an_invalid_action_is_flagged_and_changes_nothing,
    _episodes_end_within_max_steps,
    _observations_are_text,
    _the_verifier_judges,
    _the_oracle_solves_its_tasks,
)


async def _unseeded(work: Awaitable[T]) -> T:
    """`work` with another state of Python's global generator, which nobody may use."""
    before = random.getstate()
    random.seed()
    try:
        return await work
    finally:
        random.setstate(before)


def _expect_equal(env: Environment[Any], one: Any, other: Any, where: str) -> None:
    _expect(env.key(one) == env.key(other), f"{where}: the keys differ")
    _expect(env.observe(one) == env.observe(other), f"{where}: the observations differ")
    _expect(one == other, f"{where}: the states differ, though their keys do not")


def _outcome(step: Step[Any]) -> tuple[float, bool, bool, bool]:
    return step.reward, step.terminated, step.truncated, step.valid


def _copy(state: Any) -> Any:
    """The state as it is now, or None where it cannot be copied."""
    try:
        return pickle.loads(pickle.dumps(state))
    except Exception:  # live objects; key and observation still tell
        return None


def _walked(steps: int) -> str:
    return f"{steps} steps" if steps else "no finite actions and no oracle: nothing was tried"


def _oracle_action(env: Environment[Any], state: Any) -> str | None:
    oracle = getattr(env, "oracle", None)
    return None if oracle is None else oracle().action(state)


async def _verified(
    world: _World, task: Task, taken: Sequence[tuple[Any, str, Step[Any]]]
) -> Verdict:
    env = world.env
    turns = tuple(Turn(env.observe(state), action, step.reward) for state, action, step in taken)
    last = taken[-1][2] if taken else Step(await env.reset(task, seed=world.seed))
    done = Trajectory(task.id, turns, last.terminated, last.truncated, env.observe(last.state))
    return await env.verifier.verify(task, done, last.state)


# -- policies, values and choosers -----------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """A policy, value model or chooser, and the nodes it is asked about."""

    part: Any
    env: Environment[Any]
    seed: int
    problem: Problem
    nodes: Sequence[Node]

    async def propose(self, node: Node, n: int, mode: ProposeMode) -> tuple[list[Proposal], int]:
        """Its proposals, and the calls it was charged."""
        account, policy = Account(self.problem.budget), self.part
        if isinstance(policy, NodePolicy):
            found = await policy.propose_at(
                self.problem, node, n, seed=self.seed, mode=mode, account=account
            )
        else:
            context = self.problem.context(node, account)
            found = await policy.propose(context, n, seed=self.seed, mode=mode)
        return found, account.usage.calls

    async def value(self, node: Node) -> tuple[float, int]:
        """Its value, and the calls it was charged."""
        account, model = Account(self.problem.budget), self.part
        if isinstance(model, NodeValue):
            return await model.value_at(self.problem, node, seed=self.seed), 0
        context = self.problem.context(node, account)
        return await model.value(context, seed=self.seed), account.usage.calls

    async def choose(self, node: Node, options: Sequence[str]) -> tuple[int, int]:
        """Its choice, and the calls it was charged."""
        account = Account(self.problem.budget)
        context = self.problem.context(node, account)
        return await self.part.choose(context, options, seed=self.seed), account.usage.calls


async def _asked(
    part: Any, env: Environment[Any], policy: Any, value: Any, seed: int = 0
) -> _Asked:
    """The start of a task, and two states further on, by its oracle or first actions."""
    task = env.tasks("train")[0]
    state = await env.reset(task, seed=seed)
    budget = Budget(PLENTY)
    problem = Problem(
        task, env, policy, value, state=state, budget=budget, seed=seed, reward_visible=True
    )
    nodes = [problem.root]
    for _ in range(2):
        legal = env.legal_actions(nodes[-1].state)
        action = _oracle_action(env, nodes[-1].state) or next(iter(legal or ()), None)
        child = await problem.step(nodes[-1], action) if action is not None else None
        if child is None or child.done:
            break
        nodes.append(child)
    return _Asked(part, env, seed, problem, nodes)


def check_policy(policy: Policy | NodePolicy, env: Environment[Any]) -> list[Finding]:
    """Check a policy on the first states of a task of `env`."""
    return asyncio.run(_policy(policy, env))


async def _policy(policy: Any, env: Environment[Any]) -> list[Finding]:
    return await _findings(POLICY, await _asked(policy, env, policy, Uniform()))


async def _proposals_are_well_formed(asked: _Asked) -> str:
    """A proposal has an action or None, a count, and a probability for a prior."""
    made, read, valid = 0, 0, 0
    for node in asked.nodes:
        for mode in ("sample", "distinct", "greedy"):
            proposals, _ = await asked.propose(node, 3, mode)
            for each in proposals:
                _expect(isinstance(each, Proposal), f"{mode}: {each!r} is no Proposal")  # pyright: ignore[reportUnnecessaryIsInstance]
                _expect(
                    each.action != "", f"{mode}: an empty action; use None for an unreadable one"
                )
                _expect(each.count >= 1, f"{mode}: count={each.count} for {each.action!r}")
                in_range = each.prior is None or 0.0 <= each.prior <= 1.0 + 1e-6
                _expect(in_range, f"{mode}: prior={each.prior} for {each.action!r}")
                likely = each.logprob is None or each.logprob <= 1e-6
                _expect(likely, f"{mode}: logprob={each.logprob} for {each.action!r}")
                made, read = made + 1, read + (each.action is not None)
                if each.action is not None:
                    valid += (await asked.env.step(node.state, each.action)).valid
    return f"of {made} proposals {read} could be read and {valid} carried out"


async def _no_more_is_proposed_than_asked_for(asked: _Asked) -> None:
    """At most n samples or candidates, and one where greedy."""
    for n in (1, 2, 5):
        for mode in ("sample", "distinct", "greedy"):
            proposals, _ = await asked.propose(asked.nodes[0], n, mode)
            counted = sum(each.count for each in proposals) if mode == "sample" else len(proposals)
            most = 1 if mode == "greedy" else n
            _expect(counted <= most, f"{mode}, n={n}: {counted} came back")


async def _the_same_seed_proposes_the_same(asked: _Asked) -> None:
    """Node, seed and mode decide the proposals."""
    for node in asked.nodes:
        for mode in ("sample", "distinct", "greedy"):
            first, _ = await asked.propose(node, 3, mode)
            again, _ = await _unseeded(asked.propose(node, 3, mode))
            told = [[(p.action, p.raw, p.count) for p in each] for each in (first, again)]
            _expect(told[0] == told[1], f"{mode}: {told[0]} and then {told[1]}")


async def _proposing_is_paid_for(asked: _Asked) -> str:
    """A policy with an engine hands the account of its context on."""
    if getattr(asked.part, "engine", None) is None:
        return "it has no engine"
    _, calls = await asked.propose(asked.nodes[0], 2, "sample")
    _expect(calls > 0, "nothing was charged; pass account=context.account in each Request")
    return f"{calls} calls for 2 samples"


POLICY: tuple[Contract, ...] = (
    _proposals_are_well_formed,
    _no_more_is_proposed_than_asked_for,
    _the_same_seed_proposes_the_same,
    _proposing_is_paid_for,
)


def check_value(value: ValueModel | NodeValue, env: Environment[Any]) -> list[Finding]:
    """Check a value model on the first states of a task of `env`."""
    return asyncio.run(_value(value, env))


async def _value(value: Any, env: Environment[Any]) -> list[Finding]:
    return await _findings(VALUE, await _asked(value, env, Random(env), value))


async def _values_are_finite_numbers(asked: _Asked) -> str:
    """A value is one finite number, in reward units."""
    values: list[float] = []
    for node in asked.nodes:
        value, _ = await asked.value(node)
        _expect(isinstance(value, float | int), f"{value!r} is a {type(value).__name__}")  # pyright: ignore[reportUnnecessaryIsInstance]
        _expect(math.isfinite(value), f"{value} at {node.observation!r}")
        values.append(value)
    return ", ".join(f"{value:.4g}" for value in values)


async def _the_same_seed_values_the_same(asked: _Asked) -> None:
    """Node and seed decide the value."""
    for node in asked.nodes:
        first, _ = await asked.value(node)
        again, _ = await _unseeded(asked.value(node))
        _expect(first == again, f"{first} and then {again} at {node.observation!r}")


async def _valuing_is_paid_for(asked: _Asked) -> str:
    """A value model with an engine hands the account of its context on."""
    if getattr(asked.part, "engine", None) is None:
        return "it has no engine"
    _, calls = await asked.value(asked.nodes[0])
    _expect(calls > 0, "nothing was charged; pass account=context.account in each Request")
    return f"{calls} calls for a value"


VALUE: tuple[Contract, ...] = (
    _values_are_finite_numbers,
    _the_same_seed_values_the_same,
    _valuing_is_paid_for,
)


def check_chooser(chooser: Chooser, env: Environment[Any]) -> list[Finding]:
    """Check a chooser on the first states of a task of `env`."""
    return asyncio.run(_chooser(chooser, env))


async def _chooser(chooser: Any, env: Environment[Any]) -> list[Finding]:
    return await _findings(CHOOSER, await _asked(chooser, env, Random(env), Uniform()))


def _options(asked: _Asked, node: Node) -> list[str]:
    """Up to five actions at `node`, or any words where the list is open."""
    return list(asked.env.legal_actions(node.state) or ("one", "two", "three"))[:5]


async def _a_choice_is_an_index_of_the_options(asked: _Asked) -> str:
    """Of however many options one is named, by its place from 0."""
    found: list[str] = []
    for node in asked.nodes:
        options = _options(asked, node)
        for some in (options, options[:1]):
            choice, _ = await asked.choose(node, some)
            sound = isinstance(choice, int) and 0 <= choice < len(some)  # pyright: ignore[reportUnnecessaryIsInstance]
            _expect(sound, f"{choice!r} is no index of {some}")
            found.append(f"{choice} of {len(some)}")
    return ", ".join(found)


async def _the_same_seed_chooses_the_same(asked: _Asked) -> None:
    """Node, options and seed decide the choice."""
    for node in asked.nodes:
        options = _options(asked, node)
        first, _ = await asked.choose(node, options)
        again, _ = await _unseeded(asked.choose(node, options))
        _expect(first == again, f"{first} and then {again} of {options}")


async def _choosing_is_paid_for(asked: _Asked) -> str:
    """A chooser with an engine hands the account of its context on."""
    if getattr(asked.part, "engine", None) is None:
        return "it has no engine"
    _, calls = await asked.choose(asked.nodes[0], _options(asked, asked.nodes[0]))
    _expect(calls > 0, "nothing was charged; pass account=context.account in each Request")
    return f"{calls} calls for a choice"


CHOOSER: tuple[Contract, ...] = (
    _a_choice_is_an_index_of_the_options,
    _the_same_seed_chooses_the_same,
    _choosing_is_paid_for,
)


# -- searches --------------------------------------------------------------------------


@dataclass(frozen=True)
class Digits:
    """The tiny environment searches are checked on: write 3 digits of 0, 1, 2; 201 pays 1."""

    @property
    def spec(self) -> EnvSpec:
        """Waiting is part of the check, so steps are not instant."""
        return EnvSpec("digits", "1", max_steps=3, instant=False)

    @property
    def verifier(self) -> Digits:
        """Itself."""
        return self

    def tasks(self, split: str) -> Sequence[Task]:
        """One task a split."""
        return (Task(f"digits/{split}", "Write three digits."),)

    async def reset(self, task: Task, *, seed: int) -> str:
        """Nothing written."""
        return ""

    async def step(self, state: str, action: str) -> Step[str]:
        """One digit more; any other text is invalid."""
        await asyncio.sleep(0)
        if len(state) == 3 or action not in ("0", "1", "2"):
            return Step(state, terminated=len(state) == 3, valid=False)
        after = state + action
        return Step(after, reward=float(after == "201"), terminated=len(after) == 3)

    def observe(self, state: str) -> str:
        """What is written."""
        return state

    def legal_actions(self, state: str) -> Sequence[str]:
        """The digits."""
        return () if len(state) == 3 else ("0", "1", "2")

    def key(self, state: str) -> Hashable:
        """What is written."""
        return state

    async def verify(self, task: Task, trajectory: Trajectory, state: object) -> Verdict:
        """Whether 201 was written."""
        return Verdict(state == "201", float(state == "201"), str(state))


@dataclass(frozen=True)
class _Dice:
    """Independent digits; `hasty` replies in another order than it was asked."""

    hasty: bool = False

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]:
        for _ in range(random.randrange(5) if self.hasty else 1):
            await asyncio.sleep(0)
        count = 1 if mode == "greedy" else n
        digits = [str(derive_seed(seed, i) % 3) for i in range(count)]
        return [Proposal(digit, digit) for digit in digits]


def _worth(context: Context) -> float:
    noise = derive_seed(context.observation) % 1000 / 5000
    return noise + sum(a == b for a, b in zip(context.observation, "201", strict=False)) / 4


@dataclass(frozen=True)
class _Trial:
    """A search algorithm, and how long it may take on the tiny environment."""

    search: Any
    patience_s: float

    async def grow(
        self, limits: Limits, seed: int = 0, *, visible: bool = True, hasty: bool = False
    ) -> Problem:
        """A problem after the search; ending by an exhausted budget is in order."""
        env = Digits()
        problem = Problem(
            env.tasks("train")[0],
            env,
            _Dice(hasty),
            ScriptedValue(_worth),
            state="",
            budget=Budget(limits),
            seed=seed,
            reward_visible=visible,
            chooser=RandomChooser(),
        )
        with contextlib.suppress(BudgetExhausted):
            try:
                await asyncio.wait_for(self.search.search(problem), self.patience_s)
            except TimeoutError:
                late = f"did not stop with {limits} within {self.patience_s:g} s"
                raise _Broken(late) from None
        return problem


def check_search(search: SearchAlgorithm, *, patience_s: float = 20.0) -> list[Finding]:
    """Check a search algorithm on a tiny environment.

    Args:
        search: the algorithm.
        patience_s: a single search that takes longer counts as stuck.
    """
    return asyncio.run(_search(search, patience_s))


async def _search(search: Any, patience_s: float = 20.0) -> list[Finding]:
    return await _findings(SEARCH, _Trial(search, patience_s))


async def _it_grows_a_tree(trial: _Trial) -> str:
    """With budget to spare there is more than a root, reward visible or not."""
    visible, hidden = [await trial.grow(PLENTY, visible=each) for each in (True, False)]
    _expect(len(visible.tree) > 1 and len(hidden.tree) > 1, "the tree is a root alone")
    return f"{len(visible.tree)} nodes"


async def _it_stays_within_its_budget(trial: _Trial) -> None:
    """No limit of calls, steps or rounds is ever overrun."""
    kinds: tuple[Literal["calls", "env_steps"], ...] = ("calls", "env_steps")
    for kind in kinds:
        for limit in range(1, 16):
            problem = await trial.grow(Limits(**{kind: limit}))
            spent = getattr(problem.budget.usage, kind)
            _expect(spent <= limit, f"{kind}={limit}: {spent} were spent")
    problem = await trial.grow(Limits(iterations=3))
    _expect(problem.budget.iterations <= 3, "iterations=3 was overrun")


async def _it_can_be_stopped_anywhere(trial: _Trial) -> None:
    """Whenever the budget ends, the tree is whole and gives an answer."""
    rule = choose.rule(getattr(trial.search, "choose", "best_value"))
    for limit in range(1, 16):
        problem = await trial.grow(Limits(calls=limit))
        tree = problem.tree
        _expect(
            rule(problem.root) in tree.nodes, f"calls={limit}: the answer is no node of the tree"
        )
        for node in tree.nodes:
            _expect(node.visits >= 0, f"calls={limit}: {node!r} has {node.visits} visits")
            _expect(math.isfinite(node.value_sum), f"calls={limit}: {node!r}: {node.value_sum}")
        again = Tree.from_json(tree.to_json())
        _expect(len(again) == len(tree), f"calls={limit}: the tree does not survive JSON")


async def _the_same_seed_grows_the_same_tree(trial: _Trial) -> None:
    """Task, seed and budget decide the tree."""
    for seed in range(3):
        first = await trial.grow(Limits(calls=40), seed)
        again = await _unseeded(trial.grow(Limits(calls=40), seed))
        _expect(first.tree.to_json() == again.tree.to_json(), f"seed {seed} grew two trees")


async def _the_order_of_replies_does_not_matter(trial: _Trial) -> None:
    """Whichever reply comes first, the tree is the same."""
    for seed in range(5):
        first = await trial.grow(Limits(calls=40), seed)
        again = await trial.grow(Limits(calls=40), seed, hasty=True)
        _expect(first.tree.to_json() == again.tree.to_json(), f"seed {seed} grew two trees")


async def _nothing_is_kept_between_searches(trial: _Trial) -> None:
    """A search algorithm is its settings: searching does not change them."""
    before = copy.deepcopy(_settings(trial.search))
    first = await trial.grow(Limits(calls=40))
    await trial.grow(Limits(calls=17), seed=1)
    again = await trial.grow(Limits(calls=40))
    after = _settings(trial.search)
    _expect(before == after, f"its fields were {before} and are {after}")
    _expect(first.tree.to_json() == again.tree.to_json(), "a search in between changed the tree")


def _settings(search: Any) -> dict[str, Any]:
    slots = [name for cls in type(search).__mro__ for name in getattr(cls, "__slots__", ())]
    named = {name: getattr(search, name) for name in slots if hasattr(search, name)}
    return {**named, **getattr(search, "__dict__", {})}


SEARCH: tuple[Contract, ...] = (
    _nothing_is_kept_between_searches,  # first: a search that learns may have settled later
    _it_grows_a_tree,
    _it_stays_within_its_budget,
    _it_can_be_stopped_anywhere,
    _the_same_seed_grows_the_same_tree,
    _the_order_of_replies_does_not_matter,
)


# -- engines ---------------------------------------------------------------------------

CHAT = (
    Message("system", "Make 24 from the numbers.\nReply with the next action only."),
    Message("user", "Numbers: 4 9 10 13"),
)


def check_engine(engine: Engine) -> list[Finding]:
    """Check an engine with a few short requests. It is not closed."""
    return asyncio.run(_engine(engine))


async def _engine(engine: Any) -> list[Finding]:
    return await _findings(ENGINE, engine)


def _ask(engine: Engine, **fields: Any) -> Coroutine[Any, Any, list[Completion]]:
    return engine.generate(replace(Request(CHAT, max_tokens=8), **fields))


async def _each_sample_has_a_completion(engine: Engine) -> None:
    """As many completions come back as samples were asked for."""
    for n in (1, 3):
        completions = await _ask(engine, n=n)
        _expect(len(completions) == n, f"n={n}: {len(completions)} completions")
        for each in completions:
            _expect(each.finish in ("stop", "length"), f"finish={each.finish!r} for a sample")


async def _tokens_are_counted(engine: Engine) -> None:
    """Prompt, cached and generated tokens are told, and `max_tokens` is kept."""
    for each in await _ask(engine, n=2):
        counts = (each.prompt_tokens, each.cached_tokens, each.generated_tokens)
        _expect(each.prompt_tokens > 0, f"prompt_tokens={each.prompt_tokens}")
        _expect(0 <= each.cached_tokens <= each.prompt_tokens, f"cached of {counts}")
        _expect(0 <= each.generated_tokens <= 8, f"max_tokens=8: {each.generated_tokens} generated")
    [cut] = await _ask(engine, max_tokens=1)
    _expect(cut.generated_tokens <= 1, f"max_tokens=1: {cut.generated_tokens} generated")


async def _token_ids_are_exact(engine: Engine) -> str:
    """Ids, log-probabilities and the sampled mask, where given, belong together."""
    [each] = await _ask(engine)
    tokens = each.tokens
    if tokens is None:
        return "it gives no token ids, so its samples cannot be trained on"
    lengths = {len(tokens.ids), len(tokens.logprobs), len(tokens.sampled)}
    _expect(len(lengths) == 1, f"{lengths} ids, log-probabilities and marks")
    _expect(len(tokens.ids) == each.generated_tokens, f"{len(tokens.ids)} ids were generated")
    _expect(len(tokens.prompt) == each.prompt_tokens, f"{len(tokens.prompt)} prompt ids")
    _expect(all(-math.inf < p <= 1e-6 for p in tokens.logprobs), f"{tokens.logprobs}")
    told = each.logprob is None or math.isclose(each.logprob, tokens.logprob, abs_tol=1e-4)
    _expect(told, f"logprob={each.logprob}, but its tokens sum to {tokens.logprob}")
    return f"{len(tokens.ids)} ids"


async def _the_same_seed_samples_the_same(engine: Engine) -> None:
    """The same request gives the same texts, sampled or greedy."""
    for fields in ({"temperature": 0.0}, {"n": 2, "seed": 7}):
        first, again = [await _ask(engine, **fields) for _ in range(2)]
        texts = [[each.text for each in completions] for completions in (first, again)]
        _expect(texts[0] == texts[1], f"{fields}: {texts[0]} and then {texts[1]}")


async def _choices_are_scored_in_order(engine: Engine) -> str:
    """Given choices come back in order with their log-probability, or are refused."""
    choices = ("13 - 9", "10 - 4", "4 + 9")
    try:
        completions = await _ask(engine, choices=choices)
    except AgentSearchError as error:
        return f"it scores none: {error}"
    texts = tuple(each.text for each in completions)
    _expect(texts == choices, f"asked for {choices}, got {texts}")
    for each in completions:
        _expect(each.finish == "scored", f"finish={each.finish!r} for a choice")
        _expect(each.logprob is not None, f"no log-probability for {each.text!r}")
    return ", ".join(f"{each.logprob:.3f}" for each in completions)


async def _requests_side_by_side_are_kept_apart(engine: Engine) -> None:
    """Each of several requests at once gets its own number of completions."""
    wanted = (1, 3, 2, 1)
    replies = await asyncio.gather(*(_ask(engine, n=n, seed=n) for n in wanted))
    counts = tuple(map(len, replies))
    _expect(counts == wanted, f"asked for {wanted} samples at once, got {counts}")


ENGINE: tuple[Contract, ...] = (
    _each_sample_has_a_completion,
    _tokens_are_counted,
    _token_ids_are_exact,
    _the_same_seed_samples_the_same,
    _choices_are_scored_in_order,
    _requests_side_by_side_are_kept_apart,
)
