"""Selection scores and backup on the numbers of the papers and specifications."""

import math

import pytest

from agentsearch.search import rules
from agentsearch.tree import Node, Tree


def test_uct_prefers_the_less_visited_of_two_good_children():
    c = math.sqrt(2)  # the form value + sqrt(2 ln N / n) of LATS
    assert rules.uct(0.5, 10, 4, c) == pytest.approx(1.5730, abs=5e-5)
    assert rules.uct(0.7, 10, 6, c) == pytest.approx(1.5761, abs=5e-5)


@pytest.mark.parametrize(
    ("mean", "prior", "visits", "score"),
    [(0.5, 0.2, 10, 0.5909), (0.4, 0.7, 5, 0.98333), (0.0, 0.1, 1, 0.25)],
)
def test_puct_adds_a_bonus_for_likely_and_seldom_visited_actions(mean, prior, visits, score):
    assert rules.puct(mean, prior, 16, visits, 1.25) == pytest.approx(score, abs=5e-5)


def test_the_growing_constant_is_muzeros():
    assert rules.growing_c(16, 1.25, 19652) == pytest.approx(1.250865, abs=5e-7)


def chain(*rewards):
    tree = Tree(Node(0, "", ""))
    for depth, reward in enumerate(rewards):
        tree.add(tree.nodes[-1], str(depth), "", reward=reward)
    return tree.nodes


def test_a_promise_counts_the_way_from_the_root_of_the_search():
    top, first, second, third = chain(1.0, 2.0, 4.0)
    assert rules.promise(third, 0.5, top) == 7.5
    assert rules.promise(third, 0.5, first) == 6.5
    assert rules.promise(second, 0.5, second) == 0.5
    assert rules.promise(chain(None, None)[-1], 0.5, top) == 0.5


def test_what_lies_ahead_is_discounted_for_each_step():
    top, first, _, third = chain(1.0, 2.0, 4.0)
    assert rules.promise(third, 8.0, top, 0.5) == 1 + 0.5 * 2 + 0.25 * 4 + 0.125 * 8
    assert rules.promise(third, 8.0, first, 0.5) == 2 + 0.5 * 4 + 0.25 * 8


def test_backup_counts_a_return_from_the_nodes_own_edge_on():
    root, first, second = chain(1.0, 2.0)
    rules.backup(second, 10.0, 0.5, root)
    assert [n.value_sum for n in (second, first, root)] == [2 + 5, 1 + 3.5, 0 + 2.25]
    assert [n.visits for n in (second, first, root)] == [1, 1, 1]


def test_backup_reads_a_hidden_reward_as_nothing():
    root, leaf = chain(None)
    rules.backup(leaf, 0.5, 1.0, root)
    assert (root.value_sum, leaf.value_sum) == (0.5, 0.5)


def test_backup_stops_at_the_root_of_the_search():
    above, root, leaf = chain(None, None)
    rules.backup(leaf, 1.0, 1.0, root)
    assert (above.visits, root.visits, leaf.visits) == (0, 1, 1)
