"""Hand-written rules for WebShop that read what a policy reads, and nothing else.

They are the anchors of every table: search the instruction, open the first product, and buy
it, at once (`plain`) or after choosing in each option group the longest value that the
instruction names (`with_options`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Sequence

from agentsearch.types import Context
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.goals import instruction

PRODUCT = re.compile(r"B[0-9A-Z]{9}|[0-9]{9}[0-9X]")
MARKED = re.compile(r"\s*\[(?:clicked )?button\] (.*?) \[(?:clicked )?button_\]")
BRIEF = re.compile(r"([^\[\n]+?):? (\[.*\])")


def plain(context: Context, rng: random.Random) -> str:
    """Search, open, buy."""
    return act(context, ())


def with_options(context: Context, rng: random.Random) -> str:
    """Search, open, choose, buy."""
    wanted = asked(context)
    picks = (best(values, wanted) for values in option_groups(context))
    return act(context, [pick for pick in picks if pick is not None])


def act(context: Context, choices: Iterable[str]) -> str:
    """The next action; `choices` are the options to click before buying."""
    clicks = context.legal_actions
    if clicks is None:
        return s.search_for(asked(context))
    if f"click[{s.BUY}]" in clicks:
        done = clicked(context)
        return next((f"click[{c}]" for c in choices if c not in done), f"click[{s.BUY}]")
    first = next((c for c in clicks if PRODUCT.fullmatch(c[len("click[") : -1])), None)
    return first or (f"click[{s.PREV}]" if f"click[{s.PREV}]" in clicks else f"click[{s.BACK}]")


def asked(context: Context) -> str:
    """The first line of what is asked for."""
    return instruction(context.prompt).partition("\n")[0]


def clicked(context: Context) -> set[str]:
    """What was clicked since the product was opened."""
    labels: set[str] = set()
    for turn in reversed(context.turns):
        label = turn.action[len("click[") : -1]
        if PRODUCT.fullmatch(label):
            break
        labels.add(label)
    return labels


def option_groups(context: Context) -> list[list[str]]:
    """The option values of an item page by group, in any mode that is text."""
    labels = {c[len("click[") : -1] for c in context.legal_actions or ()}
    values = labels - {s.BACK, s.PREV, *s.SUB_PAGES, s.ATTRIBUTES, s.BUY}
    # ReAct's mode answers a chosen option without the page, which was seen before
    seen = (context.observation, *(turn.observation for turn in reversed(context.turns)))
    return next(filter(None, (grouped(text, values) for text in seen)), []) if values else []


def grouped(text: str, values: Collection[str]) -> list[list[str]]:
    """Those of the values that stand in a page's text, by group."""
    groups: list[list[str]] = []
    for line in re.split(r"\n| \[SEP\] ", text):
        marked = MARKED.fullmatch(line)
        row = None if marked else BRIEF.fullmatch(line)
        if row is not None:
            places = {value: row[2].find(f"[{value}]") for value in values}
            found = (value for value in values if places[value] >= 0)
            groups.append(sorted(found, key=lambda value: places[value]))
        elif (label := marked[1] if marked else line) not in values:
            groups.append([])
        elif groups:
            groups[-1].append(label)
    return [group for group in groups if group]


def best(values: Sequence[str], wanted: str) -> str | None:
    """The longest value that the instruction names; of equals the first."""
    named = [value for value in values if value in wanted.lower()]
    return max(named, key=len, default=None)
