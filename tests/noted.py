"""An engine that notes every request it is sent in a file, and when it has replied."""

import asyncio
import os
from dataclasses import dataclass, field

from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.journal import digest


@dataclass(frozen=True)
class Noted:
    """Replies with `a`, `b` or `c` by the seed, after a time of its own.

    Attributes:
        log: `asked HASH` and `replied HASH` are appended to it, a line each.
        slowest_s: most that a request takes.
    """

    log: str
    slowest_s: float = 0.01
    inner: ScriptedEngine = field(default=ScriptedEngine(replies=("a", "b", "c")), init=False)
    version: str = "noted"

    async def generate(self, request):
        name = digest(request)
        self.note("asked", name)
        await asyncio.sleep(self.slowest_s * name[0] / 255)
        completions = await self.inner.generate(request)
        self.note("replied", name)
        return completions

    async def check(self):
        """Reached, without a request."""

    def most_tokens(self, request):
        return self.inner.most_tokens(request)

    async def close(self):
        pass

    def note(self, what, name):
        with open(self.log, "ab", buffering=0) as file:
            file.write(f"{what} {name.hex()} {os.getpid()}\n".encode())
