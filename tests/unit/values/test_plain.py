"""Values without a model of their own."""

import asyncio

import pytest

from agentsearch.errors import ConfigError, ModelError
from agentsearch.policies.scripted import Random, Scripted
from agentsearch.types import Proposal
from agentsearch.values.plain import OracleValue, Rollout, ScriptedValue, Uniform
from tests.toy import Letters, a_problem


def value_of(value, env=None, policy=None, text="", **limits):
    problem = a_problem(env, policy, value, reward_visible=True, **limits)

    async def work():
        node = problem.root
        for letter in text:
            node = await problem.step(node, letter)
        return await problem.value(node)

    return asyncio.run(work()), problem


def test_uniform_is_the_constant_and_free():
    value, problem = value_of(Uniform(0.3))
    assert value == 0.3 and problem.budget.usage.calls == 0


def test_a_scripted_value_sees_the_context_and_costs_a_call():
    value, problem = value_of(ScriptedValue(lambda context: len(context.turns)), text="ca")
    assert value == 2 and problem.budget.usage.calls == 1


def test_a_rollout_is_the_return_of_the_policy():
    follow = Scripted({"": "c", "c": "a", "ca": "b"})
    env = Letters(pay={"a": 0.5})
    assert value_of(Rollout(), env, follow)[0] == 0.5 + 1.0
    assert value_of(Rollout(), env, follow, text="ca")[0] == 1.0
    assert value_of(Rollout(discount=0.5), env, follow)[0] == 0.5 * 0.5 + 0.25 * 1.0


def test_rollouts_are_averaged_and_leave_no_nodes():
    value, problem = value_of(Rollout(n=400), Letters(word="ab"), Random(), iterations=1)
    assert value == pytest.approx(1 / 9, abs=0.05)
    assert len(problem.tree) == 1 and problem.budget.usage.env_steps == 800


def test_a_rollout_ends_where_nothing_can_be_done():
    assert value_of(Rollout(), policy=Scripted({"": "c"}))[0] == 0.0
    value, problem = value_of(Rollout(), policy=Scripted({"": "c", "c": "z"}))
    assert value == 0.0 and problem.budget.usage.invalid_actions == 1


def test_a_rollout_that_is_cut_ends_with_its_bootstrap():
    follow = Scripted({"": "c", "c": "a", "ca": "b"})
    env = Letters(pay={"c": 0.5})
    assert value_of(Rollout(depth=2, bootstrap=0.4), env, follow)[0] == 0.5 + 0.4
    assert value_of(Rollout(depth=2, bootstrap=0.4, discount=0.5), env, follow)[0] == 0.5 + 0.1
    value, problem = value_of(Rollout(depth=1), env, follow)
    assert value == 0.5 and problem.budget.usage.calls == 1
    cut = Letters(truncate=2)
    assert value_of(Rollout(bootstrap=0.4), cut, follow)[0] == 0.4
    assert value_of(Rollout(bootstrap=0.4), Letters(), follow)[0] == 1.0  # it ended by itself
    with pytest.raises(ConfigError, match="^value.depth=0: must be at least 1"):
        Rollout(depth=0)


class Wavering:
    """Knows the word, but slips in every sample."""

    async def propose(self, context, n, *, seed, mode="sample"):
        letter = "cab"[len(context.turns)] if mode == "greedy" else "c"
        return [Proposal(letter, letter)] * n


def test_a_greedy_rollout_plays_the_likeliest_actions():
    env = Letters(word="cab")
    assert value_of(Rollout(greedy=True, discount=0.5), env, Wavering())[0] == 0.25
    assert value_of(Rollout(), env, Wavering())[0] == 0.0
    with pytest.raises(ConfigError, match="^value.n=2: greedy rollouts are all alike"):
        Rollout(n=2, greedy=True)


def test_a_rollout_needs_at_least_one_play():
    with pytest.raises(ConfigError, match="^value.n=0: must be at least 1"):
        Rollout(n=0)


@pytest.mark.parametrize("discount", [0.0, -0.5, 1.1, float("nan")])
def test_a_rollout_neither_forgets_nor_grows_its_rewards(discount):
    with pytest.raises(ConfigError, match=f"^value.discount={discount}: must lie in"):
        Rollout(discount=discount)


def test_the_oracle_knows_what_is_still_possible():
    env = Letters()
    assert [value_of(OracleValue(env), env, text=text)[0] for text in ("", "ca", "cb")] == [1, 1, 0]


def test_without_an_oracle_there_is_no_value():
    class Plain(Letters):
        oracle = None

    with pytest.raises(ModelError, match="environment 'letters' has no oracle"):
        value_of(OracleValue(Plain()), Plain())
