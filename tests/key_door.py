"""A text world with hidden, mutable state: find the key in the corridor, open the door.

The agent sees only the place it stands in. Whether it holds the key is hidden, and so is
how often it has knocked, which changes what a knock sounds like. As a plain simulator
(`Corridor`) and as a `gymnasium.Env` (`KeyDoor`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import gymnasium
from gymnasium import spaces

from agentsearch.policies.scripted import Scripted
from agentsearch.types import EnvSpec, Task, Verdict
from agentsearch.values.plain import ScriptedValue
from agentsearch_envs.simulators import Seen

ACTIONS = ("left", "right", "take", "open", "knock")
PLACES = 4  # the door is at the last
STEPS = 12


class Corridor:
    """The simulator; `counter` counts resets and steps of all that share it."""

    def __init__(self, counter=None):
        self.counter = {"resets": 0, "steps": 0} if counter is None else counter

    def reset(self, task, *, seed):
        self.counter["resets"] += 1
        self.random = random.Random(task.data["seed"])
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
        copied = Corridor(self.counter)
        copied.at, copied.key_at, copied.knocks = self.at, self.key_at, self.knocks
        copied.random = random.Random()
        copied.random.setstate(self.random.getstate())
        return copied


class Saving(Corridor):
    """With snapshots of its own."""

    def save(self):
        return self.at, self.key_at, self.knocks, self.random.getstate()

    def load(self, snapshot):
        self.at, self.key_at, self.knocks, state = snapshot
        self.random = random.Random()
        self.random.setstate(state)


@dataclass(frozen=True)
class CorridorWorld:
    """A world of corridors; every simulator counts on `counter`."""

    kind: type[Corridor] = Corridor
    max_steps: int = STEPS
    counter: dict[str, int] = field(default_factory=lambda: {"resets": 0, "steps": 0})

    @property
    def spec(self):
        return EnvSpec("corridor", "1", max_steps=self.max_steps)

    @property
    def verifier(self):
        return Opened()

    def tasks(self, split):
        first = {"train": 0, "dev": 100, "test": 200}[split]
        return [
            Task(f"corridor/{seed}", "Open the door.", {"seed": seed})
            for seed in range(first, first + 6)
        ]

    def simulator(self):
        return self.kind(self.counter)


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
        return self.shown(self.corridor.reset(Task("", "", {"seed": seed}), seed=0))[0::4]

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
