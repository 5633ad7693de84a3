"""Batches of demonstrations of every environment, as tokens."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from agentsearch.types import Message
from recipes.tiny import babyai, game24, webshop
from recipes.tiny.demonstration import Demonstration
from recipes.tiny.model import Example
from recipes.tiny.settings import Settings, load

ROLES = ("propose", "judge", "choose", "complete")
GROUPS = 4


class Encoder:
    """Tokenises chats message by message, as the chat template would, and remembers them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.text = lru_cache(maxsize=1 << 17)(self._text)
        self.begin, self.end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
        self.newline = self.text("\n")

    def _text(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def example(self, demonstration: Demonstration) -> Example:
        """The chat's tokens; it ends on the end of its last turn, without the newline."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for index, message in enumerate(demonstration.messages):
            ids += self.newline if ids else ()
            ids += self.header(message.role)
            first = len(ids)
            ids += (*self.text(message.content), self.end)
            if index in demonstration.learn:
                spans.append((first, len(ids)))
        return Example(tuple(ids), tuple(spans))

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens of a chat up to the assistant's next words."""
        chat = Demonstration("", (), tuple(messages), ())
        return (*self.example(chat).ids, *self.newline, *self.header("assistant"))

    def header(self, role: str) -> tuple[int, ...]:
        """The tokens that begin a turn."""
        return (self.begin, *self.text(f"{role}\n"))


def batch(settings: Settings, encoder: Encoder, step: int, rank: int) -> list[list[Example]]:
    """The examples of one process at one step, in groups that share a prefix or a length."""
    rng = random.Random(f"{settings.seed}/{step}/{rank}")
    made = demonstrations(settings, settings.batch_size, rng, step=step)
    return [group for name, each in made.items() for group in grouped(name, each, encoder)]


def grouped(name: str, made: Sequence[Demonstration], encoder: Encoder) -> Iterator[list[Example]]:
    """One environment's examples: those about one page of a shop together, others by length."""
    if name != "webshop":
        yield from in_groups(list(map(encoder.example, made)))
        return
    pages = [list(page) for _, page in itertools.groupby(made, key=lambda each: each.source)]
    alone = [page[0] for page in pages if len(page) == 1]
    yield from in_groups(list(map(encoder.example, alone)))
    yield from (list(map(encoder.example, page)) for page in pages if len(page) > 1)


def demonstrations(
    settings: Settings,
    count: int,
    rng: random.Random,
    split: str = "train",
    step: int = 0,
) -> dict[str, list[Demonstration]]:
    """`count` demonstrations by environment, in their shares, and WebShop's beside them."""
    of_babyai = round(settings.babyai_share * count)
    of_webshop = round(settings.webshop_pages * count / settings.batch_size)
    makers = {
        "game24": (game24, count - of_babyai),
        "babyai": (babyai, of_babyai),
        "webshop": (webshop, of_webshop),
    }
    return {
        name: list(module.demonstrations(settings, number, rng, split, step))
        for name, (module, number) in makers.items()
        if number
    }


def in_groups(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples by length, in groups of like length, so that little is padded."""
    if not examples:
        return []
    ordered = sorted(examples, key=lambda example: len(example.ids))
    size = -(-len(ordered) // GROUPS)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def main() -> None:
    """Print how many demonstrations there are of each role, and one of each."""
    for name, made in demonstrations(load(), 2000, random.Random(0)).items():
        print(name, Counter(d.role for d in made))
        for role in ROLES:
            one = next(d for d in made if d.role == role)
            print(role, one.learn, *(f"[{m.role}] {m.content}" for m in one.messages), sep="\n")


if __name__ == "__main__":
    main()
