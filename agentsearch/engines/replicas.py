"""Which of several servers of one model gets a request.

Requests that begin alike belong together, since a server computes a shared prefix once.
Every server that is up draws a number from the prefix and its own address, and the highest
is the prefix's home (rendezvous hashing: when a server leaves, only its own prefixes move).
A home with markedly more in flight than the least loaded server is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentsearch.seeds import derive_seed
from agentsearch.types import Message

PREFIX_CHARACTERS = 256
"""Of the first message after the system message: enough to tell tasks apart."""
SPARE = 4
"""Requests in flight that a home may have beyond `OVERLOAD` times the least."""
OVERLOAD = 1.5


@dataclass(eq=False)
class Replica:
    """One server, as one event loop sees it.

    Attributes:
        url: its address, without a slash at the end.
        proxy: what stands between, where the environment names one.
        in_flight: our own requests that it has not answered yet.
        answered: whether it ever answered anything.
        down: whether it does not answer now.
        trouble: what its last failure was, for people.
        looking: the question whether it answers, shared by all who doubt it.
    """

    url: str
    proxy: str | None = None
    in_flight: int = 0
    answered: bool = False
    down: bool = False
    trouble: str = ""
    looking: asyncio.Task[bool] | None = field(default=None, repr=False)


def prefix_of(messages: Sequence[Message]) -> str:
    """What requests that belong together have in common: system message and first words."""
    system = messages[0].content if messages[0].role == "system" else ""
    first = messages[1:2] if system else messages[:1]
    return system + "".join(message.content[:PREFIX_CHARACTERS] for message in first)


def choose(replicas: Sequence[Replica], prefix: str) -> Replica:
    """The home of `prefix`, or the least loaded server where that has much less to do."""
    if len(replicas) == 1:
        return replicas[0]
    home = max(replicas, key=lambda each: derive_seed(each.url, prefix))
    least = min(replicas, key=lambda each: each.in_flight)
    return least if home.in_flight > OVERLOAD * least.in_flight + SPARE else home
