"""Suites: which are refused, how rows are paired and marked, and what is left behind."""

import json

import pytest
import yaml

from agentsearch.errors import AgentSearchError, ConfigError
from agentsearch_eval import suite as suites
from agentsearch_eval.suite import Interrupted, Lines, Suite, load_suite, plan_suite, run_suite

BASE = {
    "env": "game24",
    "policy": "random",
    "value": "uniform",
    "search": "greedy",
    "tasks": {"split": "dev", "limit": 3},
}
ROWS = {"policy only": {}, "beam": {"search": {"name": "beam", "beam_width": 2}}}
BUDGETS = {"20 steps": {"env_steps": 20}}
BROKEN = {"policy": {"name": "prompted", "engine": {"name": "hf", "model": "/no/such/model"}}}


def make(**changes):
    return Suite(**{"name": "s", "rows": ROWS, "budgets": BUDGETS, "base": BASE, **changes})


def test_a_cell_is_the_base_with_the_rows_changes_and_the_budgets_limits():
    cells = {(budget, row): recipe for budget, row, recipe in make().recipes()}
    assert list(cells) == [("20 steps", "policy only"), ("20 steps", "beam")]
    beam = cells["20 steps", "beam"]
    assert beam.search == {"name": "beam", "beam_width": 2} and beam.policy == {"name": "random"}
    assert (beam.budget.env_steps, beam.budget.calls, beam.tasks.limit) == (20, None, 3)


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("tasks", {"limit": 1}, "base.tasks"),
        ("seed", 1, "base.seed"),
        ("budget", {"calls": 99}, "budgets"),
    ],
)
def test_rows_cannot_change_what_makes_them_comparable(key, value, where):
    rows = {**ROWS, "mine": {key: value}}
    with pytest.raises(ConfigError) as refused:
        list(make(rows=rows).recipes())
    assert str(refused.value) == f"row 'mine': {key} is the same for all rows; set {where}."


def test_a_budget_in_the_base_would_not_be_read():
    with pytest.raises(ConfigError, match="base.budget: is not read; set budgets"):
        list(make(base={**BASE, "budget": {"calls": 1}}).recipes())


def test_rows_with_other_tasks_are_refused():
    rows = {**ROWS, "beam": {"env": "tests.toy:Letters"}}
    with pytest.raises(ConfigError, match="^row 'beam': its environment has other tasks"):
        plan_suite(make(rows=rows))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}, "baseline": ""}, "needs at least one row"),
        ({"budgets": {}}, "needs at least one row and one budget"),
        ({"baseline": "bean"}, "baseline='bean': no row of that name. Did you mean 'beam'?"),
        ({"headline": "x"}, "headline='x': no row"),
        ({"workers": 0}, "workers=0: must be at least 1"),
        ({"run": "../up"}, "run='../up': is no name for a folder"),
        ({"rows": {"policy only": {}, "Policy-Only": {}}}, "rename one"),
        (
            {"rows": {"a": {}, "a-b": {}}, "budgets": {"b-c": {}, "c": {}}, "baseline": "a"},
            "row 'a-b' at 'c': would share the folder 'a-b-c' with row 'a' at 'b-c'",
        ),
        ({"rows": {"policy only": {}, "x" * 300: {}}}, "too long a name"),
    ],
)
def test_a_wrong_suite_is_refused_at_construction(changes, message):
    with pytest.raises(ConfigError) as refused:
        make(**changes)
    assert message in str(refused.value)


def test_cell_names_stay_readable():
    assert suites.cell_name("32 calls", "best-of-N") == "best-of-n-32-calls"


@pytest.mark.parametrize("name", suites.suite_names())
def test_shipped_suites_are_valid(name):
    suite = load_suite(name)
    assert len(list(suite.recipes())) == len(suite.rows) * len(suite.budgets)


def test_an_unknown_suite_is_a_sentence():
    with pytest.raises(ConfigError, match="Did you mean 'demo'"):
        load_suite("dmo")


def test_calls_are_bounded_where_the_budget_bounds_them():
    budgets = {"a": {"calls": 7, "iterations": 9}, "b": {"tokens": 50}}
    assert suites.most_calls(plan_suite(make(budgets=budgets))) == {"a": 2 * 3 * 7, "b": None}


# -- the table -------------------------------------------------------------------------


def lines(correct, oracle=(), setting="plan"):
    results = [{"task_id": task, "correct": value} for task, value in correct.items()]
    return Lines(results, {"oracle": list(oracle), "setting": setting})


def test_rows_are_paired_by_task_and_not_by_position():
    done = {
        ("20 steps", "policy only"): lines({"a": True, "b": False, "c": True}),
        ("20 steps", "beam"): lines({"c": True, "b": False, "a": True}),
    }
    row = suites._row(make(), "20 steps", "beam", done)
    assert vars(row.difference) == {"estimate": 0.0, "low": 0.0, "high": 0.0}
    assert suites._row(make(), "20 steps", "policy only", done).difference is None


def test_a_row_that_knows_the_solution_is_marked(tmp_path):
    rows = {
        **ROWS,
        "plain name": {"policy": "oracle"},
        "other": {"value": "oracle", "search": "beam"},
    }
    table = run_suite(make(rows=rows), tmp_path)
    labels = [row.label for row in table]
    assert labels == [
        "policy only",
        "beam",
        "plain name (ORACLE: policy)",
        "other (ORACLE: value)",
    ]
    written = json.loads((tmp_path / "s" / "table.json").read_text())
    assert [row["oracle"] for row in written] == [[], [], ["policy"], ["value"]]
    assert table[2].success.estimate == 1.0


def test_settings_are_told_by_row():
    done = {("20 steps", n): lines({"a": True}, setting=n[0]) for n in ("policy only", "beam")}
    rows = [suites._row(make(), "20 steps", name, done) for _, name in done]
    assert suites.by_setting(rows) == {"p": ["policy only"], "b": ["beam"]}


# -- the folder ------------------------------------------------------------------------


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_earlier_suite_is_replaced_when_the_new_one_is_complete(tmp_path):
    run_suite(make(), tmp_path)
    before = (tmp_path / "s" / "table.json").read_bytes()
    (tmp_path / "s" / "mark").write_text("earlier")
    seen = []
    run_suite(make(), tmp_path, lambda *_: seen.append((tmp_path / "s" / "mark").exists()))
    assert seen == [True, True] and names(tmp_path) == ["s"]
    expected = ["beam-20-steps", "policy-only-20-steps", "suite.yaml", "table.json"]
    assert names(tmp_path / "s") == expected
    assert counts((tmp_path / "s" / "table.json").read_bytes()) == counts(before)


def counts(table):
    rows = json.loads(table)
    for row in rows:
        del row["summary"]["usage"]["seconds"]
    return rows


def test_the_suite_in_the_folder_runs_again(tmp_path):
    run_suite(make(), tmp_path)
    assert load_suite(str(tmp_path / "s" / "suite.yaml")) == make()


def test_something_else_is_never_replaced(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "suite.yaml").write_text("a suite of the user's own")
    with pytest.raises(ConfigError, match="holds something else than a finished suite"):
        run_suite(make(), tmp_path)
    assert names(tmp_path) == ["s"] and names(tmp_path / "s") == ["suite.yaml"]


def test_a_file_and_a_place_that_cannot_be_written_are_sentences(tmp_path):
    (tmp_path / "s").write_text("")
    with pytest.raises(ConfigError, match="holds something else"):
        run_suite(make(), tmp_path)
    with pytest.raises(ConfigError, match="cannot be made"):
        run_suite(make(), tmp_path / "s" / "below")


def test_what_had_finished_is_kept_and_the_earlier_suite_too(tmp_path):
    run_suite(make(), tmp_path)
    before = (tmp_path / "s" / "table.json").read_bytes()
    with pytest.raises(AgentSearchError, match=r"Rows that had finished are kept in .*s\.partial-"):
        run_suite(make(rows={**ROWS, "broken": BROKEN}), tmp_path)
    [partial, whole] = sorted(tmp_path.iterdir(), key=lambda path: path.name != "s", reverse=True)
    assert (whole / "table.json").read_bytes() == before
    assert (partial / "beam-20-steps" / "summary.json").is_file()


def test_nothing_is_left_where_no_row_had_finished(tmp_path):
    with pytest.raises(ConfigError, match="/no/such/model"):
        run_suite(make(rows={"broken": BROKEN}, baseline="broken"), tmp_path)
    assert names(tmp_path) == []


def test_an_interruption_says_what_is_kept(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as interrupted:
        run_suite(make(), tmp_path, stop)
    assert interrupted.value.finished == 1
    assert names(interrupted.value.folder) == ["policy-only-20-steps"]


def test_a_row_that_fails_in_a_process_of_its_own_is_one_sentence(tmp_path):
    rows = {"broken": BROKEN}
    with pytest.raises(AgentSearchError) as refused:
        run_suite(make(rows=rows, baseline="broken", workers=2), tmp_path)
    assert type(refused.value) is ConfigError and "/no/such/model" in str(refused.value)
    assert "\n" not in str(refused.value) and names(tmp_path) == []


def test_the_settings_of_a_suite_are_plain(tmp_path):
    run_suite(make(run="named"), tmp_path)
    data = yaml.safe_load((tmp_path / "named" / "suite.yaml").read_text())
    assert (data["name"], data["run"], data["rows"]) == ("s", "named", ROWS)


def test_every_cell_says_what_it_was_made_with(tmp_path):
    run_suite(make(), tmp_path)
    for config in tmp_path.glob("s/*/config.yaml"):
        made = yaml.safe_load(config.read_text())["made_with"]
        assert made["agentsearch"] and made["date"] and made["models"] == []
    assert len(list(tmp_path.glob("s/*/config.yaml"))) == 2


def test_a_budget_is_for_a_decision_where_rows_act():
    assert make().per == "task"
    assert make(base={**BASE, "mode": "act"}).per == "decision"
    mixed = {**ROWS, "beam": {**ROWS["beam"], "mode": "act"}}
    assert make(rows=mixed).per == "task, or decision of a row that acts"


def test_rows_and_budgets_of_the_command_line_take_the_place_of_the_shipped_ones():
    rows = "rows={policy only: {search: greedy}, mine: {search: beam}}"
    suite = load_suite("demo", [rows, "budgets={9 calls: {calls: 9}}", "headline=mine"])
    assert list(suite.rows) == ["policy only", "mine"] and list(suite.budgets) == ["9 calls"]
    assert "MCTS" in load_suite("demo", ["rows.MCTS.search.width=3"]).rows
