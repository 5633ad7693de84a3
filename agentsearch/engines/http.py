"""One request to one of several servers, tried again until a sound reply has come.

What goes wrong is one of three things:

- The server says no (`Refused`): asking again would not help.
- The attempt fails (`Fault`): it is counted by kind and tried again after a growing pause,
  and after `retries` further attempts it is an `EngineError`.
- No server answers: nothing is sent until one does, for `wait_s` at most; then `ServerLost`.

Whether a failed attempt means a dead server is found out by asking it for its models.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import random
import urllib.request
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from email.utils import parsedate_to_datetime
from time import perf_counter, time
from typing import Any, TypeVar
from urllib.parse import urlsplit

from agentsearch.engines.load import Load, Traffic, read_load
from agentsearch.engines.replicas import Replica, choose
from agentsearch.errors import ConfigError, EngineError, ServerLost

log = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LONGEST_RETRY_AFTER_S = 60.0
"""A server that asks for more patience is asked again after this."""
LOOK_S = 10.0
"""Longest that a live server takes to list its models."""
POLL_S = 0.5
KEEP_ALIVE_S = 4.0
"""Below the 5 s after which vLLM closes an idle connection."""
PASSING = (408, 409, 425, 429)
"""Refusals that another attempt may overcome, as any status from 500 on."""
UNAVAILABLE = (502, 503, 504)
"""A proxy without its server, or a server that is still loading."""


class Refused(Exception):
    """The server will not do what it was asked, and says why."""

    def __init__(self, url: str, status: int, said: str) -> None:
        super().__init__(f"{url} answered HTTP {status}: {said}")
        self.url, self.status, self.said = url, status, said


class Fault(Exception):
    """An attempt failed in a way that may pass.

    Args:
        kind: under which it is counted.
        what: what the server did, as the end of a sentence that begins with its address.
        doubtful: whether the server may be dead.
        untouched: whether the request never got to the model.
    """

    def __init__(
        self, kind: str, what: str, *, doubtful: bool = False, untouched: bool = False
    ) -> None:
        super().__init__(what)
        self.kind, self.doubtful, self.untouched = kind, doubtful, untouched
        self.retry_after_s: float | None = None


class Servers:
    """The servers of one model as one event loop reaches them.

    Args:
        urls: their addresses.
        key: sent to each of them; without one the word `none` is sent.
        timeout_s: most time for one attempt, from connecting to the last byte.
        retries: further attempts after a fault.
        wait_s: most time without any server.
        max_in_flight: most requests under way, to all servers together.
        counts: `requests` sent, `retried_KIND`, `gave_up_KIND`, and `outages` of a server.
    """

    def __init__(
        self,
        urls: Sequence[str],
        key: str | None,
        *,
        timeout_s: float,
        retries: int,
        wait_s: float,
        max_in_flight: int,
        counts: Counter[str],
    ) -> None:
        self._aiohttp = aiohttp = import_aiohttp()
        self.replicas = [Replica(url, _proxy(url)) for url in urls]
        self._key, self._timeout_s, self._counts = key, timeout_s, counts
        self._retries, self._wait_s = retries, wait_s
        self._slots = asyncio.Semaphore(max_in_flight)
        self._queued = self._asked = 0
        self._queued_s = self._in_flight_s = 0.0
        self._no_vllm: set[str] = set()  # servers without the metrics of one
        self._looks: set[asyncio.Task[Any]] = set()
        self.learning = asyncio.Lock()
        self._one_is_up = asyncio.Event()
        self._deadline = 0.0  # of an outage of all servers
        self._session: Any = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Authorization": f"Bearer {key or 'none'}",
                "Content-Type": "application/json",
            },
        )

    async def close(self) -> None:
        """Stop looking for servers and close the connections."""
        for look in self._looks:
            look.cancel()
        await self._session.close()

    async def ask(
        self,
        path: str,
        body: Json | None,
        read: Callable[[Json], T],
        *,
        prefix: str = "",
        at: Replica | None = None,
    ) -> T:
        """What `read` makes of the reply to one request.

        Args:
            path: behind the server's address; one that begins with / is beside its /v1.
            body: sent by POST; None asks by GET.
            read: raises `Fault` where the reply is not sound.
            prefix: how the request begins; those that begin alike go to one server.
            at: the only server to ask.

        Raises:
            Refused: the server says no.
            EngineError: every attempt failed, or no server has ever answered.
            ServerLost: no server has answered for `wait_s`.
        """
        data = None if body is None else json.dumps(body).encode()
        failed = 0
        await self._take_slot()
        try:
            while True:
                replica = await self._pick(prefix, at)
                try:
                    return await self._attempt(replica, path, data, read)
                except Fault as fault:
                    replica.trouble = str(fault)
                    dead = fault.doubtful and not await self._answers(replica)
                    if dead and fault.untouched:
                        continue
                    failed += 1
                    if failed > self._retries:
                        self._counts[f"gave_up_{fault.kind}"] += 1
                        raise EngineError(_gave_up(replica, fault, failed)) from fault
                    self._counts[f"retried_{fault.kind}"] += 1
                    await asyncio.sleep(pause_s(failed, fault.retry_after_s))
        finally:
            self._slots.release()

    async def page(self, path: str) -> str | None:
        """The text of a page beside /v1; "" where there is none, None where nothing answers."""
        replica = next((each for each in self.replicas if not each.down), self.replicas[0])
        url = replica.url.removesuffix("/v1") + path
        try:
            async with self._send(replica, url, None) as response:
                if response.status >= 500:
                    return None
                return await response.text(errors="replace") if response.status == 200 else ""
        except (self._aiohttp.ClientError, OSError):
            return None

    async def traffic(self) -> Traffic:
        """What is under way, and the load of each server that is up and says it."""
        asked = [each for each in self.replicas if not (each.down or each.url in self._no_vllm)]
        loads = await asyncio.gather(*map(self._load, asked))
        return Traffic(
            in_flight=sum(each.in_flight for each in self.replicas),
            queued=self._queued,
            asked=self._asked,
            in_flight_s=self._in_flight_s,
            queued_s=self._queued_s,
            servers={server.url: load for server, load in zip(asked, loads, strict=True) if load},
        )

    async def _load(self, replica: Replica) -> Load | None:
        timeout = self._aiohttp.ClientTimeout(total=LOOK_S)
        url = replica.url.removesuffix("/v1") + "/metrics"
        try:
            async with self._send(replica, url, None, timeout=timeout) as response:
                text, status = await response.text(errors="replace"), response.status
        except (self._aiohttp.ClientError, OSError):
            return None
        load = read_load(text) if status == 200 else None
        if load is None and status < 500:
            self._no_vllm.add(replica.url)
        return load

    async def _take_slot(self) -> None:
        """Wait until fewer than `max_in_flight` requests are under way."""
        since = perf_counter()
        self._asked += 1
        self._queued += 1
        try:
            await self._slots.acquire()
        finally:
            self._queued -= 1
            self._queued_s += perf_counter() - since

    # one attempt

    async def _attempt(
        self, replica: Replica, path: str, data: bytes | None, read: Callable[[Json], T]
    ) -> T:
        url = replica.url.removesuffix("/v1") + path if path[0] == "/" else f"{replica.url}/{path}"
        self._counts["requests"] += data is not None
        replica.in_flight += 1
        since = perf_counter()
        waits: float | None = None
        try:
            async with self._send(replica, url, data) as response:
                waits = retry_after_s(response.headers)
                raw = await response.read()
            replica.answered |= response.status not in UNAVAILABLE
            self._check_status(replica, response.status, raw)
            return read(_json(raw))
        except Fault as fault:
            fault.retry_after_s = waits
            raise
        except (self._aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise self._broken(error) from error
        finally:
            replica.in_flight -= 1
            self._in_flight_s += perf_counter() - since

    def _send(self, replica: Replica, url: str, data: bytes | None, **options: Any) -> Any:
        method = "GET" if data is None else "POST"
        return self._session.request(method, url, data=data, proxy=replica.proxy, **options)

    def _check_status(self, replica: Replica, status: int, raw: bytes) -> None:
        if status < 400:
            return
        said = _said(raw)
        if self._key:
            said = said.replace(self._key, "***")
        if status in UNAVAILABLE:
            raise Fault(
                str(status), f"answered HTTP {status}: {said}", doubtful=True, untouched=True
            )
        if status in PASSING or status >= 500:
            raise Fault(str(status), f"answered HTTP {status}: {said}")
        raise Refused(replica.url, status, said)

    def _broken(self, error: Exception) -> Fault:
        """What became of a connection, as a fault."""
        aiohttp = self._aiohttp
        if isinstance(error, TimeoutError):
            return Fault("timeout", f"did not answer within {self._timeout_s:g} s", doubtful=True)
        if isinstance(error, aiohttp.ClientConnectorError):
            return Fault(
                "unreachable", f"cannot be reached ({error})", doubtful=True, untouched=True
            )
        if isinstance(error, aiohttp.ClientPayloadError):
            return Fault("half_reply", "sent half a reply", doubtful=True)
        return Fault("disconnected", f"broke the connection ({error})", doubtful=True)

    # which server, and whether there is one

    async def _pick(self, prefix: str, at: Replica | None) -> Replica:
        """The server to ask; where none is up, once one is again."""
        asked = self.replicas if at is None else [at]
        while True:
            up = [each for each in asked if not each.down]
            if up:
                return choose(up, prefix)
            if at is not None or not any(each.answered for each in asked):
                raise EngineError(
                    f"{asked[0].url} {asked[0].trouble}; "
                    "check that the server runs and that base_url is right."
                )
            try:
                async with asyncio.timeout_at(self._deadline):
                    await self._one_is_up.wait()
            except TimeoutError:
                raise ServerLost(
                    f"{_names(asked)} did not come back within {_minutes(self._wait_s)} "
                    f"({asked[0].trouble}); start the server again, then resume the run."
                ) from None

    async def _answers(self, replica: Replica) -> bool:
        """Whether a doubtful server answers at all; the first to find it dead says so."""
        if replica.down:
            return False
        if replica.looking is None:
            replica.looking = self._in_background(self._look(replica))
        return await asyncio.shield(replica.looking)

    async def _look(self, replica: Replica) -> bool:
        alive = await self._lists_models(replica)
        replica.looking = None
        if not alive:
            replica.down = True
            self._begin_outage(replica)
        return alive

    def _begin_outage(self, replica: Replica) -> None:
        others = [each for each in self.replicas if not each.down]
        if others:
            log.warning("%s does not answer; going on with %s.", replica.url, _names(others))
        elif any(each.answered for each in self.replicas):
            wait = _minutes(self._wait_s)
            log.warning("%s does not answer; waiting up to %s for it to return.", replica.url, wait)
        if not others:
            self._one_is_up.clear()
            self._deadline = asyncio.get_running_loop().time() + self._wait_s
        self._counts["outages"] += 1
        self._in_background(self._poll(replica))

    async def _poll(self, replica: Replica) -> None:
        """Look until the server answers; the one look for all who wait."""
        clock = asyncio.get_running_loop().time
        since = clock()
        while True:
            await asyncio.sleep(POLL_S)
            if await self._lists_models(replica):
                break
        replica.down = False
        self._one_is_up.set()
        log.warning("%s answers again, after %.0f s.", replica.url, clock() - since)

    def _in_background(self, look: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(look)
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)
        return task

    async def _lists_models(self, replica: Replica) -> bool:
        """Whether the server says anything, if only that it has no list of models."""
        timeout = self._aiohttp.ClientTimeout(total=LOOK_S)
        try:
            url = f"{replica.url}/models"
            async with self._send(replica, url, None, timeout=timeout) as response:
                return response.status not in UNAVAILABLE
        except (self._aiohttp.ClientError, OSError):
            return False


def pause_s(failed: int, retry_after: float | None) -> float:
    """How long to wait after the n-th failure, with jitter so that requests do not march.

    Jitter decides no result, so it has no seed.
    """
    if retry_after is not None:
        return min(retry_after, LONGEST_RETRY_AFTER_S) * random.uniform(1.0, 1.25)
    longest = min(FIRST_PAUSE_S * 2 ** (failed - 1), LONGEST_PAUSE_S)
    return longest * random.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What the server asks for: in milliseconds, in seconds, or until a date."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "retry-after" not in headers:
            return None
        value = headers["retry-after"]
        if value[:1].isdigit():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None


def import_aiohttp() -> Any:
    """The HTTP client.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("aiohttp")
    except ImportError as cause:
        raise ConfigError(
            "The openai engine needs aiohttp, which is not installed; "
            "run: pip install 'agentsearch[openai]'"
        ) from cause


def excerpt(value: object) -> str:
    """The beginning of a text, on one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


def _json(raw: bytes) -> Json:
    try:
        reply = json.loads(raw)
    except ValueError as error:
        raise Fault("malformed", f"sent a reply that is no JSON ({error})") from error
    if not isinstance(reply, dict):
        raise Fault("malformed", f"sent a reply that is no JSON object: {excerpt(reply)}")
    return reply


def _said(raw: bytes) -> str:
    """What the server gave as its reason."""
    text = raw.decode("utf-8", "replace")
    try:
        said: Any = json.loads(text)
    except ValueError:
        return excerpt(text)
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    return excerpt(said)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address; aiohttp's own way reads netrc too."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _gave_up(replica: Replica, fault: Fault, attempts: int) -> str:
    tried = f"{attempts} attempt" + "s" * (attempts > 1)
    remedy = "look at the server's log"
    if fault.kind == "timeout":
        remedy = "raise timeout_s, lower max_in_flight, or look at the server's load"
    return f"{replica.url} {fault}, in {tried}; {remedy}."


def _names(replicas: Sequence[Replica]) -> str:
    return ", ".join(each.url for each in replicas)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} s"
