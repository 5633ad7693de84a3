"""Paths of one task as a group."""

from agentsearch.data.card import Tally
from agentsearch.data.rl_groups import rl_rows
from tests.unit.data.token_trees import RIGHT, WRONG, a_tree, grow, labelled


def test_every_path_to_an_end_is_a_row_of_the_group():
    tree = a_tree("t/7")
    first = grow(tree, tree.root, "a", [1, 2], [10, 9], visits=3, mean=0.5)
    grow(
        tree, first, "b", [1, 2, 10, 9, 5], [20, 9], visits=1, mean=1.0, terminated=True, reward=1.0
    )
    grow(tree, first, "c", [1, 2, 10, 9, 5], [21, 9], visits=2, truncated=True)
    good, bad = rl_rows(labelled(tree, {2: RIGHT, 3: WRONG}), Tally())
    assert good.group_id == bad.group_id == "r/t/7"
    assert (good.path_id, bad.path_id) == (2, 3)
    assert good.prompt_ids == (1, 2) and good.completion_ids == (10, 9, 5, 20, 9)
    assert good.completion_mask == (1, 1, 0, 1, 1) and good.turn_ids == (0, 0, -1, 1, 1)
    assert good.logprobs == (-0.125, -0.25, 0, -0.125, -0.25)
    assert (good.reward, good.correct, good.truncated) == (1.0, True, False)
    assert (bad.reward, bad.correct, bad.truncated) == (0.25, False, True)
    assert good.turn_rewards == (0.0, 1.0)  # that of the first was hidden
    assert good.turn_values == (0.5, 1.0) and good.turn_visits == (3, 1)
    assert good.node_ids == (1, 2) and good.completions == ("raw a", "raw b")
    assert good.segments == 1


def test_scored_actions_and_several_segments_are_dropped_and_counted():
    tree = a_tree()
    grow(tree, tree.root, "scored", [1], [10, 9], terminated=True, sampled=False)
    first = grow(tree, tree.root, "a", [1], [11, 9])
    grow(tree, first, "b", [5], [12, 9], terminated=True)
    grow(tree, tree.root, "mute", [1], [], terminated=True)
    tally = Tally()
    assert rl_rows(labelled(tree, {1: RIGHT, 3: RIGHT, 4: WRONG}), tally) == []
    assert tally.seen == {"paths": 3}
    assert tally.drops == {
        "paths scored, not sampled": 1,
        "paths of several segments": 1,
        "paths without token ids": 1,
    }
