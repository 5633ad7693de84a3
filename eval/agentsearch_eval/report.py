"""`report.html`: one self-contained page with the tables and one tree."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from agentsearch.errors import ConfigError
from agentsearch.runner import tree_name
from agentsearch.tree import Node, Tree
from agentsearch_eval.suite import Row, Suite, by_setting

SHOWN_NODES = 400
"""Most nodes of the tree on the page; the rest is counted."""


def write_report(suite: Suite, table: list[Row], folder: Path) -> Path:
    """Render the page; model-written text is escaped.

    Raises:
        ConfigError: Jinja is not installed.
    """
    page = template()
    budgets = {b: [row for row in table if row.budget == b] for b in suite.budgets}
    settings = {budget: by_setting(rows) for budget, rows in budgets.items()}
    tree = _example(suite, table, folder)
    text = page.render(suite=suite, budgets=budgets, settings=settings, tree=tree)
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def template() -> Any:
    """The page before it is filled.

    Raises:
        ConfigError: Jinja is not installed.
    """
    try:
        from jinja2 import Environment
    except ImportError:
        raise ConfigError("reports need Jinja: pip install 'agentsearch[eval]'") from None
    source = resources.files("agentsearch_eval").joinpath("report.html.j2")
    return Environment(autoescape=True).from_string(source.read_text(encoding="utf-8"))


def _example(suite: Suite, table: list[Row], folder: Path) -> dict[str, Any] | None:
    """A tree of the headline row: the largest of a solved task, else of its first task."""
    headline = suite.headline or list(suite.rows)[-1]
    row = next((row for row in table if row.name == headline), None)
    if row is None:
        return None
    run = folder / row.folder
    text = (run / "results.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.split("\n") if line]
    solved = [line for line in lines if line["correct"]]
    line = max(solved, key=lambda each: each["nodes"]) if solved else lines[0]
    path = run / "trees" / tree_name(line["task_id"])
    if not path.is_file():
        return None
    tree = Tree.load(path)
    chosen = set(tree.meta.get("committed", ()))
    shown = _branch(tree.root, chosen, [SHOWN_NODES])
    return {"line": line, "row": row.label, "root": shown, "nodes": len(tree)}


def _branch(node: Node, chosen: set[int], room: list[int]) -> dict[str, Any]:
    """A node as plain values, most visited children first, while there is room."""
    room[0] -= 1
    order = sorted(node.children, key=lambda c: (c.id not in chosen, -c.visits, c.id))
    children = [_branch(child, chosen, room) for child in order if room[0] > 0]
    return {
        "node": node,
        "chosen": node.id in chosen,
        "children": children,
        "left_out": len(node.children) - len(children),
    }
