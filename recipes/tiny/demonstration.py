"""What a demonstration is: a chat with the answers of one role."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from agentsearch.types import Message


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
