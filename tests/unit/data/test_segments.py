"""Paths become segments whose tokens are exactly those that were seen and written."""

import dataclasses

import pytest

from agentsearch.budget import Metered
from agentsearch.data.segments import (
    MIXED_VERSIONS,
    NO_LOGPROBS,
    NO_TOKENS,
    scored,
    segments,
    untrainable,
)
from agentsearch.policies.prompts import Prompts
from tests.unit.data.token_trees import ByteEngine, a_tree, grow, grow_wide


def a_path(*turns, **more):
    """A path by (prompt, ids) of each turn."""
    tree = a_tree()
    node, path = tree.root, []
    for i, (prompt, ids) in enumerate(turns):
        node = grow(tree, node, f"a{i}", prompt, ids, **more)
        path.append(node)
    return path


def test_turns_whose_prompts_grow_are_one_segment():
    path = a_path(([1, 2], [3, 9]), ([1, 2, 3, 9, 5, 6], [7, 9]), ([1, 2, 3, 9, 5, 6, 7, 9], [8]))
    [segment] = segments(path)
    assert segment.prompt_ids == (1, 2)
    assert segment.completion_ids == (3, 9, 5, 6, 7, 9, 8)
    assert segment.mask == (1, 1, 0, 0, 1, 1, 1)  # what the environment said is not trained
    assert segment.turn_ids == (0, 0, -1, -1, 1, 1, 2)
    assert segment.logprobs == (-0.125, -0.25, 0, 0, -0.125, -0.25, -0.125)
    assert segment.logprob == -0.875
    assert segment.node_ids == (1, 2, 3) and segment.texts == ("raw a0", "raw a1", "raw a2")


@pytest.mark.parametrize(
    "second",
    [
        [5, 6],  # a history window dropped the first turn
        [1, 2, 3],  # the end of the turn is missing
        [1, 2, 4, 9, 5],  # the action was written again with another token
    ],
)
def test_any_other_prompt_begins_a_new_segment(second):
    first, then = segments(a_path(([1, 2], [3, 9]), (second, [7, 9]), ([*second, 7, 9, 5], [8])))
    assert (first.prompt_ids, first.completion_ids, first.turn_ids) == ((1, 2), (3, 9), (0, 0))
    assert then.prompt_ids == tuple(second) and then.completion_ids == (7, 9, 5, 8)
    assert then.turn_ids == (1, 1, -1, 2)  # turns are counted from the start of the path
    assert then.node_ids == (2, 3)


def test_what_cannot_be_trained_says_why():
    good = ([1], [2])
    assert untrainable(a_path(good, ([1, 2], [3]))) == ""
    assert untrainable(a_path(good, ([1, 2], []))) == NO_TOKENS
    assert untrainable(a_path(([], [2]))) == NO_TOKENS
    assert untrainable(a_path(good, logprobs=())) == NO_LOGPROBS
    assert untrainable(a_path(good, logprobs=(float("-inf"),))) == NO_LOGPROBS
    path = a_path(good, ([1, 2], [3]))
    path[1].proposal = dataclasses.replace(path[1].proposal, version="p@2")
    assert untrainable(path) == MIXED_VERSIONS
    path[1].proposal = None  # of an action that nobody proposed
    assert untrainable(path) == NO_TOKENS


def test_one_scored_action_makes_a_scored_path():
    assert not scored(a_path(([1], [2])))
    assert scored(a_path(([1], [2]), sampled=False))


@pytest.mark.parametrize(("history", "starts"), [(None, [0]), (2, [0, 3, 4, 5]), (0, range(6))])
def test_windows_begin_segments_where_turns_drop(history, starts):
    prompts = Prompts(history=history)
    tree = grow_wide(Metered(ByteEngine("a")), nodes=7, width=1, prompts=prompts)
    found = segments(tree.nodes[-1].path()[1:])
    assert [min(t for t in each.turn_ids if t >= 0) for each in found] == list(starts)
    assert [id for each in found for id in each.node_ids] == [1, 2, 3, 4, 5, 6]
