"""The tree that a search grows: nodes, their numbering, and JSON in and out.

A node is a state reached by an action. All statistics are from the agent's point of
view. A saved tree keeps everything but the states, which replaying the actions rebuilds.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentsearch.budget import Usage
from agentsearch.errors import DataError
from agentsearch.types import Proposal, Tokens, Trajectory, Turn

if TYPE_CHECKING:
    import networkx

FORMAT = "agentsearch.tree/1"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Node:
    """One node, compared by identity.

    Attributes:
        id: place in order of creation; the root is 0.
        state: the environment's state; None in a tree read from a file.
        observation: the environment's words for that state.
        parent, children, depth: its place in the tree.
        action: what led here from the parent; empty at the root.
        prior: share of samples, or probability among legal actions, at the parent.
        reward: of the edge from the parent; None where search must not see it.
        terminated, truncated: the task ended here, or a limit cut it.
        value: what the value model said, or None where it was not asked.
        visits, value_sum: backed-up statistics of the search; the return counted from
            the parent's action on, so it includes `reward`.
        answer: what a finished episode answers, for votes.
        proposal: raw text, tokens, counts and policy version of the action.
        draws: how many samples were drawn here, so that the next have other seeds.
        cost: what proposing and valuing here cost, None where nothing was asked.
        extra: an algorithm's own record.
        turn: what was seen at the parent and done there, once a context has shown it.
    """

    __slots__ = (
        "action",
        "answer",
        "children",
        "cost",
        "depth",
        "draws",
        "extra",
        "id",
        "observation",
        "parent",
        "prior",
        "proposal",
        "reward",
        "state",
        "terminated",
        "truncated",
        "turn",
        "value",
        "value_sum",
        "visits",
    )

    def __init__(
        self,
        id: int,
        state: Any,
        observation: str,
        parent: Node | None = None,
        action: str = "",
        prior: float = 1.0,
        reward: float | None = None,
        terminated: bool = False,
        truncated: bool = False,
        proposal: Proposal | None = None,
    ) -> None:
        self.id = id
        self.state = state
        self.observation = observation
        self.parent = parent
        self.action = action
        self.prior = prior
        self.reward = reward
        self.terminated = terminated
        self.truncated = truncated
        self.proposal = proposal
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.children: Sequence[Node] = ()
        self.visits = 0
        self.value_sum = 0.0
        self.value: float | None = None
        self.answer: str | None = None
        self.draws = 0
        self.cost: Usage | None = None
        self.extra: dict[str, Any] | None = None
        self.turn: Turn | None = None

    def __repr__(self) -> str:
        return f"<Node {self.id} {self.action!r} visits={self.visits} mean={self.mean_value:.3g}>"

    @property
    def done(self) -> bool:
        """Whether the episode ends here, for either reason."""
        return self.terminated or self.truncated

    @property
    def mean_value(self) -> float:
        """Backed-up value per visit; 0 before the first."""
        return self.value_sum / self.visits if self.visits else 0.0

    def path_to_root(self) -> Iterator[Node]:
        """This node, its parent, and so on up to the root of the tree."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def path(self) -> list[Node]:
        """From the root of the tree down to this node, both included."""
        return list(self.path_to_root())[::-1]

    def descendants(self) -> Iterator[Node]:
        """This node and all below it, parents before children, older siblings first."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[Node]:
        """The nodes without children at or below this one."""
        return (node for node in self.descendants() if not node.children)

    def child(self, action: str) -> Node | None:
        """The child reached by `action`, if there is one."""
        return next((c for c in self.children if c.action == action), None)


class Tree:
    """A root, its nodes in order of creation, and what they are about."""

    def __init__(self, root: Node, task_id: str = "", prompt: str = "") -> None:
        self.root = root
        self.task_id = task_id
        self.prompt = prompt
        self.meta: dict[str, Any] = {}
        self.nodes: list[Node] = [root]

    def __len__(self) -> int:
        return len(self.nodes)

    def add(
        self,
        parent: Node,
        action: str,
        state: Any,
        observation: str = "",
        *,
        prior: float = 1.0,
        reward: float | None = None,
        terminated: bool = False,
        truncated: bool = False,
        proposal: Proposal | None = None,
    ) -> Node:
        """Attach a new last child to `parent`."""
        nodes = self.nodes
        id = len(nodes)
        node = Node(
            id, state, observation, parent, action, prior, reward, terminated, truncated, proposal
        )
        nodes.append(node)
        if parent.children:
            parent.children.append(node)  # type: ignore[attr-defined]  # a list once it has one
        else:
            parent.children = [node]
        return node

    def trajectory(self, leaf: Node) -> Trajectory:
        """The path from the root of the tree to `leaf`."""
        path = leaf.path()
        turns = tuple(
            Turn(
                before.observation, node.action, node.reward, node.proposal and node.proposal.tokens
            )
            for before, node in zip(path, path[1:], strict=False)
        )
        return Trajectory(self.task_id, turns, leaf.terminated, leaf.truncated, leaf.observation)

    def to_networkx(self) -> networkx.DiGraph[int]:
        """A directed graph with one node per node and its plain attributes."""
        import networkx as nx

        graph: networkx.DiGraph[int] = nx.DiGraph(task_id=self.task_id)
        for node in self.nodes:
            graph.add_node(node.id, **_plain(node))
            if node.parent is not None:
                graph.add_edge(node.parent.id, node.id, action=node.action)
        return graph

    def write_graphml(self, path: str | Path) -> None:
        """Write the graph for Gephi, yEd and others, less what XML cannot hold."""
        import networkx as nx

        graph = self.to_networkx()
        for values in (*graph.nodes.values(), *graph.edges.values()):
            for name, value in values.items():
                if isinstance(value, str):
                    values[name] = NOT_XML.sub("", value)
        nx.write_graphml(graph, path)

    def to_json(self) -> dict[str, Any]:
        """Everything but the states, as plain JSON values. Shared prompts stand once."""
        prompts = _Interned()
        nodes = [_node_json(node, prompts) for node in self.nodes]
        return {
            "format": FORMAT,
            "task_id": self.task_id,
            "prompt": self.prompt,
            "meta": self.meta,
            "prompt_tokens": [list(ids) for ids in prompts.items],
            "nodes": nodes,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tree:
        """The inverse of `to_json`; states are None.

        Raises:
            DataError: the data is no tree of this format.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DataError(f"not a tree: expected a JSON object with format {FORMAT!r}")
        try:
            prompts = [tuple(ids) for ids in data["prompt_tokens"]]
            first, *rest = data["nodes"]
            tree = cls(_node_from(first, None, prompts), data["task_id"], data["prompt"])
            tree.meta = data["meta"]
            for record in rest:
                if record["id"] != len(tree) or not 0 <= record["parent"] < len(tree):
                    raise ValueError(f"node {record['id']}")
                parent = tree.nodes[record["parent"]]
                node = _node_from(record, parent, prompts)
                parent.children = [*parent.children, node]
                tree.nodes.append(node)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as cause:
            raise DataError(f"damaged tree: {type(cause).__name__} at {cause}") from cause
        return tree

    def save(self, path: str | Path) -> None:
        """Write gzipped JSON; the file appears whole or not at all."""
        path = Path(path)
        text = json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":"))
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(
            gzip.compress(text.encode("utf-8", "backslashreplace"), compresslevel=5, mtime=0)
        )
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | Path) -> Tree:
        """Read a file that `save` wrote.

        Raises:
            DataError: missing, cut short, or not a tree.
        """
        try:
            return cls.from_json(json.loads(gzip.decompress(Path(path).read_bytes())))
        except FileNotFoundError:
            raise DataError(f"{path}: no such tree file") from None
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        except (OSError, EOFError, ValueError, zlib.error) as cause:
            raise DataError(
                f"{path}: cannot be read as a tree ({cause}); it is damaged, run the task again"
            ) from cause


def proposals_json(proposals: Sequence[Proposal]) -> dict[str, Any]:
    """Proposals as plain JSON values. Shared prompts stand once."""
    prompts = _Interned()
    records = [_proposal_json(each, prompts) for each in proposals]
    return {"prompt_tokens": prompts.items, "proposals": records}


def proposals_from(record: dict[str, Any]) -> list[Proposal]:
    """The inverse of `proposals_json`."""
    prompts = [tuple(ids) for ids in record["prompt_tokens"]]
    return [_proposal_from(each, prompts) for each in record["proposals"]]


class _Interned:
    """Numbers equal tuples, so that each is written once."""

    def __init__(self) -> None:
        self.items: list[tuple[int, ...]] = []
        self._index: dict[tuple[int, ...], int] = {}

    def number(self, item: tuple[int, ...]) -> int:
        if item not in self._index:
            self._index[item] = len(self.items)
            self.items.append(item)
        return self._index[item]


def _plain(node: Node) -> dict[str, Any]:
    """Attributes a graph file can hold: no None, no nesting."""
    version = node.proposal.version if node.proposal else ""
    values = {
        "action": node.action,
        "observation": node.observation,
        "prior": node.prior,
        "visits": node.visits,
        "mean_value": node.mean_value,
        "value": node.value,
        "reward": node.reward,
        "terminated": node.terminated,
        "truncated": node.truncated,
        "version": version,
    }
    return {key: value for key, value in values.items() if value is not None}


_FIELDS = (
    "id",
    "action",
    "observation",
    "prior",
    "reward",
    "terminated",
    "truncated",
    "value",
    "visits",
    "value_sum",
    "answer",
    "draws",
    "extra",
)


def _node_json(node: Node, prompts: _Interned) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(node, name) for name in _FIELDS}
    record["parent"] = None if node.parent is None else node.parent.id
    record["cost"] = None if node.cost is None else node.cost.to_dict()
    record["proposal"] = None if node.proposal is None else _proposal_json(node.proposal, prompts)
    return record


def _node_from(record: dict[str, Any], parent: Node | None, prompts: list[tuple[int, ...]]) -> Node:
    node = Node(record["id"], None, record["observation"], parent)
    for name in _FIELDS:
        setattr(node, name, record[name])
    if record["cost"] is not None:
        node.cost = Usage(**{k: v for k, v in record["cost"].items() if k != "tokens"})
    if record["proposal"] is not None:
        node.proposal = _proposal_from(record["proposal"], prompts)
    return node


def _proposal_json(proposal: Proposal, prompts: _Interned) -> dict[str, Any]:
    return {
        "action": proposal.action,
        "raw": proposal.raw,
        "count": proposal.count,
        "logprob": proposal.logprob,
        "prior": proposal.prior,
        "value": proposal.value,
        "version": proposal.version,
        "tokens": None if proposal.tokens is None else _tokens_json(proposal.tokens, prompts),
        "duplicates": [_tokens_json(tokens, prompts) for tokens in proposal.duplicates],
    }


def _proposal_from(record: dict[str, Any], prompts: list[tuple[int, ...]]) -> Proposal:
    tokens, duplicates = record["tokens"], record["duplicates"]
    return Proposal(
        **{k: v for k, v in record.items() if k not in ("tokens", "duplicates")},
        tokens=None if tokens is None else _tokens_from(tokens, prompts),
        duplicates=tuple(_tokens_from(t, prompts) for t in duplicates),
    )


def _tokens_json(tokens: Tokens, prompts: _Interned) -> dict[str, Any]:
    return {
        "prompt": prompts.number(tokens.prompt),
        "ids": tokens.ids,
        "logprobs": tokens.logprobs,
        "sampled": tokens.sampled,
    }


def _tokens_from(record: dict[str, Any], prompts: list[tuple[int, ...]]) -> Tokens:
    return Tokens(
        prompts[record["prompt"]],
        tuple(record["ids"]),
        tuple(record["logprobs"]),
        tuple(record["sampled"]),
    )
