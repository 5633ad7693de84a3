"""The docs run: every Python block page by page, and the README's commands."""

import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```python\n" in page.read_text()
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), module.__dict__)


def test_the_pages_that_promise_code_have_it() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "your-environment.md"} <= names


def shell_commands(page: Path) -> list[str]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_readme_commands_run(tmp_path: Path) -> None:
    """As a user types them, one after the other, in an empty folder."""
    pytest.importorskip("torch", reason="the README's commands use the built-in model")
    commands = shell_commands(ROOT / "README.md")
    assert len(commands) > 5
    scripts = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"]}
    env.pop("AGENTSEARCH_FORBID_REAL_ENGINES", None)
    for command in commands:
        done = subprocess.run(
            shlex.split(command), cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_every_shipped_recipe_and_suite_loads() -> None:
    from agentsearch.config import load_recipe, recipe_names
    from agentsearch_eval.suite import load_suite, suite_names

    assert "game24/mcts" in recipe_names()
    assert "demo" in suite_names()
    for name in recipe_names():
        load_recipe(name)
    for name in suite_names():
        load_suite(name)


def test_every_shipped_loop_and_training_loads(tmp_path: Path) -> None:
    from agentsearch import loop
    from agentsearch.config import data_folder, loop_paths
    from agentsearch.train.recipe import load_recipe

    assert {"agent_q", "rest_em", "oracle_sft", "agent_q/loop_7b"} <= set(loop_paths())
    for name in loop_paths():
        loop.prepare(name, runs_dir=tmp_path)
    trainings = [*data_folder("agentsearch", "recipes").glob("*/sft.yaml")]
    trainings += data_folder("agentsearch", "recipes").glob("*/dpo.yaml")
    assert len(trainings) == 2
    for path in trainings:
        load_recipe(path)
