"""The journal: what is written is found again, under the same question only."""

import asyncio
import math
import sqlite3
import time

import pytest

from agentsearch.errors import DataError
from agentsearch.journal import (
    Attempt,
    Journal,
    Key,
    completions_from,
    completions_json,
    digest,
)
from agentsearch.tree import proposals_from, proposals_json
from agentsearch.types import Completion, Message, Proposal, Request, Tokens

KEY = Key("t", 0, 3, "sample", 0, 0)
TOKENS = Tokens((5, 6), (7, 8), (-0.1, -1e-300), (True, False))


def kept(path, *rows):
    """A journal that holds `rows` of key, question and reply, and was closed."""

    async def write():
        journal = Journal(path)
        await asyncio.gather(*(journal.keep(*row, 1.5) for row in rows))
        journal.close()

    asyncio.run(write())


def test_a_reply_is_found_by_another_process_under_its_key_alone(tmp_path):
    kept(tmp_path / "j", (KEY, b"asked", {"text": "\ud800 naïve"}))
    journal = Journal(tmp_path / "j")
    assert journal.find(KEY, b"asked") == ({"text": "\ud800 naïve"}, 1.5)
    for changed in ({"node": 4}, {"role": "value"}, {"draw": 1}, {"part": 1}, {"attempt": 1}):
        assert journal.find(KEY._replace(**changed), b"asked") is None
    assert journal.find(KEY._replace(task="u"), b"asked") is None
    assert (len(journal), journal.found, journal.kept) == (1, 1, 0)
    journal.close()


def test_another_question_in_the_place_of_one_is_never_asked(tmp_path):
    kept(tmp_path / "j", (KEY, b"asked", 1))
    journal = Journal(tmp_path / "j")
    with pytest.raises(DataError, match="task t, node 3, sample: another question"):
        journal.find(KEY, b"asked otherwise")
    journal.close()


def test_replies_of_one_turn_are_committed_together(tmp_path):
    async def write():
        journal, commits = Journal(tmp_path / "j"), []
        journal._rows.set_trace_callback(
            lambda said: commits.append(said) if said == "commit" else None
        )
        rows = [(KEY._replace(node=i), b"", i) for i in range(50)]
        await asyncio.gather(*(journal.keep(*row, 0.0) for row in rows))
        assert len(commits) == 1 and journal.kept == 50
        await journal.keep(KEY._replace(node=50), b"", 50, 0.0)
        assert len(commits) == 2
        journal.close()

    asyncio.run(write())


def test_what_keep_has_returned_from_stands_in_the_file(tmp_path):
    """Read by a second connection, while the first is open: no close is needed."""

    async def write():
        journal = Journal(tmp_path / "j")
        await journal.keep(KEY, b"asked", 1, 0.0)
        rows = sqlite3.connect(tmp_path / "j").execute("select task, question from replies")
        assert rows.fetchall() == [("t", b"asked")]
        journal.close()

    asyncio.run(write())


def test_a_caller_that_leaves_does_not_take_the_others_along(tmp_path):
    async def write():
        journal = Journal(tmp_path / "j")
        waiting = [
            asyncio.ensure_future(journal.keep(KEY._replace(node=i), b"", i, 0.0)) for i in range(2)
        ]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await waiting[1]
        assert len(journal) == 2
        journal.close()

    asyncio.run(write())


def test_a_full_disk_is_one_sentence_to_all_who_wait_and_what_was_kept_stays(tmp_path):
    async def write():
        journal = Journal(tmp_path / "j")
        await journal.keep(KEY, b"", "first", 0.0)
        [[pages]] = journal._rows.execute("pragma page_count")
        journal._rows.execute(f"pragma max_page_count = {pages}")
        big = "".join(map(str, range(20_000)))
        rows = [(KEY._replace(node=i), b"", big) for i in (4, 5)]
        errors = await asyncio.gather(
            *(journal.keep(*row, 0.0) for row in rows), return_exceptions=True
        )
        assert {type(error) for error in errors} == {DataError}
        assert "disk is full" in str(errors[0]) and "Make room" in str(errors[0])
        journal.close()

    asyncio.run(write())
    journal = Journal(tmp_path / "j")
    assert len(journal) == 1 and journal.find(KEY, b"") == ("first", 0.0)
    journal.close()


def test_a_file_that_is_no_journal_is_one_sentence(tmp_path):
    (tmp_path / "j").write_text("words, words, words " * 100)
    with pytest.raises(DataError, match="cannot be used as a journal"):
        Journal(tmp_path / "j")


def test_equal_questions_about_a_draw_are_told_apart_by_their_order(tmp_path):
    journal = Journal(tmp_path / "j")
    attempt = Attempt("t", journal)
    places = [attempt.question(3, "value", 0, "same").key.part for _ in range(3)]
    assert places == [0, 1, 2]
    assert attempt.question(3, "value", 1, "same").key.part == 0
    assert Attempt("t").question(3, "value", 0, "same") is None
    journal.close()


def test_the_clock_of_an_attempt_goes_on_where_the_last_reply_had_come(tmp_path):
    kept(tmp_path / "j", (Key("t", 0, 0, "value", 0, 0), digest("q"), 0.5))
    journal = Journal(tmp_path / "j")
    attempt = Attempt("t", journal)
    assert attempt.seconds < 1.0
    assert attempt.question(0, "value", 0, "q").find() == 0.5
    assert 1.5 <= attempt.seconds < 60
    late = Attempt("t", journal, started=time.perf_counter() - 100)
    late.question(0, "value", 0, "q").find()
    assert late.seconds >= 100
    journal.close()


def test_requests_differ_by_everything_but_who_pays():
    request = Request((Message("user", "Hello"),), n=2, seed=1)
    same = Request((Message("user", "Hello"),), n=2, seed=1, account=object())
    assert digest(request) == digest(same)
    others = [
        Request((Message("system", "Hello"),), n=2, seed=1),
        Request((Message("user", "Hello"),), n=3, seed=1),
        Request((Message("user", "Hello"),), n=2, seed=2),
        Request((Message("user", "Hello"),), n=2, seed=1, temperature=0.5),
        Request((Message("user", "Hello"),), n=2, seed=1, choices=("a",)),
    ]
    assert len({digest(each) for each in (request, *others)}) == 6


def test_completions_come_back_as_they_were():
    completions = [
        Completion("a", "stop", TOKENS, TOKENS.logprob, 2, 1, 2, "tiny@1"),
        Completion("", "length", None, -math.inf, 2, 2, 0),
    ]
    assert completions_from(completions_json(completions)) == completions


def test_proposals_come_back_as_they_were():
    proposals = [
        Proposal("a", "Action: a", 2, -0.5, 0.25, 0.75, TOKENS, (TOKENS, TOKENS), "tiny@1"),
        Proposal(None, "mumble"),
    ]
    record = proposals_json(proposals)
    assert len(record["prompt_tokens"]) == 1
    assert proposals_from(record) == proposals
