"""Best-first search: both orders, on the worked example of the specification."""

import pytest

from agentsearch.errors import ConfigError
from agentsearch.policies.scripted import Scripted
from agentsearch.search import choose
from agentsearch.search.best_first import BestFirst
from agentsearch.types import Proposal
from agentsearch.values.plain import ScriptedValue
from tests.toy import Letters, a_problem, every_letter, grow, guess, text_value

EXAMPLE = Letters(word="B2x", letters="AB12x")
ACTIONS = {"": "AB", "A": "12", "B": "12"}
VALUES = {"A": 0.4, "B": 0.6, "B1": 0.3, "B2": 1.0, "A1": 0.1, "A2": 0.1}


def example(search, **limits):
    judged = []

    def value(context):
        judged.append(context.observation)
        return VALUES[context.observation]

    problem = a_problem(EXAMPLE, Scripted(ACTIONS), ScriptedValue(value), **limits)
    return grow(search, problem), judged


def result(search, problem):
    leaf = choose.rule(search.choose)(problem.root)
    return list(problem.tree.trajectory(leaf).actions), leaf.value


def test_paper_takes_and_values_an_action_when_it_is_popped():
    search = BestFirst(width=2, order="paper", depth=2)
    problem, judged = example(search)
    assert judged == ["A", "B", "B1", "B2"]
    assert len(problem.tree) == 5
    assert result(search, problem) == (["B", "2"], 1.0)
    assert problem.tree.meta["stop"] == "threshold"


def test_paper_ends_when_its_pops_are_spent():
    search = BestFirst(width=2, order="paper", depth=2, pops=3)
    problem, judged = example(search)
    assert judged == ["A", "B", "B1"]
    assert result(search, problem) == (["B"], 0.6)
    assert problem.tree.meta["stop"] == "budget:pops"


def test_paper_counts_no_pops_where_its_frontier_ends_first():
    search = BestFirst(width=2, order="paper", depth=1, pops=3)
    problem, judged = example(search)
    assert judged == ["A", "B"]
    assert "stop" not in problem.tree.meta


def test_paper_looks_no_further_than_its_depth():
    search = BestFirst(width=2, order="paper", depth=2, threshold=2.0)
    problem, _ = example(search)
    assert {node.state for node in problem.tree.nodes} == {"", *VALUES}


def test_paper_breaks_ties_by_the_rank_of_the_first_action():
    worth = {"A": 0.4, "B": 0.4, "A1": 0.1, "A2": 0.1, "B1": 0.1, "B2": 0.1}
    judged = []
    value = text_value(lambda text: judged.append(text) or worth[text])
    problem = a_problem(EXAMPLE, Scripted(ACTIONS), value)
    grow(BestFirst(width=2, order="paper", depth=2), problem)
    assert judged == ["A", "B", "A1", "A2", "B1", "B2"]


def test_paper_keeps_the_first_of_equally_good_nodes():
    search = BestFirst(width=3, order="paper", depth=2)
    problem = grow(search, a_problem(value=text_value(lambda text: 0.3)))
    assert result(search, problem) == (["a"], 0.3)


def test_paper_keeps_the_most_frequent_of_its_samples():
    letters = "abbcc"  # b and c twice
    policy = Scripted(lambda context, n: [Proposal(x, x) for x in letters])
    search = BestFirst(width=2, samples=5, order="paper", depth=1)
    problem = grow(search, a_problem(policy=policy))
    assert [(c.action, c.prior) for c in problem.root.children] == [("b", 0.5), ("c", 0.5)]


@pytest.mark.parametrize(
    ("fields", "asked"), [({}, 20), ({"width": 11}, 22), ({"width": 2, "samples": 3}, 3)]
)
def test_paper_samples_twice_the_width_and_at_least_20(fields, asked):
    seen = []
    policy = Scripted(lambda context, n: seen.append(n) or "abc")
    grow(BestFirst(order="paper", depth=1, **fields), a_problem(policy=policy))
    assert seen == [asked]


def test_paper_stops_at_the_first_leaf_whose_return_reaches_the_threshold():
    search = BestFirst(width=3, order="paper")
    problem = a_problem(value=guess(), reward_visible=True)
    grow(search, problem)
    last = problem.tree.nodes[-1]
    assert (last.state, last.value, last.reward) == ("cab", 0.0, 1.0)
    assert problem.tree.meta["stop"] == "threshold"
    assert result(search, problem)[0] == ["c", "a", "b"]


def test_paper_orders_by_the_rewards_on_the_way_too():
    env = Letters(word="aaa", pay={"b": 0.6})
    search = BestFirst(width=3, order="paper", threshold=9.0, pops=4)
    seen = a_problem(env, value=text_value(lambda text: 0.4), reward_visible=True)
    hidden = a_problem(env, value=text_value(lambda text: 0.4))
    assert expanded(grow(search, seen)) == ["", "b", "ba"]
    assert expanded(grow(search, hidden)) == ["", "a"]


def test_paper_passes_over_an_action_that_cannot_be_carried_out():
    search = BestFirst(width=3, order="paper", depth=1)
    problem = grow(search, a_problem(policy=Scripted({"": "zab"})))
    assert [c.action for c in problem.root.children] == ["a", "b"]
    assert problem.budget.usage.invalid_actions == 1


def expanded(problem):
    """The states in the order they were expanded: children stand in order of creation."""
    return list(dict.fromkeys(node.parent.state for node in problem.tree.nodes[1:]))


def test_the_most_valuable_open_node_is_expanded_first():
    worth = {"a": 0.2, "b": 0.6, "c": 0.4, "ba": 0.1, "bb": 0.5, "bc": 0.3}
    search = BestFirst(width=3)
    problem = a_problem(value=text_value(lambda text: worth.get(text, 0.0)), iterations=4)
    assert expanded(grow(search, problem)) == ["", "b", "bb", "c"]


def test_equal_values_go_by_depth_then_rank_then_age():
    problem = a_problem(value=text_value(lambda text: 0.5), iterations=6)
    assert expanded(grow(BestFirst(width=3), problem)) == ["", "a", "b", "c", "aa", "ba"]


def test_the_path_that_earned_more_is_expanded_first():
    env = Letters(word="aaa", pay={"b": 0.3})
    worth = {"a": 0.6, "b": 0.4, "c": 0.65}
    value = text_value(lambda text: worth.get(text, 0.1))
    seen = a_problem(env, value=value, reward_visible=True, iterations=4)
    hidden = a_problem(env, value=value, iterations=4)
    assert expanded(grow(BestFirst(width=3), seen)) == ["", "b", "bb", "c"]
    assert expanded(grow(BestFirst(width=3), hidden)) == ["", "c", "a", "b"]


def test_a_discount_brings_nearer_nodes_forward():
    worth = {"a": 0.5, "b": 0.48, "aa": 0.5}
    value = text_value(lambda text: worth.get(text, 0.0))
    assert expanded(grow(BestFirst(width=3), a_problem(value=value, iterations=3)))[2] == "aa"
    search = BestFirst(width=3, discount=0.9)  # 0.81 * 0.5 < 0.9 * 0.48
    assert expanded(grow(search, a_problem(value=value, iterations=3)))[2] == "b"
    with pytest.raises(ConfigError, match="^search.discount=0.0: must lie in"):
        BestFirst(discount=0.0)


def test_nothing_beyond_the_depth_is_grown():
    problem = grow(BestFirst(width=3, depth=2), a_problem())
    assert max(node.depth for node in problem.tree.nodes) == 2
    assert len(problem.tree) == 1 + 3 + 9


def test_a_finished_node_is_never_expanded_and_the_search_ends():
    problem = grow(BestFirst(width=3), a_problem(policy=every_letter(), value=guess()))
    assert len(problem.tree) == 1 + 3 + 9 + 27
    assert problem.budget.iterations == 1 + 3 + 9 + 1  # the last finds an empty frontier


def test_each_order_has_its_own_rule_for_the_answer():
    assert BestFirst().choose == "best_value"
    assert BestFirst(order="paper").choose == "best_seen"
    assert BestFirst(order="paper", choose="likeliest").choose == "likeliest"


@pytest.mark.parametrize(
    "fields", [{"width": 0}, {"depth": 0}, {"pops": 0}, {"samples": 4, "width": 5}], ids=str
)
def test_impossible_settings_are_refused(fields):
    with pytest.raises(ConfigError, match=f"^search.{next(iter(fields))}="):
        BestFirst(**fields)
