"""BabyAI levels made by `minigrid`, read into values; and its bot, started at any of them.

The two Mixed levels of BabyAI-Text (Carta et al., 2023) are not in `minigrid`; they are
written here on its room grids, with the random draws of the original in their order, so
that equal seeds give equal worlds.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # minigrid imports pygame

from minigrid.core.roomgrid import RoomGrid
from minigrid.core.world_object import Ball, Box, Door, Key, Wall, WorldObj
from minigrid.envs.babyai.core import verifier as rules
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.utils.baby_ai_bot import (
    BabyAIBot,
    DisappearedBoxError,
    DropSubgoal,
    GoNextToSubgoal,
    PickupSubgoal,
)

from agentsearch_envs import babyai_world as w

KINDS = ("go_to", "pick_up", "open", "put_next", "pick_up_then_go_to")
"""The five kinds of task of the Mixed levels."""
MIXED = ("MixedTrainLocal", "MixedTestLocal")
ROOM_SIZE = 8

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
HELD_OUT = ("yellow box", "red key", "red door", "green ball", "grey door")
"""What no mission of MixedTrainLocal names, and what those of MixedTestLocal name."""
NAMES = tuple(f"{colour} {kind}" for colour in COLOURS for kind in ("box", "key", "door", "ball"))
EXCLUDED = {
    "MixedTrainLocal": HELD_OUT,
    "MixedTestLocal": tuple(name for name in NAMES if name not in HELD_OUT),
}
DOOR_COLOURS = {
    "MixedTrainLocal": ("yellow", "green", "blue", "purple"),
    "MixedTestLocal": ("red", "grey"),
}


class MixedLevel(RoomGridLevel):
    """One 8x8 room, or two with a locked door between them for `open`.

    Args:
        name: MixedTrainLocal or MixedTestLocal.
        kind: one of `KINDS`.
        distractors: objects beside those that the mission needs.
    """

    def __init__(self, name: str, kind: str, distractors: int = 8) -> None:
        self.excluded, self.door_colours = EXCLUDED[name], DOOR_COLOURS[name]
        self.names_door = name == "MixedTestLocal"
        self.kind, self.distractors = kind, distractors
        columns = 2 if kind == "open" else 1
        super().__init__(room_size=ROOM_SIZE, num_rows=1, num_cols=columns)

    def gen_mission(self) -> None:
        """Draw worlds until all objects can be reached and the mission is of this level."""
        make = {
            "go_to": self._go_to,
            "pick_up": self._pick_up,
            "open": self._open,
            "put_next": self._put_next,
            "pick_up_then_go_to": self._pick_up_then_go_to,
        }[self.kind]
        while True:
            RoomGrid._gen_grid(self, self.width, self.height)
            self.instrs, reachable = make()
            surface = self.instrs.surface(self)
            if reachable and not any(name in surface for name in self.excluded):
                return

    def _room(self, extra: int) -> tuple[list[Any], bool]:
        """The agent, then the objects of the one room; whether all can be reached."""
        self.place_agent()
        objects = self.add_distractors(num_distractors=self.distractors + extra, all_unique=False)
        return objects, self.check_objs_reachable(raise_exc=False)

    def _go_to(self) -> tuple[Any, bool]:
        objects, reachable = self._room(1)
        return rules.GoToInstr(self._described(self._rand_elem(objects))), reachable

    def _pick_up(self) -> tuple[Any, bool]:
        objects, reachable = self._room(1)
        return rules.PickupInstr(self._described(self._rand_elem(objects))), reachable

    def _put_next(self) -> tuple[Any, bool]:
        objects, reachable = self._room(2)
        moved, fixed = self._two(objects)
        return rules.PutNextInstr(moved, fixed), reachable

    def _pick_up_then_go_to(self) -> tuple[Any, bool]:
        objects, reachable = self._room(2)
        picked, visited = self._two(objects)
        first, second = rules.PickupInstr(picked), rules.GoToInstr(visited)
        if self._rand_elem(["before", "after"]) == "before":
            return rules.BeforeInstr(first, second), reachable
        return rules.AfterInstr(second, first), reachable

    def _open(self) -> tuple[Any, bool]:
        colour = self._rand_elem(self.door_colours)
        locked = self._lock_a_room(colour)
        self.connect_all()
        [free] = [i for i in range(self.num_cols) if self.get_room(i, 0) is not locked]
        self.add_distractors(free, 0, num_distractors=self.distractors, all_unique=False)
        self.place_agent()
        while self.room_from_pos(*self.agent_pos) is locked:
            self.place_agent()
        reachable = self.check_objs_reachable(raise_exc=False)
        if not self.names_door:
            colour = self._rand_elem([None, colour])
        return rules.OpenInstr(rules.ObjDesc("door", colour)), reachable

    def _lock_a_room(self, colour: str) -> Any:
        """Lock one of the rooms and put the key into another."""
        while True:
            i, j = self._rand_int(0, self.num_cols), self._rand_int(0, self.num_rows)
            side = self._rand_int(0, 4)
            locked = self.get_room(i, j)
            if locked.neighbors[side] is not None:
                break
        self.add_door(i, j, side, color=colour, locked=True)
        while True:
            i, j = self._rand_int(0, self.num_cols), self._rand_int(0, self.num_rows)
            if self.get_room(i, j) is not locked:
                self.add_object(i, j, "key", colour)
                return locked

    def _two(self, objects: list[Any]) -> tuple[Any, Any]:
        """Two objects; they look alike only where there are two of them."""
        first, second = self._rand_elem(objects), self._rand_elem(objects)
        described = self._described(first)
        if _look(first) == _look(second) and len(described.find_matching_objs(self)[0]) < 2:
            while _look(first) == _look(second):
                second = self._rand_elem(objects)
        return described, self._described(second)

    def _described(self, thing: Any) -> Any:
        return rules.ObjDesc(thing.type, thing.color)


def _look(thing: Any) -> tuple[str, str]:
    return thing.type, thing.color


# Making worlds


@lru_cache
def level_ids() -> dict[str, str]:
    """Gymnasium ids of minigrid's BabyAI levels, by short name such as `GoToLocal`."""
    import gymnasium
    import minigrid

    if not any(each.startswith("BabyAI-") for each in gymnasium.registry):
        minigrid.register_minigrid_envs()
    ids = (each for each in gymnasium.registry if each.startswith("BabyAI-"))
    return {each.removeprefix("BabyAI-").rpartition("-v")[0]: each for each in ids}


def make_level(name: str, kind: str | None, distractors: int) -> RoomGridLevel:
    """A simulator that makes a world of this level at every reset."""
    if name in MIXED:
        assert kind is not None
        return MixedLevel(name, kind, distractors)
    import gymnasium

    made = gymnasium.make(level_ids()[name], disable_env_checker=True).unwrapped
    assert isinstance(made, RoomGridLevel)
    return made


@dataclass(frozen=True)
class Recipe:
    """How a world is made: level, seed and, for the Mixed levels, kind and distractors."""

    name: str
    seed: int
    kind: str | None = None
    distractors: int = 8

    def simulator(self, level: RoomGridLevel | None = None) -> RoomGridLevel:
        """The simulator of minigrid for this world, just reset; a new one if none is given."""
        level = level or make_level(self.name, self.kind, self.distractors)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints every rejected draw
            level.reset(seed=self.seed)
        return level


shared_level = lru_cache(maxsize=64)(make_level)
"""Simulators that are reset for one world after the other."""


@lru_cache(maxsize=1 << 14)
def start(recipe: Recipe) -> w.State:
    """The first state of a world."""
    level = shared_level(recipe.name, recipe.kind, recipe.distractors)
    return read(recipe, recipe.simulator(level))


class Codes:
    """Numbers the objects of a simulator that was just reset, in the order of its cells."""

    def __init__(self, simulator: RoomGridLevel) -> None:
        self.things: list[w.Thing] = [w.Thing("empty", ""), w.Thing("wall", "grey")]
        self.objects: dict[int, WorldObj] = {}
        self._codes: dict[int, int] = {}
        for each in (*simulator.grid.grid, simulator.carrying):
            self._add(each)

    def _add(self, each: WorldObj | None) -> None:
        if each is None or isinstance(each, Wall) or id(each) in self._codes:
            return
        code = len(self.things)
        self._codes[id(each)] = code
        self.objects[code] = each
        if isinstance(each, Door):
            opened, closed, locked = code, code + 1, code + 2
            self.objects[closed] = self.objects[locked] = each
            self.things += [
                w.Thing("door", each.color, "open", closed),
                w.Thing("door", each.color, "closed", opened),
                w.Thing("door", each.color, "locked", locked, opened),
            ]
        elif isinstance(each, Box):
            inside = w.EMPTY if each.contains is None else code + 1
            self.things.append(w.Thing("box", each.color, None, inside))
            self._add(each.contains)
        elif isinstance(each, (Key, Ball)):
            self.things.append(w.Thing(each.type, each.color))
        else:
            raise ValueError(f"{each.type}: no object of a BabyAI level")

    def of(self, each: WorldObj | None) -> int:
        """The code of an object as it is now."""
        if each is None:
            return w.EMPTY
        if isinstance(each, Wall):
            return w.WALL
        code = self._codes[id(each)]
        if isinstance(each, Door):
            return code + (0 if each.is_open else 2 if each.is_locked else 1)
        return code

    def all_of(self, objects: Iterable[WorldObj]) -> w.Codes:
        """Every code of these objects, doors in all their statuses."""
        found: set[int] = set()
        for each in objects:
            code = self._codes[id(each)]
            found.update(range(code, code + (3 if isinstance(each, Door) else 1)))
        return frozenset(found)


def read(recipe: Recipe, simulator: RoomGridLevel) -> w.State:
    """The world and first state of a simulator that was just reset."""
    codes = Codes(simulator)
    cells = bytes(map(codes.of, simulator.grid.grid))
    memory: list[int] = []
    instruction = _instruction(_instr(simulator), codes, memory)
    world = w.World(
        origin=recipe,
        mission=simulator.mission,
        instruction=instruction,
        things=tuple(codes.things),
        width=simulator.width,
        height=simulator.height,
        max_steps=int(simulator.max_steps),
    )
    x, y = simulator.agent_pos
    return w.State(
        world,
        cells,
        place=int(x) + int(y) * world.width,
        facing=int(simulator.agent_dir),
        carrying=codes.of(simulator.carrying),
        known=cells,
        memory=tuple(memory),
    )


def _instr(simulator: Any) -> Any:
    """The instruction of a simulator, in minigrid's own classes."""
    return simulator.instrs


def _instruction(instr: Any, codes: Codes, memory: list[int]) -> w.Instruction:
    """An instruction of minigrid as ours; each takes its slots of the memory."""
    slot = len(memory)
    match instr:
        case rules.GoToInstr():
            return w.GoTo(codes.all_of(instr.desc.obj_set))
        case rules.OpenInstr():
            targets = codes.all_of(instr.desc.obj_set)
            opened = w.codes_of(codes.things, "door", "open")
            return w.Open(targets, opened, w.codes_of(codes.things, "door"), instr.strict)
        case rules.PickupInstr():
            memory.append(w.EMPTY)
            return w.PickUp(codes.all_of(instr.desc.obj_set), slot, instr.strict)
        case rules.PutNextInstr():
            memory.append(w.EMPTY)
            moved, fixed = instr.desc_move.obj_set, instr.desc_fixed.obj_set
            return w.PutNext(codes.all_of(moved), codes.all_of(fixed), slot, instr.strict)
        case rules.BeforeInstr() | rules.AfterInstr():
            memory.append(0)
            pair = (instr.instr_a, instr.instr_b)
            parts = pair if isinstance(instr, rules.BeforeInstr) else pair[::-1]
            first, second = (_instruction(part, codes, memory) for part in parts)
            return w.InOrder(first, second, slot, instr.strict)
        case rules.AndInstr():
            memory += [0, 0]
            pair = (instr.instr_a, instr.instr_b)
            first, second = (_instruction(part, codes, memory) for part in pair)
            return w.Both(first, second, slot)
        case _:
            raise ValueError(f"{type(instr).__name__}: no instruction of a BabyAI level")


# The bot


@lru_cache(maxsize=64)
def _simulator(recipe: Recipe) -> tuple[RoomGridLevel, Codes]:
    """A simulator of one world for the bot, kept because worlds are slow to make."""
    simulator = recipe.simulator()
    return simulator, Codes(simulator)


def simulator_at(state: w.State) -> RoomGridLevel:
    """The simulator of minigrid put into a state of ours; valid until the next call."""
    simulator, codes = _simulator(recipe_of(state))
    things, width = state.world.things, state.world.width

    def put(code: int, place: tuple[int, int]) -> WorldObj:
        each = codes.objects[code]
        each.cur_pos = place
        if isinstance(each, Door):
            each.is_open = things[code].status == "open"
            each.is_locked = things[code].status == "locked"
        return each

    present: dict[int, tuple[int, int]] = {}
    for place, code in enumerate(state.cells):
        if code != w.WALL:
            y, x = divmod(place, width)
            each = None if code == w.EMPTY else put(code, (x, y))
            simulator.grid.set(x, y, each)
            present[id(each)] = (x, y)
    simulator.carrying = put(state.carrying, (-1, -1)) if state.carrying else None
    simulator.agent_pos = (state.place % width, state.place // width)
    simulator.agent_dir = state.facing
    simulator.step_count = state.steps
    for described in _descriptions(_instr(simulator)):
        absent = [each for each in described.obj_set if id(each) not in present]
        described.obj_set = [each for each in described.obj_set if id(each) in present] + absent
        places = (present.get(id(each)) for each in described.obj_set)
        described.obj_poss = [place for place in places if place is not None]
    return simulator


def recipe_of(state: w.State) -> Recipe:
    """How the world of a state was made."""
    assert isinstance(state.world.origin, Recipe)
    return state.world.origin


def _descriptions(instr: Any) -> Iterator[Any]:
    """The descriptions of objects in an instruction."""
    if isinstance(instr, rules.SeqInstr):
        yield from _descriptions(instr.instr_a)
        yield from _descriptions(instr.instr_b)
        return
    for name in ("desc", "desc_move", "desc_fixed"):
        if hasattr(instr, name):
            yield getattr(instr, name)


class LostBotError(Exception):
    """The bot keeps planning and never acts."""


class Plan(list[Any]):
    """The bot's stack of subgoals; raises `LostBotError` where one decision adds too many."""

    added = 0

    def append(self, subgoal: Any) -> None:
        """Add a subgoal."""
        self.added += 1
        if self.added > MOST_SUBGOALS:
            raise LostBotError
        super().append(subgoal)


MOST_SUBGOALS = 200


class EpisodeBot(BabyAIBot):
    """minigrid's bot, which gives up instead of planning for ever.

    It remembers what it has seen, so it is asked at every step of one episode.
    """

    def __init__(self, simulator: RoomGridLevel) -> None:
        super().__init__(simulator)
        self.stack = Plan(self.stack)

    def replan(self, action_taken: Any = None) -> Any:
        """The next action.

        Raises:
            LostBotError, AssertionError, DisappearedBoxError, IndexError: it cannot go on.
        """
        self.stack.added = 0
        return super().replan(action_taken)


LOST = (LostBotError, AssertionError, DisappearedBoxError, IndexError)
"""What the bot raises where it cannot go on, after actions that were not its own."""


class Bot(EpisodeBot):
    """minigrid's bot, told what is already done and what lies where it could walk to.

    It knows every cell that no wall or shut door keeps from it, so that what it does depends
    on the state alone. A room behind a shut door it has to open like anybody else.
    """

    def __init__(self, simulator: RoomGridLevel, state: w.State) -> None:
        self.state = state
        super().__init__(simulator)
        for place in w.within_reach(state):
            self.vis_mask[place % state.world.width, place // state.world.width] = True
        if self._must_put_down(simulator.carrying):
            self.stack.append(DropSubgoal(self))
            self.stack.append(GoNextToSubgoal(self, self._find_drop_pos()))

    def _process_instr(self, instr: Any) -> None:
        """Plan what is left of the mission."""
        for part in reversed(list(_left(instr, self.state.world.instruction, self.state.memory))):
            super()._process_instr(part)

    def _must_put_down(self, carried: WorldObj | None) -> bool:
        """Whether what is in hand hinders the next part; if that wants it there, go on with it."""
        if carried is None or len(self.stack) < 2:
            return False
        then, going = self.stack[-2:]
        if isinstance(then, PickupSubgoal) and any(each is carried for each in going.datum.obj_set):
            putting = len(self.stack) > 3 and getattr(self.stack[-3], "reason", None) == "PutNext"
            if putting:
                del self.stack[-2:]
            return not putting
        wanted, _ = self._find_obj_pos(going.datum)
        if isinstance(wanted, Door):
            key = isinstance(carried, Key) and carried.color == wanted.color
            return wanted.is_locked and not key
        return isinstance(then, PickupSubgoal) and wanted is not None


def _left(instr: Any, ours: w.Instruction, memory: tuple[int, ...]) -> Iterator[Any]:
    """The parts of a minigrid instruction that are not done, in order."""
    match ours:
        case w.InOrder():
            parts = [instr.instr_a, instr.instr_b]
            if isinstance(instr, rules.AfterInstr):
                parts.reverse()
            if not memory[ours.slot]:
                yield from _left(parts[0], ours.first, memory)
            yield from _left(parts[1], ours.second, memory)
        case w.Both():
            if not memory[ours.slot]:
                yield from _left(instr.instr_a, ours.first, memory)
            if not memory[ours.slot + 1]:
                yield from _left(instr.instr_b, ours.second, memory)
        case _:
            yield instr


@lru_cache(maxsize=1 << 16)
def bot_action(state: w.State) -> int | None:
    """What the bot does in a state, or None where it does not know."""
    if state.ended:
        return None
    simulator = simulator_at(state)
    try:
        action = int(Bot(simulator, state).replan())
    except LOST:
        return None
    return action if action < len(w.ACTIONS) else None


def bot_path(state: w.State) -> list[int] | None:
    """The bot's actions from a state to success, or None where it does not get there."""
    actions: list[int] = []
    while not state.ended:
        action = bot_action(state)
        if action is None:
            return None
        actions.append(action)
        state = w.step(state, action)
    return actions if state.ended == w.SUCCESS else None


@lru_cache
def most_steps(name: str, navigations: int) -> int:
    """An upper bound of a level's step limit; limits grow with the mission."""
    simulator = Recipe(name, seed=0).simulator()
    if simulator.fixed_max_steps:
        return int(simulator.max_steps)
    return navigations * simulator.room_size**2 * simulator.num_rows * simulator.num_cols
