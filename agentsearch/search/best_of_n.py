"""Best-of-N: independent episodes, the best by value wins; and self-consistency.

Sources: Cobbe et al., 2021 (best-of-N by a verifier); Wang et al., 2023
(self-consistency). The samples are drawn level by level, so that those which pass
through one node share a request; their distribution is that of independent episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agentsearch.errors import ConfigError
from agentsearch.problem import Problem
from agentsearch.search.choose import RuleName
from agentsearch.search.rules import check_discount
from agentsearch.tree import Node


@dataclass(frozen=True)
class BestOfN:
    """Sample episodes to their ends, value each end, take the best.

    Attributes:
        n: episodes; None draws `batch` at a time until the budget ends.
        batch: episodes drawn side by side.
        depth: most actions of an episode, which is then valued as it stands; None samples
            to the end.
        discount: of a return for each step it lies ahead.
        choose: rule for the final answer.
    """

    anytime: ClassVar[bool] = True

    n: int | None = None
    batch: int = 4
    depth: int | None = None
    discount: float = 1.0
    choose: RuleName = "best_value"

    def __post_init__(self) -> None:
        for name, count in (("n", self.n), ("batch", self.batch), ("depth", self.depth)):
            if count is not None and count < 1:
                raise ConfigError(f"search.{name}={count}: must be at least 1.")
        check_discount(self.discount)

    async def search(self, problem: Problem) -> None:
        """Draw and value episodes until there are `n` or the budget ends.

        Episodes that an earlier decision has drawn through the root count; those of them
        that have not ended go on first.
        """
        root, drawn = problem.root, 0
        if root.children:
            ends = await self.episodes(problem, begun(root))
            await self.judge(problem, ends)
            drawn = sum(end.visits for end in ends)
        for _ in problem.budget:
            if self.n is not None and drawn >= self.n:
                return
            count = self.batch if self.n is None else min(self.batch, self.n - drawn)
            drawn += count
            await self.judge(problem, await self.episodes(problem, {root: count}))

    async def judge(self, problem: Problem, ends: Sequence[Node]) -> None:
        """Value the ends, side by side."""
        await problem.values(ends)

    async def episodes(self, problem: Problem, level: dict[Node, int]) -> list[Node]:
        """Let independent episodes go on to their ends; a node's visits count them.

        Args:
            problem: whose policy is sampled.
            level: the nodes that episodes have reached, with how many.

        Returns:
            The different ends, in order of first arrival. Episodes whose action could not
            be parsed or carried out have none.
        """
        ends: dict[Node, None] = {}
        while level:
            for node in level:
                if self.is_end(node, problem.root):
                    ends[node] = None
            going_on = [(node, n) for node, n in level.items() if node not in ends]
            if not going_on:
                break
            level = {}
            for children in await problem.sample(going_on):
                for child, samples in children:
                    child.visits += samples
                    level[child] = level.get(child, 0) + samples
        return list(ends)

    def is_end(self, node: Node, root: Node) -> bool:
        """Whether an episode goes no further than `node`."""
        return node.done or (self.depth is not None and node.depth - root.depth >= self.depth)


@dataclass(frozen=True)
class SelfConsistency(BestOfN):
    """Sample episodes to their ends and take the most frequent answer; no value model.

    Attributes:
        n: episodes; None draws `batch` at a time until the budget ends.
        batch: episodes drawn side by side.
        depth: most actions of an episode, whose last observation is then its answer; None
            samples to the end.
        discount: of a return for each step it lies ahead.
        choose: rule for the final answer.
    """

    choose: RuleName = "majority_vote"

    async def judge(self, problem: Problem, ends: Sequence[Node]) -> None:
        """Votes need no value."""


def begun(root: Node) -> dict[Node, int]:
    """The nodes that episodes below `root` have reached, with how many."""
    return {leaf: leaf.visits for leaf in root.leaves() if leaf.visits}
