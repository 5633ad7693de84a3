"""Trees in the terminal: what is shown, and that foreign text stays text."""

import io

import pytest
from rich.console import Console

from agentsearch.budget import Usage
from agentsearch.errors import ConfigError
from agentsearch.tree import Node, Tree
from agentsearch.types import Proposal, Tokens
from agentsearch.viz.terminal import clean, draw_tree, find_node, node_facts

EVIL = "[red]x[/red] \x1b[31m\u202e\ud800\nend"


def drawn(tree, **options):
    out = io.StringIO()
    Console(file=out, width=120).print(draw_tree(tree, **options))
    return out.getvalue()


def a_tree():
    """Root, four children of 1..4 visits, the least visited one carried out."""
    tree = Tree(Node(0, None, "start"), "t")
    for visits in (1, 2, 3, 4):
        child = tree.add(tree.root, f"go {visits}", None, prior=0.25)
        child.visits, child.value_sum, child.value = visits, visits * 0.5, 0.75
    tree.root.visits = 10
    chosen = tree.root.children[0]
    end = tree.add(chosen, "stop", None, prior=1.0, reward=1.0, terminated=True)
    end.answer = "24"
    tree.meta = {"committed": [chosen.id, end.id], "credit_after_search": {"5": 1.0}}
    return tree


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain é 数 🙂", "plain é 数 🙂"),
        ("a\x1b[2Jb\r\n\t", r"a\x1b[2Jb\r\n\t"),
        ("\x9b\x00\x7f", r"\x9b\x00\x7f"),
        ("\u202e\u2028\ud800", r"\u202e\u2028\ud800"),
    ],
)
def test_characters_that_a_terminal_obeys_are_written_out(text, safe):
    assert clean(text) == safe


def test_line_ends_can_be_kept():
    assert clean("a\nb\r", keep="\n") == "a\nb\\r"


def test_a_line_per_node():
    text = drawn(a_tree())
    assert "* #0  start  mean 0.00  visits 10" in text
    assert "#4  go 4  value 0.75  mean 0.50  visits 4  prior 0.25" in text
    assert "* #5  stop  visits 0  prior 1.00  reward 1  end, correct: 24" in text


def test_most_visited_first_and_what_was_carried_out_always():
    text = drawn(a_tree(), top=2)
    shown = [line for line in text.splitlines() if "go" in line]
    assert [line.split("go ")[1][0] for line in shown] == ["4", "3", "1"]
    assert "... 1 more" in text


def test_depth_cuts_the_tree_and_says_so():
    text = drawn(a_tree(), depth=1)
    assert "stop" not in text and "... 1 below" in text
    assert "... 5 below" in drawn(a_tree(), depth=0)


def test_how_an_episode_ended():
    tree = Tree(Node(0, None, "s"))
    tree.add(tree.root, "a", None, terminated=True)
    tree.add(tree.root, "b", None, truncated=True)
    tree.add(tree.root, "c", None, terminated=True)
    tree.add(tree.root, "d", None, terminated=True)
    tree.meta = {"credit_after_search": {"1": 0.0, "3": 0.5}}
    lines = drawn(tree).splitlines()
    ends = ("end, wrong", "cut off", "end, credit 0.5", "end")
    assert [line.endswith(end) for line, end in zip(lines[1:], ends, strict=True)] == [True] * 4


def test_foreign_text_is_neither_markup_nor_obeyed():
    tree = Tree(Node(0, None, EVIL))
    child = tree.add(tree.root, EVIL, None, EVIL, terminated=True)
    child.answer = EVIL
    child.proposal = Proposal(EVIL, EVIL, version=EVIL)
    child.extra = {"note": EVIL}
    facts = "\n".join(text for _, text in node_facts(tree, child))
    for text in (drawn(tree), facts):
        assert "[red]x[/red]" in text and r"\x1b[31m\u202e\ud800" in text
        assert not any(c in text for c in "\x1b\u202e\ud800")


def test_a_deep_tree_is_drawn():
    tree = Tree(Node(0, None, "s"))
    node = tree.root
    for _ in range(3000):
        node = tree.add(node, "on", None)
    assert "... 2980 below" in drawn(tree, depth=20)


def test_everything_about_a_node():
    tree = a_tree()
    node = tree.nodes[5]
    tokens = Tokens((7, 8), (9, 2), (-0.5, -0.25), (True, False))
    node.proposal = Proposal(
        "stop", "stop!", 3, -0.75, tokens=tokens, duplicates=(tokens,), version="tiny@1"
    )
    node.cost = Usage(calls=2, prompt_tokens=10)
    node.observation = "line one\nline two"
    facts = dict(node_facts(tree, node))
    assert facts["node"] == "#5, depth 2, 0 children"
    assert facts["path"] == "#1  go 1\n#5  stop"
    assert facts["observation"] == "line one\nline two"
    assert facts["chosen"] == "yes" and facts["ended"] == "end, correct: 24"
    assert facts["raw text"] == "stop!" and facts["samples"] == "3"
    assert facts["log-probability"] == "-0.7500" and facts["policy version"] == "tiny@1"
    assert facts["prompt tokens"] == "2: 7 8"
    assert facts["reply tokens"] == facts["same action"] == "2: 9 (-0.500) [2 (-0.250)]"
    assert facts["cost"] == "calls 2, prompt_tokens 10, tokens 10"


def test_what_is_not_known_is_left_out():
    assert dict(node_facts(Tree(Node(0, None, "s")), Node(0, None, "s"))).keys() == {
        "node",
        "observation",
        "visits",
        "chosen",
    }


@pytest.mark.parametrize("number", [-1, 6])
def test_an_unknown_node_is_a_sentence(number):
    with pytest.raises(ConfigError, match=rf"node {number}: the tree has nodes 0 to 5"):
        find_node(a_tree(), number)
