"""The command `agentsearch`: its commands, and errors as sentences.

Exit codes: 0 success; 1 every task failed, or a check did; 2 something the user can put
right; 130 Ctrl-C. Heavy libraries are imported inside the commands that need them, and
commands of other packages (`agentsearch.commands` entry points, such as `eval`) when they
are asked for.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from agentsearch.cli import check, collect, doctor, loop, search, serve, train, view
from agentsearch.cli import list as listing
from agentsearch.errors import AgentSearchError, PluginError
from agentsearch.viz.terminal import clean

GROUP = "agentsearch.commands"


class Commands(TyperGroup):
    """Finds the commands of other packages, and shows a user's mistake as one sentence."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Ours, then those of other packages."""
        ours = super().list_commands(ctx)
        return [*ours, *sorted(each.name for each in entry_points(group=GROUP))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        ours = super().get_command(ctx, cmd_name)
        found = ours or next(iter(entry_points(group=GROUP, name=cmd_name)), None)
        return load(found) if isinstance(found, EntryPoint) else found

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except AgentSearchError as error:
            message = " ".join(str(error).split())  # one line, whatever it quotes
            typer.echo(f"Error: {clean(message)}", err=True)
            for note in getattr(error, "__notes__", ()):
                typer.echo(clean(note), err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None


def load(entry: EntryPoint) -> Any:
    """A command of another package; one that is broken says so when it is run."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    try:
        function = entry.load()
    except Exception as cause:  # a plug-in may raise anything while it is imported
        error = PluginError(
            f"command {entry.name!r}: {entry.value} cannot be loaded "
            f"({type(cause).__name__}: {cause}). Repair or uninstall the package that provides it."
        )

        def function() -> NoReturn:
            """Broken: it cannot be loaded."""
            raise error

    single.command(entry.name)(function)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help and errors as plain text: [key=value] is no markup
    pretty_exceptions_enable=False,  # its local variables would show keys
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("search", epilog=search.EXAMPLES)(search.command)
app.command("view", epilog=view.EXAMPLES)(view.command)
app.command("collect", epilog=collect.EXAMPLES)(collect.command)
app.command("list", epilog=listing.EXAMPLES)(listing.command)
app.command("check", epilog=check.EXAMPLES)(check.command)
app.command("train", epilog=train.EXAMPLES)(train.command)
app.command("loop", epilog=loop.EXAMPLES)(loop.command)
app.command("serve", epilog=serve.EXAMPLES)(serve.command)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.command)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from agentsearch import __version__

        typer.echo(f"agentsearch {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Search over the actions of language-model agents, and look at what was found."""


def main() -> None:
    """The entry point."""
    app(prog_name="agentsearch")
