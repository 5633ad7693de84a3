"""Names to classes: built-ins, private code, and plug-ins that are broken."""

import sys

import pytest

from agentsearch import registry
from agentsearch.errors import PluginError
from agentsearch.search.mcts import MCTS


@pytest.fixture
def installed(tmp_path):
    """A function that installs a package with these entry points, for the test."""

    def install(points, module):
        info = tmp_path / "thirdparty-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)
        (tmp_path / "thirdparty.py").write_text(module)

    sys.path.insert(0, str(tmp_path))
    yield install
    sys.path.remove(str(tmp_path))
    sys.modules.pop("thirdparty", None)


def message(kind, name):
    with pytest.raises(PluginError) as error:
        registry.load(kind, name)
    return str(error.value)


def test_a_built_in_has_a_name():
    assert registry.load("search", "mcts") is MCTS
    assert {"beam", "best_first", "best_of_n", "greedy", "mcts"} <= set(registry.names("search"))
    assert "game24" in registry.names("envs")


def test_private_code_needs_no_packaging():
    assert registry.load("search", "agentsearch.search.mcts:MCTS") is MCTS
    assert registry.load("envs", "tests.toy:Letters").__name__ == "Letters"


def test_an_unknown_name_gets_a_suggestion_and_the_list():
    text = message("search", "mtcs")
    assert text.startswith("search 'mtcs': no such name. Did you mean 'mcts'? Known: ")
    assert "best_first" in text and "module:Class" in text


def test_an_unknown_kind_lists_the_kinds():
    with pytest.raises(PluginError, match="'serch': no such kind of plug-in. Kinds: envs, search"):
        registry.names("serch")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module:X", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("agentsearch.search.mcts:Nothing", "AttributeError"),
        ("agentsearch.search.mcts:", "AttributeError"),
        (":X", "ValueError"),
    ],
)
def test_what_cannot_be_imported_is_named_with_the_cause(name, why):
    text = message("search", name)
    assert text.startswith(f"search {name!r}: ") and why in text


def test_a_plug_in_uses_the_same_door(installed):
    installed(
        "[agentsearch.search]\nmine = thirdparty:Mine\n",
        'class Mine:\n    """My search.\n\n    More."""\n',
    )
    assert registry.load("search", "mine").__name__ == "Mine"
    [mine] = [plugin for plugin in registry.plugins("search") if plugin.name == "mine"]
    assert (mine.target, mine.summary, mine.error) == ("thirdparty:Mine", "My search.", "")


def test_a_broken_plug_in_is_named_and_skipped(installed):
    installed(
        "[agentsearch.search]\nbroken = thirdparty:Mine\n", "raise RuntimeError('no licence')"
    )
    found = {plugin.name: plugin for plugin in registry.plugins("search")}
    assert found["mcts"].summary and not found["mcts"].error
    assert found["broken"].error == message("search", "broken")
    assert "thirdparty:Mine cannot be loaded (RuntimeError: no licence)" in found["broken"].error


@pytest.mark.parametrize("kind", ["search", "policies", "values", "choosers", "envs"])
def test_every_built_in_says_what_it_is(kind):
    for plugin in registry.plugins(kind):
        assert not plugin.error, plugin
        assert plugin.summary.endswith("."), plugin
