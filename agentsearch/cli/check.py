"""`agentsearch check`: run the conformance tests on one plug-in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from agentsearch.cli.screen import screen, show_json
from agentsearch.viz.terminal import clean

if TYPE_CHECKING:
    from agentsearch.conformance import Finding

EXAMPLES = """\b
Examples:
  agentsearch check game24
  agentsearch check oracle --kind values
  agentsearch check my_package.env:MyEnv --kind envs"""


def command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name from `agentsearch list`, or module:Class.")
    ],
    kind: Annotated[
        str | None, typer.Option(help="envs, search, policies, values, choosers or engines.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Check that a plug-in keeps its contract.

    Such as: the same seed gives the same, a step leaves its input untouched, gold
    answers pass the verifier. Exit code 1 if anything fails.
    """
    from agentsearch.conformance import check

    found_kind = kind_of(name, kind)
    findings = check(found_kind, name)
    if as_json:
        plain = [dataclasses.asdict(each) for each in findings]
        show_json({"kind": found_kind, "name": name, "findings": plain})
    else:
        show(found_kind, name, findings)
    if not all(each.passed for each in findings):
        raise typer.Exit(1)


def kind_of(name: str, kind: str | None) -> str:
    """The kind of plug-in that `name` stands for.

    Raises:
        ConfigError: it is not `kind`, of no kind, or of several.
    """
    from agentsearch import registry
    from agentsearch.errors import ConfigError, did_you_mean

    if kind is not None:
        known = registry.names(kind)
        if name not in known and ":" not in name:
            registry.load(kind, name)  # says what is wrong
        return kind
    if ":" in name:
        raise ConfigError(f"{name!r}: give its kind too: --kind {'|'.join(registry.KINDS)}.")
    kinds = [each for each in registry.KINDS if name in registry.names(each)]
    if not kinds:
        known = [each for one in registry.KINDS for each in registry.names(one)]
        raise ConfigError(
            f"{name!r}: no plug-in has this name.{did_you_mean(name, known)} "
            "See `agentsearch list`."
        )
    if len(kinds) > 1:
        raise ConfigError(
            f"{name!r}: is the name of several kinds; choose one with --kind {'|'.join(kinds)}."
        )
    return kinds[0]


def show(kind: str, name: str, findings: Sequence[Finding]) -> None:
    """A row per finding, and the count of failures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from agentsearch.registry import SINGULAR

    table = Table("", "check", "detail", box=box.SIMPLE, pad_edge=False)
    for each in findings:
        mark = Text("ok", "green") if each.passed else Text("FAILED", "bold red")
        table.add_row(mark, clean(each.name), clean(each.detail, keep="\n"))
    console = screen()
    console.print(table)
    failed = sum(not each.passed for each in findings)
    outcome = f"{failed} of {len(findings)} checks failed" if failed else "all checks passed"
    console.print(f"{SINGULAR[kind]} {clean(name)}: {outcome}", style="red" if failed else "green")
