"""Run folders read back; what is damaged is named with its file and line."""

import json
import re

import pytest

from agentsearch.budget import Usage
from agentsearch.data.runs import Run, tree_name
from agentsearch.errors import DataError
from agentsearch.runner import Result, RunFolder
from agentsearch.tree import Node, Tree


def a_tree(task_id):
    tree = Tree(Node(0, "", "start"), task_id, "Spell it.")
    tree.add(tree.root, "a", "a", "a")
    return tree


@pytest.fixture
def folder(tmp_path):
    """A run of three tasks, as the runner writes it."""
    written = RunFolder(tmp_path / "spell", {"seed": 7, "made_with": {"agentsearch": "0"}})
    for task_id in ("env/1-2", "env/11-2", "env/3"):
        usage = Usage(calls=2)
        written.write(Result(task_id, answer="x\u2028y", usage=usage, tree=a_tree(task_id)))
    written.close({"success": 0.5})
    return written.path


def test_everything_a_run_holds(folder):
    run = Run(folder)
    assert run.name == "spell"
    assert run.config["seed"] == 7 and run.config["made_with"]
    assert run.summary == {"success": 0.5}
    assert [line["task_id"] for line in run.results] == ["env/1-2", "env/11-2", "env/3"]
    assert run.results[0]["answer"] == "x\u2028y"  # no end of a line
    assert run.result("env/3")["usage"]["calls"] == 2
    tree = run.tree("env/11-2")
    assert (tree.task_id, len(tree), tree.root.children[0].action) == ("env/11-2", 2, "a")


@pytest.mark.parametrize(
    ("text", "found"),
    [("env/1-2", "env/1-2"), ("3", "env/3"), ("11", "env/11-2"), ("/1-2", "env/1-2")],
)
def test_a_task_is_found_by_its_id_or_a_part_of_just_one(folder, text, found):
    assert Run(folder).find_task(text) == found


def test_a_part_of_several_tasks_lists_them(folder):
    with pytest.raises(DataError, match=r"'-2': fits 2 tasks of .*: env/1-2, env/11-2\. Write"):
        Run(folder).find_task("-2")


def test_an_unknown_task_gets_a_suggestion(folder):
    with pytest.raises(DataError, match=r"no such task. Did you mean 'env/3'\? Its tasks: env/1-2"):
        Run(folder).find_task("env/33")
    with pytest.raises(DataError, match=r"has no result of it. Did you mean 'env/3'\?"):
        Run(folder).result("env/33")


def test_a_run_that_was_cut_off(folder):
    (folder / "summary.json").unlink()
    (folder / "results.jsonl").unlink()
    run = Run(folder)
    assert run.summary is None and run.results == []
    with pytest.raises(DataError, match="None has finished"):
        run.find_task("env/3")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such run folder"):
        Run(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no config.yaml"):
        Run(tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [('{"task_id": "e', "not valid JSON"), ("[1]", "no mapping"), ('{"task": "x"}', "no task_id")],
)
def test_a_damaged_line_is_named(folder, line, says):
    results = folder / "results.jsonl"
    results.write_text(results.read_text() + line + "\n")
    with pytest.raises(DataError, match=rf"results\.jsonl, line 4: .*{says}"):
        _ = Run(folder).results


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.yaml", b"a: [", "not valid YAML"),
        ("config.yaml", b"- a", "no mapping"),
        ("config.yaml", b"\xff\xfe\xff", "cannot be read"),
        ("summary.json", b'{"success": 0.', "not valid JSON"),
        ("results.jsonl", b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(folder, file, content, says):
    (folder / file).write_bytes(content)
    run = Run(folder)
    with pytest.raises(DataError, match=rf"{re.escape(file)}.*: .*{says}") as error:
        _ = (run.config, run.summary, run.results)
    assert "\n" not in str(error.value)


def test_a_missing_a_damaged_and_a_foreign_tree_are_named(folder):
    path = folder / "trees" / "env+3.json.gz"
    a_tree("env-3").save(path)  # another task whose file has the same name
    with pytest.raises(DataError, match=r"env\+3\.json\.gz: holds the tree of 'env-3'"):
        Run(folder).tree("env/3")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"env\+3\.json\.gz: cannot be read as a tree"):
        Run(folder).tree("env/3")
    path.unlink()
    with pytest.raises(DataError, match=r"env\+3\.json\.gz: no such tree file"):
        Run(folder).tree("env/3")


def test_a_surrogate_half_in_a_result_is_written_and_read(tmp_path):
    written = RunFolder(tmp_path / "r", {})
    written.write(Result("t", answer="\ud800"))
    written.close({})
    assert Run(written.path).results[0]["answer"] == "\ud800"
    json.loads((written.path / "results.jsonl").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("task_id", "name"),
    [("env/1-2", "env+1-2"), ("a b", "a%20b"), ("a+b", "a%2Bb"), ("é", "%C3%A9")],
)
def test_tree_names_can_be_read(task_id, name):
    assert tree_name(task_id) == f"{name}.json.gz"


def test_different_tasks_never_share_a_file():
    ids = ["a/b", "a-b", "a+b", "a%2Fb", "a b", "", ".", "..", "x" * 300, "x" * 301, "\ud800"]
    assert len({tree_name(task_id) for task_id in ids}) == len(ids)


def test_a_last_line_cut_short_costs_no_other(tmp_path, caplog):
    """What a kill or a full disk leaves behind, in the middle of a character too."""
    written = RunFolder(tmp_path / "r", {})
    for task_id in ("a", "b"):
        written.write(Result(task_id, answer="é"))
    written.close({})
    path = tmp_path / "r" / "results.jsonl"
    whole = path.read_bytes()
    for cut in range(1, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        assert [line["task_id"] for line in Run(tmp_path / "r").results] == ["a"]
    assert "cut short" in caplog.text
