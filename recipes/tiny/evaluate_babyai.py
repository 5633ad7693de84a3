"""Scores in BabyAI-Text, without any search, in worlds that nothing was learnt or tuned on.

The policy is kept to the six actions, as policy `scoring` does it: greedily or drawn at
temperature 1. Distances are steps of minigrid's bot, started at the state itself. Dev
worlds are MixedTrainLocal's, test worlds MixedTestLocal's; their seeds are neither those
of the dev demonstrations nor those of the published test tasks.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any, NamedTuple

import torch

from agentsearch.types import Context, Turn
from agentsearch_envs import babyai_levels as levels
from agentsearch_envs import babyai_world as w
from agentsearch_envs.babyai_text import KINDS, LEVELS, NUMBERS, SEEDS, BabyAIText, prompt
from recipes.tiny.babyai import FORWARD_WEIGHTS, HISTORY, LONGEST_PLAN, PROMPTS
from recipes.tiny.demonstration import WORDS, WORTHS
from recipes.tiny.generate import Chat, ChatModel
from recipes.tiny.settings import Settings

FIRST = 500_000
"""Of the seeds, counted from the split's own first."""
SEED = 24
"""Of the questions; every model is asked the same."""
TASKS, SAMPLED_TASKS, SAMPLES = 50, 5, 4
QUESTIONS = 40
"""Of each role and kind."""
MOST_WANDERED = 20
BOT_SHARE = 0.7
"""Of the actions that lead to a questioned state; the others are random."""
PLAN_TOKENS, ANSWER_TOKENS = 40, 4
ENV = BabyAIText()


@dataclass(frozen=True)
class Walk:
    """A state and the turns that led to it."""

    state: w.State
    turns: tuple[Turn, ...] = ()

    def take(self, action: int) -> Walk:
        """The walk after one more action."""
        turn = Turn(ENV.observe(self.state), w.ACTIONS[action])
        return Walk(w.step(self.state, action), (*self.turns, turn))

    def nearer(self, distance: int) -> Walk:
        """The walk after the bot's actions up to this distance from success."""
        path = levels.bot_path(self.state)
        assert path is not None
        walk = self
        for action in path[: max(0, len(path) - distance)]:
            walk = walk.take(action)
        return walk

    @property
    def context(self) -> Context:
        """What a policy knows here."""
        mission = self.state.world.mission
        return Context(prompt(mission), ENV.observe(self.state), self.turns, w.ACTIONS)

    @property
    def window(self) -> tuple[object, ...]:
        """All that the next state depends on, if the policy is deterministic."""
        return (ENV.key(self.state), *self.turns[-HISTORY:])

    @property
    def best(self) -> int:
        """What the bot does here, where it is known to succeed."""
        action = levels.bot_action(self.state)
        assert action is not None
        return action

    @property
    def distance(self) -> int | None:
        """Steps the bot needs, or None where it does not get there."""
        path = levels.bot_path(self.state)
        return None if path is None else len(path)


class Outcome(NamedTuple):
    """How an episode went; a greedy one that `loops` would repeat itself to its end."""

    solved: bool
    loops: bool


def start(split: str, kind: str, number: int) -> Walk:
    """The beginning of a held-out world."""
    seed = SEEDS[split] + FIRST + number
    return Walk(levels.start(levels.Recipe(LEVELS[split], seed, kind)))


# The policy


class Policy:
    """Scores the six actions; equal chats are asked once."""

    def __init__(self, model: ChatModel) -> None:
        self.model = model
        self.known: dict[object, list[float]] = {}

    def shares(self, walks: Sequence[Walk]) -> list[list[float]]:
        """`[walks, 6]`, probabilities among the actions."""
        chats = [PROMPTS.propose_messages(walk.context) for walk in walks]
        new = [chat for chat in dict.fromkeys(chats) if chat not in self.known]
        if new:
            rows = self.model.choice_logprobs(new, w.ACTIONS).softmax(-1).tolist()
            self.known.update(zip(new, rows, strict=True))
        return [self.known[chat] for chat in chats]

    def greedy(self, roots: Sequence[Walk]) -> list[Outcome]:
        """An episode from every root, left where it begins to repeat itself."""
        outcomes = [Outcome(False, False)] * len(roots)
        seen: list[set[object]] = [set() for _ in roots]
        live = dict(enumerate(roots))
        while live:
            shares = self.shares(list(live.values()))
            for (place, walk), row in zip(list(live.items()), shares, strict=True):
                seen[place].add(walk.window)
                live[place] = after = walk.take(row.index(max(row)))
                repeats = after.window in seen[place] and not after.state.ended
                if after.state.ended or repeats:
                    outcomes[place] = Outcome(after.state.ended == w.SUCCESS, repeats)
                    del live[place]
        return outcomes

    def sampled(self, roots: Sequence[Walk], rng: random.Random) -> list[bool]:
        """Whether an episode of drawn actions solved each root."""
        live = dict(enumerate(roots))
        solved = [False] * len(roots)
        while live:
            shares = self.shares(list(live.values()))
            for (place, walk), row in zip(list(live.items()), shares, strict=True):
                live[place] = after = walk.take(rng.choices(range(len(row)), row)[0])
                if after.state.ended:
                    solved[place] = after.state.ended == w.SUCCESS
                    del live[place]
        return solved


def policy(model: ChatModel, split: str, tasks: int, sampled: int) -> dict[str, Any]:
    """The policy alone beside chance, the rule and the bot, by kind of task."""
    asked = Policy(model)
    roots = {kind: [start(split, kind, i) for i in range(tasks)] for kind in KINDS}
    greedy = asked.greedy([root for each in roots.values() for root in each])
    again = [root for each in roots.values() for root in each[:sampled] for _ in range(SAMPLES)]
    drawn = asked.sampled(again, random.Random(f"{SEED}/sampled/{split}"))
    return {
        kind: {
            **counted(greedy[i * tasks :][:tasks], drawn[i * sampled * SAMPLES :], sampled),
            **anchors(roots[kind], random.Random(f"{SEED}/anchors/{split}/{kind}")),
        }
        for i, kind in enumerate(KINDS)
    }


def counted(greedy: Sequence[Outcome], drawn: Sequence[bool], sampled: int) -> dict[str, int]:
    """What came of one kind's tasks; `drawn` begins with their samples."""
    each = [sum(drawn[i * SAMPLES :][:SAMPLES]) for i in range(sampled)]
    return {
        "tasks": len(greedy),
        "greedy_solved": sum(outcome.solved for outcome in greedy),
        "greedy_loops": sum(outcome.loops for outcome in greedy),
        "sampled_tasks": sampled,
        "samples": SAMPLES,
        "sample_solved": sum(each),
        "solved_by_any_sample": sum(count > 0 for count in each),
    }


def anchors(roots: Sequence[Walk], rng: random.Random) -> dict[str, int]:
    """What chance, the hand-written rule and the bot solve."""
    return {
        "random_solved": sum(alone(root, lambda _: rng.choice(w.ACTIONS)) for root in roots),
        "rule_solved": sum(alone(root, lambda walk: ENV.rule(walk.context, rng)) for root in roots),
        "bot_solved": sum(root.distance is not None for root in roots),
    }


def alone(walk: Walk, act: Callable[[Walk], str]) -> bool:
    """Whether one episode of a policy without a model succeeds."""
    while not walk.state.ended:
        walk = walk.take(NUMBERS[act(walk)])
    return walk.state.ended == w.SUCCESS


# Judge, choose, complete


def wanderings(role: str, split: str, kind: str) -> Iterator[tuple[Walk, random.Random]]:
    """States from which the bot succeeds, some steps into ever new worlds."""
    for number in itertools.count():
        rng = random.Random(f"{SEED}/{role}/{split}/{kind}/{number}")
        walk = start(split, kind, number)
        for _ in range(rng.randrange(MOST_WANDERED)):
            if not walk.state.ended:
                walk = walk.take(wander(walk.state, rng))
        if not walk.state.ended and walk.distance is not None:
            yield walk, rng


def wander(state: w.State, rng: random.Random) -> int:
    """Mostly what the bot does."""
    best = levels.bot_action(state)
    if best is not None and rng.random() < BOT_SHARE:
        return best
    return rng.choices(range(len(w.ACTIONS)), FORWARD_WEIGHTS)[0]


def siblings(split: str, kind: str) -> Iterator[tuple[Walk, Walk]]:
    """Two states that one action of the same state leads to, the one nearer success first."""
    for walk, rng in wanderings("judge", split, kind):
        best = walk.best
        other = rng.choice([action for action in range(len(w.ACTIONS)) if action != best])
        pair = [walk.take(best), walk.take(other)]
        if any(child.state.ended for child in pair):
            continue
        near, far = (child.distance for child in pair)
        if near is not None and far is not None and near != far:
            yield (pair[0], pair[1]) if near < far else (pair[1], pair[0])


def judge(model: ChatModel, split: str, count: int, discount: float) -> dict[str, Any]:
    """The expected worth of states against `discount` to the power of their distance."""
    from scipy.stats import spearmanr  # slow to import

    pairs = [pair for kind in KINDS for pair in itertools.islice(siblings(split, kind), count)]
    walks = [walk for pair in pairs for walk in pair]
    chats = [PROMPTS.judge_messages(walk.context) for walk in walks]
    shares = model.choice_logprobs(chats, WORDS).softmax(-1)
    worths = (shares @ torch.tensor(WORTHS)).tolist()
    truths = [discount ** (walk.distance or 0) for walk in walks]
    nearer = [
        (near > far) + (near == far) / 2
        for near, far in zip(worths[::2], worths[1::2], strict=True)
    ]
    return {
        "states": len(walks),
        "spearman": float(spearmanr(worths, truths).statistic),
        "mae": error(worths, truths),
        "mae_of_a_constant": error([median(truths)] * len(truths), truths),
        "pairs": len(pairs),
        "nearer_auc": mean(nearer),
    }


def error(worths: Sequence[float], truths: Sequence[float]) -> float:
    """Mean absolute error."""
    return mean([abs(a - b) for a, b in zip(worths, truths, strict=True)])


def choose(model: ChatModel, split: str, count: int) -> dict[str, Any]:
    """How often the number of the bot's action is answered, among two to six."""
    chats: list[Chat] = []
    wanted: list[str] = []
    chance: list[float] = []
    for kind in KINDS:
        for walk, rng in itertools.islice(wanderings("choose", split, kind), count):
            best = w.ACTIONS[walk.best]
            others = [action for action in w.ACTIONS if action != best]
            options = [best, *rng.sample(others, rng.randint(1, len(others)))]
            rng.shuffle(options)
            chats.append(PROMPTS.choose_messages(walk.context, options))
            wanted.append(str(options.index(best) + 1))
            chance.append(1 / len(options))
    replies = model.answers(chats, ANSWER_TOKENS)
    right = sum(reply == want for reply, want in zip(replies, wanted, strict=True))
    return {"questions": len(chats), "right": right, "by_chance": mean(chance)}


def complete(model: ChatModel, split: str, count: int) -> dict[str, Any]:
    """How often a written plan succeeds where the bot needs at most `LONGEST_PLAN` steps."""
    walks = [
        walk.nearer(rng.randint(1, LONGEST_PLAN))
        for kind in KINDS
        for walk, rng in itertools.islice(wanderings("complete", split, kind), count)
    ]
    chats = [PROMPTS.complete_messages(walk.context) for walk in walks]
    plans = model.answers(chats, PLAN_TOKENS)
    return {"states": len(walks), "solved": sum(map(succeeds, walks, plans))}


def succeeds(walk: Walk, plan: str) -> bool:
    """Whether the plan's lines, carried out one by one, do the mission."""
    for line in plan.split("\n"):
        if walk.state.ended or line not in NUMBERS:
            break
        walk = walk.take(NUMBERS[line])
    return walk.state.ended == w.SUCCESS


def evaluate(model: ChatModel, settings: Settings) -> dict[str, Any]:
    """All scores on dev and test worlds; a profile that asks few puzzles asks few of these."""
    tasks = min(TASKS, settings.eval_puzzles)
    sampled = min(SAMPLED_TASKS, settings.eval_puzzles // 4)
    questions = min(QUESTIONS, settings.eval_puzzles)
    return {
        split: {
            "policy": policy(model, split, tasks, sampled),
            "judge": judge(model, split, questions, settings.discount),
            "choose": choose(model, split, questions),
            "complete": complete(model, split, questions),
        }
        for split in ("dev", "test")
    }
