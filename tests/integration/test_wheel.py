"""An installed wheel, outside any checkout, finds its recipes, suites and weights."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and our dependencies, but not this checkout.

    The dependencies come through a path file, whose own path files (the editable install)
    are not followed.
    """
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    [site] = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True)
    return python


def run(python: Path, *command: str, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_the_wheel_that_is_imported(python: Path, tmp_path: Path) -> None:
    places = run(
        python,
        "-c",
        "import agentsearch, agentsearch_envs, agentsearch_eval, agentsearch_rewards\n"
        "print(agentsearch.__file__, agentsearch_envs.__file__, agentsearch_eval.__file__)",
        cwd=tmp_path,
    ).split()
    assert all(str(python.parents[1]) in place for place in places)


def test_recipes_and_suites_are_listed_by_short_name(python: Path, tmp_path: Path) -> None:
    listed = json.loads(run(python, "-m", "agentsearch", "list", "--json", cwd=tmp_path))
    names = {each["name"] for each in listed}
    assert {"game24/mcts", "demo", "mcts", "game24", "prompted", "votes", "hf"} <= names
    assert not [each for each in listed if each["error"]]


def test_the_weights_play(python: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the built-in model needs the extra hf")
    out = run(
        python,
        *("-m", "agentsearch", "search", "game24/mcts", "tasks.limit=2", "budget.calls=8"),
        *("run=wheel", "--json", "--quiet"),
        cwd=tmp_path,
    )
    assert json.loads(out)["tasks"] == 2
    assert (tmp_path / "runs" / "wheel" / "summary.json").is_file()


def test_nothing_large_or_foreign_is_packed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    ours = {"agentsearch", "agentsearch_envs", "agentsearch_eval", "agentsearch_rewards"}
    assert tops == ours
    assert not [name for name in names if "/build/" in name or name.endswith((".csv", ".gz"))]
    assert wheel.stat().st_size < 25e6
