"""The rules of BabyAI as values: a world that never changes, and states that are cheap to keep.

A `World` holds what an episode is (objects, mission, step limit); a `State` holds the
rest in a few numbers and one byte a cell, shared with its neighbours where nothing moved.
`step` and `describe` are pure functions of them.

Movement, objects and instructions follow `minigrid` (Chevalier-Boisvert et al., 2023), its
quirks included; the text follows BabyAI-Text (Carta et al., 2023). Both are tested against
the originals.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple, Protocol

ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE = range(len(ACTIONS))

EMPTY, WALL, FIRST = 0, 1, 2
"""Codes of cells; objects follow from `FIRST` on."""

VIEW = 7
AGENT = (VIEW // 2, VIEW - 1)
"""The agent's column and row in what it sees; row 0 is the farthest."""
MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Step of each facing: right, down, left, up."""

DoorStatus = Literal["open", "closed", "locked"]
Status = Literal["success", "failure"] | None
"""What an instruction says after a step; None goes on."""
Codes = frozenset[int]


class Thing(NamedTuple):
    """What a code stands for: an object, a door in one of its statuses, or a wall.

    Attributes:
        kind: wall, ball, box, key or door.
        toggled: code that the cell shows after a toggle.
        unlocks: code of a locked door after a toggle with its key in hand.
    """

    kind: str
    colour: str
    status: DoorStatus | None = None
    toggled: int = EMPTY
    unlocks: int = EMPTY

    @property
    def name(self) -> str:
        """Such as `red ball`, or `locked red door`."""
        words = (self.status, self.colour, self.kind)
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class World:
    """One episode's constants; worlds are equal if they were made the same way.

    Attributes:
        origin: how it was made.
        mission: the instruction in words.
        instruction: the same as rules.
        things: what each code stands for, from code 0 on.
        width, height: of the grid, walls included.
        max_steps: the step that truncates.
    """

    origin: Hashable
    mission: str = field(compare=False)
    instruction: Instruction = field(compare=False, repr=False)
    things: tuple[Thing, ...] = field(compare=False, repr=False)
    width: int = field(compare=False)
    height: int = field(compare=False)
    max_steps: int = field(compare=False)

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """Beginning of the sentence about each code; empty for what is not mentioned."""
        return tuple(
            f"You see a {t.name} " if t.kind not in ("empty", "wall") else "" for t in self.things
        )

    @cached_property
    def opaque(self) -> bytes:
        """By code, 1 where nothing behind is seen: walls and doors that are not open."""
        table = bytearray(256)
        for code, thing in enumerate(self.things):
            table[code] = thing.kind == "wall" or thing.status in ("closed", "locked")
        return bytes(table)

    @cached_property
    def passable(self) -> Codes:
        """Codes of cells the agent can stand on."""
        found = {code for code, thing in enumerate(self.things) if thing.status == "open"}
        return frozenset({EMPTY, *found})

    @cached_property
    def portable(self) -> Codes:
        """Codes of what can be picked up."""
        kinds = ("ball", "box", "key")
        return frozenset(code for code, thing in enumerate(self.things) if thing.kind in kinds)

    def front(self, place: int, facing: int) -> int:
        """The cell before an agent."""
        x, y = MOVES[facing]
        return place + x + y * self.width


class State(NamedTuple):
    """One moment of an episode.

    Attributes:
        cells: `[height * width]`, a code each, row by row.
        place, facing: of the agent; a facing of 0 is right, 1 down, 2 left, 3 up.
        carrying: code of the object in hand, or `EMPTY`.
        known: the cells as they were when the verifier last looked where objects are,
            which is at the start and after every `drop`.
        memory: what the instruction remembers.
        steps: taken so far.
        ended: 0 while it goes on, 1 after success, 2 after failure, 3 when truncated.
    """

    world: World
    cells: bytes
    place: int
    facing: int
    carrying: int
    known: bytes
    memory: tuple[int, ...]
    steps: int = 0
    ended: int = 0


RUNNING, SUCCESS, FAILURE, TRUNCATED = range(4)


def step(state: State, action: int) -> State:
    """The state after one of the six actions; every action takes a step."""
    world, cells, place, facing, carrying, known, memory, steps, _ = state
    steps += 1
    front = world.front(place, facing)
    there = cells[front]
    if action == LEFT:
        facing = (facing - 1) % 4
    elif action == RIGHT:
        facing = (facing + 1) % 4
    elif action == FORWARD:
        if there in world.passable:
            place = front
    elif action == PICK_UP:
        if carrying == EMPTY and there in world.portable:
            carrying, cells = there, replaced(cells, front, EMPTY)
    elif action == DROP:
        if carrying != EMPTY and there == EMPTY:
            cells, carrying = replaced(cells, front, carrying), EMPTY
        known = cells
    else:
        cells = toggled(world, cells, front, carrying)

    now = list(memory)
    moment = Moment(action, world.front(place, facing), cells, known, carrying, world.width)
    status = world.instruction.verify(moment, now)
    ended = ENDED[status]
    if ended == RUNNING and steps >= world.max_steps:
        ended = TRUNCATED
    return State(world, cells, place, facing, carrying, known, tuple(now), steps, ended)


ENDED: dict[Status, int] = {None: RUNNING, "success": SUCCESS, "failure": FAILURE}


def toggled(world: World, cells: bytes, front: int, carrying: int) -> bytes:
    """The cells after the one in front was toggled."""
    thing = world.things[cells[front]]
    if thing.kind == "box":
        return replaced(cells, front, thing.toggled)
    if thing.kind != "door":
        return cells
    if thing.status != "locked":
        return replaced(cells, front, thing.toggled)
    hand = world.things[carrying]
    fits = hand.kind == "key" and hand.colour == thing.colour
    return replaced(cells, front, thing.unlocks) if fits else cells


def replaced(cells: bytes, place: int, code: int) -> bytes:
    """The cells with one of them changed."""
    return cells[:place] + bytes((code,)) + cells[place + 1 :]


def reward(state: State) -> float:
    """Of the step that led here: 1 - 0.9 * steps / max_steps on success, else 0."""
    return 1 - 0.9 * (state.steps / state.world.max_steps) if state.ended == SUCCESS else 0.0


# Instructions


class Moment(NamedTuple):
    """What an instruction looks at after a step.

    Attributes:
        front: the cell before the agent.
        known: see `State.known`; objects count as being where they were then.
    """

    action: int
    front: int
    cells: bytes
    known: bytes
    carrying: int
    width: int


class Instruction(Protocol):
    """A rule that says when the mission is done; `memory` is its own, and is written to."""

    def verify(self, now: Moment, memory: list[int]) -> Status:
        """Success, failure, or None to go on."""
        ...


@dataclass(frozen=True)
class GoTo:
    """Face an object of `targets` from next to it."""

    targets: Codes

    def verify(self, now: Moment, memory: list[int]) -> Status:
        """Where objects are is `known`, so a carried one still counts at its old place."""
        return "success" if now.known[now.front] in self.targets else None


@dataclass(frozen=True)
class Open:
    """Open a door of `targets`."""

    targets: Codes
    opened: Codes
    doors: Codes
    strict: bool = False

    def verify(self, now: Moment, memory: list[int]) -> Status:
        """`opened` are the codes of open doors; with `strict` any other door fails."""
        if now.action != TOGGLE:
            return None
        there = now.cells[now.front]
        if there in self.targets and there in self.opened:
            return "success"
        return "failure" if self.strict and there in self.doors else None


@dataclass(frozen=True)
class PickUp:
    """Pick up an object of `targets` with an empty hand; `slot` remembers the hand."""

    targets: Codes
    slot: int
    strict: bool = False

    def verify(self, now: Moment, memory: list[int]) -> Status:
        """With `strict` picking up anything else fails."""
        before, memory[self.slot] = memory[self.slot], now.carrying
        if now.action != PICK_UP:
            return None
        if before == EMPTY and now.carrying in self.targets:
            return "success"
        return "failure" if self.strict and now.carrying != EMPTY else None


@dataclass(frozen=True)
class PutNext:
    """Drop an object of `moved` next to one of `fixed`; `slot` remembers the hand."""

    moved: Codes
    fixed: Codes
    slot: int
    strict: bool = False

    def verify(self, now: Moment, memory: list[int]) -> Status:
        """Next to is left, right, above or below. With `strict` any picking up fails."""
        before, memory[self.slot] = memory[self.slot], now.carrying
        if self.strict and now.action == PICK_UP and now.carrying != EMPTY:
            return "failure"
        if now.action != DROP or now.carrying != EMPTY or before not in self.moved:
            return None
        around = (now.front - 1, now.front + 1, now.front - now.width, now.front + now.width)
        return "success" if any(now.known[place] in self.fixed for place in around) else None


@dataclass(frozen=True)
class InOrder:
    """First `first`, then `second`; `slot` remembers whether the first is done."""

    first: Instruction
    second: Instruction
    slot: int
    strict: bool = False

    def verify(self, now: Moment, memory: list[int]) -> Status:
        """With `strict` doing the second first fails."""
        if not memory[self.slot]:
            status = self.first.verify(now, memory)
            if status is None:
                early = self.strict and self.second.verify(now, memory) == "success"
                return "failure" if early else None
            if status == "failure":
                return status
            memory[self.slot] = 1
        return self.second.verify(now, memory)


@dataclass(frozen=True)
class Both:
    """Both, in any order; `slot` and the one after it remember which are done."""

    first: Instruction
    second: Instruction
    slot: int

    def verify(self, now: Moment, memory: list[int]) -> Status:
        """A part that is done is not looked at again."""
        for place, part in enumerate((self.first, self.second), self.slot):
            if not memory[place]:
                memory[place] = part.verify(now, memory) == "success"
        return "success" if memory[self.slot] and memory[self.slot + 1] else None


# Text


def describe(state: State) -> tuple[str, ...]:
    """The sentences of BabyAI-Text: what is carried, walls, then objects by column."""
    world = state.world
    seen = view(state)
    sentences: list[str] = []
    if state.carrying != EMPTY:
        thing = world.things[state.carrying]
        sentences.append(f"You carry a {thing.colour} {thing.kind}")
    for ray in RAYS:
        for cell, words in ray:
            code = seen[cell]
            if code == WALL:
                sentences.append(words)
            if code != EMPTY:
                break
    beginnings = world.sentences
    for cell, words in PLACES:
        code = seen[cell]
        if code > WALL:
            sentences.append(beginnings[code] + words)
    return tuple(sentences)


def steps_text(count: int) -> str:
    """`1 step` or `3 steps`."""
    return f"{count} step" if count == 1 else f"{count} steps"


def _rays() -> tuple[tuple[tuple[int, str], ...], ...]:
    """Cells straight ahead, to the left and to the right, nearest first, with their words."""
    column, row = AGENT
    ahead = [(column, row - n, n, "forward") for n in range(1, row + 1)]
    left = [(column - n, row, n, "left") for n in range(1, column + 1)]
    right = [(column + n, row, n, "right") for n in range(1, VIEW - column)]
    return tuple(
        tuple((x + y * VIEW, f"You see a wall {steps_text(n)} {side}") for x, y, n, side in ray)
        for ray in (ahead, left, right)
    )


def _places() -> tuple[tuple[int, str], ...]:
    """Every cell but the agent's, columns left to right, far to near, with its place in words."""
    found: list[tuple[int, str]] = []
    for x in range(VIEW):
        for y in range(VIEW):
            aside, ahead = x - AGENT[0], AGENT[1] - y
            side = "left" if aside < 0 else "right"
            words = [f"{steps_text(abs(aside))} {side}"] if aside else []
            words += [f"{steps_text(ahead)} forward"] if ahead else []
            if words:
                found.append((x + y * VIEW, " and ".join(words)))
    return tuple(found)


RAYS, PLACES = _rays(), _places()


def view(state: State) -> bytes:
    """`[VIEW * VIEW]` codes as the agent sees them, row by row, unseen cells empty.

    Light spreads from the agent sideways along a row, and from every lit cell that does
    not block it to the three cells above (`process_vis` of minigrid).
    """
    world = state.world
    places = _view_places(state.place, state.facing, world.width, world.height)
    whole = state.cells + b"\x01"
    cells = bytes([whole[place] for place in places])
    opaque = cells.translate(world.opaque)
    shown = bytearray(VIEW * VIEW)
    lit = 1 << AGENT[0]
    for row in range(VIEW - 1, -1, -1):
        first = row * VIEW
        lit, above = _spread(lit, opaque[first : first + VIEW])
        for column in LIT[lit]:
            shown[first + column] = cells[first + column]
        lit = above
    return bytes(shown)


LIT = tuple(tuple(x for x in range(VIEW) if bits >> x & 1) for bits in range(1 << VIEW))
"""Columns of the bits of a row."""


@lru_cache(maxsize=1 << 14)
def _spread(lit: int, opaque: bytes) -> tuple[int, int]:
    """The lit cells of a row once light has spread along it, and those it lights above."""
    above = 0
    for x in range(VIEW - 1):
        if lit >> x & 1 and not opaque[x]:
            lit |= 1 << (x + 1)
            above |= 0b11 << x
    for x in range(VIEW - 1, 0, -1):
        if lit >> x & 1 and not opaque[x]:
            lit |= 1 << (x - 1)
            above |= 0b11 << (x - 1)
    return lit, above


@lru_cache(maxsize=1 << 14)
def _view_places(place: int, facing: int, width: int, height: int) -> tuple[int, ...]:
    """Where in the grid each cell of the view lies; -1 outside."""
    (ahead_x, ahead_y), (side_x, side_y) = MOVES[facing], MOVES[(facing + 1) % 4]
    found: list[int] = []
    for row in range(VIEW):
        for column in range(VIEW):
            ahead, side = AGENT[1] - row, column - AGENT[0]
            x = place % width + ahead * ahead_x + side * side_x
            y = place // width + ahead * ahead_y + side * side_y
            inside = 0 <= x < width and 0 <= y < height
            found.append(x + y * width if inside else -1)
    return tuple(found)


def within_reach(state: State) -> set[int]:
    """The cells around every place that the agent could walk to if objects were moved away."""
    world, width = state.world, state.world.width
    around = [x + y * width for x in (-1, 0, 1) for y in (-1, 0, 1)]
    found, left = {state.place}, [state.place]
    while left:
        place = left.pop()
        if not world.opaque[state.cells[place]]:
            new = {place + offset for offset in around} - found
            found |= new
            left += new
    return found


# Pictures


COLOUR_LETTERS = {
    "red": "r",
    "green": "g",
    "blue": "b",
    "purple": "p",
    "yellow": "y",
    "grey": "e",
}
KIND_LETTERS = {"ball": "a", "box": "b", "key": "k"}
STATUS_LETTERS = {"open": "O", "closed": "C", "locked": "L"}


def picture(state: State) -> str:
    """The grid as text, two characters a cell: kind and colour; `carrying:` on a last line."""
    world = state.world
    cells = [_letters(world.things[code]) for code in state.cells]
    cells[state.place] = ">v<^"[state.facing] + " "
    rows = (cells[y * world.width : (y + 1) * world.width] for y in range(world.height))
    hand = _letters(world.things[state.carrying]) if state.carrying else "nothing"
    return "\n".join((*("".join(row) for row in rows), f"carrying: {hand}"))


def _letters(thing: Thing) -> str:
    if thing.kind in ("empty", "wall"):
        return "  " if thing.kind == "empty" else "# "
    kind = STATUS_LETTERS[thing.status] if thing.status else KIND_LETTERS[thing.kind]
    return kind + COLOUR_LETTERS[thing.colour]


def codes_of(things: Sequence[Thing], kind: str, status: str | None = None) -> Codes:
    """Codes of the things of a kind, and of a status where one is given."""
    return frozenset(
        code
        for code, thing in enumerate(things)
        if thing.kind == kind and status in (None, thing.status)
    )
