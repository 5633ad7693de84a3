"""Preference pairs: better and worse actions at one node, or whole paths of one task.

Source: Putta et al., 2024, Agent Q, algorithm 1 and equation 10: any two siblings that were
both explored and whose values differ by more than a threshold. The log-probabilities
recorded when the actions were written are those of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from agentsearch.data.card import Tally
from agentsearch.data.rows import PreferenceRow
from agentsearch.data.segments import (
    MIXED_VERSIONS,
    Ended,
    Labelled,
    Segment,
    segments,
    untrainable,
)
from agentsearch.tree import Node


@dataclass(frozen=True)
class PairRule:
    """Which pairs are kept, and what they weigh.

    Attributes:
        alpha: share of the mean return in the value of an action, against the critic's.
        theta: the two values must differ by more.
        min_visits_for_pair: least visits of either sibling; 0 admits unexplored ones.
        pairs_per_node, pairs_per_task: most step pairs kept, the widest margins first; as
            many trajectory pairs are kept of a task.
        trajectory_pairs: whether a success and a failure of a task make a pair too.
        weight_by_margin: whether a pair weighs its margin, rather than 1.
    """

    alpha: float = 0.5
    theta: float = 0.2
    min_visits_for_pair: int = 1
    pairs_per_node: int = 4
    pairs_per_task: int = 50
    trajectory_pairs: bool = True
    weight_by_margin: bool = False


def preference_rows(trees: Sequence[Labelled], tally: Tally, rule: PairRule) -> list[PreferenceRow]:
    """The pairs of one task: steps by tree and node, then trajectories.

    Args:
        trees: all of one task.
        tally: told what was seen and dropped.
        rule: which pairs are kept.
    """
    steps = [row for tree in trees for row in step_pairs(tree, tally, rule)]
    rows = widest(steps, rule.pairs_per_task, tally, "pairs_per_task")
    if rule.trajectory_pairs:
        whole = [row for tree in trees for row in trajectory_pairs(tree, tally, rule)]
        rows += widest(whole, rule.pairs_per_task, tally, "pairs_per_task")
    return rows


def step_pairs(tree: Labelled, tally: Tally, rule: PairRule) -> list[PreferenceRow]:
    """Pairs of siblings at every node of a tree."""
    rows: list[PreferenceRow] = []
    for parent in tree.tree.nodes:
        tally.seen["siblings"] += len(parent.children) if len(parent.children) > 1 else 0
        at_node: list[PreferenceRow] = []
        for pair in combinations(parent.children, 2):
            found = step_pair(tree, *pair, rule, tally)
            if isinstance(found, str):
                tally.drops[f"step pairs {found}"] += 1
            else:
                at_node.append(found)
        if len(parent.children) > 1:
            tally.seen["unvisited siblings"] += sum(not node.visits for node in parent.children)
        rows += widest(at_node, rule.pairs_per_node, tally, "pairs_per_node")
    return rows


def step_pair(
    tree: Labelled, a: Node, b: Node, rule: PairRule, tally: Tally
) -> PreferenceRow | str:
    """The pair of two siblings, or why they make none."""
    if any("stale" in (node.extra or {}) for node in (a, b)):
        return "with a state that could not be gone back to"
    if min(a.visits, b.visits) < rule.min_visits_for_pair:
        return "with a sibling of fewer visits than min_visits_for_pair"
    value_a, value_b = mixed_values(a, b, rule.alpha)
    margin = abs(value_a - value_b)
    tally.seen["explored step pairs"] += 1
    tally.most = max(tally.most, margin)
    if margin <= rule.theta:
        return "with a margin of at most theta"
    better = (a, b) if value_a > value_b else (b, a)
    values = max(value_a, value_b), min(value_a, value_b)
    why = next(filter(None, (untrainable([node]) for node in better)), "")
    if why:
        return why
    chosen, rejected = (segments([node])[0] for node in better)
    assert a.parent is not None
    return _pair(
        tree, a.parent, chosen, rejected, values, rule, "step", not (a.visits and b.visits)
    )


def mixed_values(a: Node, b: Node, alpha: float) -> tuple[float, float]:
    """Values of two siblings, equation 10.

        Q = alpha * mean_value + (1 - alpha) * critic

    The mean alone where the critic has not judged both.
    """
    critic_a, critic_b = ((node.extra or {}).get("critic") for node in (a, b))
    if critic_a is None or critic_b is None:
        return a.mean_value, b.mean_value
    return (
        alpha * a.mean_value + (1 - alpha) * critic_a,
        alpha * b.mean_value + (1 - alpha) * critic_b,
    )


def trajectory_pairs(tree: Labelled, tally: Tally, rule: PairRule) -> list[PreferenceRow]:
    """Successes with failures of one tree, each path used once, valued by their credit."""
    usable: dict[bool, list[Ended]] = {True: [], False: []}
    for ended in tree.carried_out_first:
        path = ended.path
        why = untrainable(path) or ("" if len(segments(path)) == 1 else "of several segments")
        if why:
            tally.drops[f"paths for trajectory pairs {why}"] += 1
        else:
            usable[ended.verdict.correct].append(ended)
    rows: list[PreferenceRow] = []
    for good, bad in zip(usable[True], usable[False], strict=False):
        values = good.verdict.credit, bad.verdict.credit
        found: PreferenceRow | str = "with a margin of at most theta"
        if values[0] - values[1] > rule.theta:
            sides = segments(good.path)[0], segments(bad.path)[0]
            found = _pair(tree, tree.tree.root, *sides, values, rule, "trajectory", False)
        if isinstance(found, str):
            tally.drops[f"trajectory pairs {found}"] += 1
        else:
            rows.append(found)
    return rows


def widest(
    rows: Sequence[PreferenceRow], most: int, tally: Tally, limit: str
) -> list[PreferenceRow]:
    """The rows of the widest margins, in the order they came in."""
    if len(rows) <= most:
        return list(rows)
    tally.drops[f"{rows[0].kind} pairs beyond {limit}"] += len(rows) - most
    places = sorted(range(len(rows)), key=lambda i: (-rows[i].margin, i))[:most]
    return [rows[i] for i in sorted(places)]


def _pair(
    tree: Labelled,
    parent: Node,
    chosen: Segment,
    rejected: Segment,
    values: tuple[float, float],
    rule: PairRule,
    kind: Literal["step", "trajectory"],
    unvisited: bool,
) -> PreferenceRow | str:
    """A row of two segments, or why they cannot be compared."""
    if chosen.prompt_ids != rejected.prompt_ids:
        return "with different prompts"
    if chosen.version != rejected.version:
        return MIXED_VERSIONS
    if chosen.completion_ids == rejected.completion_ids:
        return "with the same token ids"
    margin = values[0] - values[1]
    return PreferenceRow(
        env=tree.env,
        task_id=tree.tree.task_id,
        run=tree.run,
        policy_version=chosen.version,
        node_ids=(parent.id, chosen.node_ids[-1], rejected.node_ids[-1]),
        weight=margin if rule.weight_by_margin else 1.0,
        prompt_ids=chosen.prompt_ids,
        chosen_ids=chosen.completion_ids,
        rejected_ids=rejected.completion_ids,
        chosen_mask=chosen.mask,
        rejected_mask=rejected.mask,
        chosen_turn_ids=chosen.turn_ids,
        rejected_turn_ids=rejected.turn_ids,
        chosen_logprobs=chosen.logprobs,
        rejected_logprobs=rejected.logprobs,
        ref_chosen_logps=chosen.logprob,
        ref_rejected_logps=rejected.logprob,
        chosen_value=values[0],
        rejected_value=values[1],
        margin=margin,
        kind=kind,
        unvisited=unvisited,
        chosen_texts=chosen.texts,
        rejected_texts=rejected.texts,
    )
