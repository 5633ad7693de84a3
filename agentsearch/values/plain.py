"""Values without a model of their own: uniform, rollouts, scripted, and the oracle."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentsearch.budget import Usage
from agentsearch.errors import ConfigError, ModelError
from agentsearch.problem import Problem
from agentsearch.protocols import Environment
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node
from agentsearch.types import Context


@dataclass(frozen=True)
class Uniform:
    """Every state is worth the same: search by priors and structure alone."""

    constant: float = 0.5
    free = True

    async def value(self, context: Context, *, seed: int) -> float:
        """The constant."""
        return self.constant


@dataclass(frozen=True)
class ScriptedValue:
    """Values from a plain function of the context: the public double for tests.

    Each value is charged one call.
    """

    script: Callable[[Context], float]

    async def value(self, context: Context, *, seed: int) -> float:
        """`script(context)`."""
        return self.script(context)


@dataclass(frozen=True)
class Rollout:
    """Mean return of `n` episodes played by the policy from the state on.

    Only where search may see rewards: a hidden reward would make every rollout worth 0.

    Attributes:
        n: rollouts.
        discount: of a reward for each step it lies ahead.
        depth: most actions of a rollout; None plays to the end.
        bootstrap: return still to come where a rollout is cut, by `depth` or by the
            environment's limit.
        greedy: whether the policy's likeliest actions are played, rather than sampled ones. In a
            deterministic world that is the exact return of the greedy policy, and what is
            better by it improves that policy (policy iteration: Howard, 1960).
    """

    n: int = 1
    discount: float = 1.0
    depth: int | None = None
    bootstrap: float = 0.0
    greedy: bool = False
    free = True
    needs_reward = True

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"value.n={self.n}: must be at least 1.")
        if self.greedy and self.n > 1:
            raise ConfigError(f"value.n={self.n}: greedy rollouts are all alike; use n=1.")
        if self.depth is not None and self.depth < 1:
            raise ConfigError(f"value.depth={self.depth}: must be at least 1.")
        if not 0 < self.discount <= 1:
            raise ConfigError(f"value.discount={self.discount}: must lie in (0, 1].")

    async def value_at(self, problem: Problem, node: Node, *, seed: int) -> float:
        """Play from `node`; nothing is attached to the tree, everything is charged."""
        returns = [await self.play(problem, node, derive_seed(seed, i)) for i in range(self.n)]
        return sum(returns) / self.n

    async def play(self, problem: Problem, start: Node, seed: int) -> float:
        """Discounted return of one episode, its draws apart from those for the tree."""
        node = copy.copy(start)
        node.draws = seed
        node.cost = start.cost = start.cost or Usage()
        total, weight = 0.0, 1.0
        while not node.done:
            if self.depth is not None and node.depth - start.depth >= self.depth:
                return total + weight * self.bootstrap
            after = await problem.imagine(node, "greedy" if self.greedy else "sample")
            if after is None:  # no action could be read or carried out
                break
            total += weight * (after.reward or 0.0)
            weight *= self.discount
            node = after
        return total + weight * self.bootstrap if node.truncated else total


@dataclass(frozen=True)
class OracleValue:
    """The best return still possible, from the environment's own solver.

    For tests and ceilings only; every report names it.
    """

    env: Environment[Any]
    free = True

    async def value_at(self, problem: Problem, node: Node, *, seed: int) -> float:
        """The oracle's value of the state."""
        oracle = getattr(self.env, "oracle", None)
        if oracle is None:
            raise ModelError(f"environment {self.env.spec.id!r} has no oracle.")
        return float(oracle().value(node.state))
