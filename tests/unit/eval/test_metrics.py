"""Rates, means and paired differences: by hand, against scipy, and how often they cover."""

import numpy as np
import pytest
from scipy.stats import binomtest

from agentsearch_eval.metrics import (
    FEWEST_TASKS,
    Interval,
    bootstrap,
    mean_of_means,
    paired_difference,
    success_rate,
)


def one_seed(*values):
    """`[T, 1]`"""
    return np.asarray(values, float)[:, None]


def ends(interval):
    return interval.low, interval.high


# -- rates -----------------------------------------------------------------------------


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (1, 1), (3, 10), (50, 50), (17, 100)])
def test_rates_of_one_seed_have_wilson_intervals(correct, n):
    rate = success_rate([one_seed(*[1] * correct, *[0] * (n - correct))])
    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert rate.estimate == correct / n and rate.reliable
    assert ends(rate) == pytest.approx((expected.low, expected.high))


def test_a_wilson_interval_by_hand():
    # z = 1.96, n = 1, p = 1: centre (1 + z^2/2) / (1 + z^2), half width (z^2/2) / (1 + z^2)
    rate = success_rate([one_seed(1)])
    assert ends(rate) == pytest.approx((1 / (1 + 1.959964**2), 1.0))


def test_seeds_of_a_task_are_no_further_tasks():
    # two tasks, always and never solved: drawn twice, they give 0, 1/2 and 1
    # with probability 1/4, 1/2, 1/4, however many seeds repeat them
    for seeds in (2, 50):
        rate = success_rate([np.array([[1.0] * seeds, [0.0] * seeds])])
        assert rate == Interval(0.5, 0.0, 1.0, reliable=False)


def test_attempts_that_all_agree_are_as_many_as_tasks():
    expected = binomtest(4, 4).proportion_ci(0.95, method="wilson")
    rate = success_rate([np.ones((4, 3))])
    assert (rate.estimate, *ends(rate)) == pytest.approx((1.0, expected.low, expected.high))
    several = success_rate([np.zeros((3, 1)), np.zeros((1, 1))])
    expected = binomtest(0, 4).proportion_ci(0.95, method="wilson")
    assert several.estimate == 0.0 and ends(several) == pytest.approx((0.0, expected.high))


def test_environments_count_alike_however_many_tasks_they_have():
    strata = [one_seed(1, 0), one_seed(0, 0, 0, 0, 0, 0)]
    assert mean_of_means(strata) == success_rate(strata).estimate == 0.25


def test_tasks_are_drawn_within_their_environment():
    # the first environment gives 0, 1/2 or 1; the second is always 1/2
    rate = success_rate([one_seed(1, 0), np.array([[1.0, 0.0], [0.0, 1.0]]).mean(1)[:, None]])
    assert (rate.estimate, *ends(rate)) == (0.5, 0.25, 0.75)


@pytest.mark.parametrize("strata", [[], [np.empty((0, 1))], [np.empty((0, 2)), one_seed(1)]])
def test_without_tasks_there_is_no_rate(strata):
    with pytest.raises(ValueError, match="there is no task"):
        success_rate(strata)


# -- differences -----------------------------------------------------------------------


def test_two_tasks_have_three_possible_means():
    # differences 1 and 0: means 0, 1/2, 1 with probability 1/4, 1/2, 1/4
    found = paired_difference([one_seed(1, 1)], [one_seed(0, 1)])
    assert found == Interval(0.5, 0.0, 1.0, reliable=False)


def test_pairing_removes_what_tasks_share():
    ours = one_seed(*[1, 0] * 20)
    assert paired_difference([ours], [ours]).high == 0.0
    assert paired_difference([ours], [ours[::-1]]).high > 0.0


def test_pairs_are_of_task_and_seed():
    # the same rates, but only the first pair of seeds agrees: task means differ by 0 everywhere
    ours, theirs = np.array([[1.0, 0.0]] * 12), np.array([[0.0, 1.0]] * 12)
    found = paired_difference([ours], [theirs])
    assert (found.estimate, *ends(found)) == (0.0, 0.0, 0.0) and found.reliable
    assert not paired_difference([ours], [ours]).reliable


def test_few_tasks_or_none_that_differs_are_never_significant():
    many, few = one_seed(*[1] * FEWEST_TASKS), one_seed(*[1] * (FEWEST_TASKS - 1))
    assert paired_difference([many], [0 * many]) == Interval(1.0, 1.0, 1.0)
    assert paired_difference([many], [0 * many]).significant
    short = paired_difference([few], [0 * few])
    assert short.excludes_zero and not short.significant
    assert not paired_difference([many, few], [0 * many, 0 * few]).significant
    tied = paired_difference([many], [many])
    assert tied == Interval(0.0, 0.0, 0.0, reliable=False)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([one_seed(1)], [one_seed(1, 0)]),
        ([one_seed(1)], []),
        ([np.ones((2, 1))], [np.ones((1, 2))]),
    ],
)
def test_what_cannot_be_paired_is_refused(ours, theirs):
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference(ours, theirs)


@pytest.mark.parametrize(
    ("low", "high", "excludes"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (0, 1, False), (-1, 1, False)],
)
def test_zero_inside_and_outside(low, high, excludes):
    assert Interval((low + high) / 2, low, high).excludes_zero is excludes


# -- the bootstrap ---------------------------------------------------------------------


def test_quantities_are_kept_apart_and_in_order():
    tasks = np.array([[[1.0], [3.0]], [[10.0], [10.0]]])  # two quantities of two tasks
    first, second = bootstrap([tasks])
    assert (first.estimate, *ends(first)) == (2.0, 1.0, 3.0)
    assert (second.estimate, *ends(second)) == (10.0, 10.0, 10.0)


def test_one_task_has_no_spread_to_show():
    [found] = bootstrap([np.array([[[2.0, 4.0]]])])
    assert found == Interval(3.0, 3.0, 3.0, reliable=False)


def test_the_seed_decides():
    tasks = np.random.default_rng(0).random((1, 12, 1))
    first = bootstrap([tasks], seed=1, resamples=50)
    assert first == bootstrap([tasks], seed=1, resamples=50)
    assert len({bootstrap([tasks], seed=s, resamples=50)[0].high for s in range(20)}) > 1


def coverage(interval_of, trials=300, tasks=40, seeds=3):
    """Share of simulated suites whose interval holds the true difference of two policies.

    A task has a difficulty of its own, which all its seeds and both policies share.
    """
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(trials):
        easy = rng.beta(0.5, 0.5, size=(tasks, 1))
        gain = rng.choice([0.0, 0.4], size=(tasks, 1)) * (1 - easy)  # true mean 0.2 * 0.5
        ours = (rng.random((tasks, seeds)) < easy + gain).astype(float)
        theirs = (rng.random((tasks, seeds)) < easy).astype(float)
        low, high = interval_of(ours, theirs)
        held += low <= 0.1 <= high
    return held / trials


def test_intervals_of_differences_hold_the_truth_about_as_often_as_they_say():
    def clustered(ours, theirs):
        return ends(bootstrap([(ours - theirs)[None]], resamples=400)[0])

    assert 0.91 <= coverage(clustered) <= 0.98


def test_intervals_of_rates_hold_the_truth_only_because_tasks_are_clustered():
    def rate(ours, theirs):
        return ends(bootstrap([theirs[None] - 0.4], resamples=400)[0])  # the true rate is 0.5

    def as_if_seeds_were_tasks(ours, theirs):
        found = binomtest(int(theirs.sum()), theirs.size).proportion_ci(0.95, method="wilson")
        return found.low - 0.4, found.high - 0.4

    assert coverage(rate) >= 0.91
    assert coverage(as_if_seeds_were_tasks) < 0.87
