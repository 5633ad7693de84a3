"""A corridor for tests: walk to its right end, step by step, where every step can be undone.

The state is the place and the steps taken; the key leaves the steps out. The episode
terminates at the right end, which pays 1 - 0.9 * steps / limit, or, with `pit`, at the left
end, which pays nothing; it is truncated at the limit.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from agentsearch.policies.scripted import Scripted
from agentsearch.types import EnvSpec, Step, Task, Verdict
from agentsearch.values.plain import ScriptedValue

MOVES = {"left": -1, "stay": 0, "right": 1}


@dataclass(frozen=True)
class Corridor:
    """The environment.

    Attributes:
        goal: place of the right end; the episode starts at `start`.
        limit: steps after which the episode is truncated.
        pit: whether the episode ends at 0, in failure.
    """

    goal: int = 4
    start: int = 2
    limit: int = 30
    pit: bool = False

    @property
    def spec(self):
        return EnvSpec("corridor", "1", max_steps=40)

    @property
    def verifier(self):
        return Arrived(self.goal)

    def tasks(self, split):
        return [Task(f"corridor/{split}/{i}", "Walk to the right end.") for i in range(3)]

    async def reset(self, task, *, seed):
        return self.start, 0

    async def step(self, state, action):
        place, steps = state
        if action not in MOVES:
            return Step(state, valid=False)
        place, steps = min(max(place + MOVES[action], 0), self.goal), steps + 1
        arrived = place == self.goal
        ended = arrived or (self.pit and place == 0)
        reward = 1 - 0.9 * steps / self.limit if arrived else 0.0
        return Step((place, steps), reward, ended, not ended and steps >= self.limit)

    def observe(self, state):
        return str(state[0])

    def legal_actions(self, state):
        return tuple(MOVES)

    def key(self, state):
        return state[0]

    def picture(self, state):
        return "." * state[0] + "@" + "." * (self.goal - state[0])


@dataclass(frozen=True)
class Arrived:
    goal: int

    async def verify(self, task, trajectory, state):
        arrived = state[0] == self.goal
        return Verdict(arrived, float(arrived), f"ended at {state[0]}")


def every_move(*moves):
    """A policy that proposes every move, in order; `left` is its likeliest."""
    return Scripted(lambda context, n: moves or tuple(MOVES))


def nearness(goal=4, discount=0.9, noise=0.0):
    """The discounted worth of a place, with frozen noise."""

    def value(context):
        place = int(context.observation)
        return discount ** (goal - place) + noise * random.Random(place).uniform(-1, 1)

    return ScriptedValue(value)
