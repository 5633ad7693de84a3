"""`agentsearch eval` as a user meets it: tables, exit codes, kills, and what is left behind."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from agentsearch.cli.main import app

WORDY = {"name": "prompted", "engine": {"name": "scripted", "replies": ["1 + 1", "2 * 3"]}}
SUITE = {
    "name": "small",
    "base": {
        "env": "game24",
        "policy": "random",
        "value": "uniform",
        "search": "greedy",
        "tasks": {"split": "dev", "limit": 4},
    },
    "budgets": {"12 calls": {"calls": 12}, "9 steps": {"env_steps": 9, "iterations": 50}},
    "rows": {
        "policy only": {},
        "wordy": {"policy": WORDY},
        "best-first": {"search": "best_first"},
        "ceiling": {"policy": "oracle"},
    },
}


@pytest.fixture(autouse=True)
def in_a_folder_with_a_suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(yaml.safe_dump(SUITE, sort_keys=False))


def run(*args):
    runner = CliRunner(env={"COLUMNS": "120"})
    return runner.invoke(app, ["eval", "small.yaml", *args], catch_exceptions=False)


def refused(*args):
    """The one sentence on stderr; nothing may be left behind."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    return result.stderr


def timeless(text):
    """A table.json without what differs from run to run."""
    table = json.loads(text)
    del table["made_with"]["date"]
    for row in table["rows"]:
        del row["per_task"]["seconds"], row["stored"]
    for result in table["results"]:
        del result["usage"]["seconds"]
    return table


def test_a_suite_from_the_terminal():
    result = run()
    assert result.exit_code == 0
    assert "at most 12 calls per task" in result.stdout
    assert "at most 9 steps per task" in result.stdout
    assert result.stdout.count("ceiling (ORACLE: policy)") == 2
    assert "ORACLE rows read the solution" in result.stdout
    assert "+100?" in result.stdout and "? the interval rests on fewer than 10" in result.stdout
    assert "invalid actions: wordy" in result.stdout
    assert "report: runs/small/report.html" in result.stdout
    assert "best-first, 9 steps: " in result.stderr and "stored" not in result.stderr
    cells = [path.parent.name for path in Path("runs/small").glob("*/results.jsonl")]
    assert len(cells) == 8 and "wordy-12-calls" in cells
    again = run()
    assert "best-first, 9 steps: 0 of 4 (4 stored)" in again.stderr
    assert "results from the store: policy only 4, wordy 4" in again.stdout


def test_sections_for_a_few_environments_and_their_mean_for_many():
    few = {name: {"tasks": {"split": name, "limit": 2}} for name in ("train", "dev", "test")}
    rows = {"policy only": {}}
    data = {**SUITE, "envs": few, "rows": rows, "seeds": [0, 1], "title": "Numbers"}
    Path("small.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    result = run("run=few")
    assert result.exit_code == 0 and result.stdout.count("per task") == 4 * 2
    assert "mean over train, dev, test" in result.stdout and "2 tasks x 2 seeds" in result.stdout
    assert "policy only, 12 calls, dev, seed 1: " in result.stderr
    data["envs"] = {**few, "again": {}}
    Path("small.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    result = run("run=many")
    assert result.stdout.count("per task") == 2
    assert "each of the 4 environments: runs/many/table.csv" in result.stdout
    with Path("runs/many/table.csv").open() as file:
        assert [row["env"] for row in csv.DictReader(file)] == [
            env for env in ("train", "dev", "test", "again", "all") for _ in range(2)
        ]


def test_one_and_two_processes_give_equal_tables_and_the_name_is_used_again():
    one = run("--json", "--fresh", "workers=1")
    first = Path("runs/small/report.html").stat().st_ino
    two = run("--json", "--fresh", "workers=2")
    assert one.exit_code == two.exit_code == 0, two.output
    assert timeless(one.stdout) == timeless(two.stdout)
    assert Path("runs/small/report.html").stat().st_ino != first
    assert sorted(path.name for path in Path("runs").iterdir()) == [".results", "small"]
    assert Path("runs/small/table.json").read_text() == two.stdout


def test_a_dry_run_says_what_would_run_and_what_is_stored():
    result = run("--dry-run")
    assert result.exit_code == 0 and not Path("runs").exists()
    assert "4 rows x 2 budgets x 4 tasks" in result.stdout
    assert "32 results, of which 0 are stored" in result.stdout
    assert f"12 calls: at most {4 * 4 * 12} calls" in result.stdout
    assert "9 steps: no limit of calls" in result.stdout
    run("base.tasks.limit=3")
    found = json.loads(run("--dry-run", "--json").stdout)
    assert found["calls"] == {"12 calls": 4 * 12, "9 steps": None}
    assert (found["tasks"], found["results"], found["stored"]) == (4, 32, 24)
    assert json.loads(run("--dry-run", "--json", "--fresh").stdout)["stored"] == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base.tasks.limit=0", "tasks.limit=0"),
        ("base.tasks.start=100000", "nothing to run"),
        ("base.sead=1", "Did you mean 'seed'?"),
        ("rows.wordy.seed=3", "row 'wordy': seed is the same for all rows; set base.seed."),
        ("rows.wordy.search=bean", "row 'wordy' at '12 calls': search 'bean'"),
        ("seeds=[0,0]", "name each seed once"),
        ("envs={a: {sead: 1}}", "in 'a': sead: unknown key"),
        ("budgets.none.calls=0", "budget.calls=0"),
        ("workers=zero", "workers"),
        ("baseline=nobody", "no row of that name"),
        ("base.value=vote", "Did you mean 'votes'?"),
        ("nonsense", "not an override"),
        (
            "rows.wordy.policy={name: prompted, engine: 'openai:m@http://127.0.0.1:9/v1'}",
            "127.0.0.1",
        ),
    ],
)
def test_mistakes_are_one_sentence_and_the_earlier_suite_stays(override, message):
    Path("runs/small").mkdir(parents=True)
    for name in ("suite.yaml", "table.json"):
        Path("runs/small", name).write_text("earlier")
    assert message in refused(override)


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_a_foreign_folder_is_refused_before_anything_runs(option):
    Path("runs/small").mkdir(parents=True)
    Path("runs/small/thesis.txt").write_text("precious")
    assert "holds something else" in refused(*option)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_is_missing_where_rows_run_is_one_sentence(workers):
    engine = "rows={policy only: {policy: 'hf:/no/such/model'}}"
    result = run(engine, f"workers={workers}", "run=broken")
    assert "Traceback" not in result.output
    assert result.exit_code == 2 and result.stderr.count("\n") <= 4
    assert "/no/such/model" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_says_what_is_kept(workers):
    slow = {**WORDY, "engine": {**WORDY["engine"], "latency_s": 2.0}}
    rows = {"policy only": {}, "slow": {"policy": slow}}
    Path("slow.yaml").write_text(yaml.safe_dump({**SUITE, "rows": rows, "workers": workers}))
    process = subprocess.Popen(
        [sys.executable, "-m", "agentsearch", "eval", "slow.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        first = process.stderr.readline()  # once the first row has finished
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert first.startswith("policy only, ")
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("Interrupted: ")
    assert "of 4 runs were complete" in err and "is kept in runs/.results" in err
    assert [path.name for path in Path("runs").iterdir()] == [".results"]


# -- killed and resumed ----------------------------------------------------------------

LOUD = """
import os, random, time
from dataclasses import dataclass
from agentsearch.types import Proposal

@dataclass(frozen=True)
class Loud:
    "Chance, and a line in `log` for every request: the row, and the puzzle."
    log: str
    row: str
    delay_s: float = 0.0

    async def propose(self, context, n, *, seed, mode="sample"):
        first = context.turns[0].observation if context.turns else context.observation
        with open(self.log, "a") as file:
            file.write(f"{self.row}: {first!r}; {os.getpid()}\\n")
        time.sleep(self.delay_s)
        rng = random.Random(seed)
        return [Proposal(a, a) for a in rng.choices(context.legal_actions, k=n)]
"""


def loud_suite(name, rows, **changes):
    """A suite whose policies write down every request, as `loud.log`."""
    Path("loud.py").write_text(LOUD)
    searches = {"policy only": "greedy", "best-first": "best_first", "MCTS": "mcts"}
    loud = {
        row: {
            "search": searches[row],
            "policy": {"name": "loud:Loud", "log": str(Path("loud.log").resolve()), "row": row},
        }
        for row in rows
    }
    base = {**SUITE["base"], "tasks": {"split": "dev", "limit": 5}, "concurrency": 1}
    suite = {"name": name, "base": base, "rows": loud, "budgets": {"12 calls": {"calls": 12}}}
    Path(f"{name}.yaml").write_text(yaml.safe_dump({**suite, **changes}, sort_keys=False))


def evaluate(name, *args, **settings):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "agentsearch", "eval", f"{name}.yaml", *args]
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, **settings)


def lines():
    return Path("loud.log").read_text().splitlines() if Path("loud.log").exists() else []


def asked():
    """What was asked so far, in order: row and puzzle."""
    return [line.rpartition("; ")[0] for line in lines()]


def running(process):
    """Whether a process is there, and no mere entry that nobody has fetched."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def kill_after(process, requests):
    """Kill once so many further requests were made; those that it began end by themselves."""
    before = len(lines())
    while process.poll() is None and len(lines()) < before + requests:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while any(running(line.rpartition("; ")[2]) for line in lines()[before:]):
        assert time.monotonic() < deadline, "a worker outlives the evaluation"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("seed", "workers"),
    [(0, 1), (1, 2)]
    + [pytest.param(seed, 1 + seed % 2, marks=pytest.mark.slow) for seed in range(2, 12)],
)
def test_a_killed_evaluation_goes_on_where_it_was(seed, workers):
    rows = ("policy only", "best-first", "MCTS")
    rng, in_flight = random.Random(seed), set()
    loud_suite("broken", rows, workers=workers)
    for _ in range(2):
        done = Counter(asked())
        kill_after(evaluate("broken", stdout=subprocess.DEVNULL), rng.randint(1, 60))
        now = Counter(asked())
        by_row = {line.partition(":")[0]: line for line in asked()}
        last = asked()[-1:] if workers == 1 else by_row.values()
        in_flight |= {line for line in last if now[line] > done[line]}
    assert evaluate("broken", stdout=subprocess.DEVNULL).wait() == 0
    broken = Counter(asked())
    Path("loud.log").unlink()
    assert evaluate("broken", "run=whole", "--fresh", stdout=subprocess.DEVNULL).wait() == 0
    whole = Counter(asked())
    assert len(whole) == 3 * 5
    again = {line for line in whole if broken[line] != whole[line]}
    assert again <= in_flight and all(broken[line] > whole[line] for line in again)
    tables = [Path("runs", name, "table.json").read_text() for name in ("broken", "whole")]
    assert timeless(tables[0]) == timeless(tables[1])
    assert {path.name for path in Path("runs").iterdir()} == {".results", "broken", "whole"}


def test_two_suites_that_share_rows_run_them_once():
    loud_suite("one", ("policy only", "best-first"))
    loud_suite("two", ("policy only", "MCTS", "best-first"), workers=2)
    assert evaluate("one", stdout=subprocess.DEVNULL).wait() == 0
    alone = Counter(asked())
    out = evaluate("two", "--json", stdout=subprocess.PIPE)
    table = json.loads(out.communicate()[0])
    assert {row["row"]: row["stored"] for row in table["rows"]} == {
        "policy only": 5,
        "MCTS": 0,
        "best-first": 5,
    }
    both = Counter(asked())
    assert {line: count for line, count in both.items() if not line.startswith("MCTS")} == alone


def test_a_changed_policy_is_asked_again():
    loud_suite("one", ("policy only",))
    assert evaluate("one", stdout=subprocess.DEVNULL).wait() == 0
    once = Counter(asked())
    Path("loud.py").write_text(LOUD + "\n# changed\n")
    assert evaluate("one", stdout=subprocess.DEVNULL).wait() == 0
    assert Counter(asked()) == once + once
