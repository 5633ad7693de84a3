"""What holds for every search, whatever its limits and seed."""

import asyncio
import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsearch.budget import Limits, Metered
from agentsearch.choosers.plain import RandomChooser
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.policies.prompted import Prompted
from agentsearch.runner import Setup, solve
from agentsearch.search import choose
from agentsearch.search.agent_q import AgentQ
from agentsearch.search.beam import Beam
from agentsearch.search.best_first import BestFirst
from agentsearch.search.best_of_n import BestOfN, SelfConsistency
from agentsearch.search.greedy import Greedy
from agentsearch.search.mcts import MCTS
from agentsearch.seeds import derive_seed
from agentsearch.tree import Tree
from agentsearch.values.plain import Rollout
from agentsearch.values.votes import Votes
from tests.toy import Letters, Sampler, Slow, a_problem, grow, guess

WORD = "cabb"
ENV = Letters(word=WORD)
SLOW_ENV = Letters(word=WORD, instant=False)
SEARCHES = {
    "greedy": Greedy(),
    "best_of_n": BestOfN(batch=3),
    "self_consistency": SelfConsistency(batch=3),
    "beam": Beam(beam_width=3, width=3),
    "best_first": BestFirst(width=3),
    "best_first_paper": BestFirst(width=3, order="paper", samples=6),
    "mcts_puct": MCTS(width=3),
    "mcts_uct": MCTS(width=3, selection="uct", discount=0.9),
    "mcts_infinite": MCTS(width=3, selection="uct", first_play="infinite"),
    "mcts_parallel": MCTS(width=3, parallel=4),
    "agent_q": AgentQ(width=3),
}
GUIDED = [name for name in SEARCHES if name not in ("greedy", "self_consistency")]
TREES = [name for name in GUIDED if name.startswith("mcts")]
names = st.sampled_from(list(SEARCHES))
seeds = st.integers(0, 2**62)


def grown(name, *, seed=0, slow=False, visible=True, env=None, repeats=True, **limits):
    policy, value = Sampler(repeats=repeats), guess(WORD, noise=0.1)
    return grow(
        SEARCHES[name],
        a_problem(
            env or (SLOW_ENV if slow else ENV),
            Slow(policy) if slow else policy,
            Slow(value) if slow else value,
            seed=seed,
            reward_visible=visible,
            **limits,
        ),
    )


def answer(name, problem):
    return choose.rule(SEARCHES[name].choose)(problem.root)


# -- what is found ---------------------------------------------------------------------


@pytest.mark.parametrize("name", GUIDED)
@pytest.mark.parametrize("seed", range(3))
def test_the_planted_word_is_found(name, seed):
    problem = grown(name, seed=seed, repeats=False, calls=3000, iterations=500)
    assert answer(name, problem).state == WORD


def test_the_planted_word_is_the_most_frequent_answer():
    policy = Sampler({"c": 6.0, "a": 1.0, "b": 1.0})
    problem = grow(SelfConsistency(n=60), a_problem(Letters(word="ccc"), policy))
    assert choose.majority_vote(problem.root).state == "ccc"


@pytest.mark.parametrize("name", GUIDED)
def test_the_better_first_move_is_preferred(name):
    """Where the reward is hidden, the value alone leads."""
    problem = grown(name, visible=False, repeats=False, calls=600)
    assert answer(name, problem).path()[1].action == WORD[0]


@pytest.mark.parametrize("name", TREES)
def test_simulations_go_where_the_value_is(name):
    problem = a_problem(ENV, Sampler(repeats=False), guess(WORD), calls=600, iterations=100)
    grow(replace(SEARCHES[name], c_puct=0.2, c_uct=0.2), problem)
    visits = {child.action: child.visits for child in problem.root.children}
    assert max(visits, key=visits.get) == WORD[0]
    assert visits[WORD[0]] > sum(visits.values()) / 2


@pytest.mark.parametrize("name", GUIDED)
def test_more_budget_never_does_worse_on_average(name):
    def quality(calls):
        setups = [
            Setup(
                env=ENV,
                policy=Sampler(repeats=False),
                value=guess(WORD, noise=0.1),
                search=SEARCHES[name],
                limits=Limits(calls=calls),
                reward_visible=True,
                seed=seed,
                chooser=RandomChooser(),
            )
            for seed in range(24)
        ]
        task = ENV.tasks("train")[0]
        return statistics.mean(asyncio.run(solve(task, setup)).credit for setup in setups)

    little, some, plenty = (quality(calls) for calls in (8, 40, 400))
    assert little <= some + 0.02 and some <= plenty + 0.02
    assert plenty > little + 0.3 and plenty > 0.75


# -- what is spent ---------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(names, st.integers(1, 60), st.integers(1, 60), seeds, st.booleans())
def test_no_limit_is_ever_overrun(name, calls, steps, seed, visible):
    problem = grown(name, seed=seed, visible=visible, calls=calls, env_steps=steps)
    usage = problem.budget.usage
    assert usage.calls <= calls and usage.env_steps <= steps
    assert problem.budget.reserved_calls == problem.budget.reserved_tokens == 0
    assert problem.budget.iterations <= min(calls, steps)


ENGINE = Metered(ScriptedEngine(lambda request, i: "abc"[derive_seed(request.seed, i) % 3]))
JUDGE = Metered(ScriptedEngine(replies=("sure", "likely", "impossible", "who knows what")))


@settings(max_examples=100, deadline=None)
@given(names, st.integers(20, 800), st.integers(1, 80), seeds)
def test_no_limit_of_tokens_is_overrun(name, tokens, calls, seed):
    policy, value = Prompted(ENGINE, max_tokens=2), Votes(JUDGE, n=2, max_tokens=3)
    problem = a_problem(ENV, policy, value, seed=seed, tokens=tokens, calls=calls)
    usage = grow(SEARCHES[name], problem).budget.usage
    assert usage.tokens <= tokens and usage.calls <= calls
    costs = [node.cost for node in problem.tree.nodes if node.cost]
    assert sum(cost.tokens for cost in costs) == usage.tokens
    assert sum(cost.calls for cost in costs) == usage.calls


@pytest.mark.parametrize("name", SEARCHES)
def test_every_prefix_of_a_search_is_usable(name):
    """Whenever the calls end, the tree is whole and gives an answer."""
    for calls in range(1, 45):
        problem = grown(name, calls=calls)
        tree = problem.tree
        assert answer(name, problem) in tree.nodes
        assert len(Tree.from_json(tree.to_json())) == len(tree)
        for node in tree.nodes[1:]:
            assert node in node.parent.children and node.id > node.parent.id
            assert node.visits >= 0
    assert len(tree) > 3


# -- what is counted -------------------------------------------------------------------


def brute_force(node, discount):
    """Summed return of `node` from its own evaluations and those below it."""
    below = sum(brute_force(child, discount) for child in node.children)
    own = node.visits - sum(child.visits for child in node.children)
    future = own * (node.value or 0.0) + below
    return node.visits * (node.reward or 0.0) + discount * future


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TREES), st.integers(1, 120), seeds, st.booleans())
def test_visits_add_up_and_backup_equals_brute_force(name, calls, seed, visible):
    env = Letters(word=WORD, pay={"a": 0.3, "b": -0.1})
    problem = grown(name, seed=seed, visible=visible, env=env, calls=calls)
    discount = SEARCHES[name].discount
    for node in problem.tree.nodes:
        assert node.value_sum == pytest.approx(brute_force(node, discount), abs=1e-9)
        below = sum(child.visits for child in node.children)
        if node.children and node.visits:
            assert node.visits == below + 1
        else:
            assert below == 0
    assert problem.root.visits == sum(node.visits - sum_below(node) for node in problem.tree.nodes)


def sum_below(node):
    return sum(child.visits for child in node.children)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["best_of_n", "self_consistency"]), st.integers(1, 80), seeds)
def test_episodes_add_up(name, calls, seed):
    problem = grown(name, seed=seed, calls=calls)
    for node in problem.tree.nodes[1:]:
        if not node.done:  # cut by the budget, some episodes go no further
            assert sum_below(node) <= node.visits
    for node in problem.tree.nodes:
        if node.children:
            assert sum(child.prior for child in node.children) == pytest.approx(1.0)


# -- what decides ----------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(names, st.integers(1, 80), seeds)
def test_the_same_seed_grows_the_same_tree(name, calls, seed):
    first, again = (grown(name, seed=seed, calls=calls).tree.to_json() for _ in range(2))
    assert first == again


@settings(max_examples=60, deadline=None)
@given(names, st.integers(1, 80), seeds)
def test_the_order_of_replies_does_not_matter(name, calls, seed):
    fast = grown(name, seed=seed, calls=calls).tree.to_json()
    assert grown(name, seed=seed, calls=calls, slow=True).tree.to_json() == fast


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "greedy"])
def test_another_seed_grows_another_tree(name):
    trees = [grown(name, seed=seed, calls=60).tree.to_json() for seed in range(4)]
    assert any(tree != trees[0] for tree in trees[1:])


@settings(max_examples=60, deadline=None)
@given(names, st.integers(1, 40), seeds)
def test_the_last_affordable_steps_do_not_go_to_whoever_replies_first(name, steps, seed):
    def tree(slow):
        policy, value = Sampler(), guess(noise=0.2)
        parts = (Slow(policy), Slow(value)) if slow else (policy, value)
        problem = a_problem(policy=parts[0], value=parts[1], seed=seed, env_steps=steps)
        return grow(SEARCHES[name], problem).tree.to_json()

    assert tree(slow=True) == tree(slow=False)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(TREES), seeds)
def test_rollouts_do_not_depend_on_the_order_of_replies(name, seed):
    def tree(slow):
        env, policy = (SLOW_ENV, Slow(Sampler())) if slow else (ENV, Sampler())
        problem = a_problem(
            env, policy, Rollout(n=2), seed=seed, reward_visible=True, iterations=8, calls=5000
        )
        return grow(SEARCHES[name], problem).tree.to_json()

    assert tree(slow=True) == tree(slow=False)
