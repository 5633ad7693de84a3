"""`agentsearch eval`: a suite's table on the terminal, its report on disk."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from agentsearch.cli.screen import screen, show_json
from agentsearch_eval.cells import Cell, Done
from agentsearch_eval.metrics import Interval
from agentsearch_eval.suite import (
    Interrupted,
    Suite,
    check_replaceable,
    find_stored,
    load_suite,
    most_calls,
    plan_suite,
    run_suite,
)
from agentsearch_eval.table import ALL, COUNTED, Row, Table, score_tells_more

SECTIONS = 3
"""Most environments that have tables of their own on the terminal."""
COMPARISON, ALL_ELSE = 23, 63
"""Characters of a line that one comparison takes, and that all its other columns do."""


def command(
    suite: Annotated[str, typer.Argument(help="A suite file, or a short name such as demo.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as base.seed=1 or run=NAME.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print table.json, and nothing else.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what is stored.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run every task, also those whose result is stored.")
    ] = False,
    executor: Annotated[
        str, typer.Option(help="local, or ray: on the Ray cluster at RAY_ADDRESS.")
    ] = "local",
) -> None:
    """Run a suite: every row at every budget on the same tasks.

    Results are kept task by task in RUNS/.results, whatever happens: the same command goes
    on after a crash, and suites share what they have in common. An earlier suite of the
    same name is replaced once the new one is complete. Exit code 1: every task failed.

    Examples:

        agentsearch eval demo

        agentsearch eval demo base.tasks.limit=10 base.seed=1 run=quick

        agentsearch eval game24 --executor ray
    """
    loaded = load_suite(suite, overrides or [])
    check_replaceable(runs / loaded.folder)
    check_report()  # before anything runs: whether there can be one
    if dry_run:
        found = would_run(loaded, runs, fresh)
        show_json(found) if as_json else typer.echo(as_sentences(found))
        return
    with redirect_stdout(sys.stderr):  # for Ray
        table = run_rows(loaded, runs, fresh, executor)
    folder = runs / loaded.folder
    report = make_report(folder)
    if as_json:
        typer.echo((folder / "table.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_table(loaded, table, folder, screen())
        typer.echo(f"report: {report}")
    if all(each["status"] == "failed" for each in table.results):
        raise typer.Exit(1)


def check_report() -> None:
    """Refuse to begin where the page cannot be made.

    Raises:
        ConfigError: a library that it needs is not installed.
    """
    from agentsearch_eval.report import template

    template()


def make_report(folder: Path) -> Path:
    """`report.html` from what the suite's folder holds."""
    from agentsearch_eval.report import write_report

    return write_report(folder)


def would_run(suite: Suite, runs: Path, fresh: bool = False) -> dict[str, Any]:
    """What a suite would run, what is stored, and the most model calls it can still make."""
    planned = plan_suite(suite)
    found = {} if fresh else find_stored(planned, runs)
    missing = dict(planned.cells)
    stored = 0
    for cell, each in found.items():
        stored += len(each.results)
        plan = missing[cell]
        tasks = [task for task in plan.tasks if task.id not in each.results]
        missing[cell] = dataclasses.replace(plan, tasks=tasks)
    tasks = {cell.env: len(plan.tasks) for cell, plan in planned.cells.items()}
    return {
        "envs": list(suite.envs),
        "rows": list(suite.all_rows),
        "budgets": list(suite.budgets),
        "seeds": suite.all_seeds,
        "tasks": sum(tasks.values()),
        "read_off": len(planned.read_from),
        "results": sum(len(plan.tasks) for plan in planned.cells.values()),
        "stored": stored,
        "calls": most_calls(missing),
    }


def as_sentences(found: dict[str, Any]) -> str:
    """`would_run` for people."""
    seeds = f" x {len(found['seeds'])} seeds" if len(found["seeds"]) > 1 else ""
    envs = f" in {len(found['envs'])} environments" if found["envs"] else ""
    rows, budgets = found["rows"], found["budgets"]
    lines = [f"{len(rows)} rows x {len(budgets)} budgets{seeds} x {found['tasks']} tasks{envs}"]
    lines.append(f"rows: {', '.join(rows)}")
    if found["envs"]:
        lines.append(f"environments: {', '.join(found['envs'])}")
    if found["read_off"]:
        lines.append(f"{found['read_off']} runs can be read off from larger ones")
    lines.append(f"{found['results']} results, of which {found['stored']} are stored")
    for budget, calls in found["calls"].items():
        most = "no limit of calls" if calls is None else f"at most {calls:,} calls"
        lines.append(f"  {budget}: {most}")
    return "\n".join([*lines, "Nothing was run."])


def run_rows(suite: Suite, runs: Path, fresh: bool = False, executor: str = "local") -> Table:
    """Run with a line on stderr for each cell; Ctrl-C says what is kept."""
    console = screen(stderr=True)

    def on_cell(cell: Cell, done: Done) -> None:
        seed = f"seed {cell.seed}" if len(suite.all_seeds) > 1 else ""
        name = ", ".join(part for part in (cell.row, cell.budget, cell.env, seed) if part)
        correct = sum(each.line["correct"] for each in done.results)
        stored = f" ({done.stored} stored)" if done.stored else ""
        console.print(f"{name}: {correct} of {len(done.results)}{stored}", soft_wrap=True)

    try:
        return run_suite(suite, runs, on_cell, fresh=fresh, executor=executor)
    except Interrupted as interrupted:
        typer.echo(
            f"Interrupted: {interrupted.finished} of {interrupted.planned} runs were complete; "
            f"every task that had finished is kept in {interrupted.store}, and the same command "
            "goes on from there.",
            err=True,
        )
        raise typer.Exit(130) from None


# -- the table on the terminal ---------------------------------------------------------


def print_table(suite: Suite, table: Table, folder: Path, console: Any) -> None:
    """A section for each of a few environments, else their mean; one rich table a budget."""
    envs = list(dict.fromkeys(row.env for row in table.rows))
    shown = envs if len(envs) <= SECTIONS + 1 else [ALL]
    console.print(f"\n{suite.title or suite.name}", style="bold")
    for env in shown:
        if env:
            console.print(f"\n{section(env, suite)}", style="bold")
        rows = [row for row in table.rows if row.env == env]
        for budget in suite.budgets:
            of_budget = [row for row in rows if row.budget == budget]
            console.print(
                as_table(
                    of_budget, f"at most {budget} per {table.suite['per']}", suite, console.width
                )
            )
            for line in notes(of_budget, suite):
                console.print(line, style="dim")
    if len(shown) < len(envs):
        console.print(f"\neach of the {len(suite.envs)} environments: {folder / 'table.csv'}")


def section(env: str, suite: Suite) -> str:
    """What stands above the tables of an environment."""
    return f"mean over {', '.join(suite.envs)}" if env == ALL else env


def as_table(rows: Sequence[Row], title: str, suite: Suite, width: int) -> Any:
    """The rows of one budget."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Drawn

    compared = suite.compared[: max(1, (width - ALL_ELSE) // COMPARISON)]
    scored = score_tells_more(rows)
    drawn = Drawn(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    drawn.title, drawn.title_justify = title, "left"
    drawn.add_column("method", overflow="fold")
    for name in ("success", "95 %", *(["score"] if scored else [])):
        drawn.add_column(name, justify="right", no_wrap=True)
    for name in compared:
        drawn.add_column(f"vs {name}", justify="right")
        drawn.add_column("95 %", justify="right", no_wrap=True)
    for name in ("calls", "tokens"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        versus = [text for name in compared for text in difference(row.differences.get(name))]
        drawn.add_row(
            row.label,
            f"{100 * row.success.estimate:.0f} %",
            f"{100 * row.success.low:.0f}-{100 * row.success.high:.0f}",
            *([f"{row.score.estimate:.2f}"] if scored else []),
            *versus,
            f"{row.per_task['calls'].estimate:.1f}",
            f"{row.per_task['tokens'].estimate:.0f}",
        )
    return drawn


def mark(found: Interval) -> str:
    """Whether a difference is sure, or its interval is not to be trusted."""
    return "*" if found.significant else "" if found.reliable else "?"


def difference(found: Interval | None) -> tuple[str, str]:
    """A difference in points with its mark, and its interval."""
    if found is None:
        return "-", "-"
    return (
        f"{100 * found.estimate:+.0f}{mark(found)}",
        f"{100 * found.low:+.0f} to {100 * found.high:+.0f}",
    )


def notes(rows: Sequence[Row], suite: Suite) -> Iterator[str]:
    """What stands below a table: tasks, settings, what the marks mean, and all that went wrong."""
    seeds = f" x {len(rows[0].seeds)} seeds" if len(rows[0].seeds) > 1 else ""
    yield f"{rows[0].tasks} tasks{seeds}; baseline: {suite.baseline}"
    settings = by_setting(rows)
    for setting, names in settings.items():
        yield setting if len(settings) == 1 else f"{', '.join(names)}: {setting}"
    if score_tells_more(rows):
        yield "score: the environment's own return, mean per task"
        against = {row.row: row.score_differences.get(suite.baseline) for row in rows}
        more = [f"{n} {d.estimate:+.2f}{mark(d)}" for n, d in against.items() if d is not None]
        if more:
            yield f"score vs {suite.baseline}: {', '.join(more)}"
    found = [each for row in rows for each in row.differences.values()]
    if score_tells_more(rows):
        found += [each for row in rows for each in row.score_differences.values()]
    if any(each.significant for each in found):
        yield "* the interval of the difference excludes 0"
    if not all(each.reliable for each in found):
        yield "? the interval rests on fewer than 10 tasks, or on none that tells the rows apart"
    if any(row.oracle for row in rows):
        yield "ORACLE rows read the solution: a ceiling, never a result"
    for row in rows:
        if row.unsupported:
            yield f"{row.row}: role unsupported by this model (more than 20 % of replies unread)"
    for larger in dict.fromkeys(row.read_off for row in rows if row.read_off):
        yield f"read off from {larger}: {', '.join(r.row for r in rows if r.read_off == larger)}"
    for name in (*COUNTED, "truncated_episodes", "failures", "mismatches"):
        yield from _counted(name.replace("_", " "), {row.row: row.counts[name] for row in rows})
    yield from _counted("results from the store", {row.row: row.stored for row in rows})


def _counted(name: str, by_row: Mapping[str, int]) -> Iterator[str]:
    some = [f"{row} {count:,}" for row, count in by_row.items() if count]
    if some:
        yield f"{name}: {', '.join(some)}"


def by_setting(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The rows of each setting (mode, and what search sees), by name."""
    settings: dict[str, list[str]] = {}
    for row in rows:
        settings.setdefault(row.setting, []).append(row.row)
    return settings
