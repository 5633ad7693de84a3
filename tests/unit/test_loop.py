"""Loops: what is checked before compute is spent, and what their stages are told."""

import pytest
import yaml

from agentsearch import loop
from agentsearch.errors import AgentSearchError, ConfigError, DataError
from agentsearch.loop import Stop, is_stalled, tasks_of_round, with_model

RECIPE = {
    "rounds": 2,
    "envs": {
        "g": {
            "base": {"env": "game24", "policy": "prompted", "value": "votes"},
            "search": {
                "search": "mcts",
                "budget": {"calls": 5},
                "tasks": {"split": "train", "limit": 4},
            },
            "evaluate": {"tasks": {"split": "dev", "limit": 3}, "budget": {"calls": 5}},
            "with_search": {"search": {"name": "mcts", "width": 2}},
            "finals": {"published": {"split": "test", "limit": 2}},
        }
    },
    "train": {"trainer": "sft"},
}
MODEL = {"name": "hf", "model": "a/b"}


def prepared(tmp_path, change=lambda recipe: None, *overrides):
    recipe = yaml.safe_load(yaml.safe_dump(RECIPE))
    change(recipe)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return loop.prepare(path, overrides, tmp_path / "runs")


def test_a_recipe_is_checked_whole_and_named_after_its_file(tmp_path):
    plan = prepared(tmp_path)
    assert plan.folder == tmp_path / "runs" / "mine" and not plan.folder.exists()
    assert plan.sizes == {"g": 1046}
    assert prepared(tmp_path, lambda r: None, "run=other", "rounds=5").recipe.rounds == 5


def test_an_environment_may_collect_in_its_own_way(tmp_path):
    def change(recipe):
        recipe["collect"] = {"theta": 0.1, "kinds": ["preferences"]}
        recipe["envs"]["g"]["collect"] = {"theta": 0.3}

    recipe = prepared(tmp_path, change).recipe
    assert recipe.collect_options("g") == ['kinds=["preferences"]', "theta=0.3"]
    with pytest.raises(ConfigError, match="^envs.g.collect: theta=-1.0: must be at least 0"):
        prepared(tmp_path, at("envs.g.collect", {"theta": -1}))


def at(path, value):
    def change(recipe):
        *parents, last = path.split(".")
        for key in parents:
            recipe = recipe[key]
        recipe[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at("round", 2), r"round: unknown key. Did you mean 'rounds'\?"),
        (at("rounds", 0), "rounds=0: must be at least 1"),
        (at("train", {}), "train.trainer: is required"),
        (at("train.model", "tiny"), "train.model: is set by the loop"),
        (at("envs", {}), "envs: is empty"),
        (at("stop", {"patience": 0}), "stop.patience=0"),
        (
            at("envs.g.evaluate.tasks.split", "train"),
            "envs.g.evaluate.tasks.split=train: no policy",
        ),
        (at("envs.g.finals.published.split", "train"), "envs.g.finals.published.split=train"),
        (at("envs.g.search.tasks.split", "dev"), "envs.g.search.tasks.split=dev: a policy learns"),
        (at("envs.g.finals.published.split", "dev"), "finals.published: has 2 of the tasks that"),
        (at("envs.g.search.search", "mtcs"), "envs.g.search: .*mtcs.*Did you mean 'mcts'"),
        (
            at("envs.g.with_search.search", {"name": "mcts", "widht": 3}),
            "envs.g.with_search: .*widht",
        ),
        (at("envs.g.with_search.tasks", {"limit": 3}), "with_search.tasks: is the same as without"),
        (
            at("envs.g.finals", {"held out": {"split": "test"}}),
            "'held out' is no name for a folder",
        ),
        (at("envs.g.base.env", "game25"), "envs.g.*game25"),
    ],
)
def test_mistakes_end_in_a_sentence(tmp_path, change, message):
    with pytest.raises(AgentSearchError, match=message):
        prepared(tmp_path, change)


def test_a_name_that_is_taken_says_how_to_go_on(tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(ConfigError, match="already exists.*--resume"):
        prepared(tmp_path)


def test_only_rounds_of_a_resumed_loop_can_be_set(tmp_path):
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match="is no folder of a loop"):
        loop.prepare_resumed("mine", tmp_path / "runs")
    (folder / "loop.yaml").write_text(yaml.safe_dump(RECIPE))
    plan = loop.prepare_resumed("mine", tmp_path / "runs", ["rounds=7"])
    assert plan.recipe.rounds == 7 and plan.folder == folder
    with pytest.raises(ConfigError, match="seed=3: a resumed loop keeps its recipe"):
        loop.prepare_resumed("mine", tmp_path / "runs", ["seed=3"])


def test_each_round_takes_the_next_tasks_and_then_begins_again():
    starts = [tasks_of_round({"start": 2, "limit": 4}, n, 15)["start"] for n in (1, 2, 3, 4, 5)]
    assert starts == [2, 6, 10, 2, 6]
    whole = {"split": "train"}
    assert tasks_of_round(whole, 3, 10) is whole


def test_the_rounds_model_goes_where_none_is_named():
    assert with_model({"policy": "scoring"}, MODEL)["policy"] == {
        "name": "scoring",
        "engine": MODEL,
    }
    kept = {"name": "prompted", "engine": {"memory": 5}}
    assert with_model({"policy": kept}, MODEL)["policy"]["engine"] == {**MODEL, "memory": 5}
    own = {"name": "prompted", "engine": {"name": "hf", "model": "tiny"}}
    assert with_model({"policy": own}, MODEL)["policy"] == own
    assert with_model({"policy": "random"}, MODEL)["policy"] == {"name": "random"}
    assert with_model({}, MODEL)["policy"]["engine"] == MODEL


def test_a_loop_stalls_after_rounds_without_a_gain():
    assert not is_stalled([0.3], Stop(patience=1))
    assert is_stalled([0.3, 0.3], Stop(patience=1))
    assert not is_stalled([0.3, 0.31], Stop(patience=1))
    assert is_stalled([0.3, 0.31], Stop(patience=1, gain=0.02))
    assert not is_stalled([0.3, 0.2, 0.4, 0.35], Stop(patience=2))
    assert is_stalled([0.3, 0.2, 0.4, 0.35, 0.4], Stop(patience=2))


def test_an_estimate_counts_every_stage_that_asks_the_policy(tmp_path):
    found = loop.estimate(prepared(tmp_path))["stages"]
    assert {name: (each["tasks"], each["times"]) for name, each in found.items()} == {
        "g, search": (4, 2),
        "g, evaluate": (3, 3),
        "g, with_search": (3, 3),
        "g, finals.published": (2, 2),
    }
    assert found["g, search"]["calls"] == 20
