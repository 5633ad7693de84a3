"""The model card, written from the settings and the evaluation so that no number can drift."""

from __future__ import annotations

from typing import Any

from recipes.tiny.settings import Settings

HEAD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# {name}

The built-in policy of `agentsearch`: a Qwen3-architecture language model of {millions} M
parameters, trained from scratch on Game of 24. It is small and makes mistakes, so search and
training have something to improve. It is no general assistant and knows nothing else.

## Roles

Prompts are those of `agentsearch.policies.prompts.Prompts` with its default words.

| role | the reply | of training chats |
| --- | --- | --- |
| propose | the next action, such as `13 - 9` | {propose} |
| judge | `sure` or `impossible`: can 24 still be made | {judge} |
| choose | the number of the best of two to six actions | {choose} |
| complete | all remaining actions, one a line | {complete} |

## Data

Chats written by our own exact solver under integer rules (`recipes/tiny/demonstrations.py`).
The roots are the puzzles of the train split, and for the judge four-number sets that cannot
make 24. The four numbers of a dev puzzle or of one of the 100 published test puzzles never
appear, in any role. States of three or two numbers are shared between splits. The tokenizer
(byte-level BPE, {vocab} entries, every 0-999 one token with and without a space) learnt from
templates of our own for numbers, grid worlds, shop pages, tool calls and plain instructions.
No third-party text was used.

## Training

{steps} steps of {rows} chats ({sequences} in all), AdamW, {wall} minutes on the clock and
{cpu} CPU minutes on two shared cores of a server CPU, no GPU. Seed {seed}. {planned} steps were
planned. The run was ended at {steps} with a linear cool-down of {cooldown} steps, because the
cores were shared and because the policy had begun to learn train puzzles by heart; the mix of
roles changes at steps {switches}, because the small roles learnt slowly. These three decisions
fell during the run, from the clock, train and dev puzzles, before any test puzzle was scored
and without looking at any search. Chats are about 100 tokens long: the configuration allows
{context}, but nothing beyond a few hundred was trained.

## Scores

The model alone, without search. Actions are decoded freely and an invalid one fails the
attempt; weights in bfloat16 were computed in float32. Samples at temperature 1.

"""

TAIL = """
Judge states of four numbers that cannot make 24 were kept out of training and are the same
for both columns. Smaller states may have been seen in training, below other puzzles.

## Limits

- One game, integer rules, one prompt wording. Other wordings and other tasks give nonsense.
- It never learnt what to do in a lost state: there its actions are guesses, and `likely` is
  never answered.
- No safety training; it has no use outside of tests, demonstrations and teaching.

Licence: Apache-2.0, weights and tokenizer included.
"""


def card(settings: Settings, evaluation: dict[str, Any]) -> str:
    """The card's text."""
    training = evaluation["training"]
    shares = {role: f"{overall_share(settings, role):.0%}" for role in ROLES}
    head = HEAD.format(
        name=evaluation["name"],
        millions=round(evaluation["parameters"] / 1e6, 1),
        vocab=settings.vocab_size,
        steps=training["steps"],
        rows=training["sequences"] // training["steps"],
        sequences=training["sequences"],
        wall=training["wall_minutes"],
        cpu=training["cpu_minutes"],
        seed=training["seed"],
        context=settings.max_positions,
        planned=settings.planned_steps,
        cooldown=settings.cooldown_steps,
        switches=" and ".join(str(step) for step in settings.shares if step),
        **shares,
    )
    dev, test = (dict(score_rows(evaluation[split])) for split in ("dev", "test"))
    rows = [f"| {name} | {value} | {test[name]} |" for name, value in dev.items()]
    table = ["| score | dev puzzles | published test puzzles |", "| --- | --- | --- |", *rows]
    return head + "\n".join(table) + "\n" + TAIL


def overall_share(settings: Settings, role: str) -> float:
    """Share of a role in all training chats."""
    return sum(settings.shares_at(step)[role] for step in range(settings.steps)) / settings.steps


ROLES = ("propose", "judge", "choose", "complete")


def score_rows(scores: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of every score of a split."""
    policy, choose, complete = scores["policy"], scores["choose"], scores["complete"]
    n, puzzles = policy["samples"], policy["puzzles"]
    rows = [
        ("solved greedily", share(policy["greedy_solved"], puzzles)),
        ("one sample solves", share(policy["sample_solved"], n * puzzles)),
        ("pass@10", f"{policy['pass_at_10']:.1%}"),
        (f"solved by any of {n} samples", share(policy["solved_by_any_sample"], puzzles)),
        (
            "invalid actions, greedy",
            share(policy["greedy_invalid_actions"], policy["greedy_actions"]),
        ),
        (
            "invalid actions, sampled",
            share(policy["sampled_invalid_actions"], policy["sampled_actions"]),
        ),
    ]
    for depth, judged in scores["judge"].items():
        text = share(judged["right"], judged["states"])
        rows.append((f"judge, {depth} numbers", f"{text}, AUC {judged['auc']:.3f}"))
    chance = f"{choose['by_chance']:.1%} by chance"
    rows.append(("choose", f"{share(choose['right'], choose['questions'])}, {chance}"))
    rows.append(("complete from the start", share(complete["solved"], complete["puzzles"])))
    return rows


def share(count: int, total: int) -> str:
    """Such as `37/100 (37.0%)`."""
    return f"{count}/{total} ({count / max(1, total):.1%})"
