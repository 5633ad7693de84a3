"""From lines of results to rows: pairing, counts, marks, means over environments, files."""

import csv
import json

import pytest

from agentsearch.budget import Usage
from agentsearch.runner import Result, summarise
from agentsearch_eval.cells import Cell
from agentsearch_eval.metrics import Interval
from agentsearch_eval.table import (
    Ran,
    Table,
    as_result,
    flat_row,
    make_rows,
    result_line,
    score_tells_more,
    write_table,
)

ONLY, BEST = "policy only", "best-of-N"


def line(task, correct=True, **changes):
    usage = Usage(**{key: changes.pop(key) for key in list(changes) if hasattr(Usage(), key)})
    return Result(task, correct=correct, score=float(correct), usage=usage, **changes).to_dict()


def ran(row, solved, env="", seed=0, **changes):
    """A cell by what became of its tasks, such as `"101"`."""
    lines = [
        line(f"{env}/{i}", each == "1", calls=10 * i, steps=i) for i, each in enumerate(solved)
    ]
    cell = Cell(env, "32 calls", row, seed)
    return Ran(cell, lines, f"{env}-{row}-{seed}", [True] * len(lines), **changes)


def of(lines, row="r", **changes):
    return Ran(Cell("", "b", row, 0), lines, "f", [True] * len(lines), **changes)


def rows_of(*cells, references=None):
    rows = make_rows(cells, references or {cell.cell.row: {} for cell in cells})
    return {(row.env, row.row): row for row in rows}


def test_a_row_sums_up_one_seed():
    row = rows_of(ran(ONLY, "1100", setting="plan", stored=3))["", ONLY]
    assert (row.tasks, row.seeds, row.stored, row.setting) == (4, [0], 3, "plan")
    assert row.success.estimate == row.score.estimate == 0.5
    assert row.per_task["calls"].estimate == 15 and row.per_task["calls"].low < 15
    assert row.folders == ["-policy only-0"] and row.label == ONLY


def test_steps_are_those_carried_out_also_where_a_task_failed_later():
    carried_out = [line("a", steps=3), line("b", False, status="failed", steps=8, env_steps=40)]
    row = rows_of(of(carried_out))["", "r"]
    assert (row.per_task["steps"].estimate, row.per_task["env_steps"].estimate) == (5.5, 20)
    assert [result_line(of(carried_out), each, False)["steps"] for each in carried_out] == [3, 8]


@pytest.mark.parametrize(
    ("scores", "more"),
    [((1.0, 0.0, 1.0), False), ((0.9, 0.0, 1.0), True), ((1.0, 0.4, 1.0), True)],
    ids=["success", "discounted", "partial"],
)
def test_a_score_tells_more_where_it_is_not_just_the_success(scores, more):
    solved = (True, False, True)
    each = [
        {**line(f"t{i}", ok), "score": score}
        for i, (ok, score) in enumerate(zip(solved, scores, strict=True))
    ]
    rows = rows_of(ran(ONLY, "101"), of(each)).values()
    assert score_tells_more(rows) is more


def test_seeds_are_joined_by_task():
    row = rows_of(ran(ONLY, "10"), ran(ONLY, "11", seed=1))["", ONLY]
    assert (row.seeds, row.tasks, row.success.estimate) == ([0, 1], 2, 0.75)
    assert row.success == Interval(0.75, 0.5, 1.0, reliable=False)
    assert row.folders == ["-policy only-0", "-policy only-1"]


def test_seeds_with_other_tasks_are_refused():
    with pytest.raises(ValueError, match="cannot be paired by seed"):
        rows_of(of([line("a")]), of([line("b")]))


def test_differences_are_paired_and_named():
    references = {ONLY: {BEST: BEST}, BEST: {ONLY: ONLY}, "MCTS": {ONLY: ONLY, BEST: BEST}}
    cells = [ran(ONLY, "0" * 12), ran(BEST, "01" * 6), ran("MCTS", "1" * 12)]
    rows = rows_of(*cells, references=references)
    assert list(rows["", "MCTS"].differences) == [ONLY, BEST]
    assert rows["", "MCTS"].differences[ONLY] == Interval(1.0, 1.0, 1.0)
    assert rows["", "MCTS"].differences[BEST].estimate == 0.5
    assert rows["", ONLY].differences[BEST].estimate == -0.5


def test_the_mean_over_environments_comes_last_and_counts_them_alike():
    cells = [ran(ONLY, "11", env="a", stored=1), ran(ONLY, "0000", env="b", stored=2)]
    rows = rows_of(*cells)
    assert list(rows) == [("a", ONLY), ("b", ONLY), ("all", ONLY)]
    mean = rows["all", ONLY]
    assert (mean.success.estimate, mean.tasks, mean.stored) == (0.5, 6, 3)
    assert mean.folders == ["a-policy only-0", "b-policy only-0"]
    assert list(rows_of(ran(ONLY, "11", env="a"))) == [("a", ONLY)]


def test_all_that_went_wrong_is_counted():
    wrong = {"invalid_actions": 2, "parse_failures": 3, "fallbacks": 1, "truncations": 5}
    bad = line("a", False, calls=50, **wrong)
    lines = [bad, {**line("b"), "truncated": True}, line("c", False, status="failed", mismatches=4)]
    assert rows_of(of(lines))["", "r"].counts == {
        **wrong,
        "truncated_episodes": 1,
        "failures": 1,
        "mismatches": 4,
    }


@pytest.mark.parametrize(("fallbacks", "marked"), [(0, False), (2, False), (3, True)])
def test_a_role_that_the_model_cannot_play_is_marked(fallbacks, marked):
    lines = [line("a", calls=10, fallbacks=fallbacks)]
    assert rows_of(of(lines))["", "r"].unsupported is marked


def test_judgments_are_what_fallbacks_are_a_share_of_where_they_are_counted():
    unread = line("a", calls=100, fallbacks=3)
    assert not rows_of(of([unread]))["", "r"].unsupported
    unread["usage"]["judgments"] = 10
    assert rows_of(of([unread]))["", "r"].unsupported
    assert not rows_of(of([line("a")]))["", "r"].unsupported  # nothing was asked


def test_a_row_that_knows_the_solution_says_so():
    row = rows_of(ran("plain", "1", oracle=["policy", "value"]))["", "plain"]
    assert row.label == "plain (ORACLE: policy, value)" and row.to_dict()["label"] == row.label


def test_settings_that_differ_between_environments_are_both_told():
    cells = [ran(ONLY, "1", env="a", setting="plan"), ran(ONLY, "1", env="b", setting="act")]
    assert rows_of(*cells)["all", ONLY].setting == "plan; act"


def test_a_result_is_one_flat_line_with_its_place():
    cell = ran(ONLY, "1", env="go to", seed=3)
    found = result_line(cell, {**cell.lines[0], "steps": 2}, True)
    assert (found["env"], found["row"], found["seed"], found["steps"]) == ("go to", ONLY, 3, 2)
    assert found["tree"] == "go to-policy only-3/trees/go%20to+0.json.gz"
    assert result_line(cell, cell.lines[0], False)["tree"] is None


def test_a_line_is_a_result_again():
    result = Result("t", correct=True, actions=["a"], usage=Usage(calls=3, prompt_tokens=5))
    again = as_result({**result.to_dict(), "read_off": {"calls": 9}})
    assert again == result and summarise([again])["usage"]["tokens"] == 5


@pytest.fixture
def table():
    cells = [ran(ONLY, "10"), ran("a, b", "11")]
    rows = make_rows(cells, {ONLY: {}, "a, b": {ONLY: ONLY}})
    results = [result_line(c, each, True) for c in cells for each in c.lines]
    return Table({"name": "s", "compare": [ONLY]}, {"date": "d"}, rows, results)


def test_the_json_holds_everything(table, tmp_path):
    write_table(table, tmp_path)
    found = json.loads((tmp_path / "table.json").read_text())
    assert list(found) == ["suite", "made_with", "rows", "results"]
    assert found["results"] == table.results and len(found["rows"]) == 2
    assert found["rows"] == json.loads(json.dumps([row.to_dict() for row in table.rows]))
    assert set(found["rows"][1]["differences"][ONLY]) == {"estimate", "low", "high", "reliable"}


def test_the_csv_files_have_a_line_each(table, tmp_path):
    write_table(table, tmp_path)
    with (tmp_path / "table.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["row"], first["success"], first[f"difference to {ONLY}"]) == (ONLY, "0.5", "")
    assert (second["row"], second[f"difference to {ONLY}"]) == ("a, b", "0.5")
    assert second[f"difference to {ONLY} reliable"] == "False"
    assert [second[f"steps{end}"] for end in ("", " low", " high")] == ["0.5", "0.0", "1.0"]
    with (tmp_path / "results.csv").open() as file:
        results = list(csv.DictReader(file))
    assert [each["correct"] for each in results] == ["True", "False", "True", "True"]
    assert [each["calls"] for each in results] == ["0", "10", "0", "10"]


def test_every_row_of_the_csv_has_the_same_columns(table):
    assert len({tuple(flat_row(row, [ONLY])) for row in table.rows}) == 1
