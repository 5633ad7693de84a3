"""A value from a language model's own judgments.

Source: Koh et al., 2024, section 3.2: the mean over sampled judgments, each mapped to a
number, an unreadable one to 0; Yao et al., 2023 (tree of thoughts) sum such votes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agentsearch.errors import ConfigError
from agentsearch.policies.prompted import check_pattern, check_sampling
from agentsearch.policies.prompts import Prompts
from agentsearch.policies.scoring import can_score, given_logprobs, softmax
from agentsearch.protocols import Engine
from agentsearch.types import Context, Request


def _default_worth() -> dict[str, float]:
    return {"sure": 1.0, "likely": 0.5, "impossible": 0.0}


@dataclass(frozen=True)
class Votes:
    """Mean worth of `n` sampled judgments, or their exact expectation in one call.

    Attributes:
        engine: the model that judges.
        prompts: the words; `judge` asks the question.
        n: judgments sampled, each a call.
        expected: instead of sampling, score the words of `worth` in one call and take
            the expectation under the model. None samples, unless `settled` finds that
            the engine scores given text; a run's `config.yaml` says what it did.
        worth: number each judgment is mapped to, in reward units; the word that comes
            first in the reply counts.
        temperature, max_tokens: of sampling. At temperature 0 all votes would be equal.
        pattern: regular expression whose first group holds the judgment; None takes
            the whole reply.
    """

    engine: Engine
    prompts: Prompts = Prompts()
    n: int = 3
    expected: bool | None = None
    worth: Mapping[str, float] = field(default_factory=_default_worth)
    temperature: float = 1.0
    max_tokens: int = 16
    pattern: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"value.n={self.n}: must be at least 1.")
        check_sampling(self.temperature, 1.0, self.max_tokens, "value")
        if self.pattern is not None:
            check_pattern("value.pattern", self.pattern)
        if not self.worth:
            raise ConfigError("value.worth: is empty; give each judgment its number.")

    async def settled(self) -> Votes:
        """Decide between expectation and sampling where that was left open."""
        if self.expected is not None:
            return self
        return replace(self, expected=await can_score(self.engine))

    async def value(self, context: Context, *, seed: int) -> float:
        """The mean or expected worth."""
        if self.expected:
            return await self.expectation(context, seed)
        request = Request(
            self.prompts.judge_messages(context),
            n=self.n,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=seed,
            account=context.account,
        )
        completions = await self.engine.generate(request)
        votes = [self.read(completion.text) for completion in completions]
        unread = votes.count(None)
        if context.account is not None:
            context.account.count("judgments", len(votes))
            context.account.count("fallbacks", unread)
        return sum(vote or 0.0 for vote in votes) / max(len(votes), 1)

    async def expectation(self, context: Context, seed: int) -> float:
        """Expected worth under the model's distribution over the judgments."""
        request = Request(
            self.prompts.judge_messages(context),
            choices=tuple(self.worth),
            seed=seed,
            account=context.account,
        )
        completions = await self.engine.generate(request)
        shares = softmax(given_logprobs(completions))
        return sum(s * w for s, w in zip(shares, self.worth.values(), strict=True))

    def read(self, text: str) -> float | None:
        """The worth of the judgment in a reply, or None where there is none."""
        if self.pattern is not None:
            found = re.search(self.pattern, text)
            text = (found.group(1) or "") if found else ""
        places = {word: text.lower().find(word.lower()) for word in self.worth}
        found_words = [word for word, place in places.items() if place >= 0]
        return self.worth[min(found_words, key=places.__getitem__)] if found_words else None
