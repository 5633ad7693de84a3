"""A path of a tree as segments: runs of turns whose prompts only grow.

A segment is what the model saw and wrote, token by token: the prompt of its first turn,
then completions and what the environment said between them. Where the next prompt does not
begin with all of that (a history window dropped turns, a thought is not shown again) a new
segment begins. Nothing is tokenised here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agentsearch.data.rows import Floats, Ids, Texts
from agentsearch.tree import Node, Tree
from agentsearch.types import Tokens, Verdict

NO_TOKENS = "without token ids"
NO_LOGPROBS = "without log-probabilities"
MIXED_VERSIONS = "written by several policy versions"


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive turns of one path; N tokens of completion.

    Attributes:
        nodes: the nodes that its actions lead to, in order.
        prompt_ids: prompt of the first turn.
        completion_ids: `[N]`, the completions and what stood between them.
        mask: `[N]`, 1 on the completions.
        logprobs: `[N]`, natural-log probabilities as recorded; 0 off the mask.
        turn_ids: `[N]`, number of the turn within the path; -1 off the mask.
    """

    nodes: tuple[Node, ...]
    prompt_ids: Ids
    completion_ids: Ids
    mask: Ids
    logprobs: Floats
    turn_ids: Ids

    @property
    def logprob(self) -> float:
        """Summed log-probability of what the policy wrote."""
        return math.fsum(self.logprobs)

    @property
    def node_ids(self) -> Ids:
        """Numbers of its nodes."""
        return tuple(node.id for node in self.nodes)

    @property
    def texts(self) -> Texts:
        """What the model wrote in each turn."""
        return tuple(node.proposal.raw for node in self.nodes if node.proposal)

    @property
    def version(self) -> str:
        """The policy that wrote it."""
        return version(self.nodes[0])


@dataclass(frozen=True, slots=True)
class Ended:
    """A path to an end, taken again in the environment and judged."""

    leaf: Node
    verdict: Verdict

    @property
    def path(self) -> list[Node]:
        """The nodes its actions lead to; the root is not among them."""
        return self.leaf.path()[1:]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A tree and the truth about its ends.

    Attributes:
        env, run: where it was grown.
        ended: its paths to an end, by number of the last node.
    """

    env: str
    run: str
    tree: Tree
    ended: tuple[Ended, ...]

    @property
    def carried_out_first(self) -> list[Ended]:
        """The same paths, that of the real episode before all others."""
        committed = self.tree.meta.get("committed") or [None]
        return sorted(self.ended, key=lambda each: each.leaf.id != committed[-1])


def segments(path: Sequence[Node]) -> list[Segment]:
    """The segments of a path whose nodes are all trainable, see `untrainable`.

    Args:
        path: from a child of the root downwards.
    """
    found: list[Segment] = []
    start, sofar = 0, ()
    for turn, node in enumerate(path):
        tokens = tokens_of(node)
        if turn and tokens.prompt[: len(sofar)] != sofar:
            found.append(_segment(path[start:turn], start))
            start = turn
        sofar = tokens.prompt + tokens.ids
    return [*found, _segment(path[start:], start)]


def _segment(nodes: Sequence[Node], first: int) -> Segment:
    prompt = tokens_of(nodes[0]).prompt
    ids: list[int] = []
    mask: list[int] = []
    logprobs: list[float] = []
    turns: list[int] = []
    for turn, node in enumerate(nodes, first):
        tokens = tokens_of(node)
        between = tokens.prompt[len(prompt) + len(ids) :]
        ids += between + tokens.ids
        mask += [0] * len(between) + [1] * len(tokens.ids)
        logprobs += [0.0] * len(between) + list(tokens.logprobs)
        turns += [-1] * len(between) + [turn] * len(tokens.ids)
    return Segment(tuple(nodes), prompt, tuple(ids), tuple(mask), tuple(logprobs), tuple(turns))


def untrainable(path: Sequence[Node]) -> str:
    """Why a path gives no rows; empty where it does."""
    for node in path:
        tokens = node.proposal and node.proposal.tokens
        if not tokens or not tokens.prompt or not tokens.ids:
            return NO_TOKENS
        if len(tokens.logprobs) != len(tokens.ids) or not all(map(math.isfinite, tokens.logprobs)):
            return NO_LOGPROBS
    return "" if len({version(node) for node in path}) < 2 else MIXED_VERSIONS


def scored(path: Sequence[Node]) -> bool:
    """Whether some action was scored, or given, rather than sampled token by token."""
    return not all(all(tokens_of(node).sampled) for node in path)


def tokens_of(node: Node) -> Tokens:
    """The tokens of the action that led to a trainable node."""
    assert node.proposal is not None and node.proposal.tokens is not None
    return node.proposal.tokens


def version(node: Node) -> str:
    """The policy that proposed the action that led here."""
    return node.proposal.version if node.proposal else ""
