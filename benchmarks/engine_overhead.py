"""What the engine itself costs: everything but the model and the environment.

    python benchmarks/engine_overhead.py --json benchmarks/results/engine_overhead.json

The stub model of `stub.py` proposes four children and their scores in one call. A *scored
node* is one that it has proposed and valued. Peers that are installed do the same work in
the same process, turn about with ours; figures are medians, ratios are of medians. The
garbage collector runs as it always does. Processor seconds stand beside wall seconds,
because a machine that is busy with other things slows the latter.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import peers
from record import Record, options, report
from stub import Model, World

from agentsearch import (
    Budget,
    BudgetExhausted,
    Context,
    Limits,
    Node,
    Problem,
    Proposal,
    Task,
    Tree,
)
from agentsearch.search.mcts import MCTS
from agentsearch.values.plain import Uniform

WIDTH = 4
LATENCY_S = 0.005
MB = 1e6


# -- the stub behind our own seams -----------------------------------------------------


@dataclass(frozen=True)
class OneCall:
    """Four children and their values in one reply, which is metered as one call."""

    model: Model
    latency_s: float = 0.0
    with_values: bool = True
    free = True  # it charges its one call itself, as an engine would

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: str = "sample"
    ) -> list[Proposal]:
        """The reply as proposals."""
        account = context.account
        assert account is not None
        account.budget.reserve(1)
        try:
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            reply = self.model.reply(context.observation)
            account.charge_calls(1)
        finally:
            account.budget.release(1)
        if self.with_values:
            return [Proposal(a, a, prior=prior, value=value) for a, prior, value in reply]
        return [Proposal(a, a, prior=prior) for a, prior, _ in reply]


@dataclass(frozen=True)
class ValueCall:
    """The same values, each asked for with a call of its own, metered by `Problem`."""

    model: Model

    async def value(self, context: Context, *, seed: int) -> float:
        """What the model thinks of the present state."""
        return self.model.value(context.observation)


def problem(model: Model, nodes: int, latency_s: float = 0.0, *, separate: bool = False) -> Problem:
    """One tree's problem, with a budget for at least `nodes` children."""
    expansions = math.ceil(nodes / WIDTH)
    calls = 2 * expansions if separate else expansions
    return Problem(
        Task("stub", "Go on."),
        World(),
        OneCall(model, latency_s, with_values=not separate),
        ValueCall(model) if separate else Uniform(),
        state="",
        budget=Budget(Limits(calls=calls)),
    )


async def search(one: Problem, parallel: int = 1) -> tuple[int, int]:
    """Grow the tree until its budget ends; its scored nodes, and the leaves visited."""
    with contextlib.suppress(BudgetExhausted):  # a last round may have more leaves than calls
        await MCTS(width=WIDTH, parallel=parallel).search(one)
    limit = one.budget.limits.calls
    assert one.budget.usage.calls == limit, f"{one.budget.usage.calls} of {limit} calls made"
    nodes = len(one.tree) - 1
    return nodes, nodes // WIDTH


# -- timing ----------------------------------------------------------------------------


Run = Callable[[], tuple[int, int]]
"""Grows trees; returns their scored nodes, and how often it walked down one to a leaf."""


def race(runs: dict[str, Run], repeats: int) -> dict[str, Any]:
    """Time everybody once, then everybody again, so that noise falls on all alike.

    Returns:
        Medians of ours, of each peer, and how many times a peer's speed ours is.
    """
    taken: dict[str, list[tuple[tuple[int, int], float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            gc.collect()  # nobody pays for another's rubbish
            wall, cpu = time.perf_counter(), time.process_time()
            grown = run()
            seconds = time.perf_counter() - wall, time.process_time() - cpu
            taken[name].append((grown, *seconds))
    figures = {name: _medians(each) for name, each in taken.items()}
    ours = figures.pop("agentsearch")
    ratios = {
        name: {
            how: round(ours[how] / theirs[how], 3)
            for how in ("nodes_per_second", "nodes_per_second_cpu")
        }
        for name, theirs in figures.items()
    }
    return {"agentsearch": ours, "peers": figures, "ours_over_peer": ratios}


def _medians(taken: Sequence[tuple[tuple[int, int], float, float]]) -> dict[str, Any]:
    [(nodes, selections)] = {grown for grown, _, _ in taken}  # every repeat grows the same
    wall = statistics.median(wall for _, wall, _ in taken)
    cpu = statistics.median(cpu for _, _, cpu in taken)
    return {
        "nodes": nodes,
        "selections": selections,
        "seconds": round(wall, 5),
        "seconds_cpu": round(cpu, 5),
        "seconds_all": [round(wall, 5) for _, wall, _ in taken],
        "nodes_per_second": round(nodes / wall),
        "nodes_per_second_cpu": round(nodes / cpu),
    }


def slope(seconds: dict[int, float]) -> float:
    """Least-squares slope of log seconds against log nodes; 1 is linear."""
    nodes = [math.log(each) for each in seconds]
    times = [math.log(each) for each in seconds.values()]
    return round(statistics.linear_regression(nodes, times).slope, 3)


# -- the rows --------------------------------------------------------------------------


def one_tree(model: Model, sizes: Sequence[int], repeats: int, found: list[Any]) -> dict[str, Any]:
    """Zero latency, one tree, one call a reply: nodes per second at several sizes."""
    by_size: dict[str, Any] = {}
    for nodes in sizes:
        runs: dict[str, Run] = {"agentsearch": partial(_grow, model, nodes)}
        for peer in found:
            if nodes <= peer.largest:
                runs[peer.name] = partial(peer.count, model, nodes)
        by_size[str(nodes)] = race(runs, repeats * (3 if nodes <= 3_000 else 1))
    ours = {size: figures["agentsearch"] for size, figures in by_size.items()}
    speeds = {"10000": 100_000, "100000": 60_000}
    steepness = slope({int(size): each["seconds"] for size, each in ours.items()})
    met = {size: ours[size]["nodes_per_second"] >= speeds[size] for size in speeds if size in ours}
    return {
        "what": "MCTS, zero-latency stub, one tree, children and scores in one call",
        "target": {"nodes_per_second": speeds, "slope": 1.1},
        "met": {**met, "slope": steepness <= 1.1},
        "slope": steepness,
        "slope_cpu": slope({int(size): each["seconds_cpu"] for size, each in ours.items()}),
        "shape": _shape(model, max(sizes)),
        "sizes": by_size,
    }


def overlapped(model: Model, sizes: Sequence[int], repeats: int) -> dict[str, Any]:
    """As `one_tree`, but values cost a call each, made beside the proposals."""
    by_size: dict[str, Any] = {}
    for nodes in sizes:
        run = partial(_grow, model, nodes, separate=True)
        figures = race({"agentsearch": run}, repeats)["agentsearch"]
        by_size[str(nodes)] = {"calls_per_second": round(nodes / 2 / figures["seconds"]), **figures}
    return {
        "what": "the same with separate propose and value calls, overlapped; a node is valued "
        "when it is visited, so two calls go with each four nodes",
        "target": None,
        "sizes": by_size,
    }


def many_trees(
    model: Model, trees: int, nodes: int, repeats: int, found: list[Any]
) -> dict[str, Any]:
    """Trees side by side, 5 ms a call, any number of calls at once."""

    async def ours() -> tuple[int, int]:
        problems = [problem(model, nodes, LATENCY_S) for _ in range(trees)]
        grown = await asyncio.gather(*(search(one, parallel=16) for one in problems))
        return sum(nodes for nodes, _ in grown), sum(selections for _, selections in grown)

    runs: dict[str, Run] = {"agentsearch": lambda: asyncio.run(ours())}
    for peer in found:
        runs[peer.name] = partial(peer.grow_many, model, trees, nodes, LATENCY_S)
    return {
        "what": f"{trees} trees x {nodes} nodes, 5 ms a call, calls batch; MCTS(parallel=16)",
        **_against(0.05, 0.024, race(runs, repeats)),
    }


def parallel_leaves(model: Model, nodes: int, repeats: int, found: list[Any]) -> dict[str, Any]:
    """One tree, 5 ms a call, 16 leaves in flight."""
    runs: dict[str, Run] = {
        "agentsearch": lambda: asyncio.run(search(problem(model, nodes, LATENCY_S), parallel=16))
    }
    for peer in found:
        runs[peer.name] = partial(peer.grow_parallel, model, nodes, LATENCY_S)
    return {
        "what": f"one tree, {nodes} nodes, 5 ms a call; MCTS(parallel=16)",
        **_against(0.08, 0.054, race(runs, repeats)),
    }


def memory(nodes: int, seed: int, found: list[Any]) -> dict[str, Any]:
    """Megabytes kept per 100,000 nodes, each kind of tree in a process of its own."""
    kinds = ["bare", "searched", *(peer.name for peer in found)]
    report: dict[str, dict[str, float]] = {}
    sizes: dict[str, int] = {}
    for kind in kinds:
        size = min([nodes, *(peer.largest for peer in found if peer.name == kind)])
        report[kind] = {
            how: _child_json("--memory", kind, str(size), how, "--seed", str(seed))
            for how in ("resident", "allocated")
        }
        sizes[kind] = size
    return {
        "what": "MB kept per 100,000 nodes: resident memory gained, and bytes allocated; "
        "`bare` is Tree.add alone, `searched` is MCTS with proposals and costs",
        "target": {"mb_per_100k": 60},
        "met": max(report["bare"].values()) <= 60 and max(report["searched"].values()) <= 60,
        "nodes": sizes,
        "kinds": report,
    }


def import_time(repeats: int) -> dict[str, Any]:
    """Seconds that `import agentsearch` takes in a fresh interpreter."""
    code = (
        "import time; t = time.perf_counter(); import agentsearch; print(time.perf_counter() - t)"
    )
    taken = [float(_child(sys.executable, "-c", code)) for _ in range(repeats)]
    return {
        "what": "import agentsearch, best of several fresh interpreters",
        "target": {"seconds": 0.2},
        "met": min(taken) < 0.2,
        "seconds": round(min(taken), 4),
        "seconds_median": round(statistics.median(taken), 4),
    }


def _against(target: float, floor: float, raced: dict[str, Any]) -> dict[str, Any]:
    met = raced["agentsearch"]["seconds"] <= target
    return {"target": {"seconds": target, "floor": floor}, "met": met, **raced}


def _grow(model: Model, nodes: int, *, separate: bool = False) -> tuple[int, int]:
    return asyncio.run(search(problem(model, nodes, separate=separate)))


def _shape(model: Model, nodes: int) -> dict[str, Any]:
    """How deep the tree is, to show that it is neither a chain nor flat."""
    one = problem(model, nodes)
    asyncio.run(search(one))
    depths = [node.depth for node in one.tree.nodes]
    return {
        "nodes": len(depths) - 1,
        "depth_mean": round(statistics.mean(depths), 2),
        "depth_max": max(depths),
        "depth_if_balanced": round(math.log(len(depths), WIDTH), 2),
    }


# -- memory, in a child process --------------------------------------------------------


def kept(kind: str, nodes: int, how: str, seed: int) -> float:
    """MB per 100,000 nodes that a tree of this kind keeps."""
    model = Model(seed)
    grow = {"bare": _bare, "searched": _searched}.get(kind)
    if grow is None:
        [peer] = [peer for peer in peers.installed()[0] if peer.name == kind]
        grow = peer.grow
    asyncio.run(search(problem(model, 100)))  # imports and caches are not the tree's
    gc.collect()
    if how == "allocated":
        import tracemalloc

        tracemalloc.start()
        _, tree = grow(model, nodes)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0]
    else:
        before = _resident()
        _, tree = grow(model, nodes)
        gc.collect()
        used = _resident() - before
    del tree
    return round(used / MB * 100_000 / nodes, 1)


def _bare(model: Model, nodes: int) -> tuple[int, Tree]:
    """A tree as `Tree.add` makes it, four children to a node, level by level."""
    tree = Tree(Node(0, "", ""))
    parents = iter(tree.nodes)  # it grows while we read it
    while len(tree) <= nodes:
        parent = next(parents)
        for action, prior, _ in model.reply(parent.state):
            state = parent.state + action
            tree.add(parent, action, state, state, prior=prior)
    return len(tree) - 1, tree


def _searched(model: Model, nodes: int) -> tuple[int, Tree]:
    one = problem(model, nodes)
    asyncio.run(search(one))
    return len(one.tree) - 1, one.tree


def _resident() -> int:
    """Bytes of memory this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _child(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _child_json(*arguments: str) -> Any:
    return json.loads(_child(sys.executable, str(Path(__file__)), *arguments))


# -- the whole -------------------------------------------------------------------------


def measure(quick: bool, seed: int) -> dict[str, Any]:
    """Every row."""
    repeats = 1 if quick else 5
    record = Record("engine_overhead", quick=quick, seed=seed, repeats=repeats)
    model = Model(seed)
    found, about = peers.installed()
    gc.collect()
    gc.freeze()  # what was imported, by us or a peer, is no part of anybody's tree
    sizes = [100, 1_000] if quick else [1_000, 3_000, 10_000, 30_000, 100_000]
    rows = {
        "one_tree": one_tree(model, sizes, repeats, found),
        "one_tree_overlapped": overlapped(model, sizes[:3], repeats),
        "many_trees": many_trees(model, 4 if quick else 16, 32 if quick else 128, repeats, found),
        "parallel_leaves": parallel_leaves(model, 64 if quick else 512, repeats, found),
        "memory": memory(2_000 if quick else 100_000, seed, found),
        "import": import_time(repeats),
    }
    return record.of(rows, {}, peers=about)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)  # for our child processes
    given = parser.parse_args()
    if given.memory:
        kind, nodes, how = given.memory
        print(json.dumps(kept(kind, int(nodes), how, given.seed)))
        return
    report(measure(given.quick, given.seed), given.json)


if __name__ == "__main__":
    main()
