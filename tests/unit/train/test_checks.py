"""What is found wrong before compute is spent: sentences with counts."""

import dataclasses

import pytest

pytest.importorskip("datasets", reason="needs the train extra")

from agentsearch.data.rows import PreferenceRow, SftRow  # noqa: E402
from agentsearch.errors import ConfigError  # noqa: E402
from agentsearch.train import checks  # noqa: E402
from agentsearch.train.recipe import load_recipe  # noqa: E402
from tests.trainable import dataset  # noqa: E402

COMMON = {"env": "e", "task_id": "t", "run": "r", "policy_version": "p@1", "node_ids": (1,)}
SUCCESS = SftRow(
    **COMMON,
    input_ids=(5, 6, 1, 2, 9, 7, 3, 9),  # 5 6 | 1 2 9 | 7 | 3 9, of which 9 ends a turn
    completion_mask=(0, 0, 1, 1, 1, 0, 1, 1),
    logprobs=(0.0, 0.0, -1.0, -1.0, -1.0, 0.0, -1.0, -1.0),
    turn_ids=(-1, -1, 0, 0, 0, -1, 1, 1),
    completions=("ab", "c"),
    credit=1.0,
)
PAIR = PreferenceRow(
    **COMMON,
    **{"prompt_ids": (5, 6), "chosen_ids": (1, 9), "rejected_ids": (2, 3, 9)},
    **{"chosen_mask": (1, 1), "rejected_mask": (1, 1, 1)},
    **{"chosen_turn_ids": (0, 0), "rejected_turn_ids": (0, 0, 0)},
    **{"chosen_logprobs": (-1.0, -1.0), "rejected_logprobs": (-1.0, -1.0, -1.0)},
    **{"ref_chosen_logps": -2.0, "ref_rejected_logps": -3.0},
    **{"chosen_value": 0.9, "rejected_value": 0.1, "margin": 0.8},
    **{"kind": "step", "unvisited": False, "chosen_texts": ("a",), "rejected_texts": ("bc",)},
)


class Letters:
    """Reads 1, 2, 3 as a, b, c; 9 is special."""

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return "".join(" abc"[i] for i in ids if i != 9)


def recipe(trainer="dpo", *overrides):
    base = {"trainer": trainer, "model": "tiny", "data": ["data/1"], "to": "models/1"}
    return load_recipe(base, overrides)


def refused(function, *args):
    with pytest.raises(ConfigError) as error:
        function(*args)
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


def changed(row, **changes):
    return dataclasses.replace(row, **changes)


def test_no_success_and_no_pair_are_told_apart():
    assert "data/1 holds no success" in refused(
        checks.check_rows, dataset("sft", []), recipe("sft")
    )
    text = refused(checks.check_rows, dataset("preferences", []), recipe())
    assert "no pair above the threshold" in text and "card.md" in text


def test_mixed_policy_versions_are_refused_with_their_counts():
    rows = dataset("preferences", [PAIR, PAIR, changed(PAIR, policy_version="p@2")])
    text = refused(checks.check_rows, rows, recipe())
    assert "2 versions" in text and "2 rows by p@1, 1 rows by p@2" in text
    assert "policy_versions=1" in text
    checks.check_rows(rows, recipe("dpo", "policy_versions=2"))


def test_rows_longer_than_the_context_are_counted_and_refused():
    rows = dataset("sft", [SUCCESS, changed(SUCCESS, **_cut(SUCCESS, 5))])
    assert checks.lengths(rows) == [8, 5]
    text = refused(checks.fitting, rows, 6, False)
    assert "1 of 2 rows are longer than the 6 tokens" in text and "has 8" in text
    assert "drop_too_long=true" in text
    kept, dropped = checks.fitting(rows, 6, True)
    assert (checks.lengths(kept), dropped) == ([5], 1)
    assert checks.fitting(rows, 8, False) == (rows, 0)


def test_nothing_is_dropped_where_nothing_would_be_left():
    text = refused(checks.fitting, dataset("sft", [SUCCESS]), 6, True)
    assert "1 of 1 rows" in text and "drop_too_long" not in text


def _cut(row, size):
    names = ("input_ids", "completion_mask", "logprobs", "turn_ids")
    return {**{n: getattr(row, n)[:size] for n in names}, "completions": row.completions[:1]}


def test_a_pair_is_as_long_as_its_prompt_and_longer_response():
    assert checks.lengths(dataset("preferences", [PAIR])) == [5]


def test_a_tokenizer_that_reads_what_was_written_passes():
    checks.check_tokenizer(dataset("sft", [SUCCESS]), "sft", Letters(), 10)
    checks.check_tokenizer(dataset("preferences", [PAIR]), "preferences", Letters(), 10)


@pytest.mark.parametrize(
    ("kind", "row", "counts"),
    [
        ("sft", changed(SUCCESS, completions=("ab", "b")), "1 of 2 turns"),
        ("preferences", changed(PAIR, rejected_texts=("b",)), "1 of 2 turns"),
        ("preferences", changed(PAIR, chosen_texts=("x",), rejected_texts=("y",)), "2 of 2 turns"),
    ],
)
def test_a_tokenizer_that_differs_is_refused(kind, row, counts):
    text = refused(checks.check_tokenizer, dataset(kind, [row]), kind, Letters(), 10)
    assert counts in text and "where the policy wrote" in text


def test_ids_beyond_the_vocabulary_are_refused():
    for kind, row, largest in (("sft", SUCCESS, 9), ("preferences", PAIR, 9)):
        text = refused(checks.check_tokenizer, dataset(kind, [row]), kind, Letters(), 9)
        assert f"token id {largest}" in text and "only 9" in text
    row = changed(PAIR, prompt_ids=(5, 77))
    assert "77" in refused(
        checks.check_tokenizer, dataset("preferences", [row]), "preferences", Letters(), 10
    )


def test_weights_are_scaled_to_mean_one_or_left_out():
    rows = dataset("sft", [changed(SUCCESS, weight=1.0), changed(SUCCESS, weight=3.0)])
    assert list(checks.mean_one(rows, True)["weight"]) == [0.5, 1.5]
    assert list(checks.mean_one(rows, False)["weight"]) == [1.0, 1.0]


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0)])
def test_weights_that_cannot_be_are_refused(weights):
    rows = dataset("sft", [changed(SUCCESS, weight=weight) for weight in weights])
    assert "use_weights=false" in refused(checks.mean_one, rows, True)


def test_only_the_kinds_that_were_asked_for_are_taken():
    rows = dataset("preferences", [PAIR, changed(PAIR, kind="trajectory", task_id="t2")])
    assert list(recipe().options.select(rows)["task_id"]) == ["t"]
    both = recipe("dpo", "dpo.kinds=[step,trajectory]").options
    assert len(both.select(rows)) == 2
    only = dataset("preferences", [changed(PAIR, kind="trajectory")])
    assert "holds 1 trajectory" in refused(recipe().options.select, only)
    assert len(recipe().options.select(dataset("preferences", []))) == 0
