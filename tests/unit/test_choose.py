"""Final-answer rules on small trees whose answer can be seen by eye."""

import pytest

from agentsearch.errors import ConfigError
from agentsearch.search import choose
from agentsearch.tree import Node, Tree


def tree_of(*rows):
    """A tree from rows of (path, statistics); paths are words of one-letter actions."""
    tree = Tree(Node(0, "", ""))
    nodes = {"": tree.root}
    for path, fields in rows:
        node = nodes[path] = tree.add(nodes[path[:-1]], path[-1], path, path)
        for name, value in fields.items():
            setattr(node, name, value)
    return tree.root


def end(**fields):
    return {"terminated": True, **fields}


def chosen(rule, *rows):
    return choose.rule(rule)(tree_of(*rows)).state


ALL = pytest.mark.parametrize("rule", choose.RULES)


@ALL
def test_nothing_grown_leaves_the_root(rule):
    assert chosen(rule) == ""


@ALL
def test_a_lonely_path_is_followed_to_its_end(rule):
    fields = {"visits": 1, "value_sum": 0.5, "value": 0.5}
    assert chosen(rule, ("a", fields), ("ab", end(**fields))) == "ab"


@ALL
def test_only_the_tree_is_looked_at(rule):
    """No environment, budget or task: a rule is a function of one node."""
    root = tree_of(("a", end(visits=1, value=0.2)), ("b", end(visits=2, value=0.9)))
    before = [(n.visits, n.value, n.value_sum, n.prior) for n in root.descendants()]
    assert choose.RULES[rule](root) is choose.RULES[rule](root)
    assert [(n.visits, n.value, n.value_sum, n.prior) for n in root.descendants()] == before


@pytest.mark.parametrize("rule", ["most_visited", "best_value", "majority_vote", "likeliest"])
def test_a_finished_episode_is_preferred_to_a_better_unfinished_one(rule):
    rows = (
        ("a", {"visits": 9, "value": 0.9, "value_sum": 8.0, "prior": 0.9}),
        ("b", end(visits=1, value=0.1, value_sum=0.1, prior=0.1)),
    )
    assert chosen(rule, *rows) == "b"


@pytest.mark.parametrize("rule", ["best_value", "majority_vote", "weighted_vote", "likeliest"])
def test_a_truncated_episode_is_preferred_to_an_open_one(rule):
    rows = (
        ("a", {"visits": 1, "value": 0.9, "prior": 0.9}),
        ("b", {"truncated": True, "visits": 1, "value": 0.1, "prior": 0.1}),
    )
    assert chosen(rule, *rows) == "b"
    assert chosen(rule, *rows, ("c", end(visits=1, value=0.0, prior=0.0))) == "c"


# -- most visited ----------------------------------------------------------------------


def test_the_most_visited_child_is_followed_at_each_step():
    rows = (
        ("a", {"visits": 3, "value_sum": 3.0}),
        ("b", {"visits": 5, "value_sum": 1.0}),
        ("aa", end(visits=2, value_sum=2.0)),
        ("ba", end(visits=1, value_sum=0.9)),
        ("bb", end(visits=3, value_sum=0.1)),
    )
    assert chosen("most_visited", *rows) == "bb"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"value_sum": 1.0}, {"value_sum": 2.0}),
        ({"prior": 0.2}, {"prior": 0.3}),
    ],
)
def test_equal_visits_go_by_mean_value_then_prior_then_age(a, b):
    rows = (("a", end(visits=2, **a)), ("b", end(visits=2, **b)))
    assert chosen("most_visited", *rows) == "b"
    equal = (("a", end(visits=2)), ("b", end(visits=2)))
    assert chosen("most_visited", *equal) == "a"


# -- best value ------------------------------------------------------------------------


def test_the_best_value_wins():
    rows = (("a", end(value=0.1)), ("b", end(value=0.7)), ("c", end(value=0.5)))
    assert chosen("best_value", *rows) == "b"


def test_rewards_on_the_way_count():
    rows = (
        ("a", {"reward": 0.5}),
        ("b", {"reward": 0.0}),
        ("aa", end(reward=0.2, value=0.0)),
        ("ba", end(reward=0.0, value=0.6)),
    )
    assert chosen("best_value", *rows) == "aa"


def test_equal_values_go_to_the_likelier_path_then_to_the_older():
    rows = (("a", end(value=0.5, prior=0.3)), ("b", end(value=0.5, prior=0.6)))
    assert chosen("best_value", *rows) == "b"
    assert chosen("best_value", *rows, ("c", end(value=0.5, prior=0.6))) == "b"


def test_the_likelihood_is_that_of_the_whole_path():
    rows = (
        ("a", {"prior": 0.9}),
        ("b", {"prior": 0.5}),
        ("aa", end(value=0.5, prior=0.1)),
        ("ba", end(value=0.5, prior=1.0)),
    )
    assert chosen("best_value", *rows) == "ba"
    assert chosen("likeliest", *rows) == "ba"


def test_a_leaf_that_was_not_valued_promises_what_the_node_above_it_did():
    rows = (("a", {"value": 0.1}), ("b", {"value": 0.7}), ("bb", {}))
    assert chosen("best_value", *rows) == "bb"
    rewarded = (("a", {"value": 0.6, "reward": 0.2}), ("b", {"value": 0.7, "reward": 0.0}))
    assert chosen("best_value", *rewarded, ("bb", {"reward": 0.05})) == "a"


def test_a_reward_that_was_seen_counts_whether_or_not_the_end_was_valued():
    rows = (("a", {"value": 0.9}), ("aa", end(reward=0.0)), ("ab", end(reward=1.0)))
    assert chosen("best_value", *rows) == "ab"
    assert choose.path_return(tree_of(("a", end(reward=0.5))).children[0], tree_of()) == 0.5


def test_nothing_above_the_root_of_the_search_counts():
    root = tree_of(("a", {"value": 0.9, "reward": 5.0}), ("ab", {}), ("abc", {"reward": 1.0}))
    start = root.children[0].children[0]
    assert choose.path_return(start.children[0], start) == 1.0
    assert choose.best_value(start) is start.children[0]


# -- best seen -------------------------------------------------------------------------


def test_an_unfinished_node_may_be_the_best_seen():
    rows = (
        ("a", {"visits": 1, "value": 0.8}),
        ("b", {"visits": 1, "value": 0.3}),
        ("aa", end(visits=1, value=0.5)),
    )
    assert chosen("best_seen", *rows) == "a"


def test_ties_among_the_seen_go_to_a_finished_one_then_to_the_first():
    rows = (("a", {"visits": 1, "value": 0.5}), ("b", {"visits": 1, "value": 0.5}))
    assert chosen("best_seen", *rows) == "a"
    assert chosen("best_seen", *rows, ("c", end(visits=1, value=0.5))) == "c"


def test_what_was_not_visited_was_not_seen():
    rows = (("a", {"visits": 1, "value": 0.5}), ("b", {"value": 0.9}))
    assert chosen("best_seen", *rows) == "a"


# -- votes -----------------------------------------------------------------------------

BALLOT = (
    ("a", end(answer="24", visits=2, value=0.2, prior=0.2)),
    ("b", end(answer="23", visits=3, value=0.5, prior=0.3)),
    ("c", end(answer="24", visits=2, value=0.1, prior=0.4)),
)


def test_the_most_frequent_answer_wins_by_its_likeliest_leaf():
    assert chosen("majority_vote", *BALLOT) == "c"


def test_a_weighted_vote_counts_returns():
    # 24: 2 * 0.2 + 2 * 0.1 = 0.6 against 23: 3 * 0.5 = 1.5
    assert chosen("weighted_vote", *BALLOT) == "b"
    many = ("d", end(answer="22", visits=20, value=0.1))  # 20 * 0.1 = 2.0
    assert chosen("weighted_vote", *BALLOT, many) == "d"


def test_without_an_answer_the_last_observation_is_voted_on():
    tree = tree_of(("a", end(visits=1)), ("b", end(visits=1)), ("c", end(visits=1)))
    for node, words in zip(tree.children, ("x", "y", "y"), strict=True):
        node.observation = words
    assert choose.majority_vote(tree).state == "b"


def test_a_tied_vote_goes_to_the_answer_that_came_first():
    rows = (("a", end(answer="1", visits=1)), ("b", end(answer="2", visits=1, prior=2.0)))
    assert chosen("majority_vote", *rows) == "a"


# -- decisions in the middle of an episode ----------------------------------------------


def decided(rule, *rows, discount=1.0):
    return choose.rule(rule, prefer_finished=False, discount=discount)(tree_of(*rows)).state


@pytest.mark.parametrize("rule", ["most_visited", "best_value", "majority_vote", "weighted_vote"])
def test_in_a_decision_a_better_way_on_is_preferred_to_an_ending(rule):
    rows = (
        ("a", {"visits": 9, "value": 0.9, "value_sum": 8.0, "prior": 0.9}),
        ("b", end(visits=1, value=0.1, value_sum=0.1, prior=0.1)),
    )
    assert decided(rule, *rows) == "a" and chosen(rule, *rows) == "b"


def test_ties_of_a_decision_go_to_an_ending_then_to_fewer_steps_then_to_the_likelier():
    rows = (("a", {"value": 0.1}), ("ab", {"value": 0.5, "prior": 0.9}), ("b", {"value": 0.5}))
    assert decided("best_value", *rows) == "b"
    assert decided("best_value", *rows, ("c", {"value": 0.5, "prior": 2.0})) == "c"
    assert decided("best_value", *rows, ("d", {"value": 0.1}), ("dd", end(value=0.5))) == "dd"
    equal = {"visits": 2, "value_sum": 1.0}
    assert decided("most_visited", ("a", equal), ("b", end(**equal))) == "b"


def test_a_node_with_a_child_that_nobody_looked_at_stands_for_it():
    rows = (("a", {"value": 0.8}), ("aa", {"value": 0.3}), ("b", {"value": 0.6}))
    assert decided("best_value", *rows) == "b"
    assert decided("best_value", *rows, ("ab", {})) == "a"


def test_where_nothing_was_valued_visits_decide():
    rows = (("a", {"visits": 1}), ("b", {"visits": 3}), ("bb", {"visits": 2}))
    assert decided("best_value", *rows) == "bb"
    assert decided("weighted_vote", *rows) == "bb"


@pytest.mark.parametrize("rule", ["best_value", "best_seen"])
def test_a_discount_makes_the_nearer_of_two_equals_better(rule):
    rows = (("a", {"visits": 1, "value": 0.1}), ("aa", {"visits": 1, "value": 0.8}),
            ("b", {"visits": 1, "value": 0.75}))  # fmt: skip
    assert decided(rule, *rows) == "aa"
    assert decided(rule, *rows, discount=0.9) == "b"  # 0.81 * 0.8 < 0.9 * 0.75


def test_a_discounted_return_by_hand():
    root = tree_of(("a", {"reward": 1.0}), ("ab", {"reward": 2.0}), ("abc", {"value": 8.0}))
    leaf = root.children[0].children[0].children[0]
    assert choose.path_return(leaf, root, 0.5) == 1 + 0.5 * 2 + 0.125 * 8


# -- names -----------------------------------------------------------------------------


def test_an_unknown_rule_is_named_with_the_closest():
    with pytest.raises(
        ConfigError, match="choose='best_vale': no such rule. Did you mean 'best_value'"
    ):
        choose.rule("best_vale")
