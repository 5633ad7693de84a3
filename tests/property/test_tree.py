"""Any tree survives the way through JSON."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from agentsearch.budget import Usage
from agentsearch.tree import Node, Tree
from agentsearch.types import Proposal, Tokens

words = st.text(max_size=8)
numbers = st.floats(-1e9, 1e9)
maybe = st.none() | numbers
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def some_tokens(draw):
    n = draw(st.integers(0, 3))
    ids = st.tuples(*[st.integers(0, 9)] * n)
    sampled = st.tuples(*[st.booleans()] * n)
    prompt = draw(st.lists(st.integers(0, 2), max_size=2).map(tuple))
    return Tokens(prompt, draw(ids), draw(st.tuples(*[numbers] * n)), draw(sampled))


proposals = st.builds(
    Proposal,
    action=st.none() | words,
    raw=words,
    count=st.integers(1, 9),
    logprob=maybe,
    prior=maybe,
    value=maybe,
    tokens=st.none() | some_tokens(),
    duplicates=st.lists(some_tokens(), max_size=2).map(tuple),
    version=words,
)
usages = st.builds(Usage, calls=st.integers(0, 9), cached_tokens=st.integers(0, 9))


@st.composite
def trees(draw):
    tree = Tree(Node(0, None, draw(words)), draw(words), draw(words))
    tree.meta = draw(st.dictionaries(words, plain, max_size=3))
    for _ in range(draw(st.integers(0, 12))):
        node = tree.add(
            draw(st.sampled_from(tree.nodes)),
            draw(words),
            None,
            draw(words),
            prior=draw(numbers),
            reward=draw(maybe),
            terminated=draw(st.booleans()),
            truncated=draw(st.booleans()),
            proposal=draw(st.none() | proposals),
        )
        node.visits, node.value_sum = draw(st.integers(0, 99)), draw(numbers)
        node.value, node.answer = draw(maybe), draw(st.none() | words)
        node.draws, node.cost = draw(st.integers(0, 2**63)), draw(st.none() | usages)
        node.extra = draw(st.none() | st.dictionaries(words, plain, max_size=2))
    return tree


@settings(max_examples=40)
@given(trees())
def test_json_out_and_in_again_is_the_same_tree(tree):
    data = tree.to_json()
    again = Tree.from_json(json.loads(json.dumps(data)))
    assert again.to_json() == data
    assert [n.depth for n in again.nodes] == [n.depth for n in tree.nodes]
    assert [n.proposal for n in again.nodes] == [n.proposal for n in tree.nodes]


@settings(max_examples=20)
@given(trees())
def test_every_node_is_reached_once_from_the_root(tree):
    assert sorted(node.id for node in tree.root.descendants()) == list(range(len(tree)))
    for leaf in tree.root.leaves():
        assert leaf.path()[0] is tree.root and leaf.path()[-1] is leaf
        assert len(tree.trajectory(leaf).turns) == leaf.depth
