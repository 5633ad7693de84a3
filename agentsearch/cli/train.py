"""`agentsearch train`: a better policy from what searches found."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentsearch.cli.progress import duration
from agentsearch.cli.screen import facts, screen, show_json
from agentsearch.cli.serve import leaving_on_sigterm
from agentsearch.viz.terminal import clean

if TYPE_CHECKING:
    from agentsearch.train.estimate import Estimate

EXAMPLES = """\b
Examples:
  agentsearch train dpo my.yaml
  agentsearch train sft my.yaml model=tiny data=[data/round-1] to=models/round-1
  agentsearch train dpo my.yaml profile=8xh100 args.learning_rate=1e-6
  agentsearch train dpo my.yaml --dry-run --tokens-per-second 20000"""


def command(
    trainer: Annotated[str, typer.Argument(metavar="TRAINER", help="sft or dpo.")],
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A file, or a short name.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Dotted keys, such as dpo.beta=0.2."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate tokens, steps, memory and time.")
    ] = False,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(min=0, help="Throughput to estimate time by; a run logs it."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")
    ] = False,
) -> None:
    """Train a policy on rows that `collect` made; the same call goes on after a crash.

    The result is a folder that --policy hf:FOLDER takes, or one of adapters. Exit code 2:
    recipe, data and model do not fit together. 1: it failed, or was stopped.
    """
    from agentsearch.train import launch
    from agentsearch.train.recipe import load_recipe

    given = list(overrides or ())
    planned = load_recipe(recipe, [*given, f"trainer={trainer}"])
    if dry_run:
        launch.check_installed()
        from agentsearch.train.estimate import estimate

        show_estimate(estimate(planned, tokens_per_second), as_json)
        return
    try:
        with leaving_on_sigterm():
            summary = launch.run(
                planned, [trainer, recipe, *given], lambda line: typer.echo(clean(line), err=True)
            )
    except launch.TrainingFailed as error:
        typer.echo(f"Error: {clean(str(error))}", err=True)
        raise typer.Exit(error.code) from None
    show(summary, planned.to, as_json)


def show(summary: dict[str, Any], folder: str, as_json: bool) -> None:
    """What came of it, and how to use it."""
    if as_json:
        show_json(summary)
        return
    numbers = {k: f"{v:.4g}" for k, v in summary["metrics"].items() if k != "step"}
    rows = {"steps": str(summary["steps"]), "time": duration(summary["seconds"]), **numbers}
    screen().print(facts(rows.items()))
    lora = summary["recipe"]["lora"]
    if lora is None:
        typer.echo(f"use it with: --policy hf:{folder}")
    elif lora["merged"]:
        typer.echo(f"adapters: {folder}\nuse it with: --policy hf:{folder}/merged")
    else:
        typer.echo(f"adapters: {folder}")


def show_estimate(found: Estimate, as_json: bool) -> None:
    """Sizes as they are, memory and time as guesses."""
    if as_json:
        show_json({**dataclasses.asdict(found), "estimated": ["memory_gb", "seconds"]})
        return
    memory = ", ".join(f"{name} {value:g}" for name, value in found.memory_gb.items())
    time = "give --tokens-per-second" if found.seconds is None else duration(found.seconds)
    rows = (
        ("rows", f"{found.rows:,}"),
        ("tokens an epoch", f"{found.tokens:,} (longest row {found.longest:,})"),
        ("steps", f"{found.steps:,}"),
        ("parameters", f"{found.parameters:,}, {found.trainable:,} of them trained"),
        ("memory, a guess", f"{sum(found.memory_gb.values()):.3g} GB a process ({memory})"),
        ("time, a guess", time),
    )
    screen().print(facts(rows))
