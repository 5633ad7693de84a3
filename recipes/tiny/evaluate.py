"""Scores of the model in its four roles, without any search, as JSON.

Actions are decoded freely: nothing keeps the model to the legal ones, and an illegal or
unreadable action ends its attempt. pass@k is the unbiased estimate of Chen et al., 2021
(arXiv 2107.03374, eq. 1).
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentsearch_envs import game24
from recipes.tiny.demonstrations import (
    JUDGE_DEPTHS,
    NEGATIVE,
    POSITIVE,
    PROMPTS,
    RULES,
    Encoder,
    Walk,
    options_at,
    puzzles,
    walk_to,
)
from recipes.tiny.generate import Ids, Sampler
from recipes.tiny.settings import Settings, load

ACTION_TOKENS, PLAN_TOKENS, ANSWER_TOKENS = 16, 40, 4
TRIES = 20  # draws for each wanted distinct state
PASS_K = 10


class Evaluation:
    """Asks one model and reads its replies."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = Encoder(self.tokenizer)
        self.sampler = Sampler(model, settings.seed)

    def ask(
        self, prompts: Sequence[Ids], counts: Sequence[int] | None, *, greedy: bool, limit: int
    ) -> list[list[str]]:
        """Replies as text; `counts` is one for each prompt if None."""
        counts = [1] * len(prompts) if counts is None else counts
        replies = self.sampler.replies(prompts, counts, greedy=greedy, max_tokens=limit)
        return [[self.tokenizer.decode(ids) for ids in row] for row in replies]

    # Roles

    def attempts(self, roots: Sequence[game24.Puzzle], n: int, *, greedy: bool) -> dict[str, Any]:
        """Solved attempts of every puzzle, and how many actions were invalid."""
        live = Counter({Walk(numbers, numbers): n for numbers in roots})
        solved: Counter[game24.Puzzle] = Counter()
        actions = invalid = 0
        for _ in range(game24.SPEC.max_steps):
            walks = list(live)
            prompts = [
                self.encoder.prompt(PROMPTS.propose_messages(walk.context)) for walk in walks
            ]
            replies = self.ask(
                prompts, [live[w] for w in walks], greedy=greedy, limit=ACTION_TOKENS
            )
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
        rng = random.Random(f"{self.settings.seed}/judge/{split}/{depth}")
        half = self.settings.judge_states // 2
        yes, no = (distinct(depth, wanted, split, half, rng) for wanted in (True, False))
        size = min(len(yes), len(no))
        walks = yes[:size] + no[:size]
        prompts = [self.encoder.prompt(PROMPTS.judge_messages(walk.context)) for walk in walks]
        replies = self.ask(prompts, None, greedy=True, limit=ANSWER_TOKENS)
        truth = [walk.solvable for walk in walks]
        wanted = [POSITIVE if yes else NEGATIVE for yes in truth]
        right = [reply == [want] for reply, want in zip(replies, wanted, strict=True)]
        words = [self.encoder.text(word)[0] for word in (POSITIVE, NEGATIVE)]
        odds = self.sampler.next_logprobs(prompts)[:, words]
        scores = (odds[:, 0] - odds[:, 1]).tolist()
        return {
            "states": len(walks),
            "right": sum(right),
            "right_of_solvable": sum(right[:size]),
            "auc": auc(scores[:size], scores[size:]),
        }

    def choose(self, split: str) -> dict[str, Any]:
        """How often the number of the one good action is answered."""
        rng = random.Random(f"{self.settings.seed}/choose/{split}")
        prompts, wanted, chance = [], [], []
        while len(prompts) < self.settings.choose_questions:
            walk = walk_to(rng.choice(JUDGE_DEPTHS), True, split, rng)
            question = options_at(walk, rng)
            if question is None:
                continue
            options, place = question
            prompts.append(self.encoder.prompt(PROMPTS.choose_messages(walk.context, options)))
            wanted.append(str(place + 1))
            chance.append(1 / len(options))
        replies = self.ask(prompts, None, greedy=True, limit=ANSWER_TOKENS)
        right = sum(reply == [want] for reply, want in zip(replies, wanted, strict=True))
        return {"questions": len(prompts), "right": right, "by_chance": mean(chance)}

    def complete(self, roots: Sequence[game24.Puzzle]) -> dict[str, Any]:
        """How often a plan written at the start reaches 24."""
        contexts = [Walk(numbers, numbers).context for numbers in roots]
        prompts = [self.encoder.prompt(PROMPTS.complete_messages(context)) for context in contexts]
        replies = self.ask(prompts, None, greedy=True, limit=PLAN_TOKENS)
        plans = zip(roots, replies, strict=True)
        return {"puzzles": len(roots), "solved": sum(reaches(root, text) for root, [text] in plans)}


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


def evaluate(folder: Path, settings: Settings) -> dict[str, Any]:
    """All scores on dev and test puzzles."""
    evaluation = Evaluation(folder, settings)
    scores: dict[str, Any] = {"parameters": evaluation.sampler.model.num_parameters()}
    for split in ("dev", "test"):
        roots = puzzles(split)[: settings.eval_puzzles]
        scores[split] = {
            "policy": evaluation.policy(roots),
            "judge": evaluation.judge(split),
            "choose": evaluation.choose(split),
            "complete": evaluation.complete(roots),
        }
    return scores


def rounded(value: object) -> object:
    """The same JSON value with floats of four places."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Evaluate the exported model of a profile into its `evaluation.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="full")
    settings = load(parser.parse_args().profile)
    folder = settings.build / settings.name
    training = json.loads((settings.build / "training.json").read_text())
    content = {"name": settings.name, "training": training, **evaluate(folder, settings)}
    text = json.dumps(rounded(content), indent=2) + "\n"
    (folder / "evaluation.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
