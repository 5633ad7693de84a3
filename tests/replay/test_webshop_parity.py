"""The original WebShop's recorded episodes, taken again step by step on the real products."""

import asyncio
import gzip
import json

import pytest

from agentsearch_envs.webshop import WebShop, pages

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "webshop"


@pytest.fixture(scope="module")
def recorded(folder):
    with gzip.open(folder / "parity_dev.json.gz", "rt") as file:
        return json.load(file)


@pytest.fixture(scope="module")
def env(folder):
    return WebShop(data=str(folder))


def state_of(env, recorded_episode):
    """The index page of an episode's goal, whose number the order of goals gives."""
    index = recorded_episode["goal_index"]
    assert env.shop.goals[index].instruction == recorded_episode["goal"]["instruction_text"]
    split = "test" if index < 500 else "dev" if index < 1500 else "train"
    first = {"test": 0, "dev": 500, "train": 1500}[split]
    task = env.tasks(split)[index - first]
    return asyncio.run(env.reset(task, seed=0))


def compare(env, state, expected, score=None):
    assert pages.text(env.shop, state, score) == expected["text"]
    assert pages.text_rich(env.shop, state, score) == expected["text_rich"]
    assert pages.available(env.shop, state) == expected["available"]
    assert pages.url(env.shop, state) == expected["url"]


def test_every_step_of_every_episode_is_equal(env, recorded):
    compared = purchases = 0
    for episode in recorded["episodes"]:
        state = state_of(env, episode)
        compare(env, state, episode["reset"])
        for expected in episode["steps"]:
            step = env.take(state._replace(steps=0), expected["action"])
            score = step.reward if step.terminated else None
            compare(env, step.state, expected, score)
            assert step.terminated == expected["done"]
            if expected["reward"] is not None:  # null: the nouns would decide it
                assert step.reward == pytest.approx(expected["reward"], abs=1e-9)
            state, compared = step.state, compared + 1
            purchases += step.terminated
    assert len(recorded["episodes"]) == 12 and compared > 40 and purchases > 5


def test_the_goals_are_the_original_s_in_its_order(env, recorded):
    assert len(env.shop.goals) == recorded["meta"]["n_goals"] == 6910
    firsts = zip(env.shop.goals, recorded["meta"]["goals"]["first10"], strict=False)
    assert all(goal.instruction.startswith(text) for goal, text in firsts)
    lengths = [len(env.tasks(split)) for split in ("test", "dev", "train")]
    assert lengths == [500, 1000, 5410]


def test_the_score_never_reaches_a_policy(env, recorded):
    for episode in recorded["episodes"]:
        for mode in pages.MODES:
            if mode == "html":
                continue
            state = state_of(env, episode)
            for expected in episode["steps"]:
                state = env.take(state._replace(steps=0), expected["action"]).state
            seen = pages.observe(env.shop, state, mode)
            assert "score" not in seen.lower() and "reward" not in seen.lower()
