"""Shards on a local Ray cluster give what one process gives, whoever is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from agentsearch import commands, shards
from agentsearch.errors import ConfigError, ServerLost
from agentsearch_eval.suite import Suite, run_suite
from tests.integration.test_resume import (
    ACT,
    PLAN,
    ROOT,
    asked,
    journaled,
    lines,
    questions,
    recipe,
    results,
    until,
)
from tests.noted import Noted

if find_spec("ray") is None:
    pytest.skip("needs Ray: pip install 'agentsearch[ray]'", allow_module_level=True)

slow = pytest.mark.slow  # together a minute and more

ABOUT_RAY = ("RAY_ADDRESS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USAGE_STATS_ENABLED")
SHARDED = {"concurrency": 2}  # five tasks are three shards
SLOW_S = 0.2
QUICK_S = 0.05
SERVER = "http://127.0.0.1:9/v1: did not come back."


@dataclass(frozen=True)
class Lost(Noted):
    """An engine whose server dies for good in the middle of the run, until the file `back` is."""

    async def generate(self, request):
        if len(lines(Path(self.log))) > 80 and not Path(self.log).with_name("back").exists():
            raise ServerLost(SERVER)
        return await super().generate(request)


@pytest.fixture(scope="module")
def one_worker():
    """A cluster of one node with one worker, on loopback; this process is connected to it."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        # where sockets lie, whose paths the system limits to about 100 characters
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-"))
        patch.setenv("RAY_TMPDIR", folder)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "object_store_memory": 10**8, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        patch.setenv("RAY_ADDRESS", cluster.address)
        with shards.cluster():
            yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def two_workers(one_worker):
    """The cluster with a second node that has a worker, too."""
    one_worker.add_node(num_cpus=1, object_store_memory=10**8)
    one_worker.wait_for_nodes()
    return one_worker


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Makes runs by the default executor, one for each recipe."""
    made = {}

    def run(changes):
        if id(changes) not in made:
            path = tmp_path_factory.mktemp("unbroken")
            content = {**recipe(path / "log", changes, 0.0), **SHARDED}
            made[id(changes)] = commands.search(content, ["run=mine"], path)
        return made[id(changes)]

    return run


def summary(report):
    """Less names and times, and floats as near as they are whatever the order of summing."""
    text = json.dumps(report.summary)
    found = json.loads(text, parse_float=lambda number: round(float(number), 12))
    del found["wall_seconds"], found["throughput"]
    del found["per_task"]["seconds"], found["usage"]["seconds"]
    return found


def on_ray(log, changes, **more):
    return commands.search(
        {**recipe(log, changes, 0.0), **SHARDED, **more}, ["run=mine"], log.parent, executor="ray"
    )


@contextmanager
def driver(path, without=()):
    """A process that searches on Ray, slowly; some variables of the environment are not for it."""
    file = path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**recipe(path / "log", PLAN, SLOW_S), **SHARDED}))
    command = [sys.executable, "-m", "agentsearch", "search", file, "run=mine", "--quiet"]
    kept = {name: value for name, value in os.environ.items() if name not in without}
    process = subprocess.Popen(
        [*command, "--executor", "ray", "--json"],
        cwd=path,
        env={**kept, "PYTHONPATH": str(ROOT), "HOME": str(path)},  # where Ray puts a token
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def in_parts(run):
    """The questions whose replies are in the journals of the run's parts."""
    return set().union(*map(journaled, (run / "parts").glob("*")))


def workers(log):
    """The processes that asked for something in the run, the last one last."""
    pids = [int(line.split()[2]) for line in lines(log)]
    return list(dict.fromkeys(reversed(pids)))[::-1]


def check_whole(run, whole):
    """The run holds what the unbroken one holds, and nothing else."""
    assert results(run) == results(whole.folder)
    assert not (run / "parts").exists() and not list(run.rglob("*.partial"))


@slow
@pytest.mark.parametrize("changes", [PLAN, ACT], ids=["plan", "act"])
def test_one_worker_gives_what_one_process_gives(one_worker, unbroken, tmp_path, changes):
    compare(unbroken(changes), on_ray(tmp_path / "log", changes), tmp_path / "log")


def test_two_workers_give_the_same(two_workers, unbroken, tmp_path):
    report = on_ray(tmp_path / "log", PLAN)
    compare(unbroken(PLAN), report, tmp_path / "log")


@slow
def test_tasks_are_told_of_while_their_shard_is_still_at_work(one_worker, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "POLL_S", 0.05)
    content = {**recipe(tmp_path / "log", PLAN, SLOW_S), "concurrency": 5}
    written = []

    def count(event, task, result):
        written.append(len(shards.finished_lines(tmp_path / "mine" / "parts" / "0000")))

    commands.search(content, ["run=mine"], tmp_path, count, executor="ray")
    assert len(written) == 5 and written[0] < 5


def compare(whole, report, log):
    check_whole(report.folder, whole)
    assert summary(report) == summary(whole)
    text = (report.folder / "results.jsonl").read_text()
    done = [json.loads(line) for line in text.splitlines()]
    assert [line["task_id"] for line in done] == [task.id for task in report.plan.tasks]
    assert {each.task_id for each in report.results} == {line["task_id"] for line in done}
    assert journaled(report.folder) == journaled(whole.folder)
    assert os.getpid() not in workers(log)[1:]  # the first asks what the engine can do
    config = yaml.safe_load((report.folder / "config.yaml").read_text())
    assert config["tasks"] == yaml.safe_load((whole.folder / "config.yaml").read_text())["tasks"]


@contextmanager
def killing(log, journaled_so_far):
    """Kill -9 a worker once some replies are journaled; none of them may be asked for again."""

    def kill():
        until(lambda: len(journaled_so_far()) > 8)
        victim, known, before = workers(log)[-1], journaled_so_far(), len(lines(log))
        assert victim != os.getpid()
        os.kill(victim, signal.SIGKILL)
        return victim, known, before

    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill)
        yield
    victim, known, before = killed.result()
    after = [line.split() for line in lines(log)[before:]]
    assert not known & {words[1] for words in after if words[0] == "asked"}
    assert str(victim) not in {words[2] for words in after[10:]}


def test_a_worker_that_is_killed_costs_only_what_was_in_flight(two_workers, unbroken, tmp_path):
    log, run = tmp_path / "log", tmp_path / "mine"
    content = {**recipe(log, PLAN, QUICK_S), **SHARDED}
    with killing(log, lambda: in_parts(run)):
        report = commands.search(content, ["run=mine"], tmp_path, executor="ray")
    assert report.summary["tasks"] == 5
    check_whole(run, unbroken(PLAN))


def suite(log, slowest_s):
    """Two searches of the letter tree."""
    parts = recipe(log, {**PLAN, "readings": []}, slowest_s)
    del parts["budget"], parts["search"]
    return Suite(
        name="letters",
        base={**parts, "concurrency": 2},
        budgets={"20 calls": {"calls": 20}},
        rows={"MCTS": {"search": PLAN["search"]}, "best-of-N": {"search": {"name": "best_of_n"}}},
        baseline="best-of-N",
    )


def timeless(value):
    """Less every time, and which engine noted what."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if "seconds" not in key}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def test_an_evaluation_on_a_cluster_gives_the_same_though_a_worker_is_killed(two_workers, tmp_path):
    log, runs = tmp_path / "log", tmp_path / "runs"
    whole = run_suite(suite(tmp_path / "whole.log", 0.0), tmp_path / "whole")

    def in_journals():
        files = (runs / ".results").glob("journals/*/*")
        return set().union(*(questions(path) for path in files if path.name.isalnum()))

    with killing(log, in_journals):
        table = run_suite(suite(log, QUICK_S), runs, executor="ray")
    assert timeless(table.results) == timeless(whole.results) and len(table.results) == 10
    trees = [
        {path.relative_to(each): path.read_bytes() for path in each.rglob("*.json.gz")}
        for each in (runs / "letters", tmp_path / "whole" / "letters")
    ]
    assert trees[0] == trees[1] and len(trees[0]) == 10


@slow
def test_a_server_that_is_lost_ends_an_evaluation_with_one_sentence(two_workers, tmp_path):
    lost = suite(tmp_path / "log", 0.02)
    for part in ("policy", "value"):
        lost.base[part]["engine"]["name"] = "tests.integration.test_ray:Lost"
    with pytest.raises(ServerLost) as caught:
        run_suite(lost, tmp_path / "runs", executor="ray")
    assert str(caught.value) == f"{SERVER} Finished tasks are kept; run the suite again to go on."
    (tmp_path / "back").touch()
    assert len(run_suite(lost, tmp_path / "runs", executor="ray").results) == 10


def test_an_evaluation_refuses_an_executor_that_there_is_not(tmp_path):
    with pytest.raises(ConfigError, match="executor='cloud': is none; use local or ray"):
        run_suite(suite(tmp_path / "log", 0.0), tmp_path, executor="cloud")


@slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_dies_costs_nothing_but_its_requests_in_flight(
    two_workers, unbroken, tmp_path, sent
):
    log, run = tmp_path / "log", tmp_path / "runs" / "mine"
    with driver(tmp_path) as process:
        until(lambda: len(in_parts(run)) > 20)
        victim, known, before = workers(log)[-1], in_parts(run), len(lines(log))
        os.kill(victim, sent)
        said, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert json.loads(said)["tasks"] == 5 and "Traceback" not in errors
    check_whole(run, unbroken(PLAN))
    after = lines(log)[before:]
    assert not known & {line.split()[1] for line in after if line.startswith("asked")}
    assert str(victim) not in {line.split()[2] for line in after[10:]}


@slow
@pytest.mark.parametrize("executor", commands.EXECUTORS)
def test_a_driver_that_was_killed_is_resumed_by_any_executor(
    two_workers, unbroken, tmp_path, executor
):
    log, run = tmp_path / "log", tmp_path / "runs" / "mine"
    with driver(tmp_path) as process:
        until(lambda: len(in_parts(run)) > 20)
        process.kill()
        process.wait()
        known, before = in_parts(run), len(lines(log))
    plan = commands.prepare_resumed(str(run))
    report = commands.carry_out(plan, on_event=None, executor=executor)
    assert len(report.results) == 5
    check_whole(run, unbroken(PLAN))
    assert not known & set(asked(log)[before:])


@slow
def test_a_server_that_is_lost_ends_the_run_with_one_sentence(two_workers, unbroken, tmp_path):
    log, run = tmp_path / "log", tmp_path / "mine"
    engine = {"name": "tests.integration.test_ray:Lost", "log": str(log), "slowest_s": 0.02}
    policy = {"name": "prompted", "engine": engine}
    with pytest.raises(ServerLost) as caught:
        on_ray(log, PLAN, policy=policy, value={"name": "votes", "engine": engine})
    assert str(caught.value) == SERVER
    assert caught.value.__notes__ == [
        f"What was done is kept. Go on with: agentsearch search --resume {run}"
    ]
    assert not (run / "parts").exists() and len(journaled(run)) > 20
    known, before = journaled(run), len(asked(log))
    (tmp_path / "back").touch()
    commands.carry_out(commands.prepare_resumed(str(run)), executor="ray")
    check_whole(run, unbroken(PLAN))
    assert not known & set(asked(log)[before:])


@slow
def test_without_an_address_a_cluster_of_our_own_stays_on_loopback(unbroken, tmp_path):
    import psutil

    run = tmp_path / "runs" / "mine"
    with driver(tmp_path, without=ABOUT_RAY) as process:
        until(lambda: len(in_parts(run)) > 20)
        started = psutil.Process(process.pid).children(recursive=True)
        heard = {
            socket.laddr.ip.removeprefix("::ffff:")
            for each in started
            for socket in each.net_connections("tcp")
            if socket.status == psutil.CONN_LISTEN
        }
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert heard <= {"127.0.0.1", "::1"} and heard
    assert process.returncode == 130, errors
    assert "agentsearch search --resume runs/mine" in errors and "Traceback" not in errors
    assert not (run / "parts").exists() and len(journaled(run)) > 20
    assert json.loads((run / "summary.json").read_text())["planned"] == 5
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
