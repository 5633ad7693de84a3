"""Seeds derived from what a draw is for, never from time or order of arrival."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from the text of `parts`, equal on every machine.

    Used with (run seed, task id, node id, role, draw), and with (seed, i) for the
    i-th of several samples, so that no two draws share a stream.
    """
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
