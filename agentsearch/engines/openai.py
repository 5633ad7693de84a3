"""Any server that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp, Ollama, OpenAI.

What a server can do is found out by asking: token ids and several samples a request are
asked for until the server refuses, and every such fallback is logged and counted.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from agentsearch.engines.guard import check_real_engines_allowed, check_request
from agentsearch.errors import CannotScore, ConfigError, EngineError, did_you_mean
from agentsearch.seeds import derive_seed
from agentsearch.types import Completion, Message, Request, Tokens

log = logging.getLogger(__name__)

OPTIONAL_FIELDS = ("return_token_ids", "n")
"""Fields that a server may refuse; the request is then sent without them."""
REMEMBERED_CHOICES = 16_384
TEMPLATE_TOKENS = 64
"""Most tokens that a chat template adds to its messages: a system message, the open turn."""
MESSAGE_TOKENS = 16
"""Most tokens around the content of one message."""

Json = dict[str, Any]


@dataclass
class Learnt:
    """What a server turned out to do.

    Attributes:
        accepted, refused: optional fields it took, and those it rejected or ignored.
        end: id of its end-of-turn token.
        choices: token ids of choices it tokenised.
    """

    accepted: set[str] = field(default_factory=set[str])
    refused: set[str] = field(default_factory=set[str])
    end: int | None = None
    choices: dict[str, list[int]] = field(default_factory=dict[str, list[int]])


@dataclass
class Connection:
    """The client of one event loop, and how many requests it may have in flight."""

    client: Any
    slots: asyncio.Semaphore


@dataclass(frozen=True)
class OpenAIEngine:
    """Chat completions of a server, and scores of given text where the server offers them.

    The key is read from the environment when a connection is opened, and sent to
    `base_url` alone; without one the word `none` is sent, which local servers accept.

    Attributes:
        model: the name under which the server offers the model.
        base_url: usually ends in /v1.
        api_key_env: environment variable that holds the key.
        timeout_s: of one attempt.
        retries: further attempts after a refused connection, a timeout, HTTP 429 or 5xx,
            with growing pauses.
        max_in_flight: most requests waiting for the server at a time.
        logprobs: ask for log-probabilities, and for token ids where they are to be had.
        extra_body: fields added to every chat request as they are.
        counts: `requests` sent, and how often a fallback was needed.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = 60.0
    retries: int = 3
    max_in_flight: int = 64
    logprobs: bool = True
    extra_body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    counts: Counter[str] = field(
        default_factory=Counter[str], init=False, repr=False, compare=False
    )
    _learnt: Learnt = field(default_factory=Learnt, init=False, repr=False, compare=False)
    _connections: dict[asyncio.AbstractEventLoop, Connection] = field(
        default_factory=dict[asyncio.AbstractEventLoop, Connection],
        init=False,
        repr=False,
        compare=False,
    )

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"base_url: {self.base_url!r} is no address; write http://HOST:PORT/v1."
            )
        if parts.username or parts.password:
            raise ConfigError(
                f"base_url: it carries a password; put it into ${self.api_key_env} instead."
            )
        if not self.model:
            raise ConfigError("model: is empty; write the name the server gives the model.")
        if self.retries < 0 or self.max_in_flight < 1 or self.timeout_s <= 0:
            raise ConfigError(
                "retries must be 0 or more, max_in_flight 1 or more, timeout_s more than 0."
            )

    @property
    def version(self) -> str:
        """The model's name; completions add the server's fingerprint where it gives one."""
        return self.model

    async def generate(self, request: Request) -> list[Completion]:
        """Sample `n` completions, or score `choices`."""
        check_real_engines_allowed("openai")
        check_request(request)
        openai = import_openai()
        try:
            if request.choices is not None:
                return await self._score(request.messages, request.choices)
            return await self._sample(request)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EngineError(self._refused_key(error)) from None  # it may quote the key
        except openai.OpenAIError as error:
            raise EngineError(await self._explain(error)) from error

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.client.close()

    def most_tokens(self, request: Request) -> tuple[int, int]:
        """Most tokens of the prompt, and further ones of each call; scoring is one call.

        A token is at least one byte. Until the server has taken `n`, each sample may cost
        the prompt again, which then belongs to the call.
        """
        sizes = (_bytes(message.content) + MESSAGE_TOKENS for message in request.messages)
        prompt = TEMPLATE_TOKENS + sum(sizes)
        if request.choices is not None:
            return prompt, sum(_bytes(choice) + 1 for choice in request.choices)
        if request.n > 1 and "n" not in self._learnt.accepted - self._learnt.refused:
            return 0, prompt + request.max_tokens
        return prompt, request.max_tokens

    # sampling

    async def _sample(self, request: Request) -> list[Completion]:
        """One request for all samples; one each where the server gives fewer."""
        found: list[Completion] = []
        if request.n == 1 or "n" not in self._learnt.refused:
            found = await self._chat(request, 0, request.n)
            if len(found) < request.n:
                self._note("n", "answers one sample a request")
        missing = range(len(found), request.n)
        for more in await asyncio.gather(*(self._chat(request, i, 1) for i in missing)):
            found += more[:1]
        return found[: request.n]

    async def _chat(self, request: Request, i: int, n: int) -> list[Completion]:
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
        if self.logprobs:
            body |= {"logprobs": True, "return_token_ids": True}
        body |= self.extra_body
        reply = await self._post_tolerantly("chat/completions", body)
        with self._well_formed(reply):
            return self._completions(request, reply)

    async def _post_tolerantly(self, path: str, body: Json) -> Json:
        """Post; where the server refuses, try again without the fields it may not know."""
        openai = import_openai()
        learnt = self._learnt
        body = {key: body[key] for key in body if key not in learnt.refused}
        doubtful = [key for key in OPTIONAL_FIELDS if key in body and key not in learnt.accepted]
        dropped: list[str] = []
        refusal: Exception | None = None
        for key in (None, *doubtful):
            if key is not None:
                del body[key]
                dropped.append(key)
            try:
                reply = await self._post(path, body)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = refusal or error
                continue
            learnt.accepted.update(body)
            for each in dropped:
                self._note(each, f"refuses the field {each}")
            return reply
        assert refusal is not None
        raise refusal

    def _note(self, key: str, fault: str) -> None:
        """Remember, log and count that the server does not do what was asked."""
        if key not in self._learnt.refused:
            log.warning("%s %s; going on without.", self.base_url, fault)
        self._learnt.refused.add(key)
        self.counts[f"without_{key}"] += 1

    def _completions(self, request: Request, reply: Json) -> list[Completion]:
        choices = self._choices(reply)
        usage: Json = reply.get("usage") or {}
        if not usage:
            self.counts["replies_without_usage"] += 1
        prompt_ids: list[int] = reply.get("prompt_token_ids") or []
        prompt = usage.get("prompt_tokens") or len(prompt_ids)
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        logprobs = [_logprobs(choice) for choice in choices]
        ids: list[list[int]] = [choice.get("token_ids") or [] for choice in choices]
        generated = _shares(usage.get("completion_tokens"), ids, logprobs)
        return [
            Completion(
                text=choice["message"].get("content") or "",
                finish="length" if choice.get("finish_reason") == "length" else "stop",
                # the ids do not say where a stop string cut the text
                tokens=None if request.stop else _tokens(prompt_ids, ids[i], logprobs[i]),
                logprob=sum(logprobs[i]) if logprobs[i] else None,
                prompt_tokens=prompt,
                cached_tokens=prompt if i else cached,
                generated_tokens=generated[i],
                version=self._version(reply),
            )
            for i, choice in enumerate(choices)
        ]

    def _choices(self, reply: Json) -> list[Json]:
        """The choices of a reply in order.

        Raises:
            EngineError: there is none.
        """
        choices: list[Json] = reply.get("choices") or []
        if not choices:
            raise EngineError(f"{self.base_url} sent a reply without choices: {_excerpt(reply)}")
        return sorted(choices, key=lambda each: each.get("index") or 0)

    @contextmanager
    def _well_formed(self, reply: Json) -> Generator[None]:
        """What a reply of another shape makes the reading code raise, as one sentence."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EngineError(
                f"{self.base_url} sent a malformed reply ({type(error).__name__}: {error}): "
                f"{_excerpt(reply)}"
            ) from error

    def _version(self, reply: Json) -> str:
        fingerprint = reply.get("system_fingerprint")
        return f"{self.model}@{fingerprint}" if fingerprint else self.model

    # scoring

    async def _score(
        self, messages: tuple[Message, ...], choices: Sequence[str]
    ) -> list[Completion]:
        """Log-probabilities of given text, read off the echo of a completion request."""
        openai = import_openai()
        try:
            prompt = await self._tokenize(self._as_chat(messages))
            end = await self._end_of_turn(messages, prompt)
            ids = [[*each, end] for each in await self._tokenize_choices(choices)]
            reply = await self._post(
                "completions",
                {
                    "model": self.model,
                    "prompt": [prompt + each for each in ids],
                    "max_tokens": 0,
                    "echo": True,
                    "logprobs": 1,
                    "temperature": 1.0,
                },
            )
        except (
            openai.BadRequestError,
            openai.NotFoundError,
            openai.UnprocessableEntityError,
        ) as error:
            raise self._cannot_score(f"HTTP {error.status_code}: {_said(error)}") from error
        with self._well_formed(reply):
            return self._scored(choices, prompt, ids, reply)

    def _scored(
        self, choices: Sequence[str], prompt: list[int], ids: list[list[int]], reply: Json
    ) -> list[Completion]:
        echoes = [
            (each.get("logprobs") or {}).get("token_logprobs") for each in self._choices(reply)
        ]
        if len(echoes) != len(ids):
            raise self._cannot_score(f"{len(ids)} texts were sent, {len(echoes)} came back")
        usage: Json = reply.get("usage") or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        first = min(cached // len(ids), len(prompt))  # the rest share the prompt it paid for
        completions: list[Completion] = []
        for choice, own, echo in zip(choices, ids, echoes, strict=True):
            logprobs = (echo or [])[len(prompt) : len(prompt) + len(own)]
            if len(logprobs) != len(own) or None in logprobs:
                raise self._cannot_score("it does not echo log-probabilities of the prompt")
            tokens = Tokens(tuple(prompt), tuple(own), tuple(logprobs), (False,) * len(own))
            completions.append(
                Completion(
                    text=choice,
                    finish="scored",
                    tokens=tokens,
                    logprob=tokens.logprob,
                    prompt_tokens=len(prompt),
                    cached_tokens=len(prompt) if completions else first,
                    generated_tokens=len(own),
                    version=self._version(reply),
                )
            )
        return completions

    def _as_chat(self, messages: Sequence[Message], **options: bool) -> Json:
        chat = {"model": self.model, "messages": as_json(messages), "add_generation_prompt": True}
        return {**chat, **options}

    async def _end_of_turn(self, messages: tuple[Message, ...], prompt: list[int]) -> int:
        """The id that follows an assistant's words, found by letting it say x."""
        if self._learnt.end is None:
            spoken = (*messages, Message("assistant", "x"))
            chat = await self._tokenize(self._as_chat(spoken, add_generation_prompt=False))
            (word,) = await self._tokenize_choices(["x"])
            rest = chat[len(prompt) :]
            starts = [i for i in range(len(rest)) if rest[i : i + len(word)] == word]
            if not starts or starts[-1] + len(word) >= len(rest):
                raise self._cannot_score("its chat template shows no end-of-turn token")
            self._learnt.end = rest[starts[-1] + len(word)]
        return self._learnt.end

    async def _tokenize_choices(self, choices: Sequence[str]) -> list[list[int]]:
        known = self._learnt.choices
        if len(known) > REMEMBERED_CHOICES:
            known.clear()
        new = list(dict.fromkeys(choice for choice in choices if choice not in known))
        bodies = ({"model": self.model, "prompt": c, "add_special_tokens": False} for c in new)
        found = await asyncio.gather(*(self._tokenize(body) for body in bodies))
        known.update(zip(new, found, strict=True))
        return [known[choice] for choice in choices]

    async def _tokenize(self, body: Json) -> list[int]:
        """Token ids from the server's own tokenizer, beside /v1 and not below it."""
        root = self.base_url.rstrip("/").removesuffix("/v1")
        tokens = (await self._post(f"{root}/tokenize", body)).get("tokens")
        if not isinstance(tokens, list):
            raise self._cannot_score("its /tokenize gives no token ids")
        return tokens

    def _cannot_score(self, why: str) -> CannotScore:
        return CannotScore(
            f"{self.base_url} cannot score given text ({why}); use policy 'prompted', "
            "or serve the model with vLLM."
        )

    # the wire

    async def _post(self, path: str, body: Json) -> Json:
        connection = self._connect()
        async with connection.slots:
            self.counts["requests"] += 1
            try:
                reply = await connection.client.post(path, body=body, cast_to=object)
            except ValueError as error:
                raise EngineError(
                    f"{self.base_url} sent a reply that is no JSON: {error}"
                ) from error
        if not isinstance(reply, dict):
            raise EngineError(
                f"{self.base_url} sent a reply that is no JSON object: {_excerpt(reply)}"
            )
        return reply

    def _connect(self) -> Connection:
        """The connection of the running event loop; those of dead loops are dropped."""
        loop = asyncio.get_running_loop()
        if loop not in self._connections:
            for dead in [each for each in self._connections if each.is_closed()]:
                del self._connections[dead]
            client = import_openai().AsyncOpenAI(
                api_key=os.environ.get(self.api_key_env) or "none",
                base_url=self.base_url,
                timeout=self.timeout_s,
                max_retries=self.retries,
            )
            self._connections[loop] = Connection(client, asyncio.Semaphore(self.max_in_flight))
        return self._connections[loop]

    # what went wrong, in a sentence

    def _refused_key(self, error: Any) -> str:
        status = f"{self.base_url} refused the key (HTTP {error.status_code})"
        if not os.environ.get(self.api_key_env):
            return f"{status}: the environment variable {self.api_key_env} is not set; set it."
        return f"{status}: check the environment variable {self.api_key_env}."

    async def _explain(self, error: Any) -> str:
        openai = import_openai()
        attempts = f"{self.retries + 1} attempt" + "s" * (self.retries > 0)
        if isinstance(error, openai.APITimeoutError):
            return (
                f"{self.base_url} did not answer within {self.timeout_s:g} s, in {attempts}; "
                "raise timeout_s, lower max_in_flight, or look at the server's load."
            )
        if isinstance(error, openai.APIConnectionError):
            return (
                f"{self.base_url} cannot be reached ({error.__cause__ or error}), in {attempts}; "
                "check that the server runs and that base_url is right."
            )
        if isinstance(error, openai.NotFoundError):
            return await self._not_found(_said(error))
        if isinstance(error, openai.APIStatusError):
            again = (
                f" after {attempts}"
                if error.status_code in (408, 409, 429) or error.status_code >= 500
                else ""
            )
            return f"{self.base_url} answered HTTP {error.status_code}{again}: {_said(error)}"
        return f"{self.base_url}: {type(error).__name__}: {error}"

    async def _not_found(self, said: str) -> str:
        """HTTP 404: the model's name, or the address, is wrong."""
        try:
            reply = await self._connect().client.get("models", cast_to=object)
            served = [str(each["id"]) for each in reply["data"]]
        except Exception:  # whatever it sent instead of a list of models
            return (
                f"{self.base_url} answered HTTP 404 ({said}); "
                "check base_url, which usually ends in /v1."
            )
        if self.model in served:
            return f"{self.base_url} answered HTTP 404 for {self.model!r}: {said}"
        return (
            f"{self.base_url} does not serve {self.model!r}.{did_you_mean(self.model, served)} "
            f"It serves: {', '.join(served) or 'nothing'}."
        )


def import_openai() -> Any:
    """The client library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("openai")
    except ImportError as cause:
        raise ConfigError(
            "The openai engine needs the openai client, which is not installed; "
            "run: pip install 'agentsearch[openai]'"
        ) from cause


def as_json(messages: Sequence[Message]) -> list[Json]:
    """Messages as the protocol writes them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _logprobs(choice: Json) -> list[float]:
    content: list[Json] = (choice.get("logprobs") or {}).get("content") or []
    return [float(each["logprob"]) for each in content]


def _tokens(prompt: list[int], ids: list[int], logprobs: list[float]) -> Tokens | None:
    """Exact tokens, where the server gave the prompt's, the completion's and their scores."""
    if not prompt or not ids or len(ids) != len(logprobs):
        return None
    return Tokens(tuple(prompt), tuple(ids), tuple(logprobs), (True,) * len(ids))


def _shares(
    total: int | None, ids: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]
) -> list[int]:
    """Generated tokens of every choice, which add up to what the server says."""
    counts = [len(a) or len(b) for a, b in zip(ids, logprobs, strict=True)]
    if total is None:
        return counts
    if not all(counts):
        counts = [total // len(counts)] * len(counts)
    counts[0] += total - sum(counts)
    return counts


def _said(error: Any) -> str:
    """What the server gave as its reason."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail")
    return _excerpt(body or error.message)


def _excerpt(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
