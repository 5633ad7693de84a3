"""The environment of a server, under search.

    agentsearch play webshop --api --port 8000     serves one; its calls are in `http_api.py`
    agentsearch search RECIPE env=http env.url=http://127.0.0.1:8000

Task, observation, actions, reward, termination, truncation: the server's environment's own.
The way back: the server's snapshots; a state whose snapshot it has dropped is replayed. Both
    are checked by all that the server shows, its key included.
Differences from the environment itself: no picture, oracle, rule or suggestions.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from agentsearch.errors import ConfigError, EnvError, did_you_mean
from agentsearch.live import LiveState, Seen, SnapshotGone, Snapshotted
from agentsearch.types import EnvSpec, Task, Trajectory, Verdict

if TYPE_CHECKING:
    import httpx

PAGE = 100  # tasks asked for at once
CONNECT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0
PASSING = (None, 429, 502, 503, 504)  # no answer, or one that another try may change
GONE = 410

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OverHTTP(Snapshotted):
    """What a server of `agentsearch play ENV --api` serves.

    Attributes:
        url: its address.
        timeout_s: most seconds of one call.
        patience_s: how long a server that is away, or full, is waited for.
    """

    world: Served = field(init=False)
    url: str = field(kw_only=True)
    timeout_s: float = 60.0
    patience_s: float = 120.0

    def __post_init__(self) -> None:
        """Check the arguments and ask the server what it serves."""
        super().__post_init__()
        for name in ("timeout_s", "patience_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"env.{name}={getattr(self, name)}: must be more than 0.")
        object.__setattr__(self, "world", Served(self.url, self.timeout_s, self.patience_s))


class Served:
    """The world behind an address.

    Raises:
        ConfigError: no environment answers there, or httpx is not installed.
    """

    def __init__(self, url: str, timeout_s: float, patience_s: float) -> None:
        try:
            import httpx
        except ImportError as cause:
            raise ConfigError(
                "The environment http needs a package that is not installed; "
                "run: pip install 'agentsearch[envs]'"
            ) from cause
        self.url = url.rstrip("/")
        self.timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
        self.patience_s = patience_s
        try:
            told = self.ask("/")
            self.spec = EnvSpec(
                id=told["env"],
                version=told["version"],
                max_steps=told["max_steps"],
                reversible=told["reversible"],
                actions=told["actions"],
                instant=False,
                mode=told["mode"],
                about=told["about"],
            )
            self.splits: Mapping[str, int] = told["splits"]
            self.answers: bool = told["answers"]
        except (EnvError, KeyError, httpx.InvalidURL) as cause:
            raise ConfigError(
                f"env.url={url!r}: no environment answers there ({type(cause).__name__}: {cause}); "
                "start one with: agentsearch play ENV --api"
            ) from cause

    @property
    def verifier(self) -> ServedVerifier:
        """The server's."""
        return ServedVerifier(self)

    def tasks(self, split: str) -> ServedTasks:
        """The server's, asked for as far as they are looked at."""
        if split not in self.splits:
            raise ConfigError(
                f"tasks.split={split!r}: no such split.{did_you_mean(split, self.splits)} "
                f"Splits: {', '.join(self.splits)}."
            )
        return ServedTasks(self, split, self.splits[split])

    def session(self) -> ServedSession:
        """A session, which the server opens with its first call."""
        return ServedSession(self)

    def ask(self, path: str, **query: Any) -> dict[str, Any]:
        """A GET call that blocks: what is served, and its tasks."""
        import httpx

        try:
            reply = httpx.get(self.url + path, params=query, timeout=self.timeout)
        except httpx.HTTPError as error:
            raise self.silent(error) from error
        return self.read(reply)

    def client(self) -> httpx.AsyncClient:
        """A connection for calls that are awaited."""
        import httpx

        return httpx.AsyncClient(base_url=self.url, timeout=self.timeout, verify=self.certificates)

    @cached_property
    def certificates(self) -> ssl.SSLContext:
        """Loaded once: that takes longer than a call."""
        return ssl.create_default_context()

    async def post(self, client: httpx.AsyncClient, path: str, **fields: Any) -> dict[str, Any]:
        """One call.

        Raises:
            ServerError: no answer, or one that says what is wrong.
        """
        import httpx

        try:
            return self.read(await client.post(path, json=fields))
        except httpx.HTTPError as error:
            raise self.silent(error) from error

    async def insist(self, client: httpx.AsyncClient, path: str, **fields: Any) -> dict[str, Any]:
        """A call that may be made twice, made again while the server is away or full."""
        until, pause = time.monotonic() + self.patience_s, FIRST_PAUSE_S
        while True:
            try:
                return await self.post(client, path, **fields)
            except ServerError as error:
                if error.status not in PASSING or time.monotonic() + pause > until:
                    raise
                if pause == FIRST_PAUSE_S:
                    log.warning("%s; waiting up to %g s.", error, self.patience_s)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # jitter decides no result
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def read(self, reply: httpx.Response) -> dict[str, Any]:
        """What a reply holds."""
        try:
            body = reply.json()
        except ValueError:
            body = None
        if reply.status_code == 200 and isinstance(body, dict):
            return body
        told = body.get("error") if isinstance(body, dict) else None
        what = told or f"status {reply.status_code}, which is no reply of this API"
        raise ServerError(f"{self.url}: {what}", reply.status_code)

    def silent(self, error: httpx.HTTPError) -> ServerError:
        """The error of a call that got no answer."""
        return ServerError(f"{self.url}: no answer ({type(error).__name__}: {error})", None)


class ServerError(EnvError):
    """A call that failed; `status` is None where there was no answer."""

    def __init__(self, sentence: str, status: int | None) -> None:
        super().__init__(sentence)
        self.status = status


class ServedSession:
    """One session of the server; opened by the first call."""

    def __init__(self, world: Served) -> None:
        self.world = world
        self.client = world.client()
        self.id = ""
        self.here = ""  # the snapshot of where it stands, if it has one

    async def reset(self, task: Task, *, seed: int) -> Seen:
        """Begin an episode."""
        start = {"task": task.data["index"], "split": task.data["split"], "seed": seed}
        return seen_in(await self.call("/reset", **start))

    async def step(self, action: str) -> Seen:
        """Take an action; the server counts those that are not valid, so go back after one."""
        here = self.here
        seen = seen_in(await self.call("/step", action=action))
        if not seen.valid:
            await self.restore(here)
        return seen

    async def snapshot(self) -> str:
        """A name of this moment, for any session."""
        reply = await self.call("/snapshot")
        self.here = reply["snapshot"]
        return self.here

    async def restore(self, snapshot: str) -> Seen:
        """Go to a moment that has a name."""
        try:
            reply = await self.call("/restore", snapshot=snapshot)
        except ServerError as error:
            if error.status == GONE:
                raise SnapshotGone from error
            raise
        self.here = snapshot
        return seen_in(reply)

    async def close(self) -> None:
        """Close the session and the connection."""
        self.client.timeout = CONNECT_S
        try:
            if self.id:
                await self.world.post(self.client, "/close", id=self.id)
        finally:
            await self.client.aclose()

    async def call(self, path: str, **fields: Any) -> dict[str, Any]:
        """A call in this session."""
        if not self.id:
            self.id = (await self.world.insist(self.client, "/create"))["id"]
        self.here = ""
        return await self.world.post(self.client, path, id=self.id, **fields)


def seen_in(reply: Mapping[str, Any]) -> Seen:
    """What a reply shows."""
    legal = reply["legal_actions"]
    return Seen(
        observation=reply["observation"],
        reward=reply["reward"],
        terminated=reply["terminated"],
        truncated=reply["truncated"],
        valid=reply["valid"],
        legal_actions=None if legal is None else tuple(legal),
        key=reply["key"],
        answer=reply["answer"] or "",
    )


class ServedTasks(Sequence[Task]):
    """The tasks of a split; pages are kept once they are asked for."""

    def __init__(self, world: Served, split: str, size: int) -> None:
        self.world = world
        self.split = split
        self.size = size
        self.pages: dict[int, list[Mapping[str, str]]] = {}

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Task, ...]: ...
    def __getitem__(self, index: int | slice) -> Task | tuple[Task, ...]:
        places = range(self.size)[index]
        return self._task(places) if isinstance(places, int) else tuple(map(self._task, places))

    def _task(self, place: int) -> Task:
        number, offset = divmod(place, PAGE)
        if number not in self.pages:
            query = {"split": self.split, "start": number * PAGE, "count": PAGE}
            self.pages[number] = self.world.ask("/tasks", **query)["tasks"]
        told = self.pages[number][offset]
        return Task(told["id"], told["prompt"], {"split": self.split, "index": place})


@dataclass(frozen=True)
class ServedVerifier:
    """The server's verifier, which plays the actions again there."""

    world: Served

    async def verify(self, task: Task, trajectory: Trajectory, state: object) -> Verdict:
        """What the server says of the actions, from the start that `state` comes from."""
        start = {"task": task.data["index"], "split": task.data["split"]}
        seed = state.seed if isinstance(state, LiveState) else 0
        async with self.world.client() as client:
            told = await self.world.insist(
                client, "/verify", **start, seed=seed, actions=list(trajectory.actions)
            )
        return Verdict(told["correct"], told["credit"], told["reason"])
