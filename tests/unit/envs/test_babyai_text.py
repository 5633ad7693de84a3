"""BabyAI-Text as an environment: tasks, actions, text, verdicts, oracle, rule, errors."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

pytest.importorskip("minigrid", reason="needs minigrid: pip install 'agentsearch[envs]'")

from minigrid.utils.baby_ai_bot import BabyAIBot

from agentsearch.conformance import check_environment
from agentsearch.errors import ConfigError
from agentsearch.protocols import Environment, Oracle
from agentsearch.types import Context, Step, Task, Trajectory, Turn, Verdict
from agentsearch_envs import babyai_levels as levels
from agentsearch_envs import babyai_rule as rule
from agentsearch_envs import babyai_text as text
from agentsearch_envs import babyai_world as w
from agentsearch_envs.babyai_text import KINDS, BabyAIText

SPLITS = ("train", "dev", "test")
BOT_STEPS = {
    "go_to": (6.5, 4.6),
    "pick_up": (7.5, 5.7),
    "open": (16.0, 15.5),
    "put_next": (11.7, 12.5),
    "pick_up_then_go_to": (12.6, 10.7),
}
"""Mean steps of the original's bot in MixedTrainLocal and MixedTestLocal, seeds 5000-5039."""
RANDOM_SUCCESSES = {"go_to": (8, 11), "pick_up": (2, 4), "open": (0, 0), "put_next": (0, 0)}
"""Of 20 random episodes of the original, forward weighted 3 in 8."""


@dataclass(frozen=True)
class Few(BabyAIText):
    """The environment with the first tasks of each split, because each is a world to make."""

    def tasks(self, split: str) -> Sequence[Task]:
        return BabyAIText.tasks(self, split)[:6]


def after(env: BabyAIText, state: w.State, *actions: str) -> Step[w.State]:
    step = Step(state)
    for action in actions:
        step = asyncio.run(env.step(step.state, action))
    return step


def judge(env: BabyAIText, task: Task, *actions: str) -> Verdict:
    turns = tuple(Turn("", action) for action in actions)
    path = Trajectory(task.id, turns, terminated=True, truncated=False)
    return asyncio.run(env.verifier.verify(task, path, None))


# Contract and tasks


def test_it_keeps_every_contract_of_an_environment():
    broken = [finding for finding in check_environment(Few(), tasks=5) if not finding.passed]
    assert broken == []
    env: Environment[w.State] = BabyAIText()
    oracle: Oracle = BabyAIText().oracle()
    assert isinstance(env, Environment) and oracle
    assert (env.spec.id, env.spec.version, env.spec.actions) == ("babyai_text", "1", "finite")


def test_tasks_have_seeds_levels_and_kinds_of_their_split():
    env = BabyAIText()
    seeds: set[int] = set()
    for split, first, size in (("train", 0, 10_000), ("dev", 10**6, 1000), ("test", 10**9, 1000)):
        tasks = env.tasks(split)
        assert len(tasks) == size
        for index in (0, 1, 2, size - 1):
            task = tasks[index]
            level = "MixedTestLocal" if split == "test" else "MixedTrainLocal"
            kind = KINDS[index % 5]
            assert task.data == {
                "level": level,
                "seed": first + index,
                "kind": kind,
                "distractors": 8,
            }
            assert task.id == f"babyai_text/{level}/{kind}/{first + index}"
        seeds |= set(range(first, first + size))
        assert tasks[-1].id == tasks[size - 1].id
        assert [task.id for task in tasks[2:4]] == [tasks[2].id, tasks[3].id]
        with pytest.raises(IndexError):
            tasks[size]
    assert len(seeds) == 12_000  # no seed is in two splits


def test_missions_of_test_name_what_no_other_mission_names():
    held_out = set(levels.HELD_OUT)
    assert held_out == {"yellow box", "red key", "red door", "green ball", "grey door"}
    for split in SPLITS:
        env = BabyAIText()
        for task in env.tasks(split)[:40]:
            mission = task.prompt.split("\n")[0]
            named = {name for name in levels.NAMES if name in mission}
            assert named or "open the door" in mission
            assert named <= held_out if split == "test" else not named & held_out


def test_a_prompt_tells_goal_and_actions():
    task = BabyAIText(kind="put_next").tasks("train")[0]
    goal, actions = task.prompt.split("\n")
    assert goal.startswith("Goal: put ") and " next to " in goal
    assert actions == "Actions: turn left, turn right, go forward, pick up, drop, toggle"


def test_kinds_and_step_limits():
    words = {"go_to": "go to", "pick_up": "pick up", "open": "open", "put_next": "put"}
    for kind in KINDS:
        env = BabyAIText(kind=kind)  # type: ignore[arg-type]
        task = env.tasks("train")[0]
        limit = 64 if kind in ("go_to", "pick_up") else 128
        assert text.first_state(task).world.max_steps == limit == env.spec.max_steps
        assert task.data["kind"] == kind
        if kind in words:
            assert task.prompt.startswith(f"Goal: {words[kind]} ")
    assert BabyAIText().spec.max_steps == 128


def test_distractors_beside_what_the_mission_needs():
    def objects(distractors: int, kind: str) -> int:
        env = BabyAIText(kind=kind, distractors=distractors)  # type: ignore[arg-type]
        return sum(code > w.WALL for code in text.first_state(env.tasks("train")[0]).cells)

    assert [objects(0, kind) for kind in KINDS] == [1, 1, 2, 2, 2]
    assert [objects(8, kind) for kind in KINDS] == [9, 9, 10, 10, 10]
    assert BabyAIText(distractors=0).tasks("dev")[0].id.endswith("/0-distractors")


def test_any_babyai_level_goes_by_its_name():
    env = BabyAIText("GoToLocal")
    ids = [task.id for split in SPLITS for task in env.tasks(split)[:3]]
    assert len(set(ids)) == 9 and ids[0] == "babyai_text/GoToLocal/0"
    assert env.spec.max_steps >= 64 and BabyAIText("UnlockPickup").spec.max_steps >= 72
    task = env.tasks("dev")[0]
    assert task.data == {"level": "GoToLocal", "seed": 10**6}
    assert text.first_state(task).world.mission in task.prompt
    one = BabyAIText("MixedTestLocal", kind="open").tasks("train")[0]
    assert one.data["level"] == "MixedTestLocal"


def test_errors_say_what_to_do():
    with pytest.raises(ConfigError, match="'GoToLocl': no such BabyAI level.*'GoToLocal'"):
        BabyAIText("GoToLocl")
    with pytest.raises(ConfigError, match="'put_nxt': no such kind.*'put_next'"):
        BabyAIText(kind="put_nxt")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="only the Mixed levels have kinds"):
        BabyAIText("GoToLocal", kind="open")
    with pytest.raises(ConfigError, match="distractors=21: .* 0 to 20"):
        BabyAIText(distractors=21)
    with pytest.raises(ConfigError, match="unknown split 'tst'.*'test'"):
        BabyAIText().tasks("tst")


def test_without_minigrid_it_says_what_to_install():
    code = (
        "import sys; sys.modules['minigrid'] = None\n"
        "from agentsearch.errors import ConfigError\n"
        "from agentsearch_envs.babyai_text import BabyAIText\n"
        "env = BabyAIText()\n"
        "try:\n    env.tasks('train')[0]\nexcept ConfigError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("babyai_text needs minigrid"), done.stderr
    assert "pip install 'agentsearch[envs]'" in done.stdout


# States and steps


def test_states_are_values():
    env = BabyAIText()
    task = env.tasks("train")[1]
    actions = ("go forward", "turn left", "pick up", "go forward", "drop")
    first = asyncio.run(env.reset(task, seed=1))
    text.levels().start.cache_clear()  # made anew
    again = asyncio.run(env.reset(task, seed=2))
    assert first == again and hash(first) == hash(again) and first is not again
    one, other = after(env, first, *actions).state, after(env, again, *actions).state
    assert one == other and hash(one) == hash(other)
    assert first == again and first.steps == 0
    turned = after(env, first, "turn left", "turn right").state
    assert turned != first and env.key(turned) == env.key(first)
    assert env.key(after(env, first, "turn left").state) != env.key(first)


def test_actions_are_read_leniently_and_other_text_is_invalid():
    env = BabyAIText()
    state = text.first_state(env.tasks("train")[0])
    assert env.legal_actions(state) == w.ACTIONS
    assert after(env, state, " Turn LEFT\n").state == after(env, state, "turn left").state
    for other in ("", "left", "turn left.", "go forward; drop", "0"):
        step = after(env, state, other)
        assert (step.valid, step.state, step.reward) == (False, state, 0.0)
        assert not step.terminated and not step.truncated
    useless = after(env, state, "drop")
    assert useless.valid and useless.state.steps == 1


def test_an_episode_ends_once():
    env = BabyAIText()
    task = env.tasks("train")[0]
    state = text.first_state(task)
    path = levels.bot_path(state)
    assert path
    done = after(env, state, *(w.ACTIONS[a] for a in path))
    assert (done.terminated, done.truncated, done.valid) == (True, False, True)
    assert done.reward == pytest.approx(1 - 0.9 * len(path) / 64)
    more = after(env, done.state, "go forward")
    assert (more.valid, more.terminated, more.truncated, more.reward) == (False, True, False, 0)
    assert more.state == done.state
    late = after(env, state, *["drop"] * 63)
    assert not late.truncated
    cut = after(env, late.state, "drop")
    assert (cut.terminated, cut.truncated, cut.reward, cut.state.steps) == (False, True, 0, 64)
    assert after(env, cut.state, "drop") == Step(cut.state, truncated=True, valid=False)


def test_observations_are_the_sentences_and_pictures_the_grid():
    env = BabyAIText()
    state = text.first_state(env.tasks("test")[0])
    lines = env.observe(state).split("\n")
    assert tuple(lines) == w.describe(state)
    assert all(line.startswith("You see a ") for line in lines)
    rows = env.picture(state).split("\n")
    assert [len(row) for row in rows[:8]] == [16] * 8 and rows[8] == "carrying: nothing"


def test_the_verifier_replays_the_actions_and_nothing_else():
    env = BabyAIText()
    task = env.tasks("train")[0]
    path = levels.bot_path(text.first_state(task))
    assert path
    actions = [w.ACTIONS[a] for a in path]
    assert judge(env, task, *actions) == Verdict(True, 1.0, f"done in {len(path)} of 64 steps")
    assert judge(env, task, "hello", *actions, "drop").correct  # no action, and after the end
    assert judge(env, task).reason == "not done after 0 steps"
    assert judge(env, task, *["drop"] * 64) == Verdict(False, 0.0, "not done in 64 steps")


# The oracle


@pytest.mark.parametrize("kind", KINDS)
def test_the_bot_solves_every_kind(kind: str):
    for name in levels.MIXED:
        for seed in range(5000, 5010 if name == "MixedTrainLocal" else 5003):
            assert levels.bot_path(levels.start(levels.Recipe(name, seed, kind))) is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_bot_solves_every_kind_in_40_worlds_of_both_levels(kind: str):
    for name in levels.MIXED:
        for seed in range(5000, 5040):
            assert levels.bot_path(levels.start(levels.Recipe(name, seed, kind))) is not None


def amid(recipe: levels.Recipe, rng: random.Random) -> w.State:
    """A state that up to 25 random actions lead to."""
    state = levels.start(recipe)
    for _ in range(rng.randint(1, 25)):
        later = w.step(state, rng.choices(range(6), (1, 1, 3, 1, 1, 1))[0])
        if later.ended:
            break
        state = later
    return state


def test_the_bot_goes_on_from_the_midst_unless_what_is_wanted_is_gone():
    states = [
        amid(levels.Recipe("MixedTrainLocal", seed, kind), random.Random(seed))
        for kind in KINDS
        for seed in range(3000, 3012)
    ]
    lost = [state for state in states if levels.bot_path(state) is None]
    assert len(lost) <= 0.05 * len(states)
    for state in lost:  # an opened box took a wanted thing away
        assert set(state.world.origin and levels.start(levels.recipe_of(state)).cells) - {
            *state.cells,
            state.carrying,
        }


def test_the_bot_puts_down_what_hinders_it():
    """With another thing in hand than the key of the locked door that is to be opened."""
    state = levels.start(levels.Recipe("MixedTrainLocal", 3005, "open"))
    others = [
        code
        for code in set(state.cells)
        if code in state.world.portable and state.world.things[code].kind == "ball"
    ]
    place = state.cells.index(others[0])
    held = state._replace(
        carrying=others[0],
        cells=w.replaced(state.cells, place, w.EMPTY),
        known=w.replaced(state.cells, place, w.EMPTY),
    )
    path = levels.bot_path(held)
    assert path is not None and w.DROP in path


@pytest.mark.parametrize("name", ["GoToObjMazeS4", "UnlockPickup", "GoToSeqS5R2", "FindObjS5"])
def test_the_bot_opens_rooms_that_it_cannot_see(name: str):
    assert levels.bot_path(levels.start(levels.Recipe(name, 0))) is not None


def test_the_oracle_tells_an_action_and_the_return_of_its_path():
    env = BabyAIText()
    state = text.first_state(env.tasks("train")[0])
    oracle, path = env.oracle(), levels.bot_path(state)
    assert path
    assert oracle.action(state) == w.ACTIONS[path[0]]
    assert oracle.value(state) == pytest.approx(1 - 0.9 * len(path) / 64)
    ended = after(env, state, *["drop"] * 64).state
    assert oracle.action(ended) is None and oracle.value(ended) == 0.0


# Anchors of the original


def episodic_bot_steps(name: str, seed: int, kind: str) -> int:
    """Steps of minigrid's own bot, which explores and remembers; it must succeed."""
    simulator = levels.Recipe(name, seed, kind).simulator()
    bot = BabyAIBot(simulator)
    terminated, action = False, None
    while not terminated:
        action = bot.replan(action)
        _, reward, terminated, truncated, _ = simulator.step(action)
        assert not truncated
    assert reward > 0
    return simulator.step_count


@pytest.mark.parametrize("kind", ["go_to", "put_next"])
def test_the_originals_bot_takes_as_many_steps_here(kind: str):
    taken = [episodic_bot_steps("MixedTrainLocal", seed, kind) for seed in range(5000, 5040)]
    assert sum(taken) / 40 == pytest.approx(BOT_STEPS[kind][0], rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_originals_bot_takes_as_many_steps_in_every_kind(kind: str):
    for name, expected in zip(levels.MIXED, BOT_STEPS[kind], strict=True):
        taken = [episodic_bot_steps(name, seed, kind) for seed in range(5000, 5040)]
        assert sum(taken) / 40 == pytest.approx(expected, rel=0.15), name


def random_succeeds(name: str, seed: int, kind: str) -> bool:
    rng = random.Random(f"random/{name}/{kind}/{seed}")
    state = levels.start(levels.Recipe(name, seed, kind))
    while not state.ended:
        state = w.step(state, rng.choices(range(6), (1, 1, 3, 1, 1, 1))[0])
    return state.ended == w.SUCCESS


def test_random_play_succeeds_as_often_as_in_the_original():
    """Both counts within four standard errors of their difference, and rare where rare."""
    for kind, (original, _) in RANDOM_SUCCESSES.items():
        ours = sum(random_succeeds("MixedTrainLocal", seed, kind) for seed in range(100))
        pooled = (ours + original) / 120
        error = (pooled * (1 - pooled) * (1 / 100 + 1 / 20)) ** 0.5
        assert abs(ours / 100 - original / 20) <= 4 * error, kind


# The rule


def context(mission: str, *seen: str, past: Sequence[str] = ()) -> Context:
    turns = tuple(Turn("", action) for action in past)
    return Context(text.prompt(mission), "\n".join(seen), turns, w.ACTIONS)


def acts(mission: str, *seen: str, past: Sequence[str] = ()) -> str:
    return rule.next_action(context(mission, *seen, past=past), random.Random(0))


def test_the_rule_reads_sentences():
    assert rule.read("You see a locked red door 2 steps left and 1 step forward") == rule.Seen(
        "locked red door", -2, 1
    )
    assert rule.read("You see a wall 3 steps right") == rule.Seen("wall", 3, 0)
    assert rule.read("You see a grey key 1 step forward") == rule.Seen("grey key", 0, 1)
    assert rule.read("You carry a grey key") is None
    assert rule.in_order("go to the red ball after you pick up a key") == [
        "pick up a key",
        "go to the red ball",
    ]


def test_the_rule_walks_to_what_it_sees_and_acts_there():
    assert acts("pick up a red ball", "You see a red ball 2 steps forward") == "go forward"
    assert acts("pick up a red ball", "You see a red ball 1 step forward") == "pick up"
    assert acts("go to the red ball", "You see a red ball 2 steps left") == "turn left"
    assert acts("open the door", "You see a closed red door 1 step forward") == "toggle"
    locked = "You see a locked red door 1 step forward"
    assert acts("open the red door", locked, "You carry a red key") == "toggle"
    assert acts("open the red door", locked, "You see a red key 2 steps right") == "turn right"
    put = "put the red ball next to the grey key"
    hand = "You carry a red ball"
    assert acts(put, hand, "You see a grey key 2 steps forward") == "drop"


def test_the_rule_does_not_turn_to_and_fro():
    ball = "You see a red ball 2 steps left"
    wall = "You see a wall 1 step forward"
    assert acts("go to the red ball", ball, past=["turn right"]) == "go forward"
    assert acts("go to the red ball", ball, wall, past=["turn right"]) == "turn right"
    assert acts("go to the red ball", ball, wall, past=["turn left"]) == "turn left"


def test_the_rule_depends_on_its_context_alone():
    env = BabyAIText()
    for seed in range(20):
        known = context("open the blue door", "You see a wall 1 step forward")
        first, again = (env.rule(known, random.Random(seed)) for _ in range(2))
        assert first == again and first in w.ACTIONS


def test_the_rule_does_better_than_chance():
    def succeeds(task: Task) -> bool:
        state, turns, rng = text.first_state(task), (), random.Random(task.id)
        while not state.ended:
            seen = "\n".join(w.describe(state))
            action = rule.next_action(Context(task.prompt, seen, turns, w.ACTIONS), rng)
            turns = (*turns, Turn(seen, action))
            state = w.step(state, w.ACTIONS.index(action))
        return state.ended == w.SUCCESS

    for kind in KINDS:
        tasks = BabyAIText(kind=kind).tasks("dev")[:12]  # type: ignore[arg-type]
        assert sum(map(succeeds, tasks)) >= 6, kind
