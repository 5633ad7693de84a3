"""What can be found wrong with data and model before compute is spent.

That rows have log-probabilities, and pairs a difference, is seen when their files are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from datasets import Dataset

from agentsearch.data.rows import Kind
from agentsearch.errors import ConfigError
from agentsearch.train.recipe import TrainRecipe

RESPONSES: dict[Kind, tuple[tuple[str, str, str], ...]] = {
    "sft": (("input_ids", "turn_ids", "completions"),),
    "preferences": (
        ("chosen_ids", "chosen_turn_ids", "chosen_texts"),
        ("rejected_ids", "rejected_turn_ids", "rejected_texts"),
    ),
}
"""Columns that hold ids, turns and texts of what the policy wrote."""


def lengths(rows: Dataset) -> list[int]:
    """Tokens of each row; of a pair those of the prompt and the longer response."""
    if "input_ids" in rows.column_names:
        return [len(ids) for ids in rows["input_ids"]]
    parts = (rows["prompt_ids"], rows["chosen_ids"], rows["rejected_ids"])
    return [len(p) + max(len(c), len(r)) for p, c, r in zip(*parts, strict=True)]


def check_rows(rows: Dataset, recipe: TrainRecipe) -> None:
    """Refuse data that is empty or mixed.

    Raises:
        ConfigError: with counts.
    """
    if not len(rows):
        what = "success" if recipe.options.rows == "sft" else "pair above the threshold"
        raise ConfigError(
            f"data: {', '.join(recipe.data)} holds no {what}; card.md beside it says what was "
            "dropped and why. Search more tasks, easier ones, or with a larger budget."
        )
    versions = Counter(rows["policy_version"])
    if len(versions) > recipe.policy_versions:
        counts = ", ".join(f"{n} rows by {version}" for version, n in versions.most_common(4))
        raise ConfigError(
            f"data: {len(versions)} versions of the policy made it ({counts}"
            f"{', ...' if len(versions) > 4 else ''}), and policy_versions="
            f"{recipe.policy_versions}. Train on one of them, or allow {len(versions)}."
        )


def fitting(rows: Dataset, most: int, drop: bool) -> tuple[Dataset, int]:
    """The rows that the model can hold, and how many were left out.

    Args:
        rows: all of them.
        most: tokens that the model holds.
        drop: leave longer rows out instead of refusing them.

    Raises:
        ConfigError: some are too long, with their number; or all of them.
    """
    sizes = lengths(rows)
    kept = [i for i, size in enumerate(sizes) if size <= most]
    if len(kept) == len(sizes):
        return rows, 0
    if drop and kept:
        return rows.select(kept), len(sizes) - len(kept)
    remedy = "raise it, search with a shorter history" if kept else "search with a shorter history"
    raise ConfigError(
        f"data: {len(sizes) - len(kept)} of {len(sizes)} rows are longer than the {most} tokens "
        f"that the model, or args.max_length, holds (the longest has {max(sizes)}); {remedy}"
        f"{', or set drop_too_long=true' if kept else ''}."
    )


def check_tokenizer(rows: Dataset, kind: Kind, tokenizer: Any, vocabulary: int) -> None:
    """Refuse token ids that this tokenizer does not read as what the policy wrote.

    Args:
        rows: to be trained on.
        kind: of the rows.
        tokenizer: of the model that is trained.
        vocabulary: ids that the model has.

    Raises:
        ConfigError: with the number of turns that differ, and one of them.
    """
    largest = max(max(ids) for column in _id_columns(kind) for ids in rows[column] if ids)
    if largest >= vocabulary:
        raise ConfigError(
            f"data: has the token id {largest}, and the model only {vocabulary}; it was made "
            "with another tokenizer. Set model to the one that was sampled, or collect again."
        )
    turns, wrong, example = 0, 0, ("", "")
    for columns in RESPONSES[kind]:
        for ids, places, texts in zip(*(rows[name] for name in columns), strict=True):
            for turn, text in zip(_turns(ids, places), texts, strict=True):
                read = tokenizer.decode(turn, skip_special_tokens=True)
                turns += 1
                if read != text:
                    wrong, example = wrong + 1, example if wrong else (read, text)
    if wrong:
        raise ConfigError(
            f"data: {wrong} of {turns} turns read otherwise with the model's tokenizer, such as "
            f"{example[0][:60]!r} where the policy wrote {example[1][:60]!r}. Set model to the "
            "one that was sampled, or collect again."
        )


def mean_one(rows: Dataset, use_weights: bool) -> Dataset:
    """The rows with weights of mean 1: scaled, or all equal where they are not used.

    Raises:
        ConfigError: a weight is negative, or all are 0.
    """
    weights: list[float] = list(rows["weight"]) if use_weights else [1.0] * len(rows)
    if min(weights) < 0 or not sum(weights):
        low = sum(weight < 0 for weight in weights)
        raise ConfigError(
            f"data: {low} of {len(weights)} weights are negative and their sum is "
            f"{sum(weights):g}; collect again, or set use_weights=false."
        )
    scale = len(weights) / sum(weights)
    without = rows.remove_columns("weight")
    return without.add_column("weight", [weight * scale for weight in weights])


def _id_columns(kind: Kind) -> tuple[str, ...]:
    responses = tuple(ids for ids, _, _ in RESPONSES[kind])
    return responses if kind == "sft" else ("prompt_ids", *responses)


def _turns(ids: Sequence[int], places: Sequence[int]) -> list[list[int]]:
    """The ids of each turn; places are -1 between turns."""
    pairs = zip(places, ids, strict=True)
    return [[i for _, i in run] for turn, run in groupby(pairs, lambda p: p[0]) if turn >= 0]
