"""Answers remembered: what has one answer is computed once.

Scored choices and completions at temperature 0 depend on the request alone. Searches ask
for them again and again where windows of history are short or states recur.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, TypeVar

from agentsearch.types import Completion, Request

K = TypeVar("K")
V = TypeVar("V")


class Once(Generic[K, V]):
    """Equal questions that wait at the same time share one computation.

    Args:
        ask: computes an answer.
    """

    def __init__(self, ask: Callable[[K], Coroutine[Any, Any, V]]) -> None:
        self._ask = ask
        self._asked: dict[K, asyncio.Task[V]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def waits(self, key: K) -> bool:
        """Whether the answer is being computed in this event loop."""
        return asyncio.get_running_loop() is self._loop and key in self._asked

    async def answer(self, key: K) -> V:
        """The answer; its computation goes on for others if one caller leaves."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what was asked in an earlier loop died with it
            self._loop, self._asked = loop, {}
        if key not in self._asked:
            asked = self._asked
            task = asked[key] = loop.create_task(self._ask(key))
            task.add_done_callback(lambda _: asked.pop(key))
        return await asyncio.shield(self._asked[key])

    async def close(self) -> None:
        """End what is being computed in this event loop."""
        if asyncio.get_running_loop() is not self._loop:
            return
        for task in list(self._asked.values()):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


def has_one_answer(request: Request) -> bool:
    """Whether the seed plays no part in the answer."""
    return request.choices is not None or request.temperature == 0


class Memory:
    """The replies to requests with one answer, forgetting the least recently used.

    Equal requests that wait at the same time share one computation. Errors are not kept.
    One model's memory: clear it when the model changes.

    Args:
        ask: computes a reply.
        size: most replies kept.
        counts: where to count; None begins at 0.

    Attributes:
        counts: `saved_calls` and `saved_tokens` (uncached prompt tokens and generated
            ones, as budgets count them) that were charged to searches but not computed.
    """

    def __init__(
        self,
        ask: Callable[[Request], Coroutine[Any, Any, list[Completion]]],
        size: int,
        counts: Counter[str] | None = None,
    ) -> None:
        self.counts = Counter[str]() if counts is None else counts
        self._ask = ask
        self._size = size
        self._known: OrderedDict[Request, list[Completion]] = OrderedDict()
        self._once = Once(self._asked)

    async def reply(self, request: Request) -> list[Completion]:
        """The reply to a request that `has_one_answer`; what it costs is in its completions."""
        key = replace(request, seed=0, account=None)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return self._saved(key, known)
        if self._once.waits(key):
            return self._saved(key, await self._once.answer(key))
        return list(await self._once.answer(key))

    def clear(self) -> None:
        """Forget all replies; the counts stay."""
        self._known.clear()

    async def close(self) -> None:
        """End what is being asked in this event loop; what is known stays."""
        await self._once.close()

    async def _asked(self, key: Request) -> list[Completion]:
        found = self._known[key] = await self._ask(key)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return found

    def _saved(self, key: Request, completions: list[Completion]) -> list[Completion]:
        self.counts["saved_calls"] += 1 if key.choices else len(completions)
        self.counts["saved_tokens"] += sum(
            c.prompt_tokens - c.cached_tokens + c.generated_tokens for c in completions
        )
        return list(completions)
