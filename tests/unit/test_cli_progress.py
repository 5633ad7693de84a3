"""Progress: the numbers of a line, and that warnings do not flood the screen."""

import io
import logging
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from agentsearch.budget import Usage
from agentsearch.cli.progress import SHOWN_WARNINGS, Tally, duration, live, rate
from agentsearch.runner import Result
from agentsearch.throughput import Watch
from agentsearch.types import Task

LOG = logging.getLogger("agentsearch.runner")


def a_console(terminal=False):
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


def a_result(correct=True, status="ok"):
    usage = Usage(calls=10, prompt_tokens=100)
    return Result("t", status=status, correct=correct, usage=usage)


def test_a_line_has_everything_in_80_characters():
    tally = Tally(100_000)
    tally.started = time.perf_counter() - 10
    assert tally.line() == "0/100000"
    for correct in (True, True, False, False):
        tally.add(a_result(correct))
    tally.add(a_result(False, "failed"))
    line = tally.line()
    assert line.startswith("5/100000, 40% correct (12-77%), 5.0 calls/s, 50 tok/s, 1 failed, ")
    assert line.endswith("55.6 h left") and len(line) < 80


def test_tasks_of_an_earlier_process_are_counted_but_not_as_speed():
    tally = Tally(10)
    tally.started = time.perf_counter() - 10
    for _ in range(5):
        tally.add(a_result(), kept=True)
    assert tally.line() == "5/10, 100% correct (57-100%)"
    tally.add(a_result())
    assert tally.line().endswith(", 1.0 calls/s, 10.0 tok/s, 40 s left")
    with live(a_console(), 10) as display:
        display.event("kept", Task("t", ""), a_result())
    assert display.tally.line() == "1/10, 100% correct (21-100%)"


def test_what_engines_have_to_do_comes_last_and_only_where_it_is_known():
    console = a_console()
    with live(console, 2) as display:
        display.event("finished", Task("t", ""), a_result())
        display.look(Watch([]))
        assert "in flight" not in display.tally.line() and "cached" not in display.tally.line()
        display.look(SimpleNamespace(in_flight=31, hit_rate=0.874))
        assert display.tally.line().endswith(" left, 31 in flight, 87% cached")


def test_the_last_line_says_how_long_it_took():
    tally = Tally(1)
    tally.started = time.perf_counter() - 5
    tally.add(a_result())
    assert tally.line().endswith(", 5 s")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (9000, "2.5 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (0.31, "0.3"), (12, "12"), (1204, "1.2k")])
def test_rates(number, text):
    assert rate(number) == text


def test_plain_lines_are_few_and_the_last_is_always_there():
    console = a_console()
    with live(console, 50) as display:
        for _ in range(50):
            display.event("started", Task("t", ""), None)
            display.event("finished", Task("t", ""), a_result())
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 1 and lines[0].startswith("50/50, 100% correct")


def test_a_terminal_gets_a_bar():
    console = a_console(terminal=True)
    with live(console, 2) as display:
        display.event("finished", Task("t", ""), a_result())
    assert "1/2, 100% correct" in console.file.getvalue()


def test_the_first_warnings_are_shown_and_made_safe():
    console = a_console()
    with live(console, 1):
        for i in range(SHOWN_WARNINGS + 3):
            LOG.warning("task %s failed: [red]\x1b[31m", i)
    text = console.file.getvalue()
    assert text.count("failed") == SHOWN_WARNINGS and "more of these" in text
    assert "\x1b" not in text
    LOG.warning("after the run")
    assert console.file.getvalue() == text
