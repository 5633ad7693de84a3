"""Parts are cut and merged without a cluster; a death at any step loses and doubles nothing."""

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import sys
import traceback
import types
from collections import Counter
from contextlib import closing

import pytest

from agentsearch import commands, shards
from agentsearch.data.runs import Run
from agentsearch.errors import ConfigError
from agentsearch.journal import Key
from agentsearch.runner import Result, RunFolder, lock
from tests.toy import Letters, a_problem

CONFIG = {"tasks": {"split": "test", "start": 0, "limit": 5, "ids": []}, "concurrency": 16}
TASKS = Letters().tasks("test")
IDS = [task.id for task in TASKS]


def a_run(path, replied=()):
    """A run folder with replies for some tasks, cut into parts of two tasks."""
    folder = RunFolder(path, CONFIG)
    reply(folder.journal, replied, node=0)
    parts = shards.cut(folder, TASKS, 2)
    folder.close({})
    return parts


def work(part, finish, only_reply=(), dies=False):
    """What a shard leaves in its part: tasks that finished, in that order, and replies."""
    if dies and (child := os.fork()):
        os.waitpid(child, 0)
        return
    folder = RunFolder(part, None)
    reply(folder.journal, [*finish, *only_reply], node=1)
    for each in finish:
        folder.write(Result(each, score=IDS.index(each), tree=a_problem().tree))
    if dies:
        os._exit(0)
    folder.close({"engines": {"retries": len(finish)}})


def reply(journal, tasks, node):
    async def keep():
        for each in tasks:
            await journal.keep(Key(each, 0, node, "sample", 0, 0), b"asked", each, 0.0)

    asyncio.run(keep())


def replies(path):
    """Task and node of each reply in a journal."""
    with closing(sqlite3.connect(path / "journal.sqlite")) as rows:
        return rows.execute("select task, node from replies order by task, node").fetchall()


def contents(run):
    """Everything that a merge may change."""
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    trees = sorted(path.name for path in (run / "trees").iterdir())
    return [line["task_id"] for line in lines], trees, replies(run), (run / "parts").exists()


@pytest.fixture
def half_done(tmp_path):
    """A part that is done, one that is half done, one that was not begun."""
    run = tmp_path / "run"
    first, second, _ = a_run(run, replied=[IDS[0]])
    work(first, [IDS[1], IDS[0]])
    work(second, [IDS[3]], only_reply=[IDS[2]], dies=True)
    assert (second / "journal.sqlite-wal").stat().st_size
    return run


MERGED = (
    [IDS[0], IDS[1], IDS[3]],
    [f"letters+test+{i}.json.gz" for i in (0, 1, 3)],
    [(IDS[0], 0), (IDS[0], 1), (IDS[1], 1), (IDS[2], 1), (IDS[3], 1)],
    False,
)


def test_tasks_are_cut_in_order_and_take_their_replies_along(tmp_path):
    parts = a_run(tmp_path / "run", replied=[IDS[3], IDS[4]])
    assert [part.name for part in parts] == ["0000", "0001", "0002"]
    configs = [Run(part).config for part in parts]
    assert [each["tasks"]["ids"] for each in configs] == [IDS[:2], IDS[2:4], IDS[4:]]
    assert {each["concurrency"] for each in configs} == {2}
    assert {each["tasks"]["split"] for each in configs} == {"test"}
    assert [replies(part) for part in parts] == [[], [(IDS[3], 0)], [(IDS[4], 0)]]


def test_parts_are_merged_in_order_and_each_in_the_order_of_its_tasks(half_done):
    shards.merge_parts(half_done)
    assert contents(half_done) == MERGED
    assert [line["score"] for line in Run(half_done).results] == [0, 1, 3]
    shards.merge_parts(half_done)
    assert contents(half_done) == MERGED


def test_a_merge_that_is_killed_at_any_step_is_done_again_without_loss(half_done, tmp_path):
    for step in range(1, 1000):
        run = tmp_path / f"killed-{step}"
        shutil.copytree(half_done, run)
        if merged_until(run, step):
            break
        shards.merge_parts(run)
        assert contents(run) == MERGED, f"killed at step {step}"
        shutil.rmtree(run)
    assert step > 50


def merged_until(run, step):
    """Merge in a process that dies at its `step`-th open, rename, removal or the like."""
    child = os.fork()
    if not child:
        left = step

        def count(event, args):
            nonlocal left
            left -= event == "open" or event.startswith(("os.", "shutil.", "sqlite3."))
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            shards.merge_parts(run)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == 0


def test_a_line_that_was_cut_short_is_written_again(half_done):
    shutil.copytree(half_done, half_done.with_name("other"))
    shards.merge_parts(half_done.with_name("other"))
    whole = (half_done.with_name("other") / "results.jsonl").read_bytes()
    for end in (1, len(whole) // 2, len(whole) - 1):
        run = half_done.with_name(f"cut-{end}")
        shutil.copytree(half_done, run)
        (run / "results.jsonl").write_bytes(whole[:end])
        shards.merge_parts(run)
        assert (run / "results.jsonl").read_bytes() == whole


def test_each_task_is_told_of_once_and_what_engines_counted_is_added_up(tmp_path):
    run, told, engines = tmp_path / "run", [], Counter(retries=1)
    parts = a_run(run)
    folder = RunFolder(run, None)
    merging = shards.Merging(folder, TASKS, lambda *event: told.append(event), engines)
    merging.tell(parts[0])
    assert told == []
    work(parts[0], [IDS[1]])
    merging.tell(parts[0])
    work(parts[0], [IDS[0]])
    merging.take(parts[0])
    work(parts[1], [IDS[2], IDS[3]])
    merging.take(parts[1])
    assert [(name, task.id, result.task_id) for name, task, result in told] == [
        ("finished", each, each) for each in (IDS[1], IDS[0], IDS[2], IDS[3])
    ]
    assert engines == {"retries": 1 + 1 + 2} and folder.journal.kept == 4
    folder.close({})


def test_a_part_whose_making_was_cut_short_is_dropped(tmp_path):
    run = tmp_path / "run"
    *_, last = a_run(run, replied=[IDS[4]])
    (last / "config.yaml").unlink()
    shards.merge_parts(run)
    assert contents(run) == ([], [], [(IDS[4], 0)], False)


def test_lines_that_do_not_fit_on_the_disk_leave_no_trace(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("{}\n")
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            shards.append_lines(path, [{"task_id": "t" * 200}])
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert path.read_text() == "{}\n"


def test_a_part_somebody_works_on_is_not_merged(half_done, monkeypatch):
    monkeypatch.setattr(shards, "DYING_S", 0.1)
    with (
        shards.claim(half_done / "parts" / "0001"),
        pytest.raises(ConfigError, match="0001: a worker is still busy with it"),
    ):
        shards.merge_parts(half_done)
    shards.merge_parts(half_done)
    assert contents(half_done) == MERGED


def test_parts_of_a_run_somebody_works_on_are_not_touched(half_done):
    held = lock(half_done)
    with pytest.raises(ConfigError, match="run: another process is at work in it"):
        shards.merge_parts(half_done)
    held.release()
    assert len(list((half_done / "parts").iterdir())) == 3


RECIPE = {
    "env": {"name": "tests.toy:Letters"},
    "policy": {"name": "random"},
    "value": {"name": "uniform"},
    "mode": "plan",
}


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray is not installed; .* 'agentsearch\[ray\]'"):
        commands.search(RECIPE, ["run=mine"], tmp_path, executor="ray")
    assert not list(tmp_path.iterdir())


def test_an_address_where_nobody_listens_is_refused_at_once(tmp_path, monkeypatch):
    unconnected = types.SimpleNamespace(is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "ray", unconnected)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS=127.0.0.1:{port}: no cluster answers"):
        commands.search(RECIPE, ["run=mine"], tmp_path, executor="ray")
    assert not list(tmp_path.iterdir())


def test_an_executor_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="executor='slurm': is none; use local or ray"):
        commands.search(RECIPE, ["run=mine"], tmp_path, executor="slurm")
    assert not list(tmp_path.iterdir())
