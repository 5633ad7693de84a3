"""BabyAI-Text under hostile text and random play."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("minigrid", reason="needs minigrid: pip install 'agentsearch[envs]'")

from hypothesis import given, settings
from hypothesis import strategies as st

from agentsearch.types import Step, Trajectory, Turn
from agentsearch_envs import babyai_text as text
from agentsearch_envs import babyai_world as w
from agentsearch_envs.babyai_text import BabyAIText

ENV = BabyAIText()
TASKS = ENV.tasks("train")[:5]
ACTION_LIKE = st.one_of(
    st.sampled_from(w.ACTIONS).flatmap(
        lambda action: st.sampled_from(
            (action, action.upper(), f" {action}\n", f"{action}!", action[:-1], action * 2)
        )
    ),
    st.sampled_from(("\x00", "__class__", "{}", "%s", "6", "-1", "go\nforward", "ｄｒｏｐ")),
    st.text(),
)
tasks = st.sampled_from(TASKS)
plays = st.lists(st.integers(0, 5), max_size=40)


@settings(deadline=None, max_examples=150)
@given(tasks, st.lists(ACTION_LIKE, max_size=12))
def test_any_text_is_one_of_six_actions_or_changes_nothing(task, written):
    state = text.first_state(task)
    for each in written:
        step = asyncio.run(ENV.step(state, each))
        if each.strip().lower() in w.ACTIONS and not state.ended:
            assert step.valid and step.state.steps == state.steps + 1
        else:
            assert not step.valid and step.state is state and step.reward == 0.0
        assert not (step.terminated and step.truncated)
        state = step.state
    turns = tuple(Turn("", each) for each in written)
    path = Trajectory(task.id, turns, terminated=False, truncated=False)
    verdict = asyncio.run(ENV.verifier.verify(task, path, None))
    assert verdict.correct == (state.ended == w.SUCCESS)


@settings(deadline=None, max_examples=100)
@given(tasks, plays)
def test_states_stay_whole_under_random_play(task, actions):
    first = state = text.first_state(task)
    for action in actions:
        before, copied = state, w.State(*state)
        step = asyncio.run(ENV.step(state, w.ACTIONS[action]))
        assert before == copied and hash(before) == hash(copied)
        if state.ended:
            assert step == Step(
                state,
                terminated=state.ended != w.TRUNCATED,
                truncated=state.ended == w.TRUNCATED,
                valid=False,
            )
            break
        state = step.state
        assert step.terminated == (state.ended in (w.SUCCESS, w.FAILURE))
        assert (step.reward > 0) == (state.ended == w.SUCCESS)
        assert len(state.cells) == len(state.known) == state.world.width * state.world.height
        assert state.cells[state.place] in state.world.passable
        assert state.carrying == w.EMPTY or state.carrying not in state.cells
        assert [code == w.WALL for code in state.cells] == [c == w.WALL for c in first.cells]
        assert all(line.startswith(("You see a ", "You carry a ")) for line in w.describe(state))
