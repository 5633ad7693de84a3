"""Ends processes when its standard input is closed, which the death of its holder does too.

    python leash.py PID ...

vLLM's engine otherwise outlives a program that was killed, and keeps its GPU. It is run as
a file and needs the standard library alone, so that it starts at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

GRACE_S = 10.0


def hold(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """A process that ends `pids` with ours; kill it first, where they end in peace."""
    return subprocess.Popen(
        [sys.executable, "-I", __file__, *map(str, pids)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the program
    )


def let_go(leash: subprocess.Popen[bytes]) -> None:
    """Let the processes be."""
    leash.kill()
    leash.communicate()


def main() -> None:
    """Wait for the end of standard input, then end the processes kindly, then by force."""
    sys.stdin.buffer.read()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in map(int, sys.argv[1:]):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(GRACE_S)


if __name__ == "__main__":
    main()
