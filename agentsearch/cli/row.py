"""What `agentsearch doctor` finds, a row at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One thing that was looked at.

    Attributes:
        ok: None where it is only told.
        needed: whether nothing works where it is not ok.
        do: what to do where it is not ok.
    """

    name: str
    ok: bool | None
    detail: str
    needed: bool = False
    do: str = ""
