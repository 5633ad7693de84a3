"""Whole runs against a server that fails in every way, and where secrets do not go."""

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass

import pytest
import yaml

from agentsearch import commands
from agentsearch.data.runs import tree_name
from agentsearch.search.greedy import Greedy
from agentsearch.types import Task
from tests.integration.test_openai_faults import COUNTED
from tests.integration.test_resume import ROOT, journaled, results, until
from tests.servers import FAULTS, Handler, serving
from tests.toy import Letters

TASKS = 200
SEARCH = {
    "mode": "plan",
    "search": {"name": "mcts", "width": 2},
    "budget": {"calls": 8, "iterations": 6},
    "value": {"name": "votes"},
}


@dataclass(frozen=True)
class Words(Letters):
    """The letter tree with more tasks, and something that stands beside every text."""

    word: str = "cab"
    many: int = TASKS
    sign: str = ""

    def observe(self, state):
        return state + self.sign

    def tasks(self, split):
        return [Task(f"words/{split}/{i:03d}", "Spell the word.") for i in range(self.many)]


def letters(body, i):
    """What the scripted model says: mostly letters, and now and then what is none."""
    return ("a", "b", "c", "a", "b", "c", "what?")[(body["seed"] + i) % 7]


def recipe(url, env=None, changes=SEARCH, **engine):
    model = {"name": "openai", "model": "fake", "base_url": url, **engine}
    return {
        "env": {"name": "tests.integration.test_faulty_runs:Words", **(env or {})},
        "policy": {"name": "prompted", "engine": model},
        "concurrency": 32,
        "seed": 5,
        **changes,
    }


# every fault, through a whole run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that a sound server gives."""
    pytest.importorskip("aiohttp")
    with serving(say=letters) as server:
        path = tmp_path_factory.mktemp("whole")
        report = commands.search(recipe(server.url), ["run=whole"], path)
    assert report.summary["failed"] == 0 and report.summary["usage"]["invalid_actions"] > 0
    return report


@pytest.mark.parametrize("retries", [5, 1])
def test_no_task_is_lost_to_a_server_that_spoils_a_tenth_of_its_replies(tmp_path, whole, retries):
    """With five further attempts none fails; with one some do, and all others are as they were."""
    with serving(say=letters) as server:
        server.slow_s = 30.0

        def break_it(*_):  # once the run has begun
            server.fault_rate = 0.1

        content = recipe(server.url, retries=retries, timeout_s=3.0)
        faulty = commands.search(content, ["run=faulty"], tmp_path, break_it)
    assert set(server.faulted) == set(FAULTS) and min(server.faulted.values()) >= 5
    expected, trees = results(whole.folder)
    found, faulty_trees = results(faulty.folder)
    assert found.keys() == expected.keys() and len(found) == TASKS  # each once
    failed = {task for task, line in found.items() if line["status"] == "failed"}
    assert (0 < len(failed) < TASKS / 2) if retries == 1 else not failed
    assert all("in 2 attempts" in found[task]["error"] for task in failed)
    for task in found.keys() - failed:
        assert found[task] == expected[task]
        assert faulty_trees[tree_name(task)] == trees[tree_name(task)]
    spoilt = Counter()
    for fault, n in server.faulted.items():
        spoilt[COUNTED[fault]] += n
    assert_counted(faulty.summary, spoilt, len(failed))


def assert_counted(summary, spoilt, failed):
    """Every fault of the server is in the summary, by its kind, and every failed task."""
    assert (summary["tasks"], summary["planned"], summary["failed"]) == (TASKS, TASKS, failed)
    counted = Counter()
    for name, n in summary["engines"].items():
        for what in ("retried_", "gave_up_"):
            if name.startswith(what):
                counted[name.removeprefix(what)] += n
    slow = counted.pop("timeout") - spoilt.pop("timeout")
    assert slow >= 0  # a busy machine is slow, too
    assert counted == spoilt


# secrets

SECRETS = {
    "OPENAI_API_KEY": "sk-planted-7f3a9c55e1d04b",
    "HF_TOKEN": "hf_planted_2b8e6d90c4",
    "HTTPS_PROXY": "http://me:planted-5c1b77ad@127.0.0.1:9",
}
PLANTED = [value.encode() for value in SECRETS.values()] + [b"planted-5c1b77ad"]


class Telling(Handler):
    """A server that quotes the key it was sent in every refusal, as some gateways do."""

    def fail(self, status, message):
        super().fail(status, f"{message} {self.headers.get('authorization')}")


@dataclass(frozen=True)
class Buggy(Greedy):
    """A search with a bug, in a function that has a secret in a local variable."""

    async def search(self, problem):
        await super().search(problem)
        key = os.environ["OPENAI_API_KEY"]
        raise RuntimeError(f"a bug, {len(key)} characters from a secret")


def contents(folder):
    """What the files of a run hold, unpacked, by a name for each."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            yield path.name, data
            if path.suffix == ".gz":
                yield f"{path.name}, unpacked", gzip.decompress(data)
    for path in sorted(folder.rglob("journal.sqlite")):
        with closing(sqlite3.connect(path)) as rows:
            for key, reply in rows.execute("select role || node, reply from replies"):
                yield f"reply {key}", zlib.decompress(reply)


def told(folder):
    """Where in a folder a secret is to be read."""
    return {name for name, data in contents(folder) if any(each in data for each in PLANTED)}


def agentsearch(path, *words):
    """The command in a process with secrets, in a folder of its own; its code and all it says."""
    env = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-m", "agentsearch", *words],
        cwd=path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert not any(each in done.stdout for each in PLANTED)
    return done.returncode, done.stdout.decode()


def write(path, content):
    path.mkdir(exist_ok=True)
    (path / "recipe.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def server():
    """It wants the planted key, and tells it whenever it refuses something."""
    pytest.importorskip("aiohttp")
    with serving(say=letters) as server:
        server.RequestHandlerClass = Telling
        server.key = SECRETS["OPENAI_API_KEY"]
        yield server


def test_no_secret_is_in_a_run_that_fails_is_killed_and_resumed(tmp_path, server):
    """Some tasks fail with the words of the server, some in the environment; one kill."""
    content = recipe(server.url, {"many": 12, "broken": "ca"}, retries=0)
    write(tmp_path, {**content, "concurrency": 3})
    server.pause_s, server.fault_rate, server.faults = 0.05, 0.1, ["500", "429", "malformed"]
    env = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "agentsearch", "search", "recipe.yaml", "run=mine"]
    run = tmp_path / "runs" / "mine"
    with open(tmp_path / "said", "wb") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=said, stderr=said)
        until(lambda: len(journaled(run)) > 10)
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, words = agentsearch(tmp_path, "search", "--resume", "mine")
    assert code == 0, words
    assert agentsearch(tmp_path, "view", "mine")[0] == 0
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    errors = " ".join(line["error"] for line in lines)
    assert len(lines) == 12 and "***" in errors and "no way past ca" in errors
    assert server.requests[-1][2] == f"Bearer {server.key}"  # it was used
    names = {name for name, _ in contents(run)}
    assert {"config.yaml", "journal.sqlite", "summary.json", "index.html"} <= names
    assert told(tmp_path) == set()


def test_no_secret_is_said_where_a_run_does_not_begin_or_has_a_bug(tmp_path, server):
    write(tmp_path, recipe(server.url, {"many": 2}))
    server.key = "another"
    code, words = agentsearch(tmp_path, "search", "recipe.yaml", "run=refused")
    assert code == 2 and "refused the key (HTTP 401)" in words
    server.key = SECRETS["OPENAI_API_KEY"]
    buggy = "search=tests.integration.test_faulty_runs:Buggy"
    code, words = agentsearch(tmp_path, "search", "recipe.yaml", "run=buggy", buggy)
    assert code == 1 and "Traceback" in words and "characters from a secret" in words
    assert (tmp_path / "runs" / "buggy" / "journal.sqlite").exists()
    assert told(tmp_path) == set()


def test_a_secret_in_any_file_would_be_found(tmp_path):
    """Here environment and model say one, so that it belongs into the run; a file has another."""
    pytest.importorskip("aiohttp")
    secret = SECRETS["HF_TOKEN"]
    with serving(say=lambda body, i: secret) as server:
        report = commands.search(
            recipe(server.url, {"many": 1, "sign": secret}), ["run=mine"], tmp_path
        )
    found = told(report.folder)
    assert any(name.endswith("json.gz, unpacked") for name in found)
    assert any(name.startswith("reply ") for name in found)
    (report.folder / "note").write_text(SECRETS["OPENAI_API_KEY"])
    assert "note" in told(report.folder)
