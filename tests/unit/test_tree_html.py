"""Pages of runs and trees: what is in them, and what cannot get out of them."""

import base64
import hashlib
import json
import logging
import re
import shutil
import zlib
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
import yaml

from agentsearch import commands
from agentsearch.budget import Usage
from agentsearch.data.runs import Run
from agentsearch.errors import ConfigError, DataError
from agentsearch.policies.prompts import Prompts
from agentsearch.tree import Node, Tree
from agentsearch.types import Context, Message, Proposal, Turn
from agentsearch.viz.sent import Prompter
from agentsearch.viz.tree_html import BLOCK, default_path, page_name, tree_html, write_view
from tests.toy import Letters

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\u202e'


class Reader(HTMLParser):
    """The elements of a page, and the content of its scripts and style."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.content, self.title = [], [], {}, ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("script", "style", "title"):
            self._inside = dict(attrs).get("id", tag)

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside:
            self.content[self._inside] = self.content.get(self._inside, "") + data

    def block(self, name):
        return json.loads(zlib.decompress(base64.b64decode(self.content[name])))


class Page(Reader):
    """A page with its index, and the first tree's head and texts."""

    def __init__(self, page, tree=0):
        super().__init__(page)
        self.index = self.block("index")
        if f"tree-{tree}-0" in self.content:
            self.head = self.block(f"tree-{tree}-0")
            self.nodes = self.head["nodes"]
            names = [f"tree-{tree}-{i + 1}" for i in range(len(self.head["starts"]))]
            self.blocks = [self.block(name) for name in names]
            self.texts = [text for block in self.blocks for text in block]

    def text(self, column, node):
        number = self.nodes[column][node]
        return None if number is None else self.texts[number]

    def chat(self, node):
        """The messages at a node, put together as the page does it."""
        chat, path = [], []
        while node is not None:
            path.append(node)
            node = self.nodes["parent"][node]
        for each in reversed(path):
            if self.head["prompts"][each] is None:
                return None
            shared, *added = self.head["prompts"][each]
            chat = chat[:shared] + added
        messages = [self.head["messages"][place] for place in chat]
        return tuple(Message(role, self.texts[text]) for role, text in messages)


def small():
    tree = Tree(Node(0, None, "at the start"), "toy/1", "Spell the word.")
    a = tree.add(tree.root, "a", None, "seen twice", prior=0.25, proposal=Proposal("a", "a!"))
    tree.add(tree.root, "b", None, "seen twice", reward=0.5, terminated=True)
    tree.add(a, "c", None, "cut", truncated=True)
    tree.root.visits, tree.root.value_sum, tree.root.value = 3, 1.5, 0.25
    tree.root.cost, tree.root.draws = Usage(calls=2, prompt_tokens=7, generated_tokens=1), 4
    tree.meta = {"committed": [2], "credit_after_search": {"2": 1.0}}
    return tree


def test_a_page_holds_everything_a_tree_knows():
    page = Page(tree_html(small()))
    assert page.index == {"tasks": None} and page.head["task"] == "toy/1"
    assert page.nodes["parent"] == [None, 0, 0, 1]
    assert page.text("observation", 0) == "at the start" and page.text("raw", 1) == "a!"
    assert [page.text("action", i) for i in range(4)] == ["", "a", "b", "c"]
    assert page.nodes["prior"][1] == 0.25 and page.nodes["reward"] == [None, None, 0.5, None]
    assert page.nodes["end"] == [0, 0, 1, 2] and page.nodes["credit"][2] == 1.0
    assert (page.nodes["visits"][0], page.nodes["sum"][0], page.nodes["value"][0]) == (3, 1.5, 0.25)
    assert page.nodes["cost"][0] == {
        "calls": 2,
        "prompt_tokens": 7,
        "generated_tokens": 1,
        "tokens": 8,
    }
    assert page.head["committed"] == [0, 2] and page.nodes["draws"][0] == 4
    assert page.head["facts"] == [["task", "Spell the word."]]


def test_equal_texts_stand_once():
    page = Page(tree_html(small()))
    assert page.texts.count("seen twice") == 1
    assert page.nodes["observation"][1] == page.nodes["observation"][2]
    long = small()
    long.nodes[1].observation = long.nodes[2].observation = "x" * 5000
    assert Page(tree_html(long)).texts.count("x" * 5000) == 1


def test_texts_are_found_across_blocks():
    tree = small()
    for i, node in enumerate(tree.nodes):
        node.observation = str(i) * (BLOCK // 2 + 1)
    page = Page(tree_html(tree))
    assert len(page.blocks) > 1
    sizes = [len(block) for block in page.blocks]
    assert page.head["starts"] == [sum(sizes[:i]) for i in range(len(sizes))]
    assert [page.text("observation", i)[0] for i in range(4)] == ["0", "1", "2", "3"]


def test_many_nodes_of_repeating_text_stay_small():
    tree = Tree(Node(0, None, "o" * 5000), "big", "")
    for i in range(1, 4_000):
        tree.add(tree.nodes[(i - 1) // 6], f"{i % 6}", None, f"{i % 50}" + "o" * 5000)
    assert len(tree_html(tree)) < 300_000


def test_a_picture_is_kept_apart_from_other_records():
    tree = small()
    tree.nodes[1].extra = {"picture": "# # \n# >r", "rounds": 3}
    page = Page(tree_html(tree))
    assert page.text("picture", 1) == "# # \n# >r"
    assert json.loads(page.text("extra", 1)) == {"rounds": 3}
    assert page.nodes["picture"][0] is None and page.nodes["extra"][0] is None


def test_numbers_that_json_has_no_word_for():
    tree = small()
    tree.root.value, tree.root.value_sum = float("inf"), float("nan")
    page = Page(tree_html(tree))
    assert page.nodes["value"][0] == "inf" and page.nodes["sum"][0] == "nan"


def test_hostile_text_stays_text():
    tree = Tree(Node(0, None, HOSTILE), HOSTILE, HOSTILE)
    tree.add(tree.root, HOSTILE, None, "\ud800 alone", proposal=Proposal(HOSTILE, HOSTILE))
    quiet, loud = Page(tree_html(small())), Page(tree_html(tree))
    assert loud.tags == quiet.tags and "img" not in loud.tags
    assert loud.head["task"] == HOSTILE and loud.text("raw", 1) == HOSTILE
    assert loud.text("observation", 1) == "\ud800 alone"


def test_nothing_is_asked_of_the_network_and_only_our_script_runs():
    page = Page(tree_html(small()))
    [policy] = [v for _, v in page.attributes if v and v.startswith("default-src")]
    assert "default-src 'none'" in policy and "connect-src" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.content[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    links = [v for k, v in page.attributes if k in ("src", "href")]
    assert links == ["data:,", "#"]
    assert "http" not in page.content["script"] + page.content["style"]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(", page.content["script"])


# -- prompts ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """A style of prompt that names the legal actions."""

    end: str = "?"

    def propose_messages(self, context):
        legal = ", ".join(context.legal_actions)
        return (Message("user", f"{context.observation}: {legal}{self.end}"),)


@dataclass(frozen=True)
class Lister:
    """A policy with that style; it takes the letters in turn."""

    prompts: Listing = Listing()
    free = True

    async def propose(self, context, n, *, seed, mode="sample"):
        return [Proposal(letter, letter) for letter in context.legal_actions[:n]]


@dataclass(frozen=True)
class Slow(Letters):
    instant: bool = False


@dataclass(frozen=True)
class Changed(Letters):
    def observe(self, state):
        return state.upper()


def name(cls):
    return f"{cls.__module__}:{cls.__name__}"


SHORT = {"instruction": "One letter, please."}
WORDY = {"name": "prompted", "engine": {"name": "scripted", "replies": ["a", "b", "c"]}}


def searched(folder, policy, env=Letters, limit=1):
    """A run of the first tasks, made here."""
    recipe = {
        "env": name(env),
        "policy": policy,
        "value": "uniform",
        "search": {"name": "beam", "beam_width": 2},
        "budget": {"calls": 30},
        "tasks": {"split": "dev", "limit": limit},
        "run": "mine",
    }
    return Run(commands.search(recipe, runs_dir=folder).folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("runs"), WORDY | {"prompts": SHORT}, limit=3).path


@pytest.fixture
def run(made, tmp_path):
    """A run of three tasks, to do with as one likes."""
    return Run(shutil.copytree(made, tmp_path / "mine"))


def context(tree, node):
    path = node.path()
    turns = [Turn(a.observation, b.action) for a, b in zip(path, path[1:], strict=False)]
    return Context(tree.prompt, node.observation, tuple(turns))


def test_prompts_are_those_the_policy_makes(run, tmp_path):
    page = Page(write_view(run, tmp_path / "x.html", "0").read_text())
    tree = run.tree("letters/dev/0")
    prompts = Prompts(**SHORT)
    asked = [node for node in tree.nodes if not node.done]
    assert len(asked) > 5
    for node in asked:
        assert page.chat(node.id) == prompts.propose_messages(context(tree, node))
    assert all(page.chat(node.id) is None for node in tree.nodes if node.done)
    deep = next(node for node in asked if node.depth == 2)
    assert len(page.head["prompts"][deep.id]) == 3  # what it shares, and two new messages


def test_no_model_is_made_for_the_prompts(run):
    engine = {"name": "hf", "model": "no/such/model"}
    config = {**run.config, "policy": {"name": "prompted", "engine": engine}}
    assert isinstance(Prompter.of(config).prompts, Prompts)


def test_prompts_that_name_the_legal_actions_take_the_actions_again(tmp_path):
    run = searched(tmp_path, name(Lister))
    page = Page(write_view(run, tmp_path / "x.html", "0").read_text())
    assert page.chat(0) == (Message("user", ": a, b, c?"),)
    assert page.head["promptsNote"] == ""


@pytest.mark.parametrize(
    ("policy", "env", "why"),
    [
        ("random", Letters, "The policy 'random' sends no prompts."),
        (name(Lister), Slow, "its steps are not instant"),
    ],
)
def test_why_there_are_no_prompts(tmp_path, policy, env, why):
    run = searched(tmp_path, policy, env)
    page = Page(write_view(run, tmp_path / "x.html", "0").read_text())
    assert why in page.head["promptsNote"] and page.head["prompts"] == []


def test_an_environment_that_changed_is_not_guessed_at(tmp_path):
    run = searched(tmp_path, name(Lister))
    prompter = Prompter.of({**run.config, "env": {"name": name(Changed)}})
    with pytest.raises(DataError, match="observes something else at node 1"):
        list(prompter.chats(run.tree("letters/dev/0")))


def test_a_policy_that_cannot_be_made_is_a_note(run, tmp_path):
    config = {**run.config, "policy": {"name": "gone"}}
    (run.path / "config.yaml").write_text(yaml.safe_dump(config))
    page = Page(write_view(Run(run.path), tmp_path / "x.html", "0").read_text())
    assert "cannot be made here: policy 'gone'" in page.head["promptsNote"]


# -- runs ------------------------------------------------------------------------------


def test_a_run_has_a_table_and_all_trees(run):
    out = write_view(run, default_path(run))
    assert out == run.path / "view" / "index.html"
    page = Page(out.read_text(), tree=2)
    rows = page.index["tasks"]
    assert [row["tree"] for row in rows] == [0, 1, 2]
    assert {row["task"] for row in rows} == {f"letters/dev/{i}" for i in range(3)}
    assert rows[0]["calls"] == run.results[0]["usage"]["calls"] and rows[0]["nodes"] > 1
    assert page.head["task"] == rows[2]["task"]
    facts = dict(page.head["facts"])
    assert facts["run"] == "mine" and facts["setting"] == "plan, reward hidden, can go back"
    assert facts["verdict"] in ("correct", "wrong") and facts["search"] == "beam"
    assert dict(page.index["facts"])["tasks"] == "3 of 3"


def test_the_trees_of_a_large_run_lie_beside_it(run, tmp_path):
    out = write_view(run, tmp_path / "new" / "all.html", embedded=100)
    rows = Page(out.read_text()).index["tasks"]
    assert [row["file"] for row in rows] == [f"all-trees/{page_name(r['task'])}" for r in rows]
    for row in rows:
        assert Page((out.parent / row["file"]).read_text()).head["task"] == row["task"]
    assert {path.name for path in out.parent.iterdir()} == {"all.html", "all-trees"}


def test_a_damaged_tree_costs_no_other(run, tmp_path, caplog):
    (run.path / "trees" / "letters+dev+0.json.gz").write_bytes(b"no tree")
    with caplog.at_level(logging.WARNING):
        rows = Page(write_view(run, tmp_path / "x.html").read_text()).index["tasks"]
    assert "1 of 3 tasks have no tree to draw" in caplog.text
    missing = [row for row in rows if "missing" in row]
    assert [row["task"] for row in missing] == ["letters/dev/0"]
    assert [row["tree"] for row in rows if "tree" in row] == [0, 1]


def test_a_run_that_was_ended_early_says_so(run, tmp_path):
    (run.path / "summary.json").unlink()
    facts = dict(Page(write_view(run, tmp_path / "x.html").read_text()).index["facts"])
    assert facts["ended early"] == "the run has no summary" and "of 3 tasks" in facts["success"]


def test_a_task_that_is_not_there_and_a_place_that_cannot_be_written(run, tmp_path):
    with pytest.raises(DataError, match="no such task"):
        write_view(run, tmp_path / "x.html", "nope")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"x\.html: cannot be written"):
        write_view(run, tmp_path / "file" / "x.html", "0")
    assert not (tmp_path / "x.html").exists()
