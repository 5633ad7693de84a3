"""The code that decides a result: what changes its hash, and what does not."""

import shutil
import sys

import pytest

from agentsearch.config import load_recipe
from agentsearch_eval import sources
from agentsearch_eval.sources import core_files, imported, recipe_modules, source_digest

MODULES = {
    "mine/__init__.py": "",
    "mine/env.py": "import os\nfrom mine import rules\nfrom .deep.base import x\n",
    "mine/rules.py": "def late():\n    import helper_of_mine\n",
    "mine/deep/__init__.py": "",
    "mine/deep/base.py": "import yaml\n",
    "mine/unused.py": "",
    "helper_of_mine.py": "",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def digest():
    sources.read.cache_clear()
    return source_digest(frozenset({"mine.env"}))


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"mine/unused.py"}))
def test_a_changed_module_changes_the_hash(folder, name):
    before = digest()
    (folder / name).write_text(MODULES[name] + "\nchanged = 1\n")
    assert digest() != before


def test_what_nothing_imports_does_not(folder):
    before = digest()
    (folder / "mine/unused.py").write_text("changed = 1")
    assert digest() == before


def test_the_hash_does_not_depend_on_the_place_of_the_files(folder, tmp_path_factory, monkeypatch):
    before = digest()
    elsewhere = shutil.copytree(folder, tmp_path_factory.mktemp("other") / "copy")
    shutil.rmtree(folder / "mine")
    (folder / "helper_of_mine.py").unlink()
    monkeypatch.syspath_prepend(elsewhere)
    assert digest() == before


def test_versions_of_imported_packages_count(folder):
    before = digest()
    (folder / "mine/deep/base.py").write_text("import json\n")
    without = digest()
    assert sources.distribution("yaml") == "PyYAML" and without != before
    assert sources.distribution("agentsearch_envs.game24") is None
    assert sources.distribution("helper_of_mine") is None


def test_imports_are_found_wherever_they_stand(folder):
    found = set(imported("mine.env", folder / "mine/env.py"))
    assert {"mine", "mine.rules", "mine.deep.base"} <= found and "os" not in found
    assert set(imported("mine.rules", folder / "mine/rules.py")) == {"helper_of_mine"}


def test_the_core_counts_without_what_only_shows():
    names = {path.name for path in core_files()}
    folders = {path.parent.name for path in core_files()}
    assert {"runner.py", "problem.py", "mcts.py"} <= names
    assert "search" in folders and not folders & {"cli", "viz"}


def test_the_built_in_engine_counts_where_none_is_named():
    recipe = load_recipe({"policy": {"name": "prompted"}, "value": "uniform"})
    assert "agentsearch.engines.hf" in recipe_modules(recipe)
    assert "agentsearch.engines.hf" not in recipe_modules(
        load_recipe({"policy": "random", "value": "uniform"})
    )


def test_every_part_of_a_recipe_names_its_module():
    recipe = load_recipe({"env": "game24", "policy": "tiny", "value": "votes", "search": "beam"})
    assert recipe_modules(recipe) == {
        "agentsearch_envs.game24",
        "agentsearch.policies.prompted",
        "agentsearch.values.votes",
        "agentsearch.search.beam",
        "agentsearch.engines.hf",
    }
