"""The table on the terminal: which columns there are, and that no number is cut."""

import dataclasses
import io

import pytest
from rich.console import Console

from agentsearch_eval.command import as_table, notes
from agentsearch_eval.metrics import Interval
from agentsearch_eval.suite import Suite
from agentsearch_eval.table import PER_TASK, Row

NAMES = ("policy only", "policy sampled", "best-of-N", "MCTS, retries allowed")
SUITE = Suite(
    name="s",
    budgets={"8 calls": {"calls": 8}},
    rows={name: {} for name in NAMES},
    compare=list(NAMES[:3]),
)
SUCCESS, SCORE = Interval(0.5, 0.41, 0.59), Interval(0.934, 0.9, 0.96)
WORST = Interval(-1.0, -1.0, 1.0)


def row(name, score=SUCCESS):
    spent = {**dict.fromkeys(PER_TASK, Interval(6, 5, 7)), "tokens": Interval(81524, 8e4, 9e4)}
    return Row(
        env="",
        budget="8 calls",
        row=name,
        setting="act",
        seeds=[0],
        tasks=100,
        oracle=[],
        success=SUCCESS,
        score=score,
        differences={other: WORST for other in NAMES[:3] if other != name},
        per_task=spent,
        counts=dict.fromkeys(
            (
                *("invalid_actions", "parse_failures", "fallbacks", "truncations"),
                *("truncated_episodes", "failures", "mismatches"),
            ),
            0,
        ),
        unsupported=False,
        read_off=None,
        stored=0,
        folders=[],
    )


def drawn(rows, width=80):
    """The lines of a table."""
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(as_table(rows, "at most 8 calls", SUITE, width))
    return console.file.getvalue().splitlines()


def test_a_score_stands_beside_the_success_where_it_tells_more():
    rows = [row(name, SCORE if name == "best-of-N" else SUCCESS) for name in NAMES]
    lines = drawn(rows, 150)
    heads = next(line for line in lines if "method" in line)
    [best] = [line for line in lines if line.strip().startswith("best-of-N")]
    assert heads.split()[:5] == ["method", "success", "95", "%", "score"]
    assert best.split()[1:5] == ["50", "%", "41-59", "0.93"]
    assert "score: the environment's own return, mean per task" in notes(rows, SUITE)


def test_by_how_much_scores_differ_from_the_baseline_stands_below():
    rows = [row(name, SCORE) for name in NAMES[:2]]
    sure = {SUITE.baseline: Interval(0.25, 0.1, 0.4)}
    rows.append(dataclasses.replace(row("MCTS", SCORE), score_differences=sure))
    assert f"score vs {SUITE.baseline}: MCTS +0.25*" in notes(rows, SUITE)
    assert "* the interval of the difference excludes 0" in notes(rows, SUITE)


def test_a_score_that_is_just_the_success_is_left_out():
    rows = [row(name) for name in NAMES]
    assert "score" not in " ".join(drawn(rows, 150))
    assert not [note for note in notes(rows, SUITE) if note.startswith("score")]


@pytest.mark.parametrize(("width", "compared"), [(80, 1), (110, 2), (120, 2), (140, 3)])
def test_as_many_comparisons_are_shown_as_fit(width, compared):
    lines = drawn([row(name, SCORE) for name in NAMES], width)
    assert max(map(len, lines)) <= width
    assert " ".join(lines).count("vs") == compared
    whole = " ".join(lines)
    assert "…" not in whole and whole.count("81524") == len(NAMES)
    assert whole.count("-100 to +100") == 4 * compared - compared
