"""Policies without a model: a plain function in disguise, chance, rules and the oracle."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentsearch.budget import Account
from agentsearch.errors import ConfigError, PolicyError, did_you_mean
from agentsearch.problem import Problem
from agentsearch.protocols import Environment
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node
from agentsearch.types import Context, Proposal, ProposeMode

Script = Callable[[Context, int], Sequence[str | Proposal]]
NamedRule = Callable[[Context, random.Random], str]


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
    """Uniform over the legal actions: the floor of every table. Asks no model.

    Where the list is open it is uniform over `env.suggestions(context)` instead.

    Attributes:
        env: asked for suggestions; None where every list is finite.
    """

    env: Environment[Any] | None = None
    free = True
    reads_text = True

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]:
        """Independent draws; without repeats where `distinct`.

        Raises:
            PolicyError: there is nothing to draw from.
        """
        actions = self.candidates(context)
        if not actions:
            raise PolicyError(
                "policy 'random' needs a finite list of legal actions, or an environment with "
                "`suggestions` where the list is open; use policy 'prompted'."
            )
        rng = random.Random(seed)
        if mode == "distinct":
            return [as_proposal(action) for action in rng.sample(actions, min(n, len(actions)))]
        return [
            as_proposal(random.Random(derive_seed(seed, i)).choice(actions))
            for i in range(1 if mode == "greedy" else n)
        ]

    def candidates(self, context: Context) -> Sequence[str]:
        """The legal actions, or what the environment suggests where they are open."""
        if context.legal_actions is not None:
            return context.legal_actions
        suggestions = getattr(self.env, "suggestions", None)
        return () if suggestions is None else suggestions(context)


@dataclass(frozen=True)
class Rule:
    """The environment's own rule of thumb, which reads what any policy reads.

    For environments with `rule(context, rng) -> str`, or with several by name: `rules()`.
    Asks no model.

    Attributes:
        env: whose rule it is.
        variant: name of one of `env.rules()`; None takes `env.rule`.
    """

    env: Environment[Any]
    variant: str | None = None
    free = True
    reads_text = True

    def __post_init__(self) -> None:
        if self.variant is None:
            return
        known = named_rules(self.env)
        if self.variant not in known:
            listed = f"Rules: {', '.join(known)}." if known else "It names none; leave variant out."
            raise ConfigError(
                f"policy.variant={self.variant!r}: environment {self.env.spec.id!r} has no such "
                f"rule.{did_you_mean(self.variant, known)} {listed}"
            )

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]:
        """The rule's actions; chance inside the rule makes samples differ.

        Raises:
            PolicyError: the environment has no rule.
        """
        if self.variant is not None:
            rule = named_rules(self.env)[self.variant]
        elif (rule := getattr(self.env, "rule", None)) is None:
            known = ", ".join(named_rules(self.env))
            choice = f" Set policy.variant to one of: {known}." if known else ""
            raise PolicyError(f"environment {self.env.spec.id!r} has no rule.{choice}")
        asked = 1 if mode == "greedy" else n
        rngs = (random.Random(derive_seed(seed, i)) for i in range(asked))
        return [as_proposal(rule(context, rng)) for rng in rngs]


@dataclass(frozen=True)
class OraclePolicy:
    """The environment's own solution: the ceiling of a table, and named so there."""

    env: Environment[Any]
    free = True

    async def propose_at(
        self,
        problem: Problem,
        node: Node,
        n: int,
        *,
        seed: int,
        mode: ProposeMode,
        account: Account,
    ) -> list[Proposal]:
        """A best action, or nothing where none helps any more."""
        action = best_action(self.env, node)
        return [] if action is None else [as_proposal(action)]


def best_action(env: Environment[Any], node: Node) -> str | None:
    """What the environment's solver does at a node; None where nothing helps any more.

    Raises:
        PolicyError: it has none.
    """
    oracle = getattr(env, "oracle", None)
    if oracle is None:
        raise PolicyError(f"environment {env.spec.id!r} has no oracle.")
    return oracle().action(node.state)


def as_proposal(action: str | Proposal) -> Proposal:
    """A bare action as a proposal."""
    return action if isinstance(action, Proposal) else Proposal(action, action)


def named_rules(env: Environment[Any]) -> Mapping[str, NamedRule]:
    """The rules an environment offers by name; most offer none."""
    rules = getattr(env, "rules", None)
    return {} if rules is None else rules()
