"""Starts a training's processes by accelerate or torchrun, and tells how they ended.

The processes run under a warden (see `agentsearch.warden`), so that they end with us however
we do. What they and their launchers say on stderr goes to a log.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentsearch import warden
from agentsearch.errors import AgentSearchError, ConfigError
from agentsearch.train.recipe import TrainRecipe, shipped

GRACE_S = 10.0
"""What processes have to end before they are killed."""
VERDICT = "AGENTSEARCH_TRAIN_VERDICT"
"""Variable that names the file in which a process says why it failed."""
MODULE = "agentsearch.train"
ENV = {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}


class TrainingFailed(AgentSearchError):
    """The processes of a training ended badly.

    Attributes:
        code: exit code of the command: 2 where the user can put it right, else 1.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def command(recipe: TrainRecipe, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What is started, and what is added to its environment.

    Args:
        recipe: decides on the launcher: none, accelerate, or torchrun for several processes
            on the CPU, of which accelerate would silently start one.
        arguments: of `python -m agentsearch.train`.
    """
    if recipe.accelerate in (None, "cpu"):
        on_cpu = {"ACCELERATE_USE_CPU": "true"} if recipe.accelerate or recipe.processes > 1 else {}
        if recipe.processes == 1:
            return [sys.executable, "-m", MODULE, *arguments], {**ENV, **on_cpu}
        several = ["--standalone", "--nproc_per_node", str(recipe.processes)]
        launcher = [sys.executable, "-m", "torch.distributed.run", *several, "-m", MODULE]
        return [*launcher, *arguments], {**ENV, **on_cpu}
    file = shipped("accelerate", "accelerate", recipe.accelerate)
    settings = ["--config_file", str(file), "--num_processes", str(recipe.processes)]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *settings, "-m", MODULE]
    return [*launcher, *arguments], ENV


def run(
    recipe: TrainRecipe, arguments: Sequence[str], on_line: Callable[[str], None]
) -> dict[str, Any]:
    """Train in processes of their own; what `train.json` says.

    Args:
        recipe: of the training.
        arguments: of `python -m agentsearch.train`, which lead to the same recipe.
        on_line: told each line of progress.

    Raises:
        ConfigError: the packages for training are not installed.
        TrainingFailed: with the sentence of the process that failed.
    """
    check_installed()
    folder = Path(recipe.to)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log, verdict = (folder.with_name(folder.name + end) for end in (".log", ".verdict"))
    verdict.unlink(missing_ok=True)
    started, env = command(recipe, arguments)
    with (
        log.open("ab") as errors,
        warden.start(
            started,
            GRACE_S,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **env, VERDICT: str(verdict.resolve())},
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        try:
            for line in process.stdout:
                on_line(line.decode("utf-8", "replace").rstrip())
            code = process.wait()
        finally:
            process.stdin.close()
    if code == 0:
        return json.loads((folder / "train.json").read_text(encoding="utf-8"))
    raise _failure(verdict, log, code)


def check_installed() -> None:
    """Refuse to start without the packages for training.

    Raises:
        ConfigError: naming what is missing.
    """
    needed = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"Training needs {', '.join(missing)}; run: pip install 'agentsearch[train]'"
        )


def leave_verdict(message: str, code: int) -> None:
    """Say why this process failed, to whoever started it."""
    if VERDICT in os.environ:
        text = json.dumps({"message": message, "code": code})
        Path(os.environ[VERDICT]).write_text(text, encoding="utf-8")


def _failure(verdict: Path, log: Path, code: int) -> TrainingFailed:
    try:
        found = json.loads(verdict.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return TrainingFailed(f"The training ended with exit code {code}; see {log}.", 1)
    verdict.unlink()
    return TrainingFailed(found["message"], found["code"])
