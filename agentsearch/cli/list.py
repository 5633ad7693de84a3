"""`agentsearch list`: plug-ins, shipped recipes and suites."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from agentsearch.cli.screen import facts, screen, show_json
from agentsearch.viz.terminal import clean

if TYPE_CHECKING:
    from rich.text import Text

    from agentsearch.commands import Listed

EXAMPLES = """\b
Examples:
  agentsearch list
  agentsearch list search
  agentsearch list recipes --json"""


def command(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="envs, search, policies, values, choosers, engines, reward_models, trainers, "
            "recipes, loops or suites; all of them if left out.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """List the names that recipes and commands take.

    Each with a line on what it is. A plug-in that cannot be loaded is listed with the reason.
    """
    from agentsearch.commands import catalogue

    found = catalogue(kind)
    if as_json:
        show_json([dataclasses.asdict(each) for each in found])
    else:
        show(found)


def show(found: Sequence[Listed]) -> None:
    """A block per kind."""
    console = screen()
    for kind in dict.fromkeys(each.kind for each in found):
        console.print(kind.replace("_", " "), style="bold underline")
        rows = [(f"  {clean(each.name)}", about(each)) for each in found if each.kind == kind]
        console.print(facts(rows))
        console.print()
    if not found:
        console.print("none")


def about(each: Listed) -> Text:
    """Its summary, or why it is broken."""
    from rich.text import Text

    return Text(f"broken: {clean(each.error)}", "red") if each.error else Text(clean(each.summary))
