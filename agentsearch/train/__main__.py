"""One process of a training: what accelerate and torchrun start.

    accelerate launch --config_file recipes/accelerate/ddp.yaml -m agentsearch.train dpo RECIPE

Exit codes: 0 success; 2 something the user can put right; 1 anything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from agentsearch.errors import AgentSearchError  # noqa: E402
from agentsearch.train.launch import leave_verdict  # noqa: E402
from agentsearch.train.recipe import load_recipe  # noqa: E402


def main(arguments: Sequence[str]) -> int:
    """Train as `TRAINER RECIPE [KEY=VALUE...]` says; the exit code."""
    if len(arguments) < 2:
        print("usage: python -m agentsearch.train TRAINER RECIPE [KEY=VALUE...]", file=sys.stderr)
        return 2
    from agentsearch.train.health import TrainingStopped

    trainer, source, *overrides = arguments
    try:
        recipe = load_recipe(source, [*overrides, f"trainer={trainer}"])
        from agentsearch.train.training import train

        train(recipe)
    except AgentSearchError as error:
        code = 1 if isinstance(error, TrainingStopped) else 2
        return failed(str(error), code)
    except Exception as error:
        failed(f"The training failed with {type(error).__name__}: {error}", 1)
        raise  # the traceback is for the log
    return 0


def failed(message: str, code: int) -> int:
    """Say why, in one line, and hand the code on."""
    line = " ".join(message.split())
    leave_verdict(line, code)
    print(f"Error: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
