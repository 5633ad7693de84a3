"""A hand-written rule for BabyAI-Text that reads what a policy reads, and nothing else.

It walks towards what the mission names where it sees it, and wanders where it does not.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from agentsearch.types import Context

SENTENCE = re.compile(
    r"You see a (?P<name>[\w ]+?) (?:(?P<aside>\d+) steps? (?P<side>left|right))?"
    r"(?: and )?(?:(?P<ahead>\d+) steps? forward)?"
)
NAME = r"(?:a|the) ((?:\w+ )?(?:ball|box|key|door|object))"
GO, PICK, OPEN, PUT = (
    re.compile(text)
    for text in (
        rf"go to {NAME}",
        rf"pick up {NAME}",
        rf"open {NAME}",
        rf"put {NAME} next to {NAME}",
    )
)
UNDOES = {"turn left": "turn right", "turn right": "turn left"}


@dataclass(frozen=True)
class Seen:
    """Something in view, `aside` steps to the right (left is negative) and `ahead` forward."""

    name: str
    aside: int
    ahead: int


def next_action(context: Context, rng: random.Random) -> str:
    """What to do now."""
    mission = context.prompt.partition("\n")[0].removeprefix("Goal: ")
    lines = context.observation.split("\n")
    hand = next((line.removeprefix("You carry a ") for line in lines if "carry" in line), "")
    seen = [thing for line in lines if (thing := read(line)) is not None]
    rule = Rule(seen, hand, rng)
    action, last = rule.act(mission), context.turns[-1].action if context.turns else ""
    if last in UNDOES and action == UNDOES[last]:  # else it would turn to and fro for ever
        return last if rule.blocked else "go forward"
    return action


def read(line: str) -> Seen | None:
    """What a sentence says is in view; None for any other sentence."""
    match = SENTENCE.fullmatch(line)
    if match is None:
        return None
    aside = int(match["aside"] or 0) * (-1 if match["side"] == "left" else 1)
    return Seen(match["name"], aside, int(match["ahead"] or 0))


@dataclass(frozen=True)
class Rule:
    """One decision."""

    seen: list[Seen]
    hand: str
    rng: random.Random

    def act(self, mission: str) -> str:
        """The next action of a mission; of two parts the first that is not done."""
        parts = in_order(mission)
        for part in parts:
            if (match := PUT.match(part)) is not None:
                return self.put(match[1], match[2])
            if (match := PICK.match(part)) is not None:
                if fits(self.hand, match[1]) and part != parts[-1]:
                    continue
                return self.approach(match[1], "pick up")
            if (match := OPEN.match(part)) is not None:
                return self.open(match[1])
            if (match := GO.match(part)) is not None:
                return self.approach(match[1], "go forward")
        return self.wander()

    def put(self, moved: str, fixed: str) -> str:
        """Fetch one thing and drop it where the cell in front touches the other."""
        if not fits(self.hand, moved):
            return "drop" if self.hand and not self.blocked else self.approach(moved, "pick up")
        for thing in self.seen:
            touches = abs(thing.aside) + abs(thing.ahead - 1) == 1
            if fits(thing.name, fixed) and touches and not self.blocked:
                return "drop"
        return self.approach(fixed, "turn left")

    def open(self, door: str) -> str:
        """Open the door, with its key if it is locked."""
        for thing in self.seen:
            if fits(thing.name, door) and thing.name.startswith("locked"):
                key = f"{thing.name.split()[1]} key"
                return self.approach(door, "toggle") if self.hand == key else self.fetch(key)
        words = door.split()
        key = f"{words[0]} key" if len(words) > 1 else ""
        if key and self.hand != key and any(thing.name == key for thing in self.seen):
            return self.fetch(key)
        return self.approach(door, "toggle")

    def fetch(self, name: str) -> str:
        """Pick something up, an empty hand first."""
        return "drop" if self.hand and not self.blocked else self.approach(name, "pick up")

    def approach(self, name: str, arrived: str) -> str:
        """Walk to the nearest thing of that name; `arrived` is done in front of it."""
        near = [thing for thing in self.seen if fits(thing.name, name)]
        if not near:
            return self.wander()
        thing = min(near, key=lambda each: abs(each.aside) + each.ahead)
        if thing.aside == 0 and thing.ahead == 1:
            return arrived
        if thing.ahead > (0 if thing.aside else 1) and not self.blocked:
            return "go forward"
        if thing.aside:
            return "turn left" if thing.aside < 0 else "turn right"
        return self.rng.choice(("turn left", "turn right"))

    def wander(self) -> str:
        """Mostly forward, turning where something is in the way."""
        if self.blocked or self.rng.random() < 0.3:
            return self.rng.choice(("turn left", "turn right"))
        return "go forward"

    @property
    def blocked(self) -> bool:
        """Whether the next cell ahead is not free."""
        return any(
            thing.aside == 0 and thing.ahead == 1 and not thing.name.startswith("open")
            for thing in self.seen
        )


def in_order(mission: str) -> list[str]:
    """The parts of a mission, the first to be done first."""
    first, after, then = mission.partition(" after you ")
    if after:
        return [*in_order(then), *in_order(first)]
    return [part for each in mission.split(", then ") for part in each.split(" and ")]


def fits(name: str, wanted: str) -> bool:
    """Whether `red ball` (or `locked red door`) is what a mission calls `red ball` or `ball`."""
    words, asked = name.split(), wanted.split()
    return bool(words) and words[-len(asked) :] == asked or (asked == ["object"] and bool(words))
