"""`agentsearch eval`: a suite's table on the terminal, its report on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agentsearch_eval.report import write_report
from agentsearch_eval.suite import Row, Suite, load_suite, run_suite


def command(
    suite: Annotated[str, typer.Argument(help="A suite file, or a short name such as demo.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as base.seed=1 or run=NAME.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="The table as JSON on stdout.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
) -> None:
    """Run a suite: every row at every budget on the same tasks.

    Examples:

        agentsearch eval demo

        agentsearch eval demo base.tasks.limit=10 base.seed=1 run=quick
    """
    from rich.console import Console

    loaded = load_suite(suite, overrides or [])
    if dry_run:
        cells = len(loaded.rows) * len(loaded.budgets)
        typer.echo(f"{cells} runs: {len(loaded.rows)} rows at {', '.join(loaded.budgets)}.")
        return
    screen = Console(stderr=True)

    def on_row(budget: str, row: str, summary: dict[str, Any]) -> None:
        screen.print(
            f"{row}, {budget}: {summary['correct']} of {summary['tasks']}", highlight=False
        )

    table = run_suite(loaded, runs, on_row)
    report = write_report(loaded, table, runs / (loaded.run or loaded.name))
    if as_json:
        typer.echo((report.parent / "table.json").read_text())
        return
    print_table(loaded, table, Console())
    typer.echo(f"report: {report}")


def print_table(suite: Suite, table: list[Row], screen: Any) -> None:
    """One rich table a budget."""
    from rich.table import Table

    screen.print(f"\n{suite.title or suite.name}", style="bold", highlight=False)
    for budget in suite.budgets:
        rows = [row for row in table if row.budget == budget]
        shown = Table(title=f"at most {budget} per task", title_justify="left")
        shown.add_column("method")
        for name in ("success", "95 %", "vs baseline", "95 %", "calls", "tokens"):
            shown.add_column(name, justify="right")
        for row in rows:
            shown.add_row(row.name, *_cells(row))
        screen.print(shown)
        screen.print(f"{rows[0].summary['tasks']} tasks; {rows[0].summary['setting']}", style="dim")


def _cells(row: Row) -> list[str]:
    n, usage = max(row.summary["tasks"], 1), row.summary["usage"]
    success, difference = row.success, row.difference
    return [
        f"{100 * success.estimate:.0f} %",
        f"{100 * success.low:.0f}-{100 * success.high:.0f}",
        "-" if difference is None else f"{100 * difference.estimate:+.0f}",
        "-"
        if difference is None
        else f"{100 * difference.low:+.0f} to {100 * difference.high:+.0f}",
        f"{usage['calls'] / n:.1f}",
        f"{usage['tokens'] / n:.0f}",
    ]
