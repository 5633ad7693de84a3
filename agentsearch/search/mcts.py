"""Monte-Carlo tree search with UCT or PUCT selection.

Sources: Kocsis and Szepesvari, 2006 (UCT); Silver et al., 2017 (PUCT, virtual loss).
The value model stands where the first paper has a random rollout; the value named
`rollout` brings the rollout back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from agentsearch.errors import ConfigError
from agentsearch.problem import Problem
from agentsearch.search import rules
from agentsearch.search.choose import RuleName
from agentsearch.tree import Node


@dataclass(frozen=True)
class MCTS:
    """Search by repeated select, evaluate, expand, backup; stops with the budget.

    Attributes:
        width: most children of a node.
        selection: `puct` uses priors, `uct` ignores them.
        c_puct: exploration constant of PUCT; larger explores more.
        c_uct: exploration constant of UCT; the square root of 2 suits returns in [0, 1].
        first_play: value of an unvisited child. `parent` takes the mean of the state it
            leaves, less `first_play_reduction`, `infinite` visits every child once first.
        discount: of a return for each step it lies ahead.
        parallel: leaves evaluated side by side in one round, kept apart by virtual loss.
        virtual_loss: what a pending visit takes from its path's value.
        choose: rule for the final answer.
    """

    anytime: ClassVar[bool] = True

    width: int = 4
    selection: Literal["puct", "uct"] = "puct"
    c_puct: float = 1.25
    c_uct: float = math.sqrt(2.0)
    first_play: Literal["parent", "infinite"] = "parent"
    first_play_reduction: float = 0.0
    discount: float = 1.0
    parallel: int = 1
    virtual_loss: float = 1.0
    choose: RuleName = "most_visited"

    def __post_init__(self) -> None:
        for name in ("width", "parallel"):
            if getattr(self, name) < 1:
                raise ConfigError(f"search.{name}={getattr(self, name)}: must be at least 1.")
        for name in ("c_puct", "c_uct", "virtual_loss"):
            if getattr(self, name) < 0:
                raise ConfigError(f"search.{name}={getattr(self, name)}: must not be negative.")
        rules.check_discount(self.discount)

    async def search(self, problem: Problem) -> None:
        """Run rounds of simulations until the budget ends."""
        for _ in problem.budget:
            await (self.simulation(problem) if self.parallel == 1 else self.round(problem))

    async def simulation(self, problem: Problem) -> None:
        """Select a leaf, value and expand it, back its value up."""
        leaf = self.select(problem.root)
        try:
            await problem.visit(leaf, self.width)
        finally:  # a value that was paid for counts, even if the expansion was not affordable
            self.backup(problem, leaf)

    async def round(self, problem: Problem) -> None:
        """Several simulations side by side, backed up in order of selection."""
        root = problem.root
        leaves: list[Node] = []
        for _ in range(self.parallel):
            leaf = self.select(root)
            if leaf in leaves:  # even virtual loss leads nowhere new: the frontier is smaller
                break
            leaves.append(leaf)
            self.pretend(leaf, root, visits=1)
        try:
            await problem.visit_all(leaves, self.width)
        finally:
            for leaf in leaves:
                self.pretend(leaf, root, visits=-1)
            for leaf in leaves:
                self.backup(problem, leaf)

    def backup(self, problem: Problem, leaf: Node) -> None:
        """Add what is known of the leaf to every node up to the root."""
        value = problem.known_value(leaf)
        if value is not None:
            rules.backup(leaf, value, self.discount, problem.root)

    def select(self, node: Node) -> Node:
        """Follow the highest score down to a leaf."""
        best = self.best_by_puct if self.selection == "puct" else self.best_by_uct
        while node.children:
            node = best(node)
        return node

    def best_by_puct(self, node: Node) -> Node:
        """The child of the highest PUCT score; ties go to the likelier, then the older."""
        scale = self.c_puct * math.sqrt(node.visits)
        unvisited = self.first_value(node)
        best, best_score = node.children[0], -math.inf
        for child in node.children:
            visits = child.visits
            mean = child.value_sum / visits if visits else unvisited
            score = mean + scale * child.prior / (1 + visits)  # rules.puct, its root hoisted
            if score > best_score or (score == best_score and child.prior > best.prior):
                best, best_score = child, score
        return best

    def best_by_uct(self, node: Node) -> Node:
        """The child of the highest UCT score; unvisited ones by `first_play`."""
        log_visits = math.log(max(node.visits, 1))
        unvisited = self.first_value(node) + self.c_uct * math.sqrt(log_visits + 1.0)
        best, best_score = node.children[0], -math.inf
        for child in node.children:
            visits, score = child.visits, unvisited
            if visits:  # rules.uct, its logarithm hoisted
                score = child.value_sum / visits + self.c_uct * math.sqrt(log_visits / visits)
            if score > best_score or (score == best_score and child.prior > best.prior):
                best, best_score = child, score
        return best

    def first_value(self, node: Node) -> float:
        """What a child of `node` is taken to be worth before its first visit."""
        if self.first_play == "infinite":
            return math.inf
        from_here_on = (node.mean_value - (node.reward or 0.0)) / self.discount
        return from_here_on - self.first_play_reduction

    def pretend(self, leaf: Node, root: Node, visits: int) -> None:
        """Add (or, with -1, take back) a pending visit that scores badly."""
        for node in leaf.path_to_root():
            node.visits += visits
            node.value_sum -= visits * self.virtual_loss
            if node is root:
                return
