"""Tasks that were not solved, grouped by kind, and one tree to look at for each kind."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from agentsearch.data.runs import Run, tree_name
from agentsearch.errors import DataError
from agentsearch.tree import Node
from agentsearch_eval.table_file import Outcome

SHOWN_NODES = 60
"""Most nodes of an example tree; the rest is counted."""
SHOWN_TEXT = 160
"""Most characters of an action or observation."""
SHOWN_KINDS = 8
"""Most kinds of wrong answers that stand alone; the rare rest is one kind."""

FAILED, NO_ACTION, TRUNCATED, WRONG = "failed", "no action", "truncated", "wrong answer"
"""What an unsolved task can be, in the order in which it is decided and shown."""


@dataclass(frozen=True)
class Kind:
    """One way not to solve a task.

    Attributes:
        group: `failed`, `no action`, `truncated` or `wrong answer`.
        detail: the error's class, or the verifier's reason without its particulars.
    """

    group: str
    detail: str = ""


@dataclass(frozen=True)
class Failures:
    """The outcomes of one kind, first those whose tree is best to show.

    Attributes:
        counts: how many of each row.
    """

    kind: Kind
    counts: Mapping[str, int]
    outcomes: Sequence[Outcome]


@dataclass(frozen=True)
class Branch:
    """A node as a page shows it.

    Attributes:
        chosen: whether it was carried out.
        left_out: children that are not shown.
    """

    node: Node
    action: str
    observation: str
    chosen: bool
    children: list[Branch]
    left_out: int


@dataclass(frozen=True)
class Example:
    """One unsolved task with its tree.

    Attributes:
        root: None where no tree can be shown; `missing` says why.
        href: of the tree file, relative to the page.
        command: shows the whole tree.
    """

    outcome: Outcome
    root: Branch | None = None
    nodes: int = 0
    missing: str = ""
    href: str = ""
    command: str = ""


def kind_of(outcome: Outcome) -> Kind | None:
    """The kind of an unsolved task; None for a solved one."""
    if outcome.status == "failed":
        return Kind(FAILED, outcome.error.partition(":")[0].strip() or "error")
    if outcome.correct:
        return None
    if outcome.stop == "no action" or outcome.steps == 0:
        return Kind(NO_ACTION)
    if outcome.truncated or outcome.stop == "max_steps":
        return Kind(TRUNCATED)
    return Kind(WRONG, without_particulars(outcome.reason))


def without_particulars(reason: str) -> str:
    """What a verifier's reason says before its first colon, so that equal kinds meet.

    Numbers and quoted words are taken out.
    """
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "…", reason).partition(": ")[0]
    text = re.sub(r"[-+]?\d+(?:[.,/]\d+)*", "#", text)
    text = re.sub(r"#(?:\W+#)+", "#", text)
    return clip(" ".join(text.split()), 90) or "no reason given"


def clip(text: str, most: int) -> str:
    """The text in at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def group_failures(outcomes: Sequence[Outcome], first: str | None = None) -> list[Failures]:
    """Unsolved tasks by kind: groups from `FAILED` to `WRONG`, in each the frequent kinds first.

    The rarest wrong answers are one kind, the last.

    Args:
        outcomes: of one environment.
        first: the row whose trees are preferred as examples.
    """
    found: dict[Kind, list[Outcome]] = {}
    for outcome in outcomes:
        kind = kind_of(outcome)
        if kind is not None:
            found.setdefault(kind, []).append(outcome)
    order = (FAILED, NO_ACTION, TRUNCATED, WRONG)
    ranked = sorted(found, key=lambda k: (order.index(k.group), -len(found[k]), k.detail))
    rare = [kind for kind in ranked if kind.group == WRONG][SHOWN_KINDS:]
    if len(rare) > 1:
        merged = Kind(WRONG, f"{len(rare)} rarer reasons")
        found[merged] = [outcome for kind in rare for outcome in found[kind]]
        ranked = [*ranked[: -len(rare)], merged]
    return [
        Failures(
            kind,
            Counter(each.row for each in found[kind]),
            sorted(found[kind], key=lambda o: (o.tree is None, o.row != first)),
        )
        for kind in ranked
    ]


def example_of(failures: Failures, folder: Path) -> Example:
    """The first outcome of a kind, with its tree where that can be read.

    Args:
        failures: of one kind.
        folder: of the suite.

    Raises:
        DataError: the outcome's run folder is missing.
    """
    outcome = failures.outcomes[0]
    run = Run(folder / outcome.folder)
    if outcome.tree is None:
        return Example(outcome, missing="no tree was kept")
    try:
        tree = run.tree(outcome.task_id)
    except DataError:
        return Example(outcome, missing="its tree is missing or damaged")
    committed = tree.meta.get("committed", ())
    return Example(
        outcome,
        root=branch(tree.root, set(committed)),
        nodes=len(tree),
        href=quote(f"{outcome.folder}/trees/{tree_name(outcome.task_id)}"),
        command=view_command(folder, outcome),
    )


def view_command(folder: Path, outcome: Outcome) -> str:
    """How to look at the whole tree, from where the suite's folder was made."""
    run = f"{folder.resolve().name}/{outcome.folder}"
    return shlex.join(["agentsearch", "view", run, outcome.task_id])


def branch(root: Node, chosen: set[int], most: int = SHOWN_NODES) -> Branch:
    """The part of a tree that is shown: the start of what was carried out, then the most visited.

    Nodes are taken level by level, so that every shown node's parent is shown, too.
    """
    carried_out = [node.id for node in root.descendants() if node.id in chosen]
    kept = {root.id, *carried_out[: most // 2]}
    level = [root]
    while level and len(kept) < most:
        below = sorted((c for node in level for c in node.children), key=_interest)
        fresh = [node.id for node in below if node.id not in kept]
        kept |= set(fresh[: most - len(kept)])
        level = [node for node in below if node.id in kept]
    return _branch(root, chosen, kept)


def _interest(node: Node) -> tuple[int, int]:
    return -node.visits, node.id


def _branch(node: Node, chosen: set[int], kept: set[int]) -> Branch:
    shown = [child for child in node.children if child.id in kept]
    shown.sort(key=lambda child: (child.id not in chosen, *_interest(child)))
    return Branch(
        node,
        clip(node.action, SHOWN_TEXT),
        clip(node.observation, SHOWN_TEXT),
        node.id in chosen,
        [_branch(child, chosen, kept) for child in shown],
        len(node.children) - len(shown),
    )
