"""The OpenAI protocol as vLLM speaks it: messages out, replies in, read and checked.

A reply that is not sound raises `Fault`, so that it is asked for again: another shape, no
choices, log-probabilities that are no finite numbers, a choice that the server broke off,
and a choice without text that the model did not leave empty itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from agentsearch.engines.http import Fault, Json, Servers, excerpt
from agentsearch.engines.replicas import prefix_of
from agentsearch.types import Completion, Message, Request, Tokens

BROKEN_OFF = ("abort", "error")
"""What vLLM gives as `finish_reason` where it ended a completion itself."""
WORDS = ("content", "reasoning", "reasoning_content", "tool_calls", "refusal")
"""Where servers put what a model wrote."""


def as_json(messages: Sequence[Message]) -> list[Json]:
    """Messages as the protocol writes them."""
    return [{"role": message.role, "content": message.content} for message in messages]


async def tokenize_chat(
    servers: Servers, model: str, messages: Sequence[Message], open_turn: bool = True
) -> list[int]:
    """Token ids of a chat as the model sees it, with the assistant's turn opened or not.

    Raises:
        Refused: the server does not tokenise.
    """
    body = {
        "model": model,
        "messages": as_json(messages),
        "add_generation_prompt": open_turn,
    }
    return await servers.ask("/tokenize", body, _token_ids, prefix=prefix_of(messages))


async def tokenize_text(servers: Servers, model: str, text: str) -> list[int]:
    """Token ids of plain text.

    Raises:
        Refused: the server does not tokenise.
    """
    body = {"model": model, "prompt": text, "add_special_tokens": False}
    return await servers.ask("/tokenize", body, _token_ids)


def _token_ids(reply: Json) -> list[int]:
    with well_formed(reply):
        return [int(token) for token in reply["tokens"]]


def read_chat(reply: Json, request: Request, model: str, counts: Counter[str]) -> list[Completion]:
    """The completions of a chat in order.

    Raises:
        Fault: the reply is not sound.
    """
    with well_formed(reply):
        choices = read_choices(reply)
        usage: Json = reply.get("usage") or {}
        if not usage:
            counts["replies_without_usage"] += 1
        prompt_ids: list[int] = reply.get("prompt_token_ids") or []
        prompt = usage.get("prompt_tokens") or len(prompt_ids)
        logprobs = [_logprobs(choice) for choice in choices]
        ids: list[list[int]] = [choice.get("token_ids") or [] for choice in choices]
        total: int | None = usage.get("completion_tokens")
        generated = _shares(total, ids, logprobs)
        for i, choice in enumerate(choices):
            alone = total if len(choices) == 1 else None
            _check_choice(choice, request, len(ids[i]) or len(logprobs[i]) or alone)
        # a forced reply has the probabilities of what was allowed, not the model's own,
        # and the ids do not say where a stop string cut the text
        raw = request.among is None
        exact = raw and not request.stop
        return [
            Completion(
                text=choice["message"].get("content") or "",
                finish="length" if choice.get("finish_reason") == "length" else "stop",
                tokens=_tokens(prompt_ids, ids[i], logprobs[i]) if exact else None,
                logprob=sum(logprobs[i]) if logprobs[i] and raw else None,
                prompt_tokens=prompt,
                cached_tokens=prompt if i else cached_tokens(reply),
                generated_tokens=generated[i],
                version=version(model, reply),
            )
            for i, choice in enumerate(choices)
        ]


def read_choices(reply: Json) -> list[Json]:
    """The choices of a reply in order.

    Raises:
        Fault: there is none.
    """
    choices: list[Json] = reply.get("choices") or []
    if not choices:
        raise Fault("malformed", f"sent a reply without choices: {excerpt(reply)}")
    return sorted(choices, key=lambda each: each.get("index") or 0)


def cached_tokens(reply: Json) -> int:
    """Prompt tokens that the server had computed before, where it says so."""
    usage: Json = reply.get("usage") or {}
    return (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


def version(model: str, reply: Json) -> str:
    """The model's name, and the server's fingerprint where it gives one."""
    fingerprint = reply.get("system_fingerprint")
    known = not fingerprint or model.endswith(f"@{fingerprint}")
    return model if known else f"{model}@{fingerprint}"


def finite(logprob: Any) -> float:
    """A log-probability.

    Raises:
        Fault: it is infinite or no number.
    """
    value = float(logprob)
    if not math.isfinite(value):
        raise Fault("bad_logprobs", f"gave a log-probability of {value}")
    return value


@contextmanager
def well_formed(reply: Json) -> Generator[None]:
    """What a reply of another shape makes the reading code raise, as a fault.

    Raises:
        Fault: the reply has another shape.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Fault(
            "malformed",
            f"sent a malformed reply ({type(error).__name__}: {error}): {excerpt(reply)}",
        ) from error


def _check_choice(choice: Json, request: Request, generated: int | None) -> None:
    """Refuse what the server broke off or lost.

    The shortest turn of a model is its end-of-turn token alone. So a choice without text is
    the model's own if it has exactly one token, or if the server does not say. With none
    nothing was generated; with several their text was lost, unless a stop string cut it.
    """
    finish = choice.get("finish_reason")
    if finish in BROKEN_OFF:
        raise Fault("broken_off", f"broke off a completion (finish_reason {finish!r})")
    if any(map(choice["message"].get, WORDS)) or request.stop or generated in (1, None):
        return
    raise Fault("empty", f"sent a completion of {generated} tokens without text")


def _logprobs(choice: Json) -> list[float]:
    content: list[Json] = (choice.get("logprobs") or {}).get("content") or []
    return [finite(each["logprob"]) for each in content]


def _tokens(prompt: list[int], ids: list[int], logprobs: list[float]) -> Tokens | None:
    """Exact tokens, where the server gave the prompt's, the completion's and their scores."""
    if not prompt or not ids or len(ids) != len(logprobs):
        return None
    return Tokens(tuple(prompt), tuple(ids), tuple(logprobs), (True,) * len(ids))


def _shares(
    total: int | None, ids: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]
) -> list[int]:
    """Generated tokens of every choice, which add up to what the server says."""
    counts = [len(a) or len(b) for a, b in zip(ids, logprobs, strict=True)]
    if total is None:
        return counts
    if not all(counts):
        counts = [total // len(counts)] * len(counts)
    counts[0] += total - sum(counts)
    return counts
