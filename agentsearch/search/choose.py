"""Final-answer rules: from a grown tree to the node whose path is the answer.

Pure functions of the tree below `root`. None of them sees a verifier, nor a reward that
search was not shown; the root itself is returned when nothing was grown. Most take

    prefer_finished: whether a finished episode is chosen before any unfinished one. An
        answer has to be finished; a decision in the middle of an episode has not, and there
        an ending is worth what it promises, no more: it may be a failure.
    discount: of a value or reward for each step it lies ahead of `root`.
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


def most_visited(root: Node, prefer_finished: bool = True, discount: float = 1.0) -> Node:
    """Follow the most visited child down; ties go to mean value, prior, then age.

    With `prefer_finished` only branches with a finished episode are followed, where there
    is one; without, this is the robust child of Chaslot et al., 2008, and an ending comes
    before an equal that goes on.
    """
    finished = _with_finish(root) if prefer_finished else set[Node]()
    node = root
    while node.children:
        branches = [child for child in node.children if child in finished] or node.children
        node = max(
            branches,
            key=lambda c: (
                c.visits,
                c.mean_value,
                c.terminated and not prefer_finished,
                c.prior,
                -c.id,
            ),
        )
    return node


def best_value(root: Node, prefer_finished: bool = True, discount: float = 1.0) -> Node:
    """The leaf of the highest return; ties go to the likelier path, then age.

    With `prefer_finished` a finished one. Without, the deepest valued nodes stand for their
    branches, ties go to an ending, then to fewer steps, before all else, and where nothing
    was valued visits decide.
    """
    ends = _finished(root) if prefer_finished else _valued(root)
    if not ends:
        return most_visited(root, prefer_finished=False)

    def worth(node: Node) -> tuple[float, ...]:
        value, likelihood = round(path_return(node, root, discount), 9), _likelihood(node, root)
        if prefer_finished:
            return value, likelihood
        return value, node.terminated, -node.depth, likelihood

    return max(ends, key=worth)


def best_seen(root: Node, prefer_finished: bool = True, discount: float = 1.0) -> Node:
    """The visited node of the highest return, finished or not.

    Ties go to a finished one, then to the first seen. `prefer_finished` changes nothing.

    Source: Koh et al., 2024, whose committed path may stop short of an ending.
    """
    seen = [node for node in root.descendants() if node.visits and node is not root]
    return max(
        seen or [root],
        key=lambda node: (round(path_return(node, root, discount), 9), node.terminated, -node.id),
    )


def majority_vote(root: Node, prefer_finished: bool = True, discount: float = 1.0) -> Node:
    """The likeliest leaf among those with the most frequent answer.

    Source: Wang et al., 2023, self-consistency.
    """
    ends = _finished(root) if prefer_finished else list(root.leaves())
    return _vote(ends, root, lambda leaf: float(max(leaf.visits, 1)))


def weighted_vote(root: Node, prefer_finished: bool = True, discount: float = 1.0) -> Node:
    """As `majority_vote`, each sample weighing its return.

    Source: Li et al., 2023, step-aware verifiers (weighted majority).
    """
    ends = _finished(root) if prefer_finished else _valued(root)
    if not ends:
        return majority_vote(root, prefer_finished=False)
    return _vote(ends, root, lambda leaf: max(leaf.visits, 1) * path_return(leaf, root, discount))


def likeliest(root: Node, prefer_finished: bool = True, discount: float = 1.0) -> Node:
    """The leaf whose path has the highest product of priors."""
    ends = _finished(root) if prefer_finished else list(root.leaves())
    return max(ends, key=lambda leaf: _likelihood(leaf, root))


RULES: dict[str, Callable[[Node, bool, float], Node]] = {
    "most_visited": most_visited,
    "best_value": best_value,
    "best_seen": best_seen,
    "majority_vote": majority_vote,
    "weighted_vote": weighted_vote,
    "likeliest": likeliest,
}


def rule(name: str, prefer_finished: bool = True, discount: float = 1.0) -> Rule:
    """The rule of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in RULES:
        known = ", ".join(RULES)
        raise ConfigError(
            f"choose={name!r}: no such rule.{did_you_mean(name, RULES)} Rules: {known}."
        )
    chosen = RULES[name]
    return lambda root: chosen(root, prefer_finished, discount)


def path_return(leaf: Node, root: Node, discount: float = 1.0) -> float:
    """Rewards seen from `root` to `leaf`, plus what the leaf was valued at.

    A leaf that was not valued, because the budget ended first, promises what the nearest
    valued node above it did.

        sum_i discount^(i-1) * reward[i] + discount^d * value[d]
    """
    known = leaf
    if not (leaf.terminated and leaf.reward is not None):
        known = next((n for n in (*_below(leaf, root), root) if n.value is not None), leaf)
    total = known.value or 0.0
    for node in _below(known, root):
        total = (node.reward or 0.0) + discount * total
    return total


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


def _finished(root: Node) -> list[Node]:
    """The leaves to choose an answer from: terminated, else truncated, else any."""
    leaves = list(root.leaves())
    return (
        [leaf for leaf in leaves if leaf.terminated]
        or [leaf for leaf in leaves if leaf.truncated]
        or leaves
    )


def _valued(root: Node) -> list[Node]:
    """The deepest nodes whose worth is known.

    A node with a child that nobody has looked at yet stands for that child, too.
    """
    ends: list[Node] = []
    covered: set[Node] = set()  # known themselves, or by something below them
    for node in reversed(list(root.descendants())):  # children before their parents
        known = node.value is not None or (node.terminated and node.reward is not None)
        below = [child in covered for child in node.children]
        if node is not root and known and not (below and all(below)):
            ends.append(node)
        if known or any(below):
            covered.add(node)
    return ends[::-1]


def _with_finish(root: Node) -> set[Node]:
    """The nodes at or below `root` that lead to a terminated leaf."""
    reached: set[Node] = set()
    for leaf in root.leaves():
        if leaf.terminated:
            reached.update(_below(leaf, root))
    return reached


def _vote(ends: list[Node], root: Node, weight: Callable[[Node], float]) -> Node:
    votes: defaultdict[str, float] = defaultdict(float)
    for leaf in ends:
        votes[_answer(leaf)] += weight(leaf)
    winner = max(votes, key=votes.__getitem__)
    return max((e for e in ends if _answer(e) == winner), key=lambda leaf: _likelihood(leaf, root))


def _answer(leaf: Node) -> str:
    return leaf.observation if leaf.answer is None else leaf.answer
