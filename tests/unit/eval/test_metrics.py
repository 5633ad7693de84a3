"""Rates, their intervals, and differences paired by task."""

import pytest
from scipy.stats import binomtest

from agentsearch_eval.metrics import Interval, paired_difference, success_rate


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (1, 1), (3, 10), (50, 50), (17, 100)])
def test_rates_have_wilson_intervals(correct, n):
    rate = success_rate([True] * correct + [False] * (n - correct))
    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert rate.estimate == correct / n
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high))


def test_a_wilson_interval_by_hand():
    # z = 1.96, n = 1, p = 1: centre (1 + z^2/2) / (1 + z^2), half width (z^2/2) / (1 + z^2)
    rate = success_rate([True])
    assert rate.low == pytest.approx(1 / (1 + 1.959964**2)) and rate.high == pytest.approx(1.0)


def test_a_rate_without_tasks_says_nothing():
    assert success_rate([]) == Interval(0.0, 0.0, 1.0)


def test_a_constant_difference_has_no_width():
    assert paired_difference([1, 0.5, 1], [0.5, 0, 0.5]) == Interval(0.5, 0.5, 0.5)
    assert paired_difference([1, 0, 1, 0], [1, 0, 1, 0]) == Interval(0.0, 0.0, 0.0)


def test_two_tasks_have_three_possible_means():
    # differences 1 and 0: means 0, 1/2, 1 with probability 1/4, 1/2, 1/4
    assert paired_difference([1, 1], [0, 1]) == Interval(0.5, 0.0, 1.0)


def test_pairing_removes_what_tasks_share():
    ours, theirs = [1.0, 0.0] * 20, [1.0, 0.0] * 20
    assert paired_difference(ours, theirs).high == 0.0
    assert paired_difference(ours, theirs[::-1]).high > 0.0


def test_the_seed_decides():
    ours, theirs = [1, 0, 1, 1, 0, 0, 1], [0, 0, 1, 0, 0, 1, 1]
    first = paired_difference(ours, theirs, seed=1, resamples=50)
    assert first == paired_difference(ours, theirs, seed=1, resamples=50)
    seeds = {paired_difference(ours, theirs, seed=s, resamples=50).high for s in range(20)}
    assert len(seeds) > 1


@pytest.mark.parametrize(("ours", "theirs"), [([1], [1, 0]), ([], [])])
def test_what_cannot_be_paired_is_refused(ours, theirs):
    with pytest.raises(ValueError, match="cannot be paired by task"):
        paired_difference(ours, theirs)


@pytest.mark.parametrize(
    ("low", "high", "excludes"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (0, 1, False), (-1, 1, False)],
)
def test_zero_inside_and_outside(low, high, excludes):
    assert Interval((low + high) / 2, low, high).excludes_zero is excludes
