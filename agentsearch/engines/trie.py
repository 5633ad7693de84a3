"""Token sequences as a trie, so that shared prefixes are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

ROOT = -1
"""The place before the first token of every sequence: the prompt's end."""


@dataclass(frozen=True)
class TokenTrie:
    """Nodes in an order that puts parents first.

    Attributes:
        ids: token of every node.
        parents: node before it, ROOT for the first tokens.
        depths: 0 for the first tokens.
        paths: for every sequence given, its nodes.
    """

    ids: list[int] = field(default_factory=list[int])
    parents: list[int] = field(default_factory=list[int])
    depths: list[int] = field(default_factory=list[int])
    paths: list[list[int]] = field(default_factory=list[list[int]])

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> TokenTrie:
        """The trie of `sequences`, whose paths are in the same order."""
        trie = cls()
        known: dict[tuple[int, int], int] = {}
        for sequence in sequences:
            node, path = ROOT, list[int]()
            for depth, token in enumerate(sequence):
                parent = node
                node = known.setdefault((parent, token), len(trie.ids))
                if node == len(trie.ids):
                    trie.ids.append(token)
                    trie.parents.append(parent)
                    trie.depths.append(depth)
                path.append(node)
            trie.paths.append(path)
        return trie

    def ancestors(self, node: int) -> list[int]:
        """`node` and all nodes before it: what its token may attend to."""
        found: list[int] = []
        while node != ROOT:
            found.append(node)
            node = self.parents[node]
        return found
