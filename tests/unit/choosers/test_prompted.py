"""A critic's own words as a choice."""

import asyncio
from collections import Counter

import pytest

from agentsearch.budget import Account, Budget, Limits, Metered
from agentsearch.choosers.prompted import PromptedChooser
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError
from agentsearch.types import Context

OPTIONS = ["4 + 6", "6 - 4", "turn left"]


def chosen(reply, options=OPTIONS, seed=5, **fields):
    """The choice, what it cost, and the request made."""
    asked = []
    engine = Metered(ScriptedEngine(lambda request, i: asked.append(request) or reply))
    account = Account(Budget(Limits(calls=10)))
    context = Context("Make 24.", "Numbers: 4 6", account=account)
    work = PromptedChooser(engine, **fields).choose(context, options, seed=seed)
    return asyncio.run(work), account.usage, asked[0]


def test_a_question_is_one_call_with_the_options_numbered_from_1():
    choice, usage, request = chosen("2")
    assert choice == 1
    assert (usage.calls, usage.judgments, usage.fallbacks) == (1, 1, 0)
    assert (request.n, request.temperature, request.seed) == (1, 0.0, 5)
    question = request.messages[-1].content
    assert question.startswith("Numbers: 4 6\nWhich action is best? Reply with its number.\n")
    assert question.endswith("1: 4 + 6\n2: 6 - 4\n3: turn left")


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("3", 2),
        (" 1. 4 + 6", 0),
        ("Option 2 is best, not 3", 1),
        ("6 - 4", 1),  # its own words, in which the first number is no place
        ("turn left\n", 2),
    ],
)
def test_a_reply_names_its_option_by_number_or_by_its_words(reply, choice):
    found, usage, _ = chosen(reply)
    assert found == choice and usage.fallbacks == 0


@pytest.mark.parametrize("reply", ["", "none of them", "0", "4", "99: turn right"])
def test_chance_chooses_where_a_reply_names_none_and_that_is_counted(reply):
    choices = Counter()
    for seed in range(60):
        choice, usage, _ = chosen(reply, seed=seed)
        assert (usage.judgments, usage.fallbacks) == (1, 1)
        assert chosen(reply, seed=seed)[0] == choice
        choices[choice] += 1
    assert set(choices) == {0, 1, 2} and min(choices.values()) > 8


def test_a_pattern_says_where_the_choice_stands():
    pattern = r"Best: (\w+)"
    assert chosen("1 is worse than 2.\nBest: 2", pattern=pattern)[0] == 1
    _, usage, _ = chosen("2", pattern=pattern)
    assert usage.fallbacks == 1
    _, usage, _ = chosen("Best:", pattern=r"Best:(?: (\w+))?")
    assert usage.fallbacks == 1


def test_nobody_pays_without_an_account():
    engine = ScriptedEngine(lambda request, i: "2")
    context = Context("Make 24.", "Numbers: 4 6")
    assert asyncio.run(PromptedChooser(engine).choose(context, OPTIONS, seed=0)) == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"temperature": -1.0}, "chooser.temperature=-1.0: must be 0 or more"),
        ({"max_tokens": 0}, "chooser.max_tokens=0: must be at least 1"),
        ({"pattern": "("}, "chooser.pattern='\\(': not a regular expression"),
        ({"pattern": "best"}, "chooser.pattern='best': has no group"),
    ],
)
def test_impossible_settings_are_refused(fields, named):
    with pytest.raises(ConfigError, match=f"^{named}"):
        PromptedChooser(ScriptedEngine(replies=["1"]), **fields)
