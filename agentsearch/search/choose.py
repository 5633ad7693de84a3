"""Final-answer rules: from a grown tree to the leaf whose path is the answer.

Pure functions of the tree below `root`. None of them sees a verifier, nor a reward that
search was not shown. Finished episodes are preferred to unfinished ones wherever there
is one; the root itself is returned when nothing was grown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Literal

from agentsearch.errors import ConfigError, did_you_mean
from agentsearch.tree import Node

Rule = Callable[[Node], Node]
RuleName = Literal[
    "most_visited", "best_value", "best_seen", "majority_vote", "weighted_vote", "likeliest"
]


def most_visited(root: Node) -> Node:
    """Follow the most visited child down; ties go to mean value, prior, then age.

    Only branches with a finished episode are followed, where there is one.
    """
    finished = _with_finish(root)
    node = root
    while node.children:
        branches = [child for child in node.children if child in finished] or node.children
        node = max(branches, key=lambda c: (c.visits, c.mean_value, c.prior, -c.id))
    return node


def best_value(root: Node) -> Node:
    """The finished leaf of the highest return; ties go to the likelier path, then age."""
    return max(
        _ends(root), key=lambda leaf: (round(path_return(leaf, root), 9), _likelihood(leaf, root))
    )


def best_seen(root: Node) -> Node:
    """The visited node of the highest return, finished or not.

    Ties go to a finished one, then to the first seen.

    Source: Koh et al., 2024, whose committed path may stop short of an ending.
    """
    seen = [node for node in root.descendants() if node.visits and node is not root]
    return max(
        seen or [root],
        key=lambda node: (round(path_return(node, root), 9), node.terminated, -node.id),
    )


def majority_vote(root: Node) -> Node:
    """The likeliest leaf among those with the most frequent answer.

    Source: Wang et al., 2023, self-consistency.
    """
    return _vote(root, lambda leaf: float(max(leaf.visits, 1)))


def weighted_vote(root: Node) -> Node:
    """As `majority_vote`, each sample weighing its return.

    Source: Li et al., 2023, step-aware verifiers (weighted majority).
    """
    return _vote(root, lambda leaf: max(leaf.visits, 1) * path_return(leaf, root))


def likeliest(root: Node) -> Node:
    """The finished leaf whose path has the highest product of priors."""
    return max(_ends(root), key=lambda leaf: _likelihood(leaf, root))


RULES: dict[str, Rule] = {
    "most_visited": most_visited,
    "best_value": best_value,
    "best_seen": best_seen,
    "majority_vote": majority_vote,
    "weighted_vote": weighted_vote,
    "likeliest": likeliest,
}


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in RULES:
        known = ", ".join(RULES)
        raise ConfigError(
            f"choose={name!r}: no such rule.{did_you_mean(name, RULES)} Rules: {known}."
        )
    return RULES[name]


def path_return(leaf: Node, root: Node) -> float:
    """Rewards seen from `root` to `leaf`, plus what the leaf was valued at.

    A leaf that was not valued, because the budget ended first, promises what the nearest
    valued node above it did.
    """
    known = leaf
    if not (leaf.terminated and leaf.reward is not None):
        known = next((n for n in (*_below(leaf, root), root) if n.value is not None), leaf)
    rewards = (node.reward or 0.0 for node in _below(known, root))
    return sum(rewards) + (known.value or 0.0)


def _below(leaf: Node, root: Node) -> Iterable[Node]:
    for node in leaf.path_to_root():
        if node is root:
            return
        yield node


def _likelihood(leaf: Node, root: Node) -> float:
    product = 1.0
    for node in _below(leaf, root):
        product *= node.prior
    return product


def _ends(root: Node) -> list[Node]:
    """The leaves to choose from: terminated, else truncated, else any."""
    leaves = list(root.leaves())
    return (
        [leaf for leaf in leaves if leaf.terminated]
        or [leaf for leaf in leaves if leaf.truncated]
        or leaves
    )


def _with_finish(root: Node) -> set[Node]:
    """The nodes at or below `root` that lead to a terminated leaf."""
    reached: set[Node] = set()
    for leaf in root.leaves():
        if leaf.terminated:
            reached.update(_below(leaf, root))
    return reached


def _vote(root: Node, weight: Callable[[Node], float]) -> Node:
    ends = _ends(root)
    votes: defaultdict[str, float] = defaultdict(float)
    for leaf in ends:
        votes[_answer(leaf)] += weight(leaf)
    winner = max(votes, key=votes.__getitem__)
    return max((e for e in ends if _answer(e) == winner), key=lambda leaf: _likelihood(leaf, root))


def _answer(leaf: Node) -> str:
    return leaf.observation if leaf.answer is None else leaf.answer
