"""Our environments with the gymnasium face, for whatever trains or plays on gymnasium.

    import gymnasium
    env = gymnasium.make("agentsearch_envs.gym_env:agentsearch/game24-v0")

Importing this module registers `agentsearch/NAME-v0` for every environment that
`agentsearch list` knows.
"""

from __future__ import annotations

import asyncio
import string
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import gymnasium
from gymnasium import spaces

from agentsearch import registry
from agentsearch.errors import ConfigError, EnvError, did_you_mean
from agentsearch.protocols import Environment
from agentsearch.types import Step, Task

LONGEST_OBSERVATION = 1 << 16  # characters
LONGEST_ACTION = 1 << 12

T = TypeVar("T")


class FreeText(spaces.Text):
    """Any text up to a length, in any script; samples are printable ASCII."""

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        """Whether `x` is text and not too long."""
        return isinstance(x, str) and len(x) <= self.max_length


class GymEnv(gymnasium.Env[str, Any]):
    """One of our environments as a `gymnasium.Env`.

    Observations are text. Actions are text too: an invalid one pays 0 and leaves the state
    as it was, and `info["valid"]` says so. `info` also has the `task` id, its `prompt`, and
    the `legal_actions`, None where they are open.

    Args:
        env: an environment, or its name or component as in a recipe.
        split: whose tasks `reset` draws from.
        actions: makes the action space `Discrete`: number i stands for the i-th of these.
        render_mode: None, or `ansi` for the observation, or the environment's own `picture`.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        env: Environment[Any] | str | Mapping[str, Any],
        split: str = "train",
        actions: Sequence[str] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise ConfigError(f"render_mode={render_mode!r}: use 'ansi' or None.")
        self.env = _built(env) if isinstance(env, str | Mapping) else env
        self.render_mode = render_mode
        self.tasks = {task.id: task for task in self.env.tasks(split)}
        if not self.tasks:
            raise ConfigError(f"{self.env.spec.id}: split {split!r} has no tasks.")
        self.actions = None if actions is None else tuple(actions)
        self.observation_space = FreeText(LONGEST_OBSERVATION)
        self.action_space = (
            FreeText(LONGEST_ACTION) if self.actions is None else spaces.Discrete(len(self.actions))
        )
        self._runner = _Now(self.env.spec.id) if self.env.spec.instant else _Loop()
        self._task: Task | None = None
        self._last: Step[Any] = Step(None, truncated=True)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode: of a task drawn by the seed, or of `options={"task": ID}`.

        Raises:
            ConfigError: no such task or option.
        """
        super().reset(seed=seed)
        task = self._choose(options or {})
        seed = int(self.np_random.integers(1 << 62))
        self._last = Step(self._runner.run(self.env.reset(task, seed=seed)))
        self._task, self._steps = task, 0
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take an action; after `max_steps` of them, valid or not, the episode is truncated.

        Raises:
            gymnasium.error.ResetNeeded: there is no episode, or it has ended.
        """
        last = self._last
        if last.terminated or last.truncated:
            raise gymnasium.error.ResetNeeded("The episode has ended or not begun; call reset().")
        text = str(action) if self.actions is None else self.actions[int(action)]
        step = self._runner.run(self.env.step(last.state, text))
        self._steps += 1
        late = self._steps >= self.env.spec.max_steps and not step.terminated
        truncated = step.truncated or late
        self._last = Step(step.state, step.reward, step.terminated, truncated, step.valid)
        return (
            self._observation(),
            float(step.reward),
            step.terminated,
            truncated,
            self._info(),
        )

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What stands before the agent, as text; None without a render mode."""
        if self.render_mode is None or self._task is None:
            return None
        picture = getattr(self.env, "picture", self.env.observe)
        return picture(self._last.state)

    def close(self) -> None:
        """Stop the thread of an environment that waits for something."""
        self._runner.close()

    def _choose(self, options: Mapping[str, Any]) -> Task:
        unknown = set(options) - {"task"}
        if unknown:
            raise ConfigError(f"options: {min(unknown)!r} is unknown; the only option is 'task'.")
        if "task" not in options:
            return list(self.tasks.values())[int(self.np_random.integers(len(self.tasks)))]
        wanted = options["task"]
        if wanted not in self.tasks:
            close = did_you_mean(str(wanted), self.tasks)
            raise ConfigError(f"options['task']={wanted!r}: not in this split.{close}")
        return self.tasks[wanted]

    def _observation(self) -> str:
        return self.env.observe(self._last.state)

    def _info(self) -> dict[str, Any]:
        assert self._task is not None
        legal = self.env.legal_actions(self._last.state)
        return {
            "task": self._task.id,
            "prompt": self._task.prompt,
            "valid": self._last.valid,
            "legal_actions": None if legal is None else tuple(legal),
        }


class _Now:
    """Runs coroutines that never wait, without an event loop."""

    def __init__(self, env_id: str) -> None:
        self.env_id = env_id

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        work.close()
        raise EnvError(f"{self.env_id}: its spec says instant, but a step waits for something.")

    def close(self) -> None:
        pass


class _Loop:
    """Runs coroutines in an event loop of its own, in a thread of its own.

    So they also run where the caller is inside an event loop, as in a notebook.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()


def _built(env: str | Mapping[str, Any]) -> Environment[Any]:
    from agentsearch.config import Builder, as_component

    component = as_component("env", env if isinstance(env, str) else dict(env))
    return Builder().build("envs", "env", component, {})


def _register() -> None:
    for name in registry.names("envs"):
        gymnasium.register(  # pyright: ignore[reportUnknownMemberType]
            f"agentsearch/{name}-v0", "agentsearch_envs.gym_env:GymEnv", kwargs={"env": name}
        )


_register()
