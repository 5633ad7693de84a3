"""Results by content: what was paid for once is not asked again.

    runs/.results/lines/ab/abc...       a task's result, under the hash of all that decides it
                  trees/cd/cde....gz    its tree, under the hash of its own bytes
                  settled/ef...         what the parts of a recipe decided by asking their engine
                  journals/01/012...    replies of a cell whose run has not ended

A key is the hash of the recipe less what only chooses tasks or speed, the environment's
version, the task, the models' weights, and the code. So a killed evaluation goes on where
it was, suites share what they have in common, and changed code finds nothing. Entries
appear whole or not at all; two writers of one entry do no harm. The folder can be deleted
at any time: run folders keep what they hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from agentsearch.budget import Limits, Metered
from agentsearch.config import Recipe
from agentsearch.errors import DataError
from agentsearch.journal import Journal
from agentsearch.runner import Setup
from agentsearch.tree import Tree
from agentsearch.types import Task
from agentsearch_eval.sources import recipe_modules, source_digest

log = logging.getLogger(__name__)

FOLDER = ".results"
"""Name of the store inside the folder of all runs."""
IRRELEVANT = ("tasks", "run", "concurrency", "readings")
"""Fields of a recipe that do not change the result of a task."""
SETTLED = ("policy", "value", "chooser", "mode")
"""Fields that a run may decide where a recipe leaves them open."""


@dataclass(frozen=True)
class Stored:
    """One task's result as the store holds it.

    Attributes:
        line: as in `results.jsonl`; one that was read off from a run with larger limits
            says which in `read_off`.
        tree: hash of its tree's file; None where none was kept.
    """

    line: dict[str, Any]
    tree: str | None


class Store:
    """The folder of all results below a folder of runs; made with its first entry."""

    def __init__(self, runs: Path) -> None:
        self.folder = runs / FOLDER

    def put(self, key: str, line: Mapping[str, Any], tree: Tree | None = None) -> Stored:
        """Keep the result of a task that has ended, whatever became of it.

        Raises:
            DataError: the disk is full, or the folder cannot be written.
        """
        try:
            stored = Stored(dict(line), None if tree is None else self._put_tree(tree))
            body = json.dumps({"key": key, **vars(stored)}).encode()
            self._place("lines", key, _digest(body).encode() + b"\n" + body)
        except OSError as cause:
            raise DataError(
                f"{self.folder}: task {line['task_id']} cannot be stored ({cause.strerror}); "
                "the tasks before it are kept."
            ) from cause
        return stored

    def finished(self, key: str) -> Stored | None:
        """The result under `key`, unless there is none, its task failed, or it is damaged.

        A damaged one is named in a warning and removed.
        """
        path = self._path("lines", key)
        try:
            head, _, body = path.read_bytes().partition(b"\n")
            if head.decode() != _digest(body):
                raise ValueError("its hash is another")
            entry = json.loads(body)
            if entry["key"] != key:
                raise ValueError("it belongs elsewhere")
            self._check_tree(entry["tree"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as cause:
            log.warning("%s is damaged (%s) and left out; its task runs again.", path, cause)
            with suppress(OSError):
                path.unlink()
            return None
        return None if entry["line"]["status"] == "failed" else Stored(entry["line"], entry["tree"])

    def link_tree(self, stored: Stored, path: Path) -> None:
        """Make the tree of a result appear at `path` too, sharing its bytes where possible.

        Raises:
            DataError: it is gone.
        """
        if stored.tree is None:
            return
        source = self._path("trees", stored.tree)
        try:
            os.link(source, path)
        except FileNotFoundError as cause:
            raise DataError(
                f"{source}: is gone; the store was deleted meanwhile. Run the suite again."
            ) from cause
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, path)

    @contextmanager
    def journal(self, name: str, fresh: bool = False) -> Generator[Journal | None]:
        """Where a cell's replies are recorded while it runs, and found again after a crash.

        It is removed once the cell has ended. None where another process runs the same cell.

        Args:
            name: of the cell.
            fresh: whether what an earlier process was answered is forgotten.
        """
        path = self._path("journals", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield None
            return
        try:
            if fresh:
                path.unlink(missing_ok=True)
            with closing(Journal(path)) as journal:
                yield journal
            path.unlink()
        finally:
            lock.release()

    def note_settled(self, before: str, recipe: Recipe) -> None:
        """Remember what was decided for a recipe, under its digest before."""
        decided = {name: getattr(recipe, name) for name in SETTLED}
        try:
            self._place("settled", before, canonical(decided).encode())
        except OSError as cause:
            raise DataError(f"{self.folder}: cannot be written ({cause.strerror}).") from cause

    def settled(self, recipe: Recipe, before: str) -> Recipe | None:
        """The recipe as it was settled last; None where that is not known."""
        try:
            decided = json.loads(self._path("settled", before).read_bytes())
            return dataclasses.replace(recipe, **{name: decided[name] for name in SETTLED})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / name[:2] / (f"{name}.json.gz" if kind == "trees" else name)

    def _place(self, kind: str, name: str, data: bytes) -> None:
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _beside(path)
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _put_tree(self, tree: Tree) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = _beside(self.folder / "tree")
        try:
            tree.save(partial)
            digest = _digest(partial.read_bytes())
            path = self._path("trees", digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return digest

    def _check_tree(self, digest: str | None) -> None:
        if digest is None:
            return
        path = self._path("trees", digest)
        if not path.is_file() or _digest(path.read_bytes()) != digest:
            raise ValueError("its tree is missing or damaged")


# -- keys ------------------------------------------------------------------------------


def recipe_digest(recipe: Recipe, setup: Setup) -> str:
    """Hash of all that decides results of a recipe but the models and the task."""
    fields = {k: v for k, v in recipe.to_dict().items() if k not in IRRELEVANT}
    spec = setup.env.spec
    code = source_digest(recipe_modules(recipe))
    return _digest(canonical([fields, spec.id, spec.version, code]).encode())


def task_keys(recipe: Recipe, setup: Setup, tasks: Sequence[Task]) -> dict[str, Task]:
    """Tasks by the key of their result under a settled recipe."""
    shared = [recipe_digest(recipe, setup), models(setup)]
    return {
        _digest(canonical([*shared, task.id, task.prompt, task.data]).encode()): task
        for task in tasks
    }


def journal_name(recipe: Recipe, setup: Setup, readings: Sequence[Limits]) -> str:
    """Of a settled recipe's replies; each sequence of readings leads to others."""
    limits = [dataclasses.asdict(each) for each in readings]
    return _digest(canonical([recipe_digest(recipe, setup), models(setup), limits]).encode())


def models(setup: Setup) -> list[str]:
    """Name and weight hash of each model that the parts ask, in order."""
    found = [engine.version for part in setup.parts.values() for engine in engines(part)]
    return list(dict.fromkeys(found))


def engines(part: object) -> list[Metered]:
    """The engines inside a part, and inside the parts that it wraps."""
    if isinstance(part, Metered):
        return [part]
    if not dataclasses.is_dataclass(part):
        return []
    return [e for each in dataclasses.fields(part) for e in engines(getattr(part, each.name))]


def canonical(data: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return sorted(map(repr, value)) if isinstance(value, AbstractSet) else repr(value)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _beside(path: Path) -> Path:
    """A name that no other process chooses."""
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
