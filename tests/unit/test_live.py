"""Replayed and Snapshotted: the same values both ways, every step taken again is paid, and
what is not the same a second time is stale."""

from __future__ import annotations

import asyncio
import copy
import pickle
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsearch.budget import Limits
from agentsearch.conformance import check_environment
from agentsearch.errors import ConfigError
from agentsearch.live import Replayed, SnapshotGone, Snapshotted
from agentsearch.protocols import Environment
from agentsearch.runner import Setup, run, solve
from agentsearch.search.best_first import BestFirst
from agentsearch.search.mcts import MCTS
from agentsearch.values.plain import Rollout
from tests.key_door import ACTIONS, Corridor, CorridorWorld, Saving, Walk, every_action, guess


class Keyed(Corridor):
    """Says itself which of its states are equal."""

    def seen(self, words, **outcome):
        key = self.at, self.key_at, self.knocks, self.random.getstate()
        return super().seen(words, key=key, **outcome)


class Dicey(Corridor):
    """Rolls dice that no seed fixes, from the first step on."""

    def seen(self, words, **outcome):
        dice = "" if words == "You wake up." else f" {random.random()}"
        return super().seen(words + dice, **outcome)


class Drifting(Corridor):
    """Shows the same, but the future of place 0 is never the same again."""

    def seen(self, words, **outcome):
        return super().seen(words, key=random.random() if self.at == 0 else self.at, **outcome)


class Waiting(Walk):
    """Gives way in the middle of everything, and sees to it that it has one user only."""

    inside = False

    async def reset(self, task, *, seed):
        return await self.alone(super().reset(task, seed=seed))

    async def step(self, action):
        return await self.alone(super().step(action))

    async def alone(self, work):
        assert not self.inside
        self.inside = True
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        seen = await work
        self.inside = False
        return seen


class WaitingSaving(Waiting, Saving):
    """The same with snapshots."""


class Mortal(Walk):
    """Dies at the steps whose numbers are listed, counted over all sessions."""

    dies_at = ()

    async def step(self, action):
        assert not getattr(self, "dead", False), "a dead session is used again"
        seen = await super().step(action)
        if self.corridor.counter["steps"] in self.dies_at:
            self.dead = True
            raise ConnectionError("the browser has gone")
        return seen


def waiting(**fields):
    return CorridorWorld(Waiting, instant=False, **fields)


WAYS = {
    "snapshots": lambda: Snapshotted(CorridorWorld(Saving)),
    "few snapshots": lambda: Snapshotted(CorridorWorld(Saving), snapshots=3),
    "no snapshots": lambda: Snapshotted(CorridorWorld()),
    "replay": lambda: Replayed(CorridorWorld()),
    "replay in one": lambda: Replayed(CorridorWorld(), sessions=1),
    "replay, waiting": lambda: Replayed(waiting(), sessions=3),
    "snapshots, waiting": lambda: Snapshotted(
        CorridorWorld(WaitingSaving, instant=False), sessions=3
    ),
}
every_way = pytest.mark.parametrize("way", WAYS)


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


def solved(env, index=1, search=None, **limits):
    limits = limits or {"calls": 200}
    return asyncio.run(solve(env.tasks("train")[index], setup(env, search, **limits)))


def outcome(step):
    return step.reward, step.terminated, step.truncated, step.valid


# The same both ways


@settings(deadline=None, max_examples=30)
@given(
    task=st.integers(0, 5),
    moves=st.lists(st.tuples(st.integers(0, 30), st.sampled_from([*ACTIONS, "sing"])), max_size=25),
    live=st.integers(1, 3),
    kept=st.integers(1, 4),
)
def test_all_ways_agree_on_any_interleaving(task, moves, live, kept):
    """Each move steps from any state reached so far, not from the last one."""
    envs = [
        Snapshotted(CorridorWorld(Saving)),
        Snapshotted(CorridorWorld(Saving), snapshots=kept),
        Replayed(CorridorWorld(), live=live),
        Replayed(CorridorWorld(), sessions=live),
    ]
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
        assert first.stale == ""
        for other in others:
            assert other.state == first.state
            assert other.state.seen == first.state.seen
            assert (outcome(other), other.stale) == (outcome(first), "")


@every_way
def test_the_contract_of_environments_holds(way):
    env = WAYS[way]()
    assert isinstance(env, Environment)
    assert [f for f in check_environment(env, tasks=1) if not f.passed] == []


@pytest.mark.parametrize("search", [MCTS(width=5), BestFirst(width=5)], ids=["mcts", "best_first"])
def test_the_same_tree_is_grown_every_way(search):
    results = {way: solved(make(), 1, search) for way, make in WAYS.items()}
    if isinstance(search, BestFirst):
        assert all(result.correct for result in results.values())
    shapes = {
        way: [(n.action, n.observation, n.visits, n.value_sum, n.done) for n in result.tree.nodes]
        for way, result in results.items()
    }
    assert len(shapes["replay"]) > 50
    assert all(shape == shapes["snapshots"] for shape in shapes.values())
    assert {(r.mismatches, r.usage.stale) for r in results.values()} == {(0, 0)}


@pytest.mark.parametrize("way", ["snapshots", "few snapshots", "replay"])
def test_searches_side_by_side_cost_what_they_cost_alone(way):
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
    assert take(env, second.state, "take").replayed == 2  # the session has gone on
    assert take(env, root, "left").replayed == 0  # a reset is no step
    assert env.world.counter == {"opened": 1, "resets": 3, "steps": 7}


def test_live_sessions_save_replays_and_the_nearest_one_is_used():
    env = Replayed(CorridorWorld(), live=2)
    root = start(env)
    deep = take(env, root, "knock", "knock", "knock").state
    assert take(env, root, "left").replayed == 0  # a second session
    assert take(env, deep, "left").replayed == 0  # the first one still stands there
    assert take(env, root, "right", "left").replayed == 0
    assert env.world.counter["resets"] == 3


def test_an_episode_keeps_no_more_than_live_sessions():
    env = Replayed(CorridorWorld(), live=2)
    root = start(env)
    for action in ACTIONS:
        take(env, root, action)
    assert env.world.counter["opened"] == 2


def test_the_least_recently_used_session_is_brought_back():
    env = Replayed(CorridorWorld(), sessions=2)
    root = start(env)
    deep = take(env, root, "knock", "knock").state
    take(env, root, "left")
    deeper = take(env, deep, "knock").state  # used last
    take(env, root, "right")
    assert take(env, deeper, "left").replayed == 0
    assert env.world.counter == {"opened": 2, "resets": 3, "steps": 6}


def test_an_episode_that_nobody_holds_leaves_its_sessions_to_others():
    env = Replayed(CorridorWorld())
    for index in range(6):
        take(env, start(env, index), "left")  # no state is kept
    assert env.world.counter["opened"] == 1


def test_where_a_session_stood_in_another_episode_means_nothing():
    crowded, alone = Replayed(CorridorWorld(), sessions=1), Replayed(CorridorWorld())
    roots = [start(crowded, index) for index in range(6)]
    for index, root in enumerate(roots):
        start(crowded, (index + 1) % 6)  # there the session stands after a reset, too
        step, expected = take(crowded, root, "left"), take(alone, start(alone, index), "left")
        assert (step.stale, step.state.seen) == ("", expected.state.seen)


def test_every_step_of_the_sessions_is_charged():
    env = Replayed(CorridorWorld(), live=2)
    result = solved(env, 1)
    assert result.usage.replayed_steps > 20
    assert result.usage.env_steps == env.world.counter["steps"]
    assert result.usage.env_steps > result.usage.replayed_steps


def test_replays_use_up_a_limit_of_steps():
    free, paid = (
        solved(env, 1, env_steps=60) for env in (WAYS["snapshots"](), WAYS["replay in one"]())
    )
    assert free.stop == paid.stop == "budget:env_steps"
    assert free.usage.replayed_steps == 0 < paid.usage.replayed_steps
    assert paid.nodes < free.nodes


def test_snapshots_cost_no_step_and_one_session():
    env = WAYS["snapshots"]()
    result = solved(env, 1)
    assert result.usage.replayed_steps == 0
    assert env.world.counter == {"opened": 1, "resets": 1, "steps": result.usage.env_steps}


def test_the_least_recently_used_snapshot_is_dropped_and_replayed_from_the_nearest():
    env = Snapshotted(CorridorWorld(Saving), snapshots=2)
    root = start(env)
    one = take(env, root, "knock").state
    two = take(env, one, "knock").state  # root is dropped
    three = take(env, two, "knock").state  # one is dropped
    assert set(root.episode.snapshots) == {two.actions, three.actions}
    assert take(env, two, "left").replayed == 0  # three is dropped
    assert take(env, three, "left").replayed == 1  # from two
    assert take(env, three, "right").replayed == 0  # which was kept again
    assert take(env, one, "left").replayed == 1  # from the reset
    assert env.world.counter["resets"] == 2


def test_a_snapshot_that_the_world_has_dropped_is_replayed():
    class Forgetting(Saving):
        async def restore(self, snapshot):
            raise SnapshotGone

    env = Snapshotted(CorridorWorld(Forgetting))
    two = take(env, start(env), "knock", "left").state
    take(env, two, "left")
    step = take(env, two, "right")
    assert (step.valid, step.replayed, step.stale) == (True, 2, "")


# A pool of sessions


@pytest.mark.parametrize("way", ["replay, waiting", "snapshots, waiting"])
def test_states_wait_for_sessions_and_never_share_one(way):
    env = WAYS[way]()
    results = asyncio.run(run(setup(env, calls=100), env.tasks("train"), concurrency=6))
    assert [r.error for r in results] == [""] * 6
    assert env.world.counter["opened"] == 3
    steps = sum(result.usage.env_steps for result in results)
    assert env.world.counter["steps"] == steps


def test_states_of_one_tree_use_several_sessions_at_once():
    at_work = Counter()

    class Watched(Waiting):
        async def alone(self, work):
            at_work["now"] += 1
            at_work["most"] = max(at_work["most"], at_work["now"])
            seen = await super().alone(work)
            at_work["now"] -= 1
            return seen

    env = Replayed(CorridorWorld(Watched, instant=False), sessions=3)
    assert solved(env, 1, calls=300).status == "ok"
    assert at_work["most"] == 3


def test_a_step_that_is_given_up_closes_its_session():
    env = Replayed(waiting(), sessions=1)

    async def give_up():
        state = await env.reset(env.tasks("train")[0], seed=0)
        hung = asyncio.Event()
        env._pool[0].session.step = lambda action: hung.wait()
        step, behind = (asyncio.create_task(env.step(state, "left")) for _ in range(2))
        await asyncio.sleep(0)
        step.cancel()
        return await asyncio.gather(step, behind, return_exceptions=True)

    cancelled, went_on = asyncio.run(give_up())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert went_on.valid
    assert (env.world.counter["opened"], env.world.counter["closed"]) == (2, 1)


@every_way
def test_all_sessions_are_closed_at_the_end_and_new_ones_opened_after(way):
    env = WAYS[way]()
    state = take(env, start(env), "knock").state
    take(env, state, "left")
    asyncio.run(env.close())
    counter = env.world.counter
    assert counter["opened"] == counter["closed"] > 0
    assert take(env, state, "left").valid
    asyncio.run(env.close())
    assert counter["opened"] == counter["closed"]


# Sessions that die


def mortal(*steps):
    kind = type("Dying", (Mortal,), {"dies_at": steps})
    return CorridorWorld(kind)


def test_a_session_that_dies_in_mid_replay_is_replaced_and_its_steps_are_charged():
    env = Replayed(mortal(5), sessions=1)
    root = start(env)
    two = take(env, root, "knock", "knock").state
    take(env, two, "left")
    step = take(env, two, "right")  # steps 4 and 5, which dies, then 6, 7 and the action
    assert (step.valid, step.replayed) == (True, 4)
    assert env.observe(step.state) == "You walk. Place 2: dust."
    assert env.world.counter == {"opened": 2, "closed": 1, "resets": 3, "steps": 8}


def test_a_session_that_dies_twice_fails_the_task_and_every_step_is_counted():
    env = Replayed(mortal(5, 6), sessions=1)
    two = take(env, start(env), "knock", "knock").state
    take(env, two, "left")
    with pytest.raises(ConnectionError, match="the browser has gone"):
        take(env, two, "right")
    assert env.world.counter["closed"] == env.world.counter["opened"] == 2
    assert take(env, two, "right").valid  # with yet another


def test_searches_go_on_where_sessions_die():
    healthy, dying = (solved(Replayed(world), 1) for world in (CorridorWorld(), mortal(7, 50, 100)))
    assert dying.status == "ok"
    assert dying.actions == healthy.actions
    assert dying.nodes == healthy.nodes
    assert dying.usage.env_steps > healthy.usage.env_steps


def test_a_session_that_cannot_even_close_is_left_behind():
    class Stuck(Mortal):
        dies_at = (1,)

        async def close(self):
            raise OSError("already gone")

    env = Replayed(CorridorWorld(Stuck))
    assert take(env, start(env), "left").valid
    asyncio.run(env.close())


# What is not the same a second time


def test_a_replay_that_shows_something_else_is_stale():
    env = Replayed(CorridorWorld(Walk, Dicey), live=1)
    root = start(env)
    two = take(env, root, "knock", "left").state
    take(env, two, "left")
    step = take(env, two, "right")
    assert (step.state, step.valid, step.truncated, step.replayed) == (two, False, True, 1)
    assert step.stale.startswith(
        "corridor: task corridor/0, seed 0, after knock: observation was 'Thump 1. 0."
    )
    before = dict(env.world.counter)
    again = take(env, two, "right")
    assert (again.stale, again.replayed) == (step.stale, 0)  # nobody is sent there again
    assert dict(env.world.counter) == before
    assert take(env, root, "left").valid  # what lies before it is as it was


def test_a_stale_state_goes_on_where_a_session_stands_in_it():
    env = Replayed(CorridorWorld(Walk, Dicey), live=2)
    root = start(env)
    one = take(env, root, "knock").state
    two = take(env, one, "knock").state
    assert take(env, one, "left").stale
    assert take(env, two, "left").valid


def test_the_key_tells_what_the_text_does_not():
    env = Replayed(CorridorWorld(Walk, Drifting), live=1)
    left = take(env, start(env), "left").state
    take(env, left, "right")
    assert "after left: key was 0." in take(env, left, "knock").stale


def test_what_differs_is_named_even_where_the_text_is_the_same():
    class Generous(Corridor):
        def seen(self, words, **outcome):
            self.counter["paid"] += 1
            return replace(super().seen(words), reward=float(self.counter["paid"]))

    env = Replayed(CorridorWorld(Walk, Generous), live=1)
    root = start(env)
    take(env, root, "left")
    assert "after the reset: reward was 1.0, is now 3.0" in take(env, root, "right").stale


def test_a_snapshot_that_restores_another_state_is_stale():
    class Forgetful(Saving):
        async def restore(self, snapshot):
            seen = await super().restore(snapshot)
            return replace(seen, key=None)

    env = Snapshotted(CorridorWorld(Forgetful, Keyed))
    root = start(env)
    take(env, root, "left")
    step = take(env, root, "right")
    assert (step.valid, step.replayed) == (False, 0)
    assert "after the reset: key was (1, " in step.stale
    assert take(env, root, "right").stale == step.stale


def test_stale_branches_are_marked_counted_and_dropped():
    env = Replayed(CorridorWorld(Walk, Dicey), live=1)
    result = solved(env, calls=60)
    stale = [node for node in result.tree.nodes if (node.extra or {}).get("stale")]
    assert len(stale) > 1 and all("observation was" in node.extra["stale"] for node in stale)
    assert result.usage.stale == len(stale)
    assert result.usage.invalid_actions == 0
    assert not set(stale) & set(result.tree.root.descendants())
    assert result.usage.env_steps == env.world.counter["steps"]
    assert (result.status, result.mismatches) == ("ok", len(result.actions))


def test_nobody_is_asked_again_about_a_stale_root():
    class Restless(Dicey):
        def seen(self, words, **outcome):
            return super().seen("You get up." if words == "You wake up." else words, **outcome)

    result = solved(Replayed(CorridorWorld(Walk, Restless), live=1), calls=60)
    assert "after the reset: " in result.tree.root.extra["stale"]
    assert (result.status, result.correct, result.usage.stale) == ("ok", False, 2)
    assert result.usage.calls < 20  # of 60: the root and its first child, once each


def test_a_rollout_meets_stale_states_too():
    env = Replayed(CorridorWorld(Walk, Dicey), live=1)
    plain = setup(env, calls=60)
    rolled = replace(plain, value=Rollout(depth=2))
    result = asyncio.run(solve(env.tasks("train")[1], rolled))
    assert result.usage.stale > 1
    assert result.usage.invalid_actions == 0


def test_an_episode_that_cannot_go_on_fails_and_says_what_had_changed():
    env = Replayed(CorridorWorld(Walk, Dicey), live=1)
    acting = replace(setup(env, calls=7), mode="act")  # one expansion a decision
    result = asyncio.run(solve(env.tasks("train")[1], acting))
    assert result.status == "failed"
    assert result.error.startswith("EnvError: There is no way back to carry out '")
    assert "task corridor/1" in result.error and ": observation was " in result.error
    assert result.usage.env_steps == env.world.counter["steps"]


# Edges


@every_way
def test_an_invalid_action_changes_nothing(way):
    env = WAYS[way]()
    state = take(env, start(env), "knock").state
    step = take(env, state, "sing")
    assert (step.valid, step.replayed, step.stale) == (False, 0, "")
    assert step.state is state
    knocked = take(env, state, "knock")
    assert knocked.replayed == 0
    assert knocked.state.seen.observation.split(" ")[1] == "2."


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
def test_a_session_may_say_what_is_equal(wrapper):
    env = wrapper(CorridorWorld(Saving, Keyed))
    root = start(env)
    assert take(env, root, "right", "left").state == take(env, root, "left", "right").state
    assert take(env, root, "right").state != take(env, root, "knock").state
    other = start(env, 1)
    assert root.seen.key[:3] != other.seen.key[:3] or env.key(root) != env.key(other)
    plain = wrapper(CorridorWorld(Saving))
    root = start(plain)
    assert take(plain, root, "right", "left").state != take(plain, root, "left", "right").state


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copied_state_is_equal_and_goes_on_by_replay(copied):
    env = Snapshotted(CorridorWorld(Saving))
    state = take(env, start(env), "knock").state
    twin = copied(state)
    assert twin == state and twin.episode.snapshots == {}
    assert take(env, twin, "left").state == take(env, state, "left").state
    assert take(env, copied(state), "left").replayed == 1


def test_what_needs_no_session_comes_from_the_world():
    class Talking(CorridorWorld):
        answers = True

        def rule(self, context, rng):
            return "open"

    env = Replayed(Talking())
    assert env.rule(None, random.Random(0)) == "open"
    state = start(env)
    state = replace(state, seen=replace(state.seen, answer="42"))
    assert env.answer(state) == "42"
    for name in ("answer", "rule", "rules", "suggestions", "oracle", "picture", "nothing"):
        assert not hasattr(Replayed(CorridorWorld()), name)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Replayed(CorridorWorld(), live=0), "live=0: .* at least 1 session"),
        (lambda: Replayed(CorridorWorld(), sessions=0), "sessions=0: at least 1 session"),
        (lambda: Snapshotted(CorridorWorld(), snapshots=0), "snapshots=0: .* use Replayed"),
    ],
)
def test_an_empty_pool_is_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
