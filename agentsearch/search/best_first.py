"""Best-first search: always expand the most valuable open node.

Sources: Pearl, 1984; Koh et al., 2024, Tree Search for Language Model Agents, whose
search is `order="paper"`: an action is pushed with its parent's value, taken and valued
only when it is popped, and the best node seen is the answer.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from agentsearch.errors import ConfigError
from agentsearch.problem import Problem
from agentsearch.search.choose import RuleName
from agentsearch.search.rules import reward_so_far
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
        choose: rule for the final answer; None is `best_value`, and `best_seen` for
            `paper`, where an unfinished path may be the answer.
    """

    width: int = 4
    order: Literal["best", "paper"] = "best"
    depth: int | None = None
    samples: int | None = None
    threshold: float = 1.0
    pops: int | None = None
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
        """Children are taken and valued when they are made."""
        age = itertools.count()
        frontier = [(0.0, 0, 0, next(age), problem.root)]
        for _ in problem.budget:
            if not frontier:
                return
            node = heapq.heappop(frontier)[-1]
            children = await problem.expand(node, self.width)
            values = await problem.values(children)
            for rank, (child, value) in enumerate(zip(children, values, strict=True)):
                if not child.visits:
                    child.visits, child.value_sum = 1, (child.reward or 0.0) + value
                if self.is_open(child, problem.root):
                    promise = reward_so_far(child, problem.root) + value
                    heapq.heappush(frontier, (-promise, child.depth, rank, next(age), child))

    async def paper(self, problem: Problem) -> None:
        """An action waits with its parent's value and is taken when it is popped."""
        age = itertools.count()
        frontier: list[tuple[Any, ...]] = []
        for rank, action in enumerate(await self.candidates(problem, problem.root)):
            heapq.heappush(frontier, (-0.5, rank, rank, next(age), problem.root, *action))
        for popped in problem.budget:
            if not frontier:
                return
            if popped == self.pops:
                problem.tree.meta["stop"] = "budget:pops"
                return
            _, first, _, _, parent, proposal, prior = heapq.heappop(frontier)
            node = await problem.step(parent, proposal, prior)
            if node is None:  # the environment could not carry it out; counted
                continue
            value = await problem.value(node)
            node.visits, node.value_sum = 1, (node.reward or 0.0) + value
            promise = reward_so_far(node, problem.root) + value
            if promise >= self.threshold:
                problem.tree.meta["stop"] = "threshold"
                return
            if self.is_open(node, problem.root):
                for rank, action in enumerate(await self.candidates(problem, node)):
                    heapq.heappush(frontier, (-promise, first, rank, next(age), node, *action))

    async def candidates(self, problem: Problem, node: Node) -> Iterator[tuple[Proposal, float]]:
        """The most frequent of the sampled actions, with their shares."""
        samples = self.samples or max(2 * self.width, 20)
        proposals = await problem.propose(node, samples, "distinct")
        kept = sorted(proposals, key=lambda p: -p.count)[: self.width]
        total = sum(proposal.count for proposal in kept)
        return ((p, p.count / total if p.prior is None else p.prior) for p in kept)

    def is_open(self, node: Node, root: Node) -> bool:
        """Whether the search may look beyond `node`."""
        return not node.done and (self.depth is None or node.depth - root.depth < self.depth)
