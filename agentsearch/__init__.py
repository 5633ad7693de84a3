"""Search over the actions of language-model agents, then train on what was found.

    from agentsearch import Limits, Setup, solve, run_sync

Everything public is named here; heavy libraries are imported where they are used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from agentsearch.budget import Budget, Limits, Usage
from agentsearch.errors import AgentSearchError, BudgetExhausted, ConfigError, SearchError
from agentsearch.problem import Problem
from agentsearch.runner import Result, Setup, run, solve
from agentsearch.tree import Node, Tree
from agentsearch.types import (
    Context,
    EnvSpec,
    Message,
    Proposal,
    Request,
    Step,
    Task,
    Trajectory,
    Turn,
    Verdict,
)

__version__ = "0.1.0"

__all__ = [
    "AgentSearchError",
    "Budget",
    "BudgetExhausted",
    "ConfigError",
    "Context",
    "EnvSpec",
    "Limits",
    "Message",
    "Node",
    "Problem",
    "Proposal",
    "Request",
    "Result",
    "SearchError",
    "Setup",
    "Step",
    "Task",
    "Trajectory",
    "Tree",
    "Turn",
    "Usage",
    "Verdict",
    "run",
    "run_sync",
    "solve",
]

T = TypeVar("T")


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine from code that is not async."""
    return asyncio.run(work)
