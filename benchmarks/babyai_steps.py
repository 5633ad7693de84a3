"""What a step of BabyAI-Text costs, its text included, from states that are values.

    python benchmarks/babyai_steps.py --json benchmarks/results/babyai_steps.json

The same random actions are played in the same worlds by ours and by minigrid's mutable
simulator, turn about in one process; figures are medians over `repeats`, ratios are of
medians. minigrid's step makes its numeric view (`gen_obs`) and no text, so ours does more.
Processor seconds stand beside wall seconds, because a machine that is busy with other things
slows the latter.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from minigrid.minigrid_env import MiniGridEnv
from record import Record, main
from timing import kept, race, ratios

from agentsearch_envs import babyai_levels as levels
from agentsearch_envs import babyai_world as w

GB = 1e9
WEIGHTS = (1, 1, 3, 1, 1, 1)
"""Of random actions: forward 3 in 8."""
LEVEL = "MixedTrainLocal"


@dataclass(frozen=True)
class Plays:
    """Worlds of all kinds, and the actions to be played in each."""

    recipes: tuple[levels.Recipe, ...]
    actions: tuple[tuple[int, ...], ...]

    @classmethod
    def drawn(cls, worlds: int, steps: int, seed: int) -> Plays:
        """`steps` actions in all; `seed` draws them."""
        rng, kinds = random.Random(seed), levels.KINDS
        recipes = tuple(levels.Recipe(LEVEL, i, kinds[i % len(kinds)]) for i in range(worlds))
        length = steps // worlds
        return cls(recipes, tuple(tuple(rng.choices(range(6), WEIGHTS, k=length)) for _ in recipes))

    def __len__(self) -> int:
        return sum(map(len, self.actions))


# -- the contestants -------------------------------------------------------------------


def ours(plays: Plays) -> Callable[[], int]:
    """Step and describe; an episode that has ended begins again."""
    starts = [levels.start(recipe) for recipe in plays.recipes]

    def run() -> int:
        for first, actions in zip(starts, plays.actions, strict=True):
            state = first
            for action in actions:
                state = w.step(state, action)
                w.describe(state)
                if state.ended:
                    state = first
        return len(plays)

    return run


def mutable(plays: Plays) -> Callable[[], int]:
    """The simulator of minigrid; the verifier's memory is set back where an episode ended."""
    simulators = [recipe.simulator() for recipe in plays.recipes]

    def run() -> int:
        for simulator, actions in zip(simulators, plays.actions, strict=True):
            simulator.step_count = 0
            for action in actions:
                _, _, terminated, truncated, _ = simulator.step(action)
                if terminated or truncated:
                    simulator.step_count = 0
                    simulator.instrs.reset_verifier(simulator)
        return len(plays)

    return run


def ours_back(plays: Plays) -> Callable[[], int]:
    """Step from states in any order: going back is taking an older value."""
    kept = [state for play in visited(plays) for state in play]
    random.Random(0).shuffle(kept)
    running = [state for state in kept if not state.ended]

    def run() -> int:
        for state in running:
            w.describe(w.step(state, w.FORWARD))
        return len(running)

    return run


def mutable_back(plays: Plays, count: int) -> Callable[[], int]:
    """Step from a `deepcopy` of a kept simulator, the way back that minigrid has."""
    kept: list[MiniGridEnv] = [recipe.simulator() for recipe in plays.recipes[:count]]

    def run() -> int:
        for simulator in kept:
            copy.deepcopy(simulator).step(w.FORWARD)
        return len(kept)

    return run


def visited(plays: Plays) -> list[list[w.State]]:
    """All states of random play, world by world."""
    found: list[list[w.State]] = []
    for recipe, actions in zip(plays.recipes, plays.actions, strict=True):
        first = state = levels.start(recipe)
        found.append([])
        for action in actions:
            state = w.step(first if state.ended else state, action)
            found[-1].append(state)
    return found


# -- the rows --------------------------------------------------------------------------


def steps(plays: Plays, repeats: int) -> dict[str, Any]:
    """Steps per second along episodes."""
    figures = race({"ours": ours(plays), "minigrid": mutable(plays)}, repeats)
    return {
        "what": "random play: ours step and text, minigrid step and numeric view",
        "target": {"per_second": 8_000},
        "met": figures["ours"]["per_second"] >= 8_000,
        **figures,
        "ours_over_minigrid": ratios(figures["ours"], figures["minigrid"]),
    }


def going_back(plays: Plays, copies: int, repeats: int) -> dict[str, Any]:
    """Steps per second from states kept earlier, in no order."""
    runs = {"ours": ours_back(plays), "minigrid": mutable_back(plays, copies)}
    figures = race(runs, repeats)
    return {
        "what": "one step from an old state: ours from the value, with text; minigrid from a "
        "deepcopy of its simulator",
        **figures,
        "ours_over_minigrid": ratios(figures["ours"], figures["minigrid"]),
    }


def memory(plays: Plays, copies: int) -> dict[str, Any]:
    """States kept per GB: all that random play visits, against copies of the simulator."""
    for recipe in plays.recipes:
        levels.start(recipe)  # worlds are made before, and shared by their states
    simulator = plays.recipes[0].simulator()
    state_bytes = kept(lambda: visited(plays)) / len(plays)
    copy_bytes = kept(lambda: [copy.deepcopy(simulator) for _ in range(copies)]) / copies
    return {
        "what": "memory that kept states allocate; worlds are shared by their states",
        "ours": {
            "states": len(plays),
            "bytes_per_state": round(state_bytes),
            "states_per_gb": round(GB / state_bytes),
        },
        "minigrid_deepcopy": {
            "states": copies,
            "bytes_per_state": round(copy_bytes),
            "states_per_gb": round(GB / copy_bytes),
        },
        "ours_over_minigrid": round(copy_bytes / state_bytes, 1),
    }


def worlds(count: int, repeats: int) -> dict[str, Any]:
    """Worlds made per second, by level and kind; rejected draws are part of it."""
    runs = {
        f"{name}/{kind}": partial(_make, name, kind, count)
        for name in levels.MIXED
        for kind in levels.KINDS
    }
    return {"what": "worlds made and read into a first state", **race(runs, repeats)}


def _make(name: str, kind: str, count: int) -> int:
    level = levels.shared_level(name, kind, 8)
    for seed in range(count):
        recipe = levels.Recipe(name, seed, kind)
        levels.read(recipe, recipe.simulator(level))
    return count


# -- the whole -------------------------------------------------------------------------


def measure(quick: bool, seed: int) -> dict[str, Any]:
    """Every row."""
    repeats = 1 if quick else 3
    record = Record("babyai_steps", quick=quick, seed=seed, repeats=repeats)
    plays = Plays.drawn(5 if quick else 50, 500 if quick else 20_000, seed)
    kept = Plays.drawn(5 if quick else 100, 1_000 if quick else 100_000, seed)
    rows = {
        "steps": steps(plays, repeats),
        "going_back": going_back(plays, 5 if quick else 50, repeats),
        "memory": memory(kept, 5 if quick else 200),
        "worlds": worlds(2 if quick else 20, repeats),
    }
    return record.of(rows, {"minigrid": version("minigrid")})


if __name__ == "__main__":
    main(__doc__, measure)
