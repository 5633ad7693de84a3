"""Best-of-N: independent episodes, the best by value wins; and self-consistency.

Sources: Cobbe et al., 2021 (best-of-N by a verifier); Wang et al., 2023
(self-consistency). The samples are drawn level by level, so that those which pass
through one node share a request; their distribution is that of independent episodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentsearch.errors import ConfigError
from agentsearch.problem import Problem
from agentsearch.search.choose import RuleName
from agentsearch.tree import Node


@dataclass(frozen=True)
class BestOfN:
    """Sample episodes to their ends, value each end, take the best.

    Attributes:
        n: episodes; None draws `batch` at a time until the budget ends.
        batch: episodes drawn side by side.
        choose: rule for the final answer.
    """

    n: int | None = None
    batch: int = 4
    choose: RuleName = "best_value"

    def __post_init__(self) -> None:
        for name, count in (("n", self.n), ("batch", self.batch)):
            if count is not None and count < 1:
                raise ConfigError(f"search.{name}={count}: must be at least 1.")

    async def search(self, problem: Problem) -> None:
        """Draw and value episodes until there are `n` or the budget ends."""
        for count in self.rounds(problem):
            await problem.values(await episodes(problem, count))

    def rounds(self, problem: Problem) -> Iterator[int]:
        """Sizes of the rounds that make up `n` episodes, or as many as the budget allows."""
        drawn = 0
        for _ in problem.budget:
            if self.n is not None and drawn >= self.n:
                return
            count = self.batch if self.n is None else min(self.batch, self.n - drawn)
            drawn += count
            yield count


@dataclass(frozen=True)
class SelfConsistency(BestOfN):
    """Sample episodes to their ends and take the most frequent answer; no value model.

    Attributes:
        n: episodes; None draws `batch` at a time until the budget ends.
        batch: episodes drawn side by side.
        choose: rule for the final answer.
    """

    choose: RuleName = "majority_vote"

    async def search(self, problem: Problem) -> None:
        """Draw episodes until there are `n` or the budget ends."""
        for count in self.rounds(problem):
            await episodes(problem, count)


async def episodes(problem: Problem, count: int) -> list[Node]:
    """Draw `count` independent episodes from the root; a node's visits count them.

    Returns:
        The different ends, in order of first arrival. Episodes whose action could not
        be parsed or carried out have none.
    """
    ends: dict[Node, None] = {}
    level = {problem.root: count}
    while level:
        sampled = await problem.sample(list(level.items()))
        level = {}
        for children in sampled:
            for child, samples in children:
                child.visits += samples
                if child.done:
                    ends[child] = None
                else:
                    level[child] = level.get(child, 0) + samples
    return list(ends)
