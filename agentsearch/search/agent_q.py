"""Agent Q: tree search in which a critic ranks the actions of each new node.

Source: Putta et al., 2024, Agent Q: Advanced Reasoning and Learning for Autonomous AI
Agents, section 5 (equations 7, 8 and 10). Its value is the return of a rollout by the
policy: the value named `rollout`. The paper leaves open how a rank becomes a value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from agentsearch.errors import ConfigError
from agentsearch.problem import Problem
from agentsearch.search import rules
from agentsearch.search.choose import RuleName
from agentsearch.tree import Node

RankToValue = Literal["linear", "inverse"]


@dataclass(frozen=True)
class AgentQ:
    """MCTS whose first choice among new actions is a critic's; stops with the budget.

    Every child keeps in `extra` its `rank` by the critic, of how many (`ranked`), and what
    that rank is worth (`critic`), for preference pairs.

    Attributes:
        width: most different actions proposed at a node.
        c_exp: exploration constant; larger explores more.
        select_value: what selection takes for the value of an action: `empirical` its
            mean return, `mixed` that and the critic's.
        alpha: share of the mean return where `mixed`.
        rank_to_value: `linear` from 1 for the first to 0 for the last, `inverse` 1 / rank.
        discount: of a return for each step it lies ahead.
        choose: rule for the final answer.
    """

    anytime: ClassVar[bool] = True
    needs_chooser: ClassVar[bool] = True

    width: int = 5
    c_exp: float = 1.0
    select_value: Literal["empirical", "mixed"] = "empirical"
    alpha: float = 0.5
    rank_to_value: RankToValue = "linear"
    discount: float = 1.0
    choose: RuleName = "most_visited"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"search.width={self.width}: must be at least 1.")
        if self.c_exp < 0:
            raise ConfigError(f"search.c_exp={self.c_exp}: must not be negative.")
        if not 0.0 <= self.alpha <= 1.0:
            raise ConfigError(f"search.alpha={self.alpha}: must lie in [0, 1].")
        rules.check_discount(self.discount)

    async def search(self, problem: Problem) -> None:
        """Run simulations until the budget ends."""
        for _ in problem.budget:
            await self.simulation(problem)

    async def simulation(self, problem: Problem) -> None:
        """Go down to a node that is new or an end, value it, back its value up."""
        node = problem.root
        while node is problem.root or node.visits:
            if not await problem.expand(node, self.width):
                break
            await self.rank(problem, node)
            node = self.select(node)
        value = await problem.value(node)
        rules.backup(node, value, self.discount, problem.root)

    async def rank(self, problem: Problem, node: Node) -> None:
        """Have the critic order the children: ask for the best, take it out, ask again.

        Ranks that were paid for before the budget ended are kept.
        """
        children = node.children
        left = [child for child in children if "rank" not in (child.extra or {})]
        if not left:
            return
        while left:
            rank, best = len(children) - len(left) + 1, 0
            if len(left) > 1:
                best = await problem.choose(node, [child.action for child in left], draw=rank)
            note(left.pop(best), rank=rank)
        for child in children:
            critic = value_of_rank(noted(child, "rank"), len(children), self.rank_to_value)
            note(child, ranked=len(children), critic=critic)

    def select(self, node: Node) -> Node:
        """The child of the highest score; of equal ones the critic's first, as at a new node."""
        visits = sum(child.visits for child in node.children)
        return min(node.children, key=lambda c: (-self.score(c, visits), noted(c, "rank")))

    def score(self, child: Node, visits: int) -> float:
        """Value of a child plus a bonus for seldom visits.

            Q + c_exp * sqrt(ln(visits) / (1 + N))

        Source: equation 7; `visits` are those of all siblings together. Before the first, and
        at the second, there is no bonus.
        """
        mixed = self.select_value == "mixed"
        value = mixed_value(child, self.alpha) if mixed else child.mean_value
        bonus = math.log(max(visits, 1)) / (1 + child.visits)
        return value + self.c_exp * math.sqrt(bonus)


def value_of_rank(rank: int, ranked: int, how: RankToValue) -> float:
    """What a critic's rank is worth.

        linear: 1 - (rank - 1) / (ranked - 1)        inverse: 1 / rank

    The first of any number is worth 1.
    """
    if how == "inverse":
        return 1.0 / rank
    return 1.0 - (rank - 1) / (ranked - 1) if ranked > 1 else 1.0


def mixed_value(child: Node, alpha: float) -> float:
    """Mean return and the critic's value together.

        alpha * mean_value + (1 - alpha) * critic

    Source: equation 10.
    """
    return alpha * child.mean_value + (1.0 - alpha) * noted(child, "critic")


def note(node: Node, **record: float) -> None:
    """Add to what the search records of a node."""
    node.extra = {**(node.extra or {}), **record}


def noted(node: Node, name: str) -> Any:
    """What the search has recorded of a node."""
    assert node.extra is not None
    return node.extra[name]
