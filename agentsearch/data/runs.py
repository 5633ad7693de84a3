"""Read a run folder: its recipe, its results, its summary and its trees.

    run = Run("runs/game24-mcts")
    for line in run.results:
        tree = run.tree(line["task_id"])

Nothing is written here. A missing or damaged file is a `DataError` that names the file
and, where there is one, the line.
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import yaml

from agentsearch.errors import DataError, did_you_mean
from agentsearch.tree import Tree

log = logging.getLogger(__name__)

SHOWN = 5
"""Most task ids that an error message lists."""
LONGEST_NAME = 200
"""Most characters of a file name before its ending."""


class Run:
    """A run folder. Files are read when they are asked for, and once.

    Raises:
        DataError: there is no such folder, or it holds no run.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(f"{path}: no such run folder.")
        if not (self.path / "config.yaml").is_file():
            raise DataError(f"{path}: is no run folder; it holds no config.yaml.")

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved recipe, with `made_with`: versions, commit and date."""
        path = self.path / "config.yaml"
        try:
            data = yaml.safe_load(_text(path))
        except yaml.YAMLError as cause:
            where = " ".join(str(cause).split())
            raise DataError(f"{path}: not valid YAML ({where}).") from cause
        return _mapping(data, str(path))

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        """One dict per finished task, in order of finishing; empty if none has finished.

        A last line without its end was being written when the run died; it is left out,
        and a warning says so.
        """
        path = self.path / "results.jsonl"
        if not path.exists():
            return []
        lines = _text(path, torn=True).split("\n")  # texts may hold what splitlines splits at
        if lines.pop():
            log.warning("%s: its last line was cut short and is left out", path)
        return [_result(f"{path}, line {i}", line) for i, line in enumerate(lines, 1) if line]

    @cached_property
    def summary(self) -> dict[str, Any] | None:
        """The summary, or None where the run was ended before it could write one."""
        path = self.path / "summary.json"
        if not path.exists():
            return None
        return _mapping(_json(_text(path), str(path)), str(path))

    def result(self, task_id: str) -> dict[str, Any]:
        """The line of one task.

        Raises:
            DataError: it has none.
        """
        for line in self.results:
            if line["task_id"] == task_id:
                return line
        known = [line["task_id"] for line in self.results]
        close = did_you_mean(task_id, known)
        raise DataError(f"task {task_id!r}: {self.path} has no result of it.{close}")

    def find_task(self, text: str) -> str:
        """The task id that `text` names: the whole id, or an end or part of just one.

        Raises:
            DataError: none fits, or several do.
        """
        ids = list(dict.fromkeys(line["task_id"] for line in self.results))
        if text in ids:
            return text
        for fitting in ([i for i in ids if i.endswith(text)], [i for i in ids if text in i]):
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                more = ", ..." if len(fitting) > SHOWN else ""
                listed = ", ".join(fitting[:SHOWN]) + more
                raise DataError(
                    f"task {text!r}: fits {len(fitting)} tasks of {self.path}: {listed}. "
                    "Write more of the id."
                )
        known = f" Its tasks: {', '.join(ids[:SHOWN])}{', ...' if len(ids) > SHOWN else ''}."
        raise DataError(
            f"task {text!r}: {self.path} has no such task.{did_you_mean(text, ids)}"
            f"{known if ids else ' None has finished.'}"
        )

    def tree(self, task_id: str) -> Tree:
        """The tree that was grown for a task; its states are None.

        Raises:
            DataError: missing, damaged, or of another task.
        """
        path = self.path / "trees" / tree_name(task_id)
        tree = Tree.load(path)
        if tree.task_id != task_id:
            raise DataError(f"{path}: holds the tree of {tree.task_id!r}, not of {task_id!r}.")
        return tree


def tree_name(task_id: str) -> str:
    """File name of a task's tree, different for different ids: `game24+4-9-10-13.json.gz`.

    Slashes become `+`, other unsafe characters are percent-encoded, long ids hashed.
    """
    safe = quote(task_id, safe="/", errors="backslashreplace")
    safe = safe.replace("/", "+").replace("~", "%7E")
    if not safe or safe.startswith(".") or len(safe) > LONGEST_NAME:
        safe = hashlib.sha256(task_id.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{safe}.json.gz"


def _result(where: str, line: str) -> dict[str, Any]:
    result = _mapping(_json(line, where), where)
    if not isinstance(result.get("task_id"), str):
        raise DataError(f"{where}: has no task_id; this is no results.jsonl of agentsearch.")
    return result


def _text(path: Path, torn: bool = False) -> str:
    """The text of a file; where it may be `torn`, its last line need not be whole."""
    try:
        whole, newline, rest = path.read_bytes().rpartition(b"\n")
        return (whole + newline).decode() + rest.decode(errors="replace" if torn else "strict")
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"{path}: cannot be read ({cause}).") from cause


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as cause:
        raise DataError(f"{where}: is not valid JSON ({cause}); the file is damaged.") from cause


def _mapping(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise DataError(f"{where}: holds no mapping; this is no run of agentsearch.")
    return cast("dict[str, Any]", data)
