"""Worlds that only go on, made into environments whose states are values.

Search goes back to earlier states all the time; a game, a browser or a server holds one
episode, and every step changes it. Two wrappers give such a world the way back. Both are
environments, and where nothing is lost their trees are the same:

    Replayed(world)      resets a session and takes the same actions again
    Snapshotted(world)   restores a snapshot, and replays only where there is none

A `World` is what they wrap: tasks, a verifier, and as many `Session`s as are asked for. A
session is lent to one step at a time. Every step taken again is charged (`Step.replayed`).
What a session shows on its way back must be what was seen the first time, its key included;
where it is not, the branch is stale (`Step.stale`), and no session is sent there again.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from agentsearch.errors import ConfigError
from agentsearch.protocols import Verifier
from agentsearch.types import EnvSpec, Step, Task, path_text

T = TypeVar("T")

SHOWN = 80  # characters of a value or a path in a message
FROM_TEXT = ("suggestions", "rule", "rules")  # what needs no state, but a context

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a session shows after a reset, an action or a restore.

    Attributes:
        reward, terminated, truncated, valid: as in `Step`.
        legal_actions: None where actions are open.
        key: equal where the future is equal, within a task; None where that is not known,
            and then states are equal that the same seed and actions lead to.
        answer: what the finished episode answers, in a world with `answers`.
    """

    observation: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    valid: bool = True
    legal_actions: tuple[str, ...] | None = None
    key: Hashable = None
    answer: str = ""


class Session(Protocol):
    """One episode at a time. A session that raises is closed and never used again.

    Optional are snapshots, see `Saves`.
    """

    async def reset(self, task: Task, *, seed: int) -> Seen:
        """Begin an episode, whatever was done before; task and seed fix it."""
        ...

    async def step(self, action: str) -> Seen:
        """Take an action; one that is not valid changes nothing."""
        ...

    async def close(self) -> None:
        """Give back what the session holds."""
        ...


@runtime_checkable
class Saves(Protocol):
    """A session with snapshots, which any session of its world can restore, at any time."""

    async def snapshot(self) -> Any:
        """This moment of the episode; what is done afterwards does not change it."""
        ...

    async def restore(self, snapshot: Any) -> Seen:
        """Go to that moment; shows what was shown when it was new.

        Raises:
            SnapshotGone: it is not kept any more.
        """
        ...


class SnapshotGone(Exception):
    """A snapshot that its world has dropped; the state is then replayed."""


class World(Protocol):
    """What the wrappers wrap.

    Optional: `suggestions`, `rule` and `rules`, as for an environment, and `answers = True`
    where `Seen.answer` is told at the end of an episode.
    """

    @property
    def spec(self) -> EnvSpec:
        """As for an environment; `instant` only where no session ever waits."""
        ...

    @property
    def verifier(self) -> Verifier:
        """As for an environment."""
        ...

    def tasks(self, split: str) -> Sequence[Task]:
        """As for an environment."""
        ...

    def session(self) -> Session:
        """A new session, which shares nothing that changes with any other."""
        ...


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Episode:
    """What is remembered of the states that one reset led to, each named by its actions.

    Attributes:
        snapshots: least recently used first.
        stale: states that could not be reached again, with what had changed.
    """

    snapshots: dict[tuple[str, ...], Any] = field(default_factory=dict[tuple[str, ...], Any])
    stale: dict[tuple[str, ...], str] = field(default_factory=dict[tuple[str, ...], str])

    def __reduce__(self) -> tuple[type[_Episode], tuple[()]]:
        return _Episode, ()  # a state that is copied or pickled leaves this behind


@dataclass(frozen=True, slots=True)
class LiveState:
    """A moment of an episode; equal to another with the same key.

    Attributes:
        seen: what was shown when it was first reached.
        before: the state that the last action left; None after the reset.
    """

    key: Hashable
    task: Task = field(compare=False)
    seed: int = field(compare=False)
    actions: tuple[str, ...] = field(compare=False)
    seen: Seen = field(compare=False)
    before: LiveState | None = field(compare=False, repr=False)
    episode: _Episode = field(compare=False, repr=False)

    @property
    def done(self) -> bool:
        """Whether the episode has ended here."""
        return self.seen.terminated or self.seen.truncated

    def path(self) -> list[LiveState]:
        """From the reset to here, both included."""
        states: list[LiveState] = []
        state: LiveState | None = self
        while state is not None:
            states.append(state)
            state = state.before
        return states[::-1]


@dataclass(slots=True, eq=False)
class _Open:
    """An open session and where it stands.

    Attributes:
        episode: whose it is, or was last; None before its first.
        actions: taken since the reset; None where it stands in no known state.
        steps: taken since it was lent.
    """

    session: Session
    episode: weakref.ref[_Episode] | None = None
    actions: tuple[str, ...] | None = None
    steps: int = 0
    busy: bool = False

    def lend(self, episode: _Episode) -> None:
        """Give it to an episode; where it stood in another means nothing there."""
        if not self.belongs_to(episode):
            self.episode, self.actions = weakref.ref(episode), None
        self.busy, self.steps = True, 0

    def belongs_to(self, episode: _Episode) -> bool:
        """Whether it was lent to that episode last."""
        return self.episode is not None and self.episode() is episode

    def depth(self, state: LiveState) -> int:
        """How many of the actions that lead to `state` it has taken; -1 where it must reset."""
        taken = self.actions
        if taken is None or not self.belongs_to(state.episode):
            return -1
        return len(taken) if state.actions[: len(taken)] == taken else -1

    async def reset(self, task: Task, seed: int) -> Seen:
        self.actions = None
        seen = await self.session.reset(task, seed=seed)
        self.actions = ()
        return seen

    async def step(self, action: str) -> Seen:
        stood, self.actions = self.actions or (), None
        self.steps += 1
        seen = await self.session.step(action)
        self.actions = (*stood, action) if seen.valid else stood
        return seen

    async def restore(self, snapshot: Any, actions: tuple[str, ...]) -> Seen:
        assert isinstance(self.session, Saves)
        self.actions = None
        seen = await self.session.restore(snapshot)
        self.actions = actions
        return seen


@dataclass(frozen=True)
class _Live:
    """What both wrappers share: an environment over a pool of sessions.

    Attributes:
        sessions: most open at once; whoever needs one more waits until one is free.
    """

    world: World
    sessions: int = 64
    _pool: list[_Open] = field(default_factory=list[_Open], init=False, repr=False, compare=False)
    _waiting: list[asyncio.Future[None]] = field(
        default_factory=list[asyncio.Future[None]], init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.sessions < 1:
            raise ConfigError(f"sessions={self.sessions}: at least 1 session is needed.")

    def __getattr__(self, name: str) -> Any:
        """What can be told without a session, where the world has it."""
        if name in FROM_TEXT:
            return getattr(self.world, name)
        if name == "answer" and getattr(self.world, "answers", False):
            return _answer
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def spec(self) -> EnvSpec:
        """The world's."""
        return self.world.spec

    @property
    def verifier(self) -> Verifier:
        """The world's."""
        return self.world.verifier

    def tasks(self, split: str) -> Sequence[Task]:
        """The world's."""
        return self.world.tasks(split)

    async def reset(self, task: Task, *, seed: int) -> LiveState:
        """Begin an episode."""
        episode = _Episode()

        async def begin(opened: _Open) -> LiveState:
            state = _first(task, seed, await opened.reset(task, seed), episode)
            await self._keep(opened, state)
            return state

        start, _ = await self._with_session(episode, None, begin)
        return start

    async def step(self, state: LiveState, action: str) -> Step[LiveState]:
        """Bring a session to `state` and take the action.

        Where what is shown on the way is not what it was, the step is invalid, truncated
        and `stale`, and the action is not taken.
        """
        if state.done:
            return _refused(state)

        async def go(opened: _Open) -> Step[LiveState]:
            changed = await self._bring(opened, state)
            if changed:
                return Step(state, truncated=True, valid=False, stale=changed)
            seen = await opened.step(action)
            if not seen.valid:
                return _refused(state)
            after = self._after(state, action, seen)
            await self._keep(opened, after)
            shown = after.seen
            return Step(after, shown.reward, shown.terminated, shown.truncated)

        step, taken = await self._with_session(state.episode, state, go)
        return replace(step, replayed=taken if step.stale else taken - 1)

    def observe(self, state: LiveState) -> str:
        """What the session showed."""
        return state.seen.observation

    def legal_actions(self, state: LiveState) -> tuple[str, ...] | None:
        """What the session offered; nothing once the episode has ended."""
        if state.seen.legal_actions is None:
            return None
        return () if state.done else state.seen.legal_actions

    def key(self, state: LiveState) -> Hashable:
        """Task and the session's own key, or task, seed and actions."""
        return state.key

    async def close(self) -> None:
        """Close all sessions; the next step opens new ones."""
        await asyncio.gather(*map(self._discard, self._pool.copy()))

    def _after(self, state: LiveState, action: str, seen: Seen) -> LiveState:
        """The state after a valid action."""
        actions = (*state.actions, action)
        if len(actions) >= self.spec.max_steps and not seen.terminated:
            seen = replace(seen, truncated=True)
        key = _key(state.task, state.seed, actions, seen)
        return LiveState(key, state.task, state.seed, actions, seen, state, state.episode)

    # -- the way back ------------------------------------------------------------------

    async def _keep(self, opened: _Open, state: LiveState) -> None:
        """See to it that there is a way back to where a session stands now."""

    async def _bring(self, opened: _Open, state: LiveState) -> str:
        """Bring a session to `state`, by replay where it does not stand there.

        Returns:
            What had changed on the way; empty where nothing had.
        """
        ahead = state.path()[opened.depth(state) + 1 :]
        for each in ahead:
            if each.actions in state.episode.stale:
                return state.episode.stale[each.actions]
        for each in ahead:
            again = each.actions[-1:]
            seen = await (opened.step(*again) if again else opened.reset(state.task, state.seed))
            changed = self._changed(opened, each, seen)
            if changed:
                return changed
        return ""

    def _changed(self, opened: _Open, state: LiveState, seen: Seen) -> str:
        """What differs from the first time; the session then stands nowhere."""
        difference = _difference(state.seen, seen)
        if not difference:
            return ""
        opened.actions = None
        path = path_text(state.actions) or "the reset"
        after = path if len(path) <= SHOWN else f"...{path[-SHOWN:]}"
        changed = (
            f"{self.spec.id}: task {state.task.id}, seed {state.seed}, after {after}: {difference}"
        )
        state.episode.stale[state.actions] = changed
        log.warning("not the same a second time: %s", changed)
        return changed

    # -- sessions ----------------------------------------------------------------------

    async def _with_session(
        self, episode: _Episode, state: LiveState | None, work: Callable[[_Open], Awaitable[T]]
    ) -> tuple[T, int]:
        """Work with a session for `state`, and once more with a new one if it raises.

        Returns:
            The result, and how many steps both took.
        """
        steps = 0
        for new in (False, True):
            opened = await self._borrow(episode, state, new)
            try:
                result = await work(opened)
            except BaseException as error:
                await self._discard(opened)
                if new or not isinstance(error, Exception):
                    raise
                steps = opened.steps
                name = type(error).__name__
                log.warning("%s: a session is replaced: %s: %s", self.spec.id, name, error)
            else:
                self._give_back(opened)
                return result, steps + opened.steps
        raise AssertionError("the second time returns or raises")

    async def _borrow(self, episode: _Episode, state: LiveState | None, new: bool) -> _Open:
        """A session that is free, the best one to get to `state`, or a new one."""
        while True:
            opened = await self._renewed() if new else self._choose(episode, state)
            if opened is not None:
                opened.lend(episode)
                return opened
            free = asyncio.get_running_loop().create_future()
            self._waiting.append(free)
            await free

    def _choose(self, episode: _Episode, state: LiveState | None) -> _Open | None:
        """A session to lend now; None where all that may be lent are in use."""
        idle = [each for each in self._pool if not each.busy]
        if state is not None:
            nearest = max(idle, key=lambda each: each.depth(state), default=None)
            if nearest is not None and nearest.depth(state) >= 0:
                return nearest
        return self._spare(episode, idle)

    def _spare(self, episode: _Episode, idle: list[_Open]) -> _Open | None:
        """A session to bring from somewhere else; `idle` has the least recently used first."""
        raise NotImplementedError

    def _opened(self) -> _Open | None:
        """A new session, if one more may be open."""
        if len(self._pool) >= self.sessions:
            return None
        self._pool.append(_Open(self.world.session()))
        return self._pool[-1]

    async def _renewed(self) -> _Open | None:
        """A new session, in the place of an idle one if need be."""
        while len(self._pool) >= self.sessions:
            idle = next((each for each in self._pool if not each.busy), None)
            if idle is None:
                return None
            await self._discard(idle)
        return self._opened()

    def _give_back(self, opened: _Open) -> None:
        """Leave a session to others, as the one used last."""
        opened.busy = False
        if opened in self._pool:  # not where `close` came first
            self._pool.remove(opened)
            self._pool.append(opened)
        self._wake()

    async def _discard(self, opened: _Open) -> None:
        """Close a session for good, whatever state it is in."""
        if opened in self._pool:
            self._pool.remove(opened)
        self._wake()
        with suppress(Exception):
            await opened.session.close()

    def _wake(self) -> None:
        """Let those who wait for a session look again."""
        waiting = self._waiting.copy()
        self._waiting.clear()
        for each in waiting:
            if not each.done():
                each.set_result(None)


@dataclass(frozen=True)
class Replayed(_Live):
    """Goes back by resetting a session and taking the same actions again.

    Each episode keeps sessions of its own as long as there are enough for all, so what is
    charged does not depend on what else runs; going on from where one stands is free.

    Attributes:
        live: most sessions of one episode.
    """

    live: int = 4

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.live < 1:
            raise ConfigError(f"live={self.live}: an episode needs at least 1 session.")

    def _spare(self, episode: _Episode, idle: list[_Open]) -> _Open | None:
        own = [each for each in self._pool if each.belongs_to(episode)]
        if len(own) >= self.live:
            idle = [each for each in idle if each in own]
        else:
            over = [each for each in idle if each.episode is not None and each.episode() is None]
            opened = over[0] if over else self._opened()
            if opened is not None:
                return opened
        return idle[0] if idle else None


@dataclass(frozen=True)
class Snapshotted(_Live):
    """Goes back by restoring snapshots, which costs no steps.

    A state without one is replayed from the nearest state before it that has one: where the
    session offers none, and where it was dropped.

    Attributes:
        snapshots: most kept of one episode; the least recently used is dropped first.
    """

    snapshots: int = 10_000

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.snapshots < 1:
            raise ConfigError(f"snapshots={self.snapshots}: keep at least 1, or use Replayed.")

    async def _keep(self, opened: _Open, state: LiveState) -> None:
        if state.done or not isinstance(opened.session, Saves):
            return
        kept = state.episode.snapshots
        kept[state.actions] = await opened.session.snapshot()
        while len(kept) > self.snapshots:
            del kept[next(iter(kept))]

    async def _bring(self, opened: _Open, state: LiveState) -> str:
        kept = state.episode.snapshots
        for each in reversed(state.path()[opened.depth(state) + 1 :]):
            if each.actions not in kept:
                continue
            snapshot = kept[each.actions] = kept.pop(each.actions)
            try:
                seen = await opened.restore(snapshot, each.actions)
            except SnapshotGone:
                kept.pop(each.actions, None)
                continue
            changed = self._changed(opened, each, seen)
            if changed:
                kept.pop(each.actions, None)
                return changed
            break
        changed = await super()._bring(opened, state)
        if not changed and state.actions not in kept:
            await self._keep(opened, state)
        return changed

    def _spare(self, episode: _Episode, idle: list[_Open]) -> _Open | None:
        return idle[0] if idle else self._opened()


def _first(task: Task, seed: int, seen: Seen, episode: _Episode) -> LiveState:
    """The state after a reset."""
    return LiveState(_key(task, seed, (), seen), task, seed, (), seen, None, episode)


def _key(task: Task, seed: int, actions: tuple[str, ...], seen: Seen) -> Hashable:
    return (task.id, seed, actions) if seen.key is None else (task.id, seen.key)


def _refused(state: LiveState) -> Step[LiveState]:
    """The answer to an action that cannot be carried out."""
    return Step(state, 0.0, state.seen.terminated, state.seen.truncated, valid=False)


def _answer(state: LiveState) -> str:
    """What the finished episode answers, for votes."""
    return state.seen.answer


def _difference(first: Seen, again: Seen) -> str:
    """The first thing that is not as it was; empty if all is."""
    for each in fields(Seen):
        was, now = getattr(first, each.name), getattr(again, each.name)
        if was != now:
            return f"{each.name} was {_short(was)}, is now {_short(now)}"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
