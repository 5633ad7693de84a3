"""Beam search over actions: level by level, the most valuable nodes survive.

Source: Xie et al., 2023 (self-evaluation guided beam search); with sampled proposals
and voted values it is the breadth-first search of Yao et al., 2023 (tree of thoughts).
"""

from __future__ import annotations

from dataclasses import dataclass

from agentsearch.errors import ConfigError
from agentsearch.problem import Problem
from agentsearch.search.choose import RuleName
from agentsearch.search.rules import check_discount, promise
from agentsearch.tree import Node


@dataclass(frozen=True)
class Beam:
    """Keep the `beam_width` best nodes of each level; stop when all beams have ended.

    Attributes:
        beam_width: nodes that survive a level; ended ones keep their place.
        width: most children of a node.
        depth: most levels; None goes on until all beams have ended.
        discount: of a return for each step it lies ahead.
        choose: rule for the final answer.
    """

    beam_width: int = 4
    width: int = 4
    depth: int | None = None
    discount: float = 1.0
    choose: RuleName = "best_value"

    def __post_init__(self) -> None:
        for name in ("beam_width", "width", "depth"):
            count: int | None = getattr(self, name)
            if count is not None and count < 1:
                raise ConfigError(f"search.{name}={count}: must be at least 1.")
        check_discount(self.discount)

    async def search(self, problem: Problem) -> None:
        """Expand and cut, level by level."""
        beam = [problem.root]
        for level in problem.budget:
            open_nodes = [node for node in beam if not node.done]
            if not open_nodes or level == self.depth:
                return
            grown = await problem.expand_all(open_nodes, self.width)
            candidates = [node for node in beam if node.done]
            candidates += [child for children in grown for child in children]
            beam = await self.survivors(problem, candidates)

    async def survivors(self, problem: Problem, candidates: list[Node]) -> list[Node]:
        """The best by return so far plus value; ties go to the earlier."""
        values = await problem.values(candidates)
        for node, value in zip(candidates, values, strict=True):
            if not node.visits:
                node.visits, node.value_sum = 1, (node.reward or 0.0) + self.discount * value
        promises = {
            node: promise(node, value, problem.root, self.discount)
            for node, value in zip(candidates, values, strict=True)
        }
        return sorted(candidates, key=promises.__getitem__, reverse=True)[: self.beam_width]
