"""What an engine has under way, and what the vLLM servers behind it say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

METRIC = re.compile(r"^(vllm:\w+)(?:\{.*\})? ([-+]?\d[-+.\de]*)$", re.MULTILINE)
"""A sample of Prometheus' text format: a name, labels and a number."""


@dataclass(frozen=True)
class Load:
    """What one vLLM server says at /metrics; of several engines behind it the sum.

    Attributes:
        running, waiting: requests in its batch, and those it has no room for yet.
        cache_use: share of the memory for keys and values in use, of the fullest engine.
        looked_up: tokens it has looked up in its prefix cache since it started.
        hits: how many of them were there.
    """

    running: float = 0.0
    waiting: float = 0.0
    cache_use: float = 0.0
    looked_up: float = 0.0
    hits: float = 0.0


@dataclass(frozen=True)
class Traffic:
    """An engine's own requests, and the load of its servers.

    Attributes:
        in_flight: requests that were sent and are not answered.
        queued: those that wait here because `max_in_flight` are under way.
        asked: all that ever waited here, if only for an instant.
        in_flight_s, queued_s: seconds that all of them together have spent so.
        servers: by address; those that are no vLLM or do not answer are missing.
    """

    in_flight: int = 0
    queued: int = 0
    asked: int = 0
    in_flight_s: float = 0.0
    queued_s: float = 0.0
    servers: Mapping[str, Load] = field(default_factory=dict[str, Load])


def read_load(page: str) -> Load | None:
    """The load on a server's /metrics page; None if it is not that of a vLLM."""
    found: dict[str, list[float]] = {}
    for name, value in METRIC.findall(page):
        found.setdefault(name, []).append(float(value))
    if "vllm:num_requests_running" not in found:
        return None

    def total(name: str) -> float:
        return sum(found.get(name, ()))

    return Load(
        running=total("vllm:num_requests_running"),
        waiting=total("vllm:num_requests_waiting"),
        cache_use=max(found.get("vllm:kv_cache_usage_perc", (0.0,))),
        looked_up=total("vllm:prefix_cache_queries_total"),
        hits=total("vllm:prefix_cache_hits_total"),
    )


def together(all_traffic: Iterable[Traffic]) -> Traffic:
    """The traffic of several engines as that of one; a server that they share counts once."""
    found = list(all_traffic)
    return Traffic(
        in_flight=sum(each.in_flight for each in found),
        queued=sum(each.queued for each in found),
        asked=sum(each.asked for each in found),
        in_flight_s=sum(each.in_flight_s for each in found),
        queued_s=sum(each.queued_s for each in found),
        servers={url: load for each in found for url, load in each.servers.items()},
    )
