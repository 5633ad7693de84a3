"""The data card: where rows come from, how many there are, what was dropped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentsearch.data.rows import Kind, Table, lengths, values

FILES = ("card.json", "card.md")


@dataclass
class Tally:
    """What was seen and dropped on the way to the rows of one kind.

    Attributes:
        seen: counts of what was looked at.
        drops: counts by reason; each begins with what is counted, such as `paths`.
        most: highest credit of a path (sft), widest margin of explored siblings (preferences).
    """

    seen: Counter[str] = field(default_factory=Counter[str])
    drops: Counter[str] = field(default_factory=Counter[str])
    most: float = 0.0

    def add(self, other: Tally) -> None:
        """Count what another has seen."""
        self.seen.update(other.seen)
        self.drops.update(other.drops)
        self.most = max(self.most, other.most)


SIDES: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "sft": (("input_ids",),),
    "preferences": (("prompt_ids", "chosen_ids"), ("prompt_ids", "rejected_ids")),
    "rl_groups": (("prompt_ids", "completion_ids"),),
}
"""Columns that make up what a model reads in one go."""
MASKS: dict[Kind, tuple[str, ...]] = {
    "sft": ("completion_mask",),
    "preferences": ("chosen_mask", "rejected_mask"),
    "rl_groups": ("completion_mask",),
}


def describe(kind: Kind, table: Table, tally: Tally) -> dict[str, Any]:
    """The numbers of one file."""
    import numpy as np

    read = [
        np.sum([lengths(table, column) for column in columns], axis=0) for columns in SIDES[kind]
    ]
    rows = len(table)
    tokens = sum(int(each.sum()) for each in read)
    pairs = zip(_texts(table, "env"), _texts(table, "task_id"), strict=True)
    found: dict[str, Any] = {
        "rows": rows,
        "tasks": len(set(pairs)),
        "env": _counted(table, "env"),
        "policy_version": _counted(table, "policy_version"),
        "tokens": tokens,
        "trained_tokens": sum(int(values(table, mask).sum()) for mask in MASKS[kind]),
        "mean_tokens": tokens / max(len(read) * rows, 1),
        "longest_tokens": max((int(each.max()) for each in read if rows), default=0),
        "seen": dict(tally.seen),
        "drops": dict(tally.drops.most_common()),
    }
    if kind == "preferences":
        unvisited, siblings = tally.seen["unvisited siblings"], tally.seen["siblings"]
        found |= {
            "kinds": _counted(table, "kind"),
            "mean_margin": float(values(table, "margin").mean()) if rows else 0.0,
            "widest_margin_of_explored_siblings": tally.most,
            "unvisited_siblings_share": unvisited / max(siblings, 1),
            "unvisited_pairs_share": sum(table.column("unvisited").to_pylist()) / max(rows, 1),
        }
    if kind == "rl_groups":
        groups: dict[str, list[float]] = {}
        for group, reward in zip(_texts(table, "group_id"), values(table, "reward"), strict=True):
            groups.setdefault(group, []).append(float(reward))
        found |= {
            "groups": len(groups),
            "groups_of_one_path": sum(len(each) == 1 for each in groups.values()),
            "groups_of_equal_rewards": sum(len(set(each)) == 1 for each in groups.values()),
            "correct": sum(table.column("correct").to_pylist()),
            "truncated": sum(table.column("truncated").to_pylist()),
        }
    return found


def _texts(table: Table, column: str) -> list[str]:
    return table.column(column).to_pylist()


def _counted(table: Table, column: str) -> dict[str, int]:
    counts = Counter(text or "unknown" for text in _texts(table, column))
    return dict(sorted(counts.items()))


def markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    lines = ["# Training data", "", "Made by `agentsearch collect` from:", ""]
    lines += _table(
        ("run", "env", "search", "policy", "tasks", "failed", "paths", "replayed", "correct"),
        [
            (
                source["run"],
                source["env"],
                source["search"],
                source["policy"],
                f"{source['finished']} of {source['planned']}",
                source["failed"],
                source["paths"],
                source["replayed"],
                source["correct"],
            )
            for source in card["sources"]
        ],
    )
    for note in card["notes"]:
        lines += [f"- {note}"]
    lines += [""] if card["notes"] else []
    for kind, file in card["files"].items():
        lines += [f"## {kind}.parquet", ""]
        lines += _table(("what", "how many"), list(_facts(file)))
        if file["drops"]:
            lines += _table(("dropped", "how many"), list(file["drops"].items()))
    if card["dropped_paths"]:
        lines += ["## Paths that could not be judged", ""]
        lines += _table(("why", "how many"), list(card["dropped_paths"].items()))
    lines += ["## Filters", ""]
    lines += _table(("option", "value"), list(card["options"].items()))
    lines += ["## Sources", ""]
    lines += _table(
        ("run", "SHA-256 of results.jsonl", "models"),
        [
            (source["run"], source["results_sha256"], ", ".join(source["models"]))
            for source in card["sources"]
        ],
    )
    lines += ["## Loading", "", "```python", "from datasets import load_dataset", ""]
    lines += [
        f'{kind} = load_dataset("parquet", data_files="{kind}.parquet", split="train")'
        for kind in card["files"]
    ]
    return "\n".join([*lines, "```", ""])


def _facts(file: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The numbers of a file in words; shares as percentages."""
    found: list[tuple[str, str]] = []
    for name, value in file.items():
        words = name.replace("_", " ")
        if name == "drops":
            continue
        if isinstance(value, Mapping):
            found += [(f"{words}: {key}", f"{count:,}") for key, count in value.items()]
        elif name.endswith("_share"):
            found.append((words, f"{value:.1%}"))
        else:
            found.append((words, f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"))
    return found


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A table in Markdown, an empty line after it."""
    body = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [" | ".join(cells) for cells in (head, ["---"] * len(head), *body)]
    return [*(f"| {line} |" for line in lines), ""]
