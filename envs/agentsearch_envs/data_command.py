"""`agentsearch data`: check an environment's data files, and make what it needs of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from agentsearch.cli.screen import facts, screen, show_json
from agentsearch.viz.terminal import clean


def command(
    env: Annotated[
        str, typer.Argument(metavar="ENV", help="A name from `agentsearch list`, or module:Class.")
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory that the files are in.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Check the data files that an environment reads, and index them.

    Says what they hold, and what was left out. Exit code 2: a file is missing or broken;
    the message names it, with the record and the field.

    Examples:

        agentsearch data webshop data/webshop

        agentsearch data webshop data/webshop --json
    """
    report = check_data(env, folder)
    if as_json:
        show_json(report)
    else:
        screen().print(facts((words(name), clean(shown(each))) for name, each in report.items()))


def check_data(env: str, folder: Path) -> Mapping[str, Any]:
    """What an environment's `check_data(folder)` reports, a frozen dataclass, by field.

    Raises:
        ConfigError: the environment reads no files, or they are broken.
        PluginError: no such environment.
    """
    from agentsearch import registry
    from agentsearch.errors import ConfigError

    check = getattr(registry.load("envs", env), "check_data", None)
    if check is None:
        able = ", ".join(with_data()) or "none is installed"
        raise ConfigError(f"{env}: reads no data files. Environments that do: {able}.")
    return dataclasses.asdict(check(folder))


def with_data() -> Iterator[str]:
    """The names of the installed environments that read data files."""
    from agentsearch import registry
    from agentsearch.errors import PluginError

    for name in registry.names("envs"):
        try:
            found = registry.load("envs", name)
        except PluginError:
            continue
        if hasattr(found, "check_data"):
            yield name


def words(name: str) -> str:
    """A field's name for people."""
    return name.replace("_", " ")


def shown(value: object) -> str:
    """A field's value for people."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
