"""A policy that scores every legal action by its log-probability.

A proper prior over a finite list, with nothing to parse. One call scores the list. Where
the list is open there is nothing to score, and actions are sampled as `Prompted` does.
Source: Carta et al., 2023 (GLAM) and Ahn et al., 2022 (SayCan) score actions so.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentsearch.errors import ConfigError, EngineError, PolicyError
from agentsearch.policies.prompted import Prompted, check_sampling
from agentsearch.policies.prompts import Prompts
from agentsearch.protocols import Engine
from agentsearch.seeds import derive_seed
from agentsearch.types import Completion, Context, Proposal, ProposeMode, Request


@dataclass(frozen=True)
class Scoring:
    """The model's distribution over the legal actions, each closed by its end of turn.

    `distinct` gives the n likeliest with their probability among all legal actions;
    `sample` draws from that distribution. Where the list is open, one reply is sampled per
    action asked for, and proposals have no prior.

    Attributes:
        engine: the model; it must be able to score given text.
        prompts: the words around the task.
        temperature: divides the log-probabilities; the prior of `distinct` uses it too.
            Sampled replies have it too, but 0 where `greedy`.
        per_token: divide each log-probability by its tokens first, which stops long
            action texts from losing by their length alone.
        max_tokens: most tokens of a sampled reply.
    """

    engine: Engine
    prompts: Prompts = Prompts()
    temperature: float = 1.0
    per_token: bool = False
    max_tokens: int = 32

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(
                f"policy.temperature={self.temperature}: must be more than 0; "
                "greedy requests take the likeliest action at any temperature."
            )
        check_sampling(self.temperature, 1.0, self.max_tokens)

    async def settled(self) -> Scoring:
        """Refuse to begin with an engine that cannot score.

        Raises:
            ConfigError: naming the policy that needs no scores.
        """
        if not await can_score(self.engine):
            raise ConfigError(
                "policy 'scoring' needs log-probabilities of given text, which this server does "
                "not give; use policy 'prompted', or serve the model with vLLM."
            )
        return self

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]:
        """Legal actions with their priors, or sampled ones without where the list is open.

        Raises:
            PolicyError: the list of legal actions is empty.
        """
        if context.legal_actions is None:
            sampler = Prompted(
                self.engine, self.prompts, self.temperature, max_tokens=self.max_tokens
            )
            return await sampler.propose(context, n, seed=seed, mode=mode)
        scored = await self.scored(context, seed)
        if mode == "sample":
            return self.draws(scored, n, seed)
        ranked = sorted(scored, key=lambda p: -(p.prior or 0.0))
        return ranked[: 1 if mode == "greedy" else n]

    async def scored(self, context: Context, seed: int) -> list[Proposal]:
        """Every legal action with its log-probability and prior, in the given order."""
        legal = context.legal_actions
        if not legal:
            raise PolicyError(
                "policy 'scoring' was given an empty list of legal actions; use policy 'prompted', "
                "or let the environment return None where its actions are open."
            )
        request = Request(
            self.prompts.propose_messages(context),
            choices=legal,
            seed=seed,
            account=context.account,
        )
        completions = await self.engine.generate(request)
        logits = [
            logprob / (max(c.generated_tokens, 1) if self.per_token else 1)
            for logprob, c in zip(given_logprobs(completions), completions, strict=True)
        ]
        priors = softmax([logit / self.temperature for logit in logits])
        return [
            Proposal(action, c.text, 1, c.logprob, prior, None, c.tokens, (), c.version)
            for action, c, prior in zip(legal, completions, priors, strict=True)
        ]

    def draws(self, scored: list[Proposal], n: int, seed: int) -> list[Proposal]:
        """`n` independent draws; the merged counts, not the priors, tell the shares."""
        cumulative = list(itertools.accumulate(p.prior or 0.0 for p in scored))
        drawn: list[Proposal] = []
        for i in range(n):
            place = random.Random(derive_seed(seed, i)).random() * cumulative[-1]
            drawn.append(scored[min(bisect.bisect(cumulative, place), len(scored) - 1)])
        return drawn


async def can_score(engine: Engine) -> bool:
    """Whether an engine gives log-probabilities of given text; all of ours know."""
    ask = getattr(engine, "can_score", None)
    return True if ask is None else await ask()


def given_logprobs(completions: Sequence[Completion]) -> list[float]:
    """Log-probabilities of scored choices.

    Raises:
        EngineError: one is missing or not a number, or all choices are impossible.
    """
    found = [c.logprob for c in completions if c.logprob is not None]
    if len(found) < len(completions) or any(map(math.isnan, found)):
        raise EngineError(
            "The engine gave no log-probability for a choice; use an engine that scores "
            "given text, or sample: policy 'prompted', or value.expected=false for votes."
        )
    if not math.isfinite(max(found)):
        raise EngineError(
            f"The likeliest choice has the log-probability {max(found)}, which gives no "
            "distribution; check the engine's scores."
        )
    return found


def softmax(logits: list[float]) -> list[float]:
    """Probabilities proportional to `exp(logit)`; they sum to 1."""
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    total = sum(weights)
    return [weight / total for weight in weights]
