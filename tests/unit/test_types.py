"""The values that pass between the parts."""

import dataclasses

import pytest

from agentsearch import types
from agentsearch.types import Context, Task, Tokens, Trajectory, Turn, path_text


def test_every_type_is_frozen():
    classes = [c for c in vars(types).values() if dataclasses.is_dataclass(c)]
    assert len(classes) > 10
    for cls in classes:
        assert cls.__dataclass_params__.frozen, cls


def test_a_task_carries_no_answer():
    assert [field.name for field in dataclasses.fields(Task)] == ["id", "prompt", "data"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Task("a", "b").id = "c"


def test_the_log_probability_of_a_completion_is_the_sum_over_its_tokens():
    assert Tokens((1,), (2, 3), (-0.5, -1.0), (True, True)).logprob == -1.5


def test_a_trajectory_lists_its_actions():
    turns = (Turn("start", "go"), Turn("there", "stop", 1.0))
    assert Trajectory("t", turns, True, False, "end").actions == ("go", "stop")
    assert Trajectory("t", (), False, False).actions == ()


def test_who_pays_is_no_part_of_a_context():
    assert Context("p", "o", account=None) == Context("p", "o", account=object())
    assert "account" not in repr(Context("p", "o", account=object()))


def test_a_path_on_one_line():
    assert path_text(["13 - 9", "4 * 6"]) == "13 - 9 ; 4 * 6"
