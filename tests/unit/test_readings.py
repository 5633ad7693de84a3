"""Smaller budgets read off one search: each is what a run of its own would have given."""

import asyncio
from dataclasses import replace

import pytest

from agentsearch.budget import Account, Budget, Limits, Metered, Replies
from agentsearch.config import Builder, load_recipe
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError
from agentsearch.policies.prompted import Prompted
from agentsearch.runner import Setup, solve
from agentsearch.search.beam import Beam
from agentsearch.search.best_first import BestFirst
from agentsearch.search.best_of_n import BestOfN, SelfConsistency
from agentsearch.search.greedy import Greedy
from agentsearch.search.mcts import MCTS
from agentsearch.seeds import derive_seed
from agentsearch.types import Message, Request
from agentsearch.values.votes import Votes
from tests.toy import Letters, Sampler, guess

WORD = "cabb"
SEARCHES = [
    Greedy(),
    BestOfN(batch=3),
    SelfConsistency(batch=3),
    BestFirst(width=3),
    BestFirst(width=3, order="paper", samples=6),
    MCTS(width=3),
    MCTS(width=3, parallel=4),
    MCTS(width=3, selection="uct", discount=0.9),
]
every_search = pytest.mark.parametrize("search", SEARCHES, ids=lambda s: type(s).__name__)


class Counted(ScriptedEngine):
    """The letters a request's seed gives, and how many completions were asked for."""

    def __init__(self):
        super().__init__(lambda request, i: "abc"[derive_seed(request.seed, i) % 3])
        self.completions = 0

    async def generate(self, request):
        self.completions += request.n
        return await super().generate(request)


def a_setup(search, calls=90, *, engine=None, **fields):
    env = Letters(word=WORD)
    judge = ScriptedEngine(replies=("sure", "likely", "impossible", "who knows"))
    standard = {
        "policy": Prompted(engine or Counted(), max_tokens=2),
        "value": Votes(judge, n=2, max_tokens=3),
        "limits": Limits(calls=calls),
    }
    return Setup(env=env, search=search, **{**standard, **fields})


def solved(setup):
    return asyncio.run(solve(setup.env.tasks("train")[0], setup))


def as_reading(result):
    usage = {k: v for k, v in result.usage.to_dict().items() if k != "seconds"}
    return {
        "status": result.status,
        "correct": result.correct,
        "credit": result.credit,
        "score": result.score,
        "reason": result.reason,
        "stop": result.stop,
        "truncated": result.truncated,
        "steps": result.steps,
        "mismatches": result.mismatches,
        "actions": result.actions,
        "usage": usage,
    }


@every_search
@pytest.mark.parametrize("visible", [False, True])
def test_a_reading_is_a_run_at_that_budget(search, visible):
    """Whether or not the limit falls within a request."""
    smaller = tuple(Limits(calls=calls) for calls in (1, 4, 7, 12, 16, 30, 45, 89))
    setup = a_setup(search, reward_visible=visible)
    result = solved(replace(setup, readings=smaller))
    assert [reading["limits"] for reading in result.readings] == [
        {"calls": limits.calls} for limits in smaller
    ]
    for limits, reading in zip(smaller, result.readings, strict=True):
        alone = solved(replace(setup, limits=limits))
        found = {k: v for k, v in reading.items() if k != "limits"}
        seconds = found["usage"].pop("seconds")
        assert found == as_reading(alone)
        assert seconds > 0 and reading["usage"]["calls"] <= limits.calls


@every_search
def test_parts_without_an_engine_are_read_off_too(search):
    setup = a_setup(search, policy=Sampler(), value=guess(WORD, noise=0.2))
    result = solved(replace(setup, readings=(Limits(calls=20), Limits(calls=40))))
    for calls, reading in zip((20, 40), result.readings, strict=True):
        alone = solved(replace(setup, limits=Limits(calls=calls)))
        assert (reading["correct"], reading["actions"]) == (alone.correct, alone.actions)


@pytest.mark.parametrize("limits", [{"tokens": 300}, {"env_steps": 11}, {"iterations": 5}])
def test_other_limits_can_be_read_off(limits):
    setup = a_setup(MCTS(width=3))
    smaller = Limits(**{"calls": 90, **limits})
    [reading] = solved(replace(setup, readings=(smaller,))).readings
    alone = solved(replace(setup, limits=smaller))
    assert reading["actions"] == alone.actions and reading["stop"] == alone.stop
    assert reading["usage"]["tokens"] == alone.usage.tokens


def test_the_search_itself_is_not_asked_for_again():
    alone, engine = Counted(), Counted()
    plain = solved(a_setup(MCTS(width=3), engine=alone))
    result = solved(a_setup(MCTS(width=3), engine=engine, readings=(Limits(calls=40),)))
    assert result.tree.to_json() == plain.tree.to_json()
    assert result.usage.calls == plain.usage.calls
    assert engine.completions - alone.completions == result.reading_calls <= 4  # finishing


def test_a_failed_search_has_its_readings_too():
    asked = []

    def failing(request, i):
        asked.append(i)
        if len(asked) > 30:
            raise ConnectionError("the server is gone")
        return "cab"[i % 3]

    setup = a_setup(BestFirst(width=3), policy=Prompted(ScriptedEngine(failing)), value=guess(WORD))
    result = solved(replace(setup, readings=(Limits(calls=8), Limits(calls=80))))
    assert result.status == "failed"
    early, broken = result.readings
    assert (broken["correct"], broken["stop"]) == (False, "failed")
    assert broken["reason"].startswith("EngineError: ")
    assert early["usage"]["calls"] <= 8


# -- what is refused -------------------------------------------------------------------


def refused(search=None, limits=None, **fields):
    with pytest.raises(ConfigError) as error:
        a_setup(search or MCTS(), readings=(limits or Limits(calls=5),), **fields)
    return str(error.value)


def test_readings_are_for_plans_and_for_searches_that_can_stop_anywhere():
    assert refused(mode="act").startswith("readings: in `act` mode")
    assert refused(Beam()).startswith("readings: Beam is not anytime")


def test_a_reading_lies_within_the_budget():
    assert refused(limits=Limits(calls=91)) == (
        "readings[0].calls=91: the budget has calls=90; give at most that."
    )
    assert refused(limits=Limits(tokens=5)).startswith("readings[0].calls=None: the budget has")
    assert refused(limits=Limits(calls=5, iterations=91)).startswith("readings[0]: allows 91")
    for fields in ({"limits": Limits(calls=5, seconds=1.0)},):
        assert refused(**fields).startswith("readings[0]: seconds cannot be read off")


def test_a_recipe_names_its_readings():
    recipe = load_recipe(
        {"policy": "random", "value": "uniform", "budget": {"calls": 50}},
        ["readings=[{calls: 8}, {calls: 16, tokens: 900}]"],
    )
    assert recipe.readings == (Limits(calls=8), Limits(calls=16, tokens=900))
    assert load_recipe(recipe.to_dict()) == recipe
    assert Builder().setup(recipe).readings == recipe.readings
    with pytest.raises(ConfigError, match="readings.0.cals: unknown key"):
        load_recipe({"readings": [{"cals": 8}]})


# -- answers that are known ------------------------------------------------------------


def test_fewer_samples_of_the_same_request_are_known():
    engine, replies = Counted(), Replies()
    chat = (Message("user", "hello"),)

    def ask(replies, **fields):
        account = Account(Budget(Limits(calls=100), replies=replies))
        request = Request(chat, account=account, **fields)
        return asyncio.run(Metered(engine).generate(request)), account.usage

    many, _ = ask(replies, n=5, seed=1)
    known = Replies(replies)
    few, usage = ask(known, n=2, seed=1)
    assert few == many[:2] and usage.calls == 2 and engine.completions == 5
    assert known.asked == 0 and known.seconds > 0
    ask(known, n=6, seed=1)
    ask(known, n=1, seed=2)
    assert engine.completions == 5 + 6 + 1 and known.asked == 7
    assert Replies(replies).asked == 0
