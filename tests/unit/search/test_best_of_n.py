"""Best-of-N, self-consistency and the greedy policy: independent episodes."""

import pytest

from agentsearch.errors import ConfigError
from agentsearch.policies.scripted import Scripted
from agentsearch.search import choose
from agentsearch.search.best_of_n import BestOfN, SelfConsistency
from agentsearch.search.greedy import Greedy
from agentsearch.types import Proposal
from tests.toy import Letters, Sampler, a_problem, grow, guess, text_value


def answer(search, problem):
    return choose.rule(search.choose)(problem.root).state


@pytest.mark.parametrize("search", [BestOfN(n=7, batch=3), SelfConsistency(n=7, batch=3)])
def test_n_episodes_are_drawn_and_visits_count_them(search):
    problem = grow(search, a_problem(policy=Sampler()))
    ends = [node for node in problem.tree.nodes if node.terminated]
    assert sum(node.visits for node in ends) == 7
    for node in problem.tree.nodes[1:]:
        if not node.done:
            assert node.visits == sum(child.visits for child in node.children)
            assert node.visits == sum(child.proposal.count for child in node.children)


def test_samples_through_one_node_share_a_request():
    asked = []
    policy = Scripted(lambda context, n: asked.append((context.observation, n)) or "caaa"[:n])
    grow(BestOfN(n=4), a_problem(policy=policy))
    assert asked == [("", 4), ("c", 1), ("a", 3), ("cc", 1), ("ac", 1), ("aa", 2)]


def test_the_best_of_the_ends_wins():
    search = BestOfN(n=40)
    problem = grow(search, a_problem(Letters(truncate=2), Sampler(), guess(word="ba")))
    assert answer(search, problem) == "ba"


def test_only_ends_are_valued():
    judged = []
    value = text_value(lambda text: judged.append(text) or 0.0)
    grow(BestOfN(n=10), a_problem(Letters(truncate=2), Sampler(), value))
    assert judged and {len(text) for text in judged} == {2}


def test_the_most_frequent_answer_wins_without_a_value_model():
    value = text_value(lambda text: 1 / 0)
    search = SelfConsistency(n=60)
    problem = grow(search, a_problem(policy=Sampler({"a": 3.0, "b": 1.0}), value=value))
    assert answer(search, problem) == "aaa"


def test_without_n_the_budget_decides():
    problem = grow(SelfConsistency(batch=2), a_problem(policy=Sampler(), calls=30))
    assert problem.budget.usage.calls == 30
    assert sum(node.visits for node in problem.tree.nodes if node.done) == 10


def test_an_episode_that_cannot_be_read_has_no_end():
    policy = Scripted({"": [Proposal(None, ""), "a", "z"], "a": ["a"], "aa": ["a"]})
    problem = grow(SelfConsistency(n=3), a_problem(policy=policy))
    assert [node.state for node in problem.tree.nodes] == ["", "a", "aa", "aaa"]
    assert problem.tree.nodes[-1].visits == 1
    usage = problem.budget.usage
    assert (usage.parse_failures, usage.invalid_actions) == (1, 1)


def test_greedy_follows_the_likeliest_action():
    search = Greedy()
    problem = grow(search, a_problem(policy=Sampler({"a": 1.0, "c": 2.0})))
    assert answer(search, problem) == "ccc"
    assert len(problem.tree) == 4 and problem.budget.usage.calls == 3


def test_greedy_ends_where_an_action_cannot_be_carried_out():
    problem = grow(Greedy(), a_problem(policy=Scripted({"": "c", "c": "z"})))
    assert [node.state for node in problem.tree.nodes] == ["", "c"]


def test_episodes_stop_at_their_depth_and_are_valued_there():
    judged = []
    value = text_value(lambda text: judged.append(text) or 0.0)
    problem = grow(BestOfN(n=8, depth=2), a_problem(policy=Sampler(), value=value))
    assert {len(text) for text in judged} == {2}
    assert max(node.depth for node in problem.tree.nodes) == 2
    assert sum(node.visits for node in problem.tree.nodes if node.depth == 2) == 8


@pytest.mark.parametrize("search", [BestOfN, SelfConsistency])
@pytest.mark.parametrize("fields", [{"n": 0}, {"batch": 0}, {"depth": 0}])
def test_impossible_settings_are_refused(search, fields):
    with pytest.raises(ConfigError, match="must be at least 1"):
        search(**fields)
