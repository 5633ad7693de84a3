"""`agentsearch search`: search over tasks, with live progress, into a run folder."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentsearch.cli.screen import facts, screen, show_json

if TYPE_CHECKING:
    from rich.text import Text

    from agentsearch.commands import Estimate, Plan, SearchReport

EXAMPLES = """\b
Examples:
  agentsearch search game24/mcts
  agentsearch search game24/mcts tasks.limit=20 budget.calls=64 search.c_puct=2
  agentsearch search game24/mcts --search beam --run beam-64 budget.calls=64
  agentsearch search game24/mcts --policy openai:Qwen3-4B@http://localhost:8000/v1 \\
      --concurrency auto
  agentsearch search my-recipe.yaml --dry-run --price-in 0.15 --price-out 0.60
  agentsearch search runs/beam-64/config.yaml      (repeats that run)
  agentsearch search --resume beam-64              (goes on with it after any end)
  agentsearch search game24/mcts --executor ray    (shards on a Ray cluster)"""


def command(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="A file, a name from `agentsearch list`, or a run's config.yaml."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Fields of the recipe, such as search.c_puct=2."),
    ] = None,
    env: Annotated[str | None, typer.Option(help="Environment; as env=NAME.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="Policy, or a model: tiny, hf:PATH or openai:MODEL@URL."),
    ] = None,
    search: Annotated[str | None, typer.Option(help="Search algorithm; as search=NAME.")] = None,
    run: Annotated[str | None, typer.Option(help="Name of the run; as run=NAME.")] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(metavar="N", help="Tasks at a time, or auto: as vLLM's load allows."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are made.")] = Path("runs"),
    resume: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Go on with a run that was ended; no RECIPE then."),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="local, or ray: shards on the Ray cluster at RAY_ADDRESS.")
    ] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate calls, tokens, time and cost.")
    ] = False,
    price_in: Annotated[
        float, typer.Option(min=0.0, help="Dollars per million prompt tokens, for --dry-run.")
    ] = 0.0,
    price_out: Annotated[
        float, typer.Option(min=0.0, help="Dollars per million generated tokens, for --dry-run.")
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Search the tasks of a recipe and write a run folder.

    Fields are set by KEY=VALUE with dotted keys, the last one winning; --env, --policy,
    --search, --run and --concurrency are shorthands that come before them. A recipe that is
    wrong in any way, or a model that cannot be reached, ends with exit code 2 before anything
    is written. Exit code 1: every task failed.
    """
    from agentsearch import commands

    short = as_overrides(
        {"env": env, "policy": policy, "search": search, "run": run, "concurrency": concurrency}
    )
    if resume is not None:  # the first argument is no recipe then
        overrides = [*short, *([recipe] if recipe else []), *(overrides or [])]
        plan = commands.prepare_resumed(resume, runs, overrides)
    elif recipe is None:
        raise typer.BadParameter("give a recipe, or --resume NAME", param_hint="RECIPE")
    else:
        plan = commands.prepare(recipe, [*short, *(overrides or [])])
    if dry_run:
        found = commands.estimate(plan, price_in, price_out)
        show_json(dataclasses.asdict(found)) if as_json else show_estimate(plan, found)
        return
    report = carry_out(plan, runs, quiet, executor)
    show_json(report.summary) if as_json else show_summary(report)
    if commands.search_failed(report):
        raise typer.Exit(1)


def as_overrides(given: Mapping[str, str | None]) -> list[str]:
    """Options as `key=value`, quoted so that YAML reads a text."""
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def carry_out(plan: Plan, runs: Path, quiet: bool, executor: str) -> SearchReport:
    """Run with progress on stderr; Ctrl-C says what is kept."""
    from agentsearch import commands
    from agentsearch.cli.progress import live

    console = screen(stderr=True)
    console.quiet = quiet
    try:
        with live(console, len(plan.tasks)) as display, redirect_stdout(sys.stderr):  # for Ray
            return commands.carry_out(plan, runs, display.event, executor, display.look)
    except commands.Interrupted as interrupted:
        typer.echo(f"Interrupted: {kept(interrupted.report)}", err=True)
        raise typer.Exit(130) from None


def kept(report: SearchReport) -> str:
    """What an interrupted run leaves behind."""
    if report.folder is None:
        return "the run had not begun, and nothing was written."
    from agentsearch.commands import go_on

    done, planned = len(report.results), len(report.plan.tasks)
    return (
        f"{done} of {planned} tasks had finished and are kept in {report.folder}, with all "
        f"replies so far. {go_on(report)}"
    )


def show_summary(report: SearchReport) -> None:
    """The final table."""
    console = screen()
    console.print(facts(summary_rows(report.summary)))
    broken = [result for result in report.results if result.status == "failed"]
    if broken:
        console.print(f"\n{len(broken)} failed; the first: {line(broken[0].task_id)}", style="red")
        console.print(line(broken[0].error), style="red")
    if report.folder is not None:
        console.print(f"\n{report.folder}    (agentsearch view {report.folder})", soft_wrap=True)


def summary_rows(summary: Mapping[str, Any]) -> list[tuple[str, str | Text]]:
    """Every row of the final table."""
    usage, per_task, tasks = summary["usage"], summary["per_task"], summary["tasks"]
    cached = usage["cached_tokens"] / max(tasks, 1)
    saved = f"  (and {cached:,.0f} read from cache)" if cached else ""
    return [
        ("success", success(summary)),
        ("best leaf correct", f"{summary['best_leaf_correct']} of {tasks}"),
        ("mean score", f"{summary['mean_score']:.3f}"),
        ("calls / task", f"{per_task['calls']:,.1f}"),
        ("tokens / task", f"{per_task['tokens']:,.0f}{saved}"),
        ("env steps / task", f"{per_task['env_steps']:,.1f}"),
        ("seconds", f"{summary['wall_seconds']:.1f} in all, {per_task['seconds']:.2f} a task"),
        *([("throughput", speed(found))] if (found := summary.get("throughput")) else []),
        ("parse failures", f"{usage['parse_failures']:,}"),
        ("invalid actions", f"{usage['invalid_actions']:,}"),
        *([("stale branches", f"{usage['stale']:,}")] if usage.get("stale") else []),
        ("truncations", f"{usage['truncations']:,}"),
        ("fallbacks", f"{usage['fallbacks']:,} of {usage['judgments']:,} judgments and choices"),
        *([("engine", counted(summary["engines"]))] if summary["engines"] else []),
        ("failed tasks", f"{summary['failed']}"),
        ("ended by", counted(summary["stops"])),
        ("setting", summary["setting"]),
        ("environment", summary["env"]),
        ("policy", shouted("policy", summary)),
        ("value", shouted("value", summary)),
        *([("chooser", shouted("chooser", summary))] if "chooser" in summary else []),
        ("search", summary["search"]),
    ]


def speed(throughput: Mapping[str, float]) -> str:
    """What is known of how fast a run went, on one line."""
    forms = {
        "calls_per_second": "{:,.1f} calls/s",
        "tokens_per_second": "{:,.0f} tokens/s",
        "in_flight": "{:.1f} requests in flight",
        "queue_seconds": "queued {:.3f} s each",
        "prefix_cache_hit_rate": "{:.0%} of prompts cached",
        "concurrency": "{} tasks at a time in the end",
    }
    return ", ".join(
        form.format(throughput[key]) for key, form in forms.items() if key in throughput
    )


def counted(counts: Mapping[str, int]) -> str:
    """Such as `finished 3, budget:calls 2`."""
    return ", ".join(f"{name or 'failure'} {count:,}" for name, count in counts.items())


def success(summary: Mapping[str, Any]) -> Text:
    """The share of correct tasks with its interval."""
    from rich.text import Text

    low, high = summary["success_low"], summary["success_high"]
    return Text.assemble(
        (f"{summary['success']:.1%}", "bold"),
        f"  (95 % interval {low:.1%} to {high:.1%}; {summary['correct']} of {summary['tasks']})",
    )


def shouted(part: str, summary: Mapping[str, Any]) -> str | Text:
    """The name of a part, loud where it reads the solution."""
    from rich.text import Text

    if part not in summary["oracle"]:
        return summary[part]
    return Text(f"ORACLE: {summary[part]} reads the solution; this is no result", "bold red")


def show_estimate(plan: Plan, found: Estimate) -> None:
    """The most a run can use, and what that costs."""
    searches = f"{found.tasks:,} tasks"
    if plan.setup.mode == "act":
        searches += f", at most {found.searches // found.tasks} decisions each"
    rows: list[tuple[str, str | Text]] = [
        ("tasks", searches),
        ("calls", bound(found.calls, "calls")),
        ("tokens", bound(found.tokens, "tokens")),
        ("env steps", bound(found.env_steps, "env_steps")),
        ("seconds", bound(found.seconds, "seconds")),
    ]
    if found.tokens is None and found.rough_tokens is not None:
        rough = f"about {found.rough_tokens:,} if every prompt is as long as the first"
        rows.append(("tokens, roughly", rough))
    if found.cost is not None:
        kind = "at most" if found.tokens is not None else "about"
        rows.append(("cost", f"{kind} ${found.cost:,.2f}"))
    console = screen()
    console.print(facts(rows))
    console.print(
        "\nUpper bounds from the budget: a run often ends sooner. Nothing was run.", style="dim"
    )


def bound(most: float | None, limit: str) -> str:
    """An upper bound, or how to have one."""
    return f"no limit; set budget.{limit}" if most is None else f"at most {most:,.0f}"


def line(text: str) -> str:
    """Foreign text on one line, safe to print."""
    from agentsearch.viz.terminal import clean

    return clean(text)
