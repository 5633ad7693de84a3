"""Demonstrations of the four roles in Game of 24, from exact solutions of train puzzles.

Chats are built with `Prompts`, as at inference. Integer rules. The four numbers of a dev
or test puzzle never appear, in any role; the states below a puzzle may be shared.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import combinations_with_replacement

from agentsearch.policies.prompts import Prompts
from agentsearch.types import Context, Message, Turn
from agentsearch_envs import game24
from recipes.tiny.demonstration import Demonstration, answered
from recipes.tiny.settings import Settings

RULES: game24.Rules = "integer"
PROMPTS = Prompts()
POSITIVE, NEGATIVE = "sure", "impossible"
JUDGE_DEPTHS, JUDGE_WEIGHTS = (4, 3, 2), (0.15, 0.45, 0.40)
MOST_OPTIONS = 6
HOLD_OUT = 5  # one unsolvable multiset in five is kept for evaluation


# Puzzles


@lru_cache
def puzzles(split: str) -> tuple[game24.Puzzle, ...]:
    """The solvable puzzles of a split."""
    return tuple(tuple(task.data["numbers"]) for task in game24.Game24(RULES).tasks(split))


@lru_cache
def unsolvable_puzzles(held_out: bool) -> tuple[game24.Puzzle, ...]:
    """Four numbers that cannot make 24 even with fractions; none is a puzzle of a split."""
    multisets = combinations_with_replacement(range(1, 14), 4)
    return tuple(
        numbers
        for numbers in multisets
        if not game24.solvable(numbers, "rational") and _held_out(numbers) == held_out
    )


def _held_out(numbers: game24.Puzzle) -> bool:
    return sha256(repr(numbers).encode()).digest()[0] % HOLD_OUT == 0


# Walks


@dataclass(frozen=True)
class Walk:
    """A puzzle, the turns taken so far and the numbers that remain."""

    puzzle: game24.Puzzle
    numbers: game24.Numbers
    turns: tuple[Turn, ...] = ()

    def take(self, action: str) -> Walk:
        """The walk after one more action."""
        move = game24.find_move(self.numbers, action, RULES)
        if move is None:
            raise ValueError(f"{action}: not a move on {self.numbers}.")
        after = move.numbers
        turn = Turn(game24.observation(self.numbers), action)
        return Walk(self.puzzle, after, (*self.turns, turn))

    @property
    def solvable(self) -> bool:
        """Whether 24 can still be made."""
        return game24.solvable(self.numbers, RULES)

    @property
    def good(self) -> tuple[str, ...]:
        """The actions that keep 24 possible."""
        return game24.good_actions(self.numbers, RULES)

    @property
    def legal(self) -> tuple[str, ...]:
        """All actions."""
        return game24.legal_moves(self.numbers, RULES)

    @property
    def bad(self) -> tuple[str, ...]:
        """The actions that lose 24."""
        good = set(self.good)
        return tuple(action for action in self.legal if action not in good)

    @property
    def context(self) -> Context:
        """What a policy knows here."""
        return Context(game24.PROMPT, game24.observation(self.numbers), self.turns, self.legal)


def start(split: str, rng: random.Random) -> Walk:
    """The beginning of a random puzzle."""
    numbers = rng.choice(puzzles(split))
    return Walk(numbers, numbers)


def walk_to(depth: int, positive: bool, split: str, rng: random.Random) -> Walk:
    """A state with `depth` numbers that can (or cannot) still make 24.

    Solvable states come by good actions. Unsolvable ones of four numbers are drawn from
    those that never could; smaller ones leave the good path at a random step.
    """
    if depth == 4 and not positive:
        numbers = rng.choice(unsolvable_puzzles(split != "train"))
        return Walk(numbers, numbers)
    while True:
        walk = start(split, rng)
        wrong = None if positive else rng.randrange(4 - depth)
        for step in range(4 - depth):
            if wrong is None or step < wrong:
                options = walk.good
            else:
                options = walk.bad if step == wrong else walk.legal
            if not options:
                break
            walk = walk.take(rng.choice(options))
        if len(walk.numbers) == depth:
            return walk


# Roles


def propose(split: str, detours: float, rng: random.Random) -> Demonstration:
    """An episode of good actions; a detour is a random action that is not to be learnt."""
    walk, learn = start(split, rng), list[int]()
    while walk.solvable and len(walk.numbers) > 1:
        detour = rng.random() < detours
        if not detour:
            learn.append(2 + 2 * len(walk.turns))
        last, walk = walk, walk.take(rng.choice(walk.legal if detour else walk.good))
    messages = PROMPTS.propose_messages(last.context)
    if not learn:
        return propose(split, detours, rng)
    messages += (Message("assistant", walk.turns[-1].action),)
    return Demonstration("propose", walk.puzzle, messages[: learn[-1] + 1], tuple(learn))


def judge(split: str, detours: float, rng: random.Random) -> Demonstration:
    """Whether 24 can still be made, at all depths, half of them yes."""
    depth = rng.choices(JUDGE_DEPTHS, JUDGE_WEIGHTS)[0]
    positive = rng.random() < 0.5
    walk = walk_to(depth, positive, split, rng)
    messages = PROMPTS.judge_messages(walk.context)
    return answered("judge", walk.puzzle, messages, POSITIVE if positive else NEGATIVE)


def options_at(walk: Walk, rng: random.Random) -> tuple[tuple[str, ...], int] | None:
    """Two to six actions, one of them good, with its place; None without a wrong action."""
    if not walk.bad:
        return None
    wrong = rng.sample(walk.bad, min(len(walk.bad), rng.randint(1, MOST_OPTIONS - 1)))
    place = rng.randint(0, len(wrong))
    return (*wrong[:place], rng.choice(walk.good), *wrong[place:]), place


def choose(split: str, detours: float, rng: random.Random) -> Demonstration:
    """The number of the one good action in a list."""
    while True:
        walk = walk_to(rng.choice(JUDGE_DEPTHS), True, split, rng)
        question = options_at(walk, rng)
        if question is not None:
            break
    options, place = question
    messages = PROMPTS.choose_messages(walk.context, options)
    return answered("choose", walk.puzzle, messages, str(place + 1))


def complete(split: str, detours: float, rng: random.Random) -> Demonstration:
    """All remaining actions of a solution."""
    walk = walk_to(rng.choice(JUDGE_DEPTHS), True, split, rng)
    messages, taken = PROMPTS.complete_messages(walk.context), len(walk.turns)
    while len(walk.numbers) > 1:
        walk = walk.take(rng.choice(walk.good))
    plan = "\n".join(turn.action for turn in walk.turns[taken:])
    return answered("complete", walk.puzzle, messages, plan)


ROLES: dict[str, Callable[[str, float, random.Random], Demonstration]] = {
    "propose": propose,
    "judge": judge,
    "choose": choose,
    "complete": complete,
}


def demonstrations(
    settings: Settings, count: int, rng: random.Random, split: str = "train", step: int = 0
) -> Iterator[Demonstration]:
    """`count` demonstrations with the roles in their shares at a training step."""
    shares = settings.shares_at(step)
    for role in rng.choices(tuple(ROLES), [shares[role] for role in ROLES], k=count):
        yield ROLES[role](split, settings.detour_share, rng)
