"""What a step of WebShop costs, its text included, what its states keep, and how it loads.

    python benchmarks/webshop_steps.py --json benchmarks/results/webshop_steps.json

The shop is the original's 1,000 products where their files are given, else the generated
catalogue; the report names it. Steps are timed apart from the play that chose them; figures
are medians over `repeats`, and runs take turns, so that ratios hold on a busy machine too.
Processor seconds stand beside wall seconds. Episodes come first, before anything else has used
memory, and theirs is the process's resident set, read from /proc (Linux); other memory is what
Python and numpy allocate (`tracemalloc`).
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from record import Record, options, report
from timing import kept, race, ratios

from agentsearch.types import Context, Turn
from agentsearch_envs.webshop import WebShop, fuzzy, words
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.goals import prompt
from agentsearch_envs.webshop.shop import State

DATA = Path(__file__).parents[2] / "shared" / "data" / "webshop"
MODES = ("brief", "text", "text_rich")
CLICKS, SEARCHES = 5_000, 1_000
"""Targets, steps a second."""
MARKS = 5
"""How often memory is read along the episodes."""
WORDS = 8
"""Of the queries that fill the cache."""
MB = 1e6
LOADING = """
import json, sys, time
from agentsearch_envs.webshop import WebShop

def clocks():
    return time.perf_counter(), time.process_time()

begun = clocks()
shop = WebShop(data=sys.argv[1] or None, products=int(sys.argv[2])).shop
loaded = clocks()
shop.find("shoes")
found = clocks()
print(json.dumps([b - a for b, a in zip(loaded + found, begun + loaded)]))
"""
LOADED = ("seconds", "seconds_cpu", "first_search_seconds", "first_search_seconds_cpu")
"""What it prints."""

Act = Callable[[Context], str]
Taken = tuple[State, str]
"""A state and the action taken there."""


@dataclass(frozen=True)
class Sizes:
    """How much is done for each row.

    Attributes:
        goals: that episodes go through, again and again.
        states, trees: how many states are kept, in how many trees.
        queries: that are put to the cache of searches.
    """

    products: int = 1_000
    repeats: int = 5
    episodes: int = 10_000
    goals: int = 1_000
    clicks: int = 10_000
    searches: int = 2_000
    purchases: int = 1_000
    states: int = 100_000
    trees: int = 200
    queries: int = s.CACHED_SEARCHES * 11 // 10


QUICK = Sizes(100, 1, 40, 4, 200, 50, 20, 500, 5, 100)


# -- play ------------------------------------------------------------------------------


def played(env: WebShop, goal: int, act: Act) -> Iterator[Taken]:
    """An episode, step by step."""
    wanted = prompt(env.shop.goals[goal].instruction)
    state, turns = State(goal), tuple[Turn, ...]()
    while not env.over(state):
        context = Context(wanted, env.observe(state), turns, env.legal_actions(state))
        action = act(context)
        yield state, action
        turns = (*turns, Turn(context.observation, action))
        state = env.take(state, action).state


def by_chance(env: WebShop, rng: random.Random) -> Act:
    """Any click; where there is none, a search for the instruction."""
    return lambda context: rng.choice(context.legal_actions or env.suggestions(context))


def by_rule(env: WebShop, rng: random.Random) -> Act:
    """Search the instruction, open the first product, choose its options, buy."""
    return lambda context: env.rule(context, rng)


def clicks(env: WebShop, count: int, seed: int) -> list[Taken]:
    """The clicks of random play, goal after goal."""
    act, found, goal = by_chance(env, random.Random(seed)), list[Taken](), 0
    while len(found) < count:
        episode = played(env, goal % len(env.shop.goals), act)
        found += [taken for taken in episode if taken[0].page != s.INDEX]
        goal += 1
    return found[:count]


def searches(env: WebShop, count: int) -> list[Taken]:
    """A search for the instruction of each goal, no two alike."""
    actions = {s.search_for(goal.instruction): i for i, goal in enumerate(env.shop.goals)}
    return [(State(goal), action) for action, goal in actions.items()][:count]


def purchases(env: WebShop, count: int) -> list[Taken]:
    """Of each goal's search the first product, with the first value of each option."""
    found: list[Taken] = []
    for state, action in searches(env, count):
        results = env.take(state, action).state
        product = env.shop.catalogue.products[results.hits[0]]
        item = env.take(results, f"click[{product.asin}]").state
        first = tuple((group, values[0]) for group, values in product.options.items())
        found.append((item._replace(options=first), f"click[{s.BUY}]"))
    return found


def grown(env: WebShop, goals: range, count: int) -> list[State]:
    """States of a tree for each goal, breadth first, every click of every page; no two alike."""
    size, found = count // len(goals), list[State]()
    for goal in goals:
        tree, keys = [State(goal)], set[Hashable]()
        for state in tree:  # which grows
            for action in env.legal_actions(state) or first_searches(env, goal):
                after = env.take(state, action).state
                if len(tree) < size and (key := env.key(after)) not in keys:
                    keys.add(key)
                    tree.append(after)
            if len(tree) == size:
                break
        found += tree
    return found


def first_searches(env: WebShop, goal: int) -> list[str]:
    """What a policy might search for first."""
    wanted = env.shop.goals[goal]
    return [s.search_for(words) for words in (wanted.instruction, wanted.query)]


# -- the rows --------------------------------------------------------------------------


def episodes(env: WebShop, sizes: Sizes, seed: int) -> dict[str, Any]:
    """The resident set along whole episodes, the caches' sizes, and what grows beside them."""
    rng, goals = random.Random(seed), min(sizes.goals, len(env.shop.goals))
    policies = by_rule(env, rng), by_chance(env, rng)

    def play(numbers: range) -> int:
        return sum(1 for i in numbers for _ in played(env, i % goals, policies[i // goals % 2]))

    def play_and_forget() -> None:
        play(range(2 * goals))
        forget(env)

    marks, steps, stride = list[dict[str, float]](), 0, sizes.episodes // MARKS
    for first in range(0, sizes.episodes, stride):
        steps += play(range(first, first + stride))
        marks.append({"episodes": first + stride, "rss_mb": rss_mb(), **cached(env)})
    thousands = [mark["episodes"] / 1000 for mark in marks]
    slope = statistics.linear_regression(thousands, [mark["rss_mb"] for mark in marks]).slope
    return {
        "what": f"{goals} goals played by rule and by chance in turn, in mode {env.observation}; "
        "the slope is of all marks, the first of which is after everything was loaded; what "
        "further episodes leave when caches are emptied is by tracemalloc",
        "steps": steps,
        "marks": marks,
        "most_cached": {name: each.cache_info().maxsize for name, each in caches(env).items()},
        "slope_mb_per_1000_episodes": round(slope, 4),
        "grown_mb": round(marks[-1]["rss_mb"] - marks[0]["rss_mb"], 2),
        "left_without_caches": {"episodes": 2 * goals, "bytes": kept(play_and_forget)},
    }


def rss_mb() -> float:
    """Memory that the process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MB, 2)


def caches(env: WebShop) -> dict[str, Any]:
    """The functions that remember what they were asked."""
    return {
        "searches": env.shop.find,
        "terms": words.term,
        "compared_texts": fuzzy.token_set_ratio,
        "words_of_texts": fuzzy.tokens,
    }


def cached(env: WebShop) -> dict[str, int]:
    """How much each of them remembers."""
    return {name: each.cache_info().currsize for name, each in caches(env).items()}


def forget(env: WebShop) -> None:
    """Empty the caches but that of terms, which all queries share."""
    for name, each in caches(env).items():
        if name != "terms":
            each.cache_clear()


def step(env: WebShop, taken: Sequence[Taken]) -> int:
    """Take each step and read the page it leads to."""
    for state, action in taken:
        env.observe(env.take(state, action).state)
    return len(taken)


def step_and_list(env: WebShop, taken: Sequence[Taken]) -> int:
    """Also list what can be clicked next, as is done at every node of a search."""
    for state, action in taken:
        after = env.take(state, action).state
        env.observe(after)
        env.legal_actions(after)
    return len(taken)


def step_anew(env: WebShop, taken: Sequence[Taken]) -> int:
    """Take steps that find nothing remembered but the terms of words."""
    forget(env)
    return step(env, taken)


def click_steps(shops: dict[str, WebShop], sizes: Sizes, seed: int) -> dict[str, Any]:
    """Clicks per second along random play."""
    brief = shops["brief"]
    taken = clicks(brief, sizes.clicks, seed)
    runs = {mode: partial(step, env, taken) for mode, env in shops.items()}
    figures = race(
        runs | {"brief_and_actions": partial(step_and_list, brief, taken)}, sizes.repeats
    )
    return {
        "what": "clicks of random play, purchases among them, each with the text of the page it "
        "leads to; brief_and_actions also lists what can be clicked there",
        "target": {"per_second": CLICKS},
        "met": all(figures[mode]["per_second"] >= CLICKS for mode in MODES),
        "purchases": sum(action == f"click[{s.BUY}]" for _, action in taken),
        **figures,
        "brief_over": {name: ratios(figures["brief"], figures[name]) for name in list(figures)[1:]},
    }


def search_steps(shops: dict[str, WebShop], sizes: Sizes) -> dict[str, Any]:
    """Searches per second: of queries not seen before, and of the same ones again."""
    taken = searches(shops["brief"], sizes.searches)
    runs: dict[str, Callable[[], int]] = {}
    for mode, env in shops.items():
        runs |= {mode: partial(step_anew, env, taken), f"{mode}_again": partial(step, env, taken)}
    race(runs, 1)  # the terms of words are kept once a process
    figures = race(runs, sizes.repeats)
    return {
        "what": "searches for goals' instructions, all distinct and none cached, each with the "
        "text of its results; `again` asks the same ones from the cache",
        "target": {"per_second": SEARCHES},
        "met": all(figures[mode]["per_second"] >= SEARCHES for mode in MODES),
        "mean_words": round(statistics.mean(len(action.split()) for _, action in taken), 1),
        **figures,
        "again_over_first": {
            mode: ratios(figures[f"{mode}_again"], figures[mode]) for mode in MODES
        },
    }


def purchase_steps(env: WebShop, sizes: Sizes) -> dict[str, Any]:
    """Purchases per second, the reward included: of texts not compared before, and again."""
    taken = purchases(env, sizes.purchases)
    runs = {"first": partial(step_anew, env, taken), "again": partial(step, env, taken)}
    figures = race(runs, sizes.repeats)
    return {
        "what": f"purchases in mode {env.observation}, one a goal: the dearest click",
        **figures,
        "again_over_first": ratios(figures["again"], figures["first"]),
    }


def states(env: WebShop, sizes: Sizes) -> dict[str, Any]:
    """States made and kept a second, and what 100,000 of them take."""
    goals = range(min(sizes.trees, len(env.shop.goals)))
    grow = partial(grown, env, goals, sizes.states)
    figures = race({"stored": lambda: len(grow())}, sizes.repeats)["stored"]
    caches(env)["searches"].cache_clear()  # so that hits count as memory too
    size = kept(grow) / figures["count"]
    return {
        "what": f"states kept of {len(goals)} trees grown breadth first: actions listed, steps "
        "taken, repeats told apart by key; memory by tracemalloc, with the hits of searches",
        **figures,
        "bytes_per_state": round(size),
        "mb_per_100000_states": round(size * 100_000 / MB, 2),
        "states_per_gb": round(1e9 / size),
    }


def full_cache(env: WebShop, sizes: Sizes, seed: int) -> dict[str, Any]:
    """What the cache of searches takes when more was asked than it remembers."""
    rng, products = random.Random(seed), env.shop.catalogue.products
    known = sorted({word for product in products for word in product.title.split()})
    queries = [" ".join(rng.sample(known, WORDS)) for _ in range(sizes.queries)]
    find = caches(replace(env))["searches"]
    size = kept(lambda: deque(map(find, queries), maxlen=0))
    about = find.cache_info()
    return {
        "what": f"distinct queries of {WORDS} random words put to an empty cache",
        "queries": len(set(queries)),
        "entries": about.currsize,
        "most": about.maxsize,
        "mb": round(size / MB, 2),
    }


def loading(data: Path | None, sizes: Sizes) -> dict[str, Any]:
    """Seconds until the shop is open in a new process, and until its first search is done."""
    taken: dict[str, list[list[float]]] = {"cold": [], "warm": []}
    for _ in range(sizes.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for row in taken.values():  # the first builds the index, the second finds it
                row.append(load(data, sizes.products, folder))
    cold, warm = (
        [statistics.median(each) for each in zip(*row, strict=True)] for row in taken.values()
    )
    return {
        "what": "a new process after its imports: cold builds the index, warm reads it; the "
        "libraries that find terms are imported by the building or by the first search, so the "
        "ratio is of their sum",
        **{
            name: dict(zip(LOADED, (round(each, 4) for each in row), strict=True))
            for name, row in (("cold", cold), ("warm", warm))
        },
        "cold_over_warm": {
            "seconds": round((cold[0] + cold[2]) / (warm[0] + warm[2]), 2),
            "seconds_cpu": round((cold[1] + cold[3]) / (warm[1] + warm[3]), 2),
        },
    }


def load(data: Path | None, products: int, cache: str) -> list[float]:
    """The seconds of `LOADED` in a new process, with a cache folder of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(data or ""), str(products)],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"XDG_CACHE_HOME": cache},
    )
    return json.loads(done.stdout)


# -- the whole -------------------------------------------------------------------------


def measure(quick: bool, seed: int, data: Path | None) -> dict[str, Any]:
    """Every row."""
    sizes = QUICK if quick else Sizes()
    record = Record("webshop_steps", quick=quick, seed=seed, repeats=sizes.repeats)
    env = WebShop(data=str(data) if data else None, products=sizes.products)
    rows = {"episodes": episodes(env, sizes, seed)}
    shops = {mode: replace(env, observation=mode) for mode in MODES}
    rows |= {
        "clicks": click_steps(shops, sizes, seed),
        "searches": search_steps(shops, sizes),
        "purchases": purchase_steps(env, sizes),
        "states": states(env, sizes),
        "full_cache": full_cache(env, sizes, seed),
        "loading": loading(data, sizes),
    }
    versions = {name: version(name) for name in ("nltk", "numpy", "regex")}
    return record.of(rows, versions, catalogue=catalogue(env))


def catalogue(env: WebShop) -> dict[str, Any]:
    """Which shop was measured."""
    found = env.shop.catalogue
    return {
        "name": found.name,
        "from": "generated" if env.data is None else "the original's files",
        "digest": found.digest,
        "products": len(found.products),
        "goals": len(env.shop.goals),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA if DATA.is_dir() else None,
        help="the original's files; ../shared/data/webshop where it is there, else generated",
    )
    given = parser.parse_args()
    report(measure(given.quick, given.seed, given.data), given.json)


if __name__ == "__main__":
    main()
