"""Which code decides a result, and in which version.

A result depends on every module of `agentsearch` but those that only draw or print, on
the modules of the classes that a recipe names with whatever they import of the same
author, and on the versions of the packages that those import.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import agentsearch
from agentsearch import registry
from agentsearch.config import COMPONENTS, Recipe, field_names

SHOWING = ("cli", "viz")
"""Parts of the package that decide no result."""


def recipe_modules(recipe: Recipe) -> frozenset[str]:
    """Names of the modules that define what a recipe names, engines included."""
    classes = {
        key: registry.load(COMPONENTS[key], component["name"])
        for key, component in recipe.components.items()
    }
    policy_engine = recipe.policy.get("engine", {"name": "hf"})
    engines = {
        key: component.get("engine", policy_engine)
        for key, component in recipe.components.items()
        if key in ("policy", "value", "chooser")
    }
    asked = [e["name"] for key, e in engines.items() if "engine" in field_names(classes[key])]
    found = [*classes.values(), *(registry.load("engines", name) for name in asked)]
    return frozenset(each.__module__ for each in found)


def source_digest(modules: frozenset[str]) -> str:
    """Hash of all code that decides results of recipes with parts from `modules`.

    Files are read once a process: what it runs is what it hashed.
    """
    found: dict[str, str] = {}
    packages: set[str] = set()
    seen = {each for name in modules for each in with_packages(name)}
    waiting = list(seen)
    while waiting:
        name = waiting.pop()
        module = read(name)
        if module is None:
            continue
        found[name] = module.digest
        for other in module.imports:
            package = distribution(other)
            if package is not None:
                packages.add(f"{package} {metadata.version(package)}")
                continue
            new = with_packages(other) - seen
            seen |= new
            waiting += new
    parts = [core_digest(), *sorted(packages), *(f"{n} {found[n]}" for n in sorted(found))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Module(NamedTuple):
    """A source file: the hash of its text, and names that may be modules it imports."""

    digest: str
    imports: tuple[str, ...]


@cache
def read(name: str) -> Module | None:
    """The source of a module; None where there is none."""
    path = module_file(name)
    if path is None:
        return None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Module(digest, tuple(dict.fromkeys(imported(name, path))))


@cache
def core_digest() -> str:
    """Hash of the sources of `agentsearch` without what only draws or prints."""
    texts = (hashlib.sha256(path.read_bytes()).hexdigest() for path in core_files())
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def with_packages(module: str) -> set[str]:
    """A module and the packages around it, whose code runs when it is imported."""
    parts = module.split(".")
    return {".".join(parts[: i + 1]) for i in range(len(parts))}


def core_files() -> list[Path]:
    """The sources of `agentsearch`, in order, without what only draws or prints."""
    root = Path(agentsearch.__file__).parent
    found = sorted(root.rglob("*.py"))
    return [path for path in found if path.relative_to(root).parts[0] not in SHOWING]


def imported(name: str, path: Path) -> Iterator[str]:
    """Names that may be modules, from every import in a file, wherever it stands.

    Modules of the standard library are left out.
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = importlib.util.resolve_name("." * node.level, package) if node.level else ""
            base = f"{above}.{node.module}".strip(".") if node.module else above
            found = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for each in found:
            if each.partition(".")[0] not in sys.stdlib_module_names:
                yield each


def distribution(module: str) -> str | None:
    """The installed package that a module belongs to; None for ours and for private code."""
    top = module.partition(".")[0]
    if top.startswith("agentsearch"):
        return None
    return next(iter(_distributions().get(top, ())), None)


@cache
def _distributions() -> dict[str, list[str]]:
    return {name: list(found) for name, found in metadata.packages_distributions().items()}


def module_file(name: str) -> Path | None:
    """The source of a module, found without importing it; None where there is none."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        path = Path(spec.origin or "")
        return path if path.suffix == ".py" and path.is_file() else None
    for root in spec.submodule_search_locations or ():
        inside = Path(root, *rest)
        for path in (inside.with_suffix(".py"), inside / "__init__.py"):
            if path.is_file():
                return path
    return None
