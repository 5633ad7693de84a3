"""Where commands write: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def screen(stderr: bool = False) -> Console:
    """A console that takes every string literally: no markup, no emoji codes."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def show_json(data: Any) -> None:
    """Print `data` alone on stdout; characters beyond ASCII are escaped."""
    typer.echo(json.dumps(data, indent=2))


def facts(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Names on the left, values on the right."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table
