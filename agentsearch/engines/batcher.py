"""Many callers, one model: whatever is waiting goes to the model as one batch.

There are no timers. While a batch runs in the worker thread new items gather, and the
next batch takes them all, up to a maximum; an idle model starts at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

QUIET_TURNS = 3
"""Turns of the event loop without a newcomer before a batch starts."""


class Batcher(Generic[T, R]):
    """Runs a synchronous function over batches of items that callers await one by one.

    Args:
        run: maps a list of items to their results, in order; called in one worker
            thread, one batch at a time. What it raises reaches every caller of the batch.
        max_batch: most items of one batch.
    """

    def __init__(self, run: Callable[[list[T]], list[R]], max_batch: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._thread = ThreadPoolExecutor(1, "batcher")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """The result of `item`, from whichever batch takes it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what waited in an earlier loop died with it
            self._loop, self._waiting, self._task = loop, deque(), None
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain(self._waiting))
        return await future

    async def close(self) -> None:
        """Cancel whoever still waits, let the running batch end, free the thread."""
        if self._loop is asyncio.get_running_loop() and self._task is not None:
            for _, future in self._waiting:
                future.cancel()
            await self._task
        self._thread.shutdown()
        self._thread = ThreadPoolExecutor(1, "batcher")  # starts no thread until used

    async def _drain(self, waiting: deque[tuple[T, asyncio.Future[R]]]) -> None:
        while waiting:
            await self._settle(waiting)
            batch = self._take(waiting)
            if batch:
                await self._answer(batch)

    async def _settle(self, waiting: deque[tuple[T, asyncio.Future[R]]]) -> None:
        """Let callers that were just answered come back before the batch closes."""
        quiet = 0
        while quiet < QUIET_TURNS and len(waiting) < self._max_batch:
            before = len(waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(waiting) == before else 0

    def _take(
        self, waiting: deque[tuple[T, asyncio.Future[R]]]
    ) -> list[tuple[T, asyncio.Future[R]]]:
        """The oldest items whose callers have not gone away."""
        batch: list[tuple[T, asyncio.Future[R]]] = []
        while waiting and len(batch) < self._max_batch:
            item, future = waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _answer(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        items = [item for item, _ in batch]
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._run, items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for a batch of {len(items)}")
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
