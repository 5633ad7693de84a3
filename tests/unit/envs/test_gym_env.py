"""Our environments wear the gymnasium face: gymnasium's own checker, and what info tells."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import gymnasium
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from agentsearch import registry
from agentsearch.errors import ConfigError, EnvError
from agentsearch_envs.game24 import Game24
from agentsearch_envs.gym_env import GymEnv
from tests.toy import Letters


def works_without_arguments(name):
    needed = (dataclasses.MISSING, dataclasses.MISSING)
    fields = dataclasses.fields(registry.load("envs", name))
    return all((each.default, each.default_factory) != needed for each in fields if each.init)


NAMES = [name for name in registry.names("envs") if works_without_arguments(name)]


class Waits(Letters):
    """Says that its steps are instant, but waits."""

    async def step(self, state, action):
        await asyncio.sleep(0)
        return await super().step(state, action)


class Drawn(Letters):
    def picture(self, state):
        return f"[{state}]"


def letters(**kwargs):
    return GymEnv(Letters(**kwargs))


# Gymnasium's checker


def test_there_is_something_to_check():
    assert "game24" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_environment_passes_the_checker(name):
    """Warnings are errors here, so it passes without one."""
    env = gymnasium.make(f"agentsearch_envs.gym_env:agentsearch/{name}-v0")
    check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("name", NAMES)
def test_legal_actions_are_valid_all_the_way(name):
    env = gymnasium.make(f"agentsearch/{name}-v0", render_mode="ansi")
    rng = random.Random(0)
    for episode in range(3):
        text, info = env.reset(seed=episode)
        done = False
        while not done and info["legal_actions"]:
            assert text in env.observation_space
            assert env.render()
            action = rng.choice(info["legal_actions"])
            assert action in env.action_space
            text, _, terminated, truncated, info = env.step(action)
            assert info["valid"]
            done = terminated or truncated
        assert done or info["legal_actions"] is None
    env.close()


@pytest.mark.parametrize("instant", [True, False], ids=["instant", "waiting"])
def test_fixed_actions_and_waiting_environments_pass_the_checker(instant):
    env = gymnasium.make("agentsearch/game24-v0", env=Letters(instant=instant), actions="abc")
    check_env(env.unwrapped)
    env.close()
    env.close()


# An episode


def test_an_episode_is_played():
    env = GymEnv(Game24())
    text, info = env.reset(options={"task": "game24/1-2-3-4"})
    assert text == "Numbers: 1 2 3 4"
    assert info["task"] == "game24/1-2-3-4"
    assert info["prompt"].startswith("Make 24")
    assert info["valid"] and "2 * 1" in info["legal_actions"]
    for action, left in (("2 * 1", "2 3 4"), ("3 * 2", "4 6")):
        text, reward, terminated, truncated, info = env.step(action)
        assert (text, reward, terminated, truncated) == (f"Numbers: {left}", 0.0, False, False)
    text, reward, terminated, truncated, info = env.step("6 * 4")
    assert (text, reward, terminated, truncated) == ("Numbers: 24", 1.0, True, False)
    assert info["legal_actions"] == ()


def test_an_invalid_action_keeps_the_state_and_counts_as_a_step():
    env = GymEnv(Game24())
    before, _ = env.reset(seed=1)
    for last in (False, False, True):
        text, reward, terminated, truncated, info = env.step("please")
        assert (text, reward, terminated, info["valid"]) == (before, 0.0, False, False)
        assert truncated is last
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step("please")
    env.reset()
    assert env.step("please")[3] is False


def test_the_seed_draws_the_task():
    env = GymEnv(Game24())
    drawn = [env.reset(seed=seed)[1]["task"] for seed in range(20)]
    assert drawn == [env.reset(seed=seed)[1]["task"] for seed in range(20)]
    assert len(set(drawn)) > 15
    assert set(drawn) <= {task.id for task in Game24().tasks("train")}
    test = GymEnv(Game24(), "test").reset(seed=0)[1]["task"]
    assert test in {task.id for task in Game24().tasks("test")}


def test_numbers_stand_for_fixed_actions():
    env = GymEnv(Letters(), actions=["c", "a", "b"])
    assert env.action_space == spaces.Discrete(3)
    env.reset()
    texts = [env.step(i)[0] for i in (0, 1, 2)]
    assert texts == ["c", "ca", "cab"]


def test_rendering():
    shown, silent = GymEnv(Drawn(), render_mode="ansi"), GymEnv(Drawn())
    assert shown.render() is None
    for env in (shown, silent):
        env.reset()
        env.step("c")
    assert (shown.render(), silent.render()) == ("[c]", None)
    assert GymEnv(Letters(), render_mode="ansi").metadata["render_modes"] == ["ansi"]


def test_any_script_is_an_observation():
    env = GymEnv(Letters(word="中é", letters="中é"))
    env.reset()
    assert env.step("中")[0] in env.observation_space
    assert 3 not in env.observation_space
    assert env.action_space.sample() in env.action_space


# Coroutines without, inside and beside an event loop


@pytest.mark.parametrize("instant", [True, False], ids=["instant", "waiting"])
def test_it_works_where_a_loop_is_running(instant):
    async def inside():
        env = letters(instant=instant)
        env.reset(seed=0)
        texts = [env.step(letter)[0] for letter in "cab"]
        env.close()
        return texts

    assert asyncio.run(inside()) == ["c", "ca", "cab"]


def test_an_environment_that_waits_though_it_says_instant_is_named():
    env = GymEnv(Waits())
    env.reset()
    with pytest.raises(EnvError, match="letters: its spec says instant, but a step waits"):
        env.step("c")


def test_what_an_environment_raises_comes_through():
    for instant in (True, False):
        env = letters(broken="c", instant=instant)
        env.reset()
        with pytest.raises(RuntimeError, match="no way past c"):
            env.step("c")
        env.close()


# Mistakes


def test_mistakes_are_sentences():
    env = GymEnv(Game24())
    with pytest.raises(ResetNeeded, match="not begun"):
        env.step("1 + 1")
    with pytest.raises(ConfigError, match=r"'game24/1-2-3-44': not in this split\. Did you mean"):
        env.reset(options={"task": "game24/1-2-3-44"})
    with pytest.raises(ConfigError, match="'tsak' is unknown; the only option is 'task'"):
        env.reset(options={"tsak": "game24/1-2-3-4"})
    with pytest.raises(ConfigError, match="render_mode='human'"):
        GymEnv(Game24(), render_mode="human")
    with pytest.raises(ConfigError, match="unknown split 'tran'"):
        GymEnv(Game24(), "tran")
    with pytest.raises(ConfigError, match=r"env\.rulez: unknown key"):
        GymEnv({"name": "game24", "rulez": "rational"})


def test_an_environment_is_named_as_in_a_recipe():
    assert GymEnv("game24").env == Game24()
    assert GymEnv({"name": "game24", "rules": "rational"}).env == Game24("rational")
