"""Simulators with hidden, mutable state, made into environments whose states are values.

Search goes back to earlier states all the time, and a simulator only goes on. Two wrappers
give it the way back; both are environments, and their trees are the same:

    Snapshotted(world)   a state holds a snapshot, and going back loads it
    Replayed(world)      a state holds its actions, and going back takes them again, from
                         the reset, checking on the way that everything is as it was

A `World` is what they wrap: tasks, a verifier, and as many `Simulator`s as are asked for.
Any number of searches may run at once: each simulator is used by one step at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, runtime_checkable

from agentsearch.errors import ConfigError, EnvError
from agentsearch.protocols import Verifier
from agentsearch.types import EnvSpec, Step, Task, path_text

SHOWN = 80  # characters of a value in an error


@dataclass(frozen=True, slots=True)
class Seen:
    """What a simulator shows after a reset or an action.

    `legal_actions` is None where actions are open. The flags mean what they mean in `Step`.
    """

    observation: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    valid: bool = True
    legal_actions: tuple[str, ...] | None = None


class Simulator(Protocol):
    """A world that holds one episode and changes with every step.

    Task, seed and actions must fix everything it shows. Optional:

        save() -> snapshot, load(snapshot)   else `copy.deepcopy` serves for snapshots
        key() -> Hashable                    equal where the future is equal; else two states
                                             are equal whose task, seed and actions are
    """

    def reset(self, task: Task, *, seed: int) -> Seen:
        """Begin an episode."""
        ...

    def step(self, action: str) -> Seen:
        """Take an action; one that is not valid changes nothing."""
        ...


@runtime_checkable
class Saves(Protocol):
    """A simulator with snapshots of its own, which must not change once they are made."""

    def save(self) -> Any:
        """A snapshot of the episode."""
        ...

    def load(self, snapshot: Any) -> None:
        """Go to the snapshot, whatever this simulator did before."""
        ...


class World(Protocol):
    """What the wrappers wrap."""

    @property
    def spec(self) -> EnvSpec:
        """As for an environment; episodes are truncated at its `max_steps`."""
        ...

    @property
    def verifier(self) -> Verifier:
        """As for an environment."""
        ...

    def tasks(self, split: str) -> Sequence[Task]:
        """As for an environment."""
        ...

    def simulator(self) -> Simulator:
        """A new simulator, which shares nothing that changes with any other."""
        ...


@dataclass(frozen=True, slots=True)
class SimulatorState:
    """A moment of an episode; equal to another with the same key.

    Attributes:
        before: the state that the last action left; None after the reset.
        hold: how to get back here: a snapshot, or the episode's live simulators.
    """

    key: Hashable
    task: Task = field(compare=False)
    seed: int = field(compare=False)
    actions: tuple[str, ...] = field(compare=False)
    seen: Seen = field(compare=False)
    before: SimulatorState | None = field(compare=False, repr=False)
    hold: Any = field(compare=False, repr=False)

    @property
    def done(self) -> bool:
        """Whether the episode has ended here."""
        return self.seen.terminated or self.seen.truncated

    def path(self) -> list[SimulatorState]:
        """From the reset to here, both included."""
        states: list[SimulatorState] = []
        state: SimulatorState | None = self
        while state is not None:
            states.append(state)
            state = state.before
        return states[::-1]


@dataclass(frozen=True)
class Simulated:
    """What both wrappers share: everything but the way back."""

    world: World

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

    def observe(self, state: SimulatorState) -> str:
        """What the simulator showed."""
        return state.seen.observation

    def legal_actions(self, state: SimulatorState) -> tuple[str, ...] | None:
        """What the simulator offered; nothing once the episode has ended."""
        if state.seen.legal_actions is None:
            return None
        return () if state.done else state.seen.legal_actions

    def key(self, state: SimulatorState) -> Hashable:
        """The simulator's own key, or task, seed and actions."""
        return state.key

    def after(
        self, state: SimulatorState, action: str, seen: Seen, simulator: Simulator, hold: Any
    ) -> SimulatorState:
        """The state after a valid action."""
        actions = (*state.actions, action)
        if len(actions) >= self.spec.max_steps and not seen.terminated:
            seen = replace(seen, truncated=True)
        key = _key(simulator, state.task, state.seed, actions)
        return SimulatorState(key, state.task, state.seed, actions, seen, state, hold)


def _first(task: Task, seed: int, seen: Seen, simulator: Simulator, hold: Any) -> SimulatorState:
    """The state after a reset."""
    return SimulatorState(_key(simulator, task, seed, ()), task, seed, (), seen, None, hold)


def _key(simulator: Simulator, task: Task, seed: int, actions: tuple[str, ...]) -> Hashable:
    own = getattr(simulator, "key", None)
    return (task.id, seed, actions) if own is None else (task.id, own())


def _refused(state: SimulatorState, replayed: int = 0) -> Step[SimulatorState]:
    """The answer to an action that cannot be carried out."""
    seen = state.seen
    return Step(state, 0.0, seen.terminated, seen.truncated, valid=False, replayed=replayed)


def _taken(state: SimulatorState, replayed: int = 0) -> Step[SimulatorState]:
    seen = state.seen
    return Step(state, seen.reward, seen.terminated, seen.truncated, replayed=replayed)


# Snapshots


@dataclass(frozen=True, slots=True)
class _Still:
    """A simulator that is never stepped again, but copied."""

    simulator: Simulator


@dataclass(frozen=True)
class Snapshotted(Simulated):
    """Goes back by snapshots: the simulator's own, or deep copies.

    Costs no steps; a deep copy is made for each step where the simulator cannot save.
    """

    _idle: list[Any] = field(default_factory=list[Any], init=False, repr=False, compare=False)

    async def reset(self, task: Task, *, seed: int) -> SimulatorState:
        """Begin an episode."""
        simulator = self._idle.pop() if self._idle else self.world.simulator()
        seen = simulator.reset(task, seed=seed)
        start = _first(task, seed, seen, simulator, None)
        return replace(start, hold=self._save(simulator))

    async def step(self, state: SimulatorState, action: str) -> Step[SimulatorState]:
        """Load the state's snapshot and take the action.

        Raises:
            EnvError: the simulator cannot be copied, or its snapshot is another state.
        """
        if state.done:
            return _refused(state)
        simulator = self._load(state)
        seen = simulator.step(action)
        if not seen.valid:
            self._save(simulator)
            return _refused(state)
        after = self.after(state, action, seen, simulator, None)
        return _taken(replace(after, hold=self._save(simulator)))

    def _save(self, simulator: Simulator) -> Any:
        """A snapshot; the simulator itself is free for others then, or never used again."""
        if not isinstance(simulator, Saves):
            return _Still(simulator)
        snapshot = simulator.save()
        self._idle.append(simulator)
        return snapshot

    def _load(self, state: SimulatorState) -> Simulator:
        """A simulator that stands in `state` and may be stepped."""
        if isinstance(state.hold, _Still):
            simulator = self._copy(state.hold.simulator)
        else:
            saves: Any = self._idle.pop() if self._idle else self.world.simulator()
            saves.load(state.hold)
            simulator = saves
        if _key(simulator, state.task, state.seed, state.actions) != state.key:
            raise EnvError(
                f"{self.spec.id}: a snapshot of task {state.task.id} after "
                f"{_after(state)} loads as another state; repair save and load, or use Replayed."
            )
        return simulator

    def _copy(self, simulator: Simulator) -> Simulator:
        try:
            return copy.deepcopy(simulator)
        except Exception as cause:
            raise EnvError(
                f"{self.spec.id}: its simulator cannot be copied "
                f"({type(cause).__name__}: {cause}); replay instead."
            ) from cause


# Replay

Live = dict[tuple[str, ...], Simulator]
"""The live simulators of one episode by the actions they took, least recently used first."""


@dataclass(frozen=True)
class Replayed(Simulated):
    """Goes back by resetting and taking the same actions again.

    Every step taken again is charged (`Step.replayed`), and must show what it showed before.
    Each episode keeps its own live simulators, so what is charged does not depend on what
    else runs: going on from where one of them stands costs nothing.

    Attributes:
        live: most simulators kept alive for one episode.
    """

    live: int = 4

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.live < 1:
            raise ConfigError(f"Replayed: live={self.live}; at least 1 simulator is needed.")

    async def reset(self, task: Task, *, seed: int) -> SimulatorState:
        """Begin an episode."""
        simulator = self.world.simulator()
        seen = simulator.reset(task, seed=seed)
        return _first(task, seed, seen, simulator, Live({(): simulator}))

    async def step(self, state: SimulatorState, action: str) -> Step[SimulatorState]:
        """Bring a simulator to `state`, by replay if need be, and take the action.

        Raises:
            EnvError: the replay went another way than the first time.
        """
        if state.done:
            return _refused(state)
        simulator, replayed = self._bring(state)
        seen = simulator.step(action)
        live: Live = state.hold
        if not seen.valid:
            live[state.actions] = simulator
            return _refused(state, replayed)
        after = self.after(state, action, seen, simulator, live)
        live[after.actions] = simulator
        return _taken(after, replayed)

    def _bring(self, state: SimulatorState) -> tuple[Simulator, int]:
        """A simulator that stands in `state`, and how many steps were taken again."""
        live: Live = state.hold
        ahead = [actions for actions in live if actions == state.actions[: len(actions)]]
        if ahead:
            nearest = max(ahead, key=len)
            simulator, stands = live.pop(nearest), len(nearest)
        else:
            simulator, stands = self._restarted(state.path()[0]), 0
        replayed = state.path()[stands + 1 :]
        for each in replayed:
            self._check(each, simulator.step(each.actions[-1]), simulator)
        return simulator, len(replayed)

    def _restarted(self, start: SimulatorState) -> Simulator:
        """A simulator after the reset: a new one, or the least recently used of enough."""
        live: Live = start.hold
        full = len(live) >= self.live
        simulator = live.pop(next(iter(live))) if full else self.world.simulator()
        self._check(start, simulator.reset(start.task, seed=start.seed), simulator)
        return simulator

    def _check(self, state: SimulatorState, seen: Seen, simulator: Simulator) -> None:
        """Refuse a replay that shows something else than the first time."""
        difference = _difference(state.seen, seen)
        if not difference and _key(simulator, state.task, state.seed, state.actions) != state.key:
            difference = "the key is another"
        if difference:
            raise EnvError(
                f"{self.spec.id}: not deterministic: task {state.task.id}, seed {state.seed}, "
                f"after {_after(state)}: {difference}. "
                "Derive all its randomness from the seed, or use Snapshotted."
            )


def _after(state: SimulatorState) -> str:
    return path_text(state.actions) or "the reset"


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
