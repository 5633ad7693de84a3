"""`agentsearch eval`: a suite's table on the terminal, its report on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agentsearch.cli.screen import screen, show_json
from agentsearch_eval.report import template, write_report
from agentsearch_eval.suite import (
    Interrupted,
    Row,
    Suite,
    by_setting,
    check_replaceable,
    load_suite,
    most_calls,
    plan_suite,
    run_suite,
)


def command(
    suite: Annotated[str, typer.Argument(help="A suite file, or a short name such as demo.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as base.seed=1 or run=NAME.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print table.json, and nothing else.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
) -> None:
    """Run a suite: every row at every budget on the same tasks.

    An earlier suite of the same name is replaced once every row has finished. Exit code 1:
    every task failed.

    Examples:

        agentsearch eval demo

        agentsearch eval demo base.tasks.limit=10 base.seed=1 run=quick
    """
    loaded = load_suite(suite, overrides or [])
    check_replaceable(runs / loaded.folder)
    template()  # before anything runs: whether there can be a report
    if dry_run:
        found = upper_bounds(loaded)
        show_json(found) if as_json else typer.echo(as_sentence(found))
        return
    table = run_rows(loaded, runs)
    folder = runs / loaded.folder
    report = write_report(loaded, table, folder)
    if as_json:
        show_json(json.loads((folder / "table.json").read_text(encoding="utf-8")))
    else:
        print_table(loaded, table, screen())
        typer.echo(f"report: {report}")
    if all(row.summary["failed"] == row.summary["tasks"] for row in table):
        raise typer.Exit(1)


def upper_bounds(suite: Suite) -> dict[str, Any]:
    """What a suite would run, and the most model calls it can make at each budget."""
    plans = plan_suite(suite)
    return {
        "rows": list(suite.rows),
        "budgets": list(suite.budgets),
        "tasks": len(next(iter(plans.values())).tasks),
        "calls": most_calls(plans),
    }


def as_sentence(found: dict[str, Any]) -> str:
    """`upper_bounds` for people."""
    rows, budgets = found["rows"], found["budgets"]
    most = [
        f"  {budget}: " + ("no limit of calls" if calls is None else f"at most {calls:,} calls")
        for budget, calls in found["calls"].items()
    ]
    return "\n".join(
        [
            f"{len(rows)} rows x {len(budgets)} budgets x {found['tasks']} tasks",
            f"rows: {', '.join(rows)}",
            *most,
            "Nothing was run.",
        ]
    )


def run_rows(suite: Suite, runs: Path) -> list[Row]:
    """Run with a line on stderr for each row; Ctrl-C says what is kept."""
    console = screen(stderr=True)

    def on_row(budget: str, row: str, summary: dict[str, Any]) -> None:
        console.print(f"{row}, {budget}: {summary['correct']} of {summary['tasks']}")

    try:
        return run_suite(suite, runs, on_row)
    except Interrupted as interrupted:
        planned = len(suite.rows) * len(suite.budgets)
        kept = "no row had finished, and nothing is kept."
        if interrupted.folder is not None:
            done = interrupted.finished
            kept = f"{done} of {planned} rows had finished and are kept in {interrupted.folder}."
        typer.echo(f"Interrupted: {kept}", err=True)
        raise typer.Exit(130) from None


def print_table(suite: Suite, table: list[Row], console: Any) -> None:
    """One rich table a budget."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console.print(f"\n{suite.title or suite.name}", style="bold")
    for budget in suite.budgets:
        rows = [row for row in table if row.budget == budget]
        shown = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        shown.title, shown.title_justify = f"at most {budget} per {suite.per}", "left"
        shown.add_column("method", overflow="fold")
        for name in ("success", "95 %", "vs baseline", "95 %", "calls", "tokens"):
            shown.add_column(name, justify="right")
        for row in rows:
            shown.add_row(row.label, *_cells(row))
        console.print(shown)
        for line in notes(suite, rows):
            console.print(line, style="dim")


def notes(suite: Suite, rows: list[Row]) -> list[str]:
    """What stands below a table: tasks, setting (by row where it differs), and the marks."""
    settings = by_setting(rows)
    lines = [f"{rows[0].summary['tasks']} tasks; baseline: {suite.baseline}"]
    for setting, names in settings.items():
        lines.append(setting if len(settings) == 1 else f"{', '.join(names)}: {setting}")
    if any(row.difference is not None and row.difference.excludes_zero for row in rows):
        lines.append("* the interval of the difference excludes 0")
    if any(row.summary["oracle"] for row in rows):
        lines.append("ORACLE rows read the solution: a ceiling, never a result")
    return lines


def _cells(row: Row) -> list[str]:
    n, usage = max(row.summary["tasks"], 1), row.summary["usage"]
    success, difference = row.success, row.difference
    versus = ["-", "-"]
    if difference is not None:
        mark = "*" if difference.excludes_zero else ""
        versus = [
            f"{100 * difference.estimate:+.0f}{mark}",
            f"{100 * difference.low:+.0f} to {100 * difference.high:+.0f}",
        ]
    return [
        f"{100 * success.estimate:.0f} %",
        f"{100 * success.low:.0f}-{100 * success.high:.0f}",
        *versus,
        f"{usage['calls'] / n:.1f}",
        f"{usage['tokens'] / n:.0f}",
    ]
