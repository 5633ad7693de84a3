"""Names to classes, through entry points: built-ins and plug-ins use the same door.

A name is looked up in the entry-point group of its kind, or written as `module:Class`,
so that private code needs no packaging. Nothing is imported until it is asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agentsearch.errors import PluginError, did_you_mean

KINDS = (
    "envs",
    "search",
    "policies",
    "values",
    "choosers",
    "engines",
    "reward_models",
    "trainers",
)
SINGULAR = {
    "envs": "environment",
    "search": "search",
    "policies": "policy",
    "values": "value",
    "choosers": "chooser",
    "engines": "engine",
    "reward_models": "reward model",
    "trainers": "trainer",
}


@dataclass(frozen=True)
class Plugin:
    """One name of one kind, and what it stands for or why it is broken."""

    kind: str
    name: str
    target: str
    summary: str = ""
    error: str = ""


def names(kind: str) -> list[str]:
    """All names of a kind, sorted."""
    return sorted(_entries(kind))


def load(kind: str, name: str) -> Any:
    """The class that `name` stands for.

    Raises:
        PluginError: no such name, or its module cannot be imported.
    """
    entries = _entries(kind)
    if ":" in name:
        return _import(kind, name, name)
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none is installed"
        raise PluginError(
            f"{SINGULAR[kind]} {name!r}: no such name.{did_you_mean(name, entries)} "
            f"Known: {known}. Your own class can be named as 'module:Class'."
        )
    return _import(kind, name, entries[name].value)


def plugins(kind: str) -> list[Plugin]:
    """Every plug-in of a kind with the first line of its docstring; broken ones are named."""
    found: list[Plugin] = []
    for name, entry in sorted(_entries(kind).items()):
        try:
            target = load(kind, name)
        except PluginError as error:
            found.append(Plugin(kind, name, entry.value, error=str(error)))
        else:
            doc = (target.__doc__ or "").strip().splitlines()
            found.append(Plugin(kind, name, entry.value, summary=doc[0] if doc else ""))
    return found


def _entries(kind: str) -> dict[str, EntryPoint]:
    if kind not in KINDS:
        raise PluginError(f"{kind!r}: no such kind of plug-in. Kinds: {', '.join(KINDS)}.")
    return {entry.name: entry for entry in entry_points(group=f"agentsearch.{kind}")}


def _import(kind: str, name: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as cause:  # a plug-in may raise anything while it is imported
        raise PluginError(
            f"{SINGULAR[kind]} {name!r}: {target} cannot be loaded "
            f"({type(cause).__name__}: {cause}). Repair or uninstall the package that provides it."
        ) from cause
