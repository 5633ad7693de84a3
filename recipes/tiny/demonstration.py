"""What a demonstration is: a chat with the answers of one role."""

from __future__ import annotations

from collections.abc import Hashable
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
