"""Numbers with their intervals: rates, means, and differences paired by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentsearch.runner import wilson


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0.0 or self.high < 0.0


def success_rate(correct: Sequence[bool]) -> Interval:
    """Share of successes with its Wilson interval (Wilson, 1927)."""
    n = len(correct)
    return Interval(sum(correct) / n if n else 0.0, *wilson(sum(correct), n))


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Mean of `ours - theirs` over the same tasks, with a percentile bootstrap interval.

    Tasks are resampled, so that each difference stays with its task (Efron, 1979).

    Args:
        ours: `[T]`, one number a task.
        theirs: `[T]`, the same tasks in the same order.
        seed: of the resampling.
        resamples: bootstrap samples.

    Raises:
        ValueError: the lengths differ, or there is no task.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} and {len(theirs)} results cannot be paired by task")
    import numpy as np

    differences = np.asarray(ours, float) - np.asarray(theirs, float)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(differences), size=(resamples, len(differences)))
    low, high = np.quantile(differences[chosen].mean(axis=1), (0.025, 0.975))
    return Interval(float(differences.mean()), float(low), float(high))
