"""Loops for real: every stage a process, killed and gone on with."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset

from agentsearch.data.runs import Run

SMALL = {
    "rounds": 1,
    "envs": {
        "g": {
            "base": {
                "env": "game24",
                "policy": {"name": "scoring", "engine": {"memory": 1000}},
                "value": "votes",
                "concurrency": 4,
            },
            "search": {
                "search": {"name": "best_of_n", "n": 4},
                "value": "uniform",
                "budget": {"calls": 20},
                "tasks": {"split": "train", "limit": 6},
            },
            "evaluate": {"tasks": {"split": "dev", "limit": 4}, "budget": {"calls": 6}},
            "with_search": {"search": {"name": "best_first", "width": 3}},
            "finals": {"published": {"split": "test", "limit": 2}},
        }
    },
    "collect": {"kinds": ["sft"]},
    "train": {
        "trainer": "sft",
        "args": {
            "max_steps": 4,
            "save_steps": 1,
            "per_device_train_batch_size": 2,
            "use_cpu": True,
        },
    },
}


def write(folder: Path, **changes):
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return path


def start(folder: Path, *arguments):
    command = [sys.executable, "-m", "agentsearch", "loop", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def stages(process, until=None):
    """The stages it names, until one begins; what it wrote is kept on the process."""
    found, process.said = [], []
    for line in process.stderr:
        process.said.append(line)
        name = line.strip(" ─\n")
        if line.rstrip().endswith("─") and name:
            found.append(name)
            if name == until:
                break
    return found


def close(process):
    for stream in (process.stdout, process.stderr):
        stream.close()


ALL = ["evaluate g-0", "search g-1", "collect g-1", "train policy-0001", "evaluate g-1"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A loop that was killed as each stage but the finals had begun, and gone on with."""
    folder = tmp_path_factory.mktemp("loop")
    began = []
    for i, stage in enumerate(ALL):
        if stage == "search g-1":  # as a kill before its first file would leave it
            (folder / "runs" / "small" / "searches" / "g-1" / "trees").mkdir(parents=True)
        arguments = (write(folder),) if not i else ("--resume", "small")
        process = start(folder, *arguments)
        began.append(stages(process, until=stage))
        process.send_signal(signal.SIGKILL)
        process.wait()
        close(process)
    process = start(folder, "--resume", "small", "--json")
    began.append(stages(process))
    out = process.stdout.read()
    assert process.wait() == 0, "".join(process.said)
    close(process)
    return folder / "runs" / "small", began, json.loads(out)


def test_what_was_done_is_not_done_again(killed):
    _, began, done = killed
    for i, names in enumerate(began[:5]):
        assert names[-1] == ALL[i]
        assert set(names[:-1]) <= {ALL[i - 1]}  # the one that was killed goes on
    finals = [f"evaluate g-published-{n}" for n in sorted({0, done["best"]})]
    assert began[-1] == ["evaluate g-1", *finals, "report"]


def test_a_killed_loop_ends_with_all_rounds_rows_and_tables(killed):
    folder, _, done = killed
    assert [each["round"] for each in done["rounds"]] == [0, 1]
    run = Run(folder / "searches" / "g-1")
    ids = [line["task_id"] for line in run.results]
    assert len(ids) == len(set(ids)) == 6 and run.summary["planned"] == 6
    rows = load_dataset("parquet", data_files=str(folder / "data" / "g-1" / "sft.parquet"))["train"]
    keys = [tuple(row["input_ids"]) for row in rows]
    assert keys and len(keys) == len(set(keys))
    assert done["rounds"][1]["train"]["steps"] == 4
    assert set(done["rounds"][1]["success"]["g"]) == {"policy alone", "policy + search"}
    finals = sorted(path.name for path in (folder / "finals").glob("*-*") if path.is_dir())
    assert finals == [f"g-published-{n}" for n in sorted({0, done["best"]})]


def test_the_new_policy_plays_the_second_round(killed):
    folder, _, _ = killed
    versions = [
        yaml.safe_load(path.read_text())["made_with"]["models"]
        for path in (next((folder / "evals" / f"g-{n}").glob("*/config.yaml")) for n in (0, 1))
    ]
    assert versions[0] != versions[1] and versions[1][0].startswith("policy-0001@")


def test_the_report_tells_both_curves_and_what_changed(killed):
    folder, _, done = killed
    page = (folder / "report.html").read_text()
    for text in (
        "policy alone",
        "policy + search",
        "Newly solved",
        "published",
        "<svg",
        "rounds: 1",
    ):
        assert text in page
    assert "http://" not in page and "https://" not in page


def test_a_stage_that_fails_says_so_and_ends_the_loop(tmp_path):
    envs = json.loads(json.dumps(SMALL["envs"]))
    envs["g"]["search"]["tasks"] = {"split": "train", "limit": 1}
    envs["g"]["search"]["budget"] = {"calls": 1}  # too few to end an episode
    envs["g"]["evaluate"]["tasks"]["limit"] = 1
    del envs["g"]["with_search"]
    process = start(tmp_path, write(tmp_path, envs=envs))
    names = stages(process)
    assert process.wait() == 2
    close(process)
    said = "".join(process.said)
    assert names[-1] == "collect g-1" and "Traceback" not in said
    assert "agentsearch loop --resume runs/small" in said
