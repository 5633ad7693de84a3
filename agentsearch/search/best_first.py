"""Best-first search: always expand the most valuable open node.

Sources: Pearl, 1984; Koh et al., 2024, Tree Search for Language Model Agents, whose
search is `order="paper"`: an action is pushed with its parent's value, taken and valued
only when it is popped, and the best node seen is the answer.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from agentsearch.errors import ConfigError
from agentsearch.problem import Problem
from agentsearch.search.choose import RuleName
from agentsearch.search.rules import check_discount, promise
from agentsearch.tree import Node
from agentsearch.types import Proposal


@dataclass(frozen=True)
class BestFirst:
    """Keep a frontier ordered by value and expand its best.

    Where rewards are visible, those on the way to a node are added to its value.

    Attributes:
        width: most children of a node.
        order: `best` takes and values children when they are made; equal values go by
            depth, then rank among siblings, then age. `paper` follows Koh et al.
        depth: most actions looked ahead; None is unlimited.
        samples: `paper` samples this many actions and keeps the `width` most frequent;
            None samples twice the width and at least 20, as the paper does.
        threshold: `paper` stops at the first node that promises at least this much.
        pops: `paper` takes at most this many actions for one decision.
        discount: of a return for each step it lies ahead.
        choose: rule for the final answer; None is `best_value`, and `best_seen` for
            `paper`, where an unfinished path may be the answer.
    """

    anytime: ClassVar[bool] = True

    width: int = 4
    order: Literal["best", "paper"] = "best"
    depth: int | None = None
    samples: int | None = None
    threshold: float = 1.0
    pops: int | None = None
    discount: float = 1.0
    choose: RuleName | None = None

    def __post_init__(self) -> None:
        for name in ("width", "depth", "pops"):
            count: int | None = getattr(self, name)
            if count is not None and count < 1:
                raise ConfigError(f"search.{name}={count}: must be at least 1.")
        if self.samples is not None and self.samples < self.width:
            raise ConfigError(
                f"search.samples={self.samples}: fewer than width={self.width}; raise it."
            )
        check_discount(self.discount)
        if self.choose is None:
            object.__setattr__(
                self, "choose", "best_seen" if self.order == "paper" else "best_value"
            )

    async def search(self, problem: Problem) -> None:
        """Expand until the frontier or the budget is empty."""
        if self.order == "paper":
            await self.paper(problem)
        else:
            await self.best(problem)

    async def best(self, problem: Problem) -> None:
        """Children are taken and valued when they are made.

        What an earlier decision has grown is kept: its open leaves are the frontier.
        """
        root = problem.root
        kept = list(root.leaves())
        await self.judge(problem, [leaf for leaf in kept if leaf is not root])
        frontier = [(*self.rank(leaf, root), leaf) for leaf in kept if self.is_open(leaf, root)]
        heapq.heapify(frontier)
        for _ in problem.budget:
            if not frontier:
                return
            node = heapq.heappop(frontier)[-1]
            children = await problem.expand(node, self.width)
            await self.judge(problem, children)
            for child in children:
                if self.is_open(child, root):
                    heapq.heappush(frontier, (*self.rank(child, root), child))

    async def judge(self, problem: Problem, nodes: Sequence[Node]) -> None:
        """Value the nodes; each counts as visited once."""
        for node, value in zip(nodes, await problem.values(nodes), strict=True):
            if not node.visits:
                node.visits, node.value_sum = 1, (node.reward or 0.0) + self.discount * value

    def rank(self, node: Node, root: Node) -> tuple[float, int, int, int]:
        """The higher promise first, then depth, then rank among siblings, then age."""
        among = node.parent.children.index(node) if node.parent is not None else 0
        return -self.worth(node, root), node.depth, among, node.id

    async def paper(self, problem: Problem) -> None:
        """An action waits with its parent's value and is taken when it is popped."""
        root = problem.root
        frontier = await self.waiting(problem)
        for popped in problem.budget:
            if not frontier:
                return
            if popped == self.pops:
                problem.tree.meta["stop"] = "budget:pops"
                return
            parent, first, rank, action = frontier.pop()
            if action is None:
                worth = self.worth(parent, root)
                frontier.push(parent, worth, await self.ask(problem, parent), first)
                continue
            del problem.notes[parent][rank]
            node = await problem.step(parent, *action)
            if node is None:  # the environment could not carry it out; counted
                continue
            await self.judge(problem, [node])
            if self.good_enough(problem, node):
                return
            if self.is_open(node, root):
                worth = self.worth(node, root)
                frontier.push(node, worth, await self.ask(problem, node), first)

    async def waiting(self, problem: Problem) -> Frontier:
        """The actions of the root, and those that an earlier decision has left below it."""
        root = problem.root
        frontier = Frontier()
        kept = [node for node in root.descendants() if node is not root]
        await self.judge(problem, kept)
        if any(self.good_enough(problem, node) for node in kept):
            return frontier
        worth = 0.5 if root.value is None else root.value
        frontier.push(root, worth, await self.ask(problem, root))
        for node in kept:
            if self.is_open(node, root):
                actions = problem.notes.get(node, NOT_ASKED)
                frontier.push(node, self.worth(node, root), actions, branch(node, root))
        return frontier

    def good_enough(self, problem: Problem, node: Node) -> bool:
        """Whether `node` promises enough to stop the search, and the tree told so."""
        if self.worth(node, problem.root) < self.threshold:
            return False
        problem.tree.meta["stop"] = "threshold"
        return True

    async def ask(self, problem: Problem, node: Node) -> Ranked:
        """The most frequent of the sampled actions, with their shares, less those taken."""
        if node not in problem.notes:
            samples = self.samples or max(2 * self.width, 20)
            proposals = await problem.propose(node, samples, "distinct")
            kept = sorted(proposals, key=lambda p: -p.count)[: self.width]
            total = sum(proposal.count for proposal in kept)
            shares = (p.count / total if p.prior is None else p.prior for p in kept)
            problem.notes[node] = dict(enumerate(zip(kept, shares, strict=True)))
        return problem.notes[node]

    def worth(self, node: Node, root: Node) -> float:
        """What the path from `root` to a valued node promises."""
        return promise(node, node.value or 0.0, root, self.discount)

    def is_open(self, node: Node, root: Node) -> bool:
        """Whether the search may look beyond `node`."""
        return not node.done and (self.depth is None or node.depth - root.depth < self.depth)


Ranked = dict[int, tuple[Proposal, float] | None]
"""Actions that wait at a node, with their priors, by rank."""

NOT_ASKED: Ranked = {0: None}
"""What waits at a node whose policy was not asked yet."""


class Frontier:
    """Actions that wait to be taken, the most promising first.

    Ties go by the rank of the first action of the path, then the action's own, then age.
    """

    def __init__(self) -> None:
        self.heap: list[tuple[Any, ...]] = []
        self.age = itertools.count()

    def __bool__(self) -> bool:
        return bool(self.heap)

    def push(self, node: Node, worth: float, actions: Ranked, first: int | None = None) -> None:
        """Let the actions of `node` wait; `first` is None at the root of the search."""
        for rank, action in actions.items():
            place = rank if first is None else first
            heapq.heappush(self.heap, (-worth, place, rank, next(self.age), node, action))

    def pop(self) -> tuple[Node, int, int, tuple[Proposal, float] | None]:
        """The node, the rank of its path's first action, and the action with its rank."""
        _, first, rank, _, node, action = heapq.heappop(self.heap)
        return node, first, rank, action


def branch(node: Node, root: Node) -> int:
    """Place among the children of `root` of the one that leads to `node`."""
    while node.parent is not None and node.parent is not root:
        node = node.parent
    return root.children.index(node)
