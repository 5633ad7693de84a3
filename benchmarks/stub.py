"""The pretended world and model that every engine in a benchmark is given.

A state is the text of the path to it. The model proposes four actions in any state and
scores them in the same reply; its numbers come from a table drawn from the seed, so that
trees grow deep in some places and wide in others, and grow alike for everybody.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Hashable, Sequence

from agentsearch.types import EnvSpec, Step, Task

ACTIONS = ("a", "b", "c", "d")
ROWS = 1 << 12

Reply = tuple[tuple[str, float, float], ...]
"""Action, prior and value of each child."""


class Model:
    """Replies to a state, without latency: one checksum and one look-up."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.rows = [_reply(rng) for _ in range(ROWS)]

    def reply(self, state: str) -> Reply:
        """What the model says in `state`."""
        return self.rows[zlib.crc32(state.encode()) % ROWS]

    def value(self, state: str) -> float:
        """What the model gave `state` when it proposed it; the start is worth one half."""
        return self.reply(state[:-1])[ACTIONS.index(state[-1])][2] if state else 0.5


def _reply(rng: random.Random) -> Reply:
    weights = [math.exp(rng.gauss(0.0, 1.0)) for _ in ACTIONS]
    total = sum(weights)
    return tuple(
        (action, weight / total, rng.random())
        for action, weight in zip(ACTIONS, weights, strict=True)
    )


class World:
    """An endless environment whose state is the path so far."""

    spec = EnvSpec("stub", "1", max_steps=1_000_000, actions="open")

    @property
    def verifier(self) -> None:
        """Nobody judges here."""

    def tasks(self, split: str) -> Sequence[Task]:
        """One task."""
        return [Task("stub", "Go on.")]

    async def reset(self, task: Task, *, seed: int) -> str:
        """The empty path."""
        return ""

    async def step(self, state: str, action: str) -> Step[str]:
        """The path, one action longer."""
        return Step(state + action)

    def observe(self, state: str) -> str:
        """The path itself."""
        return state

    def legal_actions(self, state: str) -> Sequence[str] | None:
        """An open set."""
        return None

    def key(self, state: str) -> Hashable:
        """The path itself."""
        return state
