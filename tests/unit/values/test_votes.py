"""A model's own judgments as a value."""

import asyncio
import math

import pytest

from agentsearch.budget import Account, Budget, Limits, Metered
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError, EngineError
from agentsearch.types import Context
from agentsearch.values.votes import Votes

CONTEXT = Context("Make 24.", "Numbers: 4 6")


def voted(replies, **fields):
    """The value, the account, and the requests made."""
    asked = []
    engine = Metered(ScriptedEngine(lambda request, i: asked.append(request) or replies[i]))
    account = Account(Budget(Limits(calls=1000)))
    context = Context("Make 24.", "Numbers: 4 6", account=account)
    value = asyncio.run(Votes(engine, n=len(replies), **fields).value(context, seed=5))
    return value, account.usage, asked


def test_six_successes_eight_on_track_and_six_failures_are_worth_a_half():
    worth = {"success": 1.0, "on track": 0.5, "fail": 0.0}
    replies = ["Status: success"] * 6 + ["fails so far, still on track"] * 8 + ["fail"] * 6
    assert voted([r.replace("fails so far, ", "") for r in replies], worth=worth)[0] == 0.5


def test_each_judgment_is_a_call_and_all_are_one_request():
    value, usage, asked = voted(["sure", "likely", "impossible"])
    assert value == 0.5 and (usage.calls, usage.requests) == (3, 1)
    assert (asked[0].n, asked[0].seed) == (3, 5)
    assert asked[0].messages[-1].content.startswith("Numbers: 4 6\nCan the task still be done")


def test_an_unreadable_judgment_is_worth_nothing_and_counted():
    value, usage, _ = voted(["sure", "well", "", "sure"])
    assert value == 0.5 and usage.fallbacks == 2


def test_the_first_judgment_in_a_reply_counts():
    assert voted(["Likely, but not sure"])[0] == 0.5
    assert voted(["I am sure, not just likely"])[0] == 1.0


def test_a_pattern_says_where_the_judgment_stands():
    pattern = r"Verdict: (\w+)"
    assert voted(["It is likely hard.\nVerdict: Sure"], pattern=pattern)[0] == 1.0
    value, usage, _ = voted(["It is likely."], pattern=pattern)
    assert value == 0.0 and usage.fallbacks == 1


def test_a_group_that_matches_nothing_is_unreadable():
    value, usage, _ = voted(["Verdict: sure", "Verdict:"], pattern=r"Verdict:(?: (\w+))?")
    assert value == 0.5 and usage.fallbacks == 1


@pytest.mark.parametrize("logprob", [None, math.nan])
def test_an_expectation_needs_every_log_probability(logprob):
    engine = ScriptedEngine(score=lambda request, c: logprob if c == "sure" else -1.0)
    with pytest.raises(EngineError, match="no log-probability for a choice.*expected=false"):
        asyncio.run(Votes(engine, expected=True).value(CONTEXT, seed=0))


def test_the_expectation_takes_one_call():
    logprobs = {"sure": 0.5, "likely": 0.25, "impossible": 0.125}  # they need not sum to 1
    engine = Metered(ScriptedEngine(score=lambda request, choice: math.log(logprobs[choice])))
    account = Account(Budget(Limits(calls=1)))
    context = Context("Make 24.", "Numbers: 4 6", account=account)
    value = asyncio.run(Votes(engine, expected=True).value(context, seed=0))
    assert value == pytest.approx((0.5 + 0.25 * 0.5) / 0.875)
    assert account.usage.calls == 1


def test_nobody_pays_without_an_account():
    engine = ScriptedEngine(lambda request, i: "what?")
    assert asyncio.run(Votes(engine).value(CONTEXT, seed=0)) == 0.0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"n": 0}, "value.n=0: must be at least 1"),
        ({"worth": {}}, "value.worth: is empty"),
        ({"temperature": -1.0}, "value.temperature=-1.0: must be 0 or more"),
        ({"max_tokens": 0}, "value.max_tokens=0: must be at least 1"),
        ({"pattern": "("}, "value.pattern='\\(': not a regular expression"),
        ({"pattern": "sure"}, "value.pattern='sure': has no group"),
    ],
)
def test_impossible_settings_are_refused(fields, named):
    with pytest.raises(ConfigError, match=f"^{named}"):
        Votes(ScriptedEngine(replies=["sure"]), **fields)
