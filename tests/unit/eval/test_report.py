"""The page: tables, marks and a tree, with model-written text escaped."""

import re

import pytest

from agentsearch.runner import tree_name
from agentsearch.tree import Tree
from agentsearch_eval.report import SHOWN_NODES, _branch, write_report
from agentsearch_eval.suite import Suite, run_suite

EVIL = "<script>alert(1)</script>"
BASE = {"env": "game24", "policy": "random", "value": "uniform", "search": "greedy"}
SUITE = Suite(
    name="s",
    title="A & B",
    rows={
        "policy only": {},
        "solved": {"policy": "oracle"},
        "seen": {"reward_visible": True},
        EVIL: {},
    },
    budgets={"20 <steps>": {"env_steps": 20}},
    base={**BASE, "tasks": {"split": "dev", "limit": 5}},
    headline="solved",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    table = run_suite(SUITE, runs)
    return table, runs / "s"


@pytest.fixture
def page(made):
    table, folder = made
    return write_report(SUITE, table, folder).read_text(encoding="utf-8")


def test_the_page_is_one_file_without_outside_references(page):
    assert page.startswith("<!doctype html>")
    assert not re.search(r"(src|href)=|https?://|<script", page)


def test_names_and_titles_are_escaped(page):
    assert "A &amp; B" in page and "20 &lt;steps&gt;" in page and EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_oracles_settings_and_clear_differences_are_marked(page):
    assert "solved (ORACLE: policy)" in page and 'class="oracle"' in page
    assert "seen: plan, reward visible" in page
    hidden = "policy only, solved, &lt;script&gt;alert(1)&lt;/script&gt;: plan, reward hidden"
    assert hidden in page
    assert "<td>+100*<td>+100 to +100" in page


def test_the_tree_of_the_headline_row_is_shown(page, made):
    [row] = [row for row in made[0] if row.name == "solved"]
    assert "One tree: " in page and ", solved (ORACLE: policy)</h2>" in page
    shown = re.search(r"One tree: (.+), solved", page)[1]
    tree = Tree.load(made[1] / row.folder / "trees" / tree_name(shown))
    for node in tree.root.path()[1:] + tree.root.children:
        assert f"<code>{node.action}</code>" in page
    assert page.count('class="chosen"') == len(tree.meta["committed"])


def test_what_a_model_wrote_is_escaped_in_the_tree(made):
    table, folder = made
    [row] = [row for row in table if row.name == "solved"]
    before = {p: p.read_bytes() for p in (folder / row.folder / "trees").iterdir()}
    for path in before:
        tree = Tree.load(path)
        for node in tree.root.children:
            node.action = EVIL
        tree.save(path)
    page = write_report(SUITE, table, folder).read_text(encoding="utf-8")
    for path, data in before.items():
        path.write_bytes(data)
    assert "<code>&lt;script&gt;alert(1)&lt;/script&gt;</code>" in page and "<script" not in page


def test_a_large_tree_is_cut_and_the_rest_counted(made):
    row = next(row for row in made[0] if row.name == "solved")
    tree = Tree.load(next((made[1] / row.folder / "trees").iterdir()))
    root = tree.root
    for i in range(500):
        tree.add(root, f"a{i}", root.state, "")
    shown = _branch(root, set(), [SHOWN_NODES])
    assert len(shown["children"]) < SHOWN_NODES
    assert shown["left_out"] == len(root.children) - len(shown["children"]) > 0
