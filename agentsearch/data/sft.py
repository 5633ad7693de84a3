"""Successes as rows to imitate.

Source: Singh et al., 2023, ReST^EM: keep what the verifier accepts, at most some of each
task, no repeats. Every task has the same total weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentsearch.data.card import Tally
from agentsearch.data.rows import Ids, SftRow
from agentsearch.data.segments import Labelled, Segment, segments, untrainable
from agentsearch.types import Verdict


def sft_rows(
    trees: Sequence[Labelled],
    tally: Tally,
    *,
    min_credit: float = 1.0,
    successes_per_task: int = 10,
) -> list[SftRow]:
    """The rows of one task; their weights add up to 1.

    Of a tree, what was really carried out comes first, then other paths by number of their
    last node. Paths with the same actions count once.

    Args:
        trees: all of one task, the preferred first.
        tally: told what was seen and dropped.
        min_credit: least credit of a success; 1 asks for what the verifier calls correct.
        successes_per_task: most paths kept.
    """
    rows: list[SftRow] = []
    taken: set[tuple[str, ...]] = set()
    written: set[tuple[Ids, Ids]] = set()
    paths = 0
    for tree in trees:
        for ended in tree.carried_out_first:
            tally.seen["paths"] += 1
            tally.most = max(tally.most, ended.verdict.credit)
            if not is_success(ended.verdict, min_credit):
                continue
            tally.seen["successes"] += 1
            path = ended.path
            actions = tuple(node.action for node in path)
            if actions in taken:
                tally.drops["paths with the same actions as another"] += 1
            elif why := untrainable(path):
                tally.drops[f"paths {why}"] += 1
            elif paths == successes_per_task:
                tally.drops["paths beyond successes_per_task"] += 1
            else:
                taken.add(actions)
                paths += 1
                for segment in segments(path):
                    row = _row(segment, tree, ended.verdict.credit)
                    if (row.input_ids, row.completion_mask) in written:
                        tally.drops["rows with the same token ids as another"] += 1
                        continue
                    written.add((row.input_ids, row.completion_mask))
                    rows.append(row)
    return [replace(row, weight=1 / len(rows)) for row in rows]


def is_success(verdict: Verdict, min_credit: float) -> bool:
    """Whether a verdict is good enough to imitate."""
    return verdict.correct or (min_credit < 1.0 and verdict.credit >= min_credit)


def _row(segment: Segment, tree: Labelled, credit: float) -> SftRow:
    given = len(segment.prompt_ids)
    return SftRow(
        env=tree.env,
        task_id=tree.tree.task_id,
        run=tree.run,
        policy_version=segment.version,
        node_ids=segment.node_ids,
        input_ids=segment.prompt_ids + segment.completion_ids,
        completion_mask=(0,) * given + segment.mask,
        logprobs=(0.0,) * given + segment.logprobs,
        turn_ids=(-1,) * given + segment.turn_ids,
        completions=segment.texts,
        credit=credit,
    )
