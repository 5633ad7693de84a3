"""Policies without a model."""

import asyncio

import pytest

from agentsearch.errors import PolicyError
from agentsearch.policies.scripted import OraclePolicy, Random, Scripted
from agentsearch.types import Context, Proposal
from tests.toy import Letters, a_problem

CONTEXT = Context("p", "o", legal_actions=("a", "b", "c"))


def proposed(policy, n=3, mode="sample", seed=0, context=CONTEXT):
    return [p.action for p in asyncio.run(policy.propose(context, n, seed=seed, mode=mode))]


def test_a_script_is_a_function_or_a_mapping():
    assert proposed(Scripted(lambda context, n: [context.observation] * n), 2) == ["o", "o"]
    assert proposed(Scripted({"o": ["x", "y", "z"]}), 2) == ["x", "y"]
    assert proposed(Scripted({"elsewhere": ["x"]})) == []


def test_greedy_is_the_first_alone():
    assert proposed(Scripted({"o": ["x", "y"]}), mode="greedy") == ["x"]


def test_a_script_may_give_whole_proposals():
    whole = Proposal("x", "raw", prior=0.3)
    assert asyncio.run(Scripted({"o": [whole]}).propose(CONTEXT, 1, seed=0)) == [whole]


def test_random_is_uniform_over_the_legal_actions():
    drawn = proposed(Random(), 3000)
    assert all(drawn.count(letter) == pytest.approx(1000, abs=100) for letter in "abc")
    assert sorted(proposed(Random(), 9, "distinct")) == ["a", "b", "c"]
    assert proposed(Random(), seed=1) == proposed(Random(), seed=1)
    assert len({tuple(proposed(Random(), seed=seed)) for seed in range(20)}) > 5


def test_random_needs_a_list():
    with pytest.raises(PolicyError, match="finite list"):
        proposed(Random(), context=Context("p", "o"))


def test_the_oracle_policy_reads_the_state():
    env = Letters()
    problem = a_problem(env, OraclePolicy(env))

    async def work():
        [first] = await problem.expand(problem.root, 3)
        lost = await problem.step(first, "c")
        return first.action, list(await problem.expand(lost, 3))

    assert asyncio.run(work()) == ("c", [])


def test_without_an_oracle_there_is_no_action():
    class Plain(Letters):
        oracle = None

    problem = a_problem(Plain(), OraclePolicy(Plain()))
    with pytest.raises(PolicyError, match="environment 'letters' has no oracle"):
        asyncio.run(problem.expand(problem.root, 1))
