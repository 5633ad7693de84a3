"""Who may import whom, and what `import agentsearch` must not pull in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("envs", "eval", "reward_models")
LAYERS = (
    {"types", "errors", "seeds"},
    {"journal"},
    {"tree", "budget", "protocols", "live"},
    {"problem"},
    {"search", "policies", "values", "choosers", "engines", "data"},
    {"warden"},
    {
        "runner",
        "registry",
        "config",
        "conformance",
        "loop",
        "shards",
        "throughput",
        "commands",
        "collecting",
        "serve",
        "train",
        "viz",
    },
    {"cli", "__main__"},
)
BASE = {"types", "errors", "seeds"}
ONLY = {  # narrower than their layer
    "search": {"types", "errors", "tree", "problem", "search.rules", "search.choose"},
    "policies": {*BASE, "budget", "protocols", "tree", "problem", "policies"},
    "values": {*BASE, "protocols", "budget", "tree", "problem", "policies", "values"},
    "choosers": {*BASE, "protocols", "policies", "choosers"},
    "engines": {*BASE, "protocols", "engines"},
    "data": {*BASE, "budget", "tree", "data"},
    "train": {*BASE, "config", "data", "engines.hf", "registry", "train", "warden"},
}


def imported(source):
    """The modules a source imports at any depth, less those for type checkers only."""
    found, stack = [], [ast.parse(source)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used"
            whole = node.module in ("agentsearch", "agentsearch.search")
            found += [f"{node.module}.{a.name}" for a in node.names] if whole else [node.module]
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            stack.extend(ast.iter_child_nodes(node))
    return found


def layer(module):
    return next((i for i, names in enumerate(LAYERS) if module.split(".")[0] in names), None)


def breaches(importer, source):
    """What `importer`, such as `agentsearch.search.beam`, may not import."""
    room, _, module = importer.partition(".")
    part, bad = module.split(".")[0], []
    for name in imported(source):
        top, _, inner = name.partition(".")
        if top.startswith("agentsearch_"):
            allowed = top == room
        elif top != "agentsearch":
            allowed = part != "search" or top in sys.stdlib_module_names
        elif room != "agentsearch" or not module or inner.startswith("__version__"):
            allowed = True
        elif part in ONLY:
            allowed = inner in ONLY[part] or inner.split(".")[0] in ONLY[part]
        else:
            allowed = layer(inner) is not None and layer(inner) <= layer(module)
        if not allowed:
            bad.append(name)
    return bad


def sources():
    for folder in (ROOT, *(ROOT / room for room in ROOMS)):
        for package in folder.glob("agentsearch*"):
            for path in sorted(package.rglob("*.py")):
                dotted = ".".join(path.relative_to(folder).with_suffix("").parts)
                yield dotted.removesuffix(".__init__"), path.read_text(encoding="utf-8")


def test_nobody_imports_what_lies_above():
    found = {name: breaches(name, text) for name, text in sources()}
    assert len(found) > 40
    assert {name: bad for name, bad in found.items() if bad} == {}


def test_every_module_of_the_core_has_its_place():
    modules = {name.split(".")[1] for name, _ in sources() if name.startswith("agentsearch.")}
    assert {module for module in modules if layer(module) is None} == set()


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("agentsearch.tree", "from agentsearch.problem import Problem"),
        ("agentsearch.problem", "import agentsearch.runner"),
        ("agentsearch.search.beam", "from agentsearch.search.mcts import MCTS"),
        ("agentsearch.search.beam", "from agentsearch.search import mcts"),
        ("agentsearch.search.beam", "from agentsearch.engines.hf import HFEngine"),
        ("agentsearch.search.beam", "from agentsearch import budget"),
        ("agentsearch.search.beam", "import numpy as np"),
        ("agentsearch.engines.hf", "from agentsearch.problem import Problem"),
        ("agentsearch.policies.prompted", "from agentsearch.values.votes import Votes"),
        ("agentsearch.train.dpo", "from agentsearch.search.mcts import MCTS"),
        ("agentsearch.runner", "def late():\n    from agentsearch.cli import main"),
        ("agentsearch.config", "from agentsearch_envs.game24 import Game24"),
        ("agentsearch.cli.eval", "import agentsearch_eval.suite"),
        ("agentsearch_eval.suite", "from agentsearch_envs import game24"),
    ],
)
def test_a_wrong_import_is_found(importer, line):
    assert len(breaches(importer, line)) == 1


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("agentsearch.search.mcts", "import math\nfrom agentsearch.search import rules"),
        ("agentsearch.types", "if TYPE_CHECKING:\n    from agentsearch.budget import Account"),
        ("agentsearch.policies.scripted", "from agentsearch.problem import Problem"),
        ("agentsearch_envs.game24", "from agentsearch.types import Step"),
    ],
)
def test_a_right_import_is_not(importer, line):
    assert breaches(importer, line) == []


HEAVY = ("torch", "transformers", "pydantic", "omegaconf", "scipy", "networkx", "rich", "typer")


def test_importing_the_package_pulls_in_nothing_heavy():
    code = f"import sys, agentsearch; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == []
