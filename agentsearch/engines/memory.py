"""Answers remembered: what has one answer is computed once.

Scored choices and completions at temperature 0 depend on the request alone. Searches ask
for them again and again where windows of history are short or states recur.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from agentsearch.types import Completion, Request


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

    Attributes:
        counts: `saved_calls` and `saved_tokens` (uncached prompt tokens and generated
            ones, as budgets count them) that were charged to searches but not computed.
    """

    def __init__(
        self, ask: Callable[[Request], Coroutine[Any, Any, list[Completion]]], size: int
    ) -> None:
        self.counts = Counter[str]()
        self._ask = ask
        self._size = size
        self._known: OrderedDict[Request, list[Completion]] = OrderedDict()
        self._asked: dict[Request, asyncio.Task[list[Completion]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def reply(self, request: Request) -> list[Completion]:
        """The reply to a request that `has_one_answer`; what it costs is in its completions."""
        key = replace(request, seed=0, account=None)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return self._saved(key, known)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what was asked in an earlier loop died with it
            self._loop, self._asked = loop, {}
        task = self._asked.get(key)
        if task is not None:
            return self._saved(key, await asyncio.shield(task))
        task = self._asked[key] = loop.create_task(self._ask(key))
        task.add_done_callback(lambda done: self._keep(key, done))
        return list(await asyncio.shield(task))  # goes on for the others if one caller leaves

    def clear(self) -> None:
        """Forget all replies; the counts stay."""
        self._known.clear()

    def _keep(self, key: Request, task: asyncio.Task[list[Completion]]) -> None:
        if self._asked.get(key) is task:
            del self._asked[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._known[key] = task.result()
        while len(self._known) > self._size:
            self._known.popitem(last=False)

    def _saved(self, key: Request, completions: list[Completion]) -> list[Completion]:
        self.counts["saved_calls"] += 1 if key.choices else len(completions)
        self.counts["saved_tokens"] += sum(
            c.prompt_tokens - c.cached_tokens + c.generated_tokens for c in completions
        )
        return list(completions)
