"""Runs a command that does not outlive whoever started it.

    python warden.py GRACE_S COMMAND ...

Standard input is the leash. When it is closed, which the death of its holder does too, the
command is asked to end, and after GRACE_S seconds at most what is left of its process group is
killed. A command that ends by itself takes what it left running with it. It is run as a
file and needs the standard library alone, so that it starts at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

POLL_S = 0.05
LEFTOVERS_S = 5.0
"""What processes that outlive the command get, once to end and once to be cleared away."""


def start(command: Sequence[str], grace_s: float, **streams: Any) -> subprocess.Popen[Any]:
    """Start a command under a warden; closing the `stdin` of what is returned ends it.

    Args:
        command: with all arguments.
        grace_s: what it has to end by itself, before what is left is killed.
        streams: `stdout`, `stderr` and `env`, as `subprocess.Popen` takes them.
    """
    return subprocess.Popen(
        [sys.executable, "-I", __file__, str(grace_s), *command],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us, who pass it on
        **streams,
    )


def guard(command: Sequence[str], grace_s: float) -> int:
    """Run a command to its end; its exit code, 128 + N where signal N ended it."""
    _on_signal(_leave)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        threading.Thread(target=_leave_when_cut, daemon=True).start()
        code = process.wait()
    finally:
        end(process, grace_s)
    return code if code >= 0 else 128 - code


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End a process kindly, which ends its own, then whatever is left of its group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _send(process, number)
        deadline = time.monotonic() + LEFTOVERS_S
        while _send(process, 0) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _send(process: subprocess.Popen[bytes], number: int) -> bool:
    """Signal the group; False where nothing is left of it."""
    process.poll()  # an ended leader counts until it is waited for
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses where all have ended
        return False
    return True


def _leave_when_cut() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(number: int, _: FrameType | None) -> None:
    _on_signal(signal.SIG_IGN)  # once is enough
    sys.exit(128 + number)


def _on_signal(action: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, action)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[2:], float(sys.argv[1])))
