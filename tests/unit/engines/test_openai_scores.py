"""Which way of scoring is shorter, and what a walk asks for together."""

from agentsearch.engines.scoring import (
    MOST_TOKEN_IDS,
    PLACE_TOKENS,
    batches_of,
    path_to,
    walk_is_better,
    walk_is_shorter,
)
from agentsearch.engines.trie import ROOT, TokenTrie


def test_a_walk_pays_where_many_texts_share_a_long_prompt():
    ids = [[1, 9], [2, 9], [3, 9], [4, 9]]  # five places: four words, each closed
    prefill = [4 * prompt + 8 for prompt in (30, 60)]
    walk = [prompt + 5 * PLACE_TOKENS for prompt in (30, 60)]
    assert PLACE_TOKENS == 24
    assert (prefill, walk) == ([128, 248], [150, 180])
    assert [walk_is_shorter(prompt, ids, 5) for prompt in (30, 60)] == [False, True]
    assert not walk_is_shorter(10_000, [[1, 9]], 2)  # nothing to share


def test_a_walk_is_taken_where_the_context_has_no_room_for_a_prefill():
    ids = [[1, 2, 9]]
    assert not walk_is_better(100, ids, 3, limit=104)
    assert walk_is_better(100, ids, 3, limit=103)
    assert not walk_is_better(100, ids, 3, limit=None)


def test_places_of_one_depth_are_asked_for_together_and_the_root_first():
    trie = TokenTrie.of([[5, 6, 9], [5, 7, 9], [8, 9]])
    named = [[(path_to(trie, place), len(nodes)) for place, nodes in b] for b in batches_of(trie)]
    assert named == [[([], 2)], [([5], 2), ([8], 1)], [([5, 6], 1), ([5, 7], 1)]]


def test_no_request_names_more_tokens_than_the_server_takes():
    wide = [[i, 1000 + i, 9] for i in range(MOST_TOKEN_IDS + 2)]
    trie = TokenTrie.of(wide)
    batches = batches_of(trie)
    for batch in batches:
        assert len({trie.ids[node] for _, nodes in batch for node in nodes}) <= MOST_TOKEN_IDS
    assert [len(batch) for batch in batches] == [1, 1, MOST_TOKEN_IDS, 2, MOST_TOKEN_IDS + 2]
    assert [place for batch in batches[:2] for place, _ in batch] == [ROOT, ROOT]
    nodes = [node for batch in batches for _, nodes in batch for node in nodes]
    assert sorted(nodes) == list(range(len(trie.ids)))
