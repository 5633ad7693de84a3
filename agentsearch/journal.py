"""Every reply of a run, written before it is used, so that no death costs it a second time.

An SQLite file in WAL mode with a row for each reply. A row's key says which question of the
run it answers, (task, node, role, draw, part); a hash of the question stands beside it, so
that a changed question is noticed and never paid for silently. Rows that come in one turn of
the event loop are committed together. A commit survives the death of the process, and once a
second a checkpoint makes what is committed survive a loss of power.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from agentsearch.errors import DataError
from agentsearch.types import Completion, Tokens

CHECKPOINT_S = 1.0
"""Most seconds of replies that a loss of power takes."""
SCHEMA = """
create table if not exists replies (
    task text, attempt integer, node integer, role text, draw integer, part integer,
    question blob not null, reply blob not null, seconds real not null,
    primary key (task, attempt, node, role, draw, part)
) without rowid
"""


class Key(NamedTuple):
    """Which question of a run.

    Attributes:
        attempt: 0 for the search itself, more for what is read off at smaller budgets.
        role: how the policy was asked, `value`, or `step`.
        draw: samples that had been drawn at the node before.
        part: questions with all the same before it.
    """

    task: str
    attempt: int
    node: int
    role: str
    draw: int
    part: int


class Journal:
    """The replies of one run.

    Args:
        path: the file, made where it is missing.

    Attributes:
        found: replies that were read instead of asked for.
        kept: replies that this process wrote.

    Raises:
        DataError: it cannot be opened or is no journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found = self.kept = 0
        self._pending: list[tuple[Any, ...]] = []
        self._committed: asyncio.Future[None] | None = None
        self._dirty, self._closed = threading.Event(), threading.Event()
        try:
            self._rows = sqlite3.connect(path, isolation_level=None)
            self._rows.execute("pragma journal_mode = wal")
            self._rows.execute("pragma synchronous = normal")
            self._rows.execute("pragma wal_autocheckpoint = 0")  # the thread below does it
            self._rows.execute(SCHEMA)
            self._known = {task for (task,) in self._rows.execute("select task from replies")}
        except sqlite3.Error as cause:
            raise DataError(f"{path}: cannot be used as a journal ({cause}).") from cause
        self._thread = threading.Thread(target=self._checkpoint, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return self._rows.execute("select count(*) from replies").fetchone()[0]

    def find(self, key: Key, question: bytes) -> tuple[Any, float] | None:
        """The reply to a question and when in the attempt it came, if it is known.

        Raises:
            DataError: another question was asked in its place.
        """
        if key.task not in self._known:
            return None
        query = (
            "select question, reply, seconds from replies where task = ? and attempt = ? "
            "and node = ? and role = ? and draw = ? and part = ?"
        )
        row = self._rows.execute(query, key).fetchone()
        if row is None:
            return None
        if row[0] != question:
            raise DataError(
                f"{self.path}: task {key.task}, node {key.node}, {key.role}: another question was "
                "recorded here than is asked now, so recipe, code or data have changed since. "
                "Resume with what the run was made with (its config.yaml tells), or begin a new "
                "run; nothing was paid for again."
            )
        self.found += 1
        return json.loads(zlib.decompress(row[1])), row[2]

    async def keep(self, key: Key, question: bytes, reply: Any, seconds: float) -> None:
        """Write a reply; it may be used once this returns.

        Raises:
            DataError: the disk is full, or the folder is gone.
        """
        blob = zlib.compress(json.dumps(reply, separators=(",", ":")).encode(), 1)
        self._pending.append((*key, question, blob, seconds))
        if self._committed is None:
            loop = asyncio.get_running_loop()
            self._committed = loop.create_future()
            loop.call_soon(self._commit)
        await asyncio.shield(self._committed)

    def close(self) -> None:
        """Close the file, with all that was committed in one place."""
        self._closed.set()
        self._dirty.set()
        self._thread.join()
        self._rows.close()

    def _commit(self) -> None:
        rows, self._pending = self._pending, []
        committed, self._committed = self._committed, None
        assert committed is not None
        try:
            self._rows.execute("begin")
            self._rows.executemany("insert into replies values (?,?,?,?,?,?,?,?,?)", rows)
            self._rows.execute("commit")
        except sqlite3.Error as cause:
            with suppress(sqlite3.Error):
                self._rows.execute("rollback")
            committed.set_exception(
                DataError(
                    f"{self.path}: cannot be written ({cause}); what was written before is kept. "
                    "Make room, then resume the run."
                )
            )
            committed.exception()  # looked at, whether or not a caller is left
            return
        committed.set_result(None)
        self.kept += len(rows)
        self._dirty.set()

    def _checkpoint(self) -> None:
        """Bring what is committed to the disk, once a second while there is something new."""
        rows = sqlite3.connect(self.path, isolation_level=None)
        while self._dirty.wait():
            self._dirty.clear()
            with suppress(sqlite3.Error):  # a full disk is met, and told, by the next commit
                rows.execute("pragma wal_checkpoint(passive)")
            if self._closed.wait(CHECKPOINT_S):
                break
        rows.close()


@dataclass
class Attempt:
    """One attempt at one task: its part of the journal, and its clock.

    Attributes:
        number: 0 for the search itself, more for what is read off at smaller budgets.
        started: on the clock of `time.perf_counter`; earlier by what another process spent
            up to the last reply of its that was found again.
    """

    task: str
    journal: Journal | None = None
    number: int = 0
    started: float = field(default_factory=time.perf_counter)
    _asked: Counter[tuple[int, str, int]] = field(
        default_factory=Counter[tuple[int, str, int]], init=False
    )

    @property
    def seconds(self) -> float:
        """Since the attempt began."""
        return time.perf_counter() - self.started

    def question(self, node: int, role: str, draw: int, asked: object) -> Question | None:
        """The next question about a draw at a node; None where there is no journal."""
        if self.journal is None:
            return None
        about = node, role, draw
        part, self._asked[about] = self._asked[about], self._asked[about] + 1
        key = Key(self.task, self.number, *about, part)
        return Question(self, self.journal, key, digest(asked))


@dataclass(frozen=True)
class Question:
    """One question of an attempt and the place of its answer."""

    attempt: Attempt
    journal: Journal
    key: Key
    asked: bytes

    def find(self) -> Any:
        """The recorded answer, or None; then the clock stands no earlier than when it came."""
        found = self.journal.find(self.key, self.asked)
        if found is None:
            return None
        answer, came = found
        self.attempt.started = min(self.attempt.started, time.perf_counter() - came)
        return answer

    async def keep(self, answer: Any) -> None:
        """Record the answer in plain JSON values."""
        await self.journal.keep(self.key, self.asked, answer, self.attempt.seconds)


def digest(asked: object) -> bytes:
    """16 bytes that tell questions apart by their `repr`."""
    return hashlib.blake2b(repr(asked).encode(), digest_size=16).digest()


def completions_json(completions: Sequence[Completion]) -> dict[str, Any]:
    """Plain values of one reply's completions, which share their prompt."""
    with_tokens = [each.tokens for each in completions if each.tokens is not None]
    return {
        "prompt": with_tokens[0].prompt if with_tokens else None,
        "completions": [
            {**{name: getattr(each, name) for name in _PLAIN}, "tokens": _tokens_json(each.tokens)}
            for each in completions
        ],
    }


def completions_from(record: dict[str, Any]) -> list[Completion]:
    """The inverse of `completions_json`."""
    prompt = tuple(record["prompt"] or ())
    found: list[Completion] = []
    for each in record["completions"]:
        rows = each.pop("tokens")
        tokens = None if rows is None else Tokens(prompt, *map(tuple, rows))
        found.append(Completion(**each, tokens=tokens))
    return found


def _tokens_json(tokens: Tokens | None) -> list[Any] | None:
    return None if tokens is None else [tokens.ids, tokens.logprobs, tokens.sampled]


_PLAIN = tuple(each.name for each in fields(Completion) if each.name != "tokens")
