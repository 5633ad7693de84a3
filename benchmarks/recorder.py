"""An openai engine that notes what it asks, and a client that asks the same again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from agentsearch.engines.http import Json, Servers
from agentsearch.engines.openai import OpenAIEngine

T = TypeVar("T")
TIMEOUT_S = 600.0


@dataclass
class Sent:
    """One request in the order of asking, and what came of it.

    Attributes:
        ended: when it was answered, by `time.perf_counter`; None if it was not.
        prompt, generated: tokens of the reply; those of a /tokenize are none.
    """

    path: str
    body: Json
    ended: float | None = None
    prompt: int = 0
    generated: int = 0

    def answered(self, reply: Json) -> None:
        """Note a reply."""
        usage = reply.get("usage") or {}
        self.ended = time.perf_counter()
        self.prompt = usage.get("prompt_tokens") or 0
        self.generated = usage.get("completion_tokens") or 0

    @property
    def prompts(self) -> int:
        """How many prompts it holds."""
        texts = self.body.get("prompt")
        return len(texts) if isinstance(texts, list) and isinstance(texts[0], list) else 1


@dataclass(frozen=True)
class Recorder(OpenAIEngine):
    """The engine as it is, but that it remembers its requests."""

    sent: list[Sent] = field(default_factory=list[Sent], init=False, repr=False, compare=False)

    def _connect(self) -> Servers:
        servers = super()._connect()
        if "ask" not in vars(servers):
            vars(servers)["ask"] = self._noting(servers.ask)
        return servers

    def _noting(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        async def noted(path: str, body: Json | None, read: Callable[[Json], T], **how: Any) -> T:
            if body is None:
                return await ask(path, body, read, **how)
            sent = Sent(path, body)
            self.sent.append(sent)

            def read_noted(reply: Json) -> T:
                found = read(reply)
                sent.answered(reply)
                return found

            return await ask(path, body, read_noted, **how)

        return noted


async def replay(url: str, requests: Sequence[Sent], at_once: int) -> tuple[float, list[Sent]]:
    """Ask the same again, as fast as the server answers; seconds, and what came of each.

    Replies are read whole and parsed after the clock has stopped.
    """
    todo = [(each.path, json.dumps(each.body).encode()) for each in requests]
    replies: list[bytes] = [b""] * len(todo)
    left = iter(range(len(todo)))
    root = url.removesuffix("/v1")
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        headers={"Content-Type": "application/json"},
    ) as session:

        async def work() -> None:
            for i in left:
                path, data = todo[i]
                where = root + path if path[0] == "/" else f"{url}/{path}"
                async with session.post(where, data=data) as response:
                    replies[i] = await response.read()
                    response.raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        seconds = time.perf_counter() - began
    found = [Sent(each.path, each.body) for each in requests]
    for each, reply in zip(found, replies, strict=True):
        each.answered(json.loads(reply))
    return seconds, found
