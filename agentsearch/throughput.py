"""How busy a run keeps its engines, and how many tasks it searches at once for that.

With `concurrency: auto` a run begins with `START` tasks at a time. Every `LOOK_EVERY_S` the
vLLM servers are asked how many requests run and wait there (see `next_level`), and tasks
begin accordingly; none is interrupted, and nothing waits for others to end. With engines
that say nothing of the kind, it stays at `START`. Results do not depend on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Protocol

from agentsearch.budget import Metered
from agentsearch.engines.load import Load, Traffic, together

Concurrency = int | Literal["auto"]

START = 16
"""Tasks at a time with `auto`, to begin with, and where no server says what it has to do."""
LEAST, MOST = 4, 512
ROOM = 0.9
"""A server whose memory for keys and values is fuller than this has no room."""
LOOK_EVERY_S = 2.0


def at_once(concurrency: Concurrency) -> int:
    """How many tasks a run begins with."""
    return START if concurrency == "auto" else concurrency


def next_level(level: int, seen: Traffic) -> int:
    """How many tasks to search at once, after a look at the servers.

    Half as many more while no request waits, here or there, and the servers have room for
    keys and values; a quarter fewer once a quarter as many wait as run. A short queue is
    good: a server that has ended a request finds the next one there.
    """
    servers = seen.servers.values()
    if not servers:
        return level
    waiting = seen.queued + sum(each.waiting for each in servers)
    if waiting > sum(each.running for each in servers) / 4:
        return max(LEAST, level * 3 // 4)
    if waiting or max(each.cache_use for each in servers) > ROOM:
        return level
    return min(MOST, level * 3 // 2)


class Slots:
    """Places for tasks, as a semaphore has them, whose number can change meanwhile."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._taken = 0
        self._free = asyncio.Condition()

    @property
    def level(self) -> int:
        """How many there are."""
        return self._level

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return self._taken >= self._level

    async def set(self, level: int) -> None:
        """Change how many there are; where too many are taken, the next to be left are lost."""
        async with self._free:
            self._level = level
            self._free.notify_all()

    async def __aenter__(self) -> None:
        async with self._free:
            await self._free.wait_for(lambda: not self.full)
            self._taken += 1

    async def __aexit__(self, *_: object) -> None:
        self._taken -= 1
        async with self._free:
            self._free.notify()


class _Observed(Protocol):
    async def traffic(self) -> Traffic: ...


class Watch:
    """Looks at the engines of a run while it goes on, within an `async with` block.

    Attributes:
        slots: of the tasks, where their number shall follow the servers' load.
        seen: the last look; None before the first, and where no engine can be looked at.
    """

    def __init__(
        self,
        engines: Sequence[Metered],
        on_look: Callable[[Watch], None] | None = None,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        found: list[Any] = [metered.engine for metered in engines]
        self._engines: list[_Observed] = [each for each in found if hasattr(each, "traffic")]
        self._on_look, self._every_s = on_look, every_s
        self.slots: Slots | None = None
        self.seen: Traffic | None = None
        self._first: Traffic | None = None
        self._loads: dict[str, Load] = {}  # the newest of each server that ever said it
        self._looked_up = self._hits = 0.0
        self._began = self._ended = 0.0
        self._looking: asyncio.Task[None] | None = None

    @property
    def hit_rate(self) -> float | None:
        """Share of the tokens looked up in the servers' prefix caches that were there.

        Since the block began, and whoever asked; None where no server says.
        """
        return self._hits / self._looked_up if self._looked_up else None

    @property
    def in_flight(self) -> int | None:
        """Requests under way; None where none came from here since the block began."""
        seen, first = self.seen, self._first
        if seen is None or first is None or seen.asked == first.asked:
            return None
        return seen.in_flight

    def figures(self) -> dict[str, Any]:
        """What was seen, for a run's summary; what could not be seen is missing."""
        found: dict[str, Any] = {}
        seen, first = self.seen, self._first
        if seen is not None and first is not None and seen.asked > first.asked:
            in_flight_s, queued_s = (
                seen.in_flight_s - first.in_flight_s,
                seen.queued_s - first.queued_s,
            )
            found["in_flight"] = in_flight_s / (self._ended - self._began)
            found["queue_seconds"] = queued_s / (seen.asked - first.asked)
        if self.hit_rate is not None:
            found["prefix_cache_hit_rate"] = self.hit_rate
        if self.slots is not None:
            found["concurrency"] = self.slots.level
        return found

    async def __aenter__(self) -> Watch:
        self._began = time.perf_counter()
        await self._look()
        if self.seen is not None:
            self._looking = asyncio.create_task(self._go_on_looking())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        if error is None:
            await self._look()

    async def _go_on_looking(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._look()
            slots = self.slots
            if slots is not None and self.seen is not None and slots.full:
                await slots.set(next_level(slots.level, self.seen))

    async def _look(self) -> None:
        if not self._engines:
            return
        seen = together([await each.traffic() for each in self._engines])
        for url, load in seen.servers.items():
            before = self._loads.get(url, load)
            if load.looked_up < before.looked_up:  # it was started again
                before = Load()
            self._looked_up += load.looked_up - before.looked_up
            self._hits += load.hits - before.hits
            self._loads[url] = load
        self.seen, self._ended = seen, time.perf_counter()
        self._first = self._first or seen
        if self._on_look is not None:
            self._on_look(self)
