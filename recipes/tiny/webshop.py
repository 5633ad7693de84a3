"""Demonstrations of the four roles in WebShop, from a shopper who knows the product.

Shops are generated catalogues of train seeds, and the goals those of their train splits;
the catalogue that is played by default, seed 0, is never seen. The shopper searches in the
instruction's words, opens the product that pays most, chooses its options and buys; it also
searches badly, opens wrong products, reads their pages and chooses wrong options, and what
it would then have done is learnt, never the slip. The judge's worth of a state is how well
one can buy from the page that is open, told by the shares of its three words.

    python -m recipes.tiny.webshop --profile tiny-v3    # plays and keeps the episodes
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentsearch.policies.prompts import Prompts
from agentsearch.types import Context
from agentsearch_envs.webshop import pages
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.environment import WebShop
from agentsearch_envs.webshop.goals import prompt
from agentsearch_envs.webshop.reward import best_options, reward
from agentsearch_envs.webshop.shop import Shop, State
from recipes.tiny.demonstration import Demonstration, answered, judgement, play_splits
from recipes.tiny.settings import Settings

PROMPTS = Prompts(history=0)
CATALOGUES = {"train": range(1, 13), "dev": range(13, 14)}
"""Seeds of the catalogues; the one that is played by default has seed 0."""
WRONG_PRODUCT, WRONG_OPTION, READS, POOR_QUERY = 0.3, 0.1, 0.08, 0.12
"""Chances of a slip, at each of the shopper's actions of that kind."""
MOST_STEPS, MOST_WORDS = 15, 12
RESULTS_WORTH, NOTHING_WORTH, START_WORTH = 0.45, 0.1, 0.3
"""A results page with and without a product that pays 1, and the index page."""
EASED = 3
"""Rewards are raised to this power, so that the judge tells nearly right from right."""
FILLERS = frozenset((
    "find", "me", "i", "im", "i'm", "am", "need", "want", "looking", "for", "a", "an", "the",
    "some", "my", "with", "and", "in", "of", "to", "that", "is", "are", "please", "would",
    "like", "buy", "get", "show", "us", "we", "it", "which", "price", "lower", "than",
    "dollars", "under", "can", "you", "help", "search", "shop", "new", "good", "or", "from",
    "by", "on", "be", "have", "has", "also", "one", "pair", "something",
))  # fmt: skip
"""Words of an instruction that no search needs."""


@dataclass(frozen=True)
class Episode:
    """One shopping trip.

    Attributes:
        instruction: what is to be bought.
        observations: `[T]`, the page before each action.
        legal: `[T]`, its clicks; None where only a search helps.
        actions: `[T]`, what was done.
        wanted: `[T]`, what the shopper would have done.
        worth: `[T]`, of the page, in [0, 1].
        settled: the first step from which all that was done was wanted.
    """

    instruction: str
    observations: tuple[str, ...]
    legal: tuple[tuple[str, ...] | None, ...]
    actions: tuple[str, ...]
    wanted: tuple[str, ...]
    worth: tuple[float, ...]
    settled: int

    def context(self, step: int) -> Context:
        """What a policy knows before the action of a step."""
        return Context(prompt(self.instruction), self.observations[step], (), self.legal[step])


# Playing


class Shopper:
    """Knows what each product would pay for one goal."""

    def __init__(self, shop: Shop, goal: int) -> None:
        self.shop, self.goal = shop, shop.goals[goal]
        self.target = shop.catalogue.places[self.goal.asin]

    @lru_cache(maxsize=256)  # noqa: B019  a shopper lives for one episode
    def options(self, place: int) -> dict[str, str]:
        """The options of a product that fit the goal best."""
        return best_options(self.shop.catalogue.products[place], self.goal, self.shop.colours)

    @lru_cache(maxsize=256)  # noqa: B019
    def pays(self, place: int) -> float:
        """The most that buying a product can pay."""
        return self.paid(place, self.options(place))

    def paid(self, place: int, chosen: dict[str, str]) -> float:
        """What buying a product with options pays."""
        shop = self.shop
        product, price = shop.catalogue.products[place], shop.prices[place]
        return reward(product, self.goal, price, chosen, shop.tagger, shop.colours).total

    def best_shown(self, state: State) -> int | None:
        """The product of the results page that pays most, if the target's pay is reached."""
        shown = [place for place in self.shop.shown(state) if self.pays(place) >= self.ceiling]
        if self.target in shown:
            return self.target
        return shown[0] if shown else None

    @property
    def ceiling(self) -> float:
        """What the goal's own product pays."""
        return self.pays(self.target) - 1e-9

    def wants(self, state: State, query: str) -> str:
        """The action to learn."""
        match state.page:
            case "index":
                return f"search[{query}]"
            case "results":
                best = self.best_shown(state)
                if best is not None:
                    return f"click[{self.shop.catalogue.products[best].asin}]"
                later = self.target in state.hits[state.number * s.PER_PAGE :][: s.PER_PAGE]
                return f"click[{s.NEXT if later and state.number == 1 else s.BACK}]"
            case "item" if self.pays(state.product) >= self.ceiling:
                chosen = dict(state.options)
                for group, value in self.options(state.product).items():
                    if chosen.get(group) != value:
                        return f"click[{value}]"
                return f"click[{s.BUY}]"
            case _:
                return f"click[{s.PREV}]"

    def worth(self, state: State) -> float:
        """How well one can buy from here, half of it as the item is now."""
        if state.page == s.INDEX:
            return START_WORTH
        if state.page == s.RESULTS:
            return NOTHING_WORTH if self.best_shown(state) is None else RESULTS_WORTH
        now = self.paid(state.product, dict(state.options))
        return (now**EASED + self.pays(state.product) ** EASED) / 2


def good_query(shop: Shop, shopper: Shopper, rng: random.Random) -> str:
    """The instruction's words, or the part of them that ranks the product best of three tries."""
    text = shopper.goal.instruction.lower().partition(", and price lower")[0]
    words = [w for w in re.findall(r"[\w'&/.-]+", text) if w.strip(".") not in FILLERS]
    asked, places = words[:MOST_WORDS], dict[str, int]()
    for _ in range(3):
        query = " ".join(asked)
        hits = shop.find(query)
        places[query] = hits.index(shopper.target) if shopper.target in hits else s.HITS
        if places[query] < s.PER_PAGE:
            return query
        asked = [word for word in words if rng.random() < 0.8][:MOST_WORDS] or words
    return min(places, key=places.__getitem__)


def poor_query(shop: Shop, rng: random.Random) -> str:
    """Words of another product's title."""
    words = rng.choice(shop.catalogue.products).title.lower().split()
    return " ".join(rng.sample(words, min(3, len(words)))).replace("]", "")


def play(shop: Shop, goal: int, rng: random.Random) -> Episode | None:
    """One trip; None where nothing was bought in time."""
    shopper, state = Shopper(shop, goal), State(goal)
    query = good_query(shop, shopper, rng)
    observations: list[str] = []
    legal: list[tuple[str, ...] | None] = []
    actions: list[str] = []
    wanted: list[str] = []
    worth: list[float] = []
    settled = 0
    while state.page != s.DONE and len(actions) < MOST_STEPS:
        best = shopper.wants(state, query)
        action = slip(shop, state, best, rng) or best
        labels = tuple(f"click[{label}]" for label in shop.clicks(state))
        observations.append(pages.brief(shop, state))
        legal.append(None if state.page == s.INDEX else labels)
        actions.append(action)
        wanted.append(best)
        worth.append(shopper.worth(state))
        if action != best:
            settled = len(actions)
        after = shop.act(state, action)
        if after is None:
            return None
        state = after
        if best == f"click[{s.BACK}]":
            query = good_query(shop, shopper, rng)
    if state.page != s.DONE or settled >= len(actions):
        return None
    instruction = shopper.goal.instruction
    kept = (observations, legal, actions, wanted, worth)
    return Episode(instruction, *map(tuple, kept), settled)  # type: ignore[arg-type]


def slip(shop: Shop, state: State, best: str, rng: random.Random) -> str | None:
    """Something else to do than the best, now and then."""
    if state.page == s.INDEX and rng.random() < POOR_QUERY:
        return f"search[{poor_query(shop, rng)}]"
    if state.page == s.RESULTS and rng.random() < WRONG_PRODUCT and shop.shown(state):
        place = rng.choice(shop.shown(state))
        return f"click[{shop.catalogue.products[place].asin}]"
    if state.page == s.ITEM and rng.random() < READS:
        return f"click[{rng.choice(('Description', 'Features'))}]"
    if state.page == s.ITEM and rng.random() < WRONG_OPTION:
        values = [v for group in shop.product(state).options.values() for v in group]
        return f"click[{rng.choice(values)}]" if values else None
    return None


# Files


def path_of(settings: Settings, split: str) -> Path:
    """Where the episodes of a split are kept."""
    return settings.build / f"webshop-{split}.jsonl.gz"


def record(settings: Settings, split: str, processes: int) -> int:
    """Play and keep the episodes of a split; how many there are."""
    count = settings.webshop_episodes if split == "train" else settings.webshop_dev_episodes
    seeds = CATALOGUES[split]
    jobs = [(seed, kind, count // len(seeds) // 2) for seed in seeds for kind in KINDS]
    path = path_of(settings, split)
    part, kept = path.with_suffix(".part"), 0
    with multiprocessing.Pool(processes) as pool, gzip.open(part, "wt", compresslevel=1) as out:
        for episodes in pool.imap(_play_shop, jobs):
            for episode in episodes:
                out.write(json.dumps(vars(episode)) + "\n")
            kept += len(episodes)
    part.replace(path)
    return kept


KINDS = ("synthetic", "human")


def _play_shop(job: tuple[int, Any, int]) -> list[Episode]:
    seed, kind, count = job
    env = WebShop(catalogue_seed=seed, goals=kind, tagger="words")
    places = env.tasks("train").places  # type: ignore[attr-defined]
    rng = random.Random(f"{seed}/{kind}")
    played = (play(env.shop, rng.choice(places), rng) for _ in range(count))
    return [episode for episode in played if episode is not None]


@lru_cache(maxsize=4)
def episodes(path: Path) -> tuple[Episode, ...]:
    """The episodes of a file."""
    with gzip.open(path, "rt") as lines:
        return tuple(Episode(**_tuples(json.loads(line))) for line in lines)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    legal = tuple(None if each is None else tuple(each) for each in fields["legal"])
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
    return plain | {"legal": legal}


# Roles


def propose(episode: Episode, step: int, rng: random.Random) -> Demonstration:
    """What the shopper wants to do."""
    messages = PROMPTS.propose_messages(episode.context(step))
    return answered("propose", (episode.instruction, step), messages, episode.wanted[step])


def judge(episode: Episode, step: int, rng: random.Random) -> Demonstration:
    """How well one can buy from here, in three words whose expected worth tells it."""
    worth = episode.worth[step]
    word = judgement(worth, rng)
    messages = PROMPTS.judge_messages(episode.context(step))
    return answered("judge", (episode.instruction, step), messages, word)


def choose(episode: Episode, step: int, rng: random.Random) -> Demonstration | None:
    """The number of the shopper's action in a list of two to six clicks."""
    best, legal = episode.wanted[step], episode.legal[step]
    if legal is None:
        return None
    others = [action for action in legal if action != best]
    options = [best, *rng.sample(others, min(len(others), rng.randint(1, 5)))]
    rng.shuffle(options)
    messages = PROMPTS.choose_messages(episode.context(step), options)
    number = str(options.index(best) + 1)
    return answered("choose", (episode.instruction, step), messages, number)


def complete(episode: Episode, step: int, rng: random.Random) -> Demonstration | None:
    """All remaining actions, where all were wanted; what other pages show is not foreseen."""
    legal = episode.legal[step]
    if step < episode.settled or legal is None or f"click[{s.BUY}]" not in legal:
        return None
    messages = PROMPTS.complete_messages(episode.context(step))
    plan = "\n".join(episode.actions[step:])
    return answered("complete", (episode.instruction, step), messages, plan)


ROLES: dict[str, Callable[[Episode, int, random.Random], Demonstration | None]] = {
    "propose": propose,
    "judge": judge,
    "choose": choose,
    "complete": complete,
}


def demonstrations(
    settings: Settings, count: int, rng: random.Random, split: str = "train", step: int = 0
) -> Iterator[Demonstration]:
    """The demonstrations of `count` pages, those of a page together.

    Each role is asked of a page with the chance in `webshop_shares`. Pages of results, the
    hardest, come three times as often.
    """
    played = episodes(path_of(settings, split))
    for episode in rng.choices(played, k=count):
        weights = [1 + 2 * ("Total results" in page) for page in episode.observations]
        place = rng.choices(range(len(weights)), weights)[0]
        for role, share in settings.webshop_shares.items():
            if rng.random() < share:
                made = ROLES[role](episode, place, rng)
                if made is not None:
                    yield made


if __name__ == "__main__":
    play_splits(__doc__, record)
