"""Token tries: shared prefixes once, parents first."""

from hypothesis import given
from hypothesis import strategies as st

from agentsearch.engines.trie import ROOT, TokenTrie

SEQUENCES = st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=8)


def test_shared_prefixes_are_one_node():
    trie = TokenTrie.of([[7, 8, 9], [7, 8], [7, 5], [], [4]])
    assert trie.ids == [7, 8, 9, 5, 4]
    assert trie.parents == [ROOT, 0, 1, 0, ROOT]
    assert trie.depths == [0, 1, 2, 1, 0]
    assert trie.paths == [[0, 1, 2], [0, 1], [0, 3], [], [4]]


def test_ancestors_reach_back_to_the_first_token():
    trie = TokenTrie.of([[7, 8, 9], [7, 5]])
    assert sorted(trie.ancestors(2)) == [0, 1, 2]
    assert sorted(trie.ancestors(3)) == [0, 3]


@given(SEQUENCES)
def test_every_path_spells_its_sequence_and_no_node_is_double(sequences: list[list[int]]):
    trie = TokenTrie.of(sequences)
    for sequence, path in zip(sequences, trie.paths, strict=True):
        assert [trie.ids[node] for node in path] == sequence
        if path:
            assert sorted(trie.ancestors(path[-1])) == path
    assert len(set(zip(trie.parents, trie.ids, strict=True))) == len(trie.ids)
    assert all(parent < node for node, parent in enumerate(trie.parents))
    prefixes = {tuple(s[: i + 1]) for s in sequences for i in range(len(s))}
    assert len(trie.ids) == len(prefixes)
