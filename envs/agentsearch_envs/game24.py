"""Game of 24: join four numbers with + - * / until one number, 24, is left.

Task: four numbers of 1..13 that can make 24; the data lists them in ascending order.
    `largest` adds train tasks with larger numbers.
Observation: `Numbers: 4 9 10 13`, what remains in ascending order, fractions as `8/3`.
Actions: `13 - 9`, finite; the larger number first. At most 24, 12, then 4 of them under
    `integer` rules (exact division only, no fractions); `rational` rules divide both ways.
    Spaces are free, `4 + 9` serves for `9 + 4`, and `= ...` after a move is ignored.
    Any other text is invalid: reward 0, the state stays.
Reward: 1 when the last number is 24, else 0.
Termination: one number is left, after three moves.
Truncation: none here; a caller that counts invalid actions stops at `spec.max_steps`.
Source: Yao et al., 2023, Tree of Thoughts (arXiv 2305.10601), puzzles, splits and answer
    check; Lu et al., 2024, Intelligent Go-Explore (arXiv 2405.15143), the move rules.
Differences from the original: moves are actions and the final expression is derived from
    them; answers are evaluated by an exact parser without powers, not by sympy; the package
    carries only hashes of the 100 test puzzles, and their published order needs `csv`.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from csv import DictReader
from csv import Error as CsvError
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from itertools import combinations_with_replacement, permutations
from typing import Literal, TypeAlias, get_args

from agentsearch.errors import ConfigError, DataError, did_you_mean
from agentsearch.types import EnvSpec, Step, Task, Trajectory, Verdict

Rules = Literal["integer", "rational"]
Number: TypeAlias = int | Fraction  # a Fraction is never integral
Numbers: TypeAlias = tuple[Number, ...]  # ascending
Puzzle: TypeAlias = tuple[int, ...]
Expression: TypeAlias = "int | tuple[Expression, str, Expression]"

TARGET = 24
SPEC = EnvSpec(id="game24", version="1", max_steps=3)
SPLITS = ("train", "dev", "test")
PROMPT = (
    "Make 24 from the numbers. A move joins two of them with + - * or /, "
    "and its result takes their place."
)
LARGEST, MOST = 13, 30
"""Largest number of the published puzzles, and of those that can be added to them."""
PUZZLE_COUNT = 1362
TEST_ROWS = slice(900, 1000)
DEV_SIZE = 200
TEST_HASHES = "game24_test_hashes.txt"
STATES = 1 << 17  # kept in each cache; the puzzles of both rules reach 81,622
MAX_EXPRESSION = 200  # characters
MAX_NESTING = 20  # parentheses
MOVE = re.compile(r"\s*([0-9]+(?:/[0-9]+)?)\s*([-+*/])\s*([0-9]+(?:/[0-9]+)?)\s*(?:=.*)?", re.S)
TOKEN = re.compile(r"\s*([0-9]+|[-+*/()])\s*")
LEVELS: tuple[Mapping[str, Callable[[Fraction, Fraction], Fraction]], ...] = (
    {"+": Fraction.__add__, "-": Fraction.__sub__},
    {"*": Fraction.__mul__, "/": Fraction.__truediv__},
)


@dataclass(frozen=True, slots=True)
class Game24State:
    """What remains, and the expression behind each remaining number."""

    numbers: Numbers
    expressions: tuple[Expression, ...]
    puzzle: Puzzle


@dataclass(frozen=True, slots=True)
class Move:
    """One legal move, by places: `numbers` remain after it, the result at `slot`."""

    left: int
    operator: str
    right: int
    numbers: Numbers
    slot: int


@dataclass(frozen=True)
class Game24:
    """Game of 24: join four numbers with + - * / until 24 is left.

    Attributes:
        rules: `integer` (as in Intelligent Go-Explore) or `rational`.
        csv: the published `24.csv`, for tasks in the published order.
        largest: above 13, puzzles with numbers up to it follow the others of `train`, in a
            mixed order. A policy that has seen all train puzzles finds new ones there.
    """

    rules: Rules = "integer"
    csv: str | None = None
    largest: int = LARGEST

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.rules not in get_args(Rules):
            raise ConfigError(
                f"Game24: unknown rules '{self.rules}'; use 'integer' or 'rational'."
                + did_you_mean(str(self.rules), get_args(Rules))
            )
        if not LARGEST <= self.largest <= MOST:
            raise ConfigError(
                f"Game24: largest={self.largest}; must be between {LARGEST}, as in the published "
                f"puzzles, and {MOST}."
            )
        if self.csv is not None:
            read_published(self.csv)

    @property
    def spec(self) -> EnvSpec:
        """The same for both rules."""
        return SPEC

    @property
    def verifier(self) -> Game24Verifier:
        """Replays moves under these rules, or checks a free-text answer."""
        return Game24Verifier(self.rules)

    def oracle(self) -> Game24Oracle:
        """Exact values and best moves."""
        return Game24Oracle(self.rules)

    def tasks(self, split: str) -> Sequence[Task]:
        """The puzzles of `train`, `dev` or `test` that these rules can solve."""
        if split not in SPLITS:
            raise ConfigError(
                f"Game24: unknown split '{split}'; use train, dev or test."
                + did_you_mean(split, SPLITS)
            )
        more = further_tasks(self.rules, self.largest) if split == "train" else ()
        return _tasks(split, self.rules, self.csv) + more

    async def reset(self, task: Task, *, seed: int) -> Game24State:
        """The puzzle's numbers; nothing is random, so `seed` is not used."""
        return start(task.data["numbers"])

    async def step(self, state: Game24State, action: str) -> Step[Game24State]:
        """The state after one move."""
        move = find_move(state.numbers, action, self.rules)
        if move is None:
            return Step(state, terminated=len(state.numbers) == 1, valid=False)
        after = apply(state, move)
        done = len(after.numbers) == 1
        return Step(after, reward=float(done and after.numbers[0] == TARGET), terminated=done)

    def observe(self, state: Game24State) -> str:
        """Such as `Numbers: 4 9 10 13`."""
        return observation(state.numbers)

    def legal_actions(self, state: Game24State) -> tuple[str, ...]:
        """All moves, without repeats, in a fixed order."""
        return legal_moves(state.numbers, self.rules)

    def key(self, state: Game24State) -> Hashable:
        """The remaining numbers."""
        return state.numbers

    def answer(self, state: Game24State) -> str:
        """The full expression of a finished state; empty before that."""
        return render(state.expressions[0]) if len(state.numbers) == 1 else ""


# Moves


def start(puzzle: Sequence[int]) -> Game24State:
    """The state before the first move."""
    numbers = tuple(sorted(puzzle))
    return Game24State(numbers, numbers, numbers)


@lru_cache(maxsize=STATES)
def observation(numbers: Numbers) -> str:
    """The observation text of the remaining numbers."""
    return f"Numbers: {' '.join(map(str, numbers))}"


def outcomes(left: Number, right: Number, rules: Rules) -> dict[str, Number]:
    """Result of each operator allowed between two numbers, in a fixed order."""
    if left < right and rules == "integer":
        return {}
    found: dict[str, Number] = {}
    if left >= right:
        found = {"+": left + right, "-": left - right, "*": left * right}
    if right and (rules == "rational" or left % right == 0):
        found["/"] = Fraction(left, right)
    return {sign: _simple(result) for sign, result in found.items()}


def _simple(number: Number) -> Number:
    return number.numerator if number.denominator == 1 else number


def joins(numbers: Numbers, rules: Rules) -> Iterator[Move]:
    """Every way to join two numbers, in a fixed order, equal moves repeated."""
    for left, right in permutations(range(len(numbers)), 2):
        low, high = min(left, right), max(left, right)
        rest = numbers[:low] + numbers[low + 1 : high] + numbers[high + 1 :]
        for sign, result in outcomes(numbers[left], numbers[right], rules).items():
            slot = bisect(rest, result)
            yield Move(left, sign, right, (*rest[:slot], result, *rest[slot:]), slot)


@lru_cache(maxsize=STATES)
def moves(numbers: Numbers, rules: Rules) -> Mapping[str, Move]:
    """Every legal move by its text, in a fixed order; not to be changed."""
    found: dict[str, Move] = {}
    for move in joins(numbers, rules):
        text = f"{numbers[move.left]} {move.operator} {numbers[move.right]}"
        found.setdefault(text, move)
    return found


@lru_cache(maxsize=STATES)
def legal_moves(numbers: Numbers, rules: Rules) -> tuple[str, ...]:
    """The texts of `moves`."""
    return tuple(moves(numbers, rules))


def find_move(numbers: Numbers, action: str, rules: Rules) -> Move | None:
    """The legal move that `action` writes, or None."""
    options = moves(numbers, rules)
    if action in options:
        return options[action]
    match = MOVE.fullmatch(action)
    if match is None:
        return None
    left, sign, right = match.groups()
    move = options.get(f"{left} {sign} {right}")
    return options.get(f"{right} {sign} {left}") if move is None and sign in "+*" else move


def apply(state: Game24State, move: Move) -> Game24State:
    """The state after a legal move."""
    joined = (state.expressions[move.left], move.operator, state.expressions[move.right])
    places = (move.left, move.right)
    rest: list[Expression] = [e for i, e in enumerate(state.expressions) if i not in places]
    rest.insert(move.slot, joined)
    return Game24State(move.numbers, tuple(rest), state.puzzle)


def render(expression: Expression) -> str:
    """An expression as text, with no more parentheses than it needs."""
    if isinstance(expression, int):
        return str(expression)
    left, sign, right = expression
    level = _level(expression)
    loose = _level(right) < level or (_level(right) == level and sign in "-/")
    first = f"({render(left)})" if _level(left) < level else render(left)
    second = f"({render(right)})" if loose else render(right)
    return f"{first} {sign} {second}"


def _level(expression: Expression) -> int:
    if isinstance(expression, int):
        return len(LEVELS)
    return next(i for i, signs in enumerate(LEVELS) if expression[1] in signs)


# Solutions


@lru_cache(maxsize=STATES)
def solvable(numbers: Numbers, rules: Rules) -> bool:
    """Whether these ascending numbers can still make 24."""
    if len(numbers) == 1:
        return numbers[0] == TARGET
    return any(solvable(move.numbers, rules) for move in joins(numbers, rules))


@lru_cache(maxsize=STATES)
def good_actions(numbers: Numbers, rules: Rules) -> tuple[str, ...]:
    """The moves after which 24 can still be made."""
    return tuple(
        text for text, move in moves(numbers, rules).items() if solvable(move.numbers, rules)
    )


@lru_cache
def solvable_puzzles(rules: Rules = "rational") -> tuple[Puzzle, ...]:
    """All multisets of four numbers of 1..13 that make 24: 1,362, with integers 1,346."""
    puzzles = combinations_with_replacement(range(1, LARGEST + 1), 4)
    return tuple(puzzle for puzzle in puzzles if solvable(puzzle, rules))


@dataclass(frozen=True)
class Game24Oracle:
    """Exact values and best moves."""

    rules: Rules

    def action(self, state: object) -> str | None:
        """A move that keeps 24 possible, or None."""
        assert isinstance(state, Game24State)
        return next(iter(good_actions(state.numbers, self.rules)), None)

    def value(self, state: object) -> float:
        """1 while 24 can still be made, else 0."""
        assert isinstance(state, Game24State)
        return float(solvable(state.numbers, self.rules))


# Tasks


@lru_cache
def _tasks(split: str, rules: Rules, csv: str | None) -> tuple[Task, ...]:
    known = frozenset(solvable_puzzles(rules))
    order = solvable_puzzles(rules) if csv is None else read_published(csv)
    return tuple(_task(p) for p in order if p in known and split_of(p) == split)


@lru_cache
def further_tasks(rules: Rules, largest: int) -> tuple[Task, ...]:
    """Puzzles whose largest number is above 13 and at most `largest`, in the order of a hash."""
    puzzles = combinations_with_replacement(range(1, largest + 1), 4)
    found = [p for p in puzzles if p[-1] > LARGEST and solvable(p, rules)]
    return tuple(map(_task, sorted(found, key=lambda p: _digest("more", p))))


def _task(puzzle: Puzzle) -> Task:
    return Task(f"game24/{_name(puzzle)}", PROMPT, {"numbers": list(puzzle)})


def split_of(numbers: Sequence[int]) -> str:
    """The split of a puzzle, the same under both rules."""
    if is_published_test(numbers):
        return "test"
    return "dev" if tuple(sorted(numbers)) in _dev_puzzles() else "train"


def is_published_test(numbers: Sequence[int]) -> bool:
    """Whether a puzzle, in any order, is one of the 100 published test puzzles."""
    return _digest("test", numbers) in _test_hashes()


@lru_cache
def _dev_puzzles() -> frozenset[Puzzle]:
    others = [p for p in solvable_puzzles("integer") if not is_published_test(p)]
    return frozenset(sorted(others, key=lambda p: _digest("dev", p))[:DEV_SIZE])


@lru_cache
def _test_hashes() -> frozenset[str]:
    text = (files("agentsearch_envs") / TEST_HASHES).read_text(encoding="utf-8")
    return frozenset(text.split())


def _digest(salt: str, numbers: Sequence[int]) -> str:
    return hashlib.sha256(f"agentsearch/game24/{salt}/{_name(numbers)}".encode()).hexdigest()


def _name(numbers: Sequence[int]) -> str:
    return "-".join(map(str, sorted(numbers)))


def read_published(csv: str) -> tuple[Puzzle, ...]:
    """The puzzles of the published `24.csv`, in its order.

    Raises:
        DataError: if the file is missing, or is not the published one.
    """
    try:
        with open(csv, encoding="utf-8-sig", newline="") as lines:
            rows = [row.get("Puzzles") for row in DictReader(lines)]
    except (OSError, UnicodeDecodeError, CsvError) as cause:
        raise DataError(f"{csv}: cannot be read ({cause}); give the published 24.csv.") from cause
    puzzles = tuple(_puzzle(csv, index, text) for index, text in enumerate(rows))
    hidden = sum(map(is_published_test, puzzles[TEST_ROWS]))
    if (len(set(puzzles)), len(puzzles), hidden) != (PUZZLE_COUNT, PUZZLE_COUNT, 100):
        raise DataError(
            f"{csv}: is not the published list of {PUZZLE_COUNT} puzzles with the test puzzles "
            "in rows 900-999 (from 0); take 24.csv from princeton-nlp/tree-of-thought-llm."
        )
    return puzzles


def _puzzle(csv: str, index: int, text: str | None) -> Puzzle:
    if text is None:
        raise DataError(
            f"{csv}: row {index} (from 0) has no column 'Puzzles'; give the published 24.csv."
        )
    if not re.fullmatch(r"(?:[1-9]|1[0-3])(?: (?:[1-9]|1[0-3])){3}", text):
        raise DataError(
            f"{csv}: row {index} (from 0) reads '{text}'; four numbers of 1..13 are needed."
        )
    return tuple(sorted(map(int, text.split())))


# Verdicts


@dataclass(frozen=True)
class Game24Verifier:
    """Ground truth from the actions alone."""

    rules: Rules

    async def verify(self, task: Task, trajectory: Trajectory, state: object) -> Verdict:
        """Check the answer line if the last action is one, else replay the moves."""
        puzzle: Sequence[int] = task.data["numbers"]
        last = trajectory.actions[-1] if trajectory.turns else ""
        if _last_line(last).startswith("answer:"):
            correct = check_answer(puzzle, last)
            return _verdict(correct, "the answer is right" if correct else "the answer is wrong")
        final = self.replay(puzzle, trajectory.actions)
        if len(final.numbers) != 1:
            return _verdict(False, f"unfinished, with {observation(final.numbers).lower()}")
        text = f"{render(final.expressions[0])} = {final.numbers[0]}"
        return _verdict(final.numbers[0] == TARGET and check_answer(puzzle, text), text)

    def replay(self, puzzle: Sequence[int], actions: Sequence[str]) -> Game24State:
        """The state after these actions; invalid ones change nothing."""
        state = start(puzzle)
        for action in actions:
            move = find_move(state.numbers, action, self.rules)
            state = state if move is None else apply(state, move)
        return state


def _verdict(correct: bool, reason: str) -> Verdict:
    return Verdict(correct, float(correct), reason)


def _last_line(text: str) -> str:
    return text.strip().rsplit("\n", 1)[-1].lower()


def check_answer(puzzle_numbers: Sequence[int], text: str) -> bool:
    """Whether the last line of `text` makes 24 from exactly the puzzle's numbers.

    Source: Yao et al., 2023, `test_output` of the published code.
    """
    expression = _last_line(text).replace("answer: ", "").split("=", 1)[0]
    if sorted(re.findall("[0-9]+", expression)) != sorted(map(str, puzzle_numbers)):
        return False
    try:
        return evaluate(expression) == TARGET
    except (ValueError, ZeroDivisionError):
        return False


def evaluate(expression: str) -> Fraction:
    """The exact value of numbers, + - * /, unary minus and parentheses.

    Raises:
        ValueError: if the text is anything else, too long or too deep.
        ZeroDivisionError: if it divides by zero.
    """
    tokens = _tokens(expression)
    value = _chain(tokens, 0)
    if tokens[0] != "end":
        raise ValueError(f"unexpected '{tokens[0]}'")
    return value


def _tokens(expression: str) -> deque[str]:
    if len(expression) > MAX_EXPRESSION or expression.count("(") > MAX_NESTING:
        raise ValueError("unexpected length or depth")
    tokens: deque[str] = deque()
    place = 0
    while place < len(expression):
        match = TOKEN.match(expression, place)
        if match is None:
            raise ValueError(f"unexpected '{expression[place]}'")
        tokens.append(match[1])
        place = match.end()
    tokens.append("end")
    return tokens


def _chain(tokens: deque[str], level: int) -> Fraction:
    """Operands joined from left to right by the operators of one level."""
    if level == len(LEVELS):
        return _operand(tokens)
    value = _chain(tokens, level + 1)
    while tokens[0] in LEVELS[level]:
        value = LEVELS[level][tokens.popleft()](value, _chain(tokens, level + 1))
    return value


def _operand(tokens: deque[str]) -> Fraction:
    """A number or a parenthesis, after any number of minus signs."""
    sign = 1
    while tokens[0] == "-":
        tokens.popleft()
        sign = -sign
    token = tokens.popleft()
    if token.isdigit():
        return Fraction(sign * int(token))
    if token != "(":
        raise ValueError(f"unexpected '{token}'")
    value = _chain(tokens, 0)
    if tokens.popleft() != ")":
        raise ValueError("a parenthesis stays open")
    return sign * value
