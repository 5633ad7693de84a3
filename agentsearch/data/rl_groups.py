"""Paths of one task as a group, for policy gradients with a verifier's reward."""

from __future__ import annotations

from agentsearch.data.card import Tally
from agentsearch.data.rows import RlRow
from agentsearch.data.segments import Ended, Labelled, Segment, scored, segments, untrainable


def rl_rows(tree: Labelled, tally: Tally) -> list[RlRow]:
    """The group of one tree: a row for each path to an end that was sampled in one segment.

    Actions that were scored have another probability of being chosen than their tokens
    have, and a path of several segments has no one row: both are dropped.

    Args:
        tree: of one task of one run.
        tally: told what was seen and dropped.
    """
    rows: list[RlRow] = []
    for ended in tree.ended:
        tally.seen["paths"] += 1
        path = ended.path
        why = untrainable(path)
        if not why and scored(path):
            why = "scored, not sampled"
        parts = [] if why else segments(path)
        if len(parts) > 1:
            why = "of several segments"
        if why:
            tally.drops[f"paths {why}"] += 1
        else:
            rows.append(_row(tree, ended, parts[0]))
    return rows


def _row(tree: Labelled, ended: Ended, segment: Segment) -> RlRow:
    return RlRow(
        env=tree.env,
        task_id=tree.tree.task_id,
        run=tree.run,
        policy_version=segment.version,
        node_ids=segment.node_ids,
        prompt_ids=segment.prompt_ids,
        completion_ids=segment.completion_ids,
        completion_mask=segment.mask,
        logprobs=segment.logprobs,
        turn_ids=segment.turn_ids,
        group_id=f"{tree.run}/{tree.tree.task_id}",
        path_id=ended.leaf.id,
        reward=ended.verdict.credit,
        correct=ended.verdict.correct,
        truncated=ended.leaf.truncated,
        turn_rewards=tuple(node.reward or 0.0 for node in segment.nodes),
        turn_values=tuple(node.mean_value for node in segment.nodes),
        turn_visits=tuple(node.visits for node in segment.nodes),
        completions=segment.texts,
    )
