"""The seams: what an environment, policy, value model, engine or search must offer.

These are structural types: a class that has the methods fits, no base class needed.
`agentsearch check NAME` runs the contracts in `conformance.py` against a plug-in.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from agentsearch.types import (
    Completion,
    Context,
    EnvSpec,
    Proposal,
    ProposeMode,
    Request,
    Scores,
    Step,
    Task,
    Trajectory,
    Verdict,
)

if TYPE_CHECKING:
    from agentsearch.budget import Account
    from agentsearch.problem import Problem
    from agentsearch.tree import Node

S = TypeVar("S")


@runtime_checkable
class Environment(Protocol[S]):
    """A world of tasks. A state is an immutable, comparable value.

    Optional: `oracle() -> Oracle` (ground-truth help for tests and reference rows),
    `answer(state) -> str` (what a finished episode answers; votes compare it) and
    `picture(state) -> str` (a drawing in characters for people, who find it as
    `extra["picture"]` of each node of a saved tree; no model sees it) and `async close()`
    (gives back what is held, such as sessions; called at the end of a run, after which the
    environment can be used again).

    Optional for policies without a model, from what a policy may read alone:
    `suggestions(context: Context) -> Sequence[str]` (different actions worth trying where
    the list is open; policy `random` draws from them), `rule(context: Context, rng:
    random.Random) -> str` (what a rule of thumb does; policy `rule`) and
    `rules() -> Mapping[str, Callable[[Context, random.Random], str]]` (several such rules
    by name, beside `rule` or instead of it; `policy.variant` names one).

    Optional for the commands: `site(*, split: str, task: int)` (an ASGI application with
    pages for people; `agentsearch play`) and, on the class, `check_data(folder: Path)` (a
    frozen dataclass that reports on third-party data; `agentsearch data`).
    """

    @property
    def spec(self) -> EnvSpec: ...

    @property
    def verifier(self) -> Verifier: ...

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of `train`, `dev` or `test`; the splits are disjoint."""
        ...

    async def reset(self, task: Task, *, seed: int) -> S: ...

    async def step(self, state: S, action: str) -> Step[S]:
        """The state after `action`; `state` itself does not change."""
        ...

    def observe(self, state: S) -> str:
        """One observation: no prompt, no history, no reward."""
        ...

    def legal_actions(self, state: S) -> Sequence[str] | None:
        """The finite list of actions, or None where it is open."""
        ...

    def key(self, state: S) -> Hashable:
        """Equal keys have equal futures."""
        ...


class Verifier(Protocol):
    """Ground truth. Labels and evaluation only; search never meets it."""

    async def verify(self, task: Task, trajectory: Trajectory, state: object) -> Verdict:
        """Judge a finished trajectory and its final state."""
        ...


class Oracle(Protocol):
    """What an environment knows about its own solutions, for tests and reference rows."""

    def action(self, state: object) -> str | None:
        """A best action, or None where nothing helps any more."""
        ...

    def value(self, state: object) -> float:
        """The best return still possible."""
        ...


class Policy(Protocol):
    """Proposes actions; owns its prompt, history window and parser.

    Optional, here, for value models and choosers: `async settled() -> Self`, called before a run
    begins, decides what was left open by asking the engine, or refuses to begin.

    A policy that reads the state itself (the oracle) has
    `propose_at(problem, node, n, *, seed, mode, account)` instead, and is named in every report.
    """

    async def propose(
        self, context: Context, n: int, *, seed: int, mode: ProposeMode = "sample"
    ) -> list[Proposal]: ...


class ValueModel(Protocol):
    """Expected return from here on, in reward units."""

    async def value(self, context: Context, *, seed: int) -> float: ...


@runtime_checkable
class NodeValue(Protocol):
    """A value model that needs the problem itself: rollouts, and the oracle."""

    async def value_at(self, problem: Problem, node: Node, *, seed: int) -> float: ...


@runtime_checkable
class NodePolicy(Protocol):
    """A policy that reads the state: reference rows only."""

    async def propose_at(
        self,
        problem: Problem,
        node: Node,
        n: int,
        *,
        seed: int,
        mode: ProposeMode,
        account: Account,
    ) -> list[Proposal]:
        """`Policy.propose`; `account` is charged for what a model is asked."""
        ...


class Chooser(Protocol):
    """The critic of a search that ranks actions: says which of several is best."""

    async def choose(self, context: Context, options: Sequence[str], *, seed: int) -> int:
        """Index of the best option."""
        ...


class RewardModel(Protocol):
    """Learned judgement of a trajectory."""

    async def score(self, trajectory: Trajectory) -> Scores: ...


class Engine(Protocol):
    """The transport below policies and models: one request in, its completions out."""

    async def generate(self, request: Request) -> list[Completion]: ...

    async def close(self) -> None: ...


class SearchAlgorithm(Protocol):
    """Grows `problem.tree` until the budget or the tree runs out.

    One that asks `problem.choose` says so with `needs_chooser = True`.
    """

    async def search(self, problem: Problem) -> None: ...
