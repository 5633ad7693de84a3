"""BabyAI-Text: a grid world seen as sentences, where a mission takes many steps.

Task: a mission such as `pick up a yellow ball, then go to the grey key`. `level` Mixed takes
    its train and dev tasks from MixedTrainLocal and its test tasks from MixedTestLocal,
    whose missions name only what no training mission names; any BabyAI level of minigrid
    goes by its name. `kind` chooses one of the five kinds of the Mixed levels.
Observation: what is in the 7x7 cells ahead, a sentence a line: `You see a red ball 1 step
    left and 2 steps forward`, `You see a wall 3 steps forward`, `You carry a blue key`.
Actions: turn left, turn right, go forward, pick up, drop, toggle. Each takes a step, also
    where it changes nothing. Any other text is invalid and leaves the state as it was.
Reward: 1 - 0.9 * steps / max_steps when the mission is done, else 0.
Termination: the mission is done, or can no longer be (missions of strict levels).
Truncation: after max_steps; 64 for go_to and pick_up, 128 for the other kinds.
Source: Carta et al., 2023, Grounding large language models with online reinforcement
    learning (arXiv 2302.02662); Chevalier-Boisvert et al., 2019, BabyAI (arXiv 1810.08272).
Differences from the original: the kind is an argument, not a draw of the constructor. Worlds
    are equal by seed but for BossLevel, which minigrid generates otherwise, and PickupLoc
    has minigrid's mission, where the original leaves out the place.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, overload

from agentsearch.errors import ConfigError, did_you_mean
from agentsearch.types import Context, EnvSpec, Step, Task, Trajectory, Verdict
from agentsearch_envs import babyai_world as w

Kind = Literal["all", "go_to", "pick_up", "open", "put_next", "pick_up_then_go_to"]
KINDS: tuple[str, ...] = get_args(Kind)[1:]
SPLITS = ("train", "dev", "test")
SEEDS = {"train": 0, "dev": 1_000_000, "test": 1_000_000_000}
"""First seed of each split. The original tests on seeds from 1e9 on."""
SIZES = {"train": 10_000, "dev": 1_000, "test": 1_000}
LEVELS = {"train": "MixedTrainLocal", "dev": "MixedTrainLocal", "test": "MixedTestLocal"}
"""What the level `Mixed` stands for in each split."""
MIXED_STEPS = {"go_to": 64, "pick_up": 64}
MOST_STEPS = 128
MOST_NAVIGATIONS = 8
"""Of the longest instruction of the BabyAI language: four parts that each put something."""


@dataclass(frozen=True)
class BabyAIText:
    """The environment.

    Attributes:
        level: `Mixed`, `MixedTrainLocal`, `MixedTestLocal` or a BabyAI level of minigrid
            such as `GoToLocal`.
        kind: of the Mixed levels' tasks; `all` takes the five kinds in turn.
        distractors: objects of the Mixed levels beside those that the mission needs.
    """

    level: str = "Mixed"
    kind: Kind = "all"
    distractors: int = 8

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            close = did_you_mean(self.kind, get_args(Kind))
            raise ConfigError(f"env.kind={self.kind!r}: no such kind.{close} Kinds: {KINDS}.")
        if not 0 <= self.distractors <= 20:
            raise ConfigError(
                f"env.distractors={self.distractors}: the room has space for 0 to 20."
            )
        if self.mixed:
            return
        known = ("Mixed", "MixedTrainLocal", "MixedTestLocal", *levels().level_ids())
        if self.level not in known:
            close = did_you_mean(self.level, known)
            raise ConfigError(f"env.level={self.level!r}: no such BabyAI level.{close}")
        if self.kind != "all":
            raise ConfigError(f"env.kind={self.kind!r}: only the Mixed levels have kinds.")

    @property
    def mixed(self) -> bool:
        """Whether the level is one of BabyAI-Text's own."""
        return self.level in ("Mixed", "MixedTrainLocal", "MixedTestLocal")

    @cached_property
    def spec(self) -> EnvSpec:
        """`max_steps` is that of the longest task."""
        most = MIXED_STEPS.get(self.kind, MOST_STEPS)
        if not self.mixed:
            most = levels().most_steps(self.level, MOST_NAVIGATIONS)
        return EnvSpec(id="babyai_text", version="1", max_steps=most, mode="act")

    @property
    def verifier(self) -> BabyAIVerifier:
        """Replays the actions in a fresh world."""
        return BabyAIVerifier()

    def oracle(self) -> BabyAIOracle:
        """The bot of minigrid, which is told where everything is."""
        return BabyAIOracle()

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, made when they are looked at; seeds of splits are disjoint."""
        if split not in SPLITS:
            raise ConfigError(
                f"BabyAIText: unknown split '{split}'; use train, dev or test."
                + did_you_mean(split, SPLITS)
            )
        return Tasks(self, split)

    async def reset(self, task: Task, *, seed: int) -> w.State:
        """The first state of the task's own world; `seed` is not used."""
        return first_state(task)

    async def step(self, state: w.State, action: str) -> Step[w.State]:
        """The state after an action."""
        ended = state.ended != w.RUNNING
        number = NUMBERS.get(action.strip().lower())
        if ended or number is None:
            cut = state.ended == w.TRUNCATED
            return Step(state, terminated=ended and not cut, truncated=cut, valid=False)
        after = w.step(state, number)
        return Step(
            after,
            w.reward(after),
            terminated=after.ended in (w.SUCCESS, w.FAILURE),
            truncated=after.ended == w.TRUNCATED,
        )

    def observe(self, state: w.State) -> str:
        """The sentences, one a line."""
        return "\n".join(w.describe(state))

    def legal_actions(self, state: w.State) -> tuple[str, ...]:
        """Always all six."""
        return w.ACTIONS

    def key(self, state: w.State) -> Hashable:
        """All but the number of steps: equal keys have equal futures up to the step limit."""
        return state._replace(steps=0)

    def picture(self, state: w.State) -> str:
        """The whole grid, for people; no policy sees it."""
        return w.picture(state)

    def rule(self, context: Context, rng: random.Random) -> str:
        """What a simple hand-written rule does; it reads the same text as any policy."""
        from agentsearch_envs.babyai_rule import next_action

        return next_action(context, rng)


NUMBERS = {action: number for number, action in enumerate(w.ACTIONS)}


def levels() -> Any:
    """The module that makes worlds; it needs minigrid.

    Raises:
        ConfigError: minigrid is not installed.
    """
    try:
        from agentsearch_envs import babyai_levels
    except ImportError as cause:
        raise ConfigError(
            f"babyai_text needs minigrid ({cause}): pip install 'agentsearch[envs]'"
        ) from None
    return babyai_levels


# Tasks


@dataclass(frozen=True)
class Tasks(Sequence[Task]):
    """The tasks of one split."""

    env: BabyAIText
    split: str

    def __len__(self) -> int:
        return SIZES[self.split]

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Task, ...]: ...
    def __getitem__(self, index: int | slice) -> Task | tuple[Task, ...]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._task(places)
        return tuple(map(self._task, places))

    def _task(self, index: int) -> Task:
        env = self.env
        level = LEVELS[self.split] if env.level == "Mixed" else env.level
        data: dict[str, Any] = {"level": level, "seed": SEEDS[self.split] + index}
        if env.mixed:
            kind = KINDS[index % len(KINDS)] if env.kind == "all" else env.kind
            data |= {"kind": kind, "distractors": env.distractors}
        mission = _start(data).world.mission
        words = [str(data[key]) for key in ("level", "kind", "seed") if key in data]
        if env.distractors != BabyAIText.distractors:
            words.append(f"{env.distractors}-distractors")
        return Task("/".join(("babyai_text", *words)), prompt(mission), data)


def prompt(mission: str) -> str:
    """A task in words."""
    return f"Goal: {mission}\nActions: {', '.join(w.ACTIONS)}"


def first_state(task: Task) -> w.State:
    """Where a task begins."""
    return _start(task.data)


def _start(data: Any) -> w.State:
    made = levels()
    kind = data.get("kind")
    distractors = data.get("distractors", BabyAIText.distractors)
    return made.start(made.Recipe(data["level"], data["seed"], kind, distractors))


# Ground truth


@dataclass(frozen=True)
class BabyAIVerifier:
    """Ground truth from the actions alone."""

    async def verify(self, task: Task, trajectory: Trajectory, state: object) -> Verdict:
        """Correct if the mission is done when the actions are taken again."""
        now = first_state(task)
        for action in trajectory.actions:
            number = NUMBERS.get(action.strip().lower())
            if number is not None and now.ended == w.RUNNING:
                now = w.step(now, number)
        reason = REASONS[now.ended].format(steps=now.steps, most=now.world.max_steps)
        return Verdict(now.ended == w.SUCCESS, float(now.ended == w.SUCCESS), reason)


REASONS = {
    w.RUNNING: "not done after {steps} steps",
    w.SUCCESS: "done in {steps} of {most} steps",
    w.FAILURE: "the mission can no longer be done",
    w.TRUNCATED: "not done in {most} steps",
}


@dataclass(frozen=True)
class BabyAIOracle:
    """minigrid's bot, told everything; good, not always shortest."""

    def action(self, state: object) -> str | None:
        """What the bot does."""
        assert isinstance(state, w.State)
        number = levels().bot_action(state)
        return None if number is None else w.ACTIONS[number]

    def value(self, state: object) -> float:
        """The return that the bot gets from here on; 0 where it does not succeed."""
        assert isinstance(state, w.State)
        path = levels().bot_path(state)
        if not path:
            return 0.0
        return 1 - 0.9 * (state.steps + len(path)) / state.world.max_steps
