"""Seconds and bytes that a piece of work takes."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def race(runs: Mapping[str, Callable[[], int]], repeats: int) -> dict[str, dict[str, Any]]:
    """Medians of contestants that say how much they did; they take turns, so noise falls on all."""
    taken: dict[str, list[tuple[int, float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            count = run()
            taken[name].append((count, time.perf_counter() - wall, time.process_time() - cpu))
    return {name: _medians(each) for name, each in taken.items()}


def _medians(taken: Sequence[tuple[int, float, float]]) -> dict[str, Any]:
    [count] = {count for count, _, _ in taken}
    wall = statistics.median(wall for _, wall, _ in taken)
    cpu = statistics.median(cpu for _, _, cpu in taken)
    return {
        "count": count,
        "seconds": round(wall, 4),
        "seconds_cpu": round(cpu, 4),
        "per_second": round(count / wall),
        "per_second_cpu": round(count / cpu),
    }


def ratios(figures: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """How many times as fast the first is as the other, by both clocks."""
    return {how: round(figures[how] / other[how], 2) for how in ("per_second", "per_second_cpu")}


def kept(make: Callable[[], Any]) -> int:
    """Bytes allocated by what `make` returns."""
    gc.collect()
    tracemalloc.start()
    made = make()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del made
    return used
