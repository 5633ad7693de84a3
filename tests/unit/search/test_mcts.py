"""Monte-Carlo tree search: selection, backup and rounds of parallel simulations."""

import math
import random

import pytest

from agentsearch.errors import ConfigError
from agentsearch.policies.scripted import Scripted
from agentsearch.search import choose, rules
from agentsearch.search.mcts import MCTS
from agentsearch.tree import Node, Tree
from agentsearch.types import Proposal
from tests.toy import Letters, Sampler, Slow, a_problem, every_letter, grow, guess, text_value


def a_family(rng, unvisited=True):
    """A visited parent with children of random statistics."""
    tree = Tree(Node(0, "", ""))
    for i in range(rng.randint(2, 8)):
        child = tree.add(tree.root, str(i), "", prior=rng.choice([0.1, 0.2, rng.random()]))
        child.visits = rng.randint(0 if unvisited else 1, 9)
        child.value_sum = sum(rng.random() for _ in range(child.visits))
    tree.root.visits = 1 + sum(child.visits for child in tree.root.children)
    tree.root.value_sum = rng.random() + sum(child.value_sum for child in tree.root.children)
    return tree.root


@pytest.mark.parametrize("seed", range(200))
def test_the_puct_loop_agrees_with_the_rule(seed):
    node, search = a_family(random.Random(seed)), MCTS(c_puct=1.5, first_play_reduction=0.2)

    def score(child):
        mean = child.mean_value if child.visits else node.mean_value - 0.2
        return rules.puct(mean, child.prior, node.visits, child.visits, 1.5)

    assert score(search.best_by_puct(node)) == pytest.approx(max(map(score, node.children)))


@pytest.mark.parametrize("seed", range(100))
def test_the_uct_loop_agrees_with_the_rule(seed):
    node, search = a_family(random.Random(seed), unvisited=False), MCTS(selection="uct", c_uct=0.7)

    def score(child):
        return rules.uct(child.mean_value, node.visits, child.visits, 0.7)

    assert search.best_by_uct(node) is max(node.children, key=score)


@pytest.mark.parametrize("selection", ["puct", "uct"])
def test_ties_go_to_the_likelier_then_to_the_older(selection):
    tree = Tree(Node(0, "", ""))
    for prior in (0.2, 0.4, 0.4):
        tree.add(tree.root, f"{len(tree)}", "", prior=prior)
    search = MCTS(selection=selection, c_puct=0.0, c_uct=0.0)
    best = search.best_by_puct if selection == "puct" else search.best_by_uct
    assert best(tree.root).id == 2


@pytest.mark.parametrize("selection", ["puct", "uct"])
def test_infinite_first_play_visits_every_child_once_first(selection):
    search = MCTS(width=3, selection=selection, first_play="infinite")
    problem = grow(search, a_problem(value=text_value(lambda t: float(t == "a")), iterations=4))
    assert [child.visits for child in problem.root.children] == [1, 1, 1]


def test_first_play_from_the_parent_stays_with_a_good_child():
    search = MCTS(width=3, c_puct=0.01, first_play_reduction=0.5)
    problem = grow(search, a_problem(value=text_value(lambda t: float(t[:1] == "a")), iterations=4))
    assert [child.visits for child in problem.root.children] == [3, 0, 0]


def test_first_play_undoes_the_edge_and_the_discount_of_the_parent():
    root = Tree(Node(0, "", "", reward=0.5)).root
    rules.backup(root, 0.8, 0.9, root)
    assert root.mean_value == pytest.approx(0.5 + 0.9 * 0.8)
    assert MCTS(discount=0.9).first_value(root) == pytest.approx(0.8)


def test_a_larger_constant_explores_more():
    def share_of_best(c):
        problem = a_problem(value=text_value(lambda t: float(t[:1] == "a")), iterations=60)
        grow(MCTS(width=3, c_puct=c), problem)
        return problem.root.children[0].visits

    assert share_of_best(0.5) > share_of_best(20.0)


def test_priors_lead_where_values_do_not():
    policy = Scripted({"": [Proposal("a", "a", prior=0.1), Proposal("b", "b", prior=0.9)]})
    flat = text_value(lambda text: 0.5)
    by_prior = grow(MCTS(width=2), a_problem(policy=policy, value=flat, iterations=20))
    without = grow(
        MCTS(width=2, selection="uct"), a_problem(policy=policy, value=flat, iterations=21)
    )
    assert by_prior.root.child("b").visits > 2 * by_prior.root.child("a").visits
    assert by_prior.root.child("a").visits > 0
    assert [child.visits for child in without.root.children] == [10, 10]


def test_the_answer_is_the_most_visited_path():
    search = MCTS(width=3)
    problem = grow(search, a_problem(value=guess(), iterations=60, reward_visible=True))
    assert choose.rule(search.choose)(problem.root).state == "cab"


def brute_force(node, discount):
    """Value and visits of `node` from those of its own evaluations and its children."""
    below = [brute_force(child, discount) for child in node.children]
    own = node.visits - sum(visits for _, visits in below)
    future = own * (node.value or 0.0) + sum(value for value, _ in below)
    return node.visits * (node.reward or 0.0) + discount * future, node.visits


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("visible", [False, True])
def test_backup_equals_brute_force(parallel, discount, visible):
    search = MCTS(width=3, parallel=parallel, discount=discount, virtual_loss=0.7)
    env = Letters(word="caba", pay={"a": 0.3, "b": -0.2})
    problem = a_problem(env, value=guess("caba", 0.3), iterations=40, reward_visible=visible)
    grow(search, problem)
    assert problem.root.visits > 40 if parallel > 1 else problem.root.visits == 40
    for node in problem.tree.nodes:
        assert node.value_sum == pytest.approx(brute_force(node, discount)[0])
        if node.children:  # it was evaluated once itself, before it had any
            assert node.visits == 1 + sum(child.visits for child in node.children)


def test_a_round_evaluates_different_leaves_and_leaves_no_trace_of_its_loss():
    rounds = []

    class Watched(MCTS):
        async def round(self, problem):
            before = {node: node.visits for node in problem.tree.nodes}
            await super().round(problem)
            ends = [n for n in before if n.visits > before[n] and not visited_below(n, before)]
            rounds.append(ends)

    def visited_below(node, before):
        return any(child in before and child.visits > before[child] for child in node.children)

    problem = grow(Watched(width=3, parallel=3), a_problem(iterations=6))
    assert [len(leaves) for leaves in rounds] == [1, 3, 3, 3, 3, 3]
    assert problem.root.visits == sum(map(len, rounds))
    assert problem.root.value_sum == pytest.approx(brute_force(problem.root, 1.0)[0])


def test_a_round_cut_by_the_budget_takes_its_loss_back_and_keeps_what_was_paid():
    """4 calls for the root; of 5 more, 3 value the round's leaves and 2 expand one."""
    problem = grow(MCTS(width=3, parallel=3), a_problem(calls=9))
    children = problem.root.children
    assert problem.budget.usage.calls == 9
    assert [child.visits for child in children] == [1, 1, 1] and problem.root.visits == 4
    values = [node.value for node in (problem.root, *children)]
    assert problem.root.value_sum == pytest.approx(sum(values))


def test_a_value_that_was_paid_for_counts_though_the_expansion_was_not_affordable():
    problem = grow(MCTS(width=3), a_problem(calls=5))
    assert problem.budget.usage.calls == 5
    assert [child.visits for child in problem.root.children] == [1, 0, 0]


def test_rounds_do_not_depend_on_the_order_of_replies():
    def tree(slow):
        policy, value = Sampler(), guess("caba", 0.2)
        parts = (Slow(policy), Slow(value)) if slow else (policy, value)
        env = Letters(word="caba", instant=not slow)
        return grow(MCTS(width=3, parallel=4), a_problem(env, *parts, calls=150)).tree.to_json()

    assert tree(slow=False) == tree(slow=True) == tree(slow=True)


def test_a_tree_of_endings_does_not_spin_for_ever():
    problem = a_problem(Letters(word="a"), every_letter(), calls=50)
    grow(MCTS(width=3), problem)
    assert problem.budget.iterations == 50 and problem.budget.usage.calls == 4
    assert math.isfinite(problem.root.mean_value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"width": 0}, "width=0"),
        ({"parallel": 0}, "parallel=0"),
        ({"discount": 0.0}, "discount=0.0"),
        ({"discount": 1.5}, "discount=1.5"),
    ],
)
def test_impossible_settings_are_refused(fields, named):
    with pytest.raises(ConfigError, match=f"^search.{named}: must"):
        MCTS(**fields)


@pytest.mark.parametrize("selection", ["puct", "uct"])
def test_scores_that_are_no_numbers_do_not_hang_the_search(selection):
    policy = Scripted({"": [Proposal(a, a, prior=math.nan) for a in "ab"]})
    search = MCTS(selection=selection, c_uct=math.nan)
    problem = grow(search, a_problem(policy=policy, iterations=5))
    assert problem.root.visits == 5
