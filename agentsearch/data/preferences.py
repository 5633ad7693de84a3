"""Preference pairs: better and worse actions at one node, or whole paths of one task.

Source: Putta et al., 2024, Agent Q, algorithm 1 and equation 10: any two siblings that were
both explored and whose values differ by more than a threshold. The log-probabilities
recorded when the actions were written are those of the reference.

Two departures, for policies that see only a part of the world: the value of an action may be what
the episodes through it came to, and all actions that were written to one prompt may count as
siblings, since the policy cannot tell their nodes apart (Feng et al., 2025, GiGPO, whose groups
form at equal states of several episodes).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
    tokens_of,
    untrainable,
    version,
)
from agentsearch.tree import Node


@dataclass(frozen=True)
class PairRule:
    """Which pairs are kept, and what they weigh.

    Attributes:
        siblings: actions at one `node`, or all that were written to one `prompt` of a tree.
        values: of an action: the mean that the `search` backed up, or that of the `outcomes` of
            the episodes through it, as the verifier judges them.
        discount: of an outcome for each step it lies ahead.
        alpha: share of the mean return in the value of an action, against the critic's.
        theta: the two values must differ by more.
        min_visits_for_pair: least visits of either sibling; 0 admits unexplored ones.
        pairs_per_node, pairs_per_task: most step pairs kept, the widest margins first; as
            many trajectory pairs are kept of a task.
        trajectory_pairs: whether a success and a failure of a task make a pair too.
        weight_by_margin: whether a pair weighs its margin, rather than 1.
    """

    siblings: Literal["node", "prompt"] = "node"
    values: Literal["search", "outcomes"] = "search"
    discount: float = 1.0
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


@dataclass(slots=True)
class Candidate:
    """An action that was tried, at one node or wherever the policy was asked the same.

    Attributes:
        node: where it leads to, the first of several.
        visits: of the search, or episodes.
        total: of the values that these brought.
        critic: what a critic thought of it.
    """

    node: Node
    visits: int = 0
    total: float = 0.0
    critic: float | None = None

    @property
    def value(self) -> float:
        """The mean; 0 before the first visit."""
        return self.total / self.visits if self.visits else 0.0


def step_pairs(tree: Labelled, tally: Tally, rule: PairRule) -> list[PreferenceRow]:
    """Pairs of actions wherever the policy had a choice."""
    rows: list[PreferenceRow] = []
    for siblings in choices(tree, rule):
        at_node: list[PreferenceRow] = []
        for pair in combinations(siblings, 2):
            found = step_pair(tree, *pair, rule, tally)
            if isinstance(found, str):
                tally.drops[f"step pairs {found}"] += 1
            else:
                at_node.append(found)
        if len(siblings) > 1:
            tally.seen["siblings"] += len(siblings)
            tally.seen["unvisited siblings"] += sum(not each.visits for each in siblings)
        rows += widest(at_node, rule.pairs_per_node, tally, "pairs_per_node")
    return rows


def choices(tree: Labelled, rule: PairRule) -> list[list[Candidate]]:
    """What the policy could choose between, in the order in which it first could.

    Every action belongs to one choice, and is one candidate there.
    """
    found: dict[tuple[int, ...], dict[Hashable, Candidate]] = {}
    at: dict[int, Candidate] = {}
    for parent in tree.tree.nodes:
        for child in parent.children:
            choice, action = (parent.id,), (child.id,)
            if rule.siblings == "prompt" and not untrainable([child]):
                tokens = tokens_of(child)
                choice, action = tokens.prompt, (*tokens.ids, version(child))
            critic = (child.extra or {}).get("critic")
            same = found.setdefault(choice, {}).setdefault(action, Candidate(child, critic=critic))
            if rule.values == "search":
                same.visits += child.visits
                same.total += child.visits * child.mean_value
            at[child.id] = same
    if rule.values == "outcomes":
        for ended in tree.ended:
            count_outcome(ended, at, rule.discount)
    return [list(actions.values()) for actions in found.values()]


def count_outcome(ended: Ended, at: Mapping[int, Candidate], discount: float) -> None:
    """Credit the actions of a path with how it ended, discounted by the steps in between.

    An action that was taken several times to the same prompt is credited from the first time on.
    """
    path, episodes = ended.path, max(1, ended.leaf.visits)
    credited: set[int] = set()
    for ahead, node in zip(range(len(path) - 1, -1, -1), path, strict=True):
        candidate = at[node.id]
        if id(candidate) not in credited:
            credited.add(id(candidate))
            candidate.visits += episodes
            candidate.total += episodes * ended.verdict.credit * discount**ahead


def step_pair(
    tree: Labelled, a: Candidate, b: Candidate, rule: PairRule, tally: Tally
) -> PreferenceRow | str:
    """The pair of two candidates, or why they make none."""
    if any("stale" in (each.node.extra or {}) for each in (a, b)):
        return "with a state that could not be gone back to"
    if min(a.visits, b.visits) < rule.min_visits_for_pair:
        return "with a sibling of fewer visits than min_visits_for_pair"
    value_a, value_b = mixed_values(a, b, rule.alpha)
    margin = abs(value_a - value_b)
    tally.seen["explored step pairs"] += 1
    tally.most = max(tally.most, margin)
    if margin <= rule.theta:
        return "with a margin of at most theta"
    better = (a.node, b.node) if value_a > value_b else (b.node, a.node)
    values = max(value_a, value_b), min(value_a, value_b)
    why = next(filter(None, (untrainable([node]) for node in better)), "")
    if why:
        return why
    chosen, rejected = (segments([node])[0] for node in better)
    assert a.node.parent is not None
    return _pair(
        tree, a.node.parent, chosen, rejected, values, rule, "step", not (a.visits and b.visits)
    )


def mixed_values(a: Candidate, b: Candidate, alpha: float) -> tuple[float, float]:
    """Values of two siblings, equation 10.

        Q = alpha * mean + (1 - alpha) * critic

    The mean alone where the critic has not judged both.
    """
    if a.critic is None or b.critic is None:
        return a.value, b.value
    return (
        alpha * a.value + (1 - alpha) * a.critic,
        alpha * b.value + (1 - alpha) * b.critic,
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
