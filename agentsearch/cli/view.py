"""`agentsearch view`: a run or one of its trees as a page for a browser, or in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentsearch.cli.screen import facts, screen, show_json
from agentsearch.viz.terminal import clean, draw_tree, find_node, node_facts

if TYPE_CHECKING:
    from rich.table import Table

    from agentsearch.data.runs import Run
    from agentsearch.tree import Tree

EXAMPLES = """\b
Examples:
  agentsearch view game24-mcts                     a page with all tasks and their trees
  agentsearch view game24-mcts 4-9-10-13           a page with the tree of one task
  agentsearch view game24-mcts 4-9-10-13 --out tree.html
  agentsearch view game24-mcts --terminal          the tasks, here
  agentsearch view game24-mcts 4-9-10-13 --depth 2 --top 10
  agentsearch view game24-mcts 4-9-10-13 --node 7
  agentsearch view game24-mcts 4-9-10-13 --graphml tree.graphml"""

DEPTH, TOP = 8, 5
"""Levels of the tree and children of a node that the terminal shows."""


def command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder, or the name of one in --runs.")
    ],
    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="A task id, part of one, or a tree file."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the page goes; else into the run folder."),
    ] = None,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Show it here instead of writing a page.")
    ] = False,
    depth: Annotated[
        int | None,
        typer.Option(min=0, help=f"Here, with at most so many levels; {DEPTH} unless given."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help=f"Here, with at most so many children a node; {TOP}."),
    ] = None,
    node: Annotated[int | None, typer.Option(help="Show everything about this node.")] = None,
    graphml: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tree for Gephi, yEd and others.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Write a page that shows a run, or the tree of a TASK; print where it is.

    The page is one HTML file that needs nothing else: the tree, and every node's text,
    prompt, values and cost. With --terminal, --depth or --top the tree is drawn here: a line
    per node with its number, its action, what the value model said, mean value and visits
    of the search, prior, and the reward where search saw it. `*` marks the path that was
    carried out. Verdicts at leaves were made after the search.
    """
    from agentsearch.data.runs import Run
    from agentsearch.errors import ConfigError

    here = terminal or as_json or any(each is not None for each in (depth, top, node, graphml))
    if here and out is not None:
        raise ConfigError("--out names the page; leave it out where no page is written.")
    if task is None and (node is not None or graphml is not None):
        raise ConfigError("--node and --graphml need a TASK; name one of the run's tasks.")
    found = Run(folder_of(run, runs))
    tree = None if task is None else load_tree(found, task)
    if not here:
        write_page(found, tree, out)
    elif tree is None:
        show_run(found, as_json)
    elif graphml is not None:
        write_graphml(tree, graphml)
    elif node is not None:
        show_node(tree, node, as_json)
    else:
        show_tree(found, tree, DEPTH if depth is None else depth, top or TOP, as_json)


def write_page(run: Run, tree: Tree | None, out: Path | None) -> None:
    """Write the page of a run or one of its trees, and print its path."""
    from agentsearch.viz.tree_html import default_path, write_view

    path = out or default_path(run, None if tree is None else tree.task_id)
    typer.echo(write_view(run, path, tree))


def folder_of(run: str, runs: Path) -> Path:
    """The folder that a path or a name stands for.

    Raises:
        DataError: there is none.
    """
    from agentsearch.errors import DataError, did_you_mean

    for path in (Path(run), runs / run):
        if path.is_dir():
            return path
    known = [path.name for path in runs.iterdir()] if runs.is_dir() else []
    raise DataError(f"run {run!r}: no such folder, here or in {runs}.{did_you_mean(run, known)}")


def load_tree(run: Run, task: str) -> Tree:
    """The tree of a task id, part of one, or a tree file."""
    from agentsearch.tree import Tree

    return Tree.load(task) if Path(task).is_file() else run.tree(run.find_task(task))


def show_run(run: Run, as_json: bool) -> None:
    """The tasks of a run, and its summary in a line."""
    if as_json:
        show_json({"summary": run.summary, "results": run.results})
        return
    console = screen()
    console.print(task_table(run.results))
    console.print(run_line(run), soft_wrap=True)


def task_table(results: list[dict[str, Any]]) -> Table:
    """A row per task."""
    from rich import box
    from rich.table import Table

    table = Table("task", "verdict", "answer", box=box.SIMPLE, pad_edge=False)
    for name in ("calls", "nodes"):
        table.add_column(name, justify="right")
    table.add_column("stop")
    for line in sorted(results, key=lambda line: line["task_id"]):
        answer = line["answer"] or " ; ".join(line["actions"]) or line["error"]
        cells = [line["task_id"], verdict(line), answer]
        cells += [f"{line['usage']['calls']:,}", f"{line['nodes']:,}", line["stop"]]
        table.add_row(*map(clean, cells), style="red" if line["status"] == "failed" else None)
    return table


def verdict(line: dict[str, Any]) -> str:
    """One word on how a task went."""
    if line["status"] == "failed":
        return "failed"
    return "correct" if line["correct"] else "wrong"


def run_line(run: Run) -> str:
    """What the run was, and how many tasks it solved."""
    summary, lines = run.summary, run.results
    if summary is None:
        correct = sum(line["correct"] for line in lines)
        return (
            f"{run.name}: {correct} of {len(lines)} correct; the run was ended before its summary."
        )
    return (
        f"{run.name}: {summary['success']:.1%} correct "
        f"(95 % interval {summary['success_low']:.1%} to {summary['success_high']:.1%}), "
        f"{summary['tasks']} of {summary['planned']} tasks; {summary['setting']}"
    )


def show_tree(run: Run, tree: Tree, depth: int, top: int, as_json: bool) -> None:
    """A tree, under what became of its task."""
    if as_json:
        show_json(tree.to_json())
        return
    console = screen()
    lines = [line for line in run.results if line["task_id"] == tree.task_id]
    for line in lines:
        rows = [
            ("task", clean(tree.task_id)),
            ("prompt", clean(tree.prompt, keep="\n")),
            ("verdict", f"{verdict(line)}: {clean(line['reason'] or line['error'])}"),
            ("spent", f"{line['usage']['calls']:,} calls, {line['usage']['tokens']:,} tokens"),
            ("stop", clean(line["stop"])),
        ]
        console.print(facts(rows))
    console.print(draw_tree(tree, depth, top), soft_wrap=True)


def show_node(tree: Tree, number: int, as_json: bool) -> None:
    """Everything about one node."""
    node = find_node(tree, number)
    if as_json:
        show_json(tree.to_json()["nodes"][node.id])
    else:
        screen().print(facts(node_facts(tree, node)))


def write_graphml(tree: Tree, path: Path) -> None:
    """Export a tree."""
    from agentsearch.errors import ConfigError

    try:
        tree.write_graphml(path)
    except (OSError, ValueError) as cause:
        raise ConfigError(f"{path}: cannot be written ({cause}).") from cause
    typer.echo(f"{path}: {len(tree)} nodes", err=True)
