"""A search over an environment on a real server on loopback is the search over it directly."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from agentsearch.budget import Limits
from agentsearch.config import Builder, load_recipe
from agentsearch.conformance import check_environment
from agentsearch.errors import ConfigError, EnvError
from agentsearch.policies.scripted import Random, Rule, Scripted
from agentsearch.protocols import Environment
from agentsearch.runner import Setup, run
from agentsearch.search.best_of_n import SelfConsistency
from agentsearch.search.mcts import MCTS
from agentsearch.types import Trajectory, Turn, Verdict
from agentsearch.values.plain import ScriptedValue
from agentsearch_envs.game24 import Game24
from agentsearch_envs.play import serving
from tests.corridor import Corridor
from tests.small_shop import SmallWebShop
from tests.toy import LETTERS, Letters, every_letter, guess

pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'agentsearch[envs]'")
httpx = pytest.importorskip("httpx", reason="needs httpx: pip install 'agentsearch[envs]'")
http_api = pytest.importorskip("agentsearch_envs.http_api", reason="needs starlette")
from agentsearch_envs.over_http import OverHTTP  # noqa: E402

CLASS = "agentsearch_envs.over_http:OverHTTP"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@dataclass
class Counted:
    """An ASGI application whose calls are counted by path."""

    app: object
    calls: Counter = field(default_factory=Counter)

    async def __call__(self, scope, receive, send):
        self.calls[scope.get("path", "")] += 1
        await self.app(scope, receive, send)


@contextmanager
def served(env, port=0, **limits):
    """The calls that a server got, and its address."""
    app = Counted(http_api.application(env, **limits))
    with serving(app, port=port) as address:
        yield app.calls, address


def sessions_at(address):
    return httpx.get(f"{address}/health", trust_env=False).json()["sessions"]


async def searched(env, setup, tasks, concurrency=3):
    """Results of a run; then the environment is closed where it can be."""
    try:
        return await run(setup, tasks, concurrency=concurrency)
    finally:
        if hasattr(env, "close"):
            await env.close()


def results_of(env, policy, split, count, search=None, value=None, calls=40, **fields):
    setup = Setup(
        env,
        policy,
        value or ScriptedValue(lambda context: len(context.observation) % 7 / 7),
        search or MCTS(width=4),
        Limits(calls=calls),
        **fields,
    )
    return asyncio.run(searched(env, setup, env.tasks(split)[:count]))


def told(result):
    """All of a result but how long it took and what it took to go back."""
    line, tree = result.to_dict(), result.tree.to_json()
    for name in ("seconds", "env_steps", "replayed_steps"):
        del line["usage"][name]
    for node in tree["nodes"]:
        if node.get("cost"):
            del node["cost"]["seconds"]
    return line, tree


def start(env, split="train", index=0, seed=0):
    return env.reset(env.tasks(split)[index], seed=seed)


async def take(env, state, *actions):
    """The last step of several."""
    for action in actions:
        step = await env.step(state, action)
        state = step.state
    return step


# -- the same search -------------------------------------------------------------------


def words(context, n):
    """Searches, then clicks what comes first, and now and then says what is no action."""
    legal = context.legal_actions
    return ("search[shirt]", "fly away", "search[lamp]") if legal is None else legal[::2]


POLICIES = {
    "scripted": lambda shop: Scripted(words),
    "random": Random,
    "rule": Rule,
    "plain": lambda shop: Rule(shop, "plain"),
}


@pytest.mark.parametrize("mode", ["plan", "act"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_search_over_a_shop_on_a_server_is_the_search_over_the_shop(policy, mode):
    shop = SmallWebShop(max_steps=8)
    asked = {"policy": POLICIES[policy](shop), "split": "test", "count": 3, "mode": mode}
    asked["calls"] = 60 if mode == "plan" else 10
    here = results_of(shop, **asked)
    with served(shop) as (calls, address):
        far = OverHTTP(url=address)
        assert replace(far.spec, instant=True) == shop.spec
        there = results_of(far, **asked)
        assert sessions_at(address) == 0
    assert list(map(told, there)) == list(map(told, here))
    assert [r.usage.env_steps for r in there] == [r.usage.env_steps for r in here]
    assert sum(result.usage.env_steps for result in there) == calls["/step"]
    assert calls["/verify"] >= 3 and calls["/create"] == calls["/close"] > 1
    if policy == "rule":
        assert sum(result.correct for result in here) >= 2
    if policy == "scripted":
        assert sum(result.usage.invalid_actions for result in there) > 0
    assert all(result.status == "ok" and len(result.tree) > 3 for result in there)


def test_rewards_answers_and_cycles_come_over_too():
    env = Corridor(start=1)
    moves = Scripted(lambda context, n: ("left", "right", "stay"))
    asked = {"policy": moves, "split": "train", "count": 2, "cycles": "prune"}
    asked["reward_visible"] = True
    here = results_of(env, **asked)
    with served(env) as (_, address):
        there = results_of(OverHTTP(url=address), **asked)
        assert not hasattr(OverHTTP(url=address), "answer")
    for result in (*here, *there):
        for node in result.tree.nodes:
            (node.extra or {}).pop("picture", None)  # not over HTTP
            node.extra = node.extra or None
    assert list(map(told, there)) == list(map(told, here))
    assert here[0].cycles > 0 and here[0].score > 0
    votes = {"policy": every_letter(), "split": "dev", "count": 2, "search": SelfConsistency(n=5)}
    here = results_of(Letters(), **votes)
    with served(Letters()) as (_, address):
        there = results_of(OverHTTP(url=address), **votes)
    assert [r.answer for r in there] == [r.answer for r in here] != ["", ""]
    assert list(map(told, there)) == list(map(told, here))


@pytest.mark.parametrize("snapshots", [1, 3])
def test_dropped_snapshots_are_replayed_and_charged(snapshots):
    asked = {"policy": every_letter(LETTERS), "split": "train", "count": 2, "value": guess()}
    here = results_of(Letters(), **asked)
    with served(Letters()) as (calls, address):
        there = results_of(OverHTTP(url=address, snapshots=snapshots), **asked)
    assert list(map(told, there)) == list(map(told, here))
    for near, far in zip(here, there, strict=True):
        again = far.usage.replayed_steps
        assert again > 0
        assert far.usage.env_steps == near.usage.env_steps + again
    assert sum(result.usage.env_steps for result in there) == calls["/step"]


def test_a_server_that_drops_snapshots_costs_replays_and_nothing_else():
    asked = {"policy": every_letter(LETTERS), "split": "train", "count": 2, "value": guess()}
    here = results_of(Letters(), **asked)
    with served(Letters(), max_snapshots=1) as (_, address):
        there = results_of(OverHTTP(url=address), **asked)
    assert list(map(told, there)) == list(map(told, here))
    assert all(result.usage.replayed_steps > 0 for result in there)


# -- the contract ----------------------------------------------------------------------


@pytest.mark.parametrize("env", [Letters(), Game24()], ids=lambda e: e.spec.id)
def test_the_contract_of_environments_holds(env):
    with served(env) as (_, address):
        far = OverHTTP(url=address)
        assert isinstance(far, Environment)
        assert [f for f in check_environment(far, tasks=1) if not f.passed] == []
        assert sessions_at(address) == 0


def test_tasks_are_those_of_the_server_and_are_asked_for_as_far_as_they_are_wanted():
    env = Game24()
    with served(env) as (calls, address):
        far = OverHTTP(url=address)
        for split in ("train", "dev", "test"):
            assert len(far.tasks(split)) == len(env.tasks(split))
        tasks, known = far.tasks("train"), env.tasks("train")
        assert calls["/tasks"] == 0
        for index in (0, 99, 100, -1):
            assert (tasks[index].id, tasks[index].prompt) == (known[index].id, known[index].prompt)
        assert calls["/tasks"] == 3
        assert [t.id for t in tasks[95:105]] == [t.id for t in known[95:105]]
        assert calls["/tasks"] == 3
        with pytest.raises(IndexError):
            tasks[len(tasks)]
        with pytest.raises(ConfigError, match="no such split. Did you mean 'train'"):
            far.tasks("trian")


def test_an_action_that_is_not_valid_counts_for_nothing():
    async def play(env):
        state = await start(env)
        for _ in range(5):  # the server alone would have ended the episode
            step = await env.step(state, "z")
            assert (step.valid, step.truncated, step.replayed) == (False, False, 0)
            assert step.state is state
        end = await take(env, state, "c", "a", "b")
        await env.close()
        return end

    with served(Letters()) as (_, address):
        end = asyncio.run(play(OverHTTP(url=address)))
    assert (end.reward, end.terminated) == (1.0, True)


@dataclass(frozen=True)
class Secretive(Letters):
    """A key that cannot be written down."""

    def key(self, state):
        return state, Secretive


def test_without_a_key_states_are_what_was_done():
    async def two_ways(env):
        state = await start(env)
        states = [(await take(env, state, *path)).state for path in ("ca", "ac", "ca")]
        await env.close()
        return states

    with served(Secretive()) as (_, address):
        one, other, again = asyncio.run(two_ways(OverHTTP(url=address)))
    assert one.key == ("letters/train/0", 0, ("c", "a"))
    assert one == again != other


def test_it_runs_from_a_recipe_by_class_name():
    with served(Letters()) as (_, address):
        recipe = {"policy": "random", "value": "uniform", "env": {"name": CLASS, "url": address}}
        env = Builder().setup(load_recipe(recipe, ["env.sessions=2"])).env
    assert (env.spec.id, env.sessions) == ("letters", 2)


@dataclass(frozen=True)
class Seeded(Letters):
    """Begins with a letter of the seed's, and is judged by it."""

    @property
    def verifier(self):
        return self

    async def reset(self, task, *, seed):
        return self.letters[seed % 3]

    async def verify(self, task, trajectory, state):
        return Verdict(state == "cab", 0.0, f"{len(trajectory.turns)} turns to {state}")


def test_what_was_done_is_judged_from_the_start_it_had():
    async def play(env):
        task = env.tasks("dev")[3]
        state = (await take(env, await env.reset(task, seed=2), "a", "b")).state
        path = Trajectory(task.id, (Turn("c", "a"), Turn("ca", "b")), True, False)
        await env.close()
        return await env.verifier.verify(task, path, state)

    with served(Seeded()) as (_, address):
        verdict = asyncio.run(play(OverHTTP(url=address)))
    assert verdict == Verdict(True, 0.0, "2 turns to cab")


# -- servers that fail -----------------------------------------------------------------


def test_a_session_that_the_server_has_closed_is_replaced():
    now = [0.0]

    async def play(env):
        state = (await take(env, await start(env), "c", "a")).state
        now[0] = 61.0
        step = await take(env, state, "b")
        await env.close()
        return step

    with served(Letters(), timeout_s=60, clock=lambda: now[0]) as (_, address):
        step = asyncio.run(play(OverHTTP(url=address)))
        assert sessions_at(address) == 0
    assert (step.reward, step.replayed) == (1.0, 3)  # `c` and `a` again, and `b` in vain


def test_a_server_that_is_started_again_is_waited_for():

    async def play():
        with served(Letters()) as (_, address):
            env = OverHTTP(url=address)
            state = (await take(env, await start(env), "c", "a")).state
        step = asyncio.create_task(env.step(state, "b"))
        await asyncio.sleep(0.1)
        with served(Letters(), port=int(address.rpartition(":")[2])):
            await step
            await env.close()
        return step.result()

    step = asyncio.run(play())
    assert (step.reward, step.valid, step.replayed) == (1.0, True, 3)


def test_another_world_at_the_address_is_noticed():
    """The snapshots are gone with the first server; its keys are not those of the second."""

    async def play():
        with served(Letters()) as (_, address):
            env = OverHTTP(url=address)
            state = (await take(env, await start(env), "c", "a")).state
        with served(Letters(pay={"c": 0.5}), port=int(address.rpartition(":")[2])):
            step = await env.step(state, "b")
            await env.close()
        return step

    step = asyncio.run(play())
    assert not step.valid
    assert step.stale.endswith("after c: reward was 0.0, is now 0.5")


def test_a_server_that_is_gone_fails_the_step_in_a_sentence(caplog):
    async def play():
        with served(Letters()) as (_, address):
            env = OverHTTP(url=address, patience_s=0.6)
            state = await start(env)
        try:
            await env.step(state, "c")
        finally:
            await env.close()

    with pytest.raises(EnvError, match=r"127.0.0.1:\d+: no answer \(ConnectError") as error:
        asyncio.run(play())
    assert "\n" not in str(error.value)
    assert "waiting up to 0.6 s" in caplog.text


def test_a_full_server_is_waited_for():
    async def two():
        one, two = OverHTTP(url=address), OverHTTP(url=address)
        state = await start(one)
        other = asyncio.create_task(start(two, index=1))
        while calls["/create"] < 5 and not other.done():  # it asks again and again
            await asyncio.sleep(0.02)
        assert (await one.step(state, "c")).valid
        await one.close()
        await other
        await two.close()
        return other.result()

    with served(Letters(), max_sessions=1) as (calls, address):
        assert asyncio.run(two()).task.id == "letters/train/1"


def test_an_environment_that_raises_on_the_server_fails_the_step():
    async def play(env):
        state = (await take(env, await start(env), "c")).state
        try:
            await env.step(state, "a")
        finally:
            await env.close()

    with served(Letters(broken="ca")) as (calls, address):
        with pytest.raises(EnvError, match="step: RuntimeError: no way past ca"):
            asyncio.run(play(OverHTTP(url=address)))
        assert calls["/create"] == 2  # it might have been the session
        assert sessions_at(address) == 0


async def something_else(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": random.choice([b"hello", b"[]", b"{}"])})


def test_mistakes_are_sentences():
    with serving(something_else) as address:
        with pytest.raises(ConfigError, match="no environment answers there"):
            OverHTTP(url=address)
    for url in (address, "http://127.0.0.1:1", "127.0.0.1:8000", "ftp://x", "", "http://[::1"):
        with pytest.raises(ConfigError, match="start one with: agentsearch play") as error:
            OverHTTP(url=url)
        assert "\n" not in str(error.value)
    for name in ("timeout_s", "patience_s", "sessions", "snapshots"):
        with pytest.raises(ConfigError, match=f"{name}=0: "):
            OverHTTP(url=address, **{name: 0})
