"""What every engine checks before it sends anything, and the switch for unit tests."""

from __future__ import annotations

import os

from agentsearch.errors import EngineError
from agentsearch.types import Request

SWITCH = "AGENTSEARCH_FORBID_REAL_ENGINES"


def check_real_engines_allowed(name: str) -> None:
    """Called by every engine that reaches a real model, before it first does.

    Raises:
        EngineError: if the environment variable AGENTSEARCH_FORBID_REAL_ENGINES is 1.
    """
    if os.environ.get(SWITCH) == "1":
        raise EngineError(
            f"The engine '{name}' may not be used while {SWITCH}=1; "
            "use ScriptedEngine, or mark the test as an integration test."
        )


def check_request(request: Request) -> None:
    """Refuse a request that no engine could answer.

    Raises:
        EngineError: with the field and its value.
    """
    if not request.messages:
        raise EngineError("The request has no messages; give at least one.")
    if request.choices is not None:
        if not request.choices:
            raise EngineError("The request has no choices to score; give at least one.")
        return
    if request.n < 1:
        raise EngineError(f"The request asks for n={request.n} samples; ask for 1 or more.")
    if request.max_tokens < 1:
        raise EngineError(f"The request has max_tokens={request.max_tokens}; allow 1 or more.")
    if not request.temperature >= 0:
        raise EngineError(f"The request has temperature={request.temperature}; use 0 or more.")
    if not 0 < request.top_p <= 1:
        raise EngineError(f"The request has top_p={request.top_p}; use more than 0, at most 1.")


def check_unforced(request: Request, name: str) -> None:
    """Called by engines that cannot keep a sample to given texts.

    Raises:
        EngineError: the request asks for that.
    """
    if request.among is not None:
        raise EngineError(
            f"The engine '{name}' cannot keep its samples to given texts (`among`); "
            "score them with `choices`, or use a vLLM server."
        )
