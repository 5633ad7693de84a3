"""An engine that is a plain function in disguise: for tests, examples and benchmarks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentsearch.engines.guard import check_unforced
from agentsearch.errors import CannotScore, ConfigError, EngineError
from agentsearch.seeds import derive_seed
from agentsearch.types import Completion, Request


@dataclass(frozen=True)
class ScriptedEngine:
    """Answers with `reply(request, i)`, or with one of `replies` drawn by the seed.

    A word is a token here, in prompts and replies alike.

    Attributes:
        reply: the text of sample i of a request.
        replies: texts to draw from where there is no `reply`; a recipe can list them.
        score: log-probability of a choice, for requests with `choices`.
        latency_s: how long every request takes.
    """

    reply: Callable[[Request, int], str] | None = None
    replies: Sequence[str] = ()
    score: Callable[[Request, str], float] | None = None
    latency_s: float = 0.0
    version: str = "scripted"

    def __post_init__(self) -> None:
        if isinstance(self.replies, str):
            raise ConfigError(f"replies: {self.replies!r} is one text; write a list of texts.")
        if self.reply is None and not self.replies and self.score is None:
            raise ConfigError("The scripted engine has nothing to say; give `reply` or `replies`.")

    async def generate(self, request: Request) -> list[Completion]:
        """The scripted completions, after `latency_s`."""
        check_unforced(request, "scripted")
        if self.latency_s > 0:
            await asyncio.sleep(self.latency_s)
        prompt = self.count_prompt_tokens(request)
        if request.choices is not None:
            return [self._scored(request, c, i, prompt) for i, c in enumerate(request.choices)]
        return [self._sampled(request, i, prompt) for i in range(request.n)]

    async def close(self) -> None:
        """Nothing to close."""

    def count_prompt_tokens(self, request: Request) -> int:
        """Words of all messages."""
        return sum(len(message.content.split()) for message in request.messages)

    def most_tokens(self, request: Request) -> tuple[int, int]:
        """Words of the prompt, and most further ones of each call; scoring is one call."""
        prompt = self.count_prompt_tokens(request)
        if request.choices is None:
            return prompt, request.max_tokens
        return prompt, sum(len(choice.split()) for choice in request.choices)

    def _sampled(self, request: Request, i: int, prompt: int) -> Completion:
        text = self._text(request, i)
        words = text.split()
        cut = len(words) > request.max_tokens
        return Completion(
            text=" ".join(words[: request.max_tokens]) if cut else text,
            finish="length" if cut else "stop",
            prompt_tokens=prompt,
            cached_tokens=prompt if i else 0,
            generated_tokens=min(len(words), request.max_tokens),
            version=self.version,
        )

    def _scored(self, request: Request, choice: str, i: int, prompt: int) -> Completion:
        if self.score is None:
            raise CannotScore("This scripted engine cannot score choices; give it `score`.")
        return Completion(
            text=choice,
            finish="scored",
            logprob=self.score(request, choice),
            prompt_tokens=prompt,
            cached_tokens=prompt if i else 0,
            generated_tokens=len(choice.split()),
            version=self.version,
        )

    def _text(self, request: Request, i: int) -> str:
        if self.reply is not None:
            return self.reply(request, i)
        if not self.replies:
            raise EngineError("This scripted engine only scores; give it `reply` or `replies`.")
        return self.replies[derive_seed(request.seed, i) % len(self.replies)]
