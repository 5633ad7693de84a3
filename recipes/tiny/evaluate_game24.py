"""Scores in Game of 24, without any search.

Actions are decoded freely: nothing keeps the model to the legal ones, and an illegal or
unreadable action ends its attempt. pass@k is the unbiased estimate of Chen et al., 2021
(arXiv 2107.03374, eq. 1).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from math import comb
from typing import Any

import torch

from agentsearch_envs import game24
from recipes.tiny.game24 import (
    JUDGE_DEPTHS,
    NEGATIVE,
    POSITIVE,
    PROMPTS,
    RULES,
    Walk,
    options_at,
    puzzles,
    walk_to,
)
from recipes.tiny.generate import ChatModel
from recipes.tiny.settings import Settings

SEED = 24
"""Of the questions; every model is asked the same."""
ACTION_TOKENS, PLAN_TOKENS, ANSWER_TOKENS = 16, 40, 4
TRIES = 20  # draws for each wanted distinct state
PASS_K = 10


def evaluate(model: ChatModel, settings: Settings) -> dict[str, Any]:
    """All scores on dev and test puzzles."""
    evaluation = Evaluation(model, settings)
    scores: dict[str, Any] = {}
    for split in ("dev", "test"):
        roots = puzzles(split)[: settings.eval_puzzles]
        scores[split] = {
            "policy": evaluation.policy(roots),
            "judge": evaluation.judge(split),
            "choose": evaluation.choose(split),
            "complete": evaluation.complete(roots),
        }
    return scores


class Evaluation:
    """Asks one model and reads its replies."""

    def __init__(self, model: ChatModel, settings: Settings) -> None:
        self.model, self.settings = model, settings

    def attempts(self, roots: Sequence[game24.Puzzle], n: int, *, greedy: bool) -> dict[str, Any]:
        """Solved attempts of every puzzle, and how many actions were invalid."""
        live = Counter({Walk(numbers, numbers): n for numbers in roots})
        solved: Counter[game24.Puzzle] = Counter()
        actions = invalid = 0
        for _ in range(game24.SPEC.max_steps):
            walks = list(live)
            chats = [PROMPTS.propose_messages(walk.context) for walk in walks]
            counts = [live[walk] for walk in walks]
            replies = self.model.replies(chats, counts, greedy=greedy, max_tokens=ACTION_TOKENS)
            live = Counter()
            for walk, texts in zip(walks, replies, strict=True):
                for text in texts:
                    actions += 1
                    if game24.find_move(walk.numbers, text, RULES) is None:
                        invalid += 1
                    else:
                        live[walk.take(text)] += 1
        for walk, count in live.items():
            solved[walk.puzzle] += count * (walk.numbers == (game24.TARGET,))
        return {"solved": [solved[p] for p in roots], "actions": actions, "invalid": invalid}

    def policy(self, roots: Sequence[game24.Puzzle]) -> dict[str, Any]:
        """The policy alone: greedy, and sampled at temperature 1."""
        n = self.settings.samples
        greedy = self.attempts(roots, 1, greedy=True)
        drawn = self.attempts(roots, n, greedy=False)
        return {
            "puzzles": len(roots),
            "greedy_solved": sum(greedy["solved"]),
            "greedy_invalid_actions": greedy["invalid"],
            "greedy_actions": greedy["actions"],
            "samples": n,
            "sample_solved": sum(drawn["solved"]),
            f"pass_at_{PASS_K}": mean([pass_at(n, c, min(PASS_K, n)) for c in drawn["solved"]]),
            "solved_by_any_sample": sum(count > 0 for count in drawn["solved"]),
            "sampled_invalid_actions": drawn["invalid"],
            "sampled_actions": drawn["actions"],
        }

    def judge(self, split: str) -> dict[str, Any]:
        """Accuracy of the greedy answer, and AUC of P(sure), by numbers left."""
        return {str(depth): self.judge_depth(split, depth) for depth in JUDGE_DEPTHS}

    def judge_depth(self, split: str, depth: int) -> dict[str, Any]:
        """One depth; as many solvable states as unsolvable ones."""
        rng = random.Random(f"{SEED}/judge/{split}/{depth}")
        half = self.settings.judge_states // 2
        yes, no = (distinct(depth, wanted, split, half, rng) for wanted in (True, False))
        size = min(len(yes), len(no))
        walks = yes[:size] + no[:size]
        chats = [PROMPTS.judge_messages(walk.context) for walk in walks]
        replies = self.model.answers(chats, ANSWER_TOKENS)
        truth = [walk.solvable for walk in walks]
        wanted = [POSITIVE if yes else NEGATIVE for yes in truth]
        right = [reply == want for reply, want in zip(replies, wanted, strict=True)]
        words = [self.model.encoder.text(word)[0] for word in (POSITIVE, NEGATIVE)]
        odds = self.model.next_logprobs(chats)[:, words]
        scores = (odds[:, 0] - odds[:, 1]).tolist()
        return {
            "states": len(walks),
            "right": sum(right),
            "right_of_solvable": sum(right[:size]),
            "auc": auc(scores[:size], scores[size:]),
        }

    def choose(self, split: str) -> dict[str, Any]:
        """How often the number of the one good action is answered."""
        rng = random.Random(f"{SEED}/choose/{split}")
        chats, wanted, chance = [], [], []
        while len(chats) < self.settings.choose_questions:
            walk = walk_to(rng.choice(JUDGE_DEPTHS), True, split, rng)
            question = options_at(walk, rng)
            if question is None:
                continue
            options, place = question
            chats.append(PROMPTS.choose_messages(walk.context, options))
            wanted.append(str(place + 1))
            chance.append(1 / len(options))
        replies = self.model.answers(chats, ANSWER_TOKENS)
        right = sum(reply == want for reply, want in zip(replies, wanted, strict=True))
        return {"questions": len(chats), "right": right, "by_chance": mean(chance)}

    def complete(self, roots: Sequence[game24.Puzzle]) -> dict[str, Any]:
        """How often a plan written at the start reaches 24."""
        chats = [PROMPTS.complete_messages(Walk(root, root).context) for root in roots]
        plans = self.model.answers(chats, PLAN_TOKENS)
        return {"puzzles": len(roots), "solved": sum(map(reaches, roots, plans))}


def reaches(root: game24.Puzzle, plan: str) -> bool:
    """Whether the plan's lines lead from the root to 24."""
    walk = Walk(root, root)
    for line in plan.split("\n"):
        if game24.find_move(walk.numbers, line, RULES) is None:
            return False
        walk = walk.take(line)
    return walk.numbers == (game24.TARGET,)


def distinct(depth: int, solvable: bool, split: str, count: int, rng: random.Random) -> list[Walk]:
    """Up to `count` distinct states of a depth, histories included."""
    found: dict[Walk, None] = {}
    for _ in range(TRIES * count):
        if len(found) < count:
            found[walk_to(depth, solvable, split, rng)] = None
    return list(found)


def pass_at(n: int, solved: int, k: int) -> float:
    """1 - C(n - solved, k) / C(n, k): chance that one of k draws of n is right."""
    return 1 - comb(n - solved, k) / comb(n, k)


def auc(high: Sequence[float], low: Sequence[float]) -> float:
    """Share of pairs in which the first list's score is higher; ties count half."""
    a, b = torch.tensor(high)[:, None], torch.tensor(low)[None, :]
    return ((a > b).double() + 0.5 * (a == b).double()).mean().item()


def mean(values: Sequence[float]) -> float:
    """The average."""
    return sum(values) / len(values)
