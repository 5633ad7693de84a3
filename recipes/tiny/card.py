"""The model card, written from the settings and the evaluation so that no number can drift.

Intervals are Wilson's 95 %, over puzzles, worlds or questions: samples of one puzzle do not
count as independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentsearch.runner import wilson
from recipes.tiny.babyai import HISTORY
from recipes.tiny.settings import Settings

ROLES = ("propose", "judge", "choose", "complete")
KINDS = {
    "go_to": "go to",
    "pick_up": "pick up",
    "open": "open",
    "put_next": "put next",
    "pick_up_then_go_to": "pick up, then go to",
}
SPLITS = ("dev", "test")

HEAD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A built-in policy of `agentsearch`: a Qwen3-architecture language model of {millions} M
parameters, {origin}.

It is small and makes mistakes, so search and training have something to improve. It is no
general assistant and knows nothing else.
"""
FROM_SCRATCH = "trained from scratch on Game of 24"
GOES_ON = "which goes on from `{init}` and learns BabyAI-Text beside Game of 24"

USE = """
## Use

```python
from agentsearch.engines.hf import HFEngine
from agentsearch.policies.prompts import Prompts
from agentsearch.policies.scoring import Scoring

policy = Scoring(HFEngine("{name}"), Prompts({prompts}))
```

{advice}
"""
GAME24_ADVICE = (
    "Prompts are those of `agentsearch.policies.prompts.Prompts` with its default words."
)
BABYAI_ADVICE = """\
Prompts are those of `agentsearch.policies.prompts.Prompts` with its default words, in style
`chat`. In BabyAI-Text it knows windows of {turns} or none: set
`policy.prompts.history={history}` (and the same for the value) in recipes and suites. In
Game of 24 leave `history` alone."""

GAME24_DATA = """
## Data

Game of 24: chats written by our own exact solver under integer rules (`recipes/tiny/game24.py`).
The roots are the puzzles of the train split, and for the judge four-number sets that cannot
make 24. The four numbers of a dev puzzle or of one of the 100 published test puzzles never
appear, in any role. States of three or two numbers are shared between splits.
"""
BABYAI_DATA = """
BabyAI-Text: {episodes} episodes of each of the five kinds in MixedTrainLocal, on train seeds
(from 0 on), played by minigrid's bot (`recipes/tiny/babyai.py`); those that it did not finish
are left out. Many begin with random actions or slip on the way; what the bot would have done
is learnt, never the slip. The judge's words tell, on average, {discount} to the power of the
bot's remaining steps. No mission names what the missions of MixedTestLocal name
({held_out}).
"""
TOKENIZER = """
The tokenizer (byte-level BPE, {vocab} entries, every 0-999 one token with and without a space)
learnt from templates of our own for numbers, grid worlds, shop pages, tool calls and plain
instructions. No third-party text was used.
"""

TRAINING = """
## Training

{steps} steps of {rows} chats ({sequences} in all), AdamW, {wall} minutes on the clock and
{cpu} CPU minutes on two shared cores of a server CPU, no GPU. Seed {seed}.

{story}
"""
STORIES = {
    "tiny-v1": """\
{planned} steps were planned. The run was ended at {steps} with a linear cool-down of {cooldown}
steps, because the cores were shared and because the policy had begun to learn train puzzles by
heart; the mix of roles changes at steps {switches}, because the small roles learnt slowly. These
three decisions fell during the run, from the clock, train and dev puzzles, before any test puzzle
was scored and without looking at any search. Chats are about 100 tokens long: the configuration
allows {context}, but nothing beyond a few hundred was trained.""",
    None: """\
The rate follows a cosine written for {planned} steps and falls linearly in the last {cooldown}
of the first {first}; then it begins again for {restart} more. Both lengths were set from the clock
while it ran; the second part was added after 60 dev tasks had shown the policy (alone, and once
under best-first search) to be still weak. {babyai} of the chats are BabyAI-Text. Chats are 100 to
300 tokens long: the configuration allows {context}, but nothing beyond a few hundred was
trained.""",
}

SCORES = """
## Scores

The model alone, without any search. Weights in bfloat16 were computed in float32. In brackets
95 % Wilson intervals over puzzles, worlds or questions; samples at temperature 1.

### Game of 24

Actions are decoded freely and an invalid one fails the attempt.
"""
GAME24_NOTE = """
Judge states of four numbers that cannot make 24 were kept out of training and are the same
for both columns. Smaller states may have been seen in training, below other puzzles.
"""
BABYAI_NOTE = """
### BabyAI-Text

Worlds of seeds that nothing else uses: dev of MixedTrainLocal, test of MixedTestLocal, neither
those of the demonstrations nor the published test tasks. Actions are the likeliest of the six,
or drawn among them, with `history={history}`. A greedy episode that comes back to the same state
with the same window repeats itself to the end: it `loops`. Chance, the hand-written rule and the
bot, which sees the whole grid, stand beside it.
"""
ROLE_NOTE = """
Judge: expected worth of the words (sure 1, likely 0.5, impossible 0) against {discount} to the
power of the bot's remaining steps. `nearer` is the AUC within pairs of states that two actions
of one state lead to. Complete: plans from states at most 8 bot steps from success.
"""
ANCHOR = """
For orientation: a model of 1.8 M parameters, trained for 8 minutes on two cores on 35,000 steps
of the bot, solved greedily 63 % of go to, 57 % of pick up and 0 % of put next; chance 32, 20
and 0 %.
"""
COMPARED = """
### Game of 24 beside `{before}`

Dev and test puzzles together. A drop of more than 3 points counts as one.
"""

GAME24_LIMITS = """
## Limits

- One prompt wording and the rules named above. Other wordings and other tasks give nonsense.
- Game of 24 with integer rules only. It never learnt what to do in a lost state: there its
  actions are guesses, and `likely` is never answered.
"""
BABYAI_LIMITS = """\
- BabyAI-Text of one or two 8x8 rooms with short missions. It copies the bot and sees {turns} at
  most, so it forgets what went out of view, and a greedy episode may go in circles for ever.
- The judge guesses a distance from what it sees; it cannot know what lies behind it.
"""
TAIL = """\
- No safety training; it has no use outside of tests, demonstrations and teaching.

Licence: Apache-2.0, weights and tokenizer included.
"""


def card(settings: Settings, evaluation: Mapping[str, Any]) -> str:
    """The card's text."""
    words = facts(settings, evaluation)
    knows_babyai = "babyai_text" in evaluation
    parts = [HEAD, USE, "\n## Roles\n\n", roles(settings), GAME24_DATA]
    parts += [BABYAI_DATA] if knows_babyai else []
    parts += [TOKENIZER, TRAINING, SCORES, "\n", game24_table(evaluation["game24"]), GAME24_NOTE]
    if "compared" in evaluation:
        parts += [COMPARED, "\n", compared_table(evaluation["compared"])]
    if knows_babyai:
        scores = evaluation["babyai_text"]
        parts.append(BABYAI_NOTE)
        for split in SPLITS:
            parts += [f"\n{SPLIT_NAMES[split]}:\n\n", policy_table(scores[split]["policy"])]
        parts += [ROLE_NOTE, "\n", role_table(scores), ANCHOR]
    parts += [GAME24_LIMITS, *([BABYAI_LIMITS] if knows_babyai else []), TAIL]
    return "".join(part.format(**words) for part in parts)


SPLIT_NAMES = {"dev": "Dev worlds", "test": "Test worlds"}


def facts(settings: Settings, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates name."""
    from agentsearch_envs.babyai_levels import HELD_OUT  # loads minigrid

    training = evaluation["training"]
    words: dict[str, Any] = {
        "name": evaluation["name"],
        "millions": round(evaluation["parameters"] / 1e6, 1),
        "vocab": settings.vocab_size,
        "steps": training["steps"],
        "rows": training["sequences"] // training["steps"],
        "sequences": training["sequences"],
        "wall": training["wall_minutes"],
        "cpu": training["cpu_minutes"],
        "seed": training["seed"],
        "context": settings.max_positions,
        "planned": settings.planned_steps,
        "cooldown": settings.cooldown_steps,
        "first": settings.steps,
        "restart": settings.restart_steps,
        "switches": " and ".join(str(step) for step in settings.shares if step),
        "episodes": f"{settings.babyai_episodes:,}",
        "discount": settings.discount,
        "held_out": ", ".join(HELD_OUT),
        "babyai": f"{settings.babyai_share:.0%}",
        "history": HISTORY,
        "turns": f"{HISTORY} past turn" + ("s" if HISTORY > 1 else ""),
        "before": evaluation.get("compared", {}).get("with"),
        "init": settings.init,
    }
    knows_babyai = "babyai_text" in evaluation
    words["prompts"] = f"history={HISTORY}" if knows_babyai else ""
    words["advice"] = (BABYAI_ADVICE if knows_babyai else GAME24_ADVICE).format(**words)
    words["origin"] = (GOES_ON if settings.init else FROM_SCRATCH).format(**words)
    words["story"] = STORIES.get(settings.name, STORIES[None]).format(**words)
    return words


# Tables


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def roles(settings: Settings) -> str:
    """What each role replies, and its share of the chats of an environment."""
    game24 = {
        "propose": "an action, such as `13 - 9`",
        "judge": "`sure` or `impossible`: can 24 still be made",
        "choose": "the number of the best of two to six actions",
        "complete": "all remaining actions, one a line",
    }
    rows = [[role, game24[role], f"{overall_share(settings, role):.0%}"] for role in ROLES]
    head = ["role", "the reply in Game of 24", "of its chats"]
    if settings.babyai_share == 0:
        return table(head, rows)
    babyai = {
        "propose": "an action, such as `go forward`",
        "judge": "`sure`, `likely` or `impossible`: how near success is",
        "choose": "the number of the bot's action",
        "complete": "all remaining actions, at most 8",
    }
    for row in rows:
        row += [babyai[row[0]], f"{settings.babyai_shares[row[0]]:.0%}"]
    return table([*head, "in BabyAI-Text", "of its chats"], rows)


def overall_share(settings: Settings, role: str) -> float:
    """Share of a role in all training chats of Game of 24."""
    return sum(settings.shares_at(step)[role] for step in range(settings.steps)) / settings.steps


def game24_table(scores: Mapping[str, Any]) -> str:
    """All scores in Game of 24, a column a split."""
    dev, test = (dict(game24_rows(scores[split])) for split in SPLITS)
    rows = [[name, value, test[name]] for name, value in dev.items()]
    return table(["score", "dev puzzles", "published test puzzles"], rows)


def game24_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of every score of a split."""
    policy, choose, complete = scores["policy"], scores["choose"], scores["complete"]
    n, puzzles = policy["samples"], policy["puzzles"]
    rows = [
        ("solved greedily", rate(policy["greedy_solved"], puzzles)),
        ("one sample solves", sampled_rate(policy["sample_solved"], n, puzzles)),
        ("pass@10", estimate(policy["pass_at_10"], puzzles)),
        (f"solved by any of {n} samples", rate(policy["solved_by_any_sample"], puzzles)),
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
        text = rate(judged["right"], judged["states"])
        rows.append((f"judge, {depth} numbers", f"{text}, AUC {judged['auc']:.3f}"))
    rows.append(("choose", chosen(choose)))
    rows.append(("complete from the start", rate(complete["solved"], complete["puzzles"])))
    return rows


def policy_table(kinds: Mapping[str, Mapping[str, int]]) -> str:
    """The policy in BabyAI-Text beside its anchors, a row a kind and one for all."""
    whole = {key: sum(kind[key] for kind in kinds.values()) for key in next(iter(kinds.values()))}
    whole["samples"] //= len(kinds)
    rows = [policy_row(KINDS[kind], counts) for kind, counts in kinds.items()] + [
        policy_row("all", whole)
    ]
    n = whole["samples"]
    head = ["kind", "greedy", "loops", "one sample", f"pass@{n}", "random", "rule", "bot"]
    return table(head, rows)


def policy_row(name: str, counts: Mapping[str, int]) -> list[str]:
    """One kind's texts."""
    tasks, sampled = counts["tasks"], counts["sampled_tasks"]
    return [
        name,
        rate(counts["greedy_solved"], tasks),
        share(counts["greedy_loops"], tasks),
        sampled_rate(counts["sample_solved"], counts["samples"], sampled),
        rate(counts["solved_by_any_sample"], sampled),
        *(rate(counts[f"{who}_solved"], tasks) for who in ("random", "rule", "bot")),
    ]


def role_table(scores: Mapping[str, Any]) -> str:
    """The other roles in BabyAI-Text, a column a split."""
    dev, test = (dict(role_rows(scores[split])) for split in SPLITS)
    rows = [[name, value, test[name]] for name, value in dev.items()]
    return table(["score", "dev worlds", "test worlds"], rows)


def role_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of every score of a split."""
    judge, choose, complete = scores["judge"], scores["choose"], scores["complete"]
    constant = f"{judge['mae_of_a_constant']:.3f} for the best constant"
    return [
        ("judge, rank correlation", f"{judge['spearman']:.3f} over {judge['states']} states"),
        ("judge, mean absolute error", f"{judge['mae']:.3f}; {constant}"),
        (
            "judge, nearer",
            f"{estimate(judge['nearer_auc'], judge['pairs'])}, {judge['pairs']} pairs",
        ),
        ("choose", chosen(choose)),
        ("complete", rate(complete["solved"], complete["states"])),
    ]


def compared_table(compared: Mapping[str, Any]) -> str:
    """Game of 24 before and after."""
    names = {"greedy": "solved greedily", "sampled": "one sample solves", "judge": "judged rightly"}
    rows = [
        [
            names[key],
            f"{row['before']:.1%}",
            f"{row['after']:.1%}",
            f"{100 * (row['after'] - row['before']):+.1f} points",
            "yes" if row["dropped"] else "no",
        ]
        for key, row in compared["game24"].items()
    ]
    return table(["score", "before", "now", "change", "dropped"], rows)


# Numbers


def share(count: int, total: int) -> str:
    """Such as `37/100 (37.0%)`."""
    return f"{count}/{total} ({count / max(1, total):.1%})"


def rate(count: int, total: int) -> str:
    """Such as `37/100, 37.0% (28.2-46.8)`."""
    return f"{count}/{total}, {estimate(count / max(1, total), total)}"


def sampled_rate(count: int, samples: int, total: int) -> str:
    """The same of several samples each; the interval counts every puzzle once."""
    return f"{count}/{samples * total}, {estimate(count / max(1, samples * total), total)}"


def estimate(value: float, total: int) -> str:
    """A rate over `total` with its interval."""
    low, high = wilson(round(value * total), total)
    return f"{value:.1%} ({100 * low:.1f}-{100 * high:.1f})"


def chosen(scores: Mapping[str, Any]) -> str:
    """Answers about a list, beside chance."""
    return f"{rate(scores['right'], scores['questions'])}; {scores['by_chance']:.1%} by chance"
