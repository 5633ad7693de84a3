"""Suites: axes, what is refused, what is run and what comes from the store."""

import json
import logging
import re
from pathlib import Path

import pytest
import yaml

from agentsearch.data.runs import Run
from agentsearch.errors import AgentSearchError, ConfigError
from agentsearch_eval import suite as suites
from agentsearch_eval.cells import Cell
from agentsearch_eval.store import FOLDER
from agentsearch_eval.suite import (
    Interrupted,
    Suite,
    find_stored,
    largest_around,
    load_suite,
    plan_suite,
    run_suite,
)

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
ENVS = {"one": {"env": "game24"}, "two": {"env": "tests.toy:Letters"}}
SEARCHES = {"policy only": {"search": "greedy"}, "MCTS": {"search": "mcts"}}
POLICIES = {"chance": {"policy": "random"}, "oracle": {"policy": "oracle"}}


def make(**changes):
    return Suite(**{"name": "s", "rows": ROWS, "budgets": BUDGETS, "base": BASE, **changes})


# -- rows, sections and seeds ----------------------------------------------------------


def test_a_cell_is_the_base_with_the_rows_changes_and_the_budgets_limits():
    cells = {(budget, row): recipe for _, budget, row, recipe in make().recipes()}
    assert list(cells) == [("20 steps", "policy only"), ("20 steps", "beam")]
    beam = cells["20 steps", "beam"]
    assert beam.search == {"name": "beam", "beam_width": 2} and beam.policy == {"name": "random"}
    assert (beam.budget.env_steps, beam.budget.calls, beam.tasks.limit) == (20, None, 3)


def test_every_environment_budget_row_and_seed_is_a_cell():
    planned = plan_suite(make(envs=ENVS, seeds=[0, 5]))
    assert list(planned.cells)[:3] == [
        Cell("one", "20 steps", "policy only", 0),
        Cell("one", "20 steps", "policy only", 5),
        Cell("one", "20 steps", "beam", 0),
    ]
    assert len(planned.cells) == 2 * 1 * 2 * 2
    for cell, plan in planned.cells.items():
        assert plan.recipe.seed == plan.setup.seed == cell.seed
        assert plan.setup.env.spec.id == {"one": "game24", "two": "letters"}[cell.env]


def test_axes_make_rows_of_all_their_combinations():
    suite = make(rows={}, searches=SEARCHES, policies=POLICIES, values={"u": {"value": "uniform"}})
    names = ["policy only, chance", "policy only, oracle", "MCTS, chance", "MCTS, oracle"]
    assert list(suite.all_rows) == names
    assert suite.all_rows["MCTS, oracle"] == {
        "search": "mcts",
        "policy": "oracle",
        "value": "uniform",
    }
    assert suite.references["MCTS, oracle"] == {"policy only": "policy only, oracle"}
    assert suite.references["policy only, oracle"] == {}


def test_one_entry_of_an_axis_names_nothing():
    suite = make(rows={}, searches=SEARCHES, policies={"chance": {"policy": "random"}})
    assert list(suite.all_rows) == ["policy only", "MCTS"]
    assert list(make(values={"u": {"value": "uniform"}}).all_rows) == ["policy only", "beam", "u"]


def test_explicit_rows_stand_before_combinations_and_may_be_compared_with():
    rows = {"floor": {"policy": "random"}}
    suite = make(rows=rows, searches=SEARCHES, policies=POLICIES, compare=["floor", "policy only"])
    assert list(suite.all_rows)[:2] == ["floor", "policy only, chance"]
    assert suite.references["floor"] == {}
    wanted = {"floor": "floor", "policy only": "policy only, chance"}
    assert suite.references["MCTS, chance"] == wanted


def test_best_of_n_is_compared_with_where_there_is_one():
    assert make().compared == ["policy only"]
    rows = {**ROWS, "best-of-N": {"search": "best_of_n"}}
    assert make(rows=rows).references["beam"] == {n: n for n in ("policy only", "best-of-N")}


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("tasks", {"limit": 1}, "base.tasks"),
        ("seed", 1, "base.seed"),
        ("budget", {"calls": 99}, "budgets"),
        ("run", "x", "run"),
    ],
)
def test_rows_cannot_change_what_makes_them_comparable(key, value, where):
    rows = {**ROWS, "mine": {key: value}}
    with pytest.raises(ConfigError) as refused:
        list(make(rows=rows).recipes())
    assert str(refused.value) == f"row 'mine': {key} is the same for all rows; set {where}."


@pytest.mark.parametrize(("key", "where"), [("seed", "seeds"), ("budget", "budgets")])
def test_nor_can_environments(key, where):
    with pytest.raises(ConfigError, match=f"envs.one.{key}: is the same for all; set {where}"):
        list(make(envs={"one": {key: 1}}).recipes())


def test_a_budget_in_the_base_would_not_be_read():
    with pytest.raises(ConfigError, match="base.budget: is not read; set budgets"):
        list(make(base={**BASE, "budget": {"calls": 1}}).recipes())


def test_rows_with_other_tasks_are_refused():
    rows = {**ROWS, "beam": {"env": "tests.toy:Letters"}}
    with pytest.raises(ConfigError, match="^row 'beam': its environment has other tasks"):
        plan_suite(make(rows=rows))


def test_a_mistake_is_told_with_its_row_budget_and_environment():
    rows = {**ROWS, "mine": {"search": {"name": "beam", "beam_widht": 2}}}
    with pytest.raises(ConfigError) as refused:
        list(make(rows=rows, envs=ENVS).recipes())
    where = "row 'mine' at '20 steps' in 'one': search.beam_widht: unknown key."
    assert str(refused.value).startswith(where)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}, "baseline": ""}, "needs at least one row"),
        ({"budgets": {}}, "needs at least one row and one budget"),
        ({"baseline": "bean"}, "baseline='bean': no row of that name. Did you mean 'beam'?"),
        ({"compare": ["x"]}, "compare='x': no row"),
        ({"headline": "x"}, "headline='x': no row"),
        ({"workers": 0}, "workers=0: must be at least 1"),
        ({"run": "../up"}, "run='../up': is no name for a folder"),
        ({"seeds": []}, "seeds=[]: name each seed once, and at least one"),
        ({"seeds": [1, 1]}, "seeds=[1, 1]: name each seed once"),
        ({"seeds": [1], "base": {**BASE, "seed": 2}}, "base.seed: is not read where there are"),
        ({"envs": {"all": {}}}, "envs.all: is the name of the mean over all"),
        ({"searches": {"beam": {"search": "beam"}}}, "row 'beam': is made by searches.beam too"),
        (
            {"searches": {"x": {"search": "beam"}}, "values": {"y": {"search": "mcts"}}},
            "row 'x': search is set twice, by searches.x, values.y",
        ),
        ({"rows": {"policy only": {}, "Policy-Only": {}}}, "rename one"),
        (
            {"rows": {"a": {}, "a-b": {}}, "budgets": {"b-c": {}, "c": {}}, "baseline": "a"},
            "row 'a-b' at 'c': would share the folder 'a-b-c-seed-0' with row 'a' at 'b-c'",
        ),
        ({"rows": {"policy only": {}, "x" * 300: {}}}, "too long a name"),
    ],
)
def test_a_wrong_suite_is_refused_at_construction(changes, message):
    with pytest.raises(ConfigError) as refused:
        make(**changes)
    assert message in str(refused.value)


def test_cell_names_stay_readable():
    assert make().cell_folder(Cell("", "32 calls", "best-of-N", 0)) == "best-of-n-32-calls"
    seeded = make(seeds=[0, 1]).cell_folder(Cell("go to", "32 calls", "beam", 1))
    assert seeded == "go-to-beam-32-calls-seed-1"


@pytest.mark.parametrize("name", suites.suite_names())
def test_shipped_suites_are_valid(name):
    suite = load_suite(name)
    cells = len(suite.all_rows) * len(suite.budgets) * max(len(suite.envs), 1)
    assert len(list(suite.recipes())) == cells


def test_the_suite_of_the_docs_is_valid(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
    path = tmp_path / "letters.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    suite = load_suite(str(path))
    assert list(suite.all_rows)[:2] == ["random", "policy only, tiny"]
    wanted = {"policy only": "policy only, tiny", "best-of-N": "best-of-N, tiny"}
    assert suite.references["MCTS, tiny"] == wanted


def test_an_unknown_suite_is_a_sentence():
    with pytest.raises(ConfigError, match="Did you mean 'demo'"):
        load_suite("dmo")


def test_calls_are_bounded_where_the_budget_bounds_them():
    budgets = {"a": {"calls": 7, "iterations": 9}, "b": {"tokens": 50}}
    cells = plan_suite(make(budgets=budgets)).cells
    assert suites.most_calls(cells) == {"a": 2 * 3 * 7, "b": None}


def test_a_budget_is_for_a_decision_where_rows_act():
    assert plan_suite(make()).per == "task"
    assert plan_suite(make(base={**BASE, "mode": "act"})).per == "decision"
    mixed = {**ROWS, "beam": {**ROWS["beam"], "mode": "act"}}
    assert plan_suite(make(rows=mixed)).per == "task, or decision of a row that acts"


def test_rows_and_budgets_of_the_command_line_take_the_place_of_the_shipped_ones():
    rows = "rows={policy only: {search: greedy}, mine: {search: beam}}"
    suite = load_suite("demo", [rows, "budgets={9 calls: {calls: 9}}", "headline=mine"])
    assert list(suite.rows) == ["policy only", "mine"] and list(suite.budgets) == ["9 calls"]
    assert "MCTS" in load_suite("demo", ["rows.MCTS.search.width=3"]).rows


# -- one run, read at several budgets --------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "larger"),
    [
        ("s", "l"),
        ("m", "l"),
        ("l", None),
        ("tokens", None),
        ("both", None),
        ("short", None),
        ("long", None),
    ],
)
def test_a_budget_is_read_off_from_the_largest_around_it(budget, larger):
    budgets = {
        "m": {"calls": 8, "iterations": 9},
        "l": {"calls": 16, "iterations": 9},
        "s": {"calls": 4, "iterations": 9},
        "tokens": {"tokens": 5},
        "both": {"calls": 99, "iterations": 3},
        "short": {"seconds": 1.0},
        "long": {"seconds": 2.0},
    }
    assert largest_around(budget, budgets) == larger


NESTED = {"6 calls": {"calls": 6}, "18 calls": {"calls": 18}, "12 steps": {"env_steps": 12}}
TALKER = {
    "name": "prompted",
    "engine": {"name": "scripted", "replies": ["1 + 1", "2 * 3", "6 / 2", "8 - 5", "4 * 6"]},
}
READABLE = {
    "rows": {
        "policy only": {"policy": TALKER},
        "best-first": {"policy": TALKER, "search": "best_first"},
        "beam": {"policy": TALKER, "search": "beam"},
    },
    "budgets": NESTED,
}


def test_reading_off_gives_what_running_gives(tmp_path):
    read = run_suite(make(**READABLE), tmp_path / "read")
    plain = run_suite(make(**READABLE, read_off=False), tmp_path / "plain")
    marks = {(row.row, row.budget): row.read_off for row in read.rows if row.read_off}
    assert marks == {(row, "6 calls"): "18 calls" for row in ("policy only", "best-first")}
    assert not any(row.read_off for row in plain.rows)
    for ours, theirs in zip(timeless(read), timeless(plain), strict=True):
        assert {**ours, "read_off": None} == {**theirs, "read_off": None}
    folder = tmp_path / "read" / "s" / "best-first-6-calls"
    assert len(Run(folder).results) == 3 and not list((folder / "trees").iterdir())


def test_what_was_read_off_is_stored_like_any_other_result(tmp_path):
    run_suite(make(**READABLE), tmp_path)
    stored = find_stored(plan_suite(make(**READABLE, read_off=False)), tmp_path)
    assert {len(found.results) for found in stored.values()} == {3}
    more = {**READABLE, "budgets": {**NESTED, "9 calls": {"calls": 9}}}
    again = {(row.row, row.budget): row.stored for row in run_suite(make(**more), tmp_path).rows}
    assert {budget for (_, budget), stored in again.items() if stored == 0} == {"9 calls"}


# -- the table -------------------------------------------------------------------------


def timeless(table):
    """The rows without what differs from run to run."""
    rows = [json.loads(json.dumps(row.to_dict())) for row in table.rows]
    for row in rows:
        del row["per_task"]["seconds"], row["stored"]
    return rows


def test_a_row_that_knows_the_solution_is_marked(tmp_path):
    rows = {**ROWS, "plain": {"policy": "oracle"}, "other": {"value": "oracle", "search": "beam"}}
    table = run_suite(make(rows=rows), tmp_path)
    labels = ["policy only", "beam", "plain (ORACLE: policy)", "other (ORACLE: value)"]
    assert [row.label for row in table.rows] == labels
    written = json.loads((tmp_path / "s" / "table.json").read_text())
    assert [row["oracle"] for row in written["rows"]] == [[], [], ["policy"], ["value"]]
    assert table.rows[2].success.estimate == 1.0


def test_settings_say_mode_and_commit(tmp_path):
    rows = {"policy only": {}, "acting": {"mode": "act", "commit": 2, "reward_visible": True}}
    first, second = run_suite(make(rows=rows), tmp_path).rows
    assert first.setting == "plan, reward hidden, can go back"
    assert second.setting == "act, reward visible (retries allowed), can go back, commit 2"


def test_sections_and_their_mean(tmp_path):
    table = run_suite(make(envs=ENVS, seeds=[0, 1]), tmp_path)
    assert [(row.env, row.row) for row in table.rows] == [
        (env, row) for env in ("one", "two", "all") for row in ROWS
    ]
    assert table.suite["envs"] == ["one", "two"] and table.suite["seeds"] == [0, 1]
    assert len(table.results) == 2 * 2 * 2 * 3
    for result in table.results:
        assert (tmp_path / "s" / result["tree"]).is_file()


# -- what comes from the store ---------------------------------------------------------


def stored_of(table):
    return {row.row: row.stored for row in table.rows}


def test_nothing_is_run_twice_and_costs_stay_those_once_paid(tmp_path):
    first = run_suite(make(), tmp_path)
    again = run_suite(make(run="again"), tmp_path)
    assert stored_of(first) == {"policy only": 0, "beam": 0}
    assert stored_of(again) == {"policy only": 3, "beam": 3}
    assert again.results == first.results  # seconds too


def test_more_tasks_and_rows_cost_only_their_own_runs(tmp_path):
    run_suite(make(), tmp_path)
    rows = {**ROWS, "new": {"search": "best_first"}}
    base = {**BASE, "tasks": {"split": "dev", "limit": 5}}
    table = run_suite(make(rows=rows, base=base), tmp_path)
    assert stored_of(table) == {"policy only": 3, "beam": 3, "new": 0}
    assert [row.tasks for row in table.rows] == [5, 5, 5]
    order = [each["task_id"] for each in table.results if each["row"] == "new"]
    assert [each["task_id"] for each in table.results if each["row"] == "beam"] == order


def test_fresh_runs_everything(tmp_path):
    run_suite(make(), tmp_path)
    assert stored_of(run_suite(make(), tmp_path, fresh=True)) == {"policy only": 0, "beam": 0}


def test_failed_tasks_are_shown_and_run_again(tmp_path):
    failing = {"env": {"name": "tests.toy:Letters", "broken": "b"}, "tasks": {"limit": 2}}
    suite = make(base={**BASE, **failing}, rows={"policy only": {"policy": "oracle"}, "beam": {}})
    table = run_suite(suite, tmp_path)
    failed = {row.row: row.counts["failures"] for row in table.rows}
    again = run_suite(suite, tmp_path)
    assert sum(failed.values()) > 0
    assert stored_of(again) == {row: 2 - failed[row] for row in failed}


def test_a_damaged_entry_is_run_again(tmp_path, caplog):
    first = run_suite(make(), tmp_path)
    damaged = next((tmp_path / FOLDER / "lines").rglob("??" * 32))
    damaged.write_text("nonsense")
    with caplog.at_level(logging.WARNING):
        again = run_suite(make(), tmp_path)
    assert str(damaged) in caplog.text and sum(stored_of(again).values()) == 5
    assert timeless(again) == timeless(first)


# -- the folder ------------------------------------------------------------------------


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_earlier_suite_is_replaced_when_the_new_one_is_complete(tmp_path):
    run_suite(make(), tmp_path)
    (tmp_path / "s" / "mark").write_text("earlier")
    seen = []
    run_suite(make(), tmp_path, lambda *_: seen.append((tmp_path / "s" / "mark").exists()))
    assert seen == [True, True] and names(tmp_path) == [FOLDER, "s"]
    cells = ["beam-20-steps", "policy-only-20-steps"]
    files = ["results.csv", "suite.yaml", "table.csv", "table.json"]
    assert names(tmp_path / "s") == sorted(cells + files)


def test_every_cell_is_a_run_folder(tmp_path):
    run_suite(make(), tmp_path)
    for cell in ("beam-20-steps", "policy-only-20-steps"):
        run = Run(tmp_path / "s" / cell)
        assert len(run.results) == run.summary["tasks"] == 3
        assert [run.tree(line["task_id"]).task_id for line in run.results]
        made = run.config["made_with"]
        assert made["agentsearch"] and made["date"] and made["models"] == []


def test_a_cell_of_the_folder_runs_again(tmp_path):
    from agentsearch.config import load_recipe

    run_suite(make(), tmp_path)
    recipe = load_recipe(tmp_path / "s" / "beam-20-steps" / "config.yaml")
    assert recipe.search["beam_width"] == 2 and recipe.tasks.limit == 3


def test_the_suite_in_the_folder_runs_again(tmp_path):
    suite = make(envs=ENVS, seeds=[3, 4], compare=[])
    run_suite(suite, tmp_path)
    assert load_suite(str(tmp_path / "s" / "suite.yaml")) == suite


def test_the_settings_of_a_suite_are_plain(tmp_path):
    run_suite(make(run="named"), tmp_path)
    data = yaml.safe_load((tmp_path / "named" / "suite.yaml").read_text())
    assert (data["name"], data["run"], data["rows"]) == ("s", "named", ROWS)
    assert "seeds" not in data


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


def test_what_killed_processes_left_is_swept_away(tmp_path):
    for left in ("s.partial-999999999", "s.old-999999999", "s.partial-mine", "other.partial-1"):
        (tmp_path / left).mkdir()
    run_suite(make(), tmp_path)
    assert names(tmp_path) == [FOLDER, "other.partial-1", "s", "s.partial-mine"]


def test_a_mistake_in_a_later_row_keeps_what_had_finished(tmp_path):
    run_suite(make(), tmp_path)
    before = (tmp_path / "s" / "table.json").read_bytes()
    rows = {"new": {"search": "best_first"}, "policy only": {}, "broken": BROKEN}
    with pytest.raises(ConfigError, match="/no/such/model.*Finished tasks are kept"):
        run_suite(make(rows=rows), tmp_path)
    assert (tmp_path / "s" / "table.json").read_bytes() == before
    assert names(tmp_path) == [FOLDER, "s"]
    table = run_suite(make(rows={"new": rows["new"], "policy only": {}}), tmp_path)
    assert stored_of(table) == {"new": 3, "policy only": 3}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_in_the_first_row_is_one_sentence_and_leaves_nothing(tmp_path, workers):
    rows = {"broken": BROKEN, "too": BROKEN}
    with pytest.raises(AgentSearchError) as refused:
        run_suite(make(rows=rows, baseline="broken", workers=workers), tmp_path)
    assert type(refused.value) is ConfigError and "/no/such/model" in str(refused.value)
    assert "\n" not in str(refused.value) and names(tmp_path) == []


def test_an_interruption_says_what_is_kept(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as interrupted:
        run_suite(make(), tmp_path, stop)
    assert (interrupted.value.finished, interrupted.value.planned) == (1, 2)
    assert interrupted.value.store == tmp_path / FOLDER and names(tmp_path) == [FOLDER]
    assert stored_of(run_suite(make(), tmp_path))["policy only"] == 3
