"""What a model's server can do, found out by asking it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from agentsearch.config import Builder, as_component
from agentsearch.engines.openai import OpenAIEngine, import_openai
from agentsearch.errors import AgentSearchError, ConfigError
from agentsearch.types import Completion, Message, Request

if TYPE_CHECKING:
    from agentsearch.budget import Metered
    from agentsearch.cli.doctor import Row

QUESTION = (Message("user", "Write down five random numbers."),)
SEED = 24


def engine_of(policy: str) -> Metered:
    """The engine behind a policy's name.

    Raises:
        ConfigError: it has none.
    """
    component = as_component("policy", policy)
    if "engine" not in component:
        raise ConfigError(
            f"policy {policy!r}: has no model to try; give tiny, hf:PATH or openai:MODEL@URL."
        )
    return Builder().engine(component["engine"], "policy.engine")


def rows(engine: Metered) -> list[Row]:
    """What the engine answers and what it can do; only an answer is needed."""
    return asyncio.run(_rows(engine))


async def _rows(engine: Metered) -> list[Row]:
    try:
        return [row async for row in _asked(engine)]
    finally:
        await engine.close()


async def _asked(engine: Metered) -> AsyncIterator[Row]:
    from agentsearch.cli.doctor import Row
    from agentsearch.commands import preflight

    if isinstance(engine.engine, OpenAIEngine):
        yield await asyncio.to_thread(_served, engine.engine)
    try:
        await preflight([engine])
        yield Row("model", True, "reachable", needed=True)
        first = await engine.engine.generate(Request(QUESTION, n=2, max_tokens=16, seed=SEED))
        again = await engine.engine.generate(Request(QUESTION, n=2, max_tokens=16, seed=SEED))
    except AgentSearchError as error:
        yield Row("model", False, str(error), needed=True)
        return
    reply = first[0]
    yield Row("answers", True, f"{reply.text[:60]!r}, version {reply.version or 'unknown'}")
    yield Row("n > 1", len(first) == 2, _yes(len(first) == 2, "several samples a request"))
    known = reply.logprob is not None
    yield Row("log-probabilities", known, _yes(known, "of what it sampled"))
    ids = reply.tokens is not None
    yield Row("token ids", ids, _yes(ids, "replies can be trained on"))
    same = [each.text for each in first] == [each.text for each in again]
    yield Row("seeds", same, _yes(same, "the same seed gives the same reply"))
    scores, why = await _scores(engine)
    yield Row("scores given texts", scores, why)


def _served(engine: OpenAIEngine) -> Row:
    """The models that a server says it has."""
    from agentsearch.cli.doctor import Row

    openai = import_openai()
    key = os.environ.get(engine.api_key_env) or "none"
    client = openai.OpenAI(api_key=key, base_url=engine.base_url, timeout=10, max_retries=0)
    try:
        models = [str(each.id) for each in client.models.list()]
    except Exception as error:  # its text may quote the key
        return Row("models", False, f"{engine.base_url} gives no list ({type(error).__name__})")
    return Row("models", engine.model in models, ", ".join(models) or "none")


async def _scores(engine: Metered) -> tuple[bool, str]:
    """Whether the policy `scoring` and expected votes can be used."""
    try:
        scored: list[Completion] = await engine.engine.generate(
            Request(QUESTION, choices=("yes", "no"))
        )
    except AgentSearchError as error:
        return False, str(error)
    able = all(each.logprob is not None for each in scored)
    return able, _yes(able, "policy scoring and expected votes work")


def _yes(able: bool, what: str) -> str:
    return f"yes: {what}" if able else "no"
