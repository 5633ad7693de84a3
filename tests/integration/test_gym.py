"""Environments from outside are solved by search through the adapter, both ways back."""

from __future__ import annotations

import asyncio

import gymnasium
import pytest

pytest.importorskip("minigrid", reason="needs minigrid's BabyAI levels")

from agentsearch.budget import Limits
from agentsearch.conformance import check_environment
from agentsearch.policies.scripted import Scripted
from agentsearch.runner import Setup, solve
from agentsearch.search.best_first import BestFirst
from agentsearch.search.mcts import MCTS
from agentsearch.values.plain import ScriptedValue
from agentsearch_envs.from_gym import Gymnasium
from tests.key_door import ACTIONS, every_action, guess

MOVES = ("turn left", "turn right", "go forward")


class Words(gymnasium.ObservationWrapper):
    """How far the goal of BabyAI-GoToLocal lies ahead and aside, in words."""

    def __init__(self, **kwargs):
        super().__init__(gymnasium.make("BabyAI-GoToLocal-v0", **kwargs))
        self.observation_space = gymnasium.spaces.Text(200)
        self.action_space = gymnasium.spaces.Discrete(len(MOVES))

    def observation(self, observation):
        world = self.unwrapped
        x, y = world.instrs.desc.obj_poss[0]
        dx, dy = x - world.agent_pos[0], y - world.agent_pos[1]
        ahead, aside = (int(dx * a + dy * b) for a, b in (world.dir_vec, world.right_vec))
        return f"{observation['mission']}. It lies {ahead} ahead and {aside} to the right."


gymnasium.register("tests/GoToLocalText-v0", Words)


def near():
    """A value: how near the goal is, and whether the agent looks its way."""

    def value(context):
        words = context.observation.split()
        ahead, aside = int(words[-7]), int(words[-4])
        return 1 - (abs(ahead) + abs(aside)) / 20 - 0.02 * (ahead <= 0)

    return ScriptedValue(value)


WORLDS = {
    "key_door": (
        {"id": "tests/KeyDoor-v0", "actions": ACTIONS},
        every_action(),
        guess(),
    ),
    "babyai": (
        {"id": "tests/GoToLocalText-v0", "actions": MOVES, "max_steps": 64},
        Scripted(lambda context, n: MOVES),
        near(),
    ),
}
SEARCHES = {"mcts": MCTS(width=5), "best_first": BestFirst(width=5)}


def solved(world, search, snapshot):
    fields, policy, value = WORLDS[world]
    env = Gymnasium(**fields, snapshot=snapshot)
    setup = Setup(env, policy, value, SEARCHES[search], Limits(calls=1200), reward_visible=True)
    return asyncio.run(solve(env.tasks("train")[1], setup))


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("world", WORLDS)
def test_it_is_solved_with_the_same_tree_both_ways(world, search):
    copied, replayed = (solved(world, search, way) for way in ("deepcopy", "replay"))
    assert copied.error == replayed.error == ""
    assert copied.correct and replayed.correct
    assert copied.actions == replayed.actions

    def shape(result):
        return [(n.action, n.observation, n.visits, n.value_sum) for n in result.tree.nodes]

    assert shape(copied) == shape(replayed)
    assert copied.usage.replayed_steps == 0 < replayed.usage.replayed_steps
    more = replayed.usage.env_steps - copied.usage.env_steps
    assert more == replayed.usage.replayed_steps


@pytest.mark.parametrize("snapshot", ["deepcopy", "replay"])
def test_the_contract_holds_for_a_level_of_minigrid(snapshot):
    env = Gymnasium(**WORLDS["babyai"][0], snapshot=snapshot)
    assert [f for f in check_environment(env, tasks=1) if not f.passed] == []
