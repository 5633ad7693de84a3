"""`agentsearch play`: act in an environment by hand, or serve it to others."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from agentsearch.cli.screen import show_json
from agentsearch.errors import ConfigError, EnvError, boundary, did_you_mean
from agentsearch.protocols import Environment
from agentsearch.types import Step, Task, Trajectory, Turn, Verdict
from agentsearch.viz.terminal import clean

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
STOP_S = 2  # seconds that requests have to finish once the server is stopped


def command(
    env: Annotated[
        str,
        typer.Argument(metavar="ENV", help="A name from `agentsearch list envs`, or module:Class."),
    ],
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Fields of the environment, such as kind=go_to."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Id of a task, or its index in the split; 0 if left out.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, dev or test; dev if left out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the episode; 0 if left out.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; another opens it to the network.")
    ] = HOST,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to serve on; 0 takes a free one.")
    ] = 0,
    api: Annotated[
        bool, typer.Option("--api", help="Serve create, reset, step over HTTP.")
    ] = False,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Play here, also where there are pages.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the outcome, or the address, as JSON; nothing else."),
    ] = False,
) -> None:
    """Act in an environment by hand, or serve it.

    An environment with pages of its own (webshop) is served to a browser; any other is
    played here: type an action or its number; the end of input (Ctrl-D) stops. With --api
    trainers and agents play it over HTTP. Servers listen on this machine only, unless
    --host says otherwise, and stop with Ctrl-C.

    Examples:

        agentsearch play game24

        agentsearch play babyai_text kind=go_to --task 3 --split test

        agentsearch play webshop --port 3000

        agentsearch play game24 rules=rational --api --port 8000
    """
    if api and terminal:
        raise ConfigError("--api and --terminal: choose one.")
    for name, given in (("--task", task), ("--split", split), ("--seed", seed)):
        if api and given is not None:
            raise ConfigError(f"{name}: with --api every /reset names its own; leave it out.")
    made = build(env, fields or [])
    if api:
        serve(made, api_of(made), host, port, as_json)
        return
    split = split or "dev"
    with boundary(EnvError, "tasks"):
        tasks = made.tasks(split)
    index = find_task(tasks, split, task or "0")
    site: Callable[..., ASGIApp] | None = getattr(made, "site", None)
    if site is None or terminal:
        outcome = play(made, tasks[index], seed or 0, sys.stderr if as_json else sys.stdout)
        if as_json:
            show_json(outcome)
        return
    if seed is not None:
        raise ConfigError("--seed: the pages take none; leave it out, or add --terminal.")
    need_server()
    serve(made, site(split=split, task=index), host, port, as_json)


def build(env: str, fields: Sequence[str]) -> Environment[Any]:
    """An environment from its name and fields.

    Args:
        env: a name from `agentsearch list envs`, or `module:Class`.
        fields: `key=value`, such as `kind=go_to`.

    Raises:
        ConfigError: a field that is unknown or wrong.
        PluginError: no such environment.
    """
    from agentsearch.config import Builder, merge

    component = merge({"env": {"name": env}}, [f"env.{field}" for field in fields])["env"]
    return Builder().build("envs", "env", component, {})


def find_task(tasks: Sequence[Task], split: str, wanted: str) -> int:
    """The index of a task that is named by its index or id.

    Raises:
        ConfigError: there is none.
    """
    if re.fullmatch(r"[0-9]{1,9}", wanted):
        if int(wanted) < len(tasks):
            return int(wanted)
        raise ConfigError(
            f"--task {wanted}: split {split!r} has {len(tasks):,} tasks, counted from 0."
        )
    seen: list[str] = []
    for index in range(len(tasks)):
        seen.append(tasks[index].id)
        if seen[-1] == wanted:
            return index
    raise ConfigError(f"--task {wanted!r}: is not in split {split!r}.{did_you_mean(wanted, seen)}")


# -- in the terminal -------------------------------------------------------------------


def play(env: Environment[Any], task: Task, seed: int, out: TextIO) -> dict[str, Any]:
    """Play an episode with the actions that stand on standard input.

    Actions that are not valid do not count as steps, as they make no node in a search.

    Returns:
        The actions that were taken, how many were invalid, the sum of rewards, how the
        episode ended, and the verdict; None where it was left before its end.

    Raises:
        EnvError: the environment raised.
    """
    turns: list[Turn] = []
    invalid, verdict = 0, None
    say(out, f"{task.id}\n{task.prompt}")
    # input is read outside the loop, whose own way with Ctrl-C would wait for a line
    with boundary(EnvError, env.spec.id), asyncio.Runner() as loop:
        last: Step[Any] = Step(loop.run(env.reset(task, seed=seed)))
        while not (last.terminated or last.truncated):
            observation, legal = env.observe(last.state), env.legal_actions(last.state)
            show(env, last.state, out)
            action = ask(legal, env.spec.actions != "finite", out)
            if action is None:
                break
            last = loop.run(env.step(last.state, action))
            if last.valid:
                turns.append(Turn(observation, action, last.reward))
            else:
                invalid += 1
                say(out, f"{action!r} is not valid here.")
        else:
            show(env, last.state, out)
            final = env.observe(last.state)
            path = Trajectory(task.id, tuple(turns), last.terminated, last.truncated, final)
            verdict = loop.run(judge(env, task, path, last.state))
    outcome = {
        "env": env.spec.id,
        "task": task.id,
        "actions": [turn.action for turn in turns],
        "invalid": invalid,
        "reward": sum(turn.reward or 0.0 for turn in turns),
        "terminated": last.terminated,
        "truncated": last.truncated,
        "verdict": None if verdict is None else dataclasses.asdict(verdict),
    }
    say(out, as_sentences(outcome))
    return outcome


async def judge(env: Environment[Any], task: Task, path: Trajectory, state: object) -> Verdict:
    """What the verifier says; a verifier is only promised to be awaitable."""
    return await env.verifier.verify(task, path, state)


def show(env: Environment[Any], state: object, out: TextIO) -> None:
    """What a person sees of a state: the picture where there is one, and the observation."""
    picture: Callable[[Any], str] | None = getattr(env, "picture", None)
    drawn = "" if picture is None else f"\n{picture(state)}\n"
    say(out, f"{drawn}\n{env.observe(state)}")


def ask(legal: Sequence[str] | None, free: bool, out: TextIO) -> str | None:
    """The next action: a text, or the number of a legal one; None at the end of input.

    Args:
        legal: what is listed, each with its number.
        free: whether other texts are actions too.
        out: where the list goes.
    """
    numbered = {str(number): action for number, action in enumerate(legal or (), 1)}
    for number, action in numbered.items():
        say(out, f"{number:>4}  {action}")
    if free or legal is None:
        say(out, "      (or any other action)" if numbered else "      (any action)")
    while True:
        typer.echo("> ", file=out, nl=False)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise ConfigError(f"standard input is no text ({error}).") from None
        except KeyboardInterrupt:
            say(out, "")
            raise
        text = line.strip()
        if text:  # a text that is itself an action is no number
            return text if text in (legal or ()) else numbered.get(text, text)
        if not line:
            say(out, "")
            return None


def as_sentences(outcome: dict[str, Any]) -> str:
    """How an episode went, for people."""
    count, verdict = len(outcome["actions"]), outcome["verdict"]
    steps = f"{count} step{'' if count == 1 else 's'}, reward {outcome['reward']:g}"
    if verdict is None:
        return f"Stopped after {steps}; the episode had not ended."
    ending = "Terminated" if outcome["terminated"] else "Truncated"
    judged = "correct" if verdict["correct"] else "wrong"
    credit = f"credit {verdict['credit']:g}: {verdict['reason']}"
    return f"\n{ending} after {steps}.\nVerdict: {judged}, {credit}"


def say(out: TextIO, text: str) -> None:
    """Print lines; characters that a terminal would obey are written out."""
    typer.echo(clean(text, keep="\n"), file=out)


# -- over HTTP -------------------------------------------------------------------------


def need_server() -> None:
    """Refuse where nothing can be served.

    Raises:
        ConfigError: a library that serving needs is not installed.
    """
    try:
        import starlette  # pyright: ignore[reportUnusedImport]  # noqa: F401
        import uvicorn  # pyright: ignore[reportUnusedImport]  # noqa: F401
    except ImportError as cause:
        raise ConfigError(
            f"serving needs starlette and uvicorn ({cause}): pip install 'agentsearch[envs]'"
        ) from None


def api_of(env: Environment[Any]) -> ASGIApp:
    """The environment for trainers and agents."""
    need_server()
    from agentsearch_envs.http_api import application

    return application(env)


def serve(env: Environment[Any], app: ASGIApp, host: str, port: int, as_json: bool) -> None:
    """Serve until Ctrl-C, after saying where.

    Raises:
        ConfigError: the address cannot be used.
    """
    with listening(host, port) as listener:
        address = address_of(listener)
        if as_json:
            show_json({"env": env.spec.id, "address": address})
        else:
            typer.echo(f"{env.spec.id}: {address} (stop with Ctrl-C)")
        server_of(app).run(sockets=[listener])


@contextmanager
def serving(app: ASGIApp, host: str = HOST, port: int = 0) -> Generator[str]:
    """Serve an ASGI application in a thread while the block runs.

    Args:
        app: the application.
        host: address to listen on; loopback.
        port: 0 takes a free one.

    Yields:
        The address, such as `http://127.0.0.1:40123`.

    Raises:
        ConfigError: the address cannot be used, or the server's libraries are not installed.
    """
    need_server()
    with listening(host, port) as listener:
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join()


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on, whenever they are served.

    Raises:
        ConfigError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be used ({error.strerror}); "
            "--port 0 takes a free port."
        ) from error
    # asyncio sends at once, instead of 40 ms later, only where the socket says it is TCP
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=made.detach())


def address_of(listener: socket.socket) -> str:
    """The address of a socket, for browsers."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(app: ASGIApp) -> uvicorn.Server:
    """A server for an application; it logs nothing but what goes wrong."""
    import uvicorn

    config = uvicorn.Config(
        app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=STOP_S
    )
    return uvicorn.Server(config)
