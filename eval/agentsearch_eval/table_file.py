"""`table.json` of a suite's folder as typed values: all that a report says is read here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from agentsearch.errors import DataError
from agentsearch_eval.table import ALL, Row

KINDS = ("calls", "tokens", "env_steps", "seconds")
"""What a budget limits and a row spends, in the order of columns and figures."""


@dataclass(frozen=True)
class SuiteFacts:
    """What was run."""

    name: str
    title: str
    headline: str | None
    compare: list[str]
    budgets: dict[str, dict[str, float | None]]
    rows: list[str]
    seeds: list[int]
    per: str

    def kind(self, budget: str) -> str:
        """What a budget limits first, such as `calls`."""
        limits = self.budgets.get(budget, {})
        return next((kind for kind in KINDS if limits.get(kind) is not None), "iterations")


@dataclass(frozen=True)
class Outcome:
    """What became of one task of one cell with one seed."""

    env: str
    budget: str
    row: str
    task_id: str
    status: str
    correct: bool
    reason: str
    error: str
    stop: str
    truncated: bool
    decisions: int
    steps: int
    folder: str
    tree: str | None


@dataclass(frozen=True)
class TableFile:
    """A whole `table.json`."""

    suite: SuiteFacts
    rows: list[Row]
    results: list[Outcome]
    made_with: dict[str, Any]

    @cached_property
    def envs(self) -> list[str]:
        """Sections of the table: the mean first, then environments in the suite's order."""
        found = list(dict.fromkeys(cell.env for cell in self.rows))
        return sorted(found, key=lambda env: env != ALL)

    @cached_property
    def single_envs(self) -> list[str]:
        """The environments, without their mean."""
        return [env for env in self.envs if env != ALL]

    @cached_property
    def labels(self) -> dict[str, str]:
        """What each row is called on the page."""
        return {row: row for row in self.suite.rows} | {c.row: c.label for c in self.rows}

    @cached_property
    def ceilings(self) -> list[str]:
        """Rows that read the solution."""
        return [r for r in self.suite.rows if any(c.row == r and c.oracle for c in self.rows)]

    def cells(self, env: str, budget: str) -> list[Row]:
        """The rows of one table, in order."""
        return [cell for cell in self.rows if (cell.env, cell.budget) == (env, budget)]

    def outcomes(self, env: str, budget: str | None = None) -> list[Outcome]:
        """Results in one environment, at one budget or at all."""
        return [o for o in self.results if o.env == env and budget in (None, o.budget)]


def read_table(folder: Path) -> TableFile:
    """Read `table.json` of a suite's folder.

    Raises:
        DataError: it is missing, damaged, or of another kind.
    """
    from pydantic import TypeAdapter, ValidationError

    path = folder / "table.json"
    if not path.is_file():
        raise DataError(f"{folder}: holds no table.json; run its suite with `agentsearch eval`.")
    try:
        text = json.dumps(json.loads(path.read_bytes()), ensure_ascii=False)
        whole = text.encode(errors="replace")  # half characters, which models write, are "?"
        table = TypeAdapter(TableFile).validate_json(whole)
    except OSError as cause:
        raise DataError(f"{path}: cannot be read ({cause.strerror}).") from cause
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from cause
    except ValueError as cause:
        raise _damaged(path, str(cause)) from cause
    _check_names(table, path)
    return table


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path}: is damaged or no table of a suite ({what}); run the suite again.")


def _check_names(table: TableFile, path: Path) -> None:
    """Every row and result must be of a row and a budget that the suite names."""
    for each in (*table.rows, *table.results):
        for what, name, known in (
            ("row", each.row, table.suite.rows),
            ("budget", each.budget, table.suite.budgets),
        ):
            if name not in known:
                raise _damaged(path, f"its suite has no {what} {name!r}")
