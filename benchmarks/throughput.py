"""How much of a real vLLM's speed is left under search.

    python benchmarks/throughput.py --json benchmarks/results/throughput.json

A vLLM with `tiny` is started as `agentsearch serve` starts it. Searches, 64 at a time, run
for some seconds, with run folder and journal, and every request is noted. Then the requests
that were answered are asked again in their order, 64 at a time, by a client that does nothing
else: what share of its speed the search had is the figure. Both begin with an empty prefix
cache. Where server and client share the cores, as on a laptop, the search pays for the
environment and the tree with the server's time, too; client seconds stand beside each figure.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import engine_overhead
from record import Record, main
from recorder import Recorder, Sent, replay
from stub import Model

from agentsearch import commands
from agentsearch.engines.load import Load, read_load
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.engines.scoring import PLACE_TOKENS
from agentsearch.engines.trie import TokenTrie
from agentsearch.serve import installed_vllm, served
from agentsearch.throughput import Concurrency
from agentsearch.types import Message, Request

AT_ONCE = 64
SEEN = ("in_flight", "queue_seconds", "concurrency")
"""Of a run's own summary."""
TARGET = 0.85
VOCABULARY = 4096
"""Tokens that random prompts are made of; `tiny` has twice as many."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        seconds, replies: of the model, that a search goes on for at least.
        repeats: of each search and its replay.
        requests: of each raw measurement; a quarter of them one at a time.
        lists: of actions, scored in each way and case.
        words: of the prompts before them.
    """

    seconds: float = 10.0
    replies: int = 300
    repeats: int = 3
    requests: int = 512
    lists: int = 32
    words: tuple[int, ...] = (20, 150, 500)


QUICK = Sizes(seconds=1.0, replies=30, repeats=1, requests=32, lists=4, words=(20,))
SEARCHES = {
    "babyai_text, mcts": ("babyai_text/mcts", ()),
    "babyai_text, best_first": ("babyai_text/best_first", ()),
    "game24, mcts": ("game24/mcts", ()),
    "game24, best_first": ("game24/best_first", ()),
    "game24, mcts with sampled actions and votes": (
        "game24/mcts",
        ("policy.name=prompted", "search.width=4", "value={name: votes, expected: false}"),
    ),
}
"""Shipped recipes, which score the legal actions and the words of a judgment, and one that
samples text."""


# -- the server --------------------------------------------------------------------------


@contextmanager
def vllm(*flags: str) -> Generator[str]:
    """A server with `tiny` that can forget its prefix cache."""
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"
    with tempfile.TemporaryDirectory() as logs, served("tiny", flags=flags, logs=Path(logs)) as url:
        yield url


def forget(url: str) -> None:
    """Empty the prefix cache, once the last request has ended."""
    for _ in range(100):
        request = urllib.request.Request(
            f"{url.removesuffix('/v1')}/reset_prefix_cache", method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            if json.load(reply)["success"]:
                return
        time.sleep(0.1)
    raise RuntimeError("The server does not empty its prefix cache; requests still run there.")


def load(url: str) -> Load:
    """What the server says of itself."""
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/metrics", timeout=60) as reply:
        found = read_load(reply.read().decode())
    assert found is not None
    return found


def figures(sent: Sequence[Sent], seconds: float, cpu: float, before: Load, after: Load) -> Any:
    """Speed of requests that were answered within `seconds`."""
    tokens = sum(each.prompt + each.generated for each in sent)
    return {
        "requests": len(sent),
        "only_tokenise": sum(each.path == "/tokenize" for each in sent),
        "seconds": round(seconds, 3),
        "client_seconds_cpu": round(cpu, 3),
        "requests_per_second": round(len(sent) / seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1),
        "prefix_cache_hit_rate": round(
            (after.hits - before.hits) / max(after.looked_up - before.looked_up, 1), 3
        ),
    }


# -- under search, and the same again ----------------------------------------------------


def search(
    url: str, recipe: str, changes: Sequence[str], sizes: Sizes, at_once: Concurrency, seed: int
) -> tuple[list[Sent], dict[str, Any]]:
    """Search `at_once` tasks at a time for a while; the requests answered by then."""
    forget(url)
    before, in_flight = load(url), 1 if at_once == 1 else AT_ONCE
    overrides = [
        f"policy.engine={{name: 'recorder:Recorder', model: tiny, base_url: '{url}', "
        f"max_in_flight: {in_flight}, timeout_s: 600}}",
        "tasks={split: train, limit: 5000}",
        f"concurrency={at_once}",
        f"seed={seed}",
        *changes,
    ]
    plan = commands.prepare(recipe, overrides)
    recorder = cast(Recorder, plan.builder.engines[0].engine)
    began = cpu = 0.0
    first = 0
    over = threading.Event()

    def on_event(event: str, *_: Any) -> None:
        nonlocal began, cpu, first
        if not began:  # what came before only made sure that the server answers
            began, cpu, first = time.perf_counter(), time.process_time(), len(recorder.sent)
            threading.Thread(target=end, daemon=True).start()

    def end() -> None:
        """End the run as Ctrl-C does."""
        over.wait(sizes.seconds)
        while not over.wait(0.1):
            if sum(each.generated > 0 for each in recorder.sent[first:]) >= sizes.replies:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    with tempfile.TemporaryDirectory() as runs:
        try:
            report = commands.carry_out(plan, runs, on_event)
            raise RuntimeError(f"{recipe}: {len(report.results)} tasks are too few to go on with.")
        except commands.Interrupted as interrupted:
            report = interrupted.report
        finally:
            over.set()
    cpu = time.process_time() - cpu
    found = [each for each in recorder.sent[first:] if each.ended is not None]
    within = max(each.ended or 0.0 for each in found) - began
    failed = {name: n for name, n in recorder.counts.items() if name.startswith("retried")}
    speed = figures(found, within, cpu, before, load(url))
    seen = report.summary["throughput"]
    return found, {
        **speed,
        **{name: round(seen[name], 4) for name in SEEN if name in seen},
        "tasks_finished": len(report.results),
        **({"retried": failed} if failed else {}),
    }


def levels(url: str, sizes: Sizes, seed: int) -> dict[str, Any]:
    """What `concurrency: auto` comes to, beside fixed numbers of tasks at a time."""
    return {
        "what": "game24/mcts with so many tasks at a time; `concurrency` is where auto ended",
        "tasks_at_a_time": {
            str(level): search(url, "game24/mcts", (), sizes, level, seed)[1]
            for level in (4, 16, 64, "auto")
        },
    }


def again(url: str, sent: Sequence[Sent], at_once: int) -> dict[str, Any]:
    """The same requests by a client that does nothing else."""
    forget(url)
    before, cpu = load(url), time.process_time()
    seconds, answered = asyncio.run(replay(url, sent, at_once))
    return figures(answered, seconds, time.process_time() - cpu, before, load(url))


def under_search(url: str, sizes: Sizes, seed: int) -> tuple[dict[str, Any], list[Sent]]:
    """Every kind of search beside its replay and beside one request at a time."""
    rows: dict[str, Any] = {}
    everything: list[Sent] = []
    search(url, "game24/mcts", (), QUICK, AT_ONCE, seed)  # to warm up
    for name, (recipe, changes) in SEARCHES.items():
        rounds: list[dict[str, Any]] = []
        for i in range(sizes.repeats):
            sent, speed = search(url, recipe, changes, sizes, AT_ONCE, seed + i)
            rounds.append({"search": speed, "replay": again(url, sent, AT_ONCE)})
            everything += sent
        part = replace(sizes, seconds=sizes.seconds / 2, replies=sizes.replies // 4)
        _, alone = search(url, recipe, changes, part, 1, seed)
        ratios = {
            how: [round(each["search"][how] / each["replay"][how], 3) for each in rounds]
            for how in ("requests_per_second", "tokens_per_second")
        }
        work = statistics.median(each["search"]["requests"] for each in rounds)
        rows[name] = {
            "target": {"search_over_replay": TARGET},
            "met": all(statistics.median(each) >= TARGET for each in ratios.values()),
            "search_over_replay": {how: statistics.median(each) for how, each in ratios.items()},
            "search_over_replay_all": ratios,
            "rounds": rounds,
            "one_request_at_a_time": {
                **alone,
                "seconds_for_the_same_requests": round(work / alone["requests_per_second"], 1),
                "extrapolated": True,
            },
        }
    return rows, everything


# -- the server alone --------------------------------------------------------------------


def raw(url: str, like: Sequence[Sent], sizes: Sizes, seed: int) -> dict[str, Any]:
    """Tokens per second of random prompts with the lengths that the searches sent."""
    rng = random.Random(seed)
    asked = [each for each in like if each.prompt]
    by_concurrency: dict[str, Any] = {}
    for at_once in (1, 16, 64):
        count = sizes.requests // 4 if at_once == 1 else sizes.requests
        requests = [one_like(rng.choice(asked), rng) for _ in range(count)]
        by_concurrency[str(at_once)] = again(url, requests, at_once)
    return {
        "what": "random prompts, one a request, with lengths drawn from the searches' requests",
        "prompt_tokens_mean": round(statistics.mean(e.prompt / e.prompts for e in asked), 1),
        "generated_tokens_mean": round(statistics.mean(e.generated / e.prompts for e in asked), 1),
        "concurrency": by_concurrency,
    }


def one_like(sent: Sent, rng: random.Random) -> Sent:
    """A request of a random prompt, as long as one of `sent` and its reply."""
    prompt = rng.choices(range(VOCABULARY), k=max(1, sent.prompt // sent.prompts))
    generated = max(1, sent.generated // sent.prompts)
    body = {
        "model": "tiny",
        "prompt": prompt,
        "max_tokens": generated,
        "min_tokens": generated,
        "ignore_eos": True,
    }
    return Sent("completions", body)


# -- two ways to score -------------------------------------------------------------------

ACTIONS = {
    "4 words": ["left", "right", "forward", "drop"],
    "12 short": [f"{a} {o} {b}" for a, b in ((3, 8), (12, 7), (5, 11)) for o in "+-*/"],
    "8 long": [
        f"click on the {colour} {what} and then go back to the list of results"
        for colour in ("red", "green", "blue", "yellow")
        for what in ("button", "product")
    ],
    "24 long": [f"search for item number {n} of the list and look at it" for n in range(24)],
}


def scoring(url: str, sizes: Sizes) -> dict[str, Any]:
    """Seconds a list of actions takes by walk and by prefill, and what a place costs."""
    cases: dict[str, Any] = {}
    for words in sizes.words:
        for name, actions in ACTIONS.items():
            taken = {
                way: score(url, way, words, actions, sizes.lists) for way in ("walk", "prefill")
            }
            prompt, ids = taken["walk"][1], taken["walk"][2]
            places = places_of(ids)
            prefill_tokens = sum(prompt + len(each) for each in ids)
            walk_s, prefill_s = taken["walk"][0], taken["prefill"][0]
            # the prompt tokens that prefill computes in the time a walk takes
            equal = prefill_tokens * walk_s / prefill_s
            cases[f"{name}, prompt of {prompt} tokens"] = {
                "prompt_tokens": prompt,
                "action_tokens": sum(map(len, ids)),
                "places": places,
                "walk_ms": round(walk_s * 1000, 2),
                "prefill_ms": round(prefill_s * 1000, 2),
                "walk_was_cheaper": walk_s < prefill_s,
                "walk_was_chosen": prompt + PLACE_TOKENS * places < prefill_tokens,
                "place_tokens": round((equal - prompt) / places, 1),
            }
    wrong = [c for c in cases.values() if c["walk_was_cheaper"] != c["walk_was_chosen"]]
    lost = [max(c["walk_ms"], c["prefill_ms"]) / min(c["walk_ms"], c["prefill_ms"]) for c in wrong]
    return {
        "what": "milliseconds of the server per list of actions, 16 different prompts at a time; "
        "place_tokens is what PLACE_TOKENS would have to be for the two to be equal",
        "place_tokens_used": PLACE_TOKENS,
        "place_tokens_median": statistics.median(c["place_tokens"] for c in cases.values()),
        "chosen_wrongly": len(wrong),
        "most_lost_by_it": round(max(lost, default=1.0), 2),
        "cases": cases,
    }


def places_of(ids: Sequence[Sequence[int]]) -> int:
    """Nodes of the actions' trie that have children, its root among them."""
    return len(set(TokenTrie.of([list(each) for each in ids]).parents))


def score(
    url: str, way: Any, words: int, actions: Sequence[str], lists: int
) -> tuple[float, int, list[tuple[int, ...]]]:
    """Seconds a list, tokens of a prompt, and of each action."""
    forget(url)
    engine = OpenAIEngine("tiny", url, timeout_s=600, scoring=way, max_in_flight=1000)
    rng = random.Random(words)

    def request() -> Request:
        text = " ".join(rng.choices(("red", "ball", "door", "key", "left", "7", "steps"), k=words))
        return Request((Message("user", f"{rng.random()} {text}"),), choices=tuple(actions))

    async def main() -> tuple[float, Any]:
        try:
            found = await engine.generate(request())  # tokenises the actions
            todo = iter([request() for _ in range(lists)])

            async def work() -> None:
                for each in todo:
                    await engine.generate(each)

            began = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(16)))
            return (time.perf_counter() - began) / lists, found
        finally:
            await engine.close()

    seconds, found = asyncio.run(main())
    tokens = [each.tokens for each in found]
    return seconds, len(tokens[0].prompt), [each.ids for each in tokens]


# -- the whole ---------------------------------------------------------------------------


def measure(quick: bool, seed: int) -> dict[str, Any]:
    """Every row."""
    sizes = QUICK if quick else Sizes()
    record = Record("throughput", quick=quick, seed=seed, repeats=sizes.repeats)
    model = Model(seed)
    rows: dict[str, Any] = {
        "many_trees": engine_overhead.many_trees(model, 16, 128, 5, []),
        "parallel_leaves": engine_overhead.parallel_leaves(model, 512, 5, []),
    }
    with vllm() as url:
        rows["under_search"], sent = under_search(url, sizes, seed)
        rows["levels"] = levels(url, sizes, seed)
        rows["raw"] = raw(url, sent, sizes, seed)
    with vllm("--no-enable-lora") as url:
        rows["scoring"] = scoring(url, sizes)
    return record.of(rows, {"vllm": installed_vllm() or ""})


if __name__ == "__main__":
    main(__doc__, measure)
