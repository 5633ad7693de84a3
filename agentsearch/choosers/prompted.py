"""A critic that names the best of several actions in its own words.

Source: Putta et al., 2024 (Agent Q), section 5.2: a language model is asked for the single
best action of a list; a ranking comes of asking again without it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from agentsearch.policies.prompted import check_pattern, check_sampling
from agentsearch.policies.prompts import Prompts
from agentsearch.protocols import Engine
from agentsearch.seeds import derive_seed
from agentsearch.types import Context, Request


@dataclass(frozen=True)
class PromptedChooser:
    """Ask for the number of the best option; each question is a call.

    A reply that names none is counted as a fallback, and chance chooses.

    Attributes:
        engine: the model that chooses.
        prompts: the words; `choose` asks the question.
        temperature, max_tokens: of sampling.
        pattern: regular expression whose first group holds the choice; None takes the
            whole reply.
    """

    engine: Engine
    prompts: Prompts = Prompts()
    temperature: float = 0.0
    max_tokens: int = 16
    pattern: str | None = None

    def __post_init__(self) -> None:
        check_sampling(self.temperature, 1.0, self.max_tokens, "chooser")
        if self.pattern is not None:
            check_pattern("chooser.pattern", self.pattern)

    async def choose(self, context: Context, options: Sequence[str], *, seed: int) -> int:
        """Index of the option that the model names."""
        request = Request(
            self.prompts.choose_messages(context, options),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=seed,
            account=context.account,
        )
        [completion] = await self.engine.generate(request)
        choice = self.read(completion.text, options)
        if context.account is not None:
            context.account.count("judgments")
            context.account.count("fallbacks", choice is None)
        if choice is None:
            return random.Random(derive_seed(seed, "fallback")).randrange(len(options))
        return choice

    def read(self, text: str, options: Sequence[str]) -> int | None:
        """Index of the option in a reply: its own words, else the first number, from 1."""
        if self.pattern is not None:
            found = re.search(self.pattern, text)
            text = (found.group(1) or "") if found else ""
        if text.strip() in options:
            return options.index(text.strip())
        number = re.search(r"\d+", text)
        place = int(number.group()) if number else 0
        return place - 1 if 1 <= place <= len(options) else None
