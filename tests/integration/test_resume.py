"""Runs that are killed at any instant go on from their folder, and nothing is paid for twice."""

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from agentsearch import commands
from agentsearch.config import load_recipe
from agentsearch.errors import ConfigError, DataError
from agentsearch.journal import digest
from agentsearch.types import Message, Request
from agentsearch_eval.cells import Cell, Job, Worker
from agentsearch_eval.store import Store

ROOT = Path(__file__).parents[2]
KILLS = 20
CELL = Cell("", "budget", "row", 0)
ABLE = digest(Request((Message("user", "Hello"),), choices=("Hello",))).hex()
"""The request that asks whether an engine can score."""
PLAN = {
    "mode": "plan",
    "search": {"name": "mcts", "width": 3},
    "budget": {"calls": 40, "tokens": 4000},
    "readings": [{"calls": 10, "tokens": 1000}],
    "value": {"name": "votes"},
}
ACT = {
    "mode": "act",
    "search": {"name": "best_first", "width": 2},
    "budget": {"tokens": 1500, "iterations": 6},
    "value": {"name": "votes"},
}


def recipe(log, changes, slowest_s=0.02):
    engine = {"name": "tests.noted:Noted", "log": str(log), "slowest_s": slowest_s}
    return {
        "env": {"name": "tests.toy:Letters", "word": "cabba"},
        "policy": {"name": "prompted", "engine": engine},
        "concurrency": 3,
        "seed": 3,
        **changes,
        "value": {**changes["value"], "engine": engine},
    }


def search(runs, content, resume):
    """The body of a process that may die at any instant."""
    if resume:
        plan = commands.prepare_resumed("mine", runs)
        commands.carry_out(plan, runs)
    else:
        commands.search(content, ["run=mine"], runs)


@pytest.fixture(scope="module")
def processes():
    """Makes processes that have all modules already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agentsearch_eval.cells", "tests.noted", "tests.toy"])
    return context


def results(folder):
    """Results by task, less the seconds, and the bytes of the trees."""
    text = (folder / "results.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    assert len({line["task_id"] for line in found}) == len(found)
    for line in found:
        line["usage"].pop("seconds")
        for reading in line["readings"]:
            reading["usage"].pop("seconds")
    trees = {path.name: path.read_bytes() for path in (folder / "trees").glob("*.json.gz")}
    return {line["task_id"]: line for line in found}, trees


def finished(folder):
    """How many tasks have their whole line."""
    path = folder / "results.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def journaled(folder):
    """The questions whose replies are in the journal of a run."""
    path = folder / "journal.sqlite"
    return questions(path) if path.exists() else set()


def questions(path):
    """The questions whose replies are in a journal."""
    with closing(sqlite3.connect(path)) as rows:
        try:
            return {question.hex() for (question,) in rows.execute("select question from replies")}
        except sqlite3.OperationalError:  # killed before its table was made
            return set()


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


def asked(log):
    return [line.split()[1] for line in lines(log) if line.startswith("asked")]


@pytest.mark.parametrize("changes", [PLAN, ACT], ids=["plan", "act"])
def test_a_run_killed_at_random_instants_ends_as_an_unbroken_one(tmp_path, processes, changes):
    log = tmp_path / "whole.log"
    whole = commands.search(recipe(log, changes), ["run=mine"], tmp_path / "whole")
    assert len(whole.results) == 5 and len(asked(log)) == len(set(asked(log))) > 50
    lasted = whole.summary["wall_seconds"]
    rng, kills, found = random.Random(7), 0, 0
    while kills < KILLS:
        runs = tmp_path / f"broken-{kills}"
        folder, log, dead = runs / "mine", runs / "log", True
        runs.mkdir()
        while dead:
            before = len(lines(log))
            known = journaled(folder)
            ended = finished(folder)
            resume = (folder / "config.yaml").exists()
            process = processes.Process(target=search, args=(runs, recipe(log, changes), resume))
            process.start()
            if rng.random() < 0.8:  # the others may die before they have begun
                wait_for_a_request(process, log, before)
            process.join(rng.uniform(0, lasted / 2))
            if dead := process.exitcode is None and kills < KILLS:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.join()
            assert dead or process.exitcode == 0
            again = {line.split()[1] for line in lines(log)[before:] if line.startswith("asked")}
            assert not known & again, "a journaled reply was asked for"
            found += bool(known)
            assert finished(folder) >= ended, "a finished task was lost"
            if folder.exists() and not (folder / "config.yaml").exists():
                for path in sorted(folder.rglob("*"), reverse=True):  # it had not begun
                    path.rmdir() if path.is_dir() else path.unlink()
                folder.rmdir()
        assert results(folder) == results(whole.folder)
        assert not list(folder.rglob("*.partial"))
    assert found >= KILLS / 4  # kills that fell where there was something to lose


def test_a_finished_run_is_resumed_without_asking_anybody(tmp_path):
    log = tmp_path / "log"
    first = commands.search(recipe(log, PLAN, 0.0), ["run=mine"], tmp_path)
    before = len(asked(log))
    again = commands.carry_out(commands.prepare_resumed("mine", tmp_path), tmp_path)
    assert len(asked(log)) == before
    assert again.summary["correct"] == first.summary["correct"] and again.summary["tasks"] == 5
    assert results(again.folder) == results(first.folder)
    assert not {"calls_per_second", "tokens_per_second"} & set(again.summary["throughput"])


def test_a_run_rebuilt_from_its_journal_makes_no_call_and_is_bit_equal(tmp_path):
    log = tmp_path / "log"
    first = commands.search(recipe(log, ACT, 0.0), ["run=mine"], tmp_path)
    before, wanted = len(asked(log)), results(first.folder)
    (first.folder / "results.jsonl").unlink()
    for path in (first.folder / "trees").iterdir():
        path.unlink()
    again = commands.carry_out(commands.prepare_resumed("mine", tmp_path), tmp_path)
    assert len(asked(log)) == before and results(again.folder) == wanted


def test_a_changed_recipe_stops_before_it_pays_again(tmp_path):
    log = tmp_path / "log"
    first = commands.search(recipe(log, PLAN, 0.0), ["run=mine"], tmp_path)
    (first.folder / "results.jsonl").unlink()
    before = len(asked(log))
    path = first.folder / "config.yaml"
    changed = yaml.safe_load(path.read_text())
    changed["policy"]["temperature"] = 0.5
    path.write_text(yaml.safe_dump(changed))
    with pytest.raises(DataError, match="another question was recorded here"):
        commands.carry_out(commands.prepare_resumed("mine", tmp_path), tmp_path)
    assert len(asked(log)) == before and first.folder.exists()


def test_what_may_not_change_in_a_resumed_run_is_said(tmp_path):
    commands.search(recipe(tmp_path / "log", PLAN, 0.0), ["run=mine"], tmp_path)
    with pytest.raises(ConfigError, match="seed=4: a resumed run keeps its recipe"):
        commands.prepare_resumed("mine", tmp_path, ["seed=4"])
    for level in (1, "auto"):
        plan = commands.prepare_resumed("mine", tmp_path, [f"concurrency={level}"])
        assert plan.recipe.concurrency == level
    with pytest.raises(DataError, match="no such run folder"):
        commands.prepare_resumed("other", tmp_path)
    path = tmp_path / "mine" / "config.yaml"
    changed = yaml.safe_load(path.read_text())
    changed["made_with"]["models"] = ["tiny-v1@123"]
    path.write_text(yaml.safe_dump(changed))
    with pytest.raises(ConfigError, match="was made with tiny-v1@123"):
        commands.prepare_resumed("mine", tmp_path)


def test_two_runs_in_one_folder_the_second_is_refused(tmp_path, processes):
    content = recipe(tmp_path / "log", PLAN, 0.3)
    process = processes.Process(target=search, args=(tmp_path, content, False))
    process.start()
    try:
        until(lambda: (tmp_path / "mine" / "config.yaml").exists())
        with pytest.raises(ConfigError, match="another process is at work in it"):
            commands.carry_out(commands.prepare_resumed("mine", tmp_path), tmp_path)
    finally:
        process.kill()
        process.join()
    report = commands.carry_out(commands.prepare_resumed("mine", tmp_path), tmp_path)
    assert len(report.results) == 5


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_how_to_go_on(tmp_path, sent):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(tmp_path / "log", PLAN, 0.3)))
    process = subprocess.Popen(
        [sys.executable, "-m", "agentsearch", "search", path, "run=mine", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(journaled(tmp_path / "runs/mine")) > 3)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "agentsearch search --resume runs/mine" in said and "Traceback" not in said
    summary = json.loads((tmp_path / "runs/mine/summary.json").read_text())
    assert summary["planned"] == 5 and summary["tasks"] < 5
    report = commands.carry_out(commands.prepare_resumed(str(tmp_path / "runs/mine")))
    assert len(report.results) == 5


def run_cell(runs, content):
    """One cell of an evaluation, in a process that may die at any instant."""
    with closing(Worker(Store(runs))) as worker:
        worker.run(Job(CELL, load_recipe(content)))


def test_an_evaluation_that_is_killed_pays_no_reply_twice(tmp_path, processes):
    log, store = tmp_path / "log", tmp_path / "runs" / ".results"
    content = recipe(log, ACT)
    process = processes.Process(target=run_cell, args=(tmp_path / "runs", content))
    process.start()
    try:
        until(lambda: len(lines(log)) > 60)
    finally:
        process.kill()
        process.join()
    [path] = (path for path in store.glob("journals/*/*") if path.name.isalnum())
    known, before = questions(path), len(asked(log))
    assert len(known) > 5
    run_cell(tmp_path / "runs", content)
    again = asked(log)[before:]
    assert len(again) > 5 and not known & set(again)
    assert not path.exists()  # the results say it all
    run_cell(tmp_path / "runs", content)
    assert set(asked(log)[before + len(again) :]) <= {ABLE}  # all else is stored


FULL_DISK = """
mount -t tmpfs -o size=200k tmpfs "$1" || exit 99
"$2" -m agentsearch search "$3" run=mine --quiet --runs "$1/runs"
code=$?
cp -r "$1/runs" "$4"
exit $code
"""


def test_a_full_disk_is_said_and_the_run_goes_on_where_there_is_room(tmp_path):
    small, large, log = tmp_path / "small", tmp_path / "large", tmp_path / "log"
    small.mkdir()
    large.mkdir()
    content = recipe(log, {**PLAN, "readings": [], "budget": {"calls": 400}}, 0.0)
    whole = commands.search({**content, **alike(tmp_path / "whole.log")}, ["run=w"], tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    words = ["sh", "-c", FULL_DISK, "sh", small, sys.executable, path, large]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "cannot be written" in done.stderr and "agentsearch search --resume" in done.stderr
    folder, before = large / "runs" / "mine", len(asked(log))
    known = journaled(folder)
    assert known and finished(folder) < 5
    report = commands.carry_out(commands.prepare_resumed(str(folder)))
    assert len(report.results) == 5 and not known & set(asked(log)[before:])
    assert results(folder) == results(whole.folder)


def alike(log):
    """The parts of a recipe that ask another engine, which answers the same."""
    parts = recipe(log, PLAN, 0.0)
    return {"policy": parts["policy"], "value": parts["value"]}


def wait_for_a_request(process, log, before):
    """Until the process has sent one besides the first, which asks what the engine can do."""
    until(lambda: not process.is_alive() or len(lines(log)) > before + 2)


def until(true, timeout_s=60.0):
    """Wait for it."""
    ends = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.02)
