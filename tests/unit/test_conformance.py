"""The conformance checks pass what is right and name what is wrong."""

import asyncio
import random
from dataclasses import dataclass, field, replace

import pytest

from agentsearch import registry
from agentsearch.budget import Metered
from agentsearch.choosers.plain import RandomChooser, ScriptedChooser
from agentsearch.choosers.prompted import PromptedChooser
from agentsearch.conformance import (
    Finding,
    check,
    check_chooser,
    check_engine,
    check_environment,
    check_policy,
    check_search,
    check_value,
)
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import AgentSearchError, ConfigError
from agentsearch.policies.prompted import Prompted
from agentsearch.policies.scripted import OraclePolicy, Random, Scripted
from agentsearch.search.mcts import MCTS
from agentsearch.types import EnvSpec, Proposal, Request, Tokens, Verdict
from agentsearch.values.plain import OracleValue, Rollout, ScriptedValue, Uniform
from agentsearch.values.votes import Votes
from tests.toy import Letters, Sampler


def failed(findings):
    """Names of the checks that failed, each with why."""
    assert all(isinstance(finding, Finding) for finding in findings) and len(findings) > 2
    return {finding.name: finding.detail for finding in findings if not finding.passed}


@dataclass(frozen=True)
class Mutable(Letters):
    """States are lists, and a step writes into the one it is given."""

    async def reset(self, task, *, seed):
        return []

    async def step(self, state, action):
        step = await super().step("".join(state), action)
        if step.valid:
            state.append(action)
        return replace(step, state=state)

    def observe(self, state):
        return "".join(state)

    def key(self, state):
        return "".join(state)

    def legal_actions(self, state):
        return super().legal_actions("".join(state))


class Overlapping(Letters):
    def tasks(self, split):
        return super().tasks("train")


class Nameless(Letters):
    spec = EnvSpec("", "1", max_steps=3)


class Dicey(Letters):
    async def reset(self, task, *, seed):
        return random.choice("abc") + random.choice("abc")


class Coin(Letters):
    async def step(self, state, action):
        step = await super().step(state, action)
        return replace(step, reward=random.random())


class Unhashable(Letters):
    def key(self, state):
        return [state]


class Identity(Letters):
    """States that are equal to nothing but themselves."""

    async def reset(self, task, *, seed):
        return type("State", (str,), {"__eq__": object.__eq__, "__hash__": str.__hash__})("")


class Boastful(Letters):
    def legal_actions(self, state):
        return (*super().legal_actions(state), "z")


class Twice(Letters):
    def legal_actions(self, state):
        return super().legal_actions(state) * 2


class Unlisted(Letters):
    def legal_actions(self, state):
        return None


class Permissive(Letters):
    async def step(self, state, action):
        return replace(await super().step(state, action), valid=True)


class Forgetful(Letters):
    """An invalid action loses what was written."""

    async def step(self, state, action):
        step = await super().step(state, action)
        return step if step.valid else replace(step, state=state + "?")


class Strict(Letters):
    async def step(self, state, action):
        step = await super().step(state, action)
        if not step.valid:
            raise ValueError(f"illegal {action!r}")
        return step


class Endless(Letters):
    async def step(self, state, action):
        return replace(await super().step(state, action), terminated=False)


class Priceless(Letters):
    async def step(self, state, action):
        return replace(await super().step(state, action), reward=float("nan"))


class Chatty(Letters):
    def tasks(self, split):
        return [replace(t, prompt="Spell the word that you know.") for t in super().tasks(split)]

    def observe(self, state):
        return f"Spell the word that you know. {state}"


class Generous(Letters):
    @property
    def verifier(self):
        return self

    async def verify(self, task, trajectory, state):
        return Verdict(True, 2.0, "well done")


class Misled(Letters):
    """The oracle knows another word."""

    def oracle(self):
        return Letters("bcb").oracle()


BROKEN = [
    (Nameless(), "spec is sane"),
    (Overlapping(), "splits are disjoint"),
    (Dicey(), "reset depends on task and seed alone"),
    (Coin(), "steps depend on state and action alone"),
    (Mutable(), "step leaves its input untouched"),
    (Unhashable(), "keys are stable"),
    (Identity(), "reset depends on task and seed alone"),
    (Boastful(), "legal actions are valid"),
    (Twice(), "legal actions are valid"),
    (Unlisted(), "legal actions are valid"),
    (Permissive(), "an invalid action is flagged and changes nothing"),
    (Forgetful(), "an invalid action is flagged and changes nothing"),
    (Strict(), "an invalid action is flagged and changes nothing"),
    (Endless(), "episodes end within max steps"),
    (Priceless(), "episodes end within max steps"),
    (Chatty(), "observations are text"),
    (Generous(), "the verifier judges"),
    (Misled(), "the oracle solves its tasks"),
]


def test_a_sound_environment_passes():
    assert failed(check_environment(Letters())) == {}
    assert failed(check_environment(Letters(instant=False), "dev", tasks=2, seed=5)) == {}


@pytest.mark.parametrize(("env", "name"), BROKEN, ids=lambda part: type(part).__name__)
def test_a_broken_environment_is_told_what_it_breaks(env, name):
    found = failed(check_environment(env))
    assert name in found and found[name]


def test_every_check_of_an_environment_can_fail():
    names = [finding.name for finding in check_environment(Letters())]
    assert set(names) == {name for _, name in BROKEN}


def test_an_environment_of_open_actions_is_walked_by_its_oracle():
    class Open(Letters):
        spec = EnvSpec("open", "1", max_steps=3, actions="open")

        def legal_actions(self, state):
            return None

    findings = check_environment(Open())
    assert failed(findings) == {}
    details = {finding.name: finding.detail for finding in findings}
    assert details["steps depend on state and action alone"] == "9 steps"


def test_an_environment_that_always_raises_is_still_judged():
    class Down(Letters):
        async def reset(self, task, *, seed):
            raise ConnectionError("no simulator")

    found = failed(check_environment(Down()))
    assert found["the verifier judges"] == "raised ConnectionError: no simulator"
    assert "spec is sane" not in found


# -- policies and values ---------------------------------------------------------------

ENGINE = Metered(ScriptedEngine(lambda request, i: "cab"[i % 3]))


@pytest.mark.parametrize(
    "policy",
    [Sampler(), Random(), OraclePolicy(Letters()), Scripted({"": "c", "c": "a"}), Prompted(ENGINE)],
    ids=lambda policy: type(policy).__name__,
)
def test_a_sound_policy_passes(policy):
    assert failed(check_policy(policy, Letters())) == {}


def proposing(answer):
    """A policy that answers with `answer(n, seed, mode)`."""

    class Answering:
        async def propose(self, context, n, *, seed, mode="sample"):
            return answer(n, seed, mode)

    return Answering()


@dataclass(frozen=True)
class Unpaid(Prompted):
    async def propose(self, context, n, *, seed, mode="sample"):
        return await super().propose(replace(context, account=None), n, seed=seed, mode=mode)


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (proposing(lambda n, seed, mode: [Proposal("", "")]), "proposals are well formed"),
        (
            proposing(lambda n, seed, mode: [Proposal("a", "a", prior=2.0)]),
            "proposals are well formed",
        ),
        (proposing(lambda n, seed, mode: ["a"]), "proposals are well formed"),
        (
            proposing(lambda n, seed, mode: [Proposal("a", "a")] * (n + 1)),
            "no more is proposed than asked for",
        ),
        (
            proposing(lambda n, seed, mode: [Proposal(str(random.random()), "a")]),
            "the same seed proposes the same",
        ),
        (Unpaid(ENGINE), "proposing is paid for"),
    ],
)
def test_a_broken_policy_is_told_what_it_breaks(policy, name):
    assert name in failed(check_policy(policy, Letters()))


@pytest.mark.parametrize(
    "value",
    [Uniform(), Rollout(n=2), OracleValue(Letters()), Votes(ENGINE)],
    ids=lambda value: type(value).__name__,
)
def test_a_sound_value_passes(value):
    assert failed(check_value(value, Letters())) == {}


@dataclass(frozen=True)
class UnpaidVotes(Votes):
    async def value(self, context, *, seed):
        return await super().value(replace(context, account=None), seed=seed)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (ScriptedValue(lambda context: float("inf")), "values are finite numbers"),
        (ScriptedValue(lambda context: "good"), "values are finite numbers"),
        (ScriptedValue(lambda context: random.random()), "the same seed values the same"),
        (UnpaidVotes(ENGINE), "valuing is paid for"),
    ],
)
def test_a_broken_value_is_told_what_it_breaks(value, name):
    assert name in failed(check_value(value, Letters()))


@pytest.mark.parametrize(
    "chooser",
    [RandomChooser(), PromptedChooser(ENGINE), ScriptedChooser(lambda context, options: 0)],
    ids=lambda chooser: type(chooser).__name__,
)
def test_a_sound_chooser_passes(chooser):
    assert failed(check_chooser(chooser, Letters())) == {}


@dataclass(frozen=True)
class UnpaidChooser(PromptedChooser):
    async def choose(self, context, options, *, seed):
        return await super().choose(replace(context, account=None), options, seed=seed)


@pytest.mark.parametrize(
    ("chooser", "name"),
    [
        (ScriptedChooser(lambda context, o: len(o)), "a choice is an index of the options"),
        (ScriptedChooser(lambda context, o: o[0]), "a choice is an index of the options"),
        (
            ScriptedChooser(lambda context, o: random.randrange(len(o))),
            "the same seed chooses the same",
        ),
        (UnpaidChooser(ENGINE), "choosing is paid for"),
    ],
)
def test_a_broken_chooser_is_told_what_it_breaks(chooser, name):
    assert name in failed(check_chooser(chooser, Letters()))


# -- searches --------------------------------------------------------------------------


class Searching:
    """A sound search to break: it expands nodes in order of age."""

    choose = "best_value"

    async def search(self, problem):
        for _ in problem.budget:
            node = next((n for n in problem.tree.nodes if not n.children and not n.done), None)
            if node is None:
                return
            await self.visit(problem, node)

    async def visit(self, problem, node):
        await problem.visit(node, 2)


class Lazy(Searching):
    async def search(self, problem):
        pass


class Deaf(Searching):
    """Swallows the exhausted budget and asks again."""

    async def search(self, problem):
        while True:
            try:
                await super().search(problem)
                if not problem.budget.exhausted():
                    return
            except Exception:
                pass
            await asyncio.sleep(0)


class Smuggler(Searching):
    """Takes steps behind the budget's back and pays for them afterwards."""

    async def visit(self, problem, node):
        await super().visit(problem, node)
        problem.budget.usage.env_steps += 3


class Sloppy(Searching):
    choose = "best_seen"

    async def visit(self, problem, node):
        node.visits -= 1
        await super().visit(problem, node)


class Whimsical(Searching):
    async def visit(self, problem, node):
        await problem.expand(node, random.choice((1, 3)))


class Hasty(Searching):
    """Notes the nodes in the order in which their values arrive."""

    async def visit(self, problem, node):
        children = list(await problem.expand(node, 3))
        arrived = problem.root.extra = problem.root.extra or {"arrived": []}

        async def note(child):
            await problem.propose(child, 1)
            arrived["arrived"].append(child.id)

        await asyncio.gather(*map(note, children))


@dataclass
class Learning(Searching):
    width: int = 1

    async def visit(self, problem, node):
        await problem.expand(node, self.width)
        self.width = min(self.width + 1, 3)


@dataclass(frozen=True)
class Remembering(Searching):
    seen: list = field(default_factory=list)

    async def visit(self, problem, node):
        await problem.expand(node, 1 + len(self.seen) % 3)
        self.seen.append(node.observation)


@pytest.mark.parametrize("name", registry.names("search"))
def test_every_search_of_ours_passes(name):
    assert failed(check("search", name)) == {}


def test_a_sound_search_passes():
    assert failed(check_search(Searching())) == {}
    assert failed(check_search(MCTS(parallel=3, selection="uct"))) == {}


@pytest.mark.parametrize(
    ("search", "name"),
    [
        (Lazy(), "it grows a tree"),
        (Smuggler(), "it stays within its budget"),
        (Sloppy(), "it can be stopped anywhere"),
        (Whimsical(), "the same seed grows the same tree"),
        (Hasty(), "the order of replies does not matter"),
        (Learning(), "nothing is kept between searches"),
        (Remembering(), "nothing is kept between searches"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_broken_search_is_told_what_it_breaks(search, name):
    assert name in failed(check_search(search))


def test_a_search_that_does_not_stop_is_stopped():
    found = failed(check_search(Deaf(), patience_s=0.05))
    assert "did not stop with Limits(calls=1," in found["it stays within its budget"]


# -- engines ---------------------------------------------------------------------------


def scored(request, choice):
    return -float(len(choice))


@dataclass(frozen=True)
class Counting(ScriptedEngine):
    """A scripted engine whose completions pass through `change`."""

    change: object = None

    async def generate(self, request: Request):
        completions = await super().generate(request)
        return completions if self.change is None else self.change(completions)


def test_a_sound_engine_passes():
    words = "a b c d e f g h i j"
    assert failed(check_engine(ScriptedEngine(lambda request, i: words, score=scored))) == {}
    assert failed(check_engine(ScriptedEngine(replies=("13 - 9", "4 + 9", "a b c d e f")))) == {}


def with_tokens(*logprobs):
    def change(completions):
        tokens = Tokens((1,), (5,) * 2, logprobs, (True,) * 2)
        return [replace(each, tokens=tokens, generated_tokens=2) for each in completions]

    return change


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda completions: completions[:1], "each sample has a completion"),
        (lambda completions: completions * 2, "requests side by side are kept apart"),
        (lambda c: [replace(each, prompt_tokens=0) for each in c], "tokens are counted"),
        (lambda c: [replace(each, generated_tokens=99) for each in c], "tokens are counted"),
        (lambda c: [replace(each, cached_tokens=99) for each in c], "tokens are counted"),
        (with_tokens(-1.0, -0.5, -0.5), "token ids are exact"),
        (with_tokens(-1.0, 0.5), "token ids are exact"),
        (
            lambda c: [replace(each, text=str(random.random())) for each in c],
            "the same seed samples the same",
        ),
        (lambda c: c[::-1] if c[0].finish == "scored" else c, "choices are scored in order"),
    ],
)
def test_a_broken_engine_is_told_what_it_breaks(change, name):
    engine = Counting(lambda request, i: "a b", score=scored, change=change)
    assert name in failed(check_engine(engine))


def test_an_engine_that_cannot_score_says_so_and_passes():
    findings = check_engine(ScriptedEngine(lambda request, i: "a"))
    [choices] = [f for f in findings if f.name == "choices are scored in order"]
    assert choices.passed and choices.detail.startswith("it scores none: ")


# -- by name ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("envs", "game24"),
        ("envs", "tests.toy:Letters"),
        ("policies", "random"),
        ("policies", "oracle"),
        ("values", "uniform"),
        ("values", "rollout"),
        ("values", "oracle"),
        ("choosers", "random"),
        ("search", "agent_q"),
    ],
)
def test_plug_ins_are_checked_by_name(kind, name):
    assert failed(check(kind, name)) == {}


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("envs", "gaem24", "Did you mean 'game24'"),
        ("policies", "scripted", "policy.script: is required"),
        ("engines", "scripted", "nothing to say"),
        ("serch", "mcts", "no such kind of plug-in"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(kind, name, says):
    with pytest.raises(AgentSearchError, match=says):
        check(kind, name)


def test_a_kind_without_checks_says_so():
    with pytest.raises(ConfigError, match="there are no checks for a trainer yet"):
        check("trainers", "grpo")


def test_nothing_is_printed(capsys):
    check("envs", "game24")
    assert capsys.readouterr() == ("", "")
