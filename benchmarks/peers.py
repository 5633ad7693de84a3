"""The same stub work through other libraries, where they are installed.

They are no dependencies of ours; `benchmarks/README.md` tells how to install them beside
us. Each class grows trees of at least `nodes` scored nodes, root not counted, with the
library's own search and its recording of traces switched off.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stub import ACTIONS, Model

WIDTH = len(ACTIONS)

Grown = tuple[int, int]
"""Scored nodes, and how often the search walked down from the root."""


class _Enough(Exception):
    """The tree has its nodes."""


class LLMReasoners:
    """MCTS of llm-reasoners; one reply gives actions and their fast rewards.

    Each of its iterations plays on to `depth_limit` and expands every node on the way: one
    selection for about ten expansions, where ours selects anew for each. A path is worth
    its mean reward and a node its best path, as in the library's own examples; its other
    defaults lock the search on one path here. Trees side by side run in threads.
    """

    name = "llm-reasoners"
    package = "reasoners"
    largest = 100_000
    settings = "MCTS(cum_reward=mean, calc_q=max, depth_limit=20), trace off"

    def __init__(self) -> None:
        from reasoners import SearchConfig, WorldModel
        from reasoners.algorithm import MCTS

        class Paths(WorldModel):
            def init_state(self) -> str:
                return ""

            def step(self, state: str, action: str) -> tuple[str, dict[str, Any]]:
                return state + action, {}

            def is_terminal(self, state: str) -> bool:
                return False

        class Replies(SearchConfig):
            def __init__(self, model: Model, nodes: int, latency_s: float) -> None:
                super().__init__()
                self.model, self.nodes, self.latency_s = model, nodes, latency_s
                self.scored = 0
                self.scores: dict[str, float] = {}

            def get_actions(self, state: str) -> list[str]:
                if self.scored >= self.nodes:
                    raise _Enough
                if self.latency_s:
                    time.sleep(self.latency_s)
                self.scored += WIDTH
                reply = self.model.reply(state)
                self.scores = {action: value for action, _, value in reply}
                return [action for action, _, _ in reply]

            def fast_reward(self, state: str, action: str) -> tuple[float, dict[str, Any]]:
                return self.scores[action], {"score": self.scores[action]}

            def reward(self, state: str, action: str, score: float = 0.0) -> tuple[float, Any]:
                return score, {}

        self.world, self.replies, self.search = Paths, Replies, MCTS

    def grow(self, model: Model, nodes: int, latency_s: float = 0.0) -> tuple[int, Any]:
        """Scored nodes, and the tree."""
        replies = self.replies(model, nodes, latency_s)
        search = self.search(n_iters=nodes, cum_reward=_mean, calc_q=max, depth_limit=20)
        with contextlib.suppress(_Enough):
            search(self.world(), replies)
        return replies.scored, search.root

    def count(self, model: Model, nodes: int, latency_s: float = 0.0) -> Grown:
        """Grow one tree."""
        scored, root = self.grow(model, nodes, latency_s)
        return scored, len(root.cum_rewards) + 1  # it was stopped in the last

    def grow_many(self, model: Model, trees: int, nodes: int, latency_s: float) -> Grown:
        """Several trees at once."""
        with ThreadPoolExecutor(trees) as threads:
            grown = list(threads.map(lambda _: self.count(model, nodes, latency_s), range(trees)))
        return _sum(grown)

    def grow_parallel(self, model: Model, nodes: int, latency_s: float) -> Grown:
        """One tree; it has no leaves in flight, so its calls follow one another."""
        return self.count(model, nodes, latency_s)


class TreeQuest:
    """StandardMCTS of treequest; one call gives one child with its score.

    The four children of a node are asked for side by side, as far as its interface goes.
    """

    name = "treequest"
    package = "treequest"
    largest = 10_000
    settings = "StandardMCTS(samples_per_action=4), step in place"

    def __init__(self) -> None:
        from treequest import StandardMCTS

        self.search = StandardMCTS(samples_per_action=WIDTH)

    def grow(self, model: Model, nodes: int) -> tuple[int, Any]:
        """Scored nodes, and the tree."""
        drawn = 0

        def generate(state: str | None) -> tuple[str, float]:
            nonlocal drawn
            child = _child(model, state, drawn)
            drawn += 1
            return child

        tree = self.search.init_tree()
        while drawn < nodes:
            tree = self.search.step(tree, {"go": generate}, inplace=True)
        return drawn, tree

    def count(self, model: Model, nodes: int) -> Grown:
        """Grow one tree."""
        return self.grow(model, nodes)[0], nodes // WIDTH

    def grow_many(self, model: Model, trees: int, nodes: int, latency_s: float) -> Grown:
        """Several trees at once."""

        async def all_trees() -> list[Grown]:
            one = self._grow_async
            return await asyncio.gather(*(one(model, nodes, latency_s) for _ in range(trees)))

        return _sum(asyncio.run(all_trees()))

    def grow_parallel(self, model: Model, nodes: int, latency_s: float) -> Grown:
        """One tree, with the four children of a node in flight."""
        return asyncio.run(self._grow_async(model, nodes, latency_s))

    async def _grow_async(self, model: Model, nodes: int, latency_s: float) -> Grown:
        drawn, tree = 0, self.search.init_tree()
        while drawn < nodes:
            tree, trials = self.search.ask_batch(tree, WIDTH, ["go"])
            await asyncio.sleep(latency_s)  # the four calls of this batch, side by side
            for trial in trials:
                result = _child(model, trial.parent_state, drawn)
                tree = self.search.tell(tree, trial.trial_id, result)
                drawn += 1
        return drawn, drawn // WIDTH


def _sum(grown: Sequence[Grown]) -> Grown:
    return sum(scored for scored, _ in grown), sum(selections for _, selections in grown)


def _mean(rewards: list[float]) -> float:
    return sum(rewards) / len(rewards)


def _child(model: Model, state: str | None, drawn: int) -> tuple[str, float]:
    action, _, value = model.reply(state or "")[drawn % WIDTH]
    return (state or "") + action, value


PEERS = (LLMReasoners, TreeQuest)


def installed() -> tuple[list[Any], dict[str, dict[str, Any]]]:
    """The peers that can be had, and what each is, or why it is missing."""
    found: list[Any] = []
    about: dict[str, dict[str, Any]] = {}
    for peer in PEERS:
        if importlib.util.find_spec(peer.package) is None:
            about[peer.name] = {"peer": None, "why": f"package {peer.package} is not installed"}
            continue
        try:
            found.append(peer())
        except Exception as error:  # noqa: BLE001  # whatever it is, we go on without it
            why = f"cannot be imported: {type(error).__name__}: {error}"
            about[peer.name] = {"peer": None, "why": why}
            continue
        about[peer.name] = {"peer": _version(peer), "settings": peer.settings}
    return found, about


def _version(peer: Any) -> str:
    try:
        return importlib.metadata.version(peer.name)
    except importlib.metadata.PackageNotFoundError:
        return "from source"
