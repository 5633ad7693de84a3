"""The page: every number in its cell, nothing from outside, what models wrote escaped."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from agentsearch.data.runs import Run
from agentsearch.errors import DataError
from agentsearch.tree import Tree
from agentsearch_eval import failures, report
from agentsearch_eval.failures import Kind
from agentsearch_eval.metrics import Interval
from agentsearch_eval.report import Report, amount, percent, points, write_report
from agentsearch_eval.table import score_tells_more
from agentsearch_eval.table_file import Outcome, read_table
from tests.suite_folder import Plan, made_up_tree, make_suite_folder

EVIL = "<script>alert(1)</script>"
ROWS = ("policy only", "best-of-N", "MCTS", "oracle")
TWO_ENVS = Plan(envs=("go to", "pick up"), rows=ROWS, budgets=("32 calls",))
TINY = Plan(envs=("",), rows=ROWS, budgets=("32 calls",), tasks=3)


class Page(HTMLParser):
    """Tables as lists of rows of cell texts, links, and every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.links, self.tags, self.words = [], [], [], []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True
        elif tag == "a":
            self.links.append(dict(attrs)["href"])
        elif tag == "small":
            self.handle_data(" ")

    def handle_endtag(self, tag):
        if tag == "tr":
            self.in_cell = False

    def handle_data(self, data):
        self.words.append(data)
        if self.in_cell:
            self.tables[-1][-1][-1] += data

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def table(self, *heads):
        """The cells of the first table whose heading begins so, without spaces around."""
        for table in self.tables:
            clean = [[" ".join(cell.split()) for cell in row] for row in table]
            if clean[0][: len(heads)] == list(heads):
                return clean
        raise AssertionError(f"no table begins with {heads}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "made-up"
    make_suite_folder(folder, TWO_ENVS)
    return folder


@pytest.fixture(scope="module")
def text(folder):
    return write_report(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def changed(tmp_path, change):
    """A small folder whose table.json was changed."""
    table = make_suite_folder(tmp_path, TINY)
    change(table)
    (tmp_path / "table.json").write_text(json.dumps(table))
    return tmp_path


def page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


def report_of(folder):
    return Report(folder, read_table(folder))


# -- the page is whole and self-contained ----------------------------------------------


def test_the_page_is_one_file_without_scripts_and_outside_references(text, page):
    assert text.startswith("<!doctype html>")
    assert not re.search(r"https?://|\bsrc=|@import|url\(h|<script", text)
    assert "default-src 'none'" in page.attributes("content")[0]


def test_the_same_folder_gives_the_same_bytes(folder, text):
    assert write_report(folder).read_text(encoding="utf-8") == text


def test_every_link_leads_somewhere(folder, page):
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    files = [link for link in page.links if not link.startswith("#")]
    assert {link[1:] for link in page.links if link.startswith("#")} <= ids
    assert all((folder / unquote(link)).is_file() for link in files)
    runs = {cell["folder"] for cell in json.loads((folder / "table.json").read_text())["results"]}
    assert {f"{run}/config.yaml" for run in runs} <= {unquote(link) for link in files}
    assert "suite.yaml" in files


def test_names_that_the_page_refers_to_are_unique(page):
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))


def test_a_large_suite_makes_a_page_of_bearable_size(tmp_path):
    rows = tuple(f"row {i}" for i in range(10)) + ("policy only", "best-of-N")
    make_suite_folder(tmp_path, Plan(envs=("",), rows=rows, tasks=500, headline=None))
    path = write_report(tmp_path)
    assert path.stat().st_size < 1_500_000
    assert path.read_text().count("title=") > 2 * 500 * 12


# -- numbers ---------------------------------------------------------------------------


def test_numbers_stand_in_their_cells(folder, page):
    table = json.loads((folder / "table.json").read_text())
    shown = page.table("method", "success %", "", "vs policy only", "vs best-of-N", "score")
    heads = shown[0]
    sections, section = {}, None
    for row in shown[1:]:
        if len(row) == 2:
            section = row[0]
        else:
            sections[section, re.sub(r"^\S+ ", "", row[0])] = row
    assert {name for name, _ in sections} == {
        "mean over 2 environments 80 tasks",
        "go to 40 tasks",
        "pick up 40 tasks",
    }
    for cell in table["rows"]:
        if (cell["env"], cell["budget"], cell["row"]) == ("go to", "32 calls", "MCTS"):
            break
    row = dict(zip(heads, sections["go to 40 tasks", "MCTS"], strict=True))
    rate, versus, calls = cell["success"], cell["differences"], cell["per_task"]["calls"]
    assert row["success %"] == (
        f"{percent(rate['estimate'])} {percent(rate['low'])}–{percent(rate['high'])}"
    )
    for name in ("policy only", "best-of-N"):
        found = Interval(**versus[name])
        mark = "*" if found.excludes_zero else ""
        assert row[f"vs {name}"] == (
            f"{points(found.estimate)}{mark} {points(found.low)} to {points(found.high)}"
        )
    assert row["calls"] == (
        f"{amount(calls['estimate'])} {amount(calls['low'])}–{amount(calls['high'])}"
    )
    assert row["tokens"].split()[0] == amount(cell["per_task"]["tokens"]["estimate"])
    assert row["score"].split()[0] == amount(cell["score"]["estimate"])
    assert row["steps"].split()[0] == amount(cell["per_task"]["steps"]["estimate"])
    assert row["environment steps"].split()[0] == amount(cell["per_task"]["env_steps"]["estimate"])
    counts = cell["counts"]
    assert [row["invalid"], row["cut episodes"], row["failed"]] == [
        str(counts[name]) for name in ("invalid_actions", "truncated_episodes", "failures")
    ]
    baseline = dict(zip(heads, sections["go to 40 tasks", "policy only"], strict=True))
    assert baseline["vs policy only"] == "–" and "to" in baseline["vs best-of-N"]


@pytest.mark.parametrize("scored", [True, False])
def test_scores_have_a_column_where_they_are_not_just_the_success(tmp_path, scored):
    table = make_suite_folder(tmp_path, TWO_ENVS)
    for cell in table["rows"]:
        cell["score"] = cell["success"]
    if scored:
        table["rows"][-1]["score"] = {"estimate": 0.625, "low": 0.5, "high": 0.75}
    (tmp_path / "table.json").write_text(json.dumps(table))
    page = page_of(tmp_path)
    heads, *_, last = page.table("method", "success %")
    assert ("score" in heads) is scored
    if scored:
        assert last[heads.index("score")] == "0.62 0.50–0.75"
    wide, rest = map(int, page.attributes("colspan")[:2])
    assert wide + rest == len(last) == len(heads)


def test_a_table_from_before_steps_were_counted_shows_none(tmp_path):
    def change(table):
        for cell in table["rows"]:
            del cell["per_task"]["steps"]

    heads, *rows = page_of(changed(tmp_path, change)).table("method", "success %")
    assert {row[heads.index("steps")] for row in rows} == {"–"}


def test_the_committed_table_is_read():
    table = read_table(Path(__file__).parents[3] / "docs" / "results" / "babyai_text")
    assert len(table.results) == 3_000 and score_tells_more(table.rows)
    assert {kind.detail for o in table.results if (kind := failures.kind_of(o))} == {""}


def test_the_bar_spans_the_interval(tmp_path):
    def change(table):
        table["rows"][0]["success"] = {"estimate": 0.5, "low": 0.25, "high": 0.625}

    page = page_of(changed(tmp_path, change))
    styles = page.attributes("style")
    assert "left:25.0%;right:37.5%" in styles and "left:50.0%" in styles


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.0042, "0.004"), (0.66, "0.66"), (21.44, "21.4"), (3469.2, "3,469")],
)
def test_amounts_have_about_three_digits(value, shown):
    assert amount(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.214, "+21"), (-0.04, "−4"), (0.001, "0"), (float("nan"), "–")]
)
def test_differences_are_signed_points(value, shown):
    assert points(value) == shown


def test_rows_are_marked_as_what_they_are(tmp_path):
    def change(table):
        table["rows"][2] |= {"unsupported": True, "read_off": "64 calls"}

    page = page_of(changed(tmp_path, change))
    shown = page.table("method", "success %")
    assert "ceiling" in shown[4][0] and "ORACLE: policy" in shown[4][0]
    assert "unsupported" in shown[3][0] and "read off 64 calls" in shown[3][0]
    assert "ceiling" not in shown[1][0] + shown[2][0] + shown[3][0]
    assert "Ceilings, which read the solution and are no results: oracle" in page.text
    assert re.search("Marked unsupported, .*: MCTS", page.text)


def test_an_interval_from_too_little_data_is_marked(tmp_path):
    def change(table):
        found = {"estimate": 0.3, "low": 0.2, "high": 0.4}
        rows = table["rows"]
        rows[2]["differences"]["policy only"] = {**found, "reliable": False}
        rows[2]["differences"]["best-of-N"] = {**found, "reliable": True}

    shown = page_of(changed(tmp_path, change)).table("method", "success %")
    assert shown[3][3].startswith("+30† ") and shown[3][4].startswith("+30* ")


# -- what the table says ---------------------------------------------------------------


def finding(tmp_path, **found):
    def change(table):
        cell = next(c for c in table["rows"] if c["row"] == "MCTS")
        cell["success"] = {"estimate": 0.61, "low": 0.52, "high": 0.7}
        cell["differences"] = {"best-of-N": {"reliable": True, **found}}

    [sentence] = report_of(changed(tmp_path, change)).findings
    return sentence.replace("\xa0", " ")


def test_the_headline_is_put_in_words(tmp_path):
    assert finding(tmp_path, estimate=0.21, low=0.12, high=0.3) == (
        "At most 32 calls per decision, MCTS solves 61 % of 3 tasks, 95 % interval 52 to 70: "
        "21 points more than best-of-N (paired difference +12 to +30)."
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"estimate": 0.03, "low": -0.04, "high": 0.1}, "−4 to +10, which includes 0: no"),
        ({"estimate": -0.01, "low": -0.02, "high": -0.005}, "1 point fewer than best-of-N"),
        ({"estimate": 0.0, "low": -0.1, "high": 0.1}, "as many as best-of-N"),
        (
            {"estimate": 0.2, "low": 0.1, "high": 0.3, "reliable": False},
            "+10 to +30, from too little data to rely on)",
        ),
    ],
)
def test_words_are_honest(tmp_path, found, words):
    assert words in finding(tmp_path, **found)


def test_without_a_headline_nothing_is_claimed(tmp_path):
    made = report_of(changed(tmp_path, lambda table: table["suite"].update(headline=None)))
    [sentence] = made.findings
    assert sentence.startswith("No row was named as the headline")


def test_settings_stand_with_their_rows(tmp_path):
    def change(table):
        for cell in table["rows"]:
            if cell["row"] == "MCTS":
                cell["setting"] = "plan, reward visible"

    assert report_of(changed(tmp_path, change)).settings == {
        "act, reward hidden, can go back": ["policy only", "best-of-N", "oracle (ORACLE: policy)"],
        "plan, reward visible": ["MCTS"],
    }


# -- tasks -----------------------------------------------------------------------------


def result(table, row, i, **changes):
    """Change the `i`-th result of a row at the first budget."""
    found = [r for r in table["results"] if r["row"] == row and r["budget"] == "32 calls"]
    found[i].update(changes)
    return found[i]


OUTCOMES = {
    "solved": {"status": "ok", "correct": True},
    "wrong answer": {"status": "ok", "correct": False, "stop": "", "steps": 3, "truncated": False},
    "truncated": {"status": "ok", "correct": False, "stop": "", "steps": 3, "truncated": True},
    "no action": {"status": "ok", "correct": False, "steps": 0},
    "failed": {"status": "failed", "correct": False, "error": "EngineError: lost"},
}


@pytest.mark.parametrize("state", OUTCOMES)
def test_a_task_shows_what_became_of_it(tmp_path, state):
    task = {}

    def change(table):
        task.update(result(table, "MCTS", 1, **OUTCOMES[state]))

    [grid] = report_of(changed(tmp_path, change)).grids("")
    cell = grid.rows["MCTS"][grid.tasks.index(task["task_id"])]
    words = "failed, EngineError" if state == "failed" else state
    assert (cell.mark, cell.title) == (state[0], f"{task['task_id']}: {words}")


def test_tasks_that_most_rows_solve_come_first_and_are_counted(folder):
    grid = report_of(folder).grids("go to")[0]
    solved = [sum(cells[i].state == "solved" for cells in grid.rows.values()) for i in range(40)]
    assert solved == sorted(solved, reverse=True) and solved[0] > solved[-1]
    results = json.loads((folder / "table.json").read_text())["results"]
    for row, count in grid.solved.items():
        mine = [
            r for r in results if (r["env"], r["budget"], r["row"]) == ("go to", "32 calls", row)
        ]
        assert count == sum(r["correct"] for r in mine)


def test_seeds_that_disagree_are_shown_as_partly_solved(tmp_path):
    folder = tmp_path / "suite"
    table = make_suite_folder(
        folder, Plan(envs=("",), rows=ROWS, budgets=("32 calls",), tasks=2, seeds=(0, 1))
    )
    for each in table["results"]:
        each.update(status="ok", correct=each["seed"] == 0)
    (folder / "table.json").write_text(json.dumps(table))
    grid = report_of(folder).grids("")[0]
    assert {cell.mark for cells in grid.rows.values() for cell in cells} == {"p"}
    assert grid.rows["MCTS"][0].title.endswith("solved with 1 of 2 seeds")
    assert grid.solved["MCTS"] == 1.0


# -- failures --------------------------------------------------------------------------


def outcome(**changes):
    fields = {
        "env": "",
        "budget": "b",
        "row": "r",
        "task_id": "t",
        "status": "ok",
        "correct": False,
        "reason": "",
        "error": "",
        "stop": "finished",
        "truncated": False,
        "decisions": 1,
        "steps": 3,
        "folder": "f",
        "tree": None,
    }
    return Outcome(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"correct": True}, None),
        ({"status": "failed", "error": "EngineError: 3 tries"}, Kind("failed", "EngineError")),
        ({"status": "failed", "error": ""}, Kind("failed", "error")),
        ({"stop": "no action"}, Kind("no action")),
        ({"steps": 0, "truncated": True}, Kind("no action")),
        ({"truncated": True}, Kind("truncated")),
        ({"stop": "max_steps"}, Kind("truncated")),
        ({"reason": "12 is not 24"}, Kind("wrong answer", "# is not #")),
        ({"reason": ""}, Kind("wrong answer", "no reason given")),
    ],
)
def test_the_kind_of_an_unsolved_task(changes, kind):
    assert failures.kind_of(outcome(**changes)) == kind


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("used 3, 4 and 5.5", "used # and #"),
        ("opened 'box 3' not \"key\"", "opened … not …"),
        ("  two \n lines ", "two lines"),
        ("1 + 2 = 3", "#"),
        ("price too high: bought B00TEA, r_att 1; nouns: words", "price too high"),
        ("'a: b' opened at 12:30: late", "… opened at #"),
        (": late", "no reason given"),
        ("x" * 200, "x" * 89 + "…"),
    ],
)
def test_particulars_are_taken_out_of_reasons(reason, short):
    assert failures.without_particulars(reason) == short


def test_failures_are_counted_by_row_and_frequent_kinds_come_first():
    found = failures.group_failures(
        [
            outcome(reason="lost 3", row="a"),
            outcome(reason="late"),
            outcome(reason="lost 4", row="b"),
            outcome(reason="lost 5", row="b", tree="x"),
            outcome(status="failed", error="EnvError: x"),
            outcome(correct=True),
        ],
        first="a",
    )
    assert [str(each.kind.detail) for each in found] == ["EnvError", "lost #", "late"]
    assert found[1].counts == {"a": 1, "b": 2}
    assert found[1].outcomes[0].tree == "x"  # a tree to show goes before the preferred row


def test_the_preferred_row_gives_the_example():
    both = [outcome(row="a", tree="x"), outcome(row="b", tree="y")]
    assert failures.group_failures(both, first="b")[0].outcomes[0].row == "b"


def test_rare_wrong_answers_are_one_kind():
    words = ["apple", "pear", "plum", "fig", "kiwi", "lime", "melon", "nut", "date", "sloe"]
    many = [outcome(reason="common")] * 3 + [outcome(reason=word) for word in words]
    found = failures.group_failures(many)
    assert len(found) == failures.SHOWN_KINDS + 1
    assert found[0].kind.detail == "common"
    assert {each.kind.detail for each in found if len(each.outcomes) == 3} == {
        "common",
        "3 rarer reasons",
    }


def test_failures_stand_in_the_table_without_ceilings(folder, page):
    results = json.loads((folder / "table.json").read_text())["results"]
    shown = page.table("kind", "policy only", "best-of-N", "MCTS", "all")
    mine = [r for r in results if r["env"] == "go to" and r["status"] == "failed"]
    counts = [sum(r["row"] == row for r in mine) for row in ROWS[:3]]
    line = next(row for row in shown if row[0] == "failed: EngineError")
    assert line[1:] == [str(n) for n in (*counts, sum(counts))]


def test_why_searches_stopped_is_counted(folder, page):
    results = json.loads((folder / "table.json").read_text())["results"]
    shown = page.table("reason", *ROWS)
    line = next(row for row in shown if row[0] == "max_steps")
    counts = [
        sum((r["env"], r["row"], r["stop"]) == ("go to", row, "max_steps") for r in results)
        for row in ROWS
    ]
    assert line[1:] == [str(n) for n in counts]


def test_an_example_shows_the_tree_of_its_task(folder):
    made = report_of(folder)
    shown = [example for _, example in made.failures("go to") if example.root]
    assert shown
    for example in shown:
        tree = Run(folder / example.outcome.folder).tree(example.outcome.task_id)
        assert example.nodes == len(tree)
        assert (folder / unquote(example.href)).is_file()
        path, node = [], example.root
        while any(child.chosen for child in node.children):
            node = next(child for child in node.children if child.chosen)
            path.append(node.node.id)
        assert path == tree.meta["committed"]
        run, task = example.command.split()[-2:]
        assert run == f"made-up/{example.outcome.folder}" and task == example.outcome.task_id


def count(branch):
    return 1 + sum(map(count, branch.children))


def left_out(branch):
    return branch.left_out + sum(map(left_out, branch.children))


def test_a_large_tree_is_cut_and_the_rest_counted():
    tree = made_up_tree("t", 6)
    for i in range(500):
        tree.add(tree.root, f"a{i}", None)
    chosen = set(tree.meta["committed"])
    shown = failures.branch(tree.root, chosen)
    assert count(shown) == failures.SHOWN_NODES
    assert shown.left_out == len(tree.root.children) - len(shown.children) > 0
    assert [child.chosen for child in shown.children[:2]] == [True, False]
    visits = [child.node.visits for child in shown.children[1:]]
    assert visits == sorted(visits, reverse=True)


def test_a_small_tree_is_shown_whole():
    tree = made_up_tree("t", 3)
    shown = failures.branch(tree.root, set())
    assert count(shown) == len(tree) and left_out(shown) == 0


def test_of_a_long_way_only_the_start_is_shown():
    tree = made_up_tree("t", 0)
    node, chosen = tree.root, []
    for _ in range(200):
        node = tree.add(node, "on", None)
        chosen.append(node.id)
    shown = failures.branch(tree.root, set(chosen))
    assert count(shown) <= failures.SHOWN_NODES


# -- what models wrote -----------------------------------------------------------------


def test_whatever_a_suite_holds_is_escaped(tmp_path):
    rows = (*ROWS, f"{EVIL} $x$")
    plan = Plan(
        envs=(EVIL,),
        rows=rows,
        budgets=("32 calls",),
        tasks=3,
        title=f"A & {EVIL}",
        headline=rows[-1],
    )
    folder = tmp_path / "suite"
    table = make_suite_folder(folder, plan)
    quote = f"\" onmouseover='alert(1)' {EVIL}"
    table["made_with"]["commit"] = quote
    for each in table["results"]:
        each.update(status="ok", correct=False, reason=quote, stop=quote)
        tree = Tree.load(folder / each["tree"])
        for node in tree.root.children:
            node.action = node.observation = quote
        tree.save(folder / each["tree"])
    for each in table["results"]:
        if each["row"] == "best-of-N":
            each.update(status="failed", error=quote)
    (folder / "table.json").write_text(json.dumps(table))
    text = write_report(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text and EVIL in page.text
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert f"A & {EVIL}" in page.text
    code = re.findall(r"<code>(.*?)</code>", text, re.S)
    assert any("onmouseover" in each and "&lt;script&gt;" in each for each in code)


def test_half_a_character_does_not_stop_a_report(tmp_path):
    page = page_of(
        changed(tmp_path, lambda table: table["made_with"].update(commit="half \udcff character"))
    )
    assert "half ? character" in page.text


# -- what can be wrong -----------------------------------------------------------------


def test_without_a_table_there_is_no_report(tmp_path):
    with pytest.raises(DataError, match=r"holds no table.json; run its suite"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-40], "is damaged or no table"),
        (lambda text: "[]", "is damaged or no table"),
        (lambda text: text.replace('"headline"', '"head"'), "suite.headline: Field required"),
        (lambda text: text.replace('"estimate": ', '"estimate": "x", "e": ', 1), "estimate"),
        (
            lambda text: text.replace('"row": "MCTS"', '"row": "other"'),
            "its suite has no row 'other'",
        ),
        (lambda text: text.replace('"budget": "32 calls"', '"budget": "9"'), "no budget '9'"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, damage, words):
    make_suite_folder(tmp_path, TINY)
    path = tmp_path / "table.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError) as caught:
        write_report(tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_run_folder_is_named(tmp_path):
    table = make_suite_folder(tmp_path, TINY)
    gone = tmp_path / table["rows"][0]["folders"][0]
    gone.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=re.escape(f"{gone}: no such run folder")):
        write_report(tmp_path)


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"x")])
def test_a_missing_or_damaged_tree_only_drops_its_example(tmp_path, damage):
    make_suite_folder(tmp_path, TINY)
    for path in tmp_path.glob("*/trees/*"):
        damage(path)
    page = Page(write_report(tmp_path).read_text())
    assert "No tree to show: its tree is missing or damaged." in page.text


def test_results_without_trees_say_so(tmp_path):
    def change(table):
        for each in table["results"]:
            each["tree"] = None

    shown = [each for _, each in report_of(changed(tmp_path, change)).failures("")]
    assert shown and {(each.root, each.missing) for each in shown} == {(None, "no tree was kept")}


def test_a_table_without_results_makes_a_page(tmp_path):
    page = page_of(changed(tmp_path, lambda table: table.update(results=[])))
    assert "No results are recorded." in page.text


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    make_suite_folder(tmp_path, TINY)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(DataError, match=r"report\.html: cannot be written"):
        write_report(tmp_path)


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_library_names_the_extra(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
from agentsearch.errors import ConfigError
from agentsearch_eval.report import template
try:
    template()
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{missing}: pip install 'agentsearch[eval]'" in done.stdout


def test_a_report_is_made_again_from_the_command_line(tmp_path, capsys):
    make_suite_folder(tmp_path / "s", TINY)
    assert report.main([str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "s" / "report.html")
    assert report.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: holds no table.json")
    assert report.main([]) == 2
    assert "usage:" in capsys.readouterr().err
