"""A letter tree for tests: spell the planted word, one letter at a time.

The state is the text so far, an action appends a letter, the episode terminates at the
length of the word, and the environment pays 1 for the word itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agentsearch.budget import Budget, Limits
from agentsearch.choosers.plain import RandomChooser
from agentsearch.errors import BudgetExhausted
from agentsearch.policies.scripted import Scripted
from agentsearch.problem import Problem
from agentsearch.seeds import derive_seed
from agentsearch.types import Context, EnvSpec, Proposal, Step, Task, Verdict
from agentsearch.values.plain import ScriptedValue

WORD = "cab"
LETTERS = "abc"


@dataclass(frozen=True)
class Letters:
    """The environment.

    Attributes:
        pay: reward of a letter wherever it is taken, added to that of the word.
        truncate: length at which the episode is cut short.
        instant: False makes every step sleep for a random, tiny time.
        broken: text at which `step` raises.
    """

    word: str = WORD
    letters: str = LETTERS
    pay: Mapping[str, float] = field(default_factory=dict)
    truncate: int | None = None
    instant: bool = True
    broken: str | None = None

    @property
    def spec(self):
        return EnvSpec("letters", "1", max_steps=len(self.word), instant=self.instant)

    @property
    def verifier(self):
        return Speller(self.word)

    def oracle(self):
        return LetterOracle(self)

    def tasks(self, split):
        return [Task(f"letters/{split}/{i}", "Spell the word.") for i in range(5)]

    async def reset(self, task, *, seed):
        return ""

    async def step(self, state, action):
        if not self.instant:
            await tiny_sleep()
        after = state + action
        if after == self.broken:
            raise RuntimeError(f"no way past {after}")
        if len(action) != 1 or action not in self.letters or len(state) == len(self.word):
            return Step(state, terminated=len(state) == len(self.word), valid=False)
        reward = self.pay.get(action, 0.0) + float(after == self.word)
        ended = len(after) == len(self.word)
        cut = not ended and len(after) == self.truncate
        return Step(after, reward, terminated=ended, truncated=cut)

    def observe(self, state):
        return state

    def legal_actions(self, state):
        return () if len(state) == len(self.word) else tuple(self.letters)

    def key(self, state):
        return state

    def answer(self, state):
        return state


@dataclass(frozen=True)
class Speller:
    word: str

    async def verify(self, task, trajectory, state):
        text = "".join(trajectory.actions)
        right = sum(a == b for a, b in zip(text, self.word, strict=False))
        return Verdict(text == self.word, right / len(self.word), f"spelt {text!r}")


@dataclass(frozen=True)
class LetterOracle:
    env: Letters

    def action(self, state):
        word = self.env.word
        return word[len(state)] if word.startswith(state) and state != word else None

    def value(self, state):
        return float(self.env.word.startswith(state))


@dataclass(frozen=True)
class Sampler:
    """A seeded stochastic policy: independent letters by weight.

    Asked for `distinct` ones it repeats itself too, as a language model does, unless
    `repeats` is False.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(LETTERS, 1.0))
    repeats: bool = True

    async def propose(self, context, n, *, seed, mode="sample"):
        letters, weights = list(self.weights), list(self.weights.values())
        if mode == "greedy":
            return [Proposal(best := max(self.weights, key=self.weights.get), best)]
        if mode == "distinct" and not self.repeats:
            shuffled = random.Random(seed).sample(letters, len(letters))
            return [Proposal(letter, letter) for letter in shuffled[:n]]
        drawn = (random.Random(derive_seed(seed, i)).choices(letters, weights)[0] for i in range(n))
        return [Proposal(letter, letter) for letter in drawn]


@dataclass(frozen=True)
class Slow:
    """The same policy or value, after a random, tiny time."""

    part: object

    async def propose(self, context, n, *, seed, mode="sample"):
        await tiny_sleep()
        return await self.part.propose(context, n, seed=seed, mode=mode)

    async def value(self, context, *, seed):
        await tiny_sleep()
        return await self.part.value(context, seed=seed)


async def tiny_sleep():
    for _ in range(random.randrange(4)):
        await asyncio.sleep(0)
    if random.random() < 0.2:
        await asyncio.sleep(random.random() / 1000)


def guess(word: str = WORD, noise: float = 0.0) -> ScriptedValue:
    """The share of the word that is spelt, 0 once it is misspelt, with frozen noise."""

    def value(context: Context) -> float:
        text = context.observation
        share = len(text) / len(word) if word.startswith(text) else 0.0
        return share + noise * random.Random(text).uniform(-1, 1)

    return ScriptedValue(value)


def every_letter(letters: str = LETTERS) -> Scripted:
    """A policy that proposes every letter, in order."""
    return Scripted(lambda context, n: letters)


def a_problem(
    env: Letters | None = None,
    policy: object | None = None,
    value: object | None = None,
    *,
    seed: int = 0,
    reward_visible: bool = False,
    merge: bool = True,
    chooser: object | None = None,
    **limits: float,
) -> Problem:
    """A problem on the letter tree, without a limit that matters unless one is given."""
    env = env or Letters()
    return Problem(
        env.tasks("train")[0],
        env,
        policy or every_letter(),
        value or guess(),
        state="",
        budget=Budget(Limits(**(limits or {"calls": 1000, "iterations": 200}))),
        seed=seed,
        reward_visible=reward_visible,
        merge=merge,
        chooser=chooser or RandomChooser(),
    )


def grow(search: object, problem: Problem) -> Problem:
    """Run the search until it ends by itself or its budget does."""

    async def work() -> None:
        with contextlib.suppress(BudgetExhausted):
            await search.search(problem)

    asyncio.run(work())
    return problem


def node_at(problem: Problem, text: str):
    """The node whose state is `text`, or None."""
    return next((node for node in problem.tree.nodes if node.state == text), None)


def text_value(script: Callable[[str], float]) -> ScriptedValue:
    """A value of the text so far."""
    return ScriptedValue(lambda context: script(context.observation))
