"""What a demonstration is, and what the worlds that they come from share."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from agentsearch.types import Message
from recipes.tiny.settings import PROFILE, Settings, load

WORDS = ("sure", "likely", "impossible")
WORTHS = (1.0, 0.5, 0.0)
"""Of `WORDS`, as value `votes` has them."""


@dataclass(frozen=True)
class Demonstration:
    """One chat with the answers of one role.

    Attributes:
        source: the puzzle or seed it was made from.
        learn: indices of the assistant messages to learn.
    """

    role: str
    source: Hashable
    messages: tuple[Message, ...]
    learn: tuple[int, ...]


def answered(
    role: str, source: Hashable, messages: Sequence[Message], answer: str
) -> Demonstration:
    """A question and the one answer to learn."""
    chat = (*messages, Message("assistant", answer))
    return Demonstration(role, source, chat, (len(chat) - 1,))


def judgement(worth: float, rng: random.Random) -> str:
    """One of `WORDS`, drawn so that its expected worth is `worth`."""
    high, low = (WORDS[0], WORDS[1]) if worth > 0.5 else (WORDS[1], WORDS[2])
    share = 2 * worth - 1 if worth > 0.5 else 2 * worth
    return high if rng.random() < share else low


def play_splits(about: str | None, record: Callable[[Settings, str, int], int]) -> None:
    """The command that plays a world's episodes of train and dev, and keeps them.

    Args:
        about: what the command says of itself.
        record: plays those of a split with so many processes; how many there are.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--profile", default=PROFILE)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    settings = load(arguments.profile)
    settings.build.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev"):
        print(f"{split}: {record(settings, split, arguments.processes)} episodes", flush=True)
