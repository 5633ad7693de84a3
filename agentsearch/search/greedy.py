"""The policy alone: its likeliest action at every step, no search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentsearch.problem import Problem
from agentsearch.search.choose import RuleName


@dataclass(frozen=True)
class Greedy:
    """Follow the policy's likeliest action to the end; the baseline of every table."""

    anytime: ClassVar[bool] = True

    choose: RuleName = "most_visited"

    async def search(self, problem: Problem) -> None:
        """Walk until the episode ends or an action cannot be parsed or carried out.

        The way that an earlier decision has asked for is walked again without asking.
        """
        node = problem.root
        while not node.done:
            if not node.children:
                await problem.sample([(node, 1)], mode="greedy")
            if not node.children:
                return
            [node] = node.children
            node.visits = 1
