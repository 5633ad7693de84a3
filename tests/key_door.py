"""A text world with hidden, mutable state: find the key in the corridor, open the door.

The agent sees only the place it stands in. Whether it holds the key is hidden, and so is
how often it has knocked, which changes what a knock sounds like. As a plain game
(`Corridor`), as sessions of it (`CorridorWorld`) and as a `gymnasium.Env` (`KeyDoor`).
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import gymnasium
from gymnasium import spaces

from agentsearch.live import Seen
from agentsearch.policies.scripted import Scripted
from agentsearch.types import EnvSpec, Task, Verdict
from agentsearch.values.plain import ScriptedValue

ACTIONS = ("left", "right", "take", "open", "knock")
PLACES = 4  # the door is at the last
STEPS = 12


class Corridor:
    """The game; `counter` counts resets and steps of all that share it."""

    def __init__(self, counter=None):
        self.counter = Counter() if counter is None else counter

    def reset(self, seed):
        self.counter["resets"] += 1
        self.random = random.Random(seed)
        self.at, self.key_at, self.knocks = 1, self.random.randrange(PLACES - 1), 0
        return self.seen("You wake up.")

    def step(self, action):
        if action not in ACTIONS:
            return Seen("", valid=False)
        self.counter["steps"] += 1
        words = getattr(self, f"_{action}")()
        opened = words == "The door opens."
        return self.seen(words, reward=float(opened), terminated=opened)

    def seen(self, words, **outcome):
        here = "a door" if self.at == PLACES - 1 else "a key" if self.at == self.key_at else "dust"
        text = f"{words} Place {self.at}: {here}."
        return Seen(text, legal_actions=ACTIONS, **outcome)

    def _left(self):
        self.at = max(self.at - 1, 0)
        return "You walk."

    def _right(self):
        self.at = min(self.at + 1, PLACES - 1)
        return "You walk."

    def _take(self):
        if self.at != self.key_at:
            return "Nothing to take."
        self.key_at = None
        return "You take it."

    def _open(self):
        ready = self.at == PLACES - 1 and self.key_at is None
        return "The door opens." if ready else "Nothing opens."

    def _knock(self):
        self.knocks += 1
        return f"{self.random.choice(('Thud', 'Thump', 'Bang'))} {self.knocks}."

    def __deepcopy__(self, memo):
        copied = copy.copy(self)
        copied.random = copy.copy(self.random)
        return copied


class Walk:
    """A session of the game."""

    def __init__(self, corridor):
        self.corridor = corridor
        self.corridor.counter["opened"] += 1

    async def reset(self, task, *, seed):
        return self.corridor.reset(task.data["seed"])

    async def step(self, action):
        return self.corridor.step(action)

    async def close(self):
        self.corridor.counter["closed"] += 1


class Saving(Walk):
    """With snapshots."""

    async def reset(self, task, *, seed):
        self.last = await super().reset(task, seed=seed)
        return self.last

    async def step(self, action):
        seen = await super().step(action)
        self.last = seen if seen.valid else self.last
        return seen

    async def snapshot(self):
        return {**vars(self.corridor), "random": copy.copy(self.corridor.random)}, self.last

    async def restore(self, snapshot):
        fields, self.last = snapshot
        vars(self.corridor).update({**fields, "random": copy.copy(fields["random"])})
        return self.last


@dataclass(frozen=True)
class CorridorWorld:
    """A world of corridors; all its sessions count on `counter`."""

    session_type: type[Walk] = Walk
    corridor: type[Corridor] = Corridor
    max_steps: int = STEPS
    instant: bool = True
    counter: Counter[str] = field(default_factory=Counter)

    @property
    def spec(self):
        return EnvSpec("corridor", "1", max_steps=self.max_steps, instant=self.instant)

    @property
    def verifier(self):
        return Opened()

    def tasks(self, split):
        first = {"train": 0, "dev": 100, "test": 200}[split]
        return [
            Task(f"corridor/{seed}", "Open the door.", {"seed": seed})
            for seed in range(first, first + 6)
        ]

    def session(self):
        return self.session_type(self.corridor(self.counter))


class Opened:
    async def verify(self, task, trajectory, state):
        opened = trajectory.terminated
        return Verdict(opened, float(opened), "open" if opened else "shut")


class KeyDoor(gymnasium.Env):
    """The same world for gymnasium.

    Args:
        shows: where the text is: `text`, `dict` (key `words`), `info` (key `words`) or nowhere.
        takes: `number`, or `text`, or `any` for an action space without names.
        dice: makes it nondeterministic.
    """

    metadata = {"render_modes": []}

    def __init__(self, shows="text", takes="number", dice=False):
        self.shows, self.takes, self.dice = shows, takes, dice
        self.action_space = {
            "number": spaces.Discrete(len(ACTIONS), start=3),
            "text": spaces.Text(20),
            "any": spaces.MultiBinary(3),
        }[takes]
        self.observation_space = spaces.Text(200)
        self.corridor = Corridor()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.shown(self.corridor.reset(seed))[0::4]

    def step(self, action):
        text = action if self.takes == "text" else ACTIONS[action - 3]
        return self.shown(self.corridor.step(text))

    def shown(self, seen):
        words: Any = seen.observation
        if self.dice:
            words += f" {random.random()}"
        info = {"legal": list(ACTIONS)} | ({"words": words} if self.shows == "info" else {})
        observation = {"text": words, "dict": {"words": words, "level": 1}}.get(self.shows, 7)
        return observation, seen.reward, seen.terminated, seen.truncated, info


gymnasium.register("tests/KeyDoor-v0", KeyDoor, max_episode_steps=STEPS)


def every_action():
    """A policy that proposes all actions, in order."""
    return Scripted(lambda context, n: ACTIONS)


def guess():
    """A value with a good hunch: take the key, then get near the door."""

    def value(context):
        words = [turn.observation for turn in context.turns] + [context.observation]
        place = int(context.observation.split("Place ")[1][0])
        has_key = any("You take it." in each for each in words)
        return 0.5 + 0.1 * place if has_key else 0.2 * ("key" in context.observation)

    return ScriptedValue(value)
