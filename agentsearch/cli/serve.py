"""`agentsearch serve`: vLLM with the flags that search needs, until Ctrl-C."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from agentsearch.cli.progress import EVERY_S, WIDE, duration
from agentsearch.cli.screen import screen, show_json
from agentsearch.viz.terminal import clean

if TYPE_CHECKING:
    from agentsearch.serve import Plan, Server

EXAMPLES = """\b
Examples:
  agentsearch serve tiny
  agentsearch serve Qwen/Qwen3-4B --port 8100 --max-model-len 8192
  agentsearch serve models/round-3 --name policy --replicas 4
  agentsearch serve Qwen/Qwen3-32B -- --tensor-parallel-size 2 --max-lora-rank 64
  agentsearch serve tiny --dry-run"""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = (
    "warning: it is open to the network; whoever reaches the port can use the model "
    "and load adapters into it."
)


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="tiny, the folder of a model, or ORGANISATION/NAME on the hub."
        ),
    ],
    flags: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- FLAGS", help="Further flags of vLLM; these win over ours."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; another opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to serve on; 0 takes a free one.")
    ] = 8000,
    name: Annotated[
        str | None, typer.Option(help="Under which the model is offered; else its own.")
    ] = None,
    replicas: Annotated[
        int, typer.Option(min=1, help="Copies of the model that share the requests.")
    ] = 1,
    ray: Annotated[
        bool, typer.Option("--ray", help="Spread the replicas over the nodes of a Ray cluster.")
    ] = False,
    max_num_seqs: Annotated[
        int, typer.Option(min=1, help="Most sequences that a replica computes at a time.")
    ] = 256,
    max_model_len: Annotated[
        int | None,
        typer.Option(min=1, help="Most tokens of prompt and completion; else the model's own."),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16; auto is float32 on the CPU.")
    ] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the command that would be run.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the address as JSON, and nothing else.")
    ] = False,
) -> None:
    """Start vLLM with what search needs; print the address once it answers.

    Prefix caching, log-probabilities, token ids and loading of LoRA adapters are on. The
    installed vLLM decides whether it runs on GPUs or on the CPU. It listens on this machine
    only, unless --host says otherwise, and ends with Ctrl-C or SIGTERM, all of its
    processes too. Exit code 2: it did not start. 1: it died later. 130 and 143: it was
    ended by Ctrl-C or SIGTERM.
    """
    from agentsearch import serve

    options = serve.Options(
        host=host,
        port=port,
        name=name,
        replicas=replicas,
        ray=ray,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        dtype=dtype,
        flags=tuple(flags or ()),
    )
    planned = serve.plan(model, options)
    if host not in LOOPBACK:
        typer.echo(OPEN, err=True)
    if dry_run:
        show_plan(planned, as_json)
    else:
        carry_out(planned, as_json)


def show_plan(planned: Plan, as_json: bool) -> None:
    """The command, as a shell takes it."""
    if as_json:
        show_json(dataclasses.asdict(planned))
        return
    env = [f"{name}={value}" for name, value in planned.env.items()]
    typer.echo(shlex.join(["env", *env, *planned.command]))


def carry_out(planned: Plan, as_json: bool) -> None:
    """Serve until a signal comes or the server dies."""
    from agentsearch import serve

    started = time.monotonic()
    with leaving_on_sigterm(), ExitStack() as stack:
        with progress() as on_progress:
            running = serve.running(planned, on_progress=on_progress)
            server = stack.enter_context(running)
        show(planned, server, time.monotonic() - started, as_json)
        try:
            server.process.wait()
        except (KeyboardInterrupt, SystemExit):
            typer.echo("Ending vLLM.", err=True)
            raise
        error = serve.died(server, "died")
    typer.echo(f"Error: {error}", err=True)
    for note in error.__notes__:
        typer.echo(clean(note), err=True)
    raise typer.Exit(1)


def show(planned: Plan, server: Server, seconds: float, as_json: bool) -> None:
    """Where it is, and how to use it."""
    if as_json:
        show_json(
            {
                "model": planned.name,
                "address": planned.address,
                "policy": planned.policy,
                "log": str(server.log),
                "seconds": round(seconds, 1),
            }
        )
        return
    typer.echo(f"{planned.name}: {planned.address} (stop with Ctrl-C)")
    typer.echo(f"use it with: --policy {planned.policy}")
    typer.echo(f"log: {server.log}")


@contextmanager
def leaving_on_sigterm() -> Generator[None]:
    """Let SIGTERM unwind the block as Ctrl-C does."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress() -> Generator[Callable[[str], None]]:
    """What vLLM says while it starts: its newest line, or on no terminal a line now and then."""
    console = screen(stderr=True)
    started = last = time.monotonic()

    def say(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY_S:
            last = now
            console.print(f"{duration(now - started)}: {clean(line)[:WIDE]}", soft_wrap=True)

    if not console.is_terminal:
        yield say
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}", markup=False)
    with Progress(
        SpinnerColumn(), TimeElapsedColumn(), text, console=console, transient=True
    ) as bar:
        task = bar.add_task("starting vLLM", total=None)
        yield lambda line: bar.update(task, description=clean(line)[: console.width - 12])
