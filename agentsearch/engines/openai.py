"""Any server that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp, Ollama, OpenAI.

What a server can do is found out by asking: token ids and several samples a request are
asked for until the server refuses, and every such fallback is logged and counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

from agentsearch.engines.guard import check_real_engines_allowed, check_request
from agentsearch.engines.http import Json, Refused, Servers
from agentsearch.engines.load import Traffic
from agentsearch.engines.memory import Memory, has_one_answer
from agentsearch.engines.openai_scores import Scorer, Way
from agentsearch.engines.replicas import prefix_of
from agentsearch.engines.room import Room, byte_count, most_prompt_tokens
from agentsearch.engines.wire import as_json, read_chat, read_choices, well_formed
from agentsearch.errors import ConfigError, EngineError, did_you_mean
from agentsearch.seeds import derive_seed
from agentsearch.types import Completion, Message, Request

log = logging.getLogger(__name__)

T = TypeVar("T")

OPTIONAL_FIELDS = ("return_token_ids", "n")
"""Fields that a server may refuse; the request is then sent without them."""


@dataclass
class Learnt:
    """Optional fields that a server took, and those that it rejected or ignored."""

    accepted: set[str] = field(default_factory=set[str])
    refused: set[str] = field(default_factory=set[str])


@dataclass(frozen=True)
class OpenAIEngine:
    """Chat completions of a server, and scores of given text where the server offers them.

    The key is read from the environment when a connection is opened, and sent to
    `base_url` alone; without one the word `none` is sent, which local servers accept.

    Attributes:
        model: the name under which the server offers the model, or an adapter of it.
        base_url: usually ends in /v1. Several servers of the same model are separated by
            commas: each request goes to the least loaded, those that begin alike to one.
        api_key_env: environment variable that holds the key.
        timeout_s: of one attempt, from connecting to the last byte of the reply.
        retries: further attempts, with growing pauses, after a timeout, a broken
            connection, HTTP 429 or 5xx, or a reply that is not sound.
        wait_s: how long to wait for a server that died to return; then the run ends.
        max_in_flight: most requests waiting for the servers at a time.
        logprobs: ask for log-probabilities, and for token ids where they are to be had.
        scoring: how `choices` are scored: `prefill`, `walk`, or `auto` for the shorter.
        memory: most replies kept of scored choices and of temperature 0, so that an equal
            request is not made again. 0 keeps none.
        extra_body: fields added to every chat request as they are.
        counts: `requests` sent, faults by kind, how often a fallback was needed, and
            `saved_calls` and `saved_tokens` that were charged, but remembered.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = 60.0
    retries: int = 5
    wait_s: float = 600.0
    max_in_flight: int = 64
    logprobs: bool = True
    scoring: Way = "auto"
    memory: int = 4096
    extra_body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    counts: Counter[str] = field(
        default_factory=Counter[str], init=False, repr=False, compare=False
    )
    _learnt: Learnt = field(default_factory=Learnt, init=False, repr=False, compare=False)
    _servers: dict[asyncio.AbstractEventLoop, Servers] = field(
        default_factory=dict[asyncio.AbstractEventLoop, Servers],
        init=False,
        repr=False,
        compare=False,
    )

    def __post_init__(self) -> None:
        for url in self.urls or [self.base_url]:
            _check_url(url, self.api_key_env)
        if not self.model:
            raise ConfigError("model: is empty; write the name the server gives the model.")
        if self.retries < 0 or self.max_in_flight < 1 or self.timeout_s <= 0 or self.wait_s < 0:
            raise ConfigError(
                "retries and wait_s must be 0 or more, max_in_flight 1 or more, "
                "timeout_s more than 0."
            )
        if self.memory < 0:
            raise ConfigError(f"memory: {self.memory} replies cannot be kept; use 0 or more.")
        if self.scoring not in get_args(Way):
            raise ConfigError(
                f"scoring: {self.scoring!r} is no way to score; write auto, prefill or walk."
            )

    @property
    def version(self) -> str:
        """The model's name; completions add the server's fingerprint where it gives one."""
        return self.model

    @cached_property
    def urls(self) -> list[str]:
        """The addresses in `base_url`, each once."""
        urls = (url.strip().rstrip("/") for url in self.base_url.split(","))
        return list(dict.fromkeys(url for url in urls if url))

    async def generate(self, request: Request) -> list[Completion]:
        """Sample `n` completions, or score `choices`.

        Raises:
            EngineError: of this request: refused, too long, or spoilt at every attempt.
            ServerLost: no server has answered for `wait_s`.
        """
        check_real_engines_allowed("openai")
        check_request(request)
        if self.memory and has_one_answer(request):
            return await self._memory.reply(request)
        return await self._answer(request)

    async def _answer(self, request: Request) -> list[Completion]:
        servers = self._connect()
        await self._room.ask_for_limit(servers)
        try:
            if request.choices is not None:
                return await self._scorer.score(servers, request.messages, request.choices)
            await self._room.check(servers, request.messages, request.max_tokens)
            return await self._sample(servers, request)
        except Refused as refusal:
            if refusal.status == 400:  # it may have been too long after all
                await self._room.count(servers, request.messages, request.max_tokens)
            raise EngineError(await self._explain(refusal)) from None

    async def check(self) -> None:
        """Have one token from every server, before a run begins.

        Raises:
            EngineError: one cannot be reached, or does not serve the model.
        """
        check_real_engines_allowed("openai")
        servers = self._connect()
        body = {
            "model": self.model,
            "messages": as_json([Message("user", "Hello")]),
            "max_tokens": 1,
        }

        def read(reply: Json) -> None:
            with well_formed(reply):
                read_choices(reply)

        for server in servers.replicas:
            try:
                await servers.ask("chat/completions", body, read, at=server)
            except Refused as refusal:
                raise EngineError(await self._explain(refusal)) from None

    async def served(self) -> list[str]:
        """Names of the models that the server lists.

        Raises:
            EngineError: it gives no list.
        """

        def read(reply: Json) -> list[str]:
            with well_formed(reply):
                return [str(each["id"]) for each in reply["data"]]

        try:
            return await self._connect().ask("models", None, read)
        except Refused as refusal:
            raise EngineError(f"{refusal}; it lists no models.") from None

    async def traffic(self) -> Traffic:
        """What is under way, here and at the servers."""
        return await self._connect().traffic()

    async def close(self) -> None:
        """End what the running event loop asks, and close its connections."""
        await self._memory.close()
        await self._scorer.close()
        servers = self._servers.pop(asyncio.get_running_loop(), None)
        if servers is not None:
            await servers.close()

    def most_tokens(self, request: Request) -> tuple[int, int]:
        """Most tokens of the prompt, and further ones of each call; scoring is one call.

        A token is at least one byte. Until the server has taken `n` or said that it is a
        vLLM, each sample may cost the prompt again, which then belongs to the call.
        """
        prompt = most_prompt_tokens(request.messages)
        if request.choices is not None:
            return prompt, sum(byte_count(choice) + 1 for choice in request.choices)
        shared = self._room.vllm or "n" in self._learnt.accepted - self._learnt.refused
        if request.n > 1 and not shared:
            return 0, prompt + request.max_tokens
        return prompt, request.max_tokens

    # sampling

    async def _sample(self, servers: Servers, request: Request) -> list[Completion]:
        """One request for all samples; one each where the server gives fewer, and to a vLLM.

        That would draw them from seed, seed + 1 and so on, and shares the prompt anyhow.
        """
        found: list[Completion] = []
        if request.n == 1 or not (self._room.vllm or "n" in self._learnt.refused):
            found = await self._chat(servers, request, 0, request.n)
            if len(found) < request.n:
                self._note("n", "answers one sample a request")
        missing = range(len(found), request.n)
        for more in await asyncio.gather(*(self._chat(servers, request, i, 1) for i in missing)):
            found += more[:1]
        if self._room.vllm:
            found[1:] = [replace(each, cached_tokens=each.prompt_tokens) for each in found[1:]]
        self._room.learn(request.messages, found[0].prompt_tokens, request.max_tokens)
        return found[: request.n]

    async def _chat(self, servers: Servers, request: Request, i: int, n: int) -> list[Completion]:
        """Samples i to i + n, or as many of them as the server gives."""
        body: Json = {
            "model": self.model,
            "messages": as_json(request.messages),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": derive_seed(request.seed, i) >> 32,  # 31 bits: all that some servers take
        }
        if n > 1:
            body["n"] = n
        if request.top_p < 1:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop"] = list(request.stop)
        if request.among is not None:
            body["structured_outputs"] = {"choice": list(request.among)}
        if self.logprobs:
            body |= {"logprobs": True, "return_token_ids": True}
        body |= self.extra_body

        def read(reply: Json) -> list[Completion]:
            return read_chat(reply, request, self.model, self.counts)

        found = await self._ask_tolerantly(servers, body, read, prefix_of(request.messages))
        if request.among is not None:
            self._check_among(found, request.among)
        return found

    def _check_among(self, found: Sequence[Completion], among: Sequence[str]) -> None:
        for each in found:
            if each.finish == "stop" and each.text not in among:
                raise EngineError(
                    f"{self.base_url} was to choose among {len(among)} texts and wrote "
                    f"{each.text!r}; it ignores structured_outputs. Serve the model with vLLM."
                )

    async def _ask_tolerantly(
        self, servers: Servers, body: Json, read: Callable[[Json], T], prefix: str
    ) -> T:
        """Ask; where the server refuses, try again without the fields it may not know."""
        learnt = self._learnt
        body = {key: body[key] for key in body if key not in learnt.refused}
        doubtful = [key for key in OPTIONAL_FIELDS if key in body and key not in learnt.accepted]
        dropped: list[str] = []
        refusal: Refused | None = None
        for key in (None, *doubtful):
            if key is not None:
                del body[key]
                dropped.append(key)
            try:
                found = await servers.ask("chat/completions", body, read, prefix=prefix)
            except Refused as refused:
                if refused.status not in (400, 422):
                    raise
                refusal = refusal or refused
                continue
            learnt.accepted.update(body)
            for each in dropped:
                self._note(each, f"refuses the field {each}")
            return found
        assert refusal is not None
        raise refusal

    def _note(self, key: str, fault: str) -> None:
        """Remember, log and count that the server does not do what was asked."""
        if key not in self._learnt.refused:
            log.warning("%s %s; going on without.", self.base_url, fault)
        self._learnt.refused.add(key)
        self.counts[f"without_{key}"] += 1

    # what was asked, and what has been learnt

    @cached_property
    def _room(self) -> Room:
        return Room(self.model, self.counts)

    @cached_property
    def _memory(self) -> Memory:
        return Memory(self._answer, self.memory, self.counts)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.model, self.scoring, self._room, self.counts)

    def _connect(self) -> Servers:
        """The connections of the running event loop; those of dead loops are dropped."""
        loop = asyncio.get_running_loop()
        if loop not in self._servers:
            for dead in [each for each in self._servers if each.is_closed()]:
                del self._servers[dead]
            self._servers[loop] = Servers(
                self.urls,
                os.environ.get(self.api_key_env),
                timeout_s=self.timeout_s,
                retries=self.retries,
                wait_s=self.wait_s,
                max_in_flight=self.max_in_flight,
                counts=self.counts,
            )
        return self._servers[loop]

    # what went wrong, in a sentence

    async def _explain(self, refusal: Refused) -> str:
        if refusal.status in (401, 403):
            refused = f"{refusal.url} refused the key (HTTP {refusal.status})"
            if not os.environ.get(self.api_key_env):
                return f"{refused}: the environment variable {self.api_key_env} is not set; set it."
            return f"{refused}: check the environment variable {self.api_key_env}."
        if refusal.status != 404:
            return str(refusal)
        try:
            served = await self.served()
        except EngineError:
            return f"{refusal}; check base_url, which usually ends in /v1."
        if self.model in served:
            return f"{refusal.url} answered HTTP 404 for {self.model!r}: {refusal.said}"
        return (
            f"{refusal.url} does not serve {self.model!r}.{did_you_mean(self.model, served)} "
            f"It serves: {', '.join(served) or 'nothing'}."
        )


def _check_url(url: str, api_key_env: str) -> None:
    """Refuse what is no address, and one that carries a password.

    Raises:
        ConfigError: with the address, less its password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url: {url!r} is no address; write http://HOST:PORT/v1.")
    if parts.username or parts.password:
        raise ConfigError(f"base_url: it carries a password; put it into ${api_key_env} instead.")
