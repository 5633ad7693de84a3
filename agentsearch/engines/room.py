"""Whether a request fits into the model's context, found out before it is sent.

The rule: the prompt and all of `max_tokens` must fit, else the request is an `EngineError`.
vLLM says how many tokens its models hold, and counts those of a prompt. It is asked to
count only where bytes leave a doubt. A prompt with far more tokens a byte than any before
it can pass uncounted; then the reply tells, and the rule is applied to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agentsearch.engines.http import Json, Refused, Servers
from agentsearch.engines.wire import tokenize_chat, well_formed
from agentsearch.errors import EngineError
from agentsearch.types import Message

TEMPLATE_TOKENS = 64
"""Most tokens that a chat template adds to its messages: a system message, the open turn."""
MESSAGE_TOKENS = 16
"""Most tokens around the content of one message."""
MARGIN = 1.25
"""By how much a prompt may have more tokens a byte than any before it."""

WORTH_NOTING = 4
"""How many times shorter than the limit a prompt may be and still tell how long ones are."""


@dataclass
class Room:
    """What one model holds, and what its prompts have taken so far.

    Attributes:
        model: name under which the server offers it.
        counts: `context_overflows`.
        limit: most tokens of prompt and completion; None where the server does not say.
        asked: whether the server was asked for its limit.
        density: largest part of `most_prompt_tokens` that a long prompt had; 0 before the first.
        counting: whether the server counts tokens, so far as known.
        vllm: whether the server says that it is a vLLM.
    """

    model: str
    counts: Counter[str]
    limit: int | None = None
    asked: bool = False
    density: float = 0.0
    counting: bool = True
    vllm: bool = False

    async def ask_for_limit(self, servers: Servers) -> None:
        """Ask once what the model holds; a server that does not say has no limit."""
        async with servers.learning:
            if not self.asked:
                try:
                    self.limit = await servers.ask("models", None, self._read_limit)
                except (Refused, EngineError):
                    self.limit = None
                self.asked = any(each.answered for each in servers.replicas)

    async def check(self, servers: Servers, messages: Sequence[Message], wanted: int) -> None:
        """Refuse what does not fit, counting the prompt's tokens where that is in doubt.

        Raises:
            EngineError: the prompt and `wanted` more tokens do not fit.
        """
        if self.limit is None:
            return
        likely = most_prompt_tokens(messages) * (MARGIN * self.density or 1.0)
        if likely + wanted > self.limit:
            await self.count(servers, messages, wanted)

    async def count(self, servers: Servers, messages: Sequence[Message], wanted: int) -> None:
        """Refuse what does not fit; a server that does not count tokens has to find out itself.

        Raises:
            EngineError: the prompt and `wanted` more tokens do not fit.
        """
        if self.limit is None or not self.counting:
            return
        try:
            prompt = await tokenize_chat(servers, self.model, messages)
        except Refused:
            self.counting = False
        else:
            self.check_tokens(len(prompt), wanted)

    def check_tokens(self, prompt: int, wanted: int) -> None:
        """Refuse a prompt of known length that does not leave `wanted` tokens.

        Raises:
            EngineError: it does not.
        """
        if self.limit is not None and prompt + wanted > self.limit:
            self.counts["context_overflows"] += 1
            raise EngineError(
                f"The prompt has {prompt} tokens and {wanted} more are wanted, "
                f"but {self.model} holds {self.limit}; show fewer past turns or lower max_tokens."
            )

    def learn(self, messages: Sequence[Message], prompt: int, wanted: int) -> None:
        """Take note of what a prompt had; 0 where the server does not say.

        Raises:
            EngineError: it did not leave `wanted` tokens, so the completion was cut short.
        """
        most = most_prompt_tokens(messages)
        if self.limit is not None and most * WORTH_NOTING >= self.limit:
            self.density = max(self.density, prompt / most)
        self.check_tokens(prompt, wanted)

    def _read_limit(self, reply: Json) -> int | None:
        """The limit of our model, or of the model that ours is an adapter to."""
        with well_formed(reply):
            self.vllm = any(each.get("owned_by") == "vllm" for each in reply["data"])
            limits = {each["id"]: each.get("max_model_len") for each in reply["data"]}
            parents = {each["id"]: each.get("parent") for each in reply["data"]}
            return limits.get(self.model) or limits.get(parents.get(self.model))


def most_prompt_tokens(messages: Sequence[Message]) -> int:
    """More tokens than a chat can have: a token is at least one byte."""
    return TEMPLATE_TOKENS + sum(byte_count(each.content) + MESSAGE_TOKENS for each in messages)


def byte_count(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))
