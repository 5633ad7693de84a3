"""Snapshotted and Replayed: the same values both ways, and every step taken again is paid."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsearch.budget import Limits
from agentsearch.conformance import check_environment
from agentsearch.errors import ConfigError, EnvError
from agentsearch.protocols import Environment
from agentsearch.runner import Setup, run, solve
from agentsearch.search.best_first import BestFirst
from agentsearch.search.mcts import MCTS
from agentsearch_envs.simulators import Replayed, Seen, Snapshotted
from tests.key_door import ACTIONS, Corridor, CorridorWorld, Saving, every_action, guess

WAYS = {
    "copies": lambda: Snapshotted(CorridorWorld()),
    "snapshots": lambda: Snapshotted(CorridorWorld(Saving)),
    "replay": lambda: Replayed(CorridorWorld()),
    "replay in one": lambda: Replayed(CorridorWorld(), live=1),
}
every_way = pytest.mark.parametrize("way", WAYS)


class Keyed(Saving):
    """Says itself which of its states are equal."""

    def key(self):
        return self.at, self.key_at, self.knocks, self.random.getstate()


class Forgetful(Keyed):
    """Its snapshots lose the key."""

    def load(self, snapshot):
        super().load(snapshot)
        self.key_at = None


class Dicey(Corridor):
    """Rolls dice that no seed fixes."""

    def seen(self, words, **outcome):
        return super().seen(f"{words} {random.random()}", **outcome)


class Drifting(Corridor):
    """Shows the same, but its key is never the same again."""

    def key(self):
        return random.random()


class Locked(Corridor):
    """Holds what cannot be copied."""

    __deepcopy__ = None

    def __init__(self, counter=None):
        super().__init__(counter)
        self.lock = threading.Lock()


def start(env, index=0, seed=0):
    return asyncio.run(env.reset(env.tasks("train")[index], seed=seed))


def take(env, state, *actions):
    """The last step of several."""
    for action in actions:
        step = asyncio.run(env.step(state, action))
        state = step.state
    return step


def setup(env, search=None, **limits):
    search = search or MCTS(width=5)
    return Setup(env, every_action(), guess(), search, Limits(**limits), reward_visible=True)


def solved(env, index=0, search=None, **limits):
    limits = limits or {"calls": 1200}
    return asyncio.run(solve(env.tasks("train")[index], setup(env, search, **limits)))


# The same both ways


@settings(deadline=None)
@given(
    task=st.integers(0, 5),
    moves=st.lists(st.tuples(st.integers(0, 30), st.sampled_from([*ACTIONS, "sing"])), max_size=25),
    live=st.integers(1, 3),
)
def test_all_ways_agree_on_any_interleaving(task, moves, live):
    """Each move steps from any state reached so far, not from the last one."""
    envs = [Replayed(CorridorWorld(), live=live), *(WAYS[way]() for way in ("copies", "snapshots"))]
    reached = [[start(env, task)] for env in envs]
    for where, action in moves:
        steps = []
        for env, states in zip(envs, reached, strict=True):
            state = states[where % len(states)]
            before = (env.key(state), env.observe(state))
            steps.append(take(env, state, action))
            assert (env.key(state), env.observe(state)) == before
            states.append(steps[-1].state)
        first, *others = steps
        for other in others:
            assert other.state == first.state
            assert other.state.seen == first.state.seen
            assert (other.reward, other.terminated, other.truncated, other.valid) == (
                first.reward,
                first.terminated,
                first.truncated,
                first.valid,
            )


@every_way
def test_the_contract_of_environments_holds(way):
    env = WAYS[way]()
    assert isinstance(env, Environment)
    assert [f for f in check_environment(env, tasks=2) if not f.passed] == []


@pytest.mark.parametrize("search", [MCTS(width=5), BestFirst(width=5)], ids=["mcts", "best_first"])
def test_the_door_is_opened_with_the_same_tree_every_way(search):
    results = {way: solved(make(), 1, search) for way, make in WAYS.items()}
    assert all(result.correct for result in results.values())
    shapes = {
        way: [(n.action, n.observation, n.visits, n.value_sum, n.done) for n in result.tree.nodes]
        for way, result in results.items()
    }
    assert len(shapes["replay"]) > 50
    assert all(shape == shapes["copies"] for shape in shapes.values())
    assert {result.mismatches for result in results.values()} == {0}


@every_way
def test_searches_side_by_side_are_what_they_are_alone(way):
    def results(concurrency):
        env = WAYS[way]()
        return asyncio.run(run(setup(env, calls=60), env.tasks("train"), concurrency=concurrency))

    alone, crowd = results(1), results(6)
    assert [r.actions for r in alone] == [r.actions for r in crowd]
    assert [r.usage.replayed_steps for r in alone] == [r.usage.replayed_steps for r in crowd]
    assert all(r.status == "ok" for r in crowd)


# What it costs


def test_going_on_is_free_and_going_back_is_replayed():
    env = Replayed(CorridorWorld(), live=1)
    root = start(env)
    first = take(env, root, "knock")
    second = take(env, first.state, "left")
    assert (first.replayed, second.replayed) == (0, 0)
    assert take(env, second.state, "right").replayed == 0
    assert take(env, second.state, "take").replayed == 2  # the simulator has gone on
    assert take(env, root, "left").replayed == 0  # a reset is no step
    assert env.world.counter == {"resets": 3, "steps": 7}


def test_live_simulators_save_replays_and_the_nearest_one_is_used():
    env = Replayed(CorridorWorld(), live=2)
    root = start(env)
    deep = take(env, root, "knock", "knock", "knock").state
    assert take(env, root, "left").replayed == 0  # a second simulator
    assert take(env, deep, "left").replayed == 0  # the first one still stands there
    other = take(env, root, "right", "left")
    assert other.replayed == 0
    assert env.world.counter["resets"] == 3


def test_no_more_than_live_simulators_are_kept():
    env = Replayed(CorridorWorld(), live=2)
    root = start(env)
    for action in ACTIONS:
        state = take(env, root, action).state
    assert len(state.hold) == 2


def test_every_step_of_the_simulator_is_charged():
    env = Replayed(CorridorWorld(), live=2)
    result = solved(env, 1)
    assert result.usage.replayed_steps > 20
    assert result.usage.env_steps == env.world.counter["steps"]
    assert result.usage.env_steps > result.usage.replayed_steps


def test_replays_use_up_a_limit_of_steps():
    free, paid = (
        solved(env, 1, env_steps=60) for env in (WAYS["copies"](), WAYS["replay in one"]())
    )
    assert free.stop == paid.stop == "budget:env_steps"
    assert free.usage.replayed_steps == 0 < paid.usage.replayed_steps
    assert paid.nodes < free.nodes


def test_snapshots_cost_no_step_and_few_simulators():
    env = WAYS["snapshots"]()
    result = solved(env, 1)
    assert result.usage.replayed_steps == 0
    assert env.world.counter["steps"] == result.usage.env_steps
    assert env.world.counter["resets"] == 1
    assert len(env._idle) == 1


# Edges


@every_way
def test_an_invalid_action_changes_nothing(way):
    env = WAYS[way]()
    state = take(env, start(env), "knock").state
    step = take(env, state, "sing")
    assert not step.valid
    assert step.state is state
    assert take(env, state, "knock").state.seen.observation.split(" ")[1] == "2."


@every_way
def test_an_ended_episode_goes_no_further(way):
    env = WAYS[way]()
    end = take(env, start(env, 1), "left", "take", "right", "right", "right", "open")
    assert end.terminated and end.reward == 1.0
    assert env.legal_actions(end.state) == ()
    again = take(env, end.state, "left")
    assert (again.valid, again.terminated, again.state) == (False, True, end.state)


@every_way
def test_episodes_are_cut_at_max_steps(way):
    env = WAYS[way]()
    steps = [take(env, start(env), *["knock"] * n) for n in (11, 12)]
    assert [step.truncated for step in steps] == [False, True]


@pytest.mark.parametrize("wrapper", [Snapshotted, Replayed])
def test_a_simulator_may_say_what_is_equal(wrapper):
    env = wrapper(CorridorWorld(Keyed))
    root = start(env)
    assert take(env, root, "right", "left").state == take(env, root, "left", "right").state
    assert take(env, root, "right").state != take(env, root, "knock").state
    plain = wrapper(CorridorWorld(Saving))
    root = start(plain)
    assert take(plain, root, "right", "left").state != take(plain, root, "left", "right").state


# What is wrong is said


def test_a_nondeterministic_simulator_is_caught_and_recorded():
    env = Replayed(CorridorWorld(Dicey), live=1)
    result = solved(env)
    assert result.status == "failed"
    assert "corridor: not deterministic: task corridor/0" in result.error
    assert "observation was 'You" in result.error


def test_a_replay_to_another_key_is_caught():
    env = Replayed(CorridorWorld(Drifting), live=1)
    root = start(env)
    take(env, root, "left")
    with pytest.raises(EnvError, match="after the reset: the key is another"):
        take(env, root, "right")


def test_what_differs_is_named_even_where_the_text_is_the_same():
    class Generous(Corridor):
        def seen(self, words, **outcome):
            self.counter["paid"] = self.counter.get("paid", 0) + 1
            return Seen(words, reward=float(self.counter["paid"]), legal_actions=ACTIONS)

    env = Replayed(CorridorWorld(Generous), live=1)
    root = start(env)
    state = take(env, root, "left").state
    take(env, state, "left")
    with pytest.raises(EnvError, match=r"after the reset: reward was 1\.0, is now 4\.0"):
        take(env, state, "right")


def test_a_snapshot_that_loads_as_another_state_is_caught():
    env = Snapshotted(CorridorWorld(Forgetful))
    with pytest.raises(EnvError, match="snapshot of task corridor/0 after the reset loads as"):
        take(env, start(env), "left")


def test_a_simulator_that_cannot_be_copied_is_named():
    env = Snapshotted(CorridorWorld(Locked))
    with pytest.raises(EnvError, match=r"corridor: its simulator cannot be copied \(.*replay"):
        take(env, start(env), "left")


def test_at_least_one_live_simulator():
    with pytest.raises(ConfigError, match="live=0; at least 1"):
        Replayed(CorridorWorld(), live=0)
