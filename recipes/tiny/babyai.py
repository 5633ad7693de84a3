"""Demonstrations of the four roles in BabyAI-Text, from minigrid's bot on train seeds.

Worlds are MixedTrainLocal's, so no mission names what MixedTestLocal's missions name. An
episode may begin with random actions and may slip on the way; what the bot would have
done is what is learnt, never the slip. The judge's worth of a state is `discount` to the
power of the bot's remaining steps, told by the shares of its three words.

    python -m recipes.tiny.babyai --profile tiny-v2    # plays and keeps the episodes
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentsearch.policies.prompts import Prompts
from agentsearch.types import Context, Message, Turn
from agentsearch_envs import babyai_levels as levels
from agentsearch_envs import babyai_world as w
from agentsearch_envs.babyai_text import KINDS, SEEDS, prompt
from recipes.tiny.demonstration import Demonstration, answered, judgement, play_splits
from recipes.tiny.settings import Settings

HISTORY = 1
"""Most past turns shown; half of the chats show none, so that either serves."""
PROMPTS, BARE = Prompts(history=HISTORY), Prompts(history=0)
LEVEL = "MixedTrainLocal"
FORWARD_WEIGHTS = (1, 1, 3, 1, 1, 1)
"""Of random actions, as in the recorded random episodes of the original."""
MOST_PREFIX = 10
SLIPS = 0.15
LONGEST_PLAN = 8


@dataclass(frozen=True)
class Episode:
    """An episode that ended in success.

    Attributes:
        observations: `[T]`, what was seen before each action.
        actions: `[T]`, what was done.
        wanted: `[T]`, what the bot would have done; None before it was asked.
        settled: the first step from which all that was done is the bot's.
    """

    kind: str
    seed: int
    mission: str
    observations: tuple[str, ...]
    actions: tuple[str, ...]
    wanted: tuple[str | None, ...]
    settled: int

    def context(self, step: int) -> Context:
        """What a policy knows before the action of a step."""
        turns = tuple(map(Turn, self.observations[:step], self.actions[:step]))
        return Context(prompt(self.mission), self.observations[step], turns, w.ACTIONS)


# Playing


def play(kind: str, seed: int) -> Episode | None:
    """One episode; None where random actions ended it or the bot was lost."""
    rng = random.Random(f"{kind}/{seed}")
    recipe = levels.Recipe(LEVEL, seed, kind)
    simulator = recipe.simulator(levels.shared_level(LEVEL, kind, recipe.distractors))
    state = levels.read(recipe, simulator)
    prefix = rng.randint(1, MOST_PREFIX) if rng.random() < 0.4 else 0
    slips = SLIPS if rng.random() < 0.4 else 0.0
    observations: list[str] = []
    actions: list[int] = []
    wanted: list[int | None] = []
    bot, settled = None, 0
    try:
        while not state.ended:
            if len(actions) < prefix:
                best, action = None, rng.choices(range(6), FORWARD_WEIGHTS)[0]
            else:
                bot = bot or levels.EpisodeBot(simulator)
                best = int(bot.replan(actions[-1] if len(actions) > prefix else None))
                action = best if rng.random() >= slips else rng.randrange(6)
            if action != best:
                settled = len(actions) + 1
            observations.append("\n".join(w.describe(state)))
            actions.append(action)
            wanted.append(best)
            simulator.step(action)
            state = w.step(state, action)
    except levels.LOST:
        return None
    if state.ended != w.SUCCESS or settled >= len(actions):
        return None
    return Episode(
        kind,
        seed,
        state.world.mission,
        tuple(observations),
        tuple(w.ACTIONS[a] for a in actions),
        tuple(None if a is None else w.ACTIONS[a] for a in wanted),
        settled,
    )


def path_of(settings: Settings, split: str) -> Path:
    """Where the episodes of a split are kept."""
    return settings.build / f"babyai-{split}.jsonl.gz"


def record(settings: Settings, split: str, processes: int) -> int:
    """Play and keep the episodes of a split; how many there are."""
    counts = settings.babyai_episodes if split == "train" else settings.babyai_dev_episodes
    jobs = [(kind, SEEDS[split] + i) for kind in KINDS for i in range(counts)]
    path = path_of(settings, split)
    part = path.with_suffix(".part")
    kept = 0
    with multiprocessing.Pool(processes) as pool, gzip.open(part, "wt", compresslevel=1) as out:
        for episode in pool.imap(_play, jobs, chunksize=64):
            if episode is not None:
                out.write(json.dumps(vars(episode)) + "\n")
                kept += 1
    part.replace(path)
    return kept


def _play(job: tuple[str, int]) -> Episode | None:
    return play(*job)


@lru_cache(maxsize=4)
def episodes(path: Path) -> tuple[Episode, ...]:
    """The episodes of a file."""
    with gzip.open(path, "rt") as lines:
        return tuple(Episode(**_tuples(json.loads(line))) for line in lines)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}


# Roles


def propose(episode: Episode, rng: random.Random, discount: float) -> Demonstration:
    """A window of an episode; what the bot wanted is learnt, at its first turn without history."""
    known = [t for t, best in enumerate(episode.wanted) if best is not None]
    last = rng.choice(known)
    first = max(0, last - HISTORY)
    messages = list(PROMPTS.propose_messages(episode.context(last)))
    learn: list[int] = []
    for t in range(first, last):
        if episode.wanted[t] == episode.actions[t]:
            learn.append(2 + 2 * (t - first))
    wanted = episode.wanted[last]
    assert wanted is not None
    messages.append(Message("assistant", wanted))
    return Demonstration("propose", episode.seed, tuple(messages), (*learn, len(messages) - 1))


def judge(episode: Episode, rng: random.Random, discount: float) -> Demonstration:
    """How near success is, in three words whose expected worth is the discounted distance."""
    step = rng.randrange(episode.settled, len(episode.actions))
    worth = discount ** (len(episode.actions) - step)
    word = judgement(worth, rng)
    return answered(
        "judge", episode.seed, _prompts(rng).judge_messages(episode.context(step)), word
    )


def choose(episode: Episode, rng: random.Random, discount: float) -> Demonstration:
    """The number of the bot's action in a list of two to six."""
    step = rng.randrange(episode.settled, len(episode.actions))
    best = episode.actions[step]
    others = [action for action in w.ACTIONS if action != best]
    options = [best, *rng.sample(others, rng.randint(1, len(others)))]
    rng.shuffle(options)
    messages = _prompts(rng).choose_messages(episode.context(step), options)
    return answered("choose", episode.seed, messages, str(options.index(best) + 1))


def complete(episode: Episode, rng: random.Random, discount: float) -> Demonstration:
    """All remaining actions, near the end of an episode."""
    first = max(episode.settled, len(episode.actions) - LONGEST_PLAN)
    step = rng.randrange(first, len(episode.actions))
    plan = "\n".join(episode.actions[step:])
    return answered(
        "complete", episode.seed, _prompts(rng).complete_messages(episode.context(step)), plan
    )


def _prompts(rng: random.Random) -> Prompts:
    return PROMPTS if rng.random() < 0.5 else BARE


ROLES: dict[str, Callable[[Episode, random.Random, float], Demonstration]] = {
    "propose": propose,
    "judge": judge,
    "choose": choose,
    "complete": complete,
}


def demonstrations(
    settings: Settings, count: int, rng: random.Random, split: str = "train", step: int = 0
) -> Iterator[Demonstration]:
    """`count` demonstrations with the roles in their shares; longer episodes come more often."""
    shares = settings.babyai_shares
    played = episodes(path_of(settings, split))
    roles = rng.choices(tuple(ROLES), [shares[role] for role in ROLES], k=count)
    weights = _cumulative(played)
    for role, episode in zip(roles, rng.choices(played, cum_weights=weights, k=count), strict=True):
        yield ROLES[role](episode, rng, settings.discount)


@lru_cache(maxsize=4)
def _cumulative(played: tuple[Episode, ...]) -> list[int]:
    total, sums = 0, list[int]()
    for episode in played:
        total += len(episode.actions)
        sums.append(total)
    return sums


if __name__ == "__main__":
    play_splits(__doc__, record)
