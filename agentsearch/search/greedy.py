"""The policy alone: its likeliest action at every step, no search."""

from __future__ import annotations

from dataclasses import dataclass

from agentsearch.problem import Problem
from agentsearch.search.choose import RuleName


@dataclass(frozen=True)
class Greedy:
    """Follow the policy's likeliest action to the end; the baseline of every table."""

    choose: RuleName = "most_visited"

    async def search(self, problem: Problem) -> None:
        """Walk until the episode ends or an action cannot be parsed or carried out."""
        node = problem.root
        while not node.done:
            [children] = await problem.sample([(node, 1)], mode="greedy")
            if not children:
                return
            [(node, _)] = children
            node.visits += 1
