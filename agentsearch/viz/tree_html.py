"""A run, or one of its trees, as one HTML file that needs nothing else.

    write_view(Run("runs/game24-mcts"), Path("view.html"))                    # all tasks
    write_view(Run("runs/game24-mcts"), Path("tree.html"), "4-9-10-13")       # one of them

The page (`view.html`, `view.css` and `view.js` beside this file) draws on a canvas what is
in sight. A tree rides along as blocks of deflated JSON in base64: the first holds its
shape and numbers as columns, the others its texts, each distinct text once, opened when
one of them is looked at. All text of a tree comes from models and environments: the page
sets it as text, never as markup, and its content policy forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from agentsearch.data.runs import Run, tree_name
from agentsearch.errors import ConfigError, DataError
from agentsearch.runner import write_whole
from agentsearch.tree import Node, Tree
from agentsearch.viz.sent import Chat, Prompter
from agentsearch.viz.terminal import chosen_ids, credit_of

log = logging.getLogger(__name__)

EMBEDDED = 20_000_000
"""Bytes of tree files, unless told otherwise, beyond which trees get pages of their own."""
BLOCK = 300_000
"""Characters after which a block of texts is closed."""
LABEL = 90
"""Most characters of an action or observation that is drawn in the tree itself."""
SHORT = 64
"""Texts up to this length are compared by themselves, longer ones by their digest."""


def write_view(
    run: Run, out: Path, task: str | Tree | None = None, *, embedded: int = EMBEDDED
) -> Path:
    """Write the page of a run, or of one of its tasks.

    The trees of a large run go into files of their own, in a folder beside `out` that is
    named after it. Trees that cannot be read and prompts that cannot be rebuilt are
    named in the page and in a warning.

    Args:
        run: whose results to show.
        out: file to write; its folder is made.
        task: id of one task or part of it, or its tree; None shows all.
        embedded: most bytes of tree files whose trees all go into the page of a run.

    Returns:
        `out`.

    Raises:
        DataError: no such task, or its tree is damaged.
        ConfigError: `out` cannot be written.
    """
    if isinstance(task, str):
        task = run.tree(run.find_task(task))
    prompter, note = _prompter(run)
    if task is None:
        page = _run_html(run, out, prompter, note, embedded)
    else:
        page = tree_html(task, run=run, prompter=prompter, prompts_note=note)
    _write(out, page)
    return out


def tree_html(
    tree: Tree,
    *,
    run: Run | None = None,
    prompter: Prompter | None = None,
    prompts_note: str = "",
) -> str:
    """The page of one tree.

    Args:
        tree: what to draw.
        run: where it comes from, for the verdict, what was spent, and the setting.
        prompter: rebuilds what the policy was sent.
        prompts_note: where there is no prompter, why.
    """
    blocks = tree_blocks(tree, run=run, prompter=prompter, prompts_note=prompts_note)
    return _page(tree.task_id or "tree", {"tasks": None}, [blocks])


def default_path(run: Run, task: str | None = None) -> Path:
    """Where the page of a run, or of the task with that id, goes: into the run's folder."""
    return run.path / "view" / ("index.html" if task is None else page_name(task))


def page_name(task_id: str) -> str:
    """File name of a task's page, different for different ids."""
    return tree_name(task_id).removesuffix(".json.gz") + ".html"


# -- a run -----------------------------------------------------------------------------


def _run_html(run: Run, out: Path, prompter: Prompter | None, note: str, embedded: int) -> str:
    """The page of a run: a table of its tasks, and their trees inside or beside it."""
    files = [run.path / "trees" / tree_name(line["task_id"]) for line in run.results]
    beside = sum(path.stat().st_size for path in files if path.is_file()) > embedded
    folder = out.with_name(out.stem + "-trees")
    rows: list[dict[str, Any]] = []
    trees: list[list[str]] = []
    for line in run.results:
        row = _row(line)
        rows.append(row)
        try:
            tree = run.tree(line["task_id"])
        except DataError as error:
            row["missing"] = str(error)
            continue
        if beside:
            name = page_name(tree.task_id)
            page = tree_html(tree, run=run, prompter=prompter, prompts_note=note)
            _write(folder / name, page)
            row["file"] = f"{folder.name}/{name}"
        else:
            row["tree"] = len(trees)
            trees.append(tree_blocks(tree, run=run, prompter=prompter, prompts_note=note))
    missing = [row["missing"] for row in rows if "missing" in row]
    if missing:
        log.warning("%d of %d tasks have no tree to draw: %s", len(missing), len(rows), missing[0])
    return _page(run.name, {"run": run.name, "facts": _run_facts(run), "tasks": rows}, trees)


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": line["task_id"],
        "verdict": _verdict(line),
        "answer": line["answer"] or " ; ".join(line["actions"]) or line["error"],
        "calls": line["usage"]["calls"],
        "tokens": line["usage"]["tokens"],
        "steps": line["usage"]["env_steps"],
        "nodes": line["nodes"],
        "stop": line["stop"],
    }


def _verdict(line: Mapping[str, Any]) -> str:
    if line["status"] == "failed":
        return "failed"
    return "correct" if line["correct"] else "wrong"


def _run_facts(run: Run) -> list[tuple[str, str]]:
    summary = run.summary
    if summary is None:
        correct = sum(line["correct"] for line in run.results)
        return [
            ("success", f"{correct} of {len(run.results)} tasks"),
            ("ended early", "the run has no summary"),
            *_parts(run),
        ]
    low, high = summary["success_low"], summary["success_high"]
    return [
        ("success", f"{summary['success']:.1%} (95 % interval {low:.1%} to {high:.1%})"),
        ("tasks", f"{summary['tasks']} of {summary.get('planned', summary['tasks'])}"),
        ("setting", summary["setting"]),
        *((("oracle", ", ".join(summary["oracle"])),) if summary.get("oracle") else ()),
        *_parts(run),
    ]


def _parts(run: Run) -> Iterator[tuple[str, str]]:
    """Names of what the run was made of."""
    for key in ("env", "policy", "value", "search"):
        part = run.config.get(key)
        if part is not None:
            name = part.get("name") if isinstance(part, dict) else part
            yield key, str(name)


def _prompter(run: Run) -> tuple[Prompter | None, str]:
    try:
        return Prompter.of(run.config), ""
    except DataError as cause:
        return None, str(cause)


# -- a tree ----------------------------------------------------------------------------


@dataclass
class Texts:
    """Numbers equal texts, and packs them into blocks as they come.

    Attributes:
        blocks: the finished ones.
        starts: number of the first text of each.
    """

    blocks: list[str] = field(default_factory=list[str])
    starts: list[int] = field(default_factory=list[int])
    _numbers: dict[str | bytes, int] = field(default_factory=dict[str | bytes, int])
    _open: list[str] = field(default_factory=list[str])
    _size: int = 0

    def number(self, text: str | None) -> int | None:
        """The number of a text, the same for equal ones; None for None."""
        if text is None:
            return None
        key = text if len(text) <= SHORT else _digest(text)
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._open.append(text)
            self._size += len(text)
            if self._size >= BLOCK:
                self.close()
        return self._numbers[key]

    def close(self) -> None:
        """Finish the open block, so that the next text begins another."""
        if self._open:
            self.starts.append(len(self._numbers) - len(self._open))
            self.blocks.append(packed(self._open))
            self._open, self._size = [], 0


def tree_blocks(
    tree: Tree,
    *,
    run: Run | None = None,
    prompter: Prompter | None = None,
    prompts_note: str = "",
) -> list[str]:
    """The blocks of one tree, as `packed`: its shape and numbers, then its texts."""
    texts = Texts()
    nodes = _columns(tree, texts)
    facts = _tree_facts(tree, run)
    texts.close()
    searchable = len(texts.blocks)  # prompts repeat what the nodes before them say
    messages, prompts, note = _prompts(tree, texts, prompter)
    texts.close()
    head = {
        "task": tree.task_id,
        "facts": facts,
        "committed": sorted(chosen_ids(tree)),
        "nodes": nodes,
        "messages": messages,
        "prompts": prompts,
        "promptsNote": note or prompts_note,
        "starts": texts.starts,
        "searchable": searchable,
    }
    return [packed(head), *texts.blocks]


def _tree_facts(tree: Tree, run: Run | None) -> list[tuple[str, str]]:
    """What became of the task, as names and texts."""
    facts = [("task", tree.prompt)]
    if run is None:
        return facts
    for line in run.results:
        if line["task_id"] == tree.task_id:
            usage = line["usage"]
            facts += [
                ("verdict", _verdict(line)),
                ("reason", line["reason"] or line["error"]),
                ("answer", line["answer"]),
                ("carried out", " ; ".join(line["actions"])),
                (
                    "spent",
                    f"{usage['calls']:,} calls, {usage['tokens']:,} tokens, "
                    f"{usage['env_steps']:,} environment steps",
                ),
                ("stop", line["stop"]),
            ]
    facts.append(("run", run.name))
    if run.summary is not None:
        facts.append(("setting", run.summary["setting"]))
    return [(name, text) for name, text in (*facts, *_parts(run)) if text]


def _columns(tree: Tree, texts: Texts) -> dict[str, list[Any]]:
    """What is known of the nodes, a list for each kind of thing."""
    labels = _Labels()
    columns: dict[str, list[Any]] = {}
    for node in tree.nodes:
        for name, value in _cells(tree, node, texts, labels).items():
            columns.setdefault(name, []).append(value)
    return {**columns, "labels": labels.texts}


def _cells(tree: Tree, node: Node, texts: Texts, labels: _Labels) -> dict[str, Any]:
    proposal, extra = node.proposal, dict(node.extra or {})
    picture = extra.pop("picture", None)
    return {
        "parent": None if node.parent is None else node.parent.id,
        "label": labels.number(node.action if node.parent is not None else "start"),
        "note": labels.number(node.observation),
        "action": texts.number(node.action),
        "observation": texts.number(node.observation),
        "raw": texts.number(proposal.raw if proposal else None),
        "answer": texts.number(node.answer),
        "extra": texts.number(json.dumps(extra, indent=1, default=str) if extra else None),
        "picture": texts.number(picture if isinstance(picture, str) else None),
        "version": texts.number(proposal.version or None if proposal else None),
        "value": _number(node.value),
        "visits": node.visits,
        "sum": _number(node.value_sum),
        "prior": _number(node.prior),
        "reward": _number(node.reward),
        "credit": _number(credit_of(tree, node)),
        "end": 1 if node.terminated else 2 if node.truncated else 0,
        "draws": node.draws,
        "count": proposal.count if proposal else None,
        "logprob": _number(proposal.logprob if proposal else None),
        "cost": _cost(node),
    }


class _Labels:
    """Numbers the first words of texts, which are drawn in the tree itself."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        label = " ".join(text[: 4 * LABEL].split())[:LABEL]
        if label not in self._numbers:
            self._numbers[label] = len(self.texts)
            self.texts.append(label)
        return self._numbers[label]


def _cost(node: Node) -> dict[str, float] | None:
    if node.cost is None:
        return None
    return {name: count for name, count in node.cost.to_dict().items() if count}


def _number(value: float | None) -> float | str | None:
    """Six digits of a number; JSON has no word for what is not finite."""
    if value is None:
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


Message = tuple[str, int | None]
"""Role, and number of the text."""


def _prompts(
    tree: Tree, texts: Texts, prompter: Prompter | None
) -> tuple[list[Message], list[list[int] | None], str]:
    """The chats of a tree, each as what it adds to its parent's.

    Returns:
        The distinct messages; for each node how many messages its chat begins with that
        its parent's has too, and the numbers of those that follow, or None where nobody
        is asked; and why there are none.
    """
    if prompter is None:
        return [], [], ""
    numbers: dict[Message, int] = {}
    chats: list[list[int]] = []
    added: list[list[int] | None] = []
    try:
        for node, chat in zip(tree.nodes, prompter.chats(tree), strict=True):
            chats.append(_numbered(chat or (), texts, numbers))
            before = chats[node.parent.id] if node.parent is not None else []
            shared = _shared(before, chats[-1])
            added.append(None if chat is None else [shared, *chats[-1][shared:]])
    except DataError as cause:
        return [], [], str(cause)
    return list(numbers), added, ""


def _numbered(chat: Chat, texts: Texts, numbers: dict[Message, int]) -> list[int]:
    messages = [(message.role, texts.number(message.content)) for message in chat]
    return [numbers.setdefault(message, len(numbers)) for message in messages]


def _shared(first: list[int], other: list[int]) -> int:
    """How many items both begin with."""
    same = 0
    for one, two in zip(first, other, strict=False):
        if one != two:
            break
        same += 1
    return same


# -- the file --------------------------------------------------------------------------


def packed(data: Any) -> str:
    """Deflated JSON in base64, which needs no escaping in HTML."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("ascii"))).decode("ascii")


def _page(title: str, index: Mapping[str, Any], trees: Iterable[list[str]]) -> str:
    """The page around an index and the blocks of its trees."""
    blocks = [_block("index", packed(index))]
    for i, tree in enumerate(trees):
        blocks += [_block(f"tree-{i}-{j}", block) for j, block in enumerate(tree)]
    style, script = _asset("view.css"), _asset("view.js")
    parts = {
        "title": html.escape(title.encode("utf-8", "backslashreplace").decode()),
        "policy": (
            f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
            f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
        ),
        "style": style,
        "script": script,
        "data": "\n".join(blocks),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("view.html"))


def _block(name: str, data: str) -> str:
    return f'<script type="text/plain" id="{name}">{data}</script>'


def _asset(name: str) -> str:
    return resources.files("agentsearch.viz").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source of a content policy that lets just this text in."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as cause:
        raise ConfigError(f"{path}: cannot be written ({cause.strerror}).") from cause
