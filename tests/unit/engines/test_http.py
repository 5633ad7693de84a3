"""How long to wait before asking again."""

from email.utils import formatdate
from time import time

import pytest

from agentsearch.engines.http import pause_s, retry_after_s


def test_pauses_double_with_jitter_up_to_half_a_minute():
    for failed, longest in [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (40, 30.0)]:
        pauses = [pause_s(failed, None) for _ in range(100)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


def test_a_server_that_says_when_is_obeyed_up_to_a_minute():
    assert 2.0 <= pause_s(1, 2.0) <= 2.5
    assert 60.0 <= pause_s(1, 3600.0) <= 75.0
    assert pause_s(9, 0.0) == 0.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "-3"}, 0.0),
        ({"retry-after-ms": "nan"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0.0),
    ],
)
def test_when_is_told_in_seconds_milliseconds_or_as_a_date(
    headers: dict[str, str], seconds: float | None
):
    assert retry_after_s(headers) == seconds


def test_a_date_to_come_is_so_many_seconds_away():
    left = retry_after_s({"retry-after": formatdate(time() + 100, usegmt=True)})
    assert left is not None and 90 < left <= 100
