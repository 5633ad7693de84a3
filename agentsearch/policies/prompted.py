"""A policy that samples actions from a language model as chat replies."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from agentsearch.errors import ConfigError
from agentsearch.policies.prompts import Prompts
from agentsearch.protocols import Engine
from agentsearch.types import Completion, Context, Message, Proposal, ProposeMode, Request


@dataclass(frozen=True)
class Prompted:
    """Ask for the next action; each reply is one action.

    Attributes:
        engine: the model.
        prompts: the words around the task.
        temperature, top_p: of sampling; greedy requests use temperature 0.
        max_tokens: most tokens of one reply.
        stop: stop strings, for models that do not end their turn by themselves.
        pattern: regular expression whose first group is the action in a reply; None
            takes the first line that is not empty.
    """

    engine: Engine
    prompts: Prompts = Prompts()
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 32
    stop: tuple[str, ...] = ()
    pattern: str | None = None

    def __post_init__(self) -> None:
        check_sampling(self.temperature, self.top_p, self.max_tokens)
        if self.pattern is not None:
            check_pattern("policy.pattern", self.pattern)

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]:
        """One proposal per reply; `action` is None where a reply has none."""
        completions = await self.engine.generate(
            Request(
                messages=self.messages(context),
                n=1 if mode == "greedy" else n,
                max_tokens=self.max_tokens,
                temperature=0.0 if mode == "greedy" else self.temperature,
                top_p=self.top_p,
                stop=self.stop,
                seed=seed,
                account=context.account,
            )
        )
        return [self.proposal(completion) for completion in completions]

    def messages(self, context: Context) -> tuple[Message, ...]:
        """The chat sent for `context`."""
        return self.prompts.propose_messages(context)

    def proposal(self, completion: Completion) -> Proposal:
        """A reply as a proposal, its raw text and tokens kept."""
        return Proposal(
            action=self.parse(completion.text),
            raw=completion.text,
            logprob=completion.logprob,
            tokens=completion.tokens,
            version=completion.version,
        )

    def parse(self, text: str) -> str | None:
        """The action in a reply, or None."""
        if self.pattern is not None:
            found = re.search(self.pattern, text)
            return (found.group(1) or "").strip() or None if found else None
        return next((line.strip() for line in text.splitlines() if line.strip()), None)


def check_sampling(temperature: float, top_p: float, max_tokens: int, part: str = "policy") -> None:
    """Refuse sampling parameters no engine can carry out; `part` of the recipe holds them."""
    if not 0 <= temperature < math.inf:
        raise ConfigError(f"{part}.temperature={temperature}: must be 0 or more.")
    if not 0 < top_p <= 1:
        raise ConfigError(f"{part}.top_p={top_p}: must lie in (0, 1].")
    if max_tokens < 1:
        raise ConfigError(f"{part}.max_tokens={max_tokens}: must be at least 1.")


def check_pattern(key: str, pattern: str) -> None:
    """Refuse an expression that does not compile or has no group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"{key}={pattern!r}: not a regular expression ({error}).") from None
    if not groups:
        raise ConfigError(
            f"{key}={pattern!r}: has no group; put what it shall find in parentheses."
        )
