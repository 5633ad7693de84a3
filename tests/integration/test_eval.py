"""`agentsearch eval` as a user meets it: tables, exit codes, and what is left behind."""

import json
import os
import signal
import subprocess
import sys
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


def table_of(result):
    rows = json.loads(result.stdout)
    for row in rows:
        del row["summary"]["usage"]["seconds"]
    return rows


def test_a_suite_from_the_terminal():
    result = run()
    assert result.exit_code == 0
    assert "at most 12 calls per task" in result.stdout
    assert "at most 9 steps per task" in result.stdout
    assert result.stdout.count("ceiling (ORACLE: policy)") == 2
    assert "ORACLE rows read the solution" in result.stdout
    assert "+100*" in result.stdout and "* the interval of the difference" in result.stdout
    assert "report: runs/small/report.html" in result.stdout
    assert "best-first, 9 steps: " in result.stderr
    assert "One tree: " in Path("runs/small/report.html").read_text()
    cells = [path.parent.name for path in Path("runs/small").glob("*/results.jsonl")]
    assert len(cells) == 8 and "wordy-12-calls" in cells


def test_one_and_two_processes_give_equal_tables_and_the_name_is_used_again():
    one = run("--json", "workers=1")
    first = Path("runs/small/report.html").stat().st_ino
    two = run("--json", "workers=2")
    assert one.exit_code == two.exit_code == 0, two.output
    assert table_of(one) == table_of(two) != []
    assert Path("runs/small/report.html").stat().st_ino != first
    assert [path.name for path in Path("runs").iterdir()] == ["small"]
    assert json.loads(Path("runs/small/table.json").read_text()) == json.loads(two.stdout)


def test_a_dry_run_says_what_would_run():
    result = run("--dry-run")
    assert result.exit_code == 0 and not Path("runs").exists()
    assert "4 rows x 2 budgets x 4 tasks" in result.stdout
    assert f"12 calls: at most {4 * 4 * 12} calls" in result.stdout
    assert "9 steps: no limit of calls" in result.stdout
    found = json.loads(run("--dry-run", "--json").stdout)
    assert found["calls"] == {"12 calls": 192, "9 steps": None} and found["tasks"] == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base.tasks.limit=0", "tasks.limit=0"),
        ("base.tasks.start=100000", "nothing to run"),
        ("base.sead=1", "Did you mean 'seed'?"),
        ("rows.wordy.seed=3", "row 'wordy': seed is the same for all rows; set base.seed."),
        ("rows.wordy.search=bean", "bean"),
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
    assert "of 4 rows had finished and are kept in runs/small.partial-" in err
    assert list(Path("runs").glob("small.partial-*/policy-only-*/summary.json"))
