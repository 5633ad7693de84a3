"""What every benchmark writes beside its figures: how, where and when they were measured."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agentsearch


class Record:
    """Begun before measuring, for the machine's load; `of` is the whole report."""

    def __init__(self, benchmark: str, *, quick: bool, seed: int, repeats: int) -> None:
        self.benchmark = benchmark
        self.quick = quick
        self.seed = seed
        self.repeats = repeats
        self.load_before = load()

    def of(self, rows: dict[str, Any], versions: dict[str, str], **more: Any) -> dict[str, Any]:
        """The report of finished rows; `versions` are those of what was measured beside ours."""
        words = [f"python benchmarks/{self.benchmark}.py", *(["--quick"] * self.quick)]
        return {
            "benchmark": self.benchmark,
            "command": " ".join([*words, f"--seed {self.seed}"]),
            "quick": self.quick,
            "seed": self.seed,
            "repeats": self.repeats,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": {
                "cores": os.cpu_count(),
                "processor": platform.machine(),
                "system": platform.system(),
                "python": platform.python_version(),
            },
            "load_average": {"before": self.load_before, "after": load()},
            "versions": {"agentsearch": agentsearch.__version__, **versions},
            **more,
            "rows": rows,
        }


def load() -> float:
    """The machine's load over the last minute."""
    return round(os.getloadavg()[0], 2)


def options(about: str | None) -> argparse.ArgumentParser:
    """What every benchmark takes; `about` is its module's docstring."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument("--quick", action="store_true", help="small sizes, one repeat")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def report(measured: dict[str, Any], file: Path | None) -> None:
    """Print a report, and write it where it is wanted."""
    text = json.dumps(measured, indent=2)
    if file:
        file.write_text(text + "\n")
    print(text)


def main(about: str | None, measure: Callable[[bool, int], dict[str, Any]]) -> None:
    """A benchmark with no options of its own."""
    given = options(about).parse_args()
    report(measure(given.quick, given.seed), given.json)
