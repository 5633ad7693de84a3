"""What every benchmark writes beside its figures: how, where and when they were measured."""

from __future__ import annotations

import datetime
import os
import platform
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
