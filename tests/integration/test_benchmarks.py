"""The benchmark scripts run in small sizes and report what they promise; nothing is timed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_engine_overhead_reports_every_row(tmp_path):
    file = tmp_path / "report.json"
    script = ROOT / "benchmarks" / "engine_overhead.py"
    command = [sys.executable, str(script), "--quick", "--seed", "3", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert json.loads(done.stdout) == report

    assert (report["benchmark"], report["seed"], report["quick"]) == ("engine_overhead", 3, True)
    assert report["command"] == "python benchmarks/engine_overhead.py --quick --seed 3"
    assert set(report["machine"]) == {"cores", "processor", "system", "python"}
    assert set(report["peers"]) == {"llm-reasoners", "treequest"}
    assert all("why" in about or about["peer"] for about in report["peers"].values())
    assert str(ROOT) not in file.read_text()

    rows = report["rows"]
    assert set(rows) == {
        "one_tree",
        "one_tree_overlapped",
        "many_trees",
        "parallel_leaves",
        "memory",
        "import",
    }
    for row in ("one_tree", "one_tree_overlapped"):
        assert list(rows[row]["sizes"]) == ["100", "1000"]
    for size, figures in rows["one_tree"]["sizes"].items():
        assert figures["agentsearch"]["nodes"] == int(size)
        assert figures["agentsearch"]["selections"] == int(size) // 4
    for size, figures in rows["one_tree_overlapped"]["sizes"].items():
        assert figures["nodes"] == int(size)
    shape = rows["one_tree"]["shape"]
    assert shape["nodes"] == 1000
    assert shape["depth_if_balanced"] <= shape["depth_max"] < 100  # neither flat nor a chain
    assert rows["many_trees"]["agentsearch"]["nodes"] == 4 * 32
    assert rows["parallel_leaves"]["agentsearch"]["nodes"] == 64
    for kind in ("bare", "searched"):
        assert rows["memory"]["nodes"][kind] == 2000
        assert rows["memory"]["kinds"][kind]["allocated"] > 0
    assert rows["import"]["seconds"] > 0
