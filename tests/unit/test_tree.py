"""Nodes, their numbering, and a tree as JSON, graph and file."""

import gzip
import json

import networkx
import pytest

from agentsearch.budget import Usage
from agentsearch.errors import DataError
from agentsearch.tree import FORMAT, Node, Tree
from agentsearch.types import Proposal, Tokens


def tokens(*ids):
    return Tokens((1, 2, 3), ids, tuple(-0.5 for _ in ids), tuple(True for _ in ids))


def a_tree():
    """A root with children a and b; under a, a child that ended."""
    tree = Tree(Node(0, "state", "start"), "task/1", "Do it.")
    proposal = Proposal("a", "go a", 3, -0.5, None, 0.25, tokens(4, 5), (tokens(6),), "m@0001")
    a = tree.add(tree.root, "a", "s1", "at a", prior=0.75, reward=0.5, proposal=proposal)
    tree.add(tree.root, "b", "s2", "at b", prior=0.25, truncated=True)
    end = tree.add(a, "c", "s3", "at c", reward=1.0, terminated=True, proposal=Proposal("c", "c"))
    a.visits, a.value_sum, a.value, a.draws = 2, 1.5, 0.5, 8
    a.cost, a.extra = Usage(calls=2, prompt_tokens=7, cached_tokens=3), {"rank": [1, None]}
    end.answer = "42"
    tree.meta = {"committed": [1, 3], "stop": "finished"}
    return tree


def test_nodes_are_numbered_in_order_of_creation():
    tree = a_tree()
    assert [node.id for node in tree.nodes] == list(range(len(tree))) == [0, 1, 2, 3]
    assert [node.depth for node in tree.nodes] == [0, 1, 1, 2]
    assert [child.id for child in tree.root.children] == [1, 2]


def test_ways_up_and_down():
    tree = a_tree()
    root, a, b, c = tree.nodes
    assert list(c.path_to_root()) == [c, a, root] and c.path() == [root, a, c]
    assert list(root.descendants()) == [root, a, c, b]
    assert list(root.leaves()) == [c, b] and list(a.leaves()) == [c]
    assert root.child("b") is b and root.child("c") is None


def test_a_node_is_done_for_either_reason():
    assert [node.done for node in a_tree().nodes] == [False, False, True, True]


def test_the_mean_is_per_visit():
    root, a, *_ = a_tree().nodes
    assert (root.mean_value, a.mean_value) == (0.0, 0.75)
    assert repr(a) == "<Node 1 'a' visits=2 mean=0.75>"


def test_the_trajectory_of_a_leaf():
    tree = a_tree()
    path = tree.trajectory(tree.nodes[3])
    assert (path.task_id, path.actions, path.final) == ("task/1", ("a", "c"), "at c")
    assert [(t.observation, t.reward) for t in path.turns] == [("start", 0.5), ("at a", 1.0)]
    assert [t.tokens for t in path.turns] == [tokens(4, 5), None]
    assert (path.terminated, path.truncated) == (True, False)
    assert tree.trajectory(tree.root).turns == ()


def test_json_holds_everything_but_the_states():
    tree = a_tree()
    data = json.loads(json.dumps(tree.to_json()))
    assert data["format"] == FORMAT
    again = Tree.from_json(data)
    assert again.to_json() == tree.to_json()
    assert [node.state for node in again.nodes] == [None] * 4
    for old, new in zip(tree.nodes, again.nodes, strict=True):
        for name in set(Node.__slots__) - {"state", "parent", "children"}:
            assert getattr(old, name) == getattr(new, name), name
        assert (old.parent and old.parent.id) == (new.parent and new.parent.id)
        assert [child.id for child in old.children] == [child.id for child in new.children]
    assert (again.task_id, again.prompt, again.meta) == ("task/1", "Do it.", tree.meta)


def test_a_prompt_that_several_tokens_share_is_written_once():
    assert a_tree().to_json()["prompt_tokens"] == [[1, 2, 3]]


def test_a_tree_that_was_read_goes_on_growing():
    tree = Tree.from_json(a_tree().to_json())
    new = tree.add(tree.nodes[1], "d", None)
    assert new.id == 4 and [child.id for child in tree.nodes[1].children] == [3, 4]


def test_a_file_gives_the_tree_back(tmp_path):
    a_tree().save(tmp_path / "t.json.gz")
    assert Tree.load(tmp_path / "t.json.gz").to_json() == a_tree().to_json()
    assert [path.name for path in tmp_path.iterdir()] == ["t.json.gz"]


def test_equal_trees_are_equal_files(tmp_path):
    for name in "ab":
        a_tree().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_graph_has_an_edge_per_child():
    graph = a_tree().to_networkx()
    assert networkx.is_arborescence(graph)
    assert [(a, b, d["action"]) for a, b, d in graph.edges(data=True)] == [
        (0, 1, "a"),
        (0, 2, "b"),
        (1, 3, "c"),
    ]
    assert graph.nodes[1]["mean_value"] == 0.75 and graph.nodes[1]["version"] == "m@0001"
    assert "value" not in graph.nodes[0]  # a graph file holds no None


def test_a_graphml_file_holds_the_graph(tmp_path):
    a_tree().write_graphml(tmp_path / "t.graphml")
    again = networkx.read_graphml(tmp_path / "t.graphml", node_type=int)
    graph = a_tree().to_networkx()
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
    assert list(again.edges) == list(graph.edges)


def test_a_graphml_file_can_be_read_whatever_the_world_says(tmp_path):
    tree = Tree(Node(0, None, "\x1b[31mred\x00 <b> & ü"))
    tree.write_graphml(tmp_path / "t.graphml")
    again = networkx.read_graphml(tmp_path / "t.graphml", node_type=int)
    assert again.nodes[0]["observation"] == "[31mred <b> & ü"


# -- files that are no trees -----------------------------------------------------------


def packed(text):
    return gzip.compress(text.encode())


def spoilt(change):
    data = a_tree().to_json()
    change(data)
    return packed(json.dumps(data))


WHOLE = packed(json.dumps(a_tree().to_json()))
DAMAGED = {
    "cut short": WHOLE[: len(WHOLE) // 2],
    "empty": b"",
    "not compressed": b'{"format": "agentsearch.tree/1"}',
    "bits turned": WHOLE[:40] + bytes(255 - b for b in WHOLE[40:60]) + WHOLE[60:],
    "checksum turned": WHOLE[:-8] + bytes(255 - b for b in WHOLE[-8:]),
    "not JSON": packed("{"),
    "not text": gzip.compress(b"\xff\xfe\x00"),
    "another format": spoilt(lambda d: d.update(format="agentsearch.tree/9")),
    "a list": packed("[]"),
    "no nodes": spoilt(lambda d: d.update(nodes=[])),
    "nodes of another kind": spoilt(lambda d: d.update(nodes=["a"])),
    "no meta": spoilt(lambda d: d.pop("meta")),
    "a field missing": spoilt(lambda d: d["nodes"][1].pop("visits")),
    "a parent that is not there": spoilt(lambda d: d["nodes"][1].update(parent=7)),
    "no parent": spoilt(lambda d: d["nodes"][1].update(parent=None)),
    "its own parent": spoilt(lambda d: d["nodes"][1].update(parent=-1)),
    "another number": spoilt(lambda d: d["nodes"][1].update(id=2)),
    "a prompt that is not there": spoilt(
        lambda d: d["nodes"][1]["proposal"]["tokens"].update(prompt=3)
    ),
    "a cost of another kind": spoilt(lambda d: d["nodes"][1].update(cost=5)),
    "an unknown cost": spoilt(lambda d: d["nodes"][1].update(cost={"euros": 5})),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_one_sentence_that_names_it(damage, tmp_path):
    path = tmp_path / "t.json.gz"
    path.write_bytes(DAMAGED[damage])
    with pytest.raises(DataError) as error:
        Tree.load(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 300


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="no such tree file"):
        Tree.load(tmp_path / "nothing.json.gz")
    with pytest.raises(DataError, match="cannot be read as a tree"):
        Tree.load(tmp_path)


def test_another_format_is_told():
    with pytest.raises(DataError, match="expected a JSON object with format 'agentsearch.tree/1'"):
        Tree.from_json({"format": "x"})
