"""How texts are scored at a vLLM, in this process or at a server.

`prefill` reads every text behind the whole prompt, and the prompt's log-probabilities with
it. All of it is computed: where those are asked for, vLLM reads no prefix cache.

`walk` asks for a single token at every place in the trie of the texts' tokens, with the
log-probabilities of exactly the tokens that continue there. The prompt is computed once,
then read from the cache, and little more than one token is computed for each place: first
for the prompt's end, then for all others side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from agentsearch.engines.trie import TokenTrie
from agentsearch.types import Completion, Tokens

MOST_TOKEN_IDS = 128
"""Most tokens whose log-probabilities vLLM gives for one request."""
PLACE_TOKENS = 24
"""Tokens of a prompt that could be computed in the time that one place of a walk takes."""

Place = tuple[int, list[int]]
"""A node of a trie, or ROOT, and the nodes that continue there."""


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of every text's tokens.

    Attributes:
        cached: tokens of the prompt that had been computed before.
        version: of the model.
    """

    logprobs: list[list[float]]
    cached: int
    version: str

    def completions(
        self, texts: Sequence[str], prompt: Sequence[int], ids: Sequence[Sequence[int]]
    ) -> list[Completion]:
        """A completion for each text, whose ids end with the end-of-turn token."""
        completions: list[Completion] = []
        for text, own, logprobs in zip(texts, ids, self.logprobs, strict=True):
            tokens = Tokens(tuple(prompt), tuple(own), tuple(logprobs), (False,) * len(own))
            completions.append(
                Completion(
                    text=text,
                    finish="scored",
                    tokens=tokens,
                    logprob=tokens.logprob,
                    prompt_tokens=len(prompt),
                    # the others share the prompt that the first has paid for
                    cached_tokens=len(prompt) if completions else self.cached,
                    generated_tokens=len(own),
                    version=self.version,
                )
            )
        return completions


def walk_is_shorter(prompt: int, ids: Sequence[Sequence[int]], places: int) -> bool:
    """Whether a walk computes less than a prefill, in tokens of a prompt."""
    prefill = sum(prompt + len(each) for each in ids)
    return prompt + PLACE_TOKENS * places < prefill


def walk_is_better(
    prompt: int, ids: Sequence[Sequence[int]], places: int, limit: int | None
) -> bool:
    """Whether a walk is shorter, or a prefill does not fit: vLLM adds a token to it."""
    return prompt + max(map(len, ids)) == limit or walk_is_shorter(prompt, ids, places)


def batches_of(trie: TokenTrie) -> list[list[Place]]:
    """Places that one request asks for, the prompt's end first and alone.

    They are of one depth, where few different tokens continue, since a request to a server
    names the tokens of all its places together.
    """
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(trie.parents):
        children.setdefault(parent, []).append(node)
    places = [
        (parent, nodes[i : i + MOST_TOKEN_IDS])
        for parent, nodes in children.items()
        for i in range(0, len(nodes), MOST_TOKEN_IDS)
    ]

    def depth(place: Place) -> int:
        return trie.depths[place[1][0]]

    batches: list[list[Place]] = []
    for _, level in itertools.groupby(sorted(places, key=depth), depth):
        tokens = set[int]()
        for i, place in enumerate(level):
            own = {trie.ids[node] for node in place[1]}
            if not i or len(tokens | own) > MOST_TOKEN_IDS:
                batches.append([])
                tokens = set[int]()
            batches[-1].append(place)
            tokens |= own
    return batches


def path_to(trie: TokenTrie, node: int) -> list[int]:
    """Tokens from the prompt's end to a node and including it; none to ROOT."""
    return [trie.ids[each] for each in reversed(trie.ancestors(node))]
