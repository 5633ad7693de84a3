"""The oracle's actions as the model would have had to write them: demonstrations to learn from.

The environment's solver says what to do, the model only how likely it would have done so, token
by token. Trees of such a policy become training data as any others do. For controls that
continue supervised training; every report names the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentsearch.budget import Account
from agentsearch.policies.prompts import Prompts
from agentsearch.policies.scripted import best_action
from agentsearch.problem import Problem
from agentsearch.protocols import Engine, Environment
from agentsearch.tree import Node
from agentsearch.types import Proposal, ProposeMode, Request


@dataclass(frozen=True)
class Demonstrated:
    """The oracle's policy, with a model's tokens.

    Attributes:
        env: whose oracle it is.
        engine: the model that shall learn; it must be able to score given text.
        prompts: the words around the task.
    """

    env: Environment[Any]
    engine: Engine
    prompts: Prompts = Prompts()

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
        """A best action with its tokens, or nothing where none helps any more."""
        action = best_action(self.env, node)
        if action is None:
            return []
        messages = self.prompts.propose_messages(problem.context(node))
        request = Request(messages, choices=(action,), seed=seed, account=account)
        (told,) = await self.engine.generate(request)
        return [
            Proposal(
                action, raw=action, logprob=told.logprob, tokens=told.tokens, version=told.version
            )
        ]
