"""Every error agentsearch raises on purpose.

    AgentSearchError
      ConfigError          a key, type, name or value that a user wrote
      PluginError          an entry point that is missing or broken
      DataError            a file that is missing, damaged or of another kind
      ServerLost           a model's server that died and did not come back: ends the run
      SearchError          recorded on the task's result; never cancels siblings
        EngineError (CannotScore)  PolicyError  EnvError  ModelError
    BudgetExhausted        not a failure: carries kind, used, limit

Catch `AgentSearchError` to show a user one sentence; catch `SearchError` to record a
failed task and go on. A message says what is wrong with which value, then what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AgentSearchError(Exception):
    """Base of all errors a user can cause."""


class ConfigError(AgentSearchError):
    """A recipe, argument or override is wrong."""


class PluginError(AgentSearchError):
    """A plug-in is missing or cannot be loaded."""


class DataError(AgentSearchError):
    """A file is missing, damaged, or not what it should be."""


class ServerLost(AgentSearchError):
    """A model's server died and did not come back; the run ends, to be resumed."""


class SearchError(AgentSearchError):
    """One task failed; the run goes on."""


class EngineError(SearchError):
    """The model's server or process failed."""


class CannotScore(EngineError):
    """The engine samples, but gives no log-probabilities of given text."""


class PolicyError(SearchError):
    """A policy failed outside its engine."""


class EnvError(SearchError):
    """An environment raised."""


class ModelError(SearchError):
    """A value or reward model failed outside its engine."""


class BudgetExhausted(Exception):
    """Nothing is left of one kind of budget; the tree so far is the result."""

    def __init__(self, kind: str, used: float, limit: float) -> None:
        super().__init__(f"budget exhausted: {used:g} of {limit:g} {kind} used")
        self.kind = kind
        self.used = used
        self.limit = limit


class boundary:  # noqa: N801  # reads like contextlib.suppress
    """Attribute foreign exceptions to the part that raised them.

        with boundary(EngineError, "generate"):
            ...

    Our own errors, exhausted budgets and cancellations pass unchanged.
    """

    __slots__ = ("doing", "error")

    def __init__(self, error: type[SearchError], doing: str) -> None:
        self.error = error
        self.doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, where: object
    ) -> None:
        foreign = not isinstance(cause, (AgentSearchError, BudgetExhausted))
        if foreign and isinstance(cause, Exception):
            raise self.error(f"{self.doing}: {type(cause).__name__}: {cause}") from cause


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
