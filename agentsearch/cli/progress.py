"""Live progress of a run: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agentsearch.runner import Result, wilson
from agentsearch.throughput import Watch
from agentsearch.types import Task
from agentsearch.viz.terminal import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

EVERY_S = 2.0
"""Least time between two plain lines."""
SHOWN_WARNINGS = 5
WIDE = 110
"""Columns from which there is room for a bar."""


class Tally:
    """What has finished so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.kept = self.correct = self.failed = self.calls = self.tokens = 0
        self.in_flight: int | None = None
        self.hit_rate: float | None = None
        self.started = time.perf_counter()

    def add(self, result: Result, kept: bool = False) -> None:
        """Count one task; one that an earlier process finished says nothing of this one's speed."""
        self.done += 1
        self.correct += result.correct
        self.failed += result.status == "failed"
        if kept:
            self.kept += 1
        else:
            self.calls += result.usage.calls
            self.tokens += result.usage.tokens

    def line(self) -> str:
        """Everything on one line; less than 80 characters but for what servers say."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        parts = [f"{self.done}/{self.total}"]
        if self.done:
            low, high = wilson(self.correct, self.done)
            parts += [f"{self.correct / self.done:.0%} correct ({100 * low:.0f}-{high:.0%})"]
        new = self.done - self.kept
        if new:
            parts += [
                f"{rate(self.calls / seconds)} calls/s",
                f"{rate(self.tokens / seconds)} tok/s",
            ]
        parts += [f"{self.failed} failed"] if self.failed else []
        if new:
            left = seconds * (self.total - self.done) / new
            parts += [f"{duration(left)} left" if self.done < self.total else duration(seconds)]
        parts += [f"{self.in_flight} in flight"] if self.in_flight is not None else []
        parts += [f"{self.hit_rate:.0%} cached"] if self.hit_rate is not None else []
        return ", ".join(parts)


def rate(per_second: float) -> str:
    """Such as `0.3`, `31` or `1.2k`."""
    if per_second >= 1000:
        return f"{per_second / 1000:,.1f}k"
    return f"{per_second:.1f}" if 0 < per_second < 10 else f"{per_second:.0f}"


def duration(seconds: float) -> str:
    """Such as `8 s`, `3 min` or `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Display:
    """Draws a tally; `event` is given to the runner."""

    def __init__(self, console: Console, tally: Tally, bar: Progress | None) -> None:
        self.console = console
        self.tally = tally
        self.bar = bar
        self.last = tally.started

    def event(self, name: str, task: Task, result: Result | None) -> None:
        """Take note of a task that ended."""
        if result is None:
            return
        self.tally.add(result, kept=name == "kept")
        now = time.perf_counter()
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], advance=1, line=self.tally.line())
        elif now - self.last >= EVERY_S or self.tally.done == self.tally.total:
            self.last = now
            self.console.print(self.tally.line(), soft_wrap=True)

    def look(self, watch: Watch) -> None:
        """Take note of what the engines have to do."""
        self.tally.in_flight, self.tally.hit_rate = watch.in_flight, watch.hit_rate
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], line=self.tally.line())


class WarningLines(logging.Handler):
    """Shows the first warnings of the library, each on one line."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console
        self.shown = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning, or once that no more are printed."""
        self.shown += 1
        if self.shown <= SHOWN_WARNINGS:
            self.console.print(f"warning: {clean(record.getMessage())}", soft_wrap=True)
        elif self.shown == SHOWN_WARNINGS + 1:
            self.console.print("warning: more of these are in results.jsonl")


@contextmanager
def live(console: Console, total: int) -> Generator[Display]:
    """Draw progress and warnings on `console` until the block ends."""
    warnings, log = WarningLines(console), logging.getLogger("agentsearch")
    log.addHandler(warnings)
    tally = Tally(total)
    try:
        if console.is_terminal:
            with _bar(console, tally) as bar:
                yield Display(console, tally, bar)
        else:
            yield Display(console, tally, None)
    finally:
        log.removeHandler(warnings)


def _bar(console: Console, tally: Tally) -> Progress:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    text = TextColumn("{task.fields[line]}", markup=False)
    middle = [BarColumn(bar_width=20)] if console.width >= WIDE else []
    bar = Progress(SpinnerColumn(), *middle, text, console=console)
    bar.add_task("", total=tally.total, line=tally.line())
    return bar
