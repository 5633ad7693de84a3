"""Game of 24 under random play and random text."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsearch.types import Step, Task, Trajectory, Turn, Verdict
from agentsearch_envs.game24 import (
    Game24,
    Game24State,
    Rules,
    check_answer,
    evaluate,
    legal_moves,
    render,
    solvable,
    start,
)

RULES: tuple[Rules, ...] = ("integer", "rational")
OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": truediv,
}
PLAYTHROUGH = """
import asyncio, random
from agentsearch_envs.game24 import Game24, good_actions
for rules in ("integer", "rational"):
    env, rng = Game24(rules), random.Random(7)
    for split in ("train", "dev", "test"):
        print(env.tasks(split)[:150])
        for task in env.tasks(split)[:50]:
            state, done = asyncio.run(env.reset(task, seed=0)), False
            while not done:
                actions = env.legal_actions(state)
                print(state, actions, good_actions(state.numbers, rules))
                step = asyncio.run(env.step(state, rng.choice(actions)))
                state, done = step.state, step.terminated
            print(env.answer(state), step)
"""

both_rules = pytest.mark.parametrize("rules", RULES)
rules_of_either = st.sampled_from(RULES)
puzzles = st.lists(st.integers(1, 13), min_size=4, max_size=4)
choices = st.lists(st.integers(0, 1000), min_size=3, max_size=3)
move_like = st.text("0123456789+-*/=() \t\n", max_size=20)
expressions = st.recursive(
    st.integers(0, 13),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner),
    max_leaves=6,
)


def walk(env: Game24, puzzle: list[int], picks: list[int]) -> list[Step[Game24State]]:
    """The steps of an episode that picks its legal moves by number."""

    async def episode() -> list[Step[Game24State]]:
        steps = [Step(start(puzzle))]
        for pick in picks:
            actions = env.legal_actions(steps[-1].state)
            steps.append(await env.step(steps[-1].state, actions[pick % len(actions)]))
        return steps

    return asyncio.run(episode())


@both_rules
def test_ten_thousand_random_steps(rules: Rules):
    env, rng = Game24(rules), random.Random(24)
    tasks = env.tasks("train")

    async def episode(task: Task) -> int:
        state, turns = await env.reset(task, seed=0), ()
        while True:
            before = astuple(state)
            action = rng.choice(env.legal_actions(state))
            turns = (*turns, Turn(env.observe(state), action))
            step = await env.step(state, action)
            assert step == await env.step(state, action)
            assert astuple(state) == before and step.valid and not step.truncated
            assert len(step.state.numbers) == len(state.numbers) - 1
            if step.terminated:
                break
            state = step.state
        path = Trajectory(task.id, turns, terminated=True, truncated=False)
        verdict = await env.verifier.verify(task, path, step.state)
        assert verdict.correct == (step.state.numbers == (24,)) == (step.reward == 1.0)
        return len(turns)

    async def episodes() -> int:
        steps = 0
        while steps < 10_000:
            steps += await episode(rng.choice(tasks))
        return steps

    assert asyncio.run(episodes()) >= 10_000


@settings(deadline=None)
@given(rules_of_either, puzzles, choices)
def test_every_legal_action_is_valid_and_leads_elsewhere(
    rules: Rules, puzzle: list[int], picks: list[int]
):
    env = Game24(rules)
    for step in walk(env, puzzle, picks):
        actions = env.legal_actions(step.state)
        assert len(set(actions)) == len(actions)
        assert step.terminated == (not actions)
        for action in actions:
            after = asyncio.run(env.step(step.state, action))
            assert after.valid and after.state != step.state
            assert list(after.state.numbers) == sorted(after.state.numbers)
            for number, expression in zip(
                after.state.numbers, after.state.expressions, strict=True
            ):
                assert evaluate(render(expression)) == number >= 0


@settings(deadline=None)
@given(rules_of_either, puzzles, choices)
def test_value_is_the_best_of_the_moves(rules: Rules, puzzle: list[int], picks: list[int]):
    env = Game24(rules)
    oracle = env.oracle()
    for step in walk(env, puzzle, picks)[:-1]:
        after = [asyncio.run(env.step(step.state, a)).state for a in env.legal_actions(step.state)]
        assert oracle.value(step.state) == max(map(oracle.value, after))
        assert (oracle.action(step.state) is None) == (not solvable(step.state.numbers, rules))


@settings(deadline=None, max_examples=500)
@given(rules_of_either, puzzles, st.one_of(st.text(), move_like))
def test_text_that_writes_no_legal_move_is_invalid(rules: Rules, puzzle: list[int], text: str):
    state = start(puzzle)
    legal = {action.replace(" ", "") for action in legal_moves(state.numbers, rules)}
    legal |= {sign.join(a.split(sign)[::-1]) for a in legal for sign in "+*" if sign in a}
    step = asyncio.run(Game24(rules).step(state, text))
    if "".join(text.split("=")[0].split()) in legal:
        return
    assert step == Step(state, valid=False) and step.state is state


@settings(deadline=None)
@given(rules_of_either, puzzles, choices)
def test_the_verifier_is_right_exactly_at_24(rules: Rules, puzzle: list[int], picks: list[int]):
    env, steps, turns = Game24(rules), walk(Game24(rules), puzzle, picks), ()
    for step, pick in zip(steps, picks, strict=False):
        actions = env.legal_actions(step.state)
        turns = (*turns, Turn("", "no move"), Turn("", actions[pick % len(actions)]))
    path = Trajectory("", turns, terminated=True, truncated=False)
    task = Task("", "", {"numbers": puzzle})
    verdict: Verdict = asyncio.run(env.verifier.verify(task, path, None))
    assert verdict.correct == (steps[-1].state.numbers == (24,))
    assert check_answer(puzzle, env.answer(steps[-1].state)) == verdict.correct


@settings(deadline=None, max_examples=500)
@given(st.one_of(st.text(), move_like))
def test_checking_any_text_never_raises(text: str):
    assert check_answer((4, 9, 10, 13), text) in (True, False)


@settings(deadline=None, max_examples=500)
@given(expressions)
def test_rendering_keeps_the_value(expression: Any):
    def value(part: Any) -> Fraction:
        if isinstance(part, int):
            return Fraction(part)
        left, sign, right = part
        return OPERATORS[sign](value(left), value(right))

    try:
        expected = value(expression)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            evaluate(render(expression))
    else:
        assert evaluate(render(expression)) == expected


def test_two_processes_play_the_same():
    def output(hash_seed: str) -> str:
        environ = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", PLAYTHROUGH]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        return done.stdout

    first = output("1")
    assert len(first) > 100_000
    assert first == output("2")
