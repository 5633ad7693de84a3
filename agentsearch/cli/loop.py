"""`agentsearch loop`: rounds of search, collect, train and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentsearch.cli.screen import screen, show_json

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLES = """\b
Examples:
  agentsearch loop agent_q
  agentsearch loop agent_q seed=1 rounds=2 --run agent-q-1
  agentsearch loop my-loop.yaml --dry-run
  agentsearch loop --resume agent-q-1              (goes on with it after any end)
  agentsearch loop --resume agent-q-1 rounds=4     (and further)"""


def command(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A file, or agent_q or rest_em.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Fields of the recipe, such as rounds=2."),
    ] = None,
    run: Annotated[str | None, typer.Option(help="Name of the loop; as run=NAME.")] = None,
    runs: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path("runs"),
    resume: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Go on with a loop that was ended; no RECIPE then."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the stages can use.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print loop.json, and nothing else.")
    ] = False,
) -> None:
    """Search train tasks, train on what was found, and evaluate; then with the new policy again.

    Every stage is a command that can be run by hand; what it says goes to stderr. A loop that
    was ended in any way goes on where it was. Exit code 2: something to put right.
    """
    from agentsearch import loop

    short = [] if run is None else [f"run={run}"]
    if resume is not None:  # the first argument is no recipe then
        given = [*short, *([recipe] if recipe else []), *(overrides or [])]
        plan = loop.prepare_resumed(resume, runs, given)
    elif recipe is None:
        raise typer.BadParameter("give a recipe, or --resume NAME", param_hint="RECIPE")
    else:
        plan = loop.prepare(recipe, [*short, *(overrides or [])], runs)
    if dry_run:
        found = loop.estimate(plan)
        show_json(found) if as_json else screen().print(estimated(found))
        return
    console = screen(stderr=True)
    work = loop.Loop(plan, lambda stage: console.rule(stage, align="left"))
    try:
        done = work.run()
    except KeyboardInterrupt:
        typer.echo(f"Interrupted; go on with: agentsearch loop --resume {plan.folder}", err=True)
        raise typer.Exit(130) from None
    if as_json:
        show_json(done)
    else:
        screen().print(curves(done))
        typer.echo(f"best: round {done['best']}, {done['policy']}")
        typer.echo(f"report: {plan.folder / 'report.html'}")


def curves(done: dict[str, Any]) -> Table:
    """Success of every round, by environment and row."""
    from rich.table import Table

    table = Table("round", box=None)
    columns = [(env, row) for env, rows in done["rounds"][0]["success"].items() for row in rows]
    for env, row in columns:
        table.add_column(f"{env}, {row}", justify="right")
    for each in done["rounds"]:
        rates = [each["success"][env][row] for env, row in columns]
        cells = [f"{r['estimate']:.1%} [{r['low']:.1%}, {r['high']:.1%}]" for r in rates]
        table.add_row(str(each["round"]), *cells)
    return table


def estimated(found: dict[str, Any]) -> Table:
    """What the stages can use."""
    from rich.table import Table

    table = Table("stage", "tasks", "times", "most calls", "rough tokens", box=None)
    for name, each in found["stages"].items():
        numbers = (each["tasks"], each["times"], each["calls"], each["rough_tokens"])
        table.add_row(name, *("no limit" if n is None else f"{n:,}" for n in numbers))
    return table
