"""Log-probabilities of given texts from a server in the manner of vLLM, in two ways.

Both are told in `scoring`. A vLLM that was started with --enable-lora is never asked for a
prefill: that stops the CPU build (0.30) and lacks the adapter's part of the output layer on
GPUs (vLLM issues 29955 and 51594). A walk needs a server that takes `logprob_token_ids`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from agentsearch.engines.http import Fault, Json, Refused, Servers
from agentsearch.engines.memory import Once
from agentsearch.engines.replicas import prefix_of
from agentsearch.engines.room import Room
from agentsearch.engines.scoring import Place, Scored, batches_of, path_to, walk_is_better
from agentsearch.engines.trie import TokenTrie
from agentsearch.engines.wire import (
    cached_tokens,
    finite,
    read_choices,
    tokenize_chat,
    tokenize_text,
    version,
    well_formed,
)
from agentsearch.errors import CannotScore
from agentsearch.types import Completion, Message

log = logging.getLogger(__name__)

Way = Literal["auto", "prefill", "walk"]

REMEMBERED_TEXTS = 16_384
ADAPTERS = "vllm:lora_requests_info"
"""In /metrics of a vLLM with --enable-lora."""


@dataclass
class Scorer:
    """Scores texts as the model's next turn, and remembers what the server tokenised.

    Attributes:
        model: name under which the server offers it.
        way: `auto` takes the shorter one that the server can go, see `walk_is_better`.
        room: what the model holds.
        counts: `scored_by_walk` and `scored_by_prefill`.
        end: id of the end-of-turn token, once known.
        known: token ids of texts.
        walks: whether the server takes `logprob_token_ids`, so far as known.
        adapters: whether it was started with --enable-lora, once known.
    """

    model: str
    way: Way
    room: Room
    counts: Counter[str]
    end: int | None = None
    known: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    walks: bool = True
    adapters: bool | None = None

    async def score(
        self, servers: Servers, messages: tuple[Message, ...], texts: Sequence[str]
    ) -> list[Completion]:
        """A completion for each text, closed with the end-of-turn token.

        Raises:
            CannotScore: the server does not tokenise, or gives no such log-probabilities.
            EngineError: a text does not fit behind the prompt.
        """
        with able_to_score():
            prompt = await tokenize_chat(servers, self.model, messages)
            end = await self._end_of_turn(servers, messages, prompt)
            ids = [[*each, end] for each in await self._tokenize(servers, texts)]
        extra = self.way == "prefill"  # vLLM adds a token to it
        self.room.check_tokens(len(prompt), max(map(len, ids)) + extra)
        scored = await self._scored(servers, prefix_of(messages), prompt, ids)
        return scored.completions(texts, prompt, ids)

    async def _scored(
        self, servers: Servers, prefix: str, prompt: list[int], ids: list[list[int]]
    ) -> Scored:
        """Go the shorter way that the server can go."""
        trie = TokenTrie.of(ids)
        batches = batches_of(trie)
        places = sum(map(len, batches))
        safe = await self._has_adapters(servers) is False
        better = not safe or walk_is_better(len(prompt), ids, places, self.room.limit)
        if self.way == "walk" or (self.way == "auto" and self.walks and better):
            try:
                scored = await self._walk(servers, prefix, prompt, trie, batches)
                self.counts["scored_by_walk"] += 1
                return scored
            except CannotScore as cause:
                if self.way == "walk":
                    raise
                if self.walks:
                    log.warning("%s Going on with prefill.", cause)
                self.walks = False
                self.counts["without_logprob_token_ids"] += 1
        if self.adapters:
            hint = "; scoring=walk may do" if self.way == "prefill" else ""
            raise cannot_score(f"with --enable-lora a prompt's log-probabilities are wrong{hint}")
        scored = await self._prefill(servers, prefix, prompt, ids)
        self.counts["scored_by_prefill"] += 1
        return scored

    async def _has_adapters(self, servers: Servers) -> bool | None:
        """Whether the server was started with --enable-lora; None where it does not answer."""
        async with servers.learning:
            if self.adapters is None:
                page = await servers.page("/metrics")
                self.adapters = None if page is None else ADAPTERS in page
        return self.adapters

    # the two ways

    async def _prefill(
        self, servers: Servers, prefix: str, prompt: list[int], ids: list[list[int]]
    ) -> Scored:
        def read(reply: Json) -> Scored:
            with well_formed(reply):
                echoes = [
                    (choice.get("logprobs") or {}).get("token_logprobs") or []
                    for choice in read_choices(reply)
                ]
                if len(echoes) != len(ids):
                    raise cannot_score(f"{len(ids)} texts were sent, {len(echoes)} came back")
                logprobs: list[list[float]] = []
                for own, echo in zip(ids, echoes, strict=True):
                    ours = echo[len(prompt) : len(prompt) + len(own)]
                    if len(ours) != len(own) or None in ours:
                        raise cannot_score("it does not echo log-probabilities of the prompt")
                    logprobs.append(list(map(finite, ours)))
                cached = min(cached_tokens(reply) // len(ids), len(prompt))
                return Scored(logprobs, cached, version(self.model, reply))

        body = {
            "model": self.model,
            "prompt": [prompt + each for each in ids],
            "max_tokens": 0,
            "echo": True,
            "logprobs": 1,
            "temperature": 1.0,
        }
        with able_to_score():
            return await servers.ask("completions", body, read, prefix=prefix)

    async def _walk(
        self,
        servers: Servers,
        prefix: str,
        prompt: list[int],
        trie: TokenTrie,
        batches: list[list[Place]],
    ) -> Scored:
        found: dict[int, float] = {}

        async def visit(batch: list[Place]) -> Scored:
            ids = sorted({trie.ids[node] for _, nodes in batch for node in nodes})
            body = {
                "model": self.model,
                "prompt": [prompt + path_to(trie, place) for place, _ in batch],
                "max_tokens": 1,
                "temperature": 0.0,
                "logprobs": 1,
                "logprob_token_ids": ids,
                "return_tokens_as_token_ids": True,
            }
            with able_to_score():
                return await servers.ask(
                    "completions", body, lambda reply: read(reply, batch), prefix=prefix
                )

        def read(reply: Json, batch: list[Place]) -> Scored:
            with well_formed(reply):
                choices = read_choices(reply)
                if len(choices) != len(batch):
                    what = f"sent {len(choices)} choices for {len(batch)} prompts"
                    raise Fault("malformed", what)
                for (_, nodes), choice in zip(batch, choices, strict=True):
                    given: Json = ((choice.get("logprobs") or {}).get("top_logprobs") or [{}])[0]
                    for node in nodes:
                        name = f"token_id:{trie.ids[node]}"
                        if name not in given:
                            raise cannot_score("it ignores logprob_token_ids")
                        found[node] = finite(given[name])
                cached = min(cached_tokens(reply), len(prompt))
                return Scored([], cached, version(self.model, reply))

        first, *others = batches
        root = await visit(first)
        await asyncio.gather(*map(visit, others))
        logprobs = [[found[node] for node in path] for path in trie.paths]
        return Scored(logprobs, root.cached, root.version)

    # the server's tokenizer

    async def _end_of_turn(
        self, servers: Servers, messages: tuple[Message, ...], prompt: list[int]
    ) -> int:
        """The id that follows an assistant's words, found by letting it say x."""
        if self.end is None:
            spoken = (*messages, Message("assistant", "x"))
            chat = await tokenize_chat(servers, self.model, spoken, open_turn=False)
            word = await tokenize_text(servers, self.model, "x")
            rest = chat[len(prompt) :]
            starts = [i for i in range(len(rest)) if rest[i : i + len(word)] == word]
            if not starts or starts[-1] + len(word) >= len(rest):
                raise cannot_score("its chat template shows no end-of-turn token")
            self.end = rest[starts[-1] + len(word)]
        return self.end

    async def _tokenize(self, servers: Servers, texts: Sequence[str]) -> list[list[int]]:
        if len(self.known) > REMEMBERED_TEXTS:
            self.known = {}
        known = self.known
        new = list(dict.fromkeys(text for text in texts if text not in known))
        found = await asyncio.gather(*(self._asked.answer((servers, text)) for text in new))
        known.update(zip(new, found, strict=True))
        return [known[text] for text in texts]

    @cached_property
    def _asked(self) -> Once[tuple[Servers, str], list[int]]:
        """Texts whose tokens are asked for: searches begin with the same actions."""
        return Once(lambda key: tokenize_text(key[0], self.model, key[1]))

    async def close(self) -> None:
        """End what is being asked in this event loop."""
        await self._asked.close()


@contextmanager
def able_to_score() -> Generator[None]:
    """What a server answers that does not know an address or a field, as one sentence.

    Raises:
        CannotScore: it refused.
    """
    try:
        yield
    except Refused as refusal:
        if refusal.status not in (400, 404, 422):
            raise
        raise cannot_score(str(refusal)) from refusal


def cannot_score(why: str) -> CannotScore:
    """The error of a server without log-probabilities of given text."""
    return CannotScore(
        f"The server cannot score given text ({why}); use policy 'prompted', "
        "or serve the model with vLLM."
    )
