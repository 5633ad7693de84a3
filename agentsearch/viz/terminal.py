"""Trees in the terminal, drawn with rich.

All text of a tree comes from models and environments: it is never read as markup, and
characters that a terminal would obey are written out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from agentsearch.errors import ConfigError
from agentsearch.tree import Node, Tree
from agentsearch.types import Proposal, Tokens

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree as Drawing

UNSAFE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Control and format characters (a terminal obeys some), and those no terminal can show."""


def clean(text: str, keep: str = "") -> str:
    r"""`text` with control characters written as `\n`, `\x1b` or `\u202e`.

    Args:
        text: anything.
        keep: characters to leave as they are, such as line ends in a text of many lines.
    """
    return "".join(
        _escaped(c) if unicodedata.category(c) in UNSAFE and c not in keep else c for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


# -- the tree --------------------------------------------------------------------------


def draw_tree(tree: Tree, depth: int = 8, top: int = 5) -> Drawing:
    """The tree with a line per node, most visited children first.

    `*` marks the path that was carried out; its nodes are shown even beyond `top`.

    Args:
        tree: as saved in a run folder.
        depth: most levels below the root.
        top: most children of a node.
    """
    from rich.tree import Tree as Drawing

    chosen = chosen_ids(tree)
    drawing = Drawing(node_line(tree, tree.root, chosen))
    pending = [(tree.root, drawing)]
    while pending:
        node, branch = pending.pop()
        if node.depth - tree.root.depth >= depth:
            if node.children:
                branch.add(_left_out(sum(1 for _ in node.descendants()) - 1, "below"))
            continue
        shown = most_visited(node.children, top, chosen)
        pending += [(child, branch.add(node_line(tree, child, chosen))) for child in shown]
        if len(shown) < len(node.children):
            branch.add(_left_out(len(node.children) - len(shown), "more"))
    return drawing


def chosen_ids(tree: Tree) -> frozenset[int]:
    """The root and the nodes whose actions were carried out."""
    return frozenset([tree.root.id, *tree.meta.get("committed", ())])


def most_visited(children: Iterable[Node], top: int, chosen: frozenset[int]) -> list[Node]:
    """The first `top` by visits, then mean value, then age; the chosen ones always."""
    ranked = sorted(children, key=lambda c: (-c.visits, -c.mean_value, c.id))
    return [child for place, child in enumerate(ranked) if place < top or child.id in chosen]


def node_line(tree: Tree, node: Node, chosen: frozenset[int]) -> Text:
    """A node on one line: its number, action, statistics, and how it ended."""
    from rich.text import Text

    on_path = node.id in chosen
    action = clean(node.action) if node.parent is not None else clean(node.observation)
    return Text.assemble(
        ("* " if on_path else "", "bold green"),
        (f"#{node.id}  ", "dim"),
        (action or "(no text)", "bold green" if on_path else "bold"),
        f"  {'  '.join(f'{name} {value}' for name, value in statistics(node))}",
        (ending(tree, node), "magenta"),
    )


def statistics(node: Node) -> Iterator[tuple[str, str]]:
    """The numbers of a node that are known."""
    if node.value is not None:
        yield "value", f"{node.value:.2f}"
    if node.visits:
        yield "mean", f"{node.mean_value:.2f}"
    yield "visits", str(node.visits)
    if node.parent is not None:
        yield "prior", f"{node.prior:.2f}"
    if node.reward is not None:
        yield "reward", f"{node.reward:g}"


def ending(tree: Tree, node: Node) -> str:
    """How the episode ended at a node, and what the verifier said of it after the search."""
    if not node.done:
        return ""
    words = "  end" if node.terminated else "  cut off"
    credit = credit_of(tree, node)
    if credit is not None:
        words += ", correct" if credit == 1.0 else f", credit {credit:g}" if credit else ", wrong"
    return words + (f": {clean(node.answer)}" if node.answer else "")


def credit_of(tree: Tree, node: Node) -> float | None:
    """What the verifier gave a finished leaf, once the search was over."""
    credits: dict[str, float] = tree.meta.get("credit_after_search", {})
    return credits.get(str(node.id))


def _left_out(number: int, where: str) -> Text:
    from rich.text import Text

    return Text(f"... {number} {where}", "dim")


# -- one node --------------------------------------------------------------------------


def find_node(tree: Tree, node_id: int) -> Node:
    """The node of that number.

    Raises:
        ConfigError: there is none.
    """
    if not 0 <= node_id < len(tree):
        raise ConfigError(f"node {node_id}: the tree has nodes 0 to {len(tree) - 1}.")
    return tree.nodes[node_id]


def node_facts(tree: Tree, node: Node) -> list[tuple[str, str]]:
    """Everything a tree keeps about one node, as names and safe texts."""
    path = [f"#{each.id}  {clean(each.action)}" for each in node.path()[1:]]
    rows: list[tuple[str, Any]] = [
        ("node", f"#{node.id}, depth {node.depth}, {len(node.children)} children"),
        ("path", "\n".join(path)),
        ("observation", _lines(node.observation)),
        *((name, value) for name, value in statistics(node)),
        ("value sum", f"{node.value_sum:g}" if node.visits else ""),
        ("chosen", "yes" if node.id in chosen_ids(tree) else "no"),
        ("ended", ending(tree, node).strip()),
        ("samples drawn", str(node.draws) if node.draws else ""),
        *_proposal_rows(node.proposal),
        ("cost", _cost(node)),
        ("extra", clean(str(node.extra)) if node.extra else ""),
    ]
    return [(name, text) for name, text in rows if text]


def _proposal_rows(proposal: Proposal | None) -> Iterator[tuple[str, str]]:
    if proposal is None:
        return
    yield "raw text", _lines(proposal.raw)
    yield "samples", str(proposal.count)
    if proposal.logprob is not None:
        yield "log-probability", f"{proposal.logprob:.4f}"
    yield "policy version", clean(proposal.version)
    if proposal.tokens is not None:
        yield "prompt tokens", _ids(proposal.tokens.prompt)
        yield "reply tokens", _reply(proposal.tokens)
    for tokens in proposal.duplicates:
        yield "same action", _reply(tokens)


def _ids(ids: tuple[int, ...]) -> str:
    return f"{len(ids)}: {' '.join(map(str, ids))}"


def _reply(tokens: Tokens) -> str:
    """Ids with their log-probabilities; given tokens, which were not sampled, in brackets."""
    pairs = zip(tokens.ids, tokens.logprobs, tokens.sampled, strict=True)
    words = [f"{i} ({p:.3f})" if own else f"[{i} ({p:.3f})]" for i, p, own in pairs]
    return f"{len(words)}: {' '.join(words)}"


def _cost(node: Node) -> str:
    if node.cost is None:
        return ""
    spent = node.cost.to_dict().items()
    return ", ".join(f"{name} {count:g}" for name, count in spent if count)


def _lines(text: str) -> str:
    return clean(text, keep="\n")
