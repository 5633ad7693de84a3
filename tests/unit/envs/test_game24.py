"""Game of 24: worked facts, moves, answers, verdicts, splits and the published logs."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from agentsearch.errors import ConfigError, DataError
from agentsearch.protocols import Environment, Oracle, Verifier
from agentsearch.types import Step, Task, Trajectory, Turn, Verdict
from agentsearch_envs.game24 import (
    Game24,
    Game24State,
    Rules,
    check_answer,
    evaluate,
    good_actions,
    is_published_test,
    legal_moves,
    render,
    solvable,
    solvable_puzzles,
    split_of,
    start,
)

DATA = Path(__file__).parents[4] / "shared/data/game24"
LOGS = ("tot_gpt4_bfs_b5", "gpt4_cot_100samples", "gpt4_io_100samples")
RULES: tuple[Rules, ...] = ("integer", "rational")
SPLITS = ("train", "dev", "test")
SOLUTION = ("13 - 9", "10 - 4", "6 * 4")

both_rules = pytest.mark.parametrize("rules", RULES)
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the published Game of 24 data is not at {DATA}"
)


def task(*numbers: int) -> Task:
    return Task("game24/x", "", {"numbers": list(numbers)})


def play(env: Game24, numbers: Iterable[int], actions: Iterable[str]) -> Step[Game24State]:
    async def episode() -> Step[Game24State]:
        step = Step(await env.reset(task(*numbers), seed=0))
        for action in actions:
            step = await env.step(step.state, action)
        return step

    return asyncio.run(episode())


def judge(env: Game24, numbers: Iterable[int], *actions: str, state: object = None) -> Verdict:
    turns = tuple(Turn("", action) for action in actions)
    path = Trajectory("game24/x", turns, terminated=True, truncated=False)
    return asyncio.run(env.verifier.verify(task(*numbers), path, state))


def published() -> list[tuple[int, ...]]:
    with (DATA / "24.csv").open(newline="") as lines:
        rows = [row["Puzzles"].split() for row in csv.DictReader(lines)]
    return [tuple(map(int, row)) for row in rows]


def write_csv(path: Path, rows: Iterable[Iterable[int]], column: str = "Puzzles") -> str:
    lines = [f"Rank,{column}", *(f"{i},{' '.join(map(str, row))}" for i, row in enumerate(rows))]
    path.write_text("\n".join(lines))
    return str(path)


# Worked facts


def test_counts_of_solvable_puzzles():
    assert len(solvable_puzzles("rational")) == 1362
    assert len(solvable_puzzles("integer")) == 1346
    assert set(solvable_puzzles("integer")) < set(solvable_puzzles())


def test_the_famous_fraction_puzzle_needs_rational_rules():
    assert solvable((3, 3, 8, 8), "rational")  # 8 / (3 - 8/3)
    assert not solvable((3, 3, 8, 8), "integer")


def test_there_are_at_most_24_12_and_4_integer_choices():
    env = Game24()
    assert len(legal_moves((1, 2, 4, 8), "integer")) == 24
    assert len(legal_moves((2, 4, 8), "integer")) == 12
    assert legal_moves((2, 4), "integer") == ("4 + 2", "4 - 2", "4 * 2", "4 / 2")
    assert legal_moves((24,), "integer") == ()
    counts = [len(legal_moves(start(p).numbers, env.rules)) for p in solvable_puzzles("integer")]
    assert max(counts) == 24


@both_rules
def test_larger_numbers_add_train_puzzles_after_the_others(rules: Rules):
    plain, more = Game24(rules), Game24(rules, largest=16)
    count = len(plain.tasks("train"))
    assert more.tasks("train")[:count] == plain.tasks("train")
    found = [tuple(each.data["numbers"]) for each in more.tasks("train")[count:]]
    assert all(14 <= max(numbers) <= 16 and solvable(numbers, rules) for numbers in found)
    assert len(set(found)) == len(found) > 1300
    assert found != sorted(found)  # a slice of them is a mixture
    for split in ("dev", "test"):
        assert more.tasks(split) == plain.tasks(split)


@pytest.mark.parametrize("largest", [12, 31])
def test_other_numbers_are_refused(largest: int):
    with pytest.raises(ConfigError, match="^Game24: largest=.*between 13"):
        Game24(largest=largest)


@both_rules
def test_it_fits_the_protocols(rules: Rules):
    env: Environment[Game24State] = Game24(rules)
    oracle: Oracle = Game24(rules).oracle()
    verifier: Verifier = env.verifier
    assert isinstance(env, Environment)
    assert (env.spec.id, env.spec.version, env.spec.max_steps) == ("game24", "1", 3)
    assert (env.spec.actions, env.spec.instant, env.spec.reversible) == ("finite", True, True)
    assert oracle and verifier


# Moves


def test_an_episode_told_step_by_step():
    env = Game24()
    state = start((13, 4, 10, 9))
    assert env.observe(state) == "Numbers: 4 9 10 13"
    assert hash(state) == hash(start((4, 9, 10, 13)))
    for action, seen in zip(SOLUTION, ("4 4 10", "4 6", "24"), strict=True):
        assert action in env.legal_actions(state)
        step = asyncio.run(env.step(state, action))
        state = step.state
        assert env.observe(state) == f"Numbers: {seen}"
        assert (step.reward, step.terminated) == ((1.0, True) if seen == "24" else (0.0, False))
    assert env.answer(state) == "(10 - 4) * (13 - 9)"
    assert state.puzzle == (4, 9, 10, 13)


def test_an_ending_other_than_24_pays_nothing():
    step = play(Game24(), (4, 9, 10, 13), ("13 + 9", "10 + 4", "22 + 14"))
    assert (step.state.numbers, step.reward, step.terminated) == ((36,), 0.0, True)


def test_integer_moves_divide_exactly_and_never_by_zero():
    assert [a for a in legal_moves((2, 3, 4, 6), "integer") if "/" in a] == [
        "4 / 2",
        "6 / 2",
        "6 / 3",
    ]
    assert legal_moves((0, 5), "integer") == ("5 + 0", "5 - 0", "5 * 0")
    assert legal_moves((0, 0), "integer") == ("0 + 0", "0 - 0", "0 * 0")


def test_rational_moves_divide_both_ways_and_show_fractions():
    third = Fraction(8, 3)
    assert legal_moves((third, 4), "rational") == (
        "8/3 / 4",
        "4 + 8/3",
        "4 - 8/3",
        "4 * 8/3",
        "4 / 8/3",
    )
    step = play(Game24("rational"), (3, 3, 8, 8), ("8 / 3", "3 - 8/3", "8 / 1/3"))
    assert (step.state.numbers, step.reward) == ((24,), 1.0)
    assert type(step.state.numbers[0]) is int
    assert Game24().answer(step.state) == "8 / (3 - 8 / 3)"
    middle = play(Game24("rational"), (3, 3, 8, 8), ("8 / 3",))
    assert Game24().observe(middle.state) == "Numbers: 8/3 3 8"


def test_equal_numbers_give_each_move_once():
    assert legal_moves((5, 5, 5, 5), "integer") == ("5 + 5", "5 - 5", "5 * 5", "5 / 5")
    assert play(Game24(), (5, 5, 5, 5), ("5 * 5",)).state.numbers == (5, 5, 25)


@pytest.mark.parametrize(
    "text", ["13-9", "  13   -\t9\n", "13 - 9 = 4", "13 - 9=5 (left: 4 4 10)", "13 - 9 =\nmore"]
)
def test_spaces_and_a_result_are_ignored(text: str):
    step = play(Game24(), (4, 9, 10, 13), (text,))
    assert step.valid and step.state.numbers == (4, 4, 10)


def test_sums_and_products_may_be_written_either_way():
    assert play(Game24(), (4, 9, 10, 13), ("4 + 13",)).state.numbers == (9, 10, 17)
    assert play(Game24(), (4, 9, 10, 13), ("4*13",)).state.numbers == (9, 10, 52)


@both_rules
@pytest.mark.parametrize(
    "text",
    ["", "9 - 13", "13 - 13", "13 - 5", "13 -", "13 9", "1 3 - 9", "13 - 9 - 4", "013 - 9"]
    + ["13 ** 9", "-13 + 9", "13.0 - 9", "(13 - 9)", "13 - 9 hence 4", "think", "__import__('os')"]
    + ["\u0661\u0663 - 9", "13 \u2212 9", "\ud800", "(" * 100_000, "1" * 100_000, " " * 100_000]
    + ["Answer: (13 - 9) * (10 - 4) = 24"],
)
def test_other_text_is_invalid_and_changes_nothing(text: str, rules: Rules):
    env, state = Game24(rules), start((4, 9, 10, 13))
    began = perf_counter()
    step = asyncio.run(env.step(state, text))
    assert step == Step(state, valid=False)
    assert step.state is state
    assert perf_counter() - began < 1


def test_inexact_division_is_invalid_under_integer_rules_only():
    assert not play(Game24("integer"), (4, 9, 10, 13), ("13 / 9",)).valid
    assert play(Game24("rational"), (4, 9, 10, 13), ("13 / 9",)).valid
    assert play(Game24("rational"), (4, 9, 10, 13), ("9/13",)).valid


def test_a_finished_episode_takes_no_more_moves():
    step = play(Game24(), (4, 9, 10, 13), (*SOLUTION, "24 + 24"))
    assert (step.valid, step.terminated, step.reward) == (False, True, 0.0)


def test_the_key_is_what_remains():
    env = Game24()
    one = play(env, (4, 4, 8, 8), ("8 - 4",)).state
    other = play(env, (1, 4, 4, 8), ("4 * 1",)).state
    assert env.key(one) == (4, 4, 8) == env.key(other)
    assert one != other


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ((1, "+", (2, "+", 3)), "1 + 2 + 3"),
        ((1, "-", (2, "+", 3)), "1 - (2 + 3)"),
        (((1, "-", 2), "-", 3), "1 - 2 - 3"),
        ((2, "*", (6, "/", 3)), "2 * 6 / 3"),
        ((6, "/", (2, "*", 3)), "6 / (2 * 3)"),
        (((1, "+", 2), "*", (3, "-", 4)), "(1 + 2) * (3 - 4)"),
        ((5, "+", (2, "*", 3)), "5 + 2 * 3"),
    ],
)
def test_answers_have_only_the_parentheses_they_need(expression: Any, text: str):
    assert render(expression) == text


def test_an_unfinished_state_has_no_answer():
    assert Game24().answer(start((4, 9, 10, 13))) == ""


# Oracle and verifier


@both_rules
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_solves_every_task(rules: Rules, split: str):
    env = Game24(rules)
    oracle = env.oracle()

    async def solve(one: Task) -> Verdict:
        step, turns = Step(await env.reset(one, seed=0)), ()
        while not step.terminated:
            assert oracle.value(step.state) == 1.0
            action = oracle.action(step.state)
            assert action is not None
            turns = (*turns, Turn(env.observe(step.state), action))
            step = await env.step(step.state, action)
        assert (step.reward, len(turns)) == (1.0, env.spec.max_steps)
        assert check_answer(one.data["numbers"], f"Answer: {env.answer(step.state)} = 24")
        path = Trajectory(one.id, turns, terminated=True, truncated=False)
        return await env.verifier.verify(one, path, step.state)

    async def solve_all() -> list[Verdict]:
        return [await solve(one) for one in env.tasks(split)]

    assert all(v.correct and v.credit == 1.0 for v in asyncio.run(solve_all()))


@both_rules
def test_good_actions_are_those_that_keep_the_puzzle_solvable(rules: Rules):
    assert good_actions((4, 9, 10, 13), "integer") == ("10 - 4", "10 + 9", "13 - 9", "13 - 10")
    for action in legal_moves((4, 9, 10, 13), rules):
        after = play(Game24(rules), (4, 9, 10, 13), (action,)).state.numbers
        assert (action in good_actions((4, 9, 10, 13), rules)) == solvable(after, rules)


def test_the_oracle_gives_up_where_nothing_helps():
    oracle = Game24("rational").oracle()
    assert (oracle.action(start((1, 1, 1, 1))), oracle.value(start((1, 1, 1, 1)))) == (None, 0.0)


def test_the_verifier_replays_the_actions_and_not_the_state():
    env = Game24()
    won = play(env, (4, 9, 10, 13), SOLUTION).state
    assert judge(env, (4, 9, 10, 13), *SOLUTION) == Verdict(True, 1.0, "(10 - 4) * (13 - 9) = 24")
    forged = judge(env, (4, 9, 10, 13), "13 + 9", "10 + 4", "22 + 14", state=won)
    assert forged == Verdict(False, 0.0, "13 + 9 + 10 + 4 = 36")
    assert judge(env, (4, 9, 10, 13), "13 - 9", state=won).reason.startswith("unfinished")
    assert not judge(env, (4, 9, 10, 13)).correct


def test_the_verifier_passes_over_invalid_actions_as_the_environment_does():
    assert judge(Game24(), (4, 9, 10, 13), "13 - 9", "9 - 13", "hm", "10 - 4", "6 * 4").correct


def test_the_verifier_follows_its_rules():
    path = ("8 / 3", "3 - 8/3", "8 / 1/3")
    assert judge(Game24("rational"), (3, 3, 8, 8), *path).correct
    assert not judge(Game24("integer"), (3, 3, 8, 8), *path).correct


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("Answer: (13 - 9) * (10 - 4) = 24", True),
        ("13 - 9 = 4 (left: 4 4 10)\nanswer: (13 - 9) * (10 - 4) = 24", True),
        ("Answer: 13 + 10 + 4 - 9 = 24", False),
        ("Answer: 6 * 4 = 24", False),
        ("13 - 9 = 4 answer: (13 - 9) * (10 - 4) = 24", False),
    ],
)
def test_the_verifier_reads_an_answer_line(text: str, correct: bool):
    assert judge(Game24(), (4, 9, 10, 13), text).correct is correct


# Free-text answers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("8 - 4 - 2", 2),
        ("8 / 4 / 2", 1),
        ("1/3", Fraction(1, 3)),
        ("-(2 - 5)", 3),
        ("2 * -3", -6),
        ("--2", 2),
        (" 7 ", 7),
    ],
)
def test_expressions_are_evaluated_exactly(text: str, value: int | Fraction):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "()", "1 +", "+ 1", "1 2", "(1", "1)", "2 ** 3", "2 ^ 3", "1.5", "4!", "2(3)", "x"]
    + ["end", "1 end", "\u0664", "abs(1)", "1 // 1", "1, 2", "1e1"]
    + ["(" * 100_000, "(" * 21 + "1" + ")" * 21, "-" * 100_000 + "1", "1+" * 100_000 + "1"],
)
def test_other_expressions_are_refused(text: str):
    with pytest.raises(ValueError, match=r"unexpected|open"):
        evaluate(text)


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("(13 - 9) * (10 - 4)", True),
        ("(13-9)*(10-4) = 24", True),
        ("ANSWER: (13 - 9) * (10 - 4) = 99", True),
        ("steps\n\n(10 - 4) * (13 - 9) = 24\n\n", True),
        ("(13 - 9) * (10 - 4) = 24\nso it is", False),
        ("-(9 - 13) * (10 - 4)", True),
        ("(13 - 9) * (10 - 4) * 1", False),
        ("(13 - 9) * 6", False),
        ("24", False),
        ("", False),
        ("13 / (9 - 9) * 10 + 4", False),
        ("13 / (9 - 10 + 4 - 3)", False),
        ("4 * 9 - 10 - 13 # 4", False),
    ],
)
def test_check_answer(text: str, correct: bool):
    assert check_answer((4, 9, 10, 13), text) is correct


def test_dividing_by_zero_is_wrong_and_no_error():
    assert not check_answer((1, 1, 3, 8), "8 * 3 / (1 - 1)")


@pytest.mark.parametrize(
    "text",
    ["(" * 100_000, "-" * 100_000, "1+" * 50_000, "9" * 100_000, "answer: " * 12_500]
    + [" " * 100_000 + "x", "=" * 100_000, "\n" * 100_000, "4 9 10 13" + "(" * 100_000]
    + ["(" * 60 + "4 + 9 + 10 + 13" + ")" * 60, "-" * 150 + "4 + 9 + 10 + 13", "\x00", "\ud800"]
    + ["().__class__", "__import__('os').abort()", "9**9**9**9", "4 if 9 else 10 or 13"],
)
def test_hostile_answers_are_wrong_at_once(text: str):
    began = perf_counter()
    assert not check_answer((4, 9, 10, 13), text)
    assert perf_counter() - began < 0.5


# Tasks


def test_the_prompt_and_the_shape_of_a_task():
    first = Game24().tasks("train")[0]
    assert first.prompt == (
        "Make 24 from the numbers. A move joins two of them with + - * or /, "
        "and its result takes their place."
    )
    assert first.data == {"numbers": [int(n) for n in first.id.removeprefix("game24/").split("-")]}


@both_rules
def test_splits_are_disjoint_and_cover_what_the_rules_can_solve(rules: Rules):
    splits = [{one.id for one in Game24(rules).tasks(split)} for split in SPLITS]
    assert list(map(len, splits)) == [1046 if rules == "integer" else 1062, 200, 100]
    assert len(set.union(*splits)) == len(solvable_puzzles(rules)) == sum(map(len, splits))


def test_both_rules_share_their_splits():
    for split in ("dev", "test"):
        assert Game24("integer").tasks(split) == Game24("rational").tasks(split)
    for one in Game24("rational").tasks("train"):
        assert split_of(one.data["numbers"]) == "train"


def test_published_test_puzzles_are_known_in_any_order():
    for one in Game24().tasks("test"):
        assert is_published_test(one.data["numbers"][::-1])
    assert not any(is_published_test(one.data["numbers"]) for one in Game24().tasks("train"))


def test_an_unknown_split_or_rule_is_named():
    with pytest.raises(ConfigError, match=r"unknown split 'tests'.*Did you mean 'test'"):
        Game24().tasks("tests")
    with pytest.raises(ConfigError, match=r"unknown rules 'intger'.*Did you mean 'integer'"):
        Game24("intger")  # pyright: ignore[reportArgumentType]


def in_published_shape() -> list[tuple[int, ...]]:
    """Every puzzle, the test puzzles in rows 900-999, in an order of our own."""
    test = [p for p in solvable_puzzles() if is_published_test(p)][::-1]
    others = [p for p in solvable_puzzles() if not is_published_test(p)][::-1]
    return [*others[:900], *test, *others[900:]]


def test_a_csv_sets_the_order_and_not_the_content(tmp_path: Path):
    path = write_csv(tmp_path / "24.csv", in_published_shape())
    for split in SPLITS:
        assert Game24(csv=path).tasks(split) == Game24().tasks(split)[::-1]


def test_a_wrong_csv_is_refused_in_one_sentence(tmp_path: Path):
    rows, path = in_published_shape(), tmp_path / "24.csv"
    with pytest.raises(DataError, match=r"24\.csv: cannot be read .*No such file"):
        Game24(csv=str(path))
    with pytest.raises(DataError, match=r"row 0 \(from 0\) has no column 'Puzzles'"):
        Game24(csv=write_csv(path, rows, column="Numbers"))
    for bad in ((1, 2, 3), (1, 2, 3, 14), (0, 2, 3, 4)):
        with pytest.raises(DataError, match=r"row 1 \(from 0\) reads '[0-9 ]+'"):
            Game24(csv=write_csv(path, [rows[0], bad, *rows[2:]]))
    for wrong in (rows[:-1], [rows[1], *rows[1:]], rows[::-1], []):
        with pytest.raises(DataError, match="is not the published list"):
            Game24(csv=write_csv(path, wrong))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        Game24(csv=str(path))
    with pytest.raises(DataError, match="cannot be read"):
        Game24(csv=str(tmp_path))


# The published data


@needs_data
def test_the_hashes_match_the_published_test_rows():
    rows = published()
    assert [i for i, row in enumerate(rows) if is_published_test(row)] == list(range(900, 1000))
    assert set(rows) == set(solvable_puzzles())


@needs_data
@both_rules
def test_tasks_follow_the_published_order(rules: Rules):
    env, rows = Game24(rules, csv=str(DATA / "24.csv")), published()
    numbers = {s: [tuple(t.data["numbers"]) for t in env.tasks(s)] for s in SPLITS}
    assert numbers["test"] == rows[900:1000]
    for split in SPLITS:
        assert numbers[split] == sorted(numbers[split], key=rows.index)
        assert set(env.tasks(split)[0].data) == {"numbers"}
        assert {t.id for t in env.tasks(split)} == {t.id for t in Game24(rules).tasks(split)}


@needs_data
def test_every_logged_verdict_is_ours_too():
    rows, seen = published(), 0
    for log in LOGS:
        with gzip.open(DATA / f"{log}_log.json.gz") as lines:
            runs: list[dict[str, Any]] = json.load(lines)
        for run in runs:
            for text, info in zip(run["ys"], run["infos"], strict=True):
                seen += 1
                assert check_answer(rows[run["idx"]], text) == bool(info["r"]), text
    assert seen == 20_500
