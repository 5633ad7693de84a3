"""The store: what decides a key, what comes back, and what happens to damaged entries."""

import asyncio
import dataclasses
import json
import os

import pytest

from agentsearch.budget import Metered
from agentsearch.config import Builder, choose_tasks, load_recipe
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import DataError
from agentsearch.policies.prompted import Prompted
from agentsearch.runner import run
from agentsearch.tree import Tree
from agentsearch.types import Task
from agentsearch_eval.store import Store, canonical, models, recipe_digest, task_keys

FIELDS = {
    "env": "game24",
    "policy": {"name": "prompted", "engine": {"name": "scripted", "replies": ["1 + 1"]}},
    "value": "uniform",
    "search": "best_first",
    "budget": {"calls": 3},
    "tasks": {"split": "dev", "limit": 1},
}
KEY = "ab" + 62 * "0"


def keys_of(**changes):
    recipe = load_recipe({**FIELDS, **changes})
    setup = Builder().setup(recipe)
    return list(task_keys(recipe, setup, choose_tasks(setup, recipe.tasks)))


def a_result():
    recipe = load_recipe(FIELDS)
    setup = Builder().setup(recipe)
    [result] = asyncio.run(run(setup, choose_tasks(setup, recipe.tasks)))
    return result


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def result():
    return a_result()


def put(store, result, key=KEY):
    return store.put(key, result.to_dict(), result.tree)


def files(store, kind):
    return [path for path in (store.folder / kind).rglob("*") if path.is_file()]


# -- keys ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"budget": {"calls": 4}},
        {"search": {"name": "best_first", "width": 2}},
        {"value": "votes"},
        {"policy": {**FIELDS["policy"], "max_tokens": 9}},
        {"policy": {**FIELDS["policy"], "engine": {"name": "scripted", "replies": ["2 + 2"]}}},
        {"reward_visible": True},
        {"mode": "act"},
        {"tasks": {"split": "dev", "start": 1, "limit": 1}},
        {"env": {"name": "tests.toy:Letters"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_all_that_decides_a_result_is_in_its_key(changes):
    assert not set(keys_of()) & set(keys_of(**changes))


@pytest.mark.parametrize(
    "changes", [{"concurrency": 3}, {"run": "named"}, {"readings": [{"calls": 2}]}]
)
def test_speed_and_names_are_not(changes):
    assert keys_of() == keys_of(**changes)


def test_more_tasks_keep_the_keys_of_the_first():
    assert keys_of(tasks={"split": "dev", "limit": 3})[:1] == keys_of()


def test_the_version_of_model_and_environment_are_in_the_key():
    recipe = load_recipe(FIELDS)
    setup = Builder().setup(recipe)
    task = Task("t", "solve", {"numbers": (1, 2)})
    first = set(task_keys(recipe, setup, [task]))
    policy = Prompted(Metered(ScriptedEngine(replies=["x"], version="other")))
    other = dataclasses.replace(setup, policy=policy)
    assert models(setup) == ["scripted"] and models(other) == ["other"]
    assert first != set(task_keys(recipe, other, [task]))
    for again in (Task("t", "solve!", task.data), Task("t", "solve", {"numbers": (2, 1)})):
        assert first != set(task_keys(recipe, setup, [again]))
    assert first == set(task_keys(recipe, setup, [Task("t", "solve", {"numbers": [1, 2]})]))
    newer = dataclasses.replace(setup, env=Newer(setup.env))
    assert recipe_digest(recipe, setup) != recipe_digest(recipe, newer)


class Newer:
    def __init__(self, env):
        self.spec = dataclasses.replace(env.spec, version="next")


def test_equal_data_has_one_text():
    assert canonical({"b": {3, 1}, "a": (1, 2)}) == canonical({"a": [1, 2], "b": {1, 3}})


# -- entries ---------------------------------------------------------------------------


def test_what_was_put_comes_back_with_its_tree(store, result, tmp_path):
    stored = put(store, result)
    assert store.finished(KEY) == stored
    assert stored.line == json.loads(json.dumps(result.to_dict()))
    store.link_tree(stored, tmp_path / "tree.json.gz")
    assert Tree.load(tmp_path / "tree.json.gz").to_json() == result.tree.to_json()


def test_trees_share_their_bytes_with_run_folders(store, result, tmp_path):
    store.link_tree(put(store, result), tmp_path / "tree.json.gz")
    [tree] = files(store, "trees")
    assert os.stat(tree).st_nlink == 2 and tree.samefile(tmp_path / "tree.json.gz")


def test_nothing_else_is_left_in_the_folder(store, result):
    put(store, result)
    put(store, result)  # as another process may
    assert len(files(store, "lines")) == len(files(store, "trees")) == 1
    assert not list(store.folder.rglob("*.partial"))


def test_what_is_not_there_is_none(store):
    assert store.finished(KEY) is None and not store.folder.exists()


def test_a_failed_task_is_kept_and_not_taken_for_finished(store, result):
    result.status = "failed"
    assert put(store, result).line["status"] == "failed"
    assert store.finished(KEY) is None
    result.status = "ok"
    put(store, result)
    assert store.finished(KEY) is not None


def test_lone_surrogates_survive(store, result):
    result.answer = "\ud800 and ü"
    put(store, result)
    assert store.finished(KEY).line["answer"] == result.answer


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def cut(path, place):
    path.write_bytes(path.read_bytes()[:place])


@pytest.mark.parametrize("kind", ["lines", "trees"])
@pytest.mark.parametrize("harm", [flip, cut], ids=["flipped", "cut"])
@pytest.mark.parametrize("place", [0, 70, -3])
def test_a_damaged_entry_is_named_and_ignored(store, result, caplog, kind, harm, place):
    put(store, result)
    harm(files(store, kind)[0], place)
    [line] = files(store, "lines")
    assert store.finished(KEY) is None
    [record] = caplog.records
    assert str(line) in record.getMessage() and "its task runs again" in record.getMessage()
    assert store.finished(KEY) is None and len(caplog.records) == 1  # said once
    assert put(store, result) == store.finished(KEY)


def test_an_entry_in_the_wrong_place_is_damaged(store, result, caplog):
    put(store, result)
    other = "ab" + 62 * "1"
    files(store, "lines")[0].rename(store.folder / "lines" / "ab" / other)
    assert store.finished(other) is None and "belongs elsewhere" in caplog.text


def test_an_entry_without_its_tree_is_damaged(store, result, caplog):
    put(store, result)
    files(store, "trees")[0].unlink()
    assert store.finished(KEY) is None and "missing or damaged" in caplog.text


def test_a_store_that_is_deleted_meanwhile_is_a_sentence(store, result, tmp_path):
    stored = put(store, result)
    files(store, "trees")[0].unlink()
    with pytest.raises(DataError, match="was deleted meanwhile. Run the suite again"):
        store.link_tree(stored, tmp_path / "tree.json.gz")


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path, result):
    (tmp_path / ".results").write_text("in the way")
    with pytest.raises(DataError, match="task .* cannot be stored"):
        put(Store(tmp_path), result)
    with pytest.raises(DataError, match="cannot be written"):
        Store(tmp_path).note_settled("ab", load_recipe(FIELDS))


# -- what parts decided ----------------------------------------------------------------


def test_what_was_settled_is_remembered(store):
    recipe = load_recipe(FIELDS)
    after = dataclasses.replace(recipe, value={"name": "votes", "expected": True})
    assert store.settled(recipe, "abc") is None
    store.note_settled("abc", after)
    assert store.settled(recipe, "abc") == after
    (store.folder / "settled" / "ab" / "abc").write_text("[1]")
    assert store.settled(recipe, "abc") is None
