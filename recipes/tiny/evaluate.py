"""Scores of a model in its four roles, without any search, into its `evaluation.json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from agentsearch.engines.hf import find_model
from recipes.tiny import evaluate_babyai, evaluate_game24, evaluate_webshop
from recipes.tiny.generate import ChatModel
from recipes.tiny.settings import PROFILE, Settings, load

TOLERATED_DROP = 0.03
"""How far a score may fall below that of the model gone on from."""
SCORES = "evaluation.json"


def evaluate(settings: Settings) -> dict[str, Any]:
    """All scores of the exported model of a profile, and the comparison with its `init`."""
    model = ChatModel(settings.build / settings.name, evaluate_game24.SEED)
    scores: dict[str, Any] = {
        "name": settings.name,
        "init": settings.init,
        "training": json.loads((settings.build / "training.json").read_text()),
        "parameters": model.sampler.model.num_parameters(),
        "game24": evaluate_game24.evaluate(model, settings),
    }
    if settings.babyai_share > 0:
        scores["babyai_text"] = evaluate_babyai.evaluate(model, settings)
    if settings.webshop_pages > 0:
        scores["webshop"] = evaluate_webshop.evaluate(model, settings)
    if settings.init is not None:
        before = json.loads((find_model(settings.init) / SCORES).read_text())
        scores["compared"] = compare(before, scores)
    return scores


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What both models know, before and after, dev and test together."""
    compared: dict[str, Any] = {"with": before["name"]}
    for env, rates in RATES.items():
        if env in before and env in after:
            compared[env] = {}
            for name, counts in rates.items():
                old, new = (pooled(scores[env], counts) for scores in (before, after))
                dropped = old - new > TOLERATED_DROP
                compared[env][name] = {"before": old, "after": new, "dropped": dropped}
    return compared


def pooled(scores: dict[str, Any], counts: Callable[[dict[str, Any]], tuple[float, int]]) -> float:
    """A rate over all splits."""
    right, total = (sum(each) for each in zip(*map(counts, scores.values()), strict=True))
    return right / total


# Game of 24


def greedy(scores: dict[str, Any]) -> tuple[int, int]:
    """Puzzles solved greedily, of how many."""
    return scores["policy"]["greedy_solved"], scores["policy"]["puzzles"]


def sampled(scores: dict[str, Any]) -> tuple[int, int]:
    """Samples that solve, of how many."""
    policy = scores["policy"]
    return policy["sample_solved"], policy["samples"] * policy["puzzles"]


def judged(scores: dict[str, Any]) -> tuple[int, int]:
    """States judged rightly, of how many."""
    depths = scores["judge"].values()
    return sum(depth["right"] for depth in depths), sum(depth["states"] for depth in depths)


# BabyAI-Text


def greedy_tasks(scores: dict[str, Any]) -> tuple[int, int]:
    """Tasks solved greedily, of how many."""
    kinds = scores["policy"].values()
    return sum(kind["greedy_solved"] for kind in kinds), sum(kind["tasks"] for kind in kinds)


def sampled_tasks(scores: dict[str, Any]) -> tuple[int, int]:
    """Samples that solve, of how many."""
    kinds = scores["policy"].values()
    total = sum(kind["samples"] * kind["sampled_tasks"] for kind in kinds)
    return sum(kind["sample_solved"] for kind in kinds), total


def correlation(scores: dict[str, Any]) -> tuple[float, int]:
    """The judge's rank correlation, times and over its states."""
    judge = scores["judge"]
    return judge["spearman"] * judge["states"], judge["states"]


def nearer(scores: dict[str, Any]) -> tuple[float, int]:
    """Pairs of states that the judge orders rightly, of how many."""
    judge = scores["judge"]
    return judge["nearer_auc"] * judge["pairs"], judge["pairs"]


RATES: dict[str, dict[str, Callable[[dict[str, Any]], tuple[float, int]]]] = {
    "game24": {"greedy": greedy, "sampled": sampled, "judge": judged},
    "babyai_text": {
        "greedy": greedy_tasks,
        "sampled": sampled_tasks,
        "judge_spearman": correlation,
        "judge_nearer": nearer,
    },
}


def rounded(value: object) -> object:
    """The same JSON value with floats of four places."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Evaluate the exported model of a profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default=PROFILE)
    settings = load(parser.parse_args().profile)
    text = json.dumps(rounded(evaluate(settings)), indent=2) + "\n"
    (settings.build / settings.name / SCORES).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
