"""The tables of a model card, in Markdown.

Intervals are Wilson's 95 %, over puzzles, worlds, goals or questions: samples of one puzzle
do not count as independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentsearch.runner import wilson
from recipes.tiny.settings import Settings

ROLES = ("propose", "judge", "choose", "complete")
SPLITS = ("dev", "test")


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
    head += ["in BabyAI-Text", "of its chats"]
    for row in rows:
        row += [babyai[row[0]], f"{settings.babyai_shares[row[0]]:.0%}"]
    if settings.webshop_pages == 0:
        return table(head, rows)
    webshop = {
        "propose": "a search or a click",
        "judge": "`sure`, `likely` or `impossible`: how well one can buy from here",
        "choose": "the number of the shopper's click",
        "complete": "on the page of a right item: all clicks to its purchase",
    }
    head += ["in WebShop", "asked of a page"]
    for row in rows:
        row += [webshop[row[0]], f"{settings.webshop_shares[row[0]]:.0%}"]
    return table(head, rows)


def overall_share(settings: Settings, role: str) -> float:
    """Share of a role in all training chats of Game of 24."""
    return sum(settings.shares_at(step)[role] for step in range(settings.steps)) / settings.steps


# Game of 24


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


# BabyAI-Text

KINDS = {
    "go_to": "go to",
    "pick_up": "pick up",
    "open": "open",
    "put_next": "put next",
    "pick_up_then_go_to": "pick up, then go to",
}


def babyai_table(kinds: Mapping[str, Mapping[str, int]]) -> str:
    """The policy in BabyAI-Text beside its anchors, a row a kind and one for all."""
    whole = {key: sum(kind[key] for kind in kinds.values()) for key in next(iter(kinds.values()))}
    whole["samples"] //= len(kinds)
    rows = [babyai_row(KINDS[kind], counts) for kind, counts in kinds.items()] + [
        babyai_row("all", whole)
    ]
    n = whole["samples"]
    head = ["kind", "greedy", "loops", "one sample", f"pass@{n}", "random", "rule", "bot"]
    return table(head, rows)


def babyai_row(name: str, counts: Mapping[str, int]) -> list[str]:
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


def babyai_role_table(scores: Mapping[str, Any]) -> str:
    """The other roles in BabyAI-Text, a column a split."""
    dev, test = (dict(babyai_role_rows(scores[split])) for split in SPLITS)
    rows = [[name, value, test[name]] for name, value in dev.items()]
    return table(["score", "dev worlds", "test worlds"], rows)


def babyai_role_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
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


# WebShop

GOALS = {"synthetic": "synthetic", "human": "human-style"}
SHOPPERS = {
    "greedy": "greedy",
    "sampled": "one sample",
    "rule": "rule",
    "rule_with_options": "rule with options",
    "oracle": "oracle",
}


def webshop_table(kinds: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The policy in WebShop beside its anchors, a row for each and each kind of goal."""
    rows = [
        [GOALS[kind], SHOPPERS[who], *webshop_row(scores)]
        for kind, played in kinds.items()
        for who, scores in played.items()
    ]
    head = ["goals", "who", "score", "success", "mean steps", "nothing bought"]
    return table([*head, "searches that find the product"], rows)


def webshop_row(scores: Mapping[str, Any]) -> list[str]:
    """One shopper's texts."""
    goals = scores["goals"]
    return [
        f"{scores['score']:.1f} ± {scores['score_margin']:.1f}",
        rate(scores["success"], goals),
        f"{scores['mean_steps']:.1f}",
        share(scores["nothing_bought"], goals),
        share(scores["searches_that_find"], scores["searches"]),
    ]


def webshop_role_table(scores: Mapping[str, Any]) -> str:
    """The other roles in WebShop, a column a split."""
    dev, test = (dict(webshop_role_rows(scores[split])) for split in SPLITS)
    rows = [[name, value, test[name]] for name, value in dev.items()]
    return table(["score", "dev goals", "test goals"], rows)


def webshop_role_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of every score of a split."""
    judge, choose, complete = scores["judge"], scores["choose"], scores["complete"]
    pairs, pages = judge["pairs"], complete["pages"]
    at_once = share(complete["paid_in_full_at_once"], pages)
    return [
        ("judge, rank correlation", f"{judge['spearman']:.3f} over {judge['pages']} pages"),
        ("judge, pays all", f"{estimate(judge['pays_all_auc'], pairs)}, {pairs} pairs"),
        ("choose", chosen(choose)),
        ("complete", f"{rate(complete['paid_in_full'], pages)}; at once {at_once}"),
    ]


# Comparison

MEASURES = {
    "greedy": "solved greedily",
    "sampled": "one sample solves",
    "judge": "judged rightly",
    "judge_spearman": "judge, rank correlation",
    "judge_nearer": "judge, nearer",
}


def compared_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """One environment before and after."""
    rows = [
        [
            MEASURES[name],
            *change(row["before"], row["after"], name == "judge_spearman"),
            "yes" if row["dropped"] else "no",
        ]
        for name, row in scores.items()
    ]
    return table(["score", "before", "now", "change", "dropped"], rows)


def change(before: float, after: float, plain: bool) -> list[str]:
    """Both and their difference: plain numbers, or rates in percent."""
    if plain:
        return [f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"]
    return [f"{before:.1%}", f"{after:.1%}", f"{100 * (after - before):+.1f} points"]


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
