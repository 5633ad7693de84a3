"""Limits, reservations and the count of what was spent."""

import time

import pytest

from agentsearch.budget import WITHOUT_LIMIT, Account, Budget, Limits, Usage
from agentsearch.errors import BudgetExhausted, ConfigError
from agentsearch.types import Completion


@pytest.mark.parametrize("fields", [{"calls": 0}, {"tokens": -1}, {"seconds": 0.0}])
def test_an_impossible_limit_is_named(fields):
    [(name, value)] = fields.items()
    with pytest.raises(ConfigError, match=f"budget.{name}={value}: must be more than 0"):
        Limits(**fields)


def test_one_limit_must_be_set():
    with pytest.raises(
        ConfigError, match="no limit is set; set at least one, such as budget.calls"
    ):
        Limits()


@pytest.mark.parametrize(
    ("limits", "rounds"),
    [
        (Limits(calls=7), 7),
        (Limits(calls=7, env_steps=5, tokens=900), 5),
        (Limits(calls=7, iterations=9), 9),
        (Limits(seconds=1.0), WITHOUT_LIMIT),
    ],
)
def test_the_number_of_rounds_is_always_finite(limits, rounds):
    assert limits.finite_iterations == rounds


def test_iterating_ends_with_the_rounds():
    budget = Budget(Limits(iterations=3))
    assert list(budget) == [0, 1, 2]
    assert budget.out_of_iterations and list(budget) == []


def test_iterating_ends_with_any_limit_and_goes_on_where_it_was():
    budget = Budget(Limits(calls=4, iterations=10))
    for i in budget:
        Account(budget).charge_calls(2)
        if i == 0:
            break
    assert list(budget) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    budget = Budget(Limits(calls=4, iterations=10))
    assert [Account(budget).charge_calls(2) for _ in budget] == [None, None]
    assert not budget.out_of_iterations and budget.exhausted().kind == "calls"


def test_seconds_run_out():
    budget = Budget(Limits(seconds=0.01))
    assert budget.exhausted() is None
    time.sleep(0.011)
    assert budget.exhausted().kind == "seconds"
    with pytest.raises(BudgetExhausted, match="seconds used"):
        budget.reserve(1)


def test_calls_are_clipped_to_what_is_neither_spent_nor_reserved():
    budget = Budget(Limits(calls=5))
    assert budget.reserve(3) == 3
    assert budget.reserve(3) == 2
    with pytest.raises(BudgetExhausted) as spent:
        budget.reserve(1)
    assert (spent.value.kind, spent.value.used, spent.value.limit) == ("calls", 5, 5)
    budget.release(2)
    assert budget.reserve(9) == 2


def test_tokens_are_clipped_to_the_most_a_request_can_cost():
    budget = Budget(Limits(tokens=100))
    assert budget.reserve(4, prompt_tokens=10, max_tokens=40) == 2  # 10 + 2 * 40 = 90
    with pytest.raises(BudgetExhausted, match="90 of 100 tokens"):
        budget.reserve(1, prompt_tokens=5, max_tokens=6)
    assert budget.reserve(1, prompt_tokens=4, max_tokens=6) == 1
    budget.release(2, 10, 40)
    budget.release(1, 4, 6)
    assert budget.reserved_calls == budget.reserved_tokens == 0


def test_environment_steps_stop_at_their_limit():
    budget = Budget(Limits(env_steps=3))
    budget.charge_env_step(2)
    with pytest.raises(BudgetExhausted, match="2 of 3 env_steps"):
        budget.charge_env_step(2)
    budget.charge_env_step()
    assert budget.usage.env_steps == 3 and budget.exhausted().kind == "env_steps"


def test_an_account_charges_itself_and_its_budget():
    budget = Budget(Limits(calls=100))
    first, second = Account(budget), Account(budget)
    reply = Completion("a b", "stop", prompt_tokens=10, cached_tokens=4, generated_tokens=2)
    cut = Completion("a b c", "length", prompt_tokens=10, cached_tokens=10, generated_tokens=3)
    first.charge([reply, cut], calls=2)
    second.charge_calls(3)
    second.count("fallbacks", 2)
    assert first.usage == Usage(2, 1, 20, 14, 5, truncations=1)
    assert first.usage.tokens == 6 + 5
    assert second.usage == Usage(3, 1, fallbacks=2)
    assert budget.usage == Usage(5, 2, 20, 14, 5, truncations=1, fallbacks=2)


def test_usage_as_a_record_tells_its_tokens():
    record = Usage(prompt_tokens=10, cached_tokens=4, generated_tokens=2).to_dict()
    assert record["tokens"] == 8 and record["calls"] == 0 and len(record) == 15


def test_tokens_run_out():
    budget = Budget(Limits(tokens=10))
    for _ in budget:
        Account(budget).charge([Completion("a", "stop", prompt_tokens=3, generated_tokens=1)], 1)
    assert budget.usage.tokens == 12 and budget.exhausted().kind == "tokens"
    with pytest.raises(BudgetExhausted, match="12 of 10 tokens"):
        budget.reserve(1)


def test_a_part_without_tokens_needs_none():
    budget = Budget(Limits(tokens=10))
    assert budget.reserve(3) == 3 and budget.reserved_tokens == 0


# -- what is kept back for finishing ----------------------------------------------------


def test_a_tenth_at_most_is_kept_back_until_it_is_freed():
    budget = Budget(Limits(calls=30, tokens=500), finishing_steps=5)
    assert (budget.calls_limit, budget.tokens_limit) == (27, 450)
    assert budget.reserve(40) == 27
    budget.free_reserve()
    assert budget.reserve(40) == 3


def test_no_more_is_kept_back_than_one_call_a_step():
    assert Budget(Limits(calls=1000), finishing_steps=3).calls_limit == 997
    assert Budget(Limits(calls=9), finishing_steps=3).calls_limit == 9
    assert Budget(Limits(seconds=5.0), finishing_steps=3).calls_limit is None


def test_a_single_action_is_always_affordable():
    budget = Budget(Limits(calls=1), finishing_steps=1)
    assert budget.exhausted().kind == "calls" and list(budget) == []
    with pytest.raises(BudgetExhausted):
        budget.reserve(1)
    budget.free_reserve()
    assert budget.reserve(1) == 1


def test_the_rounds_are_those_of_the_whole_budget():
    assert len(list(Budget(Limits(calls=100), finishing_steps=10))) == 100
