"""`agentsearch collect`: run folders into training data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentsearch.cli.screen import facts, screen, show_json
from agentsearch.cli.view import folder_of
from agentsearch.viz.terminal import clean

if TYPE_CHECKING:
    from agentsearch.collecting import Options, Report

EXAMPLES = """\b
Examples:
  agentsearch collect game24-agent-q --to data/round1
  agentsearch collect round1 round2 --to data/both theta=0.1 pairs_per_node=2
  agentsearch collect game24-best-of-n --to data/successes kinds=[sft] successes_per_task=4
  agentsearch collect webshop-mcts --to data/shop kinds=[sft] min_credit=0.8
  agentsearch collect game24-agent-q --dry-run --json       (counts, and writes nothing)"""


def command(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [KEY=VALUE]...",
            help="Run folders or names of runs in --runs; options such as theta=0.1.",
        ),
    ],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to make; with --dry-run, none.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are.")] = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count and check; write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the data card as JSON, and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Turn the trees of runs on train tasks into training data.

    DIR gets sft.parquet (successes to imitate), preferences.parquet (better and worse actions
    at one state), rl_groups.parquet (paths of one task), and a data card that counts what was
    kept and dropped. Each path to an end is taken again in the environment and judged by its
    verifier. Tasks of dev and test are refused.

    Options: kinds, siblings, values, discount, alpha, theta, min_visits_for_pair,
    pairs_per_node, pairs_per_task, trajectory_pairs, weight_by_margin, min_credit,
    successes_per_task.
    """
    from agentsearch import collecting

    names = [each for each in given if is_run(each)]
    chosen = collecting.options([each for each in given if not is_run(each)])
    if to is None and not dry_run:
        raise typer.BadParameter("give a folder, or --dry-run", param_hint="--to")
    report = collect([folder_of(each, runs) for each in names], to, chosen, dry_run, quiet)
    show_json(report.card) if as_json else show_report(report)


def is_run(argument: str) -> bool:
    """Whether an argument names a run, and is no `key=value`."""
    return "=" not in argument or Path(argument).is_dir()


def collect(
    folders: list[Path], to: Path | None, chosen: Options, dry_run: bool, quiet: bool
) -> Report:
    """Collect with a bar on stderr, where that is a terminal."""
    from rich.progress import Progress

    from agentsearch import collecting

    console = screen(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("tasks", total=None)
        return collecting.collect(
            folders,
            to or "",
            chosen,
            lambda done, total: bar.update(task, completed=done, total=total),
            dry_run,
        )


def show_report(report: Report) -> None:
    """What was collected, in a few lines."""
    console = screen()
    card = report.card
    console.print(facts(rows(card)))
    for note in card["notes"]:
        console.print(f"\nnote: {clean(note)}", soft_wrap=True)
    if report.folder is not None:
        console.print(f"\n{report.folder}    (card.md tells more)", soft_wrap=True)


def rows(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every row of the table."""
    sources = card["sources"]
    paths, judged, correct = (
        sum(source[name] for source in sources) for name in ("paths", "replayed", "correct")
    )
    found = [
        ("runs", clean(", ".join(source["run"] for source in sources))),
        ("tasks", f"{card['tasks']:,}"),
        ("paths to an end", f"{paths:,}, {judged:,} taken again alike, {correct:,} correct"),
    ]
    for kind, file in card["files"].items():
        text = (
            f"{file['rows']:,} rows of {file['tasks']:,} tasks, {file['trained_tokens']:,} of "
            f"{file['tokens']:,} tokens trained, longest {file['longest_tokens']:,}"
        )
        if kind == "preferences":
            text += f", {file['unvisited_pairs_share']:.0%} of pairs with an unvisited sibling"
        found.append((kind, text))
        dropped = [f"{count:,} {reason}" for reason, count in file["drops"].items()]
        if dropped:
            found.append(("  dropped", "; ".join(dropped)))
    lost = [f"{count:,} {reason}" for reason, count in card["dropped_paths"].items()]
    return [*found, ("dropped", "; ".join(lost))] if lost else found
