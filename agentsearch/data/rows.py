"""Rows of training data: their columns, and the Parquet files that hold them.

    table = read("data/round1", "preferences")     # a checked pyarrow.Table
    dataset = load(["data/round1"], "sft")         # a datasets.Dataset

A row is one segment of a path: token ids exactly as the model saw and wrote them, a mask
that is 1 on what the policy wrote, and the log-probabilities it was written with. Column
names are TRL's where TRL has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentsearch.errors import ConfigError, DataError

if TYPE_CHECKING:
    import datasets
    import numpy as np

Kind = Literal["sft", "preferences", "rl_groups"]
KINDS: tuple[Kind, ...] = ("sft", "preferences", "rl_groups")
FORMAT = "agentsearch.rows/1"
"""Stands in the files' metadata; a change of the columns changes it."""

COMMON = {
    "env": "string",
    "task_id": "string",
    "run": "string",
    "policy_version": "string",
    "node_ids": "list<int32>",
    "weight": "double",
}
SFT = {
    **COMMON,
    "input_ids": "list<int32>",
    "completion_mask": "list<int8>",
    "logprobs": "list<float>",
    "turn_ids": "list<int32>",
    "completions": "list<string>",
    "credit": "double",
}
PREFERENCES = {
    **COMMON,
    "prompt_ids": "list<int32>",
    "chosen_ids": "list<int32>",
    "rejected_ids": "list<int32>",
    "chosen_mask": "list<int8>",
    "rejected_mask": "list<int8>",
    "chosen_turn_ids": "list<int32>",
    "rejected_turn_ids": "list<int32>",
    "chosen_logprobs": "list<float>",
    "rejected_logprobs": "list<float>",
    "ref_chosen_logps": "double",
    "ref_rejected_logps": "double",
    "chosen_value": "double",
    "rejected_value": "double",
    "margin": "double",
    "kind": "string",
    "unvisited": "bool",
    "chosen_texts": "list<string>",
    "rejected_texts": "list<string>",
}
RL_GROUPS = {
    **COMMON,
    "prompt_ids": "list<int32>",
    "completion_ids": "list<int32>",
    "completion_mask": "list<int8>",
    "logprobs": "list<float>",
    "turn_ids": "list<int32>",
    "group_id": "string",
    "path_id": "int32",
    "reward": "double",
    "correct": "bool",
    "truncated": "bool",
    "turn_rewards": "list<double>",
    "turn_values": "list<double>",
    "turn_visits": "list<int32>",
    "completions": "list<string>",
    "segments": "int32",
}
COLUMNS: dict[Kind, dict[str, str]] = {
    "sft": SFT,
    "preferences": PREFERENCES,
    "rl_groups": RL_GROUPS,
}
"""Name and Arrow type of each column, in order."""

Table = Any
"""A `pyarrow.Table`; pyarrow has no types, and is imported where it is needed."""
Ids = tuple[int, ...]
Floats = tuple[float, ...]
Texts = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What every row tells.

    Attributes:
        env: id of the environment.
        run: name of the run folder.
        policy_version: the policy that wrote the trained tokens.
        node_ids: nodes whose actions are trained; of a pair the parent, the chosen and the
            rejected node.
        weight: of the row's loss.
    """

    env: str
    task_id: str
    run: str
    policy_version: str
    node_ids: Ids
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SftRow(Row):
    """A segment of a success.

    Attributes:
        completion_mask: 1 on what the policy wrote; as long as `input_ids`.
        logprobs: natural-log probability when it was written; 0 off the mask.
        turn_ids: number of the turn within the path; -1 off the mask.
        completions: the raw text of each turn.
        credit: what the verifier gave the path.
    """

    input_ids: Ids
    completion_mask: Ids
    logprobs: Floats
    turn_ids: Ids
    completions: Texts
    credit: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceRow(Row):
    """Two continuations of one prompt, the better one first.

    Attributes:
        ref_chosen_logps, ref_rejected_logps: log-probability of the trained tokens when
            they were written: the recorded policy is the reference (Agent Q).
        chosen_value, rejected_value: their mixed values; of trajectories their credit.
        kind: `step` for two actions at one node, `trajectory` for two whole paths.
        unvisited: one of the two was never visited, so that the critic alone decided.
    """

    prompt_ids: Ids
    chosen_ids: Ids
    rejected_ids: Ids
    chosen_mask: Ids
    rejected_mask: Ids
    chosen_turn_ids: Ids
    rejected_turn_ids: Ids
    chosen_logprobs: Floats
    rejected_logprobs: Floats
    ref_chosen_logps: float
    ref_rejected_logps: float
    chosen_value: float
    rejected_value: float
    margin: float
    kind: Literal["step", "trajectory"]
    unvisited: bool
    chosen_texts: Texts
    rejected_texts: Texts


@dataclass(frozen=True, kw_only=True, slots=True)
class RlRow(Row):
    """A path of one segment; the paths of a group belong to one task of one run.

    Attributes:
        group_id: run/task_id.
        path_id: number of the path's last node.
        reward: what the verifier gave the path, in [0, 1].
        turn_rewards: reward of each turn's step, 0 where it was hidden from search.
        turn_values, turn_visits: mean value and visits of the node each turn led to.
        segments: rows this path has.
    """

    prompt_ids: Ids
    completion_ids: Ids
    completion_mask: Ids
    logprobs: Floats
    turn_ids: Ids
    group_id: str
    path_id: int
    reward: float
    correct: bool
    truncated: bool
    turn_rewards: Floats
    turn_values: Floats
    turn_visits: Ids
    completions: Texts
    segments: int = 1


def path_of(folder: str | Path, kind: Kind) -> Path:
    """The file of a folder that `agentsearch collect` made."""
    return Path(folder) / f"{kind}.parquet"


def schema(kind: Kind) -> Any:
    """Arrow schema of a file."""
    import_libraries()
    import pyarrow as pa

    fields = [(name, _arrow_type(text)) for name, text in COLUMNS[kind].items()]
    return pa.schema(fields, metadata={"agentsearch": FORMAT, "kind": kind})


def table(rows: Sequence[Row], kind: Kind) -> Table:
    """Rows as a table."""
    shape = schema(kind)
    import pyarrow as pa

    columns = [[getattr(row, name) for row in rows] for name in shape.names]
    return pa.Table.from_arrays(
        [pa.array(column, each.type) for column, each in zip(columns, shape, strict=True)],
        schema=shape,
    )


def write(folder: str | Path, kind: Kind, content: Table) -> Path:
    """Write the file of one kind; equal tables give equal bytes."""
    import pyarrow.parquet as pq

    path = path_of(folder, kind)
    pq.write_table(content, path, compression="zstd")
    return path


def read(folder: str | Path, kind: Kind) -> Table:
    """The rows of one kind, checked.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: no such file, other columns, or rows that no search can have given.
    """
    shape = schema(kind)
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = path_of(folder, kind)
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; make it with: agentsearch collect RUN --to {path.parent}"
        )
    try:
        content = pq.read_table(path)
    except (pa.ArrowException, OSError) as cause:
        raise DataError(f"{path}: cannot be read as Parquet ({cause}).") from cause
    found = (content.schema.metadata or {}).get(b"agentsearch", b"").decode()
    if found != FORMAT:
        raise DataError(
            f"{path}: holds {found or 'no rows of agentsearch'}, not {FORMAT}; collect it again."
        )
    if not content.schema.equals(shape):
        raise DataError(f"{path}: its columns are not those of {FORMAT}; collect it again.")
    check(content, kind, str(path))
    return content


def load(folders: Sequence[str | Path], kind: Kind) -> datasets.Dataset:
    """The rows of several folders as one data set, in order.

    Raises:
        ConfigError: `datasets` is not installed.
        DataError: see `read`.
    """
    import_libraries()
    import datasets
    import pyarrow as pa

    return datasets.Dataset(pa.concat_tables([read(folder, kind) for folder in folders]))


def import_libraries() -> None:
    """Import what reads and writes Parquet.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise ConfigError(
            "Training data needs pyarrow and datasets: pip install 'agentsearch[train]'."
        ) from None


def _arrow_type(text: str) -> Any:
    import pyarrow as pa

    if text.startswith("list<"):
        return pa.list_(pa.type_for_alias(text[5:-1]))
    return pa.type_for_alias(text)


# -- checks ----------------------------------------------------------------------------

PARTS: dict[Kind, tuple[tuple[str, str, str, str], ...]] = {
    "sft": (("input_ids", "completion_mask", "turn_ids", "logprobs"),),
    "preferences": (
        ("chosen_ids", "chosen_mask", "chosen_turn_ids", "chosen_logprobs"),
        ("rejected_ids", "rejected_mask", "rejected_turn_ids", "rejected_logprobs"),
    ),
    "rl_groups": (("completion_ids", "completion_mask", "turn_ids", "logprobs"),),
}
"""Ids, mask, turns and log-probabilities that lie side by side."""
TOLERANCE = 1e-3
"""How far a log-probability may exceed 0, and a sum of float32 its recorded value, per token."""


def check(content: Table, kind: Kind, where: str) -> None:
    """Refuse rows that no search can have given.

    Raises:
        DataError: naming the row, counted from 0, and what is wrong with it.
    """
    import numpy as np

    for name in content.column_names:
        if content.column(name).null_count:
            raise DataError(f"{where}: column {name} has empty cells; collect it again.")
    for part in PARTS[kind]:
        _check_part(content, part, where)
    if kind != "sft":
        _refuse(where, lengths(content, "prompt_ids") == 0, "its prompt is empty")
    if kind == "preferences":
        same = [
            a == b
            for a, b in zip(
                content.column("chosen_ids").to_pylist(),
                content.column("rejected_ids").to_pylist(),
                strict=True,
            )
        ]
        _refuse(where, np.array(same, bool), "chosen and rejected have the same token ids")
        for side in ("chosen", "rejected"):
            _check_reference(content, side, where)


def _check_part(content: Table, part: tuple[str, str, str, str], where: str) -> None:
    import numpy as np

    ids, *others = part
    sizes = lengths(content, ids)
    for name in others:
        _refuse(where, lengths(content, name) != sizes, f"{name} is not as long as {ids}")
    mask, turns, logprobs = (values(content, name) for name in others)
    row = np.repeat(np.arange(len(sizes)), sizes)
    on = mask == 1
    rules = (
        (values(content, ids) < 0, f"{ids} has a negative id"),
        ((mask != 0) & ~on, f"{others[0]} is neither 0 nor 1"),
        (on != (turns >= 0), f"{others[1]} and {others[0]} disagree on which tokens are trained"),
        (~np.isfinite(logprobs), f"{others[2]} has a value that is not a finite number"),
        (on & (logprobs > TOLERANCE), f"{others[2]} has a log-probability above 0"),
        (~on & (logprobs != 0), f"{others[2]} is not 0 on a token that is not trained"),
    )
    for bad, what in rules:
        _refuse(where, np.bincount(row[bad], minlength=len(sizes)) > 0, what)
    trained = np.bincount(row[on], minlength=len(sizes))
    _refuse(where, trained == 0, f"{others[0]} trains no token")


def _check_reference(content: Table, side: str, where: str) -> None:
    import numpy as np

    sizes = lengths(content, f"{side}_logprobs")
    row = np.repeat(np.arange(len(sizes)), sizes)
    logprobs = values(content, f"{side}_logprobs").astype(np.float64)
    sums = np.bincount(row, weights=logprobs, minlength=len(sizes))
    off = np.abs(sums - values(content, f"ref_{side}_logps")) > TOLERANCE * np.maximum(sizes, 1)
    _refuse(where, off, f"ref_{side}_logps is not the sum of {side}_logprobs")


def lengths(content: Table, name: str) -> np.ndarray[Any, Any]:
    """Length of each list of a column."""
    import pyarrow.compute as pc

    return pc.call_function("list_value_length", [content.column(name)]).to_numpy()


def values(content: Table, name: str) -> np.ndarray[Any, Any]:
    """All values of a column on end."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = content.column(name)
    if pa.types.is_list(column.type):
        column = pc.call_function("list_flatten", [column])
    return column.to_numpy()


def _refuse(where: str, bad: np.ndarray[Any, Any], what: str) -> None:
    if bad.any():
        first, count = int(bad.argmax()), int(bad.sum())
        more = f" ({count} such rows)" if count > 1 else ""
        raise DataError(f"{where}, row {first}: {what}{more}; collect it again.")
