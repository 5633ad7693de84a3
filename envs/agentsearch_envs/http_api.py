"""Any of our environments over HTTP, for trainers that run in another process.

    app = application(BabyAIText())      # then any ASGI server; `agentsearch play ENV --api`

The calls are create, reset, step, observation and close, as in AgentGym's servers (Xi et
al., 2024, arXiv 2406.04151) and OpenEnv's, and beside them snapshot and restore: states are
values, so that going back costs nothing. Tasks are listed and episodes judged, so that a
search can run in another process, too (`over_http.py`). `docs/environments/http.md` has
every call.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import reprlib
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from itertools import takewhile
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from agentsearch.errors import AgentSearchError, ConfigError, EnvError, boundary, did_you_mean
from agentsearch.protocols import Environment
from agentsearch.types import Step, Task, Trajectory, Turn

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
MAX_BODY = 1 << 20  # bytes of a request
LONGEST_ERROR = 500  # characters
LONGEST_LIST = 100  # tasks of one call

log = logging.getLogger(__name__)


def application(
    env: Environment[Any],
    *,
    max_sessions: int = 1000,
    timeout_s: float = 1800.0,
    max_snapshots: int = 1000,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """One environment as an ASGI application.

    Args:
        env: what is served; sessions share it, and nothing else.
        max_sessions: most sessions open at once.
        timeout_s: seconds without a call after which a session is closed.
        max_snapshots: most snapshots of a session; the least recently used is dropped.
        clock: seconds that only grow.

    Raises:
        ConfigError: a limit that leaves nothing to serve.
    """
    for name, limit in (
        ("max_sessions", max_sessions),
        ("timeout_s", timeout_s),
        ("max_snapshots", max_snapshots),
    ):
        if not limit > 0:
            raise ConfigError(f"{name}={limit}: must be more than 0.")
    server = Server(env, max_sessions, timeout_s, max_snapshots, clock)
    return Starlette(
        routes=[
            Route("/", got(Nothing, server.describe)),
            Route("/health", got(Nothing, server.health)),
            Route("/tasks", got(Listing, server.listing)),
            Route("/observation", got(InSession, server.observation)),
            Route("/create", posted(Nothing, server.create), methods=["POST"]),
            Route("/reset", posted(Reset, server.reset), methods=["POST"]),
            Route("/step", posted(Act, server.step), methods=["POST"]),
            Route("/snapshot", posted(InSession, server.snapshot), methods=["POST"]),
            Route("/restore", posted(Restore, server.restore), methods=["POST"]),
            Route("/close", posted(InSession, server.close), methods=["POST"]),
            Route("/verify", posted(Judge, server.verify), methods=["POST"]),
        ],
        exception_handlers={
            Refused: refused,
            AgentSearchError: failed,
            HTTPException: not_a_call,
            ClientDisconnect: nobody_listens,
            Exception: crashed,
        },
    )


# -- requests --------------------------------------------------------------------------


class Nothing(BaseModel):
    """A request without fields. Descriptions of fields stand in the errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class InSession(Nothing):
    """A request about a session."""

    id: str = Field(description="the id that /create gave")


class Listing(Nothing):
    """Some tasks of a split."""

    split: Split = Field("train", description="train, dev or test")
    start: int = Field(0, ge=0, description="a whole number, the index of the first task")
    count: int = Field(
        LONGEST_LIST, ge=1, le=LONGEST_LIST, description=f"a whole number from 1 to {LONGEST_LIST}"
    )


class Start(Nothing):
    """Where an episode begins."""

    task: str | int = Field(description="a task id, or its index in the split")
    split: Split = Field("train", description="train, dev or test")
    seed: int = Field(0, ge=0, lt=1 << 63, description="a whole number from 0 to 2**63 - 1")


class Reset(Start, InSession):
    """Begin the episode of a task."""


class Judge(Start):
    """An episode from its start."""

    actions: list[str] = Field(description="a list of texts")


class Act(InSession):
    """Take an action."""

    action: str = Field(description="a text")


class Restore(InSession):
    """Go back."""

    snapshot: str = Field(description="the name that /snapshot gave")


class Refused(Exception):
    """A request that is not carried out: a status, and one sentence for the caller."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


Asked = TypeVar("Asked", bound=Nothing)
Answer = Callable[[Asked], Awaitable[dict[str, Any]]]
Endpoint = Callable[[Request], Awaitable[Response]]


def posted(model: type[Asked], answer: Answer[Asked]) -> Endpoint:
    """The endpoint of a call whose fields are a JSON object; no body at all is an empty one."""

    async def endpoint(request: Request) -> Response:
        body = await body_of(request)
        with in_sentences(model):
            asked = model.model_validate_json(body or b"{}")
        return as_json(await answer(asked))

    return endpoint


def got(model: type[Asked], answer: Answer[Asked]) -> Endpoint:
    """The endpoint of a call whose fields stand in the address."""

    async def endpoint(request: Request) -> Response:
        with in_sentences(model):
            asked = model.model_validate_strings(dict(request.query_params))
        return as_json(await answer(asked))

    return endpoint


async def body_of(request: Request) -> bytes:
    """The body, read no further than its limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused(413, f"The body is too long; at most {MAX_BODY:,} bytes are read.")
    return bytes(body)


@contextmanager
def in_sentences(model: type[Nothing]) -> Generator[None]:
    """Say in a sentence what is wrong with a request."""
    try:
        yield
    except ValidationError as error:
        raise Refused(400, what_is_wrong(error, model)) from None


def what_is_wrong(error: ValidationError, model: type[Nothing]) -> str:
    """The first thing that is wrong with a request, and what it should be."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return f"The body is not JSON ({first.get('ctx', {}).get('error')})."
    if not first["loc"]:
        return f"The body must be a JSON object, not {reprlib.repr(first['input'])}."
    name, fields = str(first["loc"][0]), model.model_fields
    if first["type"] == "extra_forbidden":
        known = f"The fields are: {', '.join(fields)}." if fields else "There are no fields."
        return f"{reprlib.repr(name)} is no field here.{did_you_mean(name[:80], fields)} {known}"
    meaning = fields[name].description
    if first["type"] == "missing":
        return f"{name!r} is missing; it is {meaning}."
    return f"{name!r} must be {meaning}, not {reprlib.repr(first['input'])}."


# -- replies ---------------------------------------------------------------------------


def as_json(reply: dict[str, Any], status: int = 200) -> Response:
    """A reply; what is not ASCII is escaped, so that half a surrogate pair does no harm."""
    text = json.dumps(reply, allow_nan=False)
    return Response(text, status, media_type="application/json")


def sentence(error: Exception | str, status: int) -> Response:
    """An error on one line."""
    text = " ".join(str(error).split())
    cut = text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."
    return as_json({"error": cut}, status)


async def refused(request: Request, error: Exception) -> Response:
    """What the caller can put right."""
    return sentence(error, getattr(error, "status", 400))


async def failed(request: Request, error: Exception) -> Response:
    """The environment raised; the session stands where it stood."""
    log.error("%s: %s", request.url.path, error, exc_info=error)
    return sentence(error, 500)


async def not_a_call(request: Request, error: Exception) -> Response:
    """An address or method that is not served."""
    assert isinstance(error, HTTPException)
    reply = sentence(
        f"{request.method} {request.url.path[:80]} is no call here; GET / lists the calls.",
        error.status_code,
    )
    reply.headers.update(error.headers or {})
    return reply


async def nobody_listens(request: Request, error: Exception) -> Response:
    """The caller went away before the request was complete."""
    return sentence("The request was not complete.", 400)


async def crashed(request: Request, error: Exception) -> Response:
    """A bug of ours; the server logs it."""
    return sentence(f"The server failed ({type(error).__name__}); its log says where.", 500)


# -- the server ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """Where an episode stands: all that a snapshot has to keep."""

    task: Task
    last: Step[Any]
    steps: int = 0

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self.last.terminated or self.last.truncated


@dataclass(slots=True, eq=False)
class Session:
    """One caller's episode and snapshots, the least recently used first.

    `used` is when it was last called.
    """

    used: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    moment: Moment | None = None
    snapshots: dict[str, Moment] = field(default_factory=dict[str, Moment])
    taken: int = 0

    @property
    def now(self) -> Moment:
        """Where the episode stands.

        Raises:
            Refused: none has begun.
        """
        if self.moment is None:
            raise Refused(409, "No episode has begun in this session; call /reset first.")
        return self.moment


class Server:
    """The sessions over one environment; calls of one session wait for each other."""

    def __init__(
        self,
        env: Environment[Any],
        max_sessions: int,
        timeout_s: float,
        max_snapshots: int,
        clock: Callable[[], float],
    ) -> None:
        self.env = env
        self.max_sessions = max_sessions
        self.timeout_s = timeout_s
        self.max_snapshots = max_snapshots
        self.clock = clock
        self.sessions: dict[str, Session] = {}  # the longest unused one first
        self.tasks = {split: Tasks(env.tasks(split), split) for split in SPLITS}

    async def describe(self, asked: Nothing) -> dict[str, Any]:
        """What is served."""
        spec = self.env.spec
        return {
            "env": spec.id,
            "version": spec.version,
            "max_steps": spec.max_steps,
            "actions": spec.actions,
            "reversible": spec.reversible,
            "mode": spec.mode,
            "about": spec.about,
            "answers": hasattr(self.env, "answer"),
            "splits": {split: len(each.tasks) for split, each in self.tasks.items()},
            "limits": {
                "max_sessions": self.max_sessions,
                "timeout_s": self.timeout_s,
                "max_snapshots": self.max_snapshots,
                "max_body": MAX_BODY,
            },
            "calls": {
                "GET": ["/", "/health", "/tasks", "/observation"],
                "POST": [
                    "/create",
                    "/reset",
                    "/step",
                    "/snapshot",
                    "/restore",
                    "/close",
                    "/verify",
                ],
            },
        }

    async def health(self, asked: Nothing) -> dict[str, Any]:
        """That the server answers, and how full it is."""
        self.expire()
        return {"status": "healthy", "sessions": len(self.sessions)}

    async def listing(self, asked: Listing) -> dict[str, Any]:
        """Tasks with their ids and prompts, from `start` on; fewer at the end of the split."""
        tasks = self.tasks[asked.split].tasks
        listed: list[dict[str, str]] = []
        with boundary(EnvError, "tasks"):
            for index in range(asked.start, min(asked.start + asked.count, len(tasks))):
                task = tasks[index]
                listed.append({"id": task.id, "prompt": task.prompt})
                await asyncio.sleep(0)  # a task may be a whole world to make
        return {"split": asked.split, "start": asked.start, "tasks": listed}

    async def create(self, asked: Nothing) -> dict[str, Any]:
        """Open a session."""
        self.expire()
        if len(self.sessions) >= self.max_sessions:
            raise Refused(
                429,
                f"All {self.max_sessions} sessions are in use; /close one, or wait until one has "
                f"been idle for {self.timeout_s:g} s.",
            )
        name = secrets.token_hex(8)
        self.sessions[name] = Session(self.clock())
        return {"id": name}

    async def reset(self, asked: Reset) -> dict[str, Any]:
        """Begin an episode."""
        async with self.session(asked.id) as session:
            moment = await self.started(asked)
            reply = self.with_task(moment)
            session.moment = moment
            return reply

    async def step(self, asked: Act) -> dict[str, Any]:
        """Take an action; after `max_steps` of them, valid or not, the episode is truncated."""
        async with self.session(asked.id) as session:
            before = session.now
            if before.done:
                raise Refused(
                    409, "The episode has ended; /reset begins another, /restore goes back."
                )
            moment = await self.after(before, asked.action)
            reply = self.seen(moment)
            session.moment = moment
            return reply

    async def observation(self, asked: InSession) -> dict[str, Any]:
        """What the last call left, once more."""
        async with self.session(asked.id) as session:
            return self.with_task(session.now)

    async def snapshot(self, asked: InSession) -> dict[str, Any]:
        """Keep this moment under a name; the least recently used makes room for it."""
        async with self.session(asked.id) as session:
            moment = session.now
            session.taken += 1
            name = f"{asked.id}.{session.taken}"
            session.snapshots[name] = moment
            if len(session.snapshots) > self.max_snapshots:
                del session.snapshots[next(iter(session.snapshots))]
            return {"snapshot": name}

    async def restore(self, asked: Restore) -> dict[str, Any]:
        """Go to a moment that was kept, in this session or another; it stays kept."""
        async with self.session(asked.id) as session:
            moment = self.kept(asked.snapshot)
            reply = self.with_task(moment)
            session.moment = moment
            return reply

    async def verify(self, asked: Judge) -> dict[str, Any]:
        """Play the actions from the start and ask the verifier; what follows the end is ignored."""
        moment, turns = await self.started(asked), list[Turn]()
        for action in asked.actions:
            if moment.done:
                break
            observation = self.look("observe", moment)
            moment = await self.after(moment, action)
            turns.append(Turn(observation, action, moment.last.reward))
        last, final = moment.last, self.look("observe", moment)
        path = Trajectory(moment.task.id, tuple(turns), last.terminated, last.truncated, final)
        with boundary(EnvError, "verify"):
            return asdict(await self.env.verifier.verify(moment.task, path, last.state))

    async def close(self, asked: InSession) -> dict[str, Any]:
        """End a session, without waiting for a step that hangs."""
        self.expire()
        if self.sessions.pop(asked.id, None) is None:
            raise self.unknown(asked.id)
        return {"closed": True}

    # what the calls share

    async def started(self, asked: Start) -> Moment:
        """The moment after a reset."""
        task = await self.tasks[asked.split].find(asked.task)
        with boundary(EnvError, "reset"):
            return Moment(task, Step(await self.env.reset(task, seed=asked.seed)))

    async def after(self, before: Moment, action: str) -> Moment:
        """The moment after an action."""
        with boundary(EnvError, "step"):
            step = await self.env.step(before.last.state, action)
        steps = before.steps + 1
        late = steps >= self.env.spec.max_steps and not step.terminated
        step = replace(step, truncated=step.truncated or late)
        return Moment(before.task, step, steps)

    def kept(self, name: str) -> Moment:
        """The moment of a snapshot, which counts as used now, and so does its session.

        Raises:
            Refused: there is none.
        """
        owner = name.partition(".")[0]
        session = self.sessions.get(owner)
        if session is None or name not in session.snapshots:
            raise Refused(
                410,
                f"There is no snapshot {reprlib.repr(name)}: it was never taken, its session is "
                f"closed, or {self.max_snapshots:,} others were used since.",
            )
        self.touch(owner, session)
        moment = session.snapshots[name] = session.snapshots.pop(name)
        return moment

    def look(self, what: str, moment: Moment) -> Any:
        """What a plain method of the environment says of a moment."""
        with boundary(EnvError, what):
            return getattr(self.env, what)(moment.last.state)

    def seen(self, moment: Moment) -> dict[str, Any]:
        """What an agent sees and a trainer is paid; rewards are shown, for they are what it is for.

        The verifier is not asked, but by `/verify` alone.
        """
        last = moment.last
        if not math.isfinite(last.reward):
            raise EnvError(f"The reward is {last.reward}, which is no finite number.")
        legal = self.look("legal_actions", moment)
        answers = moment.done and hasattr(self.env, "answer")
        return {
            "observation": self.look("observe", moment),
            "legal_actions": None if legal is None else list(legal),
            "key": written(self.look("key", moment)),
            "answer": self.look("answer", moment) if answers else None,
            "reward": float(last.reward),
            "terminated": last.terminated,
            "truncated": last.truncated,
            "done": moment.done,
            "valid": last.valid,
            "steps": moment.steps,
        }

    def with_task(self, moment: Moment) -> dict[str, Any]:
        """The same, with the task it belongs to."""
        return {"task": moment.task.id, "prompt": moment.task.prompt, **self.seen(moment)}

    @asynccontextmanager
    async def session(self, name: str) -> AsyncGenerator[Session]:
        """The session of that id, for one call at a time.

        Raises:
            Refused: there is none, or it is closed while the call waits for its turn.
        """
        self.expire()
        session = self.sessions.get(name)
        if session is None:
            raise self.unknown(name)
        async with session.lock:
            if not self.touch(name, session):
                raise self.unknown(name)
            try:
                yield session
            finally:
                self.touch(name, session)

    def touch(self, name: str, session: Session) -> bool:
        """Note that a session is used now; False where it is closed."""
        if self.sessions.get(name) is not session:
            return False
        session.used = self.clock()
        self.sessions[name] = self.sessions.pop(name)
        return True

    def expire(self) -> None:
        """Close the sessions that have been idle for too long; one at work is not idle."""
        oldest = self.clock() - self.timeout_s
        for name in list(takewhile(lambda each: self.sessions[each].used < oldest, self.sessions)):
            if not self.sessions[name].lock.locked():
                del self.sessions[name]

    def unknown(self, name: str) -> Refused:
        """The error of an id that stands for no session."""
        return Refused(
            404,
            f"There is no session {reprlib.repr(name)}: it was never made, was closed, or had no "
            f"call for {self.timeout_s:g} s.",
        )


def written(key: object) -> str | None:
    """A key as a text that equal keys share; None where it is no plain data."""
    try:
        return hashlib.sha256(_plain(key).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    except TypeError:
        return None


def _plain(key: object) -> str:
    """Equal for equal keys in any process, as `repr` is for the simple types.

    Raises:
        TypeError: a type of which that is not known.
    """
    if key is None or isinstance(key, str | bytes | int | float | Fraction):
        return repr(key)
    if isinstance(key, tuple):
        return f"({','.join(map(_plain, cast(tuple[object, ...], key)))})"
    if isinstance(key, frozenset):
        return f"{{{','.join(sorted(map(_plain, cast(frozenset[object], key))))}}}"
    if is_dataclass(key) and not isinstance(key, type):
        return _plain(tuple(getattr(key, each.name) for each in fields(key) if each.compare))
    raise TypeError(type(key).__name__)


class Tasks:
    """The tasks of a split, by id or index.

    Ids are learnt as far as they are asked for: a task may be a whole world to make.
    """

    def __init__(self, tasks: Sequence[Task], split: str) -> None:
        self.tasks = tasks
        self.split = split
        self.places: dict[str, int] = {}
        self.learnt = 0

    async def find(self, wanted: str | int) -> Task:
        """The task of an id or index.

        Raises:
            Refused: there is none.
        """
        with boundary(EnvError, "tasks"):
            if isinstance(wanted, str):
                await self.learn(wanted)
                wanted = self.places.get(wanted, wanted)
            if isinstance(wanted, int) and 0 <= wanted < len(self.tasks):
                return self.tasks[wanted]
        raise Refused(
            404,
            f"Split {self.split!r} has no task {reprlib.repr(wanted)}; "
            f"it has {len(self.tasks):,} tasks, counted from 0.",
        )

    async def learn(self, wanted: str) -> None:
        """Learn ids up to the wanted one; other calls are served meanwhile."""
        while wanted not in self.places and self.learnt < len(self.tasks):
            index, self.learnt = self.learnt, self.learnt + 1
            self.places[self.tasks[index].id] = index
            await asyncio.sleep(0)
