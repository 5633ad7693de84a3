"""What a model can do, found out by asking it: first a server's features, one by one.

Servers ignore fields that they do not know, so that a feature is there only where the reply
shows it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agentsearch.cli.row import Row
from agentsearch.config import Builder, as_component
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.errors import AgentSearchError, ConfigError
from agentsearch.types import Completion, Message, Request

if TYPE_CHECKING:
    from agentsearch.budget import Metered

QUESTION = (Message("user", "Write down five random numbers."),)
SEED = 24
CHAT = (
    {"role": "system", "content": "You play a game."},
    {"role": "user", "content": "You see a key, 2 doors\nand a café."},
    {"role": "assistant", "content": "go forward"},
    {"role": "user", "content": "What next?"},
)
"""What local and served template are compared by."""
CHOICES = ("turn left 7", "pick up the key 9")
LONG = " ".join(map(str, range(300)))
"""A prompt of several blocks of the prefix cache."""
ASK_AGAIN = 4
"""Requests that begin alike, after which one has met its replica again."""
TIMEOUT_S = 120.0
"""The first request of a fresh server is slow."""
PATIENCE = {"wait_s": 5.0, "retries": 1, "timeout_s": TIMEOUT_S}
"""Of our client: a run waits for a server that died, this does not."""
RESTART = "Serve the model with: agentsearch serve MODEL"
UNTRAINABLE = f"Its replies cannot be trained on. {RESTART}"


def engine_of(policy: str) -> Metered:
    """The engine behind a policy's name.

    Raises:
        ConfigError: it has none.
    """
    component = as_component("policy", policy)
    if "engine" not in component:
        raise ConfigError(
            f"policy {policy!r}: has no model to try; give tiny, hf:PATH or openai:MODEL@URL."
        )
    engine = dict(component["engine"])
    if engine["name"] == "openai":
        engine |= PATIENCE
    return Builder().engine(engine, "policy.engine")


def rows(engine: Metered, local: str | None = None) -> list[Row]:
    """What a model answers and what it can do; only an answer is needed.

    Args:
        engine: the model.
        local: the same model on this side, which a server's tokens are compared with.

    Raises:
        ConfigError: there is no such local model, or nothing to compare it with.
    """
    served = engine.engine if isinstance(engine.engine, OpenAIEngine) else None
    if local is not None and served is None:
        raise ConfigError("--model: is compared with a server; give --policy openai:MODEL@URL.")
    encode = None if local is None else local_tokenizer(local)
    found: list[Row] = []
    if served is not None:
        for url in served.urls:
            found += server_rows(Server(url, served.model, served.api_key_env), encode)
    if not any(row.needed and row.ok is False for row in found):
        found += asyncio.run(_engine_rows(engine, with_features=served is None))
    return found


# -- a server ----------------------------------------------------------------------------


class Missing(Exception):
    """A feature is not there, and why we think so."""


class Refused(Missing):
    """The server said no."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}: {' '.join(said.split())[:200]}")
        self.status, self.said = status, said


@dataclass(frozen=True)
class Server:
    """One server, asked directly."""

    url: str
    model: str
    api_key_env: str

    @property
    def root(self) -> str:
        """The address without /v1."""
        return self.url.removesuffix("/v1")

    def ask(self, url: str, body: dict[str, Any] | None = None) -> str:
        """The text of a reply.

        Raises:
            Refused: any status from 400 on.
            OSError: the server does not answer.
        """
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.api_key_env):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps({"model": self.model, **body}).encode()
        try:
            request = urllib.request.Request(url, data, headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
                return reply.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode("utf-8", "replace")
            raise Refused(error.code, said.replace(key, "***") if key else said) from None

    def chat(self, **fields: Any) -> dict[str, Any]:
        """The reply to a short chat."""
        messages = [{"role": "user", "content": QUESTION[0].content}]
        body = {"messages": messages, "max_tokens": 8, "seed": SEED, **fields}
        return json.loads(self.ask(f"{self.url}/chat/completions", body))

    def complete(self, prompt: str, **fields: Any) -> dict[str, Any]:
        """The reply to a raw prompt."""
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, **fields}
        return json.loads(self.ask(f"{self.url}/completions", body))

    def tokens(self, **what: Any) -> list[int]:
        """Token ids of a `prompt`, or of `messages`."""
        body = {"add_special_tokens": False, **what}
        if "messages" in what:
            body["add_generation_prompt"] = True
        return json.loads(self.ask(f"{self.root}/tokenize", body))["tokens"]

    @cached_property
    def metrics(self) -> str:
        """Its counters when first asked for."""
        return self.ask(f"{self.root}/metrics")


@dataclass(frozen=True)
class Feature:
    """Something that search wants of a server.

    Attributes:
        name: what.
        check: says what it found, or raises `Missing`.
        do: what to do without it.
        needed: whether nothing works without it.
    """

    name: str
    check: Callable[[Server], str]
    do: str = RESTART
    needed: bool = False


def server_rows(server: Server, encode: Encode | None) -> Iterator[Row]:
    """Every feature of one server, until one that is needed is missing."""
    yield Row("server", None, server.url)
    for feature in (*FEATURES, *comparisons(encode)):
        row = _row(server, feature)
        yield row
        if row.needed and not row.ok:
            return


def _row(server: Server, feature: Feature) -> Row:
    try:
        return Row(feature.name, True, feature.check(server), feature.needed)
    except Missing as cause:
        why = str(cause)
    except OSError as error:
        reason = getattr(error, "reason", error)
        why = f"{server.url} does not answer ({reason})"
        if feature.needed or isinstance(reason, (ConnectionRefusedError, TimeoutError)):
            return Row(feature.name, False, why, True, "Start it: agentsearch serve MODEL")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        why = f"the reply has another shape ({type(error).__name__}: {error})"
    return Row(feature.name, False, why, feature.needed, feature.do)


def _models(server: Server) -> str:
    models = json.loads(server.ask(f"{server.url}/models"))["data"]
    names = [str(each["id"]) for each in models]
    if server.model not in names:
        raise Missing(f"it does not serve {server.model!r}, but {', '.join(names) or 'nothing'}")
    longest = next(each for each in models if each["id"] == server.model).get("max_model_len")
    holds = f", holds {longest} tokens" if longest else ""
    return f"{', '.join(names)}{holds}"


def _chat(server: Server) -> str:
    reply = server.chat()
    return repr((reply["choices"][0]["message"]["content"] or "")[:60])


def _several(server: Server) -> str:
    found = len(server.chat(n=2)["choices"])
    if found != 2:
        raise Missing(f"two samples were asked for, {found} came")
    return "several samples a request"


def _logprobs(server: Server) -> str:
    choice = server.chat(logprobs=True)["choices"][0]
    given = (choice.get("logprobs") or {}).get("content")
    if not given or not all(math.isfinite(each["logprob"]) for each in given):
        raise Missing("none of what was sampled")
    return "of what was sampled"


def _token_ids(server: Server) -> str:
    reply = server.chat(return_token_ids=True)
    if not reply.get("prompt_token_ids") or not reply["choices"][0].get("token_ids"):
        raise Missing("return_token_ids is ignored")
    return "replies can be trained on"


def _seeds(server: Server) -> str:
    def text() -> str:
        choice = server.chat(temperature=1.0, max_tokens=16)["choices"][0]
        return choice["message"]["content"]

    if text() != text():
        raise Missing("the same seed gave two replies")
    return "the same seed gives the same reply"


def _echo(server: Server) -> str:
    reply = server.complete("one two three", max_tokens=0, echo=True, logprobs=1)
    given = (reply["choices"][0].get("logprobs") or {}).get("token_logprobs") or []
    if not any(each is not None for each in given):
        raise Missing("echo brings none")
    return "given texts are scored by prefill"


def _given_tokens(server: Server) -> str:
    ids = server.tokens(prompt="yes no")[:2]
    reply = server.complete(
        "Answer:",
        logprobs=1,
        logprob_token_ids=ids,
        return_tokens_as_token_ids=True,
    )
    given = ((reply["choices"][0].get("logprobs") or {}).get("top_logprobs") or [{}])[0]
    if not all(f"token_id:{each}" in given for each in ids):
        raise Missing("logprob_token_ids is ignored")
    return "given texts are scored by walking their tokens"


def _structured(server: Server) -> str:
    reply = server.chat(structured_outputs={"choice": list(CHOICES)}, max_tokens=32)
    text = reply["choices"][0]["message"]["content"]
    if text not in CHOICES:
        raise Missing(f"structured_outputs is ignored: it wrote {text[:40]!r}")
    return "actions can be sampled among the legal ones"


def _tokenize(server: Server) -> str:
    return f"{len(server.tokens(messages=list(CHAT)))} tokens of a chat"


def _adapters(server: Server) -> str:
    try:
        server.ask(f"{server.url}/load_lora_adapter", {"lora_name": "", "lora_path": ""})
    except Refused as refused:
        if refused.status not in (400, 422):
            raise
    if "vllm:lora_requests_info" not in server.metrics:
        raise Missing("the route is there, but adapters are not enabled")
    return "can be loaded while it runs"


def _metrics(server: Server) -> str:
    if "vllm:num_requests_running" not in server.metrics:
        raise Missing("has none of vLLM's")
    return "load and queue are known"


def _prefix_cache(server: Server) -> str:
    before = _counted(server, "hits")
    queries = _counted(server, "queries")
    for _ in range(ASK_AGAIN):
        server.complete(LONG)
        hits = _counted(server, "hits") - before
        if hits:
            return f"{hits:.0f} of {_counted(server, 'queries') - queries:.0f} tokens were known"
    raise Missing("the same prompt was computed again")


def _counted(server: Server, what: str) -> float:
    """What a counter of the prefix cache has come to, over all replicas."""
    pattern = rf"^vllm:prefix_cache_{what}(?:_total)?(?:\{{.*\}})? (\S+)$"
    found = re.findall(pattern, server.ask(f"{server.root}/metrics"), re.MULTILINE)
    if not found:
        raise Missing(f"/metrics has no prefix_cache_{what}")
    return sum(map(float, found))


def _cached_tokens(server: Server) -> str:
    usage = server.complete(LONG).get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    if details.get("cached_tokens") is None:
        raise Missing("replies do not say what was known")
    return "every reply says what was known"


FEATURES = (
    Feature("models", _models, "Name one that it serves: --policy openai:MODEL@URL", needed=True),
    Feature("chat", _chat, "Serve a model with a chat template.", needed=True),
    Feature("n > 1", _several, "Samples are requested one by one."),
    Feature("log-probabilities", _logprobs, UNTRAINABLE),
    Feature("token ids", _token_ids, UNTRAINABLE),
    Feature("seeds", _seeds, "Runs cannot be repeated. Batched floating point may be the cause."),
    Feature("tokenize", _tokenize, f"Given texts cannot be scored. {RESTART}"),
    Feature("log-probabilities of prompts", _echo, f"Given texts are not scored. {RESTART}"),
    Feature(
        "log-probabilities of given tokens",
        _given_tokens,
        "Legal actions are scored by prefill, which reads no prefix cache; update vLLM.",
    ),
    Feature("structured choice", _structured, f"Replies may be no legal action. {RESTART}"),
    Feature(
        "adapters",
        _adapters,
        "Rounds of training need it: --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, "
        "as agentsearch serve has them.",
    ),
    Feature("metrics", _metrics, "Concurrency cannot be chosen from the load."),
    Feature("prefix cache", _prefix_cache, "Add --enable-prefix-caching to vLLM."),
    Feature("cached tokens", _cached_tokens, "Add --enable-prompt-tokens-details to vLLM."),
)


# -- the same model on this side ---------------------------------------------------------

Encode = Callable[[str | Sequence[dict[str, str]]], list[int]]
"""Token ids of a text, or of a chat with the assistant's turn opened."""


def local_tokenizer(model: str) -> Encode:
    """The tokenizer and chat template of a model here, as trainers and the hf engine use them.

    Raises:
        ConfigError: no such model, or transformers is not installed.
    """
    from agentsearch.engines.hf import find_model

    folder = find_model(model)
    try:
        from transformers import AutoTokenizer
    except ImportError as cause:
        raise ConfigError(
            "--model: needs transformers; run: pip install 'agentsearch[hf]'"
        ) from cause
    tokenizer: Any = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )

    def encode(what: str | Sequence[dict[str, str]]) -> list[int]:
        if not isinstance(what, str):
            try:
                what = tokenizer.apply_chat_template(
                    list(what), add_generation_prompt=True, tokenize=False
                )
            except Exception as cause:  # a template may raise anything
                raise Missing(f"the template here refuses the chat ({cause})") from cause
        return tokenizer.encode(what, add_special_tokens=False)

    return encode


def comparisons(encode: Encode | None) -> list[Feature]:
    """Whether a server turns text and chats into the tokens that this side does."""
    if encode is None:
        return []
    do = "Serve the model that is trained, with its own tokenizer and chat template."
    text, chat = CHAT[1]["content"], list(CHAT)
    return [
        Feature("tokenizer", lambda s: _same(encode(text), s.tokens(prompt=text)), do),
        Feature("chat template", lambda s: _same(encode(chat), s.tokens(messages=chat)), do),
    ]


def _same(ours: list[int], theirs: list[int]) -> str:
    if ours == theirs:
        return f"equal here and there, {len(ours)} tokens"
    pairs = enumerate(zip(ours, theirs, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    raise Missing(
        f"{len(ours)} tokens here, {len(theirs)} there; they differ from token {at} on: "
        f"{ours[at : at + 3]} here, {theirs[at : at + 3]} there"
    )


# -- any engine, through the client ------------------------------------------------------


async def _engine_rows(engine: Metered, with_features: bool) -> list[Row]:
    try:
        return [row async for row in _asked(engine, with_features)]
    finally:
        await engine.close()


async def _asked(engine: Metered, with_features: bool) -> AsyncIterator[Row]:
    from agentsearch.commands import preflight

    try:
        await preflight([engine])
        yield Row("model", True, "reachable", needed=True)
        first = await engine.engine.generate(Request(QUESTION, n=2, max_tokens=16, seed=SEED))
        again = await engine.engine.generate(Request(QUESTION, n=2, max_tokens=16, seed=SEED))
    except AgentSearchError as error:
        yield Row("model", False, str(error), needed=True)
        return
    reply = first[0]
    yield Row("answers", True, f"{reply.text[:60]!r}, version {reply.version or 'unknown'}")
    if with_features:
        yield Row("n > 1", len(first) == 2, _yes(len(first) == 2, "several samples a request"))
        known = reply.logprob is not None
        yield Row("log-probabilities", known, _yes(known, "of what it sampled"))
        ids = reply.tokens is not None
        yield Row("token ids", ids, _yes(ids, "replies can be trained on"))
        same = [each.text for each in first] == [each.text for each in again]
        yield Row("seeds", same, _yes(same, "the same seed gives the same reply"))
    scores, why = await _scores(engine)
    yield Row("scores given texts", scores, why)


async def _scores(engine: Metered) -> tuple[bool, str]:
    """Whether the policy `scoring` and expected votes can be used."""
    try:
        scored: list[Completion] = await engine.engine.generate(
            Request(QUESTION, choices=("yes", "no"))
        )
    except AgentSearchError as error:
        return False, str(error)
    able = all(each.logprob is not None for each in scored)
    return able, _yes(able, "policy scoring and expected votes work")


def _yes(able: bool, what: str) -> str:
    return f"yes: {what}" if able else "no"
