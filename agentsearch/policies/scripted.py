"""Policies without a model: a plain function in disguise, chance, rules and the oracle."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentsearch.errors import PolicyError
from agentsearch.problem import Problem
from agentsearch.protocols import Environment
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node
from agentsearch.types import Context, Proposal, ProposeMode

Script = Callable[[Context, int], Sequence[str | Proposal]]


@dataclass(frozen=True)
class Scripted:
    """Proposes what `script(context, n)` returns, or what stands under the observation.

    The public double for tests: no model, no seed. One call is charged per sample asked.

    Attributes:
        script: a function, or a mapping from observation to actions.
    """

    script: Script | Mapping[str, Sequence[str | Proposal]]

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]:
        """The first `n` scripted actions, or the first alone where `greedy`."""
        if isinstance(self.script, Mapping):
            actions = self.script.get(context.observation, ())
        else:
            actions = self.script(context, n)
        return [as_proposal(action) for action in actions[: 1 if mode == "greedy" else n]]


@dataclass(frozen=True)
class Random:
    """Uniform over the legal actions: the floor of every table. Asks no model."""

    free = True

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]:
        """Independent draws; without repeats where `distinct`."""
        legal = context.legal_actions
        if not legal:
            raise PolicyError("policy 'random' needs a finite list of legal actions.")
        rng = random.Random(seed)
        if mode == "distinct":
            return [as_proposal(action) for action in rng.sample(legal, min(n, len(legal)))]
        return [
            as_proposal(random.Random(derive_seed(seed, i)).choice(legal))
            for i in range(1 if mode == "greedy" else n)
        ]


@dataclass(frozen=True)
class Rule:
    """The environment's own rule of thumb, which reads what any policy reads.

    For environments with `rule(context, rng) -> str`. Asks no model.
    """

    env: Environment[Any]
    free = True
    reads_text = True

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]:
        """The rule's actions; chance inside the rule makes samples differ.

        Raises:
            PolicyError: the environment has no rule.
        """
        rule = getattr(self.env, "rule", None)
        if rule is None:
            raise PolicyError(f"environment {self.env.spec.id!r} has no rule.")
        asked = 1 if mode == "greedy" else n
        rngs = (random.Random(derive_seed(seed, i)) for i in range(asked))
        return [as_proposal(rule(context, rng)) for rng in rngs]


@dataclass(frozen=True)
class OraclePolicy:
    """The environment's own solution: the ceiling of a table, and named so there."""

    env: Environment[Any]
    free = True

    async def propose_at(
        self, problem: Problem, node: Node, n: int, *, seed: int, mode: ProposeMode
    ) -> list[Proposal]:
        """A best action, or nothing where none helps any more."""
        oracle = getattr(self.env, "oracle", None)
        if oracle is None:
            raise PolicyError(f"environment {self.env.spec.id!r} has no oracle.")
        action = oracle().action(node.state)
        return [] if action is None else [as_proposal(action)]


def as_proposal(action: str | Proposal) -> Proposal:
    """A bare action as a proposal."""
    return action if isinstance(action, Proposal) else Proposal(action, action)
