"""Agent Q: the critic's ranking, selection, backup, and what a tree keeps for pairs."""

import asyncio
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import pytest

from agentsearch.budget import Budget, Limits, Metered
from agentsearch.choosers.plain import RandomChooser, ScriptedChooser
from agentsearch.choosers.prompted import PromptedChooser
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import BudgetExhausted, ConfigError
from agentsearch.journal import Journal
from agentsearch.policies.prompted import Prompted
from agentsearch.runner import Setup, solve
from agentsearch.search import choose
from agentsearch.search.agent_q import AgentQ, mixed_value, note, value_of_rank
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node, Tree
from agentsearch.types import Tokens
from agentsearch.values.plain import Rollout
from tests.toy import Letters, Sampler, a_problem, every_letter, grow, guess, node_at, text_value

# -- worked examples -------------------------------------------------------------------


def siblings(how):
    """Mean returns (.6, .2) of (4, 5) visits; the critic puts the second first."""
    tree = Tree(Node(0, "", ""))
    for mean, visits, rank in ((0.6, 4, 2), (0.2, 5, 1)):
        child = tree.add(tree.root, f"a{len(tree)}", "")
        child.visits, child.value_sum = visits, mean * visits
        note(child, rank=rank, ranked=2, critic=value_of_rank(rank, 2, how))
    return tree.root


def test_the_score_of_the_mean_return():
    search, node = AgentQ(c_exp=1.0), siblings("inverse")
    scores = [search.score(child, 9) for child in node.children]
    assert scores == pytest.approx([1.2629, 0.8051], abs=5e-5)
    assert search.select(node) is node.children[0]


def test_the_score_of_the_mixed_value():
    search, node = AgentQ(select_value="mixed", alpha=0.5), siblings("inverse")
    scores = [search.score(child, 9) for child in node.children]
    assert scores == pytest.approx([1.2129, 1.2052], abs=1e-4)  # the second is 1.20515
    assert search.select(node) is node.children[0]


def test_the_mixed_value_can_turn_the_order_of_mean_returns():
    first, second = siblings("inverse").children
    assert first.mean_value > second.mean_value
    assert mixed_value(first, 0.5) == pytest.approx(0.55)
    assert mixed_value(second, 0.5) == pytest.approx(0.60)
    assert (mixed_value(first, 1.0), mixed_value(first, 0.0)) == pytest.approx((0.6, 0.5))


@pytest.mark.parametrize(
    ("how", "values"),
    [("linear", [1.0, 0.75, 0.5, 0.25, 0.0]), ("inverse", [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5])],
)
def test_what_a_rank_is_worth(how, values):
    assert [value_of_rank(rank, 5, how) for rank in range(1, 6)] == pytest.approx(values)
    assert value_of_rank(1, 1, how) == 1.0


# -- the critic ------------------------------------------------------------------------


def preferring(order, asked=None):
    """A critic that takes the letter that stands first in `order`."""

    def script(context, options):
        if asked is not None:
            asked.append((context.observation, "".join(options)))
        return min(range(len(options)), key=lambda i: order.index(options[i]))

    return ScriptedChooser(script)


def extras(node):
    return {child.action: child.extra for child in node.children}


def test_a_ranking_asks_for_the_best_takes_it_out_and_asks_again():
    asked = []
    problem = grow(AgentQ(), a_problem(chooser=preferring("bca", asked), iterations=1))
    assert asked == [("", "abc"), ("", "ac")]  # the last needs no question
    assert extras(problem.root) == {
        "a": {"rank": 3, "ranked": 3, "critic": 0.0},
        "b": {"rank": 1, "ranked": 3, "critic": 1.0},
        "c": {"rank": 2, "ranked": 3, "critic": 0.5},
    }


def test_a_single_action_needs_no_critic():
    asked = []
    problem = a_problem(policy=every_letter("c"), chooser=preferring("c", asked), iterations=3)
    grow(AgentQ(), problem)
    assert asked == [] and extras(problem.root)["c"] == {"rank": 1, "ranked": 1, "critic": 1.0}


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_where_nothing_is_worth_more_the_critic_s_order_holds(order):
    """At first nothing speaks for any child; later the bonus is highest for the unvisited."""
    problem = a_problem(value=text_value(lambda text: 0.0), chooser=preferring(order), iterations=4)
    grow(AgentQ(), problem)
    visits = {child.action: child.visits for child in problem.root.children}
    assert [visits[letter] for letter in order] == [2, 1, 1]


def test_a_first_choice_that_pays_is_kept_until_the_bonus_outweighs_it():
    """After two visits of a mean of 1: 1 + sqrt(ln 2 / 3) = 1.48 against sqrt(ln 2) = .83."""
    value = text_value(lambda text: float(text.startswith("b")))
    problem = a_problem(value=value, chooser=preferring("bac"), iterations=3)
    grow(AgentQ(), problem)
    assert {child.action: child.visits for child in problem.root.children} == {
        "a": 0,
        "b": 3,
        "c": 0,
    }


def test_what_others_record_of_a_node_is_kept():
    problem = a_problem(iterations=1)
    asyncio.run(problem.expand(problem.root, 3))
    problem.root.children[0].extra = {"stale": "why"}
    grow(AgentQ(), problem)
    assert set(problem.root.children[0].extra) == {"stale", "rank", "ranked", "critic"}


def test_a_critic_costs_its_questions_and_chance_nothing():
    """5 simulations at 3 letters: 2 expansions, 5 values, and 2 questions a ranking."""
    by_critic = grow(AgentQ(), a_problem(chooser=preferring("abc"), iterations=4))
    by_chance = grow(AgentQ(), a_problem(chooser=RandomChooser(), iterations=4))
    assert by_chance.budget.usage.calls == 2 * 5 + 4  # 5 samples were asked for each time
    assert by_critic.budget.usage.calls == 2 * 5 + 4 + 2 * 2


def judged(reply, seed=0, **limits):
    """A search whose critic answers with `reply(request)`."""
    engine = Metered(ScriptedEngine(lambda request, i: reply(request)))
    problem = a_problem(chooser=PromptedChooser(engine), seed=seed, **limits)
    return grow(AgentQ(), problem)


def test_unreadable_choices_are_counted_and_chance_takes_their_place():
    orders = set()
    for seed in range(30):
        problem = judged(lambda request: "no idea", seed, iterations=1)
        usage = problem.budget.usage
        assert (usage.judgments, usage.fallbacks) == (2, 2)
        assert {extra["rank"] for extra in extras(problem.root).values()} == {1, 2, 3}
        orders.add(tuple(child.extra["rank"] for child in problem.root.children))
        again = judged(lambda request: "no idea", seed, iterations=1)
        assert again.tree.to_json() == problem.tree.to_json()
    assert len(orders) > 4


# -- the search ------------------------------------------------------------------------


@pytest.mark.parametrize("select_value", ["empirical", "mixed"])
@pytest.mark.parametrize("rank_to_value", ["linear", "inverse"])
def test_a_planted_solution_is_found_by_rollouts(select_value, rank_to_value):
    """Returns overrule a critic that knows nothing, since they have the larger share."""
    search = AgentQ(select_value=select_value, rank_to_value=rank_to_value, alpha=0.75)
    policy = Sampler(repeats=False)
    problem = a_problem(
        Letters(word="cab"), policy, Rollout(), reward_visible=True, calls=2000, iterations=400
    )
    grow(search, problem)
    assert choose.rule(search.choose)(problem.root).state == "cab"


def test_a_good_critic_finds_it_sooner():
    word = "cabac"

    def right(context, options):
        letter = word[len(context.observation)]
        return options.index(letter) if letter in options else 0

    def nodes(chooser):
        problem = a_problem(
            Letters(word=word), value=guess(word), chooser=chooser, reward_visible=True, calls=4000
        )
        grow(AgentQ(), problem)
        return node_at(problem, word).id

    assert nodes(ScriptedChooser(right)) < nodes(RandomChooser())


def test_a_simulation_grows_only_what_it_goes_through():
    """A node gets children when it is visited again, so that rollouts begin at once."""
    problem = grow(AgentQ(), a_problem(chooser=preferring("abc"), iterations=1))
    assert [child.visits for child in problem.root.children] == [1, 0, 0]
    assert len(problem.tree) == 4 and problem.root.value is None


def brute_force(node, discount):
    """Summed return of `node` from its own evaluations and those below it."""
    below = sum(brute_force(child, discount) for child in node.children)
    own = node.visits - sum(child.visits for child in node.children)
    return node.visits * (node.reward or 0.0) + discount * (own * (node.value or 0.0) + below)


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("visible", [False, True])
def test_backup_equals_brute_force(discount, visible):
    env = Letters(word="caba", pay={"a": 0.3, "b": -0.2})
    problem = a_problem(env, value=guess("caba", 0.3), iterations=60, reward_visible=visible)
    grow(AgentQ(discount=discount), problem)
    assert problem.root.visits == sum(child.visits for child in problem.root.children) == 60
    for node in problem.tree.nodes:
        assert node.value_sum == pytest.approx(brute_force(node, discount))
        if node.children and node is not problem.root:
            assert node.visits == 1 + sum(child.visits for child in node.children)


def test_an_end_costs_nothing_and_the_search_still_stops():
    problem = grow(AgentQ(), a_problem(Letters(word="a"), reward_visible=True, iterations=50))
    assert problem.budget.iterations == 50 and problem.root.visits == 50
    assert problem.budget.usage.calls == 5  # the root's samples; chance ranks, nobody values
    assert problem.root.child("a").mean_value == 1.0


def test_where_nothing_can_be_read_the_root_is_valued():
    policy = Prompted(Metered(ScriptedEngine(replies=["\n"])))
    problem = grow(AgentQ(), a_problem(policy=policy, iterations=2))
    assert len(problem.tree) == 1 and problem.root.visits == 2


# -- budget, journal, records ----------------------------------------------------------


def test_a_ranking_cut_by_the_budget_is_kept_and_finished_by_the_next_decision():
    """5 calls propose, the sixth puts `b` first; the rest waits for another budget."""
    asked = []
    problem = a_problem(chooser=preferring("bca", asked), calls=6)
    grow(AgentQ(), problem)
    assert problem.budget.usage.calls == 6 and asked == [("", "abc")]
    assert extras(problem.root) == {"a": None, "b": {"rank": 1}, "c": None}
    assert choose.rule("most_visited")(problem.root) in problem.root.children
    assert len(Tree.from_json(problem.tree.to_json())) == 4
    problem.budget = Budget(Limits(calls=100, iterations=1))
    grow(AgentQ(), problem)
    assert asked == [("", "abc"), ("", "ac")]
    assert {a: extra["rank"] for a, extra in extras(problem.root).items()} == {
        "a": 3,
        "b": 1,
        "c": 2,
    }
    assert problem.root.child("b").visits == 1


def test_a_child_that_comes_later_is_ranked_after_the_others_and_all_are_worth_it():
    problem = grow(AgentQ(), a_problem(Letters(letters="abcd"), iterations=1))
    before = {child: child.extra["rank"] for child in problem.root.children}
    asyncio.run(problem.step(problem.root, "d"))
    asyncio.run(AgentQ().rank(problem, problem.root))
    assert {child: child.extra["rank"] for child in before} == before
    for child in problem.root.children:
        assert child.extra["ranked"] == 4
        assert child.extra["critic"] == pytest.approx(1 - (child.extra["rank"] - 1) / 3)
    assert problem.root.child("d").extra["rank"] == 4


def a_setup(engine, **fields):
    engine = Metered(engine)
    return Setup(
        env=Letters(word="caba"),
        policy=Prompted(engine),
        value=Rollout(),
        chooser=PromptedChooser(engine),
        search=AgentQ(width=3),
        limits=Limits(calls=60),
        reward_visible=True,
        **fields,
    )


@dataclass(frozen=True)
class Written(ScriptedEngine):
    """Replies that carry token ids, as an engine that can be trained on gives them."""

    async def generate(self, request):
        found = await super().generate(request)
        return [
            replace(each, tokens=Tokens((1, 2), (ord(each.text[-1]), 0), (-0.5, -i), (True, True)))
            for i, each in enumerate(found)
        ]


def letters_and_numbers(asked):
    def reply(request, i):
        asked.append(request)
        choosing = "Which action is best?" in request.messages[-1].content
        return "1" if choosing else "abc"[derive_seed(request.seed, i) % 3]

    return reply


@pytest.mark.parametrize("mode", ["plan", "act"])
def test_a_resumed_search_asks_nothing_again(tmp_path, mode):
    asked, results = [], []
    setup = a_setup(ScriptedEngine(letters_and_numbers(asked)), mode=mode)
    task = setup.env.tasks("train")[0]
    for _ in range(2):
        with closing(Journal(tmp_path / "journal")) as journal:
            results.append(asyncio.run(solve(task, setup, journal)))
        counts = len(asked)
    first, again = results
    assert first.usage.judgments > 4 and first.tree.to_json() == again.tree.to_json()
    assert replace(first.usage, seconds=0) == replace(again.usage, seconds=0)
    with closing(Journal(tmp_path / "new")) as journal:
        asyncio.run(solve(task, setup, journal))
    assert len(asked) == 2 * counts  # that is what asking again would look like


def test_every_node_keeps_the_behaviour_log_probabilities_of_its_first_sample():
    setup = a_setup(Written(letters_and_numbers([])))
    result = asyncio.run(solve(setup.env.tasks("train")[0], setup))
    merged = 0
    for node in result.tree.nodes[1:]:
        proposal = node.proposal
        assert proposal.tokens.ids == (ord(node.action), 0) and proposal.tokens.sampled
        assert len(proposal.duplicates) == proposal.count - 1
        assert all(proposal.tokens.logprob > each.logprob for each in proposal.duplicates)
        merged += len(proposal.duplicates)
    assert merged > 5


def test_a_search_cut_anywhere_leaves_a_tree_to_answer_from():
    for calls in range(1, 60):
        problem = a_problem(chooser=preferring("bca"), calls=calls)
        with suppress(BudgetExhausted):
            grow(AgentQ(), problem)
        assert problem.budget.usage.calls <= calls and problem.budget.reserved_calls == 0
        for node in problem.tree.nodes:
            ranked = [child for child in node.children if child.visits]
            assert all("critic" in child.extra for child in ranked)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"width": 0}, "width=0"),
        ({"c_exp": -1.0}, "c_exp=-1.0"),
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"discount": 0.0}, "discount=0.0"),
    ],
)
def test_impossible_settings_are_refused(fields, named):
    with pytest.raises(ConfigError, match=f"^search.{named}: must"):
        AgentQ(**fields)
