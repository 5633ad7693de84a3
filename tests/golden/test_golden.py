"""Every search still grows the recorded tree, node by node."""

import json

import pytest

from agentsearch.tree import Tree
from tests.golden.make import CASES, FOLDER, tree, written


@pytest.mark.parametrize("name", CASES)
def test_the_tree_is_the_recorded_one(name):
    recorded = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    grown = tree(name)
    for now, then in zip(grown["nodes"], recorded["nodes"], strict=False):
        assert now == then
    assert len(grown["nodes"]) == len(recorded["nodes"])
    assert grown == recorded


@pytest.mark.parametrize("name", CASES)
def test_the_record_is_a_tree_worth_comparing(name):
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    recorded = Tree.from_json(json.loads(text))
    assert len(recorded) > 12 and max(node.depth for node in recorded.nodes) >= 3
    assert sum(node.visits for node in recorded.nodes) >= 12
    assert written(json.loads(text)) == text


def test_no_record_is_left_over():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(CASES)
