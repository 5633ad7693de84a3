"""Choosers without a model: chance, which every critic has to beat, and a plain function."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentsearch.types import Context


@dataclass(frozen=True)
class RandomChooser:
    """Every option is as likely as any other: the critic's control. Asks no model."""

    free = True

    async def choose(self, context: Context, options: Sequence[str], *, seed: int) -> int:
        """Any index."""
        return random.Random(seed).randrange(len(options))


@dataclass(frozen=True)
class ScriptedChooser:
    """Choices from a plain function of context and options: the public double for tests.

    Each choice is charged one call.
    """

    script: Callable[[Context, Sequence[str]], int]

    async def choose(self, context: Context, options: Sequence[str], *, seed: int) -> int:
        """`script(context, options)`."""
        return self.script(context, options)
