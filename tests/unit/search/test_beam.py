"""Beam search: what survives a level."""

from dataclasses import replace

import pytest

from agentsearch.errors import ConfigError
from agentsearch.policies.scripted import Scripted
from agentsearch.search import choose
from agentsearch.search.beam import Beam
from tests.toy import Letters, a_problem, grow, guess, text_value


def expanded(problem):
    return [node.state for node in problem.tree.nodes if node.children]


def test_the_best_of_each_level_survive():
    worth = {"a": 0.1, "b": 0.9, "c": 0.5, "ba": 0.2, "bb": 0.3, "ca": 0.8}
    problem = a_problem(value=text_value(lambda text: worth.get(text, 0.0)))
    grow(Beam(beam_width=2, width=3), problem)
    assert expanded(problem) == ["", "b", "c", "bb", "ca"]
    assert len(problem.tree) == 1 + 3 + 6 + 6


def test_a_discount_counts_the_steps_to_an_ended_node():
    class Early(Letters):
        async def step(self, state, action):
            return replace(await super().step(state, action), truncated=state + action == "b")

    worth = {"a": 0.2, "b": 0.5, "aa": 0.52}
    value = text_value(lambda text: worth.get(text, 0.0))

    def first(discount):
        problem = grow(Beam(beam_width=2, width=3, depth=2, discount=discount),
                       a_problem(Early(), value=value))  # fmt: skip
        return choose.rule("best_value", False, discount)(problem.root).state

    assert (first(1.0), first(0.9)) == ("aa", "b")


def test_ties_go_to_the_earlier():
    problem = grow(Beam(beam_width=2, width=3), a_problem(value=text_value(lambda text: 0.5)))
    assert expanded(problem) == ["", "a", "b", "aa", "ab"]


def test_rewards_on_the_way_count_where_they_are_seen():
    env = Letters(word="aaa", pay={"b": 0.7})
    seen = a_problem(env, value=text_value(lambda text: 0.5), reward_visible=True)
    hidden = a_problem(env, value=text_value(lambda text: 0.5))
    assert expanded(grow(Beam(beam_width=1, width=3), seen)) == ["", "b", "bb"]
    assert expanded(grow(Beam(beam_width=1, width=3), hidden)) == ["", "a", "aa"]


def test_an_ended_node_keeps_its_place():
    class Early(Letters):
        async def step(self, state, action):
            return replace(await super().step(state, action), truncated=state + action == "b")

    worth = {"a": 0.2, "b": 0.9, "aa": 0.3, "ab": 0.4}
    problem = a_problem(Early(), value=text_value(lambda text: worth.get(text, 0.0)))
    grow(Beam(beam_width=2, width=3), problem)
    assert expanded(problem) == ["", "a", "ab"]  # beside "b" there is room for one
    assert choose.best_value(problem.root).terminated


def test_the_search_ends_when_all_beams_have():
    problem = grow(Beam(beam_width=2, width=3), a_problem(value=guess(), reward_visible=True))
    assert problem.budget.iterations == 4  # three levels, and one look
    assert choose.best_value(problem.root).state == "cab"


def test_depth_limits_the_levels():
    problem = grow(Beam(beam_width=9, width=3, depth=2), a_problem())
    assert max(node.depth for node in problem.tree.nodes) == 2


def test_a_beam_without_candidates_ends():
    problem = grow(Beam(), a_problem(policy=Scripted({"": "a"}), value=guess()))
    assert [node.state for node in problem.tree.nodes] == ["", "a"]


@pytest.mark.parametrize("field", ["beam_width", "width", "depth"])
def test_impossible_settings_are_refused(field):
    with pytest.raises(ConfigError, match=f"^search.{field}=0: must be at least 1"):
        Beam(**{field: 0})
