"""Which part is blamed, and one sentence for the user."""

import asyncio

import pytest

from agentsearch import errors
from agentsearch.errors import (
    AgentSearchError,
    BudgetExhausted,
    ConfigError,
    EngineError,
    PolicyError,
    SearchError,
    boundary,
    did_you_mean,
)


def raised_through(error, kind=PolicyError):
    with pytest.raises(BaseException) as caught:
        with boundary(kind, "propose"):
            raise error
    return caught.value


def test_a_foreign_error_is_attributed():
    cause = KeyError("x")
    error = raised_through(cause)
    assert type(error) is PolicyError and error.__cause__ is cause
    assert str(error) == "propose: KeyError: 'x'"


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("c"),
        EngineError("e"),
        BudgetExhausted("calls", 1, 1),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
    ],
)
def test_our_own_errors_budgets_and_cancellations_pass_unchanged(error):
    assert raised_through(error) is error


def test_only_failures_of_a_part_are_recorded_and_no_budget_is_one():
    parts = [errors.EngineError, errors.PolicyError, errors.EnvError, errors.ModelError]
    assert all(issubclass(part, SearchError) for part in parts)
    assert not issubclass(ConfigError, SearchError)
    assert not issubclass(BudgetExhausted, AgentSearchError)


def test_an_exhausted_budget_says_how_far_it_went():
    assert str(BudgetExhausted("tokens", 99, 100)) == "budget exhausted: 99 of 100 tokens used"


def test_the_closest_word_is_suggested():
    assert did_you_mean("beem", ["beam", "mcts"]) == " Did you mean 'beam'?"
    assert did_you_mean("c_put", ["width", "c_puct"]) == " Did you mean 'c_puct'?"
    assert did_you_mean("xyz", ["beam", "mcts"]) == ""
