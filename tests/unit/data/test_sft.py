"""Verified successes: what is kept, in which order, and with which weight."""

import pytest

from agentsearch.data.card import Tally
from agentsearch.data.sft import sft_rows
from agentsearch.types import Verdict
from tests.unit.data.token_trees import RIGHT, WRONG, a_tree, grow, labelled


def leaves(*ids, **more):
    """A tree of one-step paths."""
    tree = a_tree()
    for each in ids:
        grow(tree, tree.root, f"say {each}", [1, 2], [each, 9], terminated=True, **more)
    return tree


def test_a_success_is_one_row_over_prompt_and_completion():
    tree = a_tree()
    first = grow(tree, tree.root, "a", [1, 2], [3, 9])
    grow(tree, first, "b", [1, 2, 3, 9, 5], [6, 9], terminated=True)
    [row] = sft_rows([labelled(tree, {2: RIGHT})], Tally())
    assert row.input_ids == (1, 2, 3, 9, 5, 6, 9)
    assert row.completion_mask == (0, 0, 1, 1, 0, 1, 1)
    assert row.turn_ids == (-1, -1, 0, 0, -1, 1, 1)
    assert row.logprobs == (0, 0, -0.125, -0.25, 0, -0.125, -0.25)
    assert row.completions == ("raw a", "raw b") and row.node_ids == (1, 2)
    assert (row.env, row.task_id, row.run, row.policy_version) == ("toy", "t/1", "r", "p@1")
    assert row.credit == 1.0 and row.weight == 1.0


@pytest.mark.parametrize(
    ("min_credit", "kept"), [(1.0, [1]), (0.8, [1, 2]), (0.5, [1, 2, 3]), (0.2, [1, 2, 3, 4])]
)
def test_only_what_the_verifier_grants_is_imitated(min_credit, kept):
    verdicts = {1: RIGHT, 2: Verdict(False, 0.8, ""), 3: Verdict(False, 0.5, ""), 4: WRONG}
    tally = Tally()
    rows = sft_rows([labelled(leaves(3, 4, 5, 6), verdicts)], tally, min_credit=min_credit)
    assert [row.node_ids[0] for row in rows] == kept
    assert tally.seen == {"paths": 4, "successes": len(kept)} and tally.most == 1.0


def test_every_task_has_the_same_weight():
    rows = sft_rows([labelled(leaves(3, 4, 5, 6), dict.fromkeys((1, 2, 3, 4), RIGHT))], Tally())
    assert [row.weight for row in rows] == [0.25] * 4


def test_the_carried_out_path_comes_first_and_the_others_by_number():
    tree = leaves(3, 4, 5)
    tree.meta["committed"] = [2]
    rows = sft_rows([labelled(tree, dict.fromkeys((1, 2, 3), RIGHT))], Tally())
    assert [row.node_ids for row in rows] == [(2,), (1,), (3,)]


def test_at_most_so_many_successes_of_a_task_over_all_its_runs():
    trees = [
        labelled(leaves(3, 4), {1: RIGHT, 2: RIGHT}, run="first"),
        labelled(leaves(5, 6), {1: RIGHT, 2: RIGHT}, run="second"),
    ]
    tally = Tally()
    rows = sft_rows(trees, tally, successes_per_task=3)
    assert [row.run for row in rows] == ["first", "first", "second"]
    assert tally.drops == {"paths beyond successes_per_task": 1}


def test_equal_actions_of_a_task_count_once():
    trees = [labelled(leaves(3), {1: RIGHT}, run=run) for run in ("first", "second")]
    tally = Tally()
    [row] = sft_rows(trees, tally)
    assert row.run == "first" and row.weight == 1.0
    assert tally.drops == {"paths with the same actions as another": 1}


def test_a_segment_that_two_paths_share_is_one_row():
    tree = a_tree()
    first = grow(tree, tree.root, "a", [1, 2], [3, 9])
    for each in (6, 7):  # the window dropped the first turn
        grow(tree, first, f"b{each}", [5], [each, 9], terminated=True)
    tally = Tally()
    rows = sft_rows([labelled(tree, {2: RIGHT, 3: RIGHT})], tally)
    assert [row.input_ids for row in rows] == [(1, 2, 3, 9), (5, 6, 9), (5, 7, 9)]
    assert sum(row.weight for row in rows) == pytest.approx(1.0)
    assert tally.drops == {"rows with the same token ids as another": 1}


def test_paths_without_tokens_are_dropped_and_counted():
    tree = leaves(3)
    grow(tree, tree.root, "mute", [1, 2], [], terminated=True)
    tally = Tally()
    rows = sft_rows([labelled(tree, {1: RIGHT, 2: RIGHT})], tally)
    assert len(rows) == 1 and tally.drops == {"paths without token ids": 1}


def test_scored_actions_may_be_imitated():
    assert sft_rows([labelled(leaves(3, sampled=False), {1: RIGHT})], Tally())
    assert sft_rows([], Tally()) == []
