"""Work on a Ray cluster: a run cut into shards and merged again, and the cells of an evaluation.

    runs/<name>/parts/0003/     one shard's part: a run folder of its own, with its own journal

The tasks are cut in their order, `concurrency` of them to a shard, so that few workers or
many do not change what a shard is. A part's config.yaml names its tasks, and a shard is
nothing but that part resumed: one whose worker died goes on where its journal ends.

Finished parts are merged into the run in their order, and the lines of a part in the order
of its tasks. What is left of parts when a run ends is merged, too, or else when it is
resumed. Which worker takes which shard, and what becomes of dead ones, is Ray's business.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import shutil
import socket
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from filelock import FileLock, Timeout

from agentsearch.data.runs import Run
from agentsearch.errors import AgentSearchError, ConfigError, DataError
from agentsearch.journal import SCHEMA
from agentsearch.runner import Event, Result, RunFolder, finished_results, lock, write_whole
from agentsearch.types import Task

T = TypeVar("T")
Item = TypeVar("Item")

PARTS = "parts"
RESTARTS = 5
"""How often Ray begins a shard again because its worker died."""
REACH_S = 10.0
POLL_S = 1.0
"""Between two looks at what the shards have finished."""
STOP_S = 10.0
"""What shards have to close their parts when the run is ended."""
DYING_S = 60.0
"""Longest wait for a killed worker, perhaps of another node, to let go of its part."""


@contextmanager
def cluster() -> Generator[None]:
    """Connect to the cluster at RAY_ADDRESS, or start one on this machine's cores.

    A connection that this process has already is used and left open.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        own["include_dashboard"] = False
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # keeps Ray to loopback
    try:
        import ray
    except ImportError as cause:
        raise ConfigError(
            "Ray is not installed; run on every node: pip install 'agentsearch[ray]'"
        ) from cause
    if ray.is_initialized():
        yield
        return
    if address != "local":
        _reach(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as cause:  # Ray raises plain ones, too
        why = " ".join(str(cause).split())
        raise ConfigError(
            f"RAY_ADDRESS={address}: Ray cannot be reached or started there ({why})."
        ) from cause
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
    except (OSError, OverflowError) as cause:
        raise ConfigError(
            f"RAY_ADDRESS={address}: no cluster answers there ({cause}); start one with "
            "`ray start --head`, or unset it for one on this machine."
        ) from cause


# -- running ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Shard:
    """A part that is being worked on.

    Attributes:
        ref: what Ray calls the work.
        end: done when the work is.
    """

    part: Path
    ref: Any
    end: asyncio.Future[None]


async def run(
    folder: RunFolder,
    tasks: Sequence[Task],
    concurrency: int,
    work: Callable[[str], None],
    on_event: Event,
    engines: Counter[str],
) -> None:
    """Have the connected cluster solve `tasks`, and merge what comes of it into the folder.

    Args:
        folder: the run; it holds no parts.
        tasks: those of the run that have not finished.
        concurrency: tasks of a shard, which are searched at the same time.
        work: resumes the run in the folder it is given; called on the nodes.
        on_event: told of each task that finished.
        engines: what the engines of the shards counted is added to it.

    Raises:
        AgentSearchError: that of the first shard that failed; what was done is kept.
    """
    parts = cut(folder, tasks, concurrency)
    merging = Merging(folder, tasks, on_event, engines)
    shards = deque(begin(parts, work))
    try:
        while shards:
            ends = [shard.end for shard in shards]
            await asyncio.wait(ends, timeout=POLL_S, return_when=asyncio.FIRST_EXCEPTION)
            for shard in shards:
                merging.tell(shard.part)
                if shard.end.done():
                    check(shard)
            while shards and shards[0].end.done():
                merging.take(shards.popleft().part)
    except BaseException:
        await stop(shards)
        for shard in shards:
            with suppress(AgentSearchError):  # what went wrong first is what a user must hear
                merging.take(shard.part)
        raise
    finally:
        with suppress(OSError):
            (folder.path / PARTS).rmdir()


def begin(parts: Sequence[Path], work: Callable[[str], None]) -> list[Shard]:
    """Hand parts to Ray, in order."""
    refs = _submit(partial(_work_on, work), [str(part.resolve()) for part in parts])
    return [
        Shard(part, ref, asyncio.wrap_future(ref.future()))
        for part, ref in zip(parts, refs, strict=True)
    ]


def spread(work: Callable[[Item], T], items: Iterable[Item]) -> Generator[T]:
    """What `work` returns for each item, as it comes; it is done by the connected cluster.

    Work whose worker died is begun again. What is left when nobody asks any more is ended.

    Raises:
        AgentSearchError: that of the first item that failed.
    """
    import ray

    waiting = _submit(work, items)
    try:
        while waiting:
            (ended,), waiting = ray.wait(waiting)
            try:
                result: T = ray.get(ended)
            except Exception as error:
                raise _as_ours(error, "A shard") from None
            yield result
    finally:
        for ref in waiting:
            ray.cancel(ref)
        if waiting:
            _, running = ray.wait(waiting, num_returns=len(waiting), timeout=STOP_S)
            for ref in running:
                ray.cancel(ref, force=True)


def _submit(work: Callable[[Item], T], items: Iterable[Item]) -> list[Any]:
    """What Ray calls the work on each item."""
    import ray

    remote = ray.remote(num_cpus=1, max_retries=RESTARTS)(_in_worker)
    return [remote.remote(work, item, os.getcwd()) for item in items]


def _in_worker(work: Callable[[Item], T], item: Item, directory: str) -> T:
    """Do work in a process of the cluster."""
    _check_seen(directory)
    os.chdir(directory)  # a recipe's relative paths begin there
    try:
        return work(item)
    except KeyboardInterrupt:  # told to stop: Ray begins it again unless we cancelled it
        os._exit(1)


def _work_on(work: Callable[[str], None], part: str) -> None:
    """Do a shard's work on a part that nobody else works on."""
    _check_seen(part)
    with claim(Path(part)):
        work(part)


def _check_seen(path: str) -> None:
    if not os.path.isdir(path):
        raise DataError(
            f"{path}: is not there on {socket.gethostname()}; every node must see the folder of "
            "the runs and the directory that the run was started in, under the same paths."
        )


def check(shard: Shard) -> None:
    """Raise what a shard that has ended raised, if it did.

    Raises:
        AgentSearchError: the shard's own, or that Ray gave it up.
    """
    error = shard.end.exception()
    if error is not None:
        raise _as_ours(error, str(shard.part)) from None


def _as_ours(error: BaseException, work: str) -> BaseException:
    """What a user is shown of an error of Ray's: our own without Ray's traceback."""
    from ray.exceptions import RayError, RayTaskError

    if isinstance(error, RayTaskError):
        cause = error.cause
        return type(cause)(*cause.args) if isinstance(cause, AgentSearchError) else error
    if not isinstance(error, RayError):
        return error
    why = " ".join(str(error).split())
    return AgentSearchError(f"{work}: was given up by Ray ({why}).")


async def stop(shards: Collection[Shard]) -> None:
    """Have shards close their parts; those that take too long are killed."""
    import ray

    if not shards:
        return
    for shard in shards:
        ray.cancel(shard.ref)
    await asyncio.wait([shard.end for shard in shards], timeout=STOP_S)
    for shard in shards:
        if shard.end.done():
            shard.end.exception()  # looked at
        else:
            ray.cancel(shard.ref, force=True)


# -- parts -----------------------------------------------------------------------------


def cut(folder: RunFolder, tasks: Sequence[Task], size: int) -> list[Path]:
    """Make a part for every `size` tasks, with the replies that the run has for them.

    Raises:
        DataError: the disk is full.
    """
    config, parts = Run(folder.path).config, list[Path]()
    ids = [task.id for task in tasks]
    try:
        for start in range(0, len(ids), size):
            part, own = folder.path / PARTS / f"{len(parts):04d}", ids[start : start + size]
            part.mkdir(parents=True, exist_ok=True)
            copy_replies(folder.path / "journal.sqlite", part / "journal.sqlite", own)
            changes = {
                "concurrency": size,
                "tasks": {"split": config["tasks"]["split"], "ids": own},
            }
            text = yaml.safe_dump({**config, **changes}, sort_keys=False)
            write_whole(part / "config.yaml", text)  # the last file: now it is a part
            parts.append(part)
    except (OSError, sqlite3.Error) as cause:
        raise DataError(f"{folder.path}: cannot be cut into shards ({cause}).") from cause
    return parts


@contextmanager
def claim(part: Path) -> Generator[None]:
    """Have a part for this process alone.

    Raises:
        ConfigError: somebody works on it, and is not just dying.
    """
    taken = FileLock(part / "shard.lock")
    try:
        taken.acquire(timeout=DYING_S)
    except Timeout:
        raise ConfigError(
            f"{part}: a worker is still busy with it; wait for its end or stop it."
        ) from None
    try:
        yield
    finally:
        taken.release()


def left(run: Path) -> bool:
    """Whether there are parts in a run folder."""
    return (run / PARTS).exists()


class Merging:
    """Brings what the shards of a run have finished to its folder and to who waits for it."""

    def __init__(
        self,
        folder: RunFolder,
        tasks: Iterable[Task],
        on_event: Event,
        engines: Counter[str],
    ) -> None:
        self.folder = folder
        self.untold = {task.id: task for task in tasks}
        self.on_event = on_event
        self.engines = engines
        self.merged = {result.task_id for result in folder.finished}

    def tell(self, part: Path) -> None:
        """Tell of the tasks that have finished since the last look."""
        for line in finished_lines(part):
            task = self.untold.pop(line["task_id"], None)
            if task is not None:
                result = Result.from_dict(line)
                self.on_event("finished" if result.status == "ok" else "failed", task, result)

    def take(self, part: Path) -> None:
        """Merge a part that nobody works on."""
        self.tell(part)
        self.engines.update((Run(part).summary or {}).get("engines", {}))
        self.folder.journal.kept += merge(self.folder.path, part, self.merged)


def merge_parts(run: Path) -> None:
    """Merge what an ended process left of its shards, so that any executor can go on.

    Raises:
        ConfigError: a process is at work in the run, or still in one of its parts.
        DataError: the disk is full.
    """
    if not left(run):
        return
    parts, held = run / PARTS, lock(run)
    try:
        merged = {result.task_id for result in finished_results(run)}
        for part in sorted(parts.iterdir()):
            merge(run, part, merged)
        parts.rmdir()
    finally:
        held.release()


def merge(run: Path, part: Path, merged: set[str]) -> int:
    """Bring a part's replies, trees and lines into its run; then the part is gone.

    It can end at any point and be done again: nothing is lost, and nothing is there twice.

    Args:
        run: its lock is ours.
        part: nobody works on it, though somebody who was killed may be dying still.
        merged: tasks that have their line in the run; those of the part are added.

    Returns:
        How many replies were new to the run.

    Raises:
        ConfigError: somebody works on it after all.
        DataError: the disk is full.
    """
    copied = 0
    try:
        with claim(part):
            if (part / "config.yaml").exists():  # else its making or removal was cut short
                tasks: list[str] = Run(part).config["tasks"]["ids"]
                copied = copy_replies(part / "journal.sqlite", run / "journal.sqlite", tasks)
                for tree in (part / "trees").glob("*.json.gz"):
                    os.replace(tree, run / "trees" / tree.name)
                lines = {line["task_id"]: line for line in finished_lines(part)}
                new = [each for each in tasks if each in lines and each not in merged]
                append_lines(run / "results.jsonl", [lines[each] for each in new])
                merged.update(new)
        shutil.rmtree(part)
    except (OSError, sqlite3.Error) as cause:
        raise DataError(
            f"{part}: cannot be merged into its run ({cause}); it is kept. "
            "Make room, then resume the run."
        ) from cause
    return copied


def finished_lines(part: Path) -> list[dict[str, Any]]:
    """The whole lines of a part's results, of which the last may be being written."""
    try:
        text = (part / "results.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split(b"\n")[:-1]]


def append_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write lines to the disk, all or none.

    Raises:
        OSError: none.
    """
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    whole = text.encode(errors="backslashreplace")
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            if file.write(whole) < len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def copy_replies(source: Path, target: Path, tasks: Collection[str]) -> int:
    """Copy what one journal holds of some tasks into another.

    Returns:
        How many replies the other did not have.
    """
    if not source.exists():
        return 0
    for path in (source, target):
        with closing(sqlite3.connect(path)) as rows:
            rows.execute(SCHEMA)
    with closing(sqlite3.connect(target, isolation_level=None)) as rows:
        rows.execute("pragma synchronous = full")  # the source may be deleted next
        rows.execute("attach ? as source", (str(source),))
        rows.execute(
            "insert or ignore into main.replies select * from source.replies "
            "where task in (select value from json_each(?))",
            (json.dumps(list(tasks)),),
        )
        return rows.total_changes
