"""Agent Q's pairs, with the worked example of its specification."""

import pytest

from agentsearch.data.card import Tally
from agentsearch.data.preferences import PairRule, choices, mixed_values, preference_rows
from agentsearch.types import Verdict
from tests.unit.data.token_trees import RIGHT, WRONG, a_tree, grow, labelled


def siblings(*means, visits=None, critics=None, **more):
    """A root whose children have these mean values; child i writes token 10 + i."""
    tree = a_tree()
    for i, mean in enumerate(means):
        grow(
            tree,
            tree.root,
            f"a{i + 1}",
            [1, 2],
            [10 + i, 9],
            visits=visits[i] if visits else 1,
            mean=mean,
            critic=critics[i] if critics else None,
            **more,
        )
    return tree


def pairs(tree, tally=None, verdicts=(), **rule):
    tally = Tally() if tally is None else tally
    return preference_rows([labelled(tree, dict(verdicts))], tally, PairRule(**rule))


def mixed(tree, alpha):
    [both] = choices(labelled(tree, {}), PairRule())
    return mixed_values(*both, alpha)


def test_worked_example_of_agent_q():
    """Q = (.6, .2), N = (4, 5), ranks (2, 1) with 1/rank: the order flips, the margin is .05."""
    tree = siblings(0.6, 0.2, visits=(4, 5), critics=(1 / 2, 1 / 1))
    assert mixed(tree, 0.5) == pytest.approx((0.55, 0.60))
    tally = Tally()
    assert pairs(tree, tally, theta=0.1) == []
    assert tally.drops == {"step pairs with a margin of at most theta": 1}
    assert tally.most == pytest.approx(0.05)
    [row] = pairs(tree, theta=0.04)
    assert row.node_ids == (0, 2, 1)  # a2 is preferred to a1
    assert (row.chosen_value, row.rejected_value) == pytest.approx((0.60, 0.55))
    assert row.margin == pytest.approx(0.05)


def test_a_row_holds_the_actions_as_they_were_written():
    [row] = pairs(siblings(0.2, 0.9), theta=0.2)
    assert row.prompt_ids == (1, 2)
    assert (row.chosen_ids, row.rejected_ids) == ((11, 9), (10, 9))
    assert row.chosen_mask == row.rejected_mask == (1, 1)
    assert row.chosen_turn_ids == (0, 0)
    assert row.chosen_logprobs == (-0.125, -0.25) and row.ref_chosen_logps == -0.375
    assert (row.chosen_texts, row.rejected_texts) == (("raw a2",), ("raw a1",))
    assert row.kind == "step" and not row.unvisited and row.weight == 1.0


def test_alpha_weighs_the_mean_against_the_critic():
    tree = siblings(0.9, 0.1, critics=(0.0, 1.0))
    assert [row.node_ids for row in pairs(tree, alpha=1.0)] == [(0, 1, 2)]
    assert [row.node_ids for row in pairs(tree, alpha=0.0)] == [(0, 2, 1)]
    assert mixed(siblings(0.9, 0.1), 0.0) == (0.9, 0.1)  # no critic


def test_a_critic_that_judged_one_sibling_alone_is_not_mixed_in():
    tree = siblings(0.9, 0.1, critics=(0.0, None))
    assert mixed(tree, 0.5) == (0.9, 0.1)


def test_the_margin_must_exceed_theta():
    assert pairs(siblings(0.75, 0.5), theta=0.25) == []
    assert len(pairs(siblings(0.75, 0.5), theta=0.2499)) == 1


def test_both_must_have_been_explored_unless_the_rule_says_otherwise():
    tree = siblings(0.8, 0.0, visits=(3, 0), critics=(0.0, 1.0))
    tally = Tally()
    assert pairs(tree, tally) == []
    assert tally.drops == {"step pairs with a sibling of fewer visits than min_visits_for_pair": 1}
    assert tally.seen == {"siblings": 2, "unvisited siblings": 1}
    [row] = pairs(tree, min_visits_for_pair=0, theta=0.05, alpha=0.4)
    assert row.unvisited and row.node_ids == (0, 2, 1)  # .6 of the critic's 1 against .4 * .8
    assert pairs(siblings(0.9, 0.1, visits=(2, 1)), min_visits_for_pair=2) == []


def test_caps_keep_the_widest_margins():
    tree = siblings(0.0, 0.3, 0.6, 1.0)
    tally = Tally()
    rows = pairs(tree, tally, theta=0.1, pairs_per_node=2)
    assert [row.node_ids for row in rows] == [(0, 4, 1), (0, 4, 2)]  # in order of their nodes
    assert tally.drops == {"step pairs beyond pairs_per_node": 4}
    [widest] = pairs(tree, theta=0.1, pairs_per_task=1)
    assert widest.node_ids == (0, 4, 1)


def test_weights_follow_the_margin_where_asked():
    [row] = pairs(siblings(0.0, 0.75), weight_by_margin=True)
    assert row.weight == row.margin == 0.75


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": [1, 3]}, "step pairs with different prompts"),
        ({"version": "p@2"}, "step pairs written by several policy versions"),
        ({"ids": [10, 9]}, "step pairs with the same token ids"),
        ({"ids": []}, "step pairs without token ids"),
        ({"logprobs": ()}, "step pairs without log-probabilities"),
    ],
)
def test_what_cannot_be_compared_is_dropped_and_counted(change, reason):
    tree = siblings(0.0)
    fields = {"prompt": [1, 2], "ids": [11, 9], "mean": 1.0, **change}
    grow(tree, tree.root, "other", **fields)
    tally = Tally()
    assert pairs(tree, tally) == [] and tally.drops == {reason: 1}


def test_a_state_that_could_not_be_gone_back_to_makes_no_pair():
    tree = siblings(0.0, 1.0)
    tree.nodes[1].extra = {"stale": "the page has changed"}
    tally = Tally()
    assert pairs(tree, tally) == []
    assert tally.drops == {"step pairs with a state that could not be gone back to": 1}


def test_every_node_of_the_tree_gives_pairs():
    tree = siblings(0.9, 0.1)
    for mean, token in ((0.0, 20), (1.0, 21)):
        grow(tree, tree.nodes[1], f"b{token}", [1, 2, 10, 9, 3], [token, 9], mean=mean)
    assert [row.node_ids for row in pairs(tree)] == [(0, 1, 2), (1, 4, 3)]


# -- outcomes, and equal prompts -------------------------------------------------------


def episodes():
    """Three episodes in which the policy is asked the same, `7`, at the root and after `10`.

    10 -> 10 -> 11 ends well       10 -> 11 ends badly, twice       11 -> 12 ends well
    """
    tree = a_tree()
    first = grow(tree, tree.root, "a", [7], [10, 9])
    again = grow(tree, first, "a", [7], [10, 9])
    grow(tree, again, "b", [7], [11, 9], terminated=True)
    grow(tree, first, "b", [7], [11, 9], terminated=True, visits=2)
    other = grow(tree, tree.root, "b", [7], [11, 9])
    grow(tree, other, "c", [8], [12, 9], terminated=True)
    return tree, {3: RIGHT, 4: Verdict(False, 0.0, ""), 6: RIGHT}


def test_outcomes_at_one_node_are_those_of_the_episodes_through_it():
    tree, verdicts = episodes()
    rule = PairRule(values="outcomes")
    found = choices(labelled(tree, verdicts), rule)
    assert [[(each.node.id, each.visits, each.value) for each in one] for one in found] == [
        [(1, 3, pytest.approx(1 / 3)), (5, 1, 1.0)],
        [(2, 1, 1.0), (4, 2, 0.0)],
        [(3, 1, 1.0)],
        [(6, 1, 1.0)],
    ]
    rows = pairs(tree, verdicts=verdicts, values="outcomes", trajectory_pairs=False)
    assert [row.node_ids for row in rows] == [(0, 5, 1), (1, 2, 4)]


def test_actions_written_to_one_prompt_are_siblings_and_an_episode_counts_once():
    """At `7`, action 10 was in 3 episodes of which 1 ended well, action 11 in 4, of which 2 did."""
    tree, verdicts = episodes()
    rule = PairRule(values="outcomes", siblings="prompt")
    at_7, at_8 = choices(labelled(tree, verdicts), rule)
    assert [(each.node.id, each.visits, each.value) for each in at_7] == [
        (1, 3, pytest.approx(1 / 3)),
        (5, 4, pytest.approx(1 / 2)),
    ]
    assert [(each.node.id, each.visits) for each in at_8] == [(6, 1)]
    [row] = pairs(
        tree,
        verdicts=verdicts,
        values="outcomes",
        siblings="prompt",
        theta=0.1,
        trajectory_pairs=False,
    )
    assert row.node_ids == (0, 5, 1) and (row.chosen_ids, row.rejected_ids) == ((11, 9), (10, 9))
    assert row.margin == pytest.approx(1 / 6)


def test_outcomes_are_discounted_by_the_steps_that_lie_ahead():
    """10 from its first time on: .5 ** 2 of one in three; 11: 1 / 1 and .5 of four."""
    tree, verdicts = episodes()
    rule = PairRule(values="outcomes", siblings="prompt", discount=0.5)
    ten, eleven = choices(labelled(tree, verdicts), rule)[0]
    assert ten.value == pytest.approx(0.25 / 3) and eleven.value == pytest.approx(1.5 / 4)


def test_equal_prompts_share_what_the_search_backed_up():
    tree = siblings(0.9, 0.1, visits=(1, 2))
    grow(tree, tree.nodes[1], "a1", [1, 2], [10, 9], visits=3, mean=0.1)
    [both] = choices(labelled(tree, {}), PairRule(siblings="prompt"))
    assert [(each.visits, each.value) for each in both] == [(4, pytest.approx(0.3)), (2, 0.1)]


def test_what_has_no_tokens_is_merged_with_nothing():
    tree = siblings(0.9)
    for _ in range(2):
        grow(tree, tree.root, "other", [1, 2], [])
    found = choices(labelled(tree, {}), PairRule(siblings="prompt"))
    assert [[each.node.id for each in one] for one in found] == [[1], [2, 3]]


# -- trajectories ----------------------------------------------------------------------


def two_paths(prompt=(1, 2, 10, 9, 5)):
    """Two paths of two turns that part after the first."""
    tree = a_tree()
    first = grow(tree, tree.root, "a", [1, 2], [10, 9])
    for token in (20, 21):
        grow(tree, first, f"b{token}", prompt, [token, 9], terminated=True)
    return tree


def test_a_success_and_a_failure_make_a_trajectory_pair():
    [row] = pairs(two_paths(), verdicts={2: WRONG, 3: RIGHT})
    assert row.kind == "trajectory" and row.node_ids == (0, 3, 2)
    assert row.prompt_ids == (1, 2)
    assert row.chosen_ids == (10, 9, 5, 21, 9) and row.chosen_mask == (1, 1, 0, 1, 1)
    assert row.chosen_turn_ids == (0, 0, -1, 1, 1)
    assert row.ref_chosen_logps == -0.75
    assert (row.chosen_value, row.rejected_value, row.margin) == (1.0, 0.25, 0.75)
    assert row.chosen_texts == ("raw a", "raw b21")
    assert pairs(two_paths(), verdicts={2: WRONG, 3: RIGHT}, trajectory_pairs=False) == []


def test_trajectories_of_several_segments_make_no_pair():
    tally = Tally()
    assert pairs(two_paths(prompt=(5,)), tally, {2: WRONG, 3: RIGHT}) == []
    assert tally.drops["paths for trajectory pairs of several segments"] == 2


def test_a_failure_that_is_nearly_right_makes_no_pair():
    tally = Tally()
    assert pairs(two_paths(), tally, {2: Verdict(False, 0.9, ""), 3: RIGHT}) == []
    assert tally.drops["trajectory pairs with a margin of at most theta"] == 1


def test_each_path_is_used_once():
    tree = a_tree()
    for token in range(10, 15):
        grow(tree, tree.root, f"a{token}", [1], [token, 9], terminated=True, mean=0.5)
    rows = pairs(tree, verdicts={1: RIGHT, 2: WRONG, 3: WRONG, 4: RIGHT, 5: WRONG})
    assert [row.node_ids for row in rows] == [(0, 1, 2), (0, 4, 3)]
