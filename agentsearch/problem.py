"""One task made searchable: what a search algorithm sees, and nothing else.

A `Problem` asks the policy for actions, takes steps in the environment, asks the value
model, merges equal actions, hides what search must not see, and charges everything to
its budget. It has no verifier. Replies are applied in the order of the requests, so the
tree does not depend on which reply arrives first (but for the last tokens that are
affordable, where a budget limits those, and the last steps of an environment that is not
instant: they go to whoever asks first).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from agentsearch.budget import Account, Budget, Metered, Usage
from agentsearch.errors import (
    BudgetExhausted,
    ConfigError,
    EnvError,
    ModelError,
    PolicyError,
    boundary,
)
from agentsearch.journal import Attempt
from agentsearch.protocols import (
    Chooser,
    Environment,
    NodePolicy,
    NodeValue,
    Policy,
    ValueModel,
)
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node, Tree, proposals_from, proposals_json
from agentsearch.types import Context, Cycles, Proposal, ProposeMode, Step, Task, Turn

T = TypeVar("T")
Draft = list[tuple[Proposal, Step[Any]]]
"""Proposals with the step each leads to, not yet attached to the tree."""


async def settle(*awaitables: Awaitable[T]) -> list[T | Exception]:
    """Run side by side until all have ended; what each returned or raised, in order.

    The first runs in the caller's own task, so that one alone costs no task.
    """
    tasks = [asyncio.ensure_future(each) for each in awaitables[1:]]
    try:
        return [await _outcome(each) for each in (*awaitables[:1], *tasks)]
    except BaseException:  # we were cancelled: so are they, and nobody is left behind
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _outcome(awaitable: Awaitable[T]) -> T | Exception:
    try:
        return await awaitable
    except Exception as error:
        return error


async def gather(*awaitables: Awaitable[T]) -> list[T]:
    """Run side by side, let all finish, then raise the first error if there was one."""
    results = await settle(*awaitables)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return cast(list[T], results)


class Problem:
    """A task, the tree grown for it, and the budget it is grown with.

    Args:
        task: what to solve.
        env: its environment.
        policy: proposes actions.
        value: expected return from a state, in reward units.
        state: the environment's state at the root.
        budget: what this search may spend.
        seed: of the run; every draw derives its own from it.
        reward_visible: whether search sees the environment's reward. Where it does not,
            a terminal state is worth what the value model said before the last step.
        merge: whether equal actions at a node become one child with a count.
        cycles: whether `expand` and `step` drop a child whose `env.key` is that of a node on
            the path to it, see `Cycles`. What is sampled is kept.
        attempt: where replies are recorded, and found again after a crash.
        chooser: says which of several actions is best, for searches that ask.
    """

    def __init__(
        self,
        task: Task,
        env: Environment[Any],
        policy: Policy | NodePolicy,
        value: ValueModel | NodeValue,
        *,
        state: Any,
        budget: Budget,
        seed: int = 0,
        reward_visible: bool = False,
        merge: bool = True,
        cycles: Cycles = "keep",
        attempt: Attempt | None = None,
        chooser: Chooser | None = None,
    ) -> None:
        self.task = task
        self.budget = budget
        self.reward_visible = reward_visible
        self.tree = Tree(Node(0, state, env.observe(state)), task.id, task.prompt)
        self.root = self.tree.root
        self.notes: dict[Node, Any] = {}  # a search's own record between decisions; not saved
        self.pruned_cycles = 0  # how many proposals were dropped for leading back
        self._env = env
        self._policy = cast(Policy, policy)
        self._node_policy = policy if isinstance(policy, NodePolicy) else None
        self._value = cast(ValueModel, value)
        self._node_value = value if isinstance(value, NodeValue) else None
        self._seed = seed
        self._merge = merge
        self._prune_cycles = cycles != "keep"
        self._never_return = cycles == "never_return"
        self._pruned: dict[Node, Draft] = {}
        self._stale: set[Node] = set()
        self._keys: dict[Node, Hashable] = {}
        self._instant = env.spec.instant
        self._policy_unmetered = _unmetered(policy)
        self._value_unmetered = _unmetered(value)
        self._chooser = chooser
        self._chooser_unmetered = _unmetered(chooser)
        self._answer = getattr(env, "answer", None)
        self._attempt = attempt

    def context(self, node: Node, account: Account | None = None) -> Context:
        """What a policy or value model may know at `node`."""
        turns: list[Turn] = []
        child, parent = node, node.parent
        while parent is not None:
            if child.turn is None:  # every context below this edge shares it
                tokens = child.proposal.tokens if child.proposal is not None else None
                child.turn = Turn(parent.observation, child.action, child.reward, tokens)
            turns.append(child.turn)
            child, parent = parent, parent.parent
        turns.reverse()
        legal = self._look(self._env.legal_actions, node.state)
        return Context(
            self.task.prompt,
            node.observation,
            tuple(turns),
            None if legal is None else tuple(legal),
            account,
        )

    def reroot(self, node: Node) -> None:
        """Search on from `node`, keeping what was grown below it.

        Steps that were pruned because they lead back above `node` join the tree, unless
        the episode shall never return to where it has been.
        """
        self.root = node
        if self._never_return:
            return
        pruned, self._pruned = self._pruned, {}
        for parent, draft in pruned.items():
            if node in parent.path_to_root():
                kept, cyclic = self._split(parent, draft)
                self._attach(parent, kept)
                if cyclic:
                    self._pruned[parent] = cyclic

    def observed(self, node: Node, step: Step[Any]) -> Node:
        """A node for what really came of the action of `node`, where search saw otherwise."""
        assert node.parent is not None
        proposal = node.proposal or Proposal(node.action, node.action)
        return self._new_child(node.parent, proposal, step, node.prior)

    async def propose(self, node: Node, n: int, mode: ProposeMode = "sample") -> list[Proposal]:
        """Actions to try at `node`.

        Equal ones are merged with their counts, unparsable ones counted and dropped.

        Args:
            node: not done; nobody is asked about an ended episode.
            n: samples, or most candidates; clipped to what the budget affords.
            mode: see `ProposeMode`.

        Raises:
            BudgetExhausted: not even one sample is affordable.
        """
        account = Account(self.budget, self._attempt, node.id, mode, node.draws)
        seed = derive_seed(self._seed, self.task.id, node.id, mode, node.draws)
        node.draws += n
        with boundary(PolicyError, "propose"):
            ask = self._ask_unmetered if self._policy_unmetered else self._ask_policy
            proposals = await ask(node, n, seed, mode, account)
        _add_cost(node, account.usage)
        return self._merged(proposals, account)

    async def step(self, node: Node, proposal: Proposal | str, prior: float = 1.0) -> Node | None:
        """The child of `node` by one action, taken in the environment if it is new.

        Returns:
            The child, or None where the environment could not carry out the action, or
            where it leads round a cycle that is pruned.
        """
        if isinstance(proposal, str):
            proposal = Proposal(proposal, proposal)
        known = node.child(proposal.action or "") if self._merge else None
        if known is not None:
            return known
        draft: Draft = [(proposal, await self._take(node, proposal))]
        if self._prune_cycles:
            draft = self._pruned_draft(node, draft)
        attached = self._attach(node, draft, {proposal.action or "": prior})
        return attached[0] if attached else None

    async def expand(self, node: Node, n: int) -> Sequence[Node]:
        """Children to branch on: up to `n` different actions, each taken.

        A node that has children keeps them, and nothing is asked again.
        """
        if not self._to_expand(node):
            return node.children
        draft = await self._draft(node, n, "distinct")
        self._attach(node, self._pruned_draft(node, draft) if self._prune_cycles else draft)
        return node.children

    async def expand_all(self, nodes: Sequence[Node], n: int) -> list[Sequence[Node]]:
        """`expand` each node, side by side; children are attached in the nodes' order."""
        new = [node for node in nodes if self._to_expand(node)]
        replies = await settle(*(self._ask(node, n, "distinct") for node in new))
        self._branch_all(new, await self._drafts(new, replies))
        return [node.children for node in nodes]

    async def sample(
        self, draws: Sequence[tuple[Node, int]], mode: ProposeMode = "sample"
    ) -> list[list[tuple[Node, int]]]:
        """Independent samples at several nodes, side by side.

        Args:
            draws: nodes that are not done, with how many samples each gets.
            mode: `sample`, or `greedy` for the likeliest action.

        Returns:
            Per node its children with how many of the samples took each. Samples that
            could not be parsed or carried out are missing.
        """
        nodes = [node for node, _ in draws]
        drafts = await self._drafts(
            nodes, await settle(*(self._ask(node, n, mode) for node, n in draws))
        )
        attached = self._attach_all(nodes, drafts)
        counted: list[list[tuple[Node, int]]] = []
        for children, draft in zip(attached, drafts, strict=True):
            assert not isinstance(draft, Exception)  # _attach_all has raised it
            counts = (proposal.count for proposal, step in draft if step.valid)
            counted.append(list(zip(children, counts, strict=True)))
        return counted

    async def value(self, node: Node) -> float:
        """Expected return from `node` on, in reward units; asked once and kept.

        A terminated node is never shown to a model: it is worth 0 where the reward is
        visible (its edge carries it), else what its parent is worth.

        Raises:
            BudgetExhausted: the call is not affordable.
        """
        known = self.known_value(node)
        if known is not None:
            return known
        if node.terminated and node.parent is not None:
            node.value = await self.value(node.parent)
            return node.value
        account = Account(self.budget, self._attempt, node.id, "value", node.draws)
        seed = derive_seed(self._seed, self.task.id, node.id, "value", 0)
        with boundary(ModelError, "value"):
            value = await self._ask_value(node, seed, account)
            if not math.isfinite(value):
                raise ModelError(f"The value model said {value}; a value must be a finite number.")
        _add_cost(node, account.usage)
        node.value = value
        return value

    def known_value(self, node: Node) -> float | None:
        """The value of `node` where it is known without asking anybody."""
        if node.value is not None:
            return node.value
        if node.terminated:
            if self.reward_visible or node.parent is None:
                node.value = 0.0
            else:
                node.value = self.known_value(node.parent)
        elif node.proposal is not None:
            node.value = node.proposal.value
        return node.value

    async def values(self, nodes: Sequence[Node]) -> list[float]:
        """`value` of each node, side by side."""
        unknown = [node for node in nodes if self.known_value(node) is None]
        if unknown:
            await gather(*(self.value(node) for node in _to_ask(unknown)))
        return [cast(float, self.known_value(node)) for node in nodes]

    async def visit(self, leaf: Node, n: int) -> float:
        """Value a leaf and expand it, side by side: one round trip, not two."""
        value = self.known_value(leaf)
        if value is not None:
            await self.expand(leaf, n)
            return value
        if leaf.terminated or leaf.truncated:
            return await self.value(leaf)
        return (await self.visit_all([leaf], n))[0]

    async def visit_all(self, leaves: Sequence[Node], n: int) -> list[float]:
        """`visit` each of several different leaves, all side by side."""
        new = [leaf for leaf in leaves if self._to_expand(leaf)]
        unknown = [leaf for leaf in leaves if self.known_value(leaf) is None]
        replies = await settle(
            *(self.value(node) for node in _to_ask(unknown)),
            *(self._ask(leaf, n, "distinct") for leaf in new),
        )
        values = len(replies) - len(new)
        self._branch_all(new, await self._drafts(new, replies[values:]))
        for reply in replies[:values]:
            if isinstance(reply, Exception):
                raise reply
        return [cast(float, self.known_value(leaf)) for leaf in leaves]

    async def choose(self, node: Node, options: Sequence[str], draw: int = 0) -> int:
        """Index of the best of several actions at `node`, by the chooser.

        Args:
            node: not done; nobody is asked about an ended episode.
            options: what to choose from, at least one.
            draw: tells questions about one node apart.

        Raises:
            BudgetExhausted: the call is not affordable.
        """
        if self._chooser is None:
            raise ConfigError("The search asks a chooser, and the problem was given none.")
        chooser = self._chooser
        account = Account(self.budget, self._attempt, node.id, "choose", draw)
        seed = derive_seed(self._seed, self.task.id, node.id, "choose", draw)

        async def ask() -> int:
            return await chooser.choose(self.context(node, account), options, seed=seed)

        with boundary(ModelError, "choose"):
            if self._chooser_unmetered:
                best = await self._as_a_call(ask, (tuple(options), seed), account)
            else:
                best = await ask()
            if not 0 <= best < len(options):
                raise ModelError(f"The chooser said {best}, which is no index of {options}.")
        _add_cost(node, account.usage)
        return best

    # -- asking ------------------------------------------------------------------------

    async def _ask_policy(
        self, node: Node, n: int, seed: int, mode: ProposeMode, account: Account
    ) -> list[Proposal]:
        if self._node_policy is not None:
            ask = self._node_policy.propose_at
            return await ask(self, node, n, seed=seed, mode=mode, account=account)
        return await self._policy.propose(self.context(node, account), n, seed=seed, mode=mode)

    async def _ask_unmetered(
        self, node: Node, n: int, seed: int, mode: ProposeMode, account: Account
    ) -> list[Proposal]:
        """Ask a policy without an engine, which costs one call per sample.

        Unless a policy it wraps has paid already.
        """
        question = account.question((n, seed, mode))
        known = None if question is None else question.find()
        if known is not None:
            account.charge_calls(known["calls"])
            return proposals_from(known)
        granted = self.budget.reserve(n)
        try:
            proposals = await self._ask_policy(node, granted, seed, mode, account)
            if not account.usage.calls:
                if question is not None:
                    await question.keep({"calls": granted, **proposals_json(proposals)})
                account.charge_calls(granted)
        finally:
            self.budget.release(granted)
        return proposals

    async def _ask_value(self, node: Node, seed: int, account: Account) -> float:
        if not self._value_unmetered:
            return await self._ask_model(node, seed, account)
        return await self._as_a_call(lambda: self._ask_model(node, seed, account), seed, account)

    async def _as_a_call(
        self, ask: Callable[[], Awaitable[T]], asked: object, account: Account
    ) -> T:
        """Ask a part without an engine, which costs one call; its reply is a JSON value.

        Unless a part it wraps has paid already.
        """
        question = account.question(asked)
        known = None if question is None else question.find()
        if known is not None:
            account.charge_calls(1)
            return known
        self.budget.reserve(1)
        try:
            reply = await ask()
            if not account.usage.calls:
                if question is not None:
                    await question.keep(reply)
                account.charge_calls(1)
        finally:
            self.budget.release(1)
        return reply

    async def _ask_model(self, node: Node, seed: int, account: Account) -> float:
        if self._node_value is not None:
            return await self._node_value.value_at(self, node, seed=seed)
        return await self._value.value(self.context(node, account), seed=seed)

    # -- stepping and attaching --------------------------------------------------------

    async def imagine(self, node: Node, mode: ProposeMode = "sample") -> Node | None:
        """One step beyond `node` that never joins the tree, for rollouts.

        Args:
            node: where the policy is asked.
            mode: how; see `ProposeMode`.

        Returns:
            The node after it, or None where no action could be read or carried out.
        """
        for proposal in await self.propose(node, 1, mode):
            step = await self._take(node, proposal)
            if step.valid:
                return self._node_after(node, proposal, step)
            self.budget.usage.invalid_actions += not step.stale
        return None

    def _node_after(self, node: Node, proposal: Proposal, step: Step[Any]) -> Node:
        after = Node(
            node.id,
            step.state,
            self._look(self._env.observe, step.state),
            node,
            proposal.action or "",
            reward=step.reward if self.reward_visible else None,
            terminated=step.terminated,
            truncated=step.truncated,
            proposal=proposal,
        )
        after.draws = derive_seed("imagined", node.draws)  # it shares its ancestor's id
        after.cost = node.cost
        return after

    async def _take(self, node: Node, proposal: Proposal) -> Step[Any]:
        self.budget.charge_env_step()
        with boundary(EnvError, "step"):
            step = await self._env.step(node.state, proposal.action or "")
        self._went_back(node, step)
        return step

    def _went_back(self, node: Node, step: Step[Any]) -> None:
        """Charge the way back to `node`; where there was none, its branch is dropped."""
        if step.replayed:
            self.budget.charge_replayed(step.replayed)
        if not step.stale:
            return
        self.budget.usage.env_steps -= 1  # the action itself was not taken
        if node in self._stale:
            return
        self._stale.add(node)
        self.budget.usage.stale += 1
        node.extra = {**(node.extra or {}), "stale": step.stale}
        if node.parent is not None and node is not self.root:
            node.parent.children = [child for child in node.parent.children if child is not node]

    async def _draft(self, node: Node, n: int, mode: ProposeMode) -> Draft:
        """Ask for actions and take them, without touching the tree."""
        return await self._steps(node, await self.propose(node, n, mode))

    def _ask(self, node: Node, n: int, mode: ProposeMode) -> Awaitable[Any]:
        """Actions alone where steps are instant, else with the steps they lead to."""
        return self.propose(node, n, mode) if self._instant else self._draft(node, n, mode)

    async def _drafts(
        self, nodes: Sequence[Node], replies: Sequence[Any]
    ) -> list[Draft | Exception]:
        """What `_ask` replied, with the steps.

        Instant ones are taken now, in the order of the requests: which of them are still
        affordable does not depend on whose reply came first.
        """
        drafts: list[Draft | Exception] = []
        for node, reply in zip(nodes, replies, strict=True):
            if self._instant and not isinstance(reply, Exception):
                [reply] = await settle(self._steps(node, reply))
            drafts.append(reply)
        return drafts

    async def _steps(self, node: Node, proposals: Sequence[Proposal]) -> Draft:
        """The steps that are affordable, the first ones first."""
        draft: Draft = []
        try:
            if self._instant:
                with boundary(EnvError, "step"):
                    for proposal in proposals:
                        self.budget.charge_env_step()
                        step = await self._env.step(node.state, proposal.action or "")
                        self._went_back(node, step)
                        draft.append((proposal, step))
            else:
                steps = await settle(*(self._take(node, proposal) for proposal in proposals))
                for proposal, step in zip(proposals, steps, strict=True):
                    if isinstance(step, Exception):
                        raise step
                    draft.append((proposal, step))
        except BudgetExhausted:
            if not draft:
                raise
        return draft

    def _to_expand(self, node: Node) -> bool:
        """Whether `node` may have children and was not asked for them before."""
        if node.children or node.terminated or node.truncated:
            return False
        return node not in self._pruned and node not in self._stale

    def _branch_all(self, nodes: Sequence[Node], drafts: Sequence[Draft | Exception]) -> None:
        """Attach children to branch on, less those that lead round a cycle."""
        if self._prune_cycles:
            drafts = [
                draft if isinstance(draft, Exception) else self._pruned_draft(node, draft)
                for node, draft in zip(nodes, drafts, strict=True)
            ]
        self._attach_all(nodes, drafts)

    def _pruned_draft(self, node: Node, draft: Draft) -> Draft:
        """The steps that lead on; the others stay out of the tree until `reroot`."""
        kept, cyclic = self._split(node, draft)
        if cyclic:
            self._pruned.setdefault(node, []).extend(cyclic)
            self.pruned_cycles += sum(proposal.count for proposal, _ in cyclic)
        return kept

    def _split(self, node: Node, draft: Draft) -> tuple[Draft, Draft]:
        """The steps that lead on, and those to a state of the path to `node`."""
        seen = {self._key(above) for above in self._above(node)}
        kept: Draft = []
        cyclic: Draft = []
        for proposal, step in draft:
            leads_back = step.valid and self._look(self._env.key, step.state) in seen
            (cyclic if leads_back else kept).append((proposal, step))
        return kept, cyclic

    def _above(self, node: Node) -> Iterator[Node]:
        """`node` and what lies above it, up to the root of the search or of the episode."""
        for above in node.path_to_root():
            yield above
            if above is self.root and not self._never_return:
                return

    def _key(self, node: Node) -> Hashable:
        if node not in self._keys:
            self._keys[node] = self._look(self._env.key, node.state)
        return self._keys[node]

    def _attach_all(
        self, nodes: Sequence[Node], drafts: Sequence[Draft | Exception]
    ) -> list[list[Node]]:
        """Attach what came back, in order; then raise the first error if there was one."""
        attached = [
            [] if isinstance(draft, Exception) else self._attach(node, draft)
            for node, draft in zip(nodes, drafts, strict=True)
        ]
        for draft in drafts:
            if isinstance(draft, Exception):
                raise draft
        return attached

    def _attach(
        self, node: Node, draft: Draft, priors: dict[str, float] | None = None
    ) -> list[Node]:
        """Make children of the steps; actions that could not be carried out are counted.

        Returns:
            The child of each valid step, new or known. Actions of one draft differ
            where equal ones merge, so only earlier children are looked through.
        """
        total = sum(proposal.count for proposal, _ in draft)
        before = {child.action: child for child in node.children} if self._merge else {}
        grown = bool(node.children)
        attached: list[Node] = []
        for proposal, step in draft:
            if not step.valid:
                self.budget.usage.invalid_actions += 0 if step.stale else proposal.count
                continue
            action = proposal.action or ""
            known = before.get(action)
            if known is not None:
                known.proposal = _with_more(known.proposal or proposal, proposal)
                attached.append(known)
                continue
            prior = proposal.prior
            if prior is None:
                prior = proposal.count / total if priors is None else priors[action]
            attached.append(self._new_child(node, proposal, step, prior))
        if grown and priors is None:
            _share_again(node)
        return attached

    def _new_child(self, node: Node, proposal: Proposal, step: Step[Any], prior: float) -> Node:
        child = self.tree.add(
            node,
            proposal.action or "",
            step.state,
            self._look(self._env.observe, step.state),
            prior=prior,
            reward=step.reward if self.reward_visible else None,
            terminated=step.terminated,
            truncated=step.truncated,
            proposal=proposal,
        )
        if child.terminated or child.depth - self.root.depth >= self.budget.finishing_steps:
            self.budget.free_reserve()
        if self._answer is not None and child.done:
            child.answer = self._look(self._answer, step.state)
        return child

    def _look(self, ask: Callable[[Any], T], state: Any) -> T:
        """What a plain method of the environment says of a state."""
        try:
            return ask(state)
        except Exception as cause:  # `boundary`, without its cost where nothing is raised
            with boundary(EnvError, getattr(ask, "__name__", "look")):
                raise cause

    def _merged(self, proposals: list[Proposal], account: Account) -> list[Proposal]:
        """Drop the unparsable; one proposal per action, the first sample's tokens kept."""
        merged: dict[str, Proposal] = {}
        for proposal in proposals:
            action = proposal.action
            if action is None:
                account.count("parse_failures", proposal.count)
            elif not self._merge:
                merged[str(len(merged))] = proposal
            elif action in merged:
                merged[action] = _with_more(merged[action], proposal)
            else:
                merged[action] = proposal
        return list(merged.values())


def _with_more(first: Proposal, other: Proposal) -> Proposal:
    """`first` counted together with a later sample of the same action."""
    tokens = () if other.tokens is None else (other.tokens,)
    duplicates = (*first.duplicates, *tokens, *other.duplicates)
    return replace(first, count=first.count + other.count, duplicates=duplicates)


def _share_again(node: Node) -> None:
    """Priors of sampled children, after more samples came in."""
    counts = [child.proposal.count if child.proposal else 0 for child in node.children]
    for child, count in zip(node.children, counts, strict=True):
        if child.proposal is not None and child.proposal.prior is None:
            child.prior = count / sum(counts)


def _unmetered(part: object) -> bool:
    """Whether a part owns no engine that pays, so that each sample is charged as a call.

    Parts that ask no model at all say so with `free = True`.
    """
    paid = isinstance(getattr(part, "engine", None), Metered)
    return not paid and not getattr(part, "free", False)


def _to_ask(nodes: Sequence[Node]) -> list[Node]:
    """Whom to ask about so that all `nodes` have a value, each once.

    A terminated node is worth what its parent is.
    """
    asked: dict[Node, None] = {}
    for node in nodes:
        while node.terminated and node.parent is not None:
            node = node.parent
        asked[node] = None
    return list(asked)


def _add_cost(node: Node, usage: Usage) -> None:
    if node.cost is None:
        node.cost = usage
    else:
        node.cost.add(usage)
