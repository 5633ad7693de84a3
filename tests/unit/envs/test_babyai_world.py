"""Our rules against minigrid's own mutable simulator, and the quirks they keep."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("minigrid", reason="needs minigrid: pip install 'agentsearch[envs]'")

from agentsearch_envs import babyai_levels as levels
from agentsearch_envs import babyai_world as w

WEIGHTS = (2, 2, 4, 2, 1, 2)
SEQUENCES = ("GoToSeqS5R2", "MiniBossLevel", "MoveTwoAcrossS5N2", "OpenDoorsOrderN2Debug")
STRICT = ("OpenDoorDebug", "OpenRedBlueDoorsDebug", "PickupDistDebug")
HIDDEN = ("KeyInBox", "PutNextS5N2Carrying")
"""Levels with something in a box or in hand from the start."""

Player = Callable[[w.State, random.Random], int]


def at_random(state: w.State, rng: random.Random) -> int:
    return rng.choices(range(6), WEIGHTS)[0]


def half_the_bot(state: w.State, rng: random.Random) -> int:
    best = levels.bot_action(state) if rng.random() < 0.6 else None
    return at_random(state, rng) if best is None else best


def side_by_side(recipe: levels.Recipe, player: Player, steps: int) -> w.State:
    """Play in ours and in minigrid's simulator at once, comparing all that there is."""
    rng = random.Random(repr(recipe))
    simulator = recipe.simulator()
    state = levels.read(recipe, simulator)
    codes = levels.Codes(simulator)
    for _ in range(steps):
        action = player(state, rng)
        state = w.step(state, action)
        _, reward, terminated, truncated, _ = simulator.step(action)
        where = f"{recipe}, step {state.steps}, {w.ACTIONS[action]}"
        assert bytes(map(codes.of, simulator.grid.grid)) == state.cells, where
        assert codes.of(simulator.carrying) == state.carrying, where
        x, y = simulator.agent_pos
        assert (x + y * state.world.width, simulator.agent_dir) == state[2:4], where
        assert w.reward(state) == pytest.approx(reward, abs=1e-12), where
        assert (state.ended in (w.SUCCESS, w.FAILURE)) == terminated, where
        assert (state.ended == w.TRUNCATED) == (truncated and not terminated), where
        if state.steps % 3 == 0 or state.ended:
            assert w.view(state) == bytes(seen_by(simulator, codes)), where
        if state.ended:
            break
    return state


def seen_by(simulator: levels.RoomGridLevel, codes: levels.Codes) -> Iterator[int]:
    """What minigrid shows in the 7x7 cells ahead, with the agent's own cell as in our view."""
    grid, visible = simulator.gen_obs_grid()
    here = simulator.grid.get(*simulator.agent_pos)
    for y in range(w.VIEW):
        for x in range(w.VIEW):
            cell = here if (x, y) == w.AGENT else grid.get(x, y)
            yield codes.of(cell) if visible[x, y] else w.EMPTY


def test_every_level_plays_as_minigrid_does():
    names = sorted(levels.level_ids())
    assert len(names) > 80
    for name in names:
        side_by_side(levels.Recipe(name, seed=0), at_random, steps=15)


@pytest.mark.slow
def test_every_level_plays_as_minigrid_does_at_length():
    for name in sorted(levels.level_ids()):
        for seed in range(1, 6):
            side_by_side(levels.Recipe(name, seed), at_random, steps=200)
    for name in levels.MIXED:
        for kind in levels.KINDS:
            for seed in range(3, 20):
                side_by_side(levels.Recipe(name, seed, kind), at_random, steps=128)
                side_by_side(levels.Recipe(name, seed, kind), half_the_bot, steps=128)


@pytest.mark.parametrize("name", levels.MIXED)
def test_mixed_levels_play_as_minigrid_does(name: str):
    for kind in levels.KINDS:
        for seed in range(3):
            side_by_side(levels.Recipe(name, seed, kind), at_random, steps=40)


def test_verifiers_remember_what_minigrids_do():
    """With the bot's help sequences are done, and at random strict missions fail."""
    for name in (*SEQUENCES, *HIDDEN):
        ended = [side_by_side(levels.Recipe(name, s), half_the_bot, 50).ended for s in range(2)]
        assert w.SUCCESS in ended or name not in SEQUENCES[:3], name
    for name in STRICT:
        ended = [side_by_side(levels.Recipe(name, s), at_random, 50).ended for s in range(3)]
        assert w.FAILURE in ended or name != "OpenDoorDebug", name


def test_the_kinds_end_as_minigrid_says_with_the_bots_help():
    for kind in levels.KINDS:
        played = (levels.Recipe("MixedTrainLocal", seed, kind) for seed in range(2))
        assert w.SUCCESS in [side_by_side(each, half_the_bot, 64).ended for each in played]


# Single quirks, in a room drawn by hand


RED_BALL, BLUE_KEY, BOX, GREEN_KEY = range(w.FIRST, w.FIRST + 4)
THINGS = (
    w.Thing("empty", ""),
    w.Thing("wall", "grey"),
    w.Thing("ball", "red"),
    w.Thing("key", "blue"),
    w.Thing("box", "grey", toggled=5),
    w.Thing("key", "green"),
    w.Thing("door", "blue", "open", toggled=7),
    w.Thing("door", "blue", "closed", toggled=6),
    w.Thing("door", "blue", "locked", toggled=8, unlocks=6),
)
OPEN_DOOR, CLOSED_DOOR, LOCKED_DOOR = 6, 7, 8


def room(
    instruction: w.Instruction, *objects: tuple[int, int, int], hand: int = 0, memory: int = 0
) -> w.State:
    """A room of 5x5 free cells; the agent is at (1, 1) and looks right."""
    cells = bytearray(b"\x01" * 7 + (b"\x01" + b"\x00" * 5 + b"\x01") * 5 + b"\x01" * 7)
    for x, y, code in objects:
        cells[x + 7 * y] = code
    world = w.World("room", "", instruction, THINGS, 7, 7, max_steps=20)
    return w.State(world, bytes(cells), 8, 0, hand, bytes(cells), (w.EMPTY,) * memory)


def play(state: w.State, *actions: int) -> w.State:
    for action in actions:
        state = w.step(state, action)
    return state


NOTHING = w.GoTo(frozenset())


def test_an_object_counts_where_it_was_until_something_is_dropped():
    state = room(w.GoTo(frozenset({RED_BALL})), (2, 1, BLUE_KEY), (1, 2, RED_BALL))
    opened = play(room(w.GoTo(frozenset({BOX})), (1, 2, BOX)), w.FORWARD, w.RIGHT, w.RIGHT)
    assert opened.ended == w.RUNNING
    assert play(state, w.PICK_UP, w.RIGHT).ended == w.SUCCESS
    gone = state._replace(carrying=RED_BALL, cells=w.replaced(state.cells, 15, w.EMPTY))
    assert play(gone, w.RIGHT).ended == w.SUCCESS  # its old place still counts
    assert play(gone, w.TOGGLE, w.DROP, w.RIGHT).ended == w.RUNNING  # any drop looks again


def test_a_box_toggled_shows_what_is_in_it_and_cannot_be_shut_again():
    state = play(room(NOTHING, (2, 1, BOX)), w.TOGGLE)
    assert w.describe(state)[-1] == "You see a green key 1 step forward"
    assert play(state, w.TOGGLE).cells == state.cells
    assert play(state, w.PICK_UP).carrying == GREEN_KEY


def test_a_locked_door_takes_a_key_of_its_colour():
    locked = room(NOTHING, (2, 1, LOCKED_DOOR))
    assert w.describe(locked)[-1] == "You see a locked blue door 1 step forward"
    for hand, after in ((w.EMPTY, LOCKED_DOOR), (GREEN_KEY, LOCKED_DOOR), (BLUE_KEY, OPEN_DOOR)):
        assert play(locked._replace(carrying=hand), w.TOGGLE).cells[9] == after
    opened = play(locked._replace(carrying=BLUE_KEY), w.TOGGLE)
    assert w.describe(opened)[-1] == "You see a open blue door 1 step forward"  # its article
    assert play(opened, w.FORWARD).place == 9
    assert play(opened, w.TOGGLE).cells[9] == CLOSED_DOOR
    assert play(opened, w.DROP).carrying == BLUE_KEY  # nothing can be dropped into a doorway


def test_putting_next_needs_the_hand_to_have_held_it_the_step_before():
    rule = w.PutNext(frozenset({RED_BALL}), frozenset({BLUE_KEY}), slot=0)
    held = room(rule, (3, 1, BLUE_KEY), hand=RED_BALL, memory=1)
    assert play(held, w.DROP).ended == w.RUNNING  # carried from the start
    assert play(held, w.TOGGLE, w.DROP).ended == w.SUCCESS
    assert play(held, w.RIGHT, w.DROP).ended == w.RUNNING  # not next to it


def test_strict_rules_fail_on_the_wrong_thing():
    ball, key = frozenset({RED_BALL}), frozenset({BLUE_KEY})
    world = ((2, 1, BLUE_KEY), (1, 2, RED_BALL))
    for strict in (False, True):
        wrong = play(room(w.PickUp(ball, 0, strict), *world, memory=1), w.PICK_UP)
        assert wrong.ended == (w.FAILURE if strict else w.RUNNING)
        moved = play(room(w.PutNext(ball, key, 0, strict), *world, memory=1), w.RIGHT, w.PICK_UP)
        assert moved.ended == (w.FAILURE if strict else w.RUNNING)
        order = w.InOrder(w.PickUp(ball, 1), w.PickUp(key, 2), 0, strict)
        early = play(room(order, *world, memory=3), w.PICK_UP)
        assert early.ended == (w.FAILURE if strict else w.RUNNING)
        doors = frozenset({OPEN_DOOR, CLOSED_DOOR, LOCKED_DOOR})
        door = w.Open(frozenset(), frozenset({OPEN_DOOR}), doors, strict)
        other = play(room(door, (2, 1, CLOSED_DOOR)), w.TOGGLE)
        assert other.ended == (w.FAILURE if strict else w.RUNNING)


def test_a_sequence_wants_its_order_and_both_do_not():
    ball, key = w.GoTo(frozenset({RED_BALL})), w.GoTo(frozenset({BLUE_KEY}))
    world = ((3, 1, BLUE_KEY), (1, 2, RED_BALL))
    there_and_back = (w.FORWARD, w.RIGHT, w.RIGHT, w.FORWARD, w.LEFT)
    both = play(room(w.Both(ball, key, 0), *world, memory=2), *there_and_back)
    assert (both.ended, both.memory) == (w.SUCCESS, (1, 1))
    order = play(room(w.InOrder(ball, key, 0), *world, memory=1), *there_and_back)
    assert (order.ended, order.memory) == (w.RUNNING, (1,))
    assert play(order, w.LEFT, w.FORWARD).ended == w.SUCCESS


def test_reward_falls_with_the_steps_and_the_last_step_may_still_succeed():
    state = room(w.GoTo(frozenset({RED_BALL})), (3, 1, RED_BALL))
    assert w.reward(state) == 0
    assert w.reward(play(state, w.FORWARD)) == pytest.approx(1 - 0.9 / 20)
    late = play(state, *[w.DROP] * 19)
    assert (late.steps, late.ended) == (19, w.RUNNING)
    assert (w.step(late, w.DROP).ended, w.reward(w.step(late, w.DROP))) == (w.TRUNCATED, 0)
    assert w.step(late, w.FORWARD).ended == w.SUCCESS
    assert w.reward(w.step(late, w.FORWARD)) == pytest.approx(0.1)


def test_text_names_the_hand_then_walls_then_objects_by_column():
    state = room(NOTHING, (3, 2, RED_BALL), (2, 1, BLUE_KEY), (5, 1, BOX), hand=GREEN_KEY)
    assert w.describe(state) == (
        "You carry a green key",
        "You see a wall 1 step left",
        "You see a grey box 4 steps forward",
        "You see a blue key 1 step forward",
        "You see a red ball 1 step right and 2 steps forward",
    )


def test_picture_has_two_characters_a_cell():
    state = room(NOTHING, (2, 1, BLUE_KEY), (3, 2, LOCKED_DOOR), (4, 4, BOX), hand=RED_BALL)
    assert w.picture(state).split("\n") == [
        "# # # # # # # ",
        "# > kb      # ",
        "#     Lb    # ",
        "#           # ",
        "#       be  # ",
        "#           # ",
        "# # # # # # # ",
        "carrying: ar",
    ]
    empty = w.picture(state._replace(carrying=w.EMPTY, facing=3)).split("\n")
    assert (empty[1][2:4], empty[-1]) == ("^ ", "carrying: nothing")


def test_within_reach_stops_at_walls_and_shut_doors():
    wall = [(3, y, w.WALL) for y in (1, 2, 4, 5)]
    shut = room(NOTHING, *wall, (3, 3, CLOSED_DOOR), (2, 2, RED_BALL))
    reach = w.within_reach(shut)
    assert reach == {x + 7 * y for x in range(4) for y in range(7)}
    opened = shut._replace(cells=w.replaced(shut.cells, 24, OPEN_DOOR))
    assert w.within_reach(opened) == set(range(49))
