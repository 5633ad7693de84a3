"""Scoring every legal action."""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field

import pytest

from agentsearch.budget import Metered
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError, EngineError, PolicyError
from agentsearch.policies.prompted import Prompted
from agentsearch.policies.prompts import Prompts
from agentsearch.policies.scoring import Scoring, softmax
from agentsearch.types import Context
from tests.toy import Letters, a_problem

SHARES = {"left": 0.6, "right": 0.3, "straight on": 0.1}
ENGINE = ScriptedEngine(score=lambda request, choice: math.log(SHARES[choice]))
CONTEXT = Context("Find the key.", "crossing", legal_actions=("right", "left", "straight on"))


def proposed(n, mode, seed=0, context=CONTEXT, **fields):
    return asyncio.run(Scoring(ENGINE, **fields).propose(context, n, seed=seed, mode=mode))


def test_the_likeliest_come_first_with_their_share_of_all():
    made = proposed(2, "distinct")
    assert [p.action for p in made] == ["left", "right"]
    assert [p.prior for p in made] == pytest.approx([0.6, 0.3])
    assert made[0].logprob == math.log(0.6)


def test_greedy_is_the_likeliest_alone():
    assert [p.action for p in proposed(3, "greedy")] == ["left"]


def test_samples_are_drawn_from_the_distribution():
    drawn = Counter(p.action for p in proposed(2000, "sample"))
    for action, share in SHARES.items():
        assert drawn[action] / 2000 == pytest.approx(share, abs=0.04)


def test_a_temperature_flattens_or_sharpens():
    flat, sharp = (proposed(1, "distinct", temperature=t)[0].prior for t in (100.0, 0.1))
    assert flat == pytest.approx(1 / 3, abs=0.01) and sharp > 0.99


def test_long_texts_need_not_lose_by_their_length():
    # "straight on" has two tokens: ln(0.1) / 2 lies between ln(0.6) and ln(0.3)
    ranked = [p.action for p in proposed(3, "distinct", per_token=True)]
    assert ranked == ["left", "straight on", "right"]


@pytest.mark.parametrize("mode", ["sample", "distinct", "greedy"])
def test_an_empty_list_is_an_error_that_says_what_to_use(mode):
    with pytest.raises(PolicyError, match="empty list of legal actions; use policy 'prompted'"):
        proposed(1, mode, context=Context("p", "o", legal_actions=()))


OPEN = Context("Buy red shoes.", "start page")


@dataclass
class Recorder:
    """A scripted engine that keeps its requests."""

    engine: ScriptedEngine
    requests: list = field(default_factory=list)

    async def generate(self, request):
        self.requests.append(request)
        return await self.engine.generate(request)


@pytest.mark.parametrize("mode", ["sample", "distinct", "greedy"])
def test_where_the_list_is_open_it_is_prompted(mode):
    texts = ["\n search[red] \nbecause", "search[shoes]", " "]
    prompts = Prompts(instruction="Shop.", examples=(("page", "search[hat]"),))
    told = []
    for policy, fields in ((Scoring, {"per_token": True}), (Prompted, {})):
        engine = Recorder(ScriptedEngine(lambda request, i: texts[i % 3]))
        made = policy(engine, prompts, temperature=0.7, max_tokens=9, **fields)
        found = asyncio.run(made.propose(OPEN, 4, seed=3, mode=mode))
        told.append((found, engine.requests))
    assert told[0] == told[1]
    (found, [request]), actions = told[0], ["search[red]", "search[shoes]", None, "search[red]"]
    assert [p.action for p in found] == (actions[:1] if mode == "greedy" else actions)
    assert {p.prior for p in found} == {None}
    assert request.choices is None
    assert (request.temperature, request.max_tokens) == (0.0 if mode == "greedy" else 0.7, 9)


def test_a_sampled_reply_has_32_tokens_unless_told():
    engine = Recorder(ScriptedEngine(lambda request, i: "search[red]"))
    asyncio.run(Scoring(engine).propose(OPEN, 1, seed=0))
    assert engine.requests[0].max_tokens == Prompted(engine).max_tokens == 32
    with pytest.raises(ConfigError, match="^policy.max_tokens=0: must be at least 1"):
        Scoring(engine, max_tokens=0)


class OpenStart(Letters):
    """Letters whose first one must be typed."""

    def legal_actions(self, state):
        return super().legal_actions(state) if state else None


def test_one_tree_grows_from_shares_and_from_scores():
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    engine = Metered(
        ScriptedEngine(
            reply=lambda request, i: "ccca"[i], score=lambda request, c: math.log(shares[c])
        )
    )
    problem = a_problem(OpenStart(), Scoring(engine))

    async def grow():
        first = await problem.expand(problem.root, 4)
        sampled = problem.budget.usage.calls
        below = await problem.expand(first[0], 2)
        return first, sampled, below

    first, sampled, below = asyncio.run(grow())
    assert [(node.action, node.prior) for node in first] == [("c", 0.75), ("a", 0.25)]
    assert [(node.action, node.prior) for node in below] == [
        ("a", pytest.approx(0.5)),
        ("b", pytest.approx(0.3)),
    ]
    assert (sampled, problem.budget.usage.calls) == (4, 5)


@pytest.mark.parametrize("logprob", [None, math.nan])
def test_a_choice_without_a_log_probability_is_an_error(logprob):
    engine = ScriptedEngine(score=lambda request, c: logprob if c == "left" else -1.0)
    with pytest.raises(EngineError, match="gave no log-probability for a choice; use"):
        asyncio.run(Scoring(engine).propose(CONTEXT, 1, seed=0))


def test_an_impossible_choice_has_no_share_but_not_all_may_be():
    engine = ScriptedEngine(score=lambda request, c: -math.inf if c == "left" else -1.0)
    made = asyncio.run(Scoring(engine).propose(CONTEXT, 3, seed=0, mode="distinct"))
    assert [(p.action, p.prior) for p in made][-1] == ("left", 0.0)
    nothing = ScriptedEngine(score=lambda request, c: -math.inf)
    with pytest.raises(EngineError, match="log-probability -inf"):
        asyncio.run(Scoring(nothing).propose(CONTEXT, 1, seed=0))


def test_temperature_0_is_refused():
    with pytest.raises(ConfigError, match="^policy.temperature=0: must be more than 0"):
        Scoring(ENGINE, temperature=0)


def test_softmax_by_hand():
    assert softmax([0.0, math.log(3.0)]) == pytest.approx([0.25, 0.75])
    assert softmax([-1e9, 1000.0]) == [0.0, 1.0]
