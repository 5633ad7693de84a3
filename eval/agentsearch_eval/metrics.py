"""Numbers with their 95 % intervals: rates, means, and differences paired by task and seed.

Attempts at one task with several seeds are alike, so what is resampled are tasks, with
all their seeds: a bootstrap clustered by task (Efron, 1979; Davison and Hinkley, 1997,
section 3.8). Tasks of several environments are resampled within theirs, and every
environment counts alike.

In the shapes, T is tasks and S seeds. A *stratum* is the array of one environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentsearch.runner import wilson

Array = NDArray[np.float64]

FEWEST_TASKS = 10
"""Tasks of an environment below which a percentile bootstrap is not to be trusted."""
RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval.

    Attributes:
        reliable: False where the interval rests on too little to be trusted.
    """

    estimate: float
    low: float
    high: float
    reliable: bool = True

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0.0 or self.high < 0.0

    @property
    def significant(self) -> bool:
        """Whether 0 lies outside an interval that can be trusted."""
        return self.reliable and self.excludes_zero


def success_rate(strata: Sequence[Array]) -> Interval:
    """Share of successes, each environment counting alike.

    With one seed in one environment the interval is Wilson's (1927). Otherwise it is
    bootstrapped; where all attempts agree the bootstrap has no width, and Wilson's
    interval of as many attempts as there are tasks is given instead.

    Args:
        strata: an array `[T, S]` of 0 and 1 for each environment.

    Raises:
        ValueError: there is no task.
    """
    tasks = sum(len(each) for each in strata)
    estimate = mean_of_means(strata)
    if len(strata) == 1 and strata[0].shape[1] == 1 or estimate in (0.0, 1.0):
        return Interval(estimate, *wilson(round(estimate * tasks), tasks))
    return bootstrap([each[None] for each in strata])[0]


def paired_difference(ours: Sequence[Array], theirs: Sequence[Array]) -> Interval:
    """Mean of `ours - theirs` over the same tasks and seeds, each environment counting alike.

    Unreliable also where no task tells the two apart: that many ties say that the
    difference is small, not that it is zero.

    Args:
        ours: an array `[T, S]` for each environment.
        theirs: arrays of the same shapes.

    Raises:
        ValueError: the shapes differ, or there is no task.
    """
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        raise ValueError("results of different tasks or seeds cannot be paired")
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    found = bootstrap([each[None] for each in differences])[0]
    discordant = any(each.any() for each in differences)
    return Interval(found.estimate, found.low, found.high, found.reliable and discordant)


def bootstrap(
    strata: Sequence[Array], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Interval]:
    """Means of several quantities with percentile bootstrap intervals, clustered by task.

    Args:
        strata: an array `[Q, T, S]` for each environment, with the Q quantities in order.
        seed: of the resampling.
        resamples: bootstrap samples.

    Returns:
        An interval for each quantity.

    Raises:
        ValueError: there is no task.
    """
    from scipy import stats  # half a second to import: only where it is used

    by_task = [each.mean(axis=2) for each in strata]  # a task is drawn with all its seeds
    if not by_task or not all(each.shape[1] for each in by_task):
        raise ValueError("there is no task to take a mean over")
    found: Any = stats.bootstrap(
        [np.repeat(each, 2, axis=1) if each.shape[1] == 1 else each for each in by_task],
        _mean_of_means,
        method="percentile",
        n_resamples=resamples,
        batch=1_000,
        axis=-1,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    ends = found.confidence_interval
    reliable = min(each.shape[1] for each in by_task) >= FEWEST_TASKS
    estimates = np.atleast_1d(_mean_of_means(*by_task, axis=-1))
    return [
        Interval(float(estimate), float(low), float(high), reliable)
        for estimate, low, high in zip(estimates, ends.low, ends.high, strict=True)
    ]


def mean_of_means(strata: Sequence[Array]) -> float:
    """The mean over environments of the mean over tasks and seeds.

    Raises:
        ValueError: there is no task.
    """
    if not strata or not all(each.size for each in strata):
        raise ValueError("there is no task to take a mean over")
    return float(np.mean([each.mean() for each in strata]))


def _mean_of_means(*samples: Array, axis: int) -> Array:
    return np.mean([each.mean(axis=axis) for each in samples], axis=0)
