"""The oracle's actions with a model's tokens."""

import asyncio

import pytest

from agentsearch.budget import Limits
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.policies.demonstrated import Demonstrated
from agentsearch.runner import Setup, solve
from agentsearch.search.greedy import Greedy
from agentsearch.types import Completion, Tokens
from agentsearch.values.plain import Uniform
from tests.toy import WORD, Letters, a_problem


class Told:
    """Gives every choice tokens; remembers what it was asked."""

    version = "told@1"

    def __init__(self):
        self.requests = []

    async def generate(self, request):
        self.requests.append(request)
        tokens = Tokens((1, 2), (3, 4), (-0.5, -0.25), (False, False))
        return [
            Completion(choice, "scored", tokens, -0.75, 2, 0, 2, self.version)
            for choice in request.choices
        ]

    async def close(self):
        pass


def test_the_action_is_the_oracles_and_the_tokens_are_the_models():
    env, engine = Letters(), Told()
    problem = a_problem(env, Demonstrated(env, engine))
    [child] = asyncio.run(problem.expand(problem.root, 3))
    assert child.action == WORD[0]
    assert child.proposal.tokens.ids == (3, 4) and child.proposal.logprob == -0.75
    assert child.proposal.version == "told@1" and child.prior == 1.0
    [request] = engine.requests
    assert request.choices == (WORD[0],)
    assert request.messages[-1].content == problem.root.observation


def test_where_nothing_helps_the_model_is_not_asked():
    env, engine = Letters(), Told()
    problem = a_problem(env, Demonstrated(env, engine))

    async def work():
        lost = await problem.step(problem.root, "b")
        return list(await problem.expand(lost, 3))

    assert asyncio.run(work()) == [] and engine.requests == []


def test_a_run_of_it_is_marked_as_reading_the_solution():
    env = Letters()
    setup = Setup(env, Demonstrated(env, Told()), Uniform(), Greedy(), Limits(calls=9))
    assert setup.oracles == ["policy"]
    result = asyncio.run(solve(env.tasks("train")[0], setup))
    assert result.correct and result.actions == list(WORD)


def test_an_engine_that_cannot_score_says_so():
    env = Letters()
    problem = a_problem(env, Demonstrated(env, ScriptedEngine(replies=["x"])))
    with pytest.raises(Exception, match="score"):
        asyncio.run(problem.expand(problem.root, 1))
