"""A gymnasium text environment from outside: how it is read, judged and refused."""

from __future__ import annotations

import asyncio
import threading

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from agentsearch.budget import Limits
from agentsearch.config import Builder, load_recipe
from agentsearch.conformance import check_environment
from agentsearch.errors import ConfigError, EnvError
from agentsearch.runner import Setup, solve
from agentsearch.search.mcts import MCTS
from agentsearch.types import Trajectory, Turn
from agentsearch_envs.from_gym import Gymnasium
from agentsearch_envs.gym_env import GymEnv
from tests.key_door import ACTIONS, KeyDoor, every_action, guess

ID = "tests.key_door:tests/KeyDoor-v0"
DOOR = ("left", "take", "right", "right", "right", "open")  # opens the door of seed 1


def key_door(**fields):
    return Gymnasium(**{"id": ID, "actions": ACTIONS, **fields})


def said(**fields):
    """The one that takes text instead of numbers."""
    return Gymnasium(id=ID, **{"kwargs": {"takes": "text"}, **fields})


def play(env, *actions, task=1):
    async def episode():
        step = None
        state = await env.reset(env.tasks("train")[task], seed=5)
        for action in actions:
            step = await env.step(state, action)
            state = step.state
        return step

    return asyncio.run(episode())


def judge(env, *actions, terminated=True):
    path = Trajectory("", tuple(Turn("", action, 9.0) for action in actions), terminated, False)
    return asyncio.run(env.verifier.verify(env.tasks("train")[1], path, None))


# Reading


@pytest.mark.parametrize("snapshot", ["deepcopy", "replay"])
def test_the_contract_of_environments_holds(snapshot):
    env = key_door(snapshot=snapshot)
    assert [f for f in check_environment(env, tasks=2) if not f.passed] == []


def test_the_spec_comes_from_the_environment():
    spec = key_door().spec
    assert (spec.id, spec.version, spec.max_steps) == ("tests/KeyDoor-v0", "0", 12)
    assert spec.actions == "finite"
    assert key_door(max_steps=5).spec.max_steps == 5
    assert said().spec.actions == "open"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kwargs": {"shows": "dict"}, "text_key": "words"},
        {"kwargs": {"shows": "info"}, "text_key": "words"},
        {"kwargs": {"takes": "text"}},
        {"kwargs": {"takes": "text"}, "actions": None, "legal_key": "legal"},
        {"kwargs": {"takes": "text"}, "actions": None},
        {"snapshot": "replay"},
    ],
    ids=["text", "dict", "info", "listed", "legal", "open", "replay"],
)
def test_every_shape_is_played_alike(fields):
    env = key_door(**fields)
    start = asyncio.run(env.reset(env.tasks("train")[1], seed=0))
    assert env.observe(start) == "You wake up. Place 1: dust."
    assert env.legal_actions(start) == (ACTIONS if env.spec.actions == "finite" else None)
    end = play(env, *DOOR)
    assert (end.reward, end.terminated) == (1.0, True)
    assert env.observe(end.state) == "The door opens. Place 3: a door."


@pytest.mark.parametrize(
    "env", [key_door(), said(actions=ACTIONS), said(legal_key="legal"), said()]
)
def test_what_is_no_action_never_reaches_the_environment(env):
    step = play(env, "no such action, and far too long for the space")
    assert (step.valid, step.reward) == (False, 0.0)
    assert env.observe(step.state) == "You wake up. Place 1: dust."


def test_the_task_is_a_seed_and_splits_are_disjoint():
    env = key_door(splits={"train": 3, "test": 2})
    ids = {split: [task.id for task in env.tasks(split)] for split in ("train", "dev", "test")}
    assert ids["train"] == [f"tests/KeyDoor-v0/{i}" for i in range(3)]
    assert (len(ids["dev"]), len(ids["test"])) == (0, 2)
    assert not set(ids["train"]) & set(ids["test"])
    with pytest.raises(ConfigError, match="unknown split 'tset'"):
        env.tasks("tset")


def test_an_episode_is_cut_at_max_steps():
    env = key_door(max_steps=3)
    assert not play(env, "left", "left").truncated
    assert play(env, "left", "left", "left").truncated


# Judging


def test_the_verdict_comes_from_playing_the_actions_again():
    env = key_door()
    verdict = judge(env, *DOOR)
    assert (verdict.correct, verdict.credit) == (True, 1.0)
    assert verdict.reason == "return 1, which is > 0"
    wrong = judge(env, *DOOR[1:])  # whatever rewards and endings the trajectory claims
    assert (wrong.correct, wrong.credit) == (False, 0.0)
    assert wrong.reason == "return 0, which is not > 0"
    assert not judge(env).correct


def test_what_follows_the_end_does_not_count():
    assert judge(key_door(), *DOOR, *DOOR).reason == "return 1, which is > 0"


@pytest.mark.parametrize(
    ("rule", "correct"),
    [
        ("return > 0", True),
        ("return>=1", True),
        ("return > 1", False),
        ("return == 1.0", True),
        ("return < 1", False),
        ("return <= -0.5", False),
    ],
)
def test_the_rule_of_success(rule, correct):
    assert judge(key_door(success=rule), *DOOR).correct is correct


# Searching


def test_it_runs_from_a_recipe_by_class_name():
    name = "agentsearch_envs.from_gym:Gymnasium"
    fields = {"id": ID, "actions": list(ACTIONS), "prompt": "Open it.", "snapshot": "replay"}
    recipe = load_recipe(
        {"env": {"name": name, **fields}, "policy": "random", "value": "uniform"},
        ["env.splits.train=2"],
    )
    env = Builder().setup(recipe).env
    assert [task.prompt for task in env.tasks("train")] == ["Open it."] * 2


def test_dice_are_caught_by_replay(caplog):
    env = key_door(kwargs={"dice": True}, snapshot="replay")
    setup = Setup(env, every_action(), guess(), MCTS(width=5), Limits(calls=20))
    result = asyncio.run(solve(env.tasks("train")[0], setup))
    assert result.usage.stale > 0
    assert "task tests/KeyDoor-v0/0" in caplog.text and "observation was" in caplog.text


def test_an_environment_that_cannot_be_copied_is_named():
    async def step(env):
        state = await env.reset(env.tasks("train")[0], seed=0)
        env._inner._pool[0].session.env.unwrapped.lock = threading.Lock()
        await env.step(state, "left")

    with pytest.raises(
        EnvError, match=r"cannot be copied \(TypeError: .*; set env.snapshot=replay"
    ):
        asyncio.run(step(key_door()))


@pytest.mark.parametrize("snapshot", ["deepcopy", "replay"])
def test_environments_are_closed_but_for_snapshots(snapshot):
    closed = []

    async def play(env):
        state = await env.reset(env.tasks("train")[0], seed=0)
        session = env._inner._pool[0].session
        session.env.close = lambda: closed.append(snapshot)
        await env.close()
        return (await env.step(state, "left")).valid

    assert asyncio.run(play(key_door(snapshot=snapshot)))
    assert closed == (["replay"] if snapshot == "replay" else [])


def test_a_session_begins_anew_without_touching_its_snapshot():
    async def play():
        session = key_door().session()
        first, second = key_door().tasks("train")[:2]
        await session.reset(first, seed=0)
        before = await session.step("right")
        kept = await session.snapshot()
        await session.reset(second, seed=0)
        await session.step("left")
        return before, await session.restore(kept), await session.step("knock")

    before, restored, after = asyncio.run(play())
    assert restored == before
    assert after.observation.endswith("Place 2: dust.")


def test_in_and_out_again_passes_the_checker():
    gymnasium.register("tests/InAndOut-v0", lambda **kwargs: GymEnv(key_door(), **kwargs))
    check_env(gymnasium.make("tests/InAndOut-v0").unwrapped)
    del gymnasium.registry["tests/InAndOut-v0"]


# Refusing, in a sentence


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": "NoSuchThing-v0"}, r"env\.id='NoSuchThing-v0': gymnasium cannot make it"),
        ({"id": "no_such_module:Thing-v0"}, "No module named 'no_such_module'"),
        ({"kwargs": {"colour": "red"}}, r"unexpected keyword argument 'colour'.*check env\.kwargs"),
        ({"actions": None}, "has 5 actions without names, and none given"),
        ({"actions": ("left", "right")}, "has 5 actions without names, and 2 given"),
        ({"actions": ()}, "is empty or names an action twice"),
        ({"actions": ("left", "left")}, "is empty or names an action twice"),
        ({"kwargs": {"takes": "any"}}, "its action space MultiBinary cannot be named"),
        (
            {"kwargs": {"shows": "dict"}},
            "its observation is of type dict, not text; set env.text_key to one of: words",
        ),
        (
            {"kwargs": {"shows": "info"}},
            "its observation is of type int, not text; set env.text_key to one of: words",
        ),
        ({"kwargs": {"shows": "no"}}, "is of type int, not text; wrap it so that it shows text"),
        (
            {"text_key": "wrods", "kwargs": {"shows": "dict"}},
            "env.text_key='wrods' holds no text in observation or info; .* one of: words",
        ),
        ({"legal_key": "may"}, "env.legal_key='may' is no list of texts in info; its keys: legal"),
        ({"success": "__import__('os')"}, "env.success=.*such as 'return > 0'"),
        ({"max_steps": 0}, "env.max_steps=0: must be at least 1"),
        ({"splits": {"trian": 1}}, r"env\.splits\.trian: .* Did you mean 'train'"),
        ({"splits": {"train": -1}}, r"env\.splits\.train=-1"),
        ({"snapshot": "copy"}, "env.snapshot='copy': use deepcopy or replay"),
    ],
)
def test_mistakes_are_sentences(fields, words):
    with pytest.raises(ConfigError, match=words) as error:
        key_door(**fields)
    assert "\n" not in str(error.value)


def test_a_limit_of_steps_is_needed():
    gymnasium.register("tests/Endless-v0", KeyDoor)
    with pytest.raises(ConfigError, match="has no time limit of its own; set env.max_steps"):
        key_door(id="tests/Endless-v0")
    assert key_door(id="tests/Endless-v0", max_steps=9).spec.max_steps == 9
    del gymnasium.registry["tests/Endless-v0"]


def test_an_environment_that_falls_silent_fails_its_task():
    env = key_door()
    session = env.session()
    asyncio.run(session.reset(env.tasks("train")[0], seed=0))
    session.env.unwrapped.shows = "nowhere"
    with pytest.raises(EnvError, match="shows no text any more"):
        asyncio.run(session.step("left"))
