"""The three files: columns, exact bytes, and what a reader refuses."""

import dataclasses

import pyarrow.parquet as pq
import pytest

from agentsearch.data.rows import (
    COLUMNS,
    KINDS,
    PreferenceRow,
    RlRow,
    SftRow,
    load,
    path_of,
    read,
    schema,
    table,
    write,
)
from agentsearch.errors import DataError

COMMON = {"env": "toy", "task_id": "t", "run": "r", "policy_version": "p@1", "node_ids": (1,)}
SFT = SftRow(
    **COMMON,
    input_ids=(5, 6, 7),
    completion_mask=(0, 1, 0),
    logprobs=(0.0, -0.5, 0.0),
    turn_ids=(-1, 0, -1),
    completions=("a",),
    credit=1.0,
)
PAIR = PreferenceRow(
    **COMMON,
    prompt_ids=(5,),
    chosen_ids=(6, 9),
    rejected_ids=(7,),
    chosen_mask=(1, 1),
    rejected_mask=(1,),
    chosen_turn_ids=(0, 0),
    rejected_turn_ids=(0,),
    chosen_logprobs=(-0.5, -0.25),
    rejected_logprobs=(-2.0,),
    ref_chosen_logps=-0.75,
    ref_rejected_logps=-2.0,
    chosen_value=0.9,
    rejected_value=0.4,
    margin=0.5,
    kind="step",
    unvisited=False,
    chosen_texts=("a",),
    rejected_texts=("b",),
)
RL = RlRow(
    **COMMON,
    prompt_ids=(5,),
    completion_ids=(6, 7),
    completion_mask=(1, 0),
    logprobs=(-0.5, 0.0),
    turn_ids=(0, -1),
    group_id="r/t",
    path_id=3,
    reward=1.0,
    correct=True,
    truncated=False,
    turn_rewards=(0.0,),
    turn_values=(0.5,),
    turn_visits=(2,),
    completions=("a",),
)
ROWS = dict(zip(KINDS, (SFT, PAIR, RL), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_the_fields_in_order(kind):
    assert [each.name for each in dataclasses.fields(ROWS[kind])] == list(COLUMNS[kind])
    assert schema(kind).names == list(COLUMNS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_back_and_equal_rows_give_equal_bytes(kind, tmp_path):
    path = write(tmp_path, kind, table([ROWS[kind]] * 2, kind))
    before = path.read_bytes()
    [row, again] = read(tmp_path, kind).to_pylist()
    wanted = dataclasses.asdict(ROWS[kind])
    assert row == again == {k: list(v) if isinstance(v, tuple) else v for k, v in wanted.items()}
    write(tmp_path, kind, table([ROWS[kind]] * 2, kind))
    assert path.read_bytes() == before


def test_several_folders_are_one_data_set(tmp_path):
    for name, weight in (("one", 0.25), ("two", 0.75)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "sft", table([dataclasses.replace(SFT, weight=weight)], "sft"))
    found = load([tmp_path / "one", tmp_path / "two"], "sft")
    assert found["weight"][:] == [0.25, 0.75] and found[1]["input_ids"] == [5, 6, 7]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("sft", {"logprobs": (0.0, -0.5)}, "logprobs is not as long as input_ids"),
        ("sft", {"completion_mask": (0, 2, 0)}, "completion_mask is neither 0 nor 1"),
        ("sft", {"turn_ids": (0, 0, -1)}, "disagree on which tokens are trained"),
        ("sft", {"logprobs": (0.0, 0.5, 0.0)}, "above 0"),
        ("sft", {"logprobs": (0.0, float("nan"), 0.0)}, "not a finite number"),
        ("sft", {"logprobs": (-0.5, -0.5, 0.0)}, "not 0 on a token that is not trained"),
        (
            "sft",
            {"completion_mask": (0,) * 3, "turn_ids": (-1,) * 3, "logprobs": (0.0,) * 3},
            "trains no token",
        ),
        ("sft", {"input_ids": (5, -1, 7)}, "negative id"),
        ("preferences", {"prompt_ids": ()}, "its prompt is empty"),
        ("preferences", {"ref_chosen_logps": -0.5}, "ref_chosen_logps is not the sum"),
        ("preferences", {"chosen_texts": None}, "column chosen_texts has empty cells"),
        (
            "preferences",
            {
                "rejected_ids": (6, 9),
                "rejected_mask": (1, 1),
                "rejected_turn_ids": (0, 0),
                "rejected_logprobs": (-1.0, -1.0),
            },
            "the same token ids",
        ),
        ("rl_groups", {"turn_ids": (0,)}, "turn_ids is not as long as completion_ids"),
    ],
)
def test_rows_that_no_search_can_have_given_are_refused(kind, change, message, tmp_path):
    good, bad = ROWS[kind], dataclasses.replace(ROWS[kind], **change)
    write(tmp_path, kind, table([good, bad], kind))
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, kind)
    assert f"{kind}.parquet" in str(error.value)
    assert "empty cells" in message or "row 1" in str(error.value)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file; make it with: agentsearch collect"):
        read(tmp_path, "sft")
    path_of(tmp_path, "sft").write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(tmp_path, "sft")
    plain = table([SFT], "sft")
    pq.write_table(plain.replace_schema_metadata(None), path_of(tmp_path, "sft"))
    with pytest.raises(DataError, match=r"holds no rows of agentsearch, not agentsearch\.rows/1"):
        read(tmp_path, "sft")
    pq.write_table(plain.drop_columns(["credit"]), path_of(tmp_path, "sft"))
    with pytest.raises(DataError, match="its columns are not those"):
        read(tmp_path, "sft")


def test_no_rows_are_a_file_too(tmp_path):
    for kind in KINDS:
        write(tmp_path, kind, table([], kind))
        assert len(read(tmp_path, kind)) == 0
