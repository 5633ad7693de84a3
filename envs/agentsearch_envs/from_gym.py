"""A gymnasium text environment from outside, under search.

Task: a seed of the environment's `reset`; the splits' seeds are disjoint.
Observation: the environment's text, or one key of its observation or info.
Actions: names of a Discrete space; for a Text space a given list, or any text in it. Where
    a key of info lists what is legal now, that. Other text is invalid: reward 0, the state
    stays, the environment is not stepped.
Reward, termination: the environment's own.
Truncation: the environment's own, and after `max_steps` actions.
Source: the API of gymnasium 1 (Towers et al., 2024, arXiv 2407.17032).
"""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from agentsearch.errors import ConfigError, EnvError, did_you_mean
from agentsearch.live import LiveState, Replayed, Seen, Snapshotted
from agentsearch.types import EnvSpec, Step, Task, Trajectory, Verdict

if TYPE_CHECKING:
    import gymnasium

Snapshot = Literal["deepcopy", "replay"]
PROMPT = "Act in the environment until its task is done."
FIRST_SEED = {"train": 0, "dev": 1_000_000, "test": 2_000_000}
MOST_TASKS = 1_000_000  # in a split, so that seeds stay disjoint
RULE = re.compile(r"\s*return\s*(>=|<=|==|>|<)\s*([-+]?[0-9]*\.?[0-9]+)\s*")
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "<=": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Gymnasium:
    """Any gymnasium environment that shows text and takes named actions or text.

    Attributes:
        id: as for `gymnasium.make`; `package.module:EnvId-v0` imports the module first.
        kwargs: further arguments of `gymnasium.make`.
        actions: the names of Discrete actions in order, or the texts that may be said.
        legal_key: key of info that lists the actions that are legal now.
        text_key: key of the observation, or of info, that holds the text; None where the
            observation is text itself.
        prompt: the task in words.
        success: which episodes are correct, by their sum of rewards: `return > 0`.
        max_steps: most actions in an episode; None takes the environment's own time limit.
        splits: number of tasks in each split.
        snapshot: the way back. `deepcopy` copies the environment at every step; `replay`
            resets it and takes the actions again, each charged as an environment step.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    actions: tuple[str, ...] | None = None
    legal_key: str | None = None
    text_key: str | None = None
    prompt: str = PROMPT
    success: str = "return > 0"
    max_steps: int | None = None
    splits: Mapping[str, int] = field(
        default_factory=lambda: {"train": 100, "dev": 50, "test": 100}
    )
    snapshot: Snapshot = "deepcopy"
    spec: EnvSpec = field(init=False, repr=False)
    _inner: Snapshotted | Replayed = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the arguments on a first environment, which is closed again."""
        self._check_arguments()
        env = self.make()
        try:
            self._check_actions(env)
            self._check_text(env)
            object.__setattr__(self, "spec", self._spec_of(env))
        finally:
            env.close()
        inner = Snapshotted(self) if self.snapshot == "deepcopy" else Replayed(self)
        object.__setattr__(self, "_inner", inner)

    @property
    def verifier(self) -> ReturnVerifier:
        """Plays the actions again and looks at the return."""
        return ReturnVerifier(self)

    def tasks(self, split: str) -> Sequence[Task]:
        """The seeds of `train`, `dev` or `test`, one task each."""
        if split not in FIRST_SEED:
            raise ConfigError(
                f"{self.spec.id}: unknown split '{split}'; use train, dev or test."
                + did_you_mean(split, FIRST_SEED)
            )
        first = FIRST_SEED[split]
        seeds = range(first, first + self.splits.get(split, 0))
        return [Task(f"{self.spec.id}/{seed}", self.prompt, {"seed": seed}) for seed in seeds]

    async def reset(self, task: Task, *, seed: int) -> LiveState:
        """The world of the task's own seed; `seed` changes nothing."""
        return await self._inner.reset(task, seed=0)

    async def step(self, state: LiveState, action: str) -> Step[LiveState]:
        """The state after one action."""
        return await self._inner.step(state, action)

    def observe(self, state: LiveState) -> str:
        """The environment's text."""
        return self._inner.observe(state)

    def legal_actions(self, state: LiveState) -> tuple[str, ...] | None:
        """What may be done now, or None where any text is an action."""
        return self._inner.legal_actions(state)

    def key(self, state: LiveState) -> Hashable:
        """Task and actions: what else the environment hides is not known."""
        return self._inner.key(state)

    async def close(self) -> None:
        """Close the environments that were made for sessions."""
        await self._inner.close()

    def session(self) -> GymSession:
        """A new environment."""
        return GymSession(self.make(), self)

    def make(self) -> gymnasium.Env[Any, Any]:
        """The environment, as `gymnasium.make` makes it.

        Raises:
            ConfigError: gymnasium is not installed, or cannot make it.
        """
        try:
            import gymnasium
        except ImportError as cause:
            raise ConfigError(
                "The environment gymnasium needs a package that is not installed; "
                "run: pip install 'agentsearch[envs]'"
            ) from cause
        try:
            return gymnasium.make(self.id, disable_env_checker=True, **self.kwargs)
        except Exception as cause:  # whatever the environment raises while it is made
            raise ConfigError(
                f"env.id={self.id!r}: gymnasium cannot make it ({type(cause).__name__}: {cause}); "
                "write package.module:EnvId-v0 where a module registers it, and check env.kwargs."
            ) from cause

    # -- checks ------------------------------------------------------------------------

    def _check_arguments(self) -> None:
        parse_rule(self.success)
        if self.snapshot not in get_args(Snapshot):
            raise ConfigError(f"env.snapshot={self.snapshot!r}: use deepcopy or replay.")
        if self.max_steps is not None and self.max_steps < 1:
            raise ConfigError(f"env.max_steps={self.max_steps}: must be at least 1.")
        if self.actions is not None and len(set(self.actions)) < max(len(self.actions), 1):
            raise ConfigError("env.actions: is empty or names an action twice.")
        for split, count in self.splits.items():
            if split not in FIRST_SEED:
                close = did_you_mean(split, FIRST_SEED)
                raise ConfigError(f"env.splits.{split}: use train, dev and test.{close}")
            if not 0 <= count <= MOST_TASKS:
                raise ConfigError(f"env.splits.{split}={count}: must lie in 0..{MOST_TASKS}.")

    def _check_actions(self, env: gymnasium.Env[Any, Any]) -> None:
        from gymnasium import spaces

        space = env.action_space
        if isinstance(space, spaces.Discrete):
            if self.actions is None or len(self.actions) != space.n:
                given = "none" if self.actions is None else str(len(self.actions))
                raise ConfigError(
                    f"{self.id}: has {space.n} actions without names, and {given} given; "
                    f"name all in order with env.actions=[...]."
                )
        elif not isinstance(space, spaces.Text):
            raise ConfigError(
                f"{self.id}: its action space {type(space).__name__} cannot be named; "
                "wrap it so that they are Discrete or Text."
            )

    def _check_text(self, env: gymnasium.Env[Any, Any]) -> None:
        observation, info = env.reset(seed=0)
        if find_text(observation, info, self.text_key) is None:
            what = f"its observation is of type {type(observation).__name__}, not text"
            if self.text_key is not None:
                what = f"env.text_key={self.text_key!r} holds no text in observation or info"
            keys = [k for place in (observation, info) for k in text_keys(place)]
            advice = f"set env.text_key to one of: {', '.join(keys)}"
            raise ConfigError(
                f"{self.id}: {what}; {advice if keys else 'wrap it so that it shows text'}."
            )
        if self.legal_key is not None and find_actions(info, self.legal_key) is None:
            raise ConfigError(
                f"{self.id}: env.legal_key={self.legal_key!r} is no list of texts in info; "
                f"its keys: {', '.join(map(str, info)) or 'none'}."
            )

    def _spec_of(self, env: gymnasium.Env[Any, Any]) -> EnvSpec:
        known = env.spec
        assert known is not None  # gymnasium.make has set it
        max_steps = self.max_steps or known.max_episode_steps
        if max_steps is None:
            raise ConfigError(f"{self.id}: has no time limit of its own; set env.max_steps.")
        listed = self.actions is not None or self.legal_key is not None
        version = "0" if known.version is None else str(known.version)
        return EnvSpec(known.id, version, max_steps, actions="finite" if listed else "open")


class GymSession:
    """One gymnasium environment, read as `wanted` says.

    A snapshot is the environment itself, which is copied before anything is done in it again.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], wanted: Gymnasium) -> None:
        self.env = env
        self.wanted = wanted
        self.last: Seen | None = None
        self.kept = False  # whether `env` is a snapshot, and so must stay as it is

    async def reset(self, task: Task, *, seed: int) -> Seen:
        """Begin the world of the task's seed."""
        if self.kept:
            self.env, self.kept = self.wanted.make(), False
        observation, info = self.env.reset(seed=task.data["seed"])
        return self._seen(observation, info)

    async def step(self, action: str) -> Seen:
        """Take an action if it is one."""
        from gymnasium import spaces

        assert self.last is not None
        space, names, legal = self.env.action_space, self.wanted.actions, self.last.legal_actions
        if legal is not None and action not in legal:
            return Seen("", valid=False)
        if isinstance(space, spaces.Discrete):
            if names is None or action not in names:
                raise EnvError(f"{self.wanted.id}: lists the action {action!r}, which has no name.")
            said: Any = int(space.start) + names.index(action)
        elif legal is None and action not in space:
            return Seen("", valid=False)
        else:
            said = action
        if self.kept:
            self.env, self.kept = self._copied(), False
        observation, reward, terminated, truncated, info = self.env.step(said)
        return self._seen(observation, info, float(reward), bool(terminated), bool(truncated))

    async def snapshot(self) -> tuple[gymnasium.Env[Any, Any], Seen | None]:
        """The environment as it is."""
        self.kept = True
        return self.env, self.last

    async def restore(self, snapshot: tuple[gymnasium.Env[Any, Any], Seen]) -> Seen:
        """Go on from a snapshot."""
        await self.close()
        (self.env, self.last), self.kept = snapshot, True
        return self.last

    async def close(self) -> None:
        """Close the environment, unless it is a snapshot."""
        if not self.kept:
            self.env.close()

    def _copied(self) -> gymnasium.Env[Any, Any]:
        try:
            return copy.deepcopy(self.env)
        except Exception as cause:
            raise EnvError(
                f"{self.wanted.id}: cannot be copied ({type(cause).__name__}: {cause}); "
                "set env.snapshot=replay."
            ) from cause

    def _seen(
        self,
        observation: Any,
        info: Mapping[str, Any],
        reward: float = 0.0,
        terminated: bool = False,
        truncated: bool = False,
    ) -> Seen:
        wanted = self.wanted
        text = find_text(observation, info, wanted.text_key)
        if text is None:
            raise EnvError(f"{wanted.id}: shows no text any more.")
        legal = wanted.actions
        if wanted.legal_key is not None:
            legal = find_actions(info, wanted.legal_key) or ()
        self.last = Seen(text, reward, terminated, truncated, legal_actions=legal)
        return self.last


@dataclass(frozen=True)
class ReturnVerifier:
    """Ground truth from the actions alone: they are played again in a new environment."""

    env: Gymnasium

    async def verify(self, task: Task, trajectory: Trajectory, state: object) -> Verdict:
        """Whether the return of the actions meets the rule."""
        compare, limit = parse_rule(self.env.success)
        total = await self.play(task, trajectory.actions)
        correct = COMPARISONS[compare](total, limit)
        reason = f"return {total:g}, which is {'' if correct else 'not '}{compare} {limit:g}"
        return Verdict(correct, float(correct), reason)

    async def play(self, task: Task, actions: Sequence[str]) -> float:
        """Sum of rewards of the actions up to the episode's end."""
        session = self.env.session()
        try:
            await session.reset(task, seed=0)
            total = 0.0
            for action in actions:
                seen = await session.step(action)
                total += seen.reward
                if seen.terminated or seen.truncated:
                    break
            return total
        finally:
            await session.close()


def parse_rule(text: str) -> tuple[str, float]:
    """`return > 0` as `(">", 0.0)`.

    Raises:
        ConfigError: it is no such rule.
    """
    match = RULE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"env.success={text!r}: compare the return with a number, such as 'return > 0'."
        )
    return match[1], float(match[2])


def find_text(observation: Any, info: Mapping[str, Any], key: str | None) -> str | None:
    """The text of an observation, or of the key in it or in info; None where there is none."""
    found: Any = observation
    if key is not None:
        inside = isinstance(observation, Mapping) and key in observation
        found = (observation if inside else info).get(key)
    return str(found) if isinstance(found, str) else None


def find_actions(info: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    """The list of actions at a key of info, or None where there is none."""
    found = info.get(key)
    if not isinstance(found, list | tuple):
        return None
    listed = tuple(cast(Sequence[Any], found))
    return listed if all(isinstance(each, str) for each in listed) else None


def text_keys(place: Any) -> list[str]:
    """The keys under which a mapping holds text."""
    if not isinstance(place, Mapping):
        return []
    items = cast(Mapping[Any, Any], place).items()
    return [str(key) for key, value in items if isinstance(value, str)]
