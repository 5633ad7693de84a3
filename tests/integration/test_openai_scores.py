"""The openai engine scores given texts, in two ways that agree."""

import logging
import math
from collections.abc import Iterator
from typing import Any

import pytest

from agentsearch.engines.scoring import MOST_TOKEN_IDS
from agentsearch.errors import CannotScore, EngineError
from agentsearch.types import Message, Request
from tests.servers import END, GO, PROMPT, FakeServer, ask, encode, engine_at, logprobs_of, serving

pytest.importorskip("aiohttp")

ACTIONS = ("left", "go right", "go left", "go", "")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def completions(server: FakeServer) -> list[dict[str, Any]]:
    return [body for path, body, _ in server.requests if path == "/v1/completions"]


@pytest.mark.parametrize("scoring", ["prefill", "walk"])
def test_texts_are_scored_token_by_token_and_closed(server: FakeServer, scoring: str):
    engine = engine_at(server, scoring=scoring)
    (scored,) = ask(engine, Request(GO, choices=ACTIONS))
    for completion, text in zip(scored, ACTIONS, strict=True):
        ids = [*encode(text), END]
        assert completion.tokens is not None
        assert completion.tokens.ids == tuple(ids)
        assert completion.tokens.prompt == tuple(PROMPT)
        assert completion.tokens.logprobs == tuple(logprobs_of(PROMPT, ids))
        assert not any(completion.tokens.sampled)
        assert completion.logprob == pytest.approx(math.fsum(logprobs_of(PROMPT, ids)))
        assert (completion.finish, completion.text) == ("scored", text)
        assert completion.prompt_tokens == len(PROMPT)
        assert completion.generated_tokens == len(ids)
    assert engine.counts[f"scored_by_{scoring}"] == 1


def test_prefill_sends_every_text_behind_the_prompt(server: FakeServer):
    ask(engine_at(server, scoring="prefill"), Request(GO, choices=ACTIONS))
    (body,) = completions(server)
    assert (body["max_tokens"], body["echo"]) == (0, True)
    assert body["prompt"] == [[*PROMPT, *encode(text), END] for text in ACTIONS]


def test_a_walk_asks_once_for_every_place_and_names_the_tokens_that_continue(server: FakeServer):
    ask(engine_at(server, scoring="walk"), Request(GO, choices=("go", "no", "got")))
    asked = [(body["prompt"], body["logprob_token_ids"]) for body in completions(server)]
    at = [[*PROMPT, *encode(text)] for text in ("", "g", "n", "go", "no", "got")]
    root, *deeper = asked
    assert root == ([at[0]], encode("gn"))
    assert sorted(deeper, key=lambda each: len(each[0][0])) == [
        ([at[1], at[2]], encode("o")),
        ([at[3], at[4]], [END, *encode("t")]),
        ([at[5]], [END]),
    ]
    assert all(body["max_tokens"] == 1 for body in completions(server))


def test_many_tokens_at_one_place_are_asked_for_in_parts(server: FakeServer):
    texts = tuple(chr(1000 + i) for i in range(MOST_TOKEN_IDS + 40))
    (scored,) = ask(engine_at(server, scoring="walk"), Request(GO, choices=texts))
    for completion, text in zip(scored, texts, strict=True):
        assert completion.tokens is not None
        assert completion.tokens.logprobs == tuple(logprobs_of(PROMPT, [ord(text), END]))
    first, *others = (len(body["logprob_token_ids"]) for body in completions(server))
    assert (first, sorted(others)) == (128, [1, 40])  # the others go side by side


def test_the_shorter_way_is_taken(server: FakeServer):
    engine = engine_at(server)
    few, many = ("left", "right"), tuple(f"{i}" for i in range(10))
    ask(engine, Request(GO, choices=few))
    assert engine.counts["scored_by_prefill"] == 1
    long = (Message("system", "be brief " * 100), GO[1])
    ask(engine, Request(long, choices=many))
    assert engine.counts["scored_by_walk"] == 1


@pytest.mark.parametrize("how", ["ignored", "refused"])
def test_a_server_that_cannot_be_walked_is_found_out_once(
    server: FakeServer, how: str, caplog: pytest.LogCaptureFixture
):
    getattr(server, how).add("logprob_token_ids")
    long = (Message("system", "be brief " * 100), GO[1])
    request = Request(long, choices=tuple(f"{i}" for i in range(10)))
    engine = engine_at(server, memory=0)
    with caplog.at_level(logging.WARNING, "agentsearch"):
        first = ask(engine, request)
        assert ask(engine, request) == first
    assert "Going on with prefill." in caplog.text
    assert engine.counts["without_logprob_token_ids"] == 1
    assert engine.counts["scored_by_prefill"] == 2
    assert ["echo" in body for body in completions(server)] == [False, True, True]
    with pytest.raises(CannotScore, match="logprob_token_ids"):
        ask(engine_at(server, scoring="walk"), request)


def test_a_server_with_adapters_is_never_asked_for_a_prompts_log_probabilities(server: FakeServer):
    server.adapters = True
    few = Request(GO, choices=("left", "right"))  # where prefill would be the shorter way
    engine = engine_at(server)
    (scored,) = ask(engine, few)
    assert engine.counts["scored_by_walk"] == 1
    with pytest.raises(CannotScore, match="--enable-lora .*; scoring=walk may do"):
        ask(engine_at(server, scoring="prefill"), few)
    server.ignored = {"logprob_token_ids"}
    with pytest.raises(CannotScore, match="--enable-lora .* are wrong\\); use policy 'prompted'"):
        ask(engine_at(server), few)
    assert not any(body.get("echo") for body in completions(server))
    server.adapters = False
    assert ask(engine_at(server), few) == [scored]


# what it is charged


@pytest.mark.parametrize(("cached", "first"), [(0, 0), (10, 5), (10_000, len(PROMPT))])
def test_the_choices_of_a_prefill_are_charged_one_prompt(
    server: FakeServer, cached: int, first: int
):
    server.cached = cached
    request = Request(GO, choices=("left", "right"))
    (scored,) = ask(engine_at(server, scoring="prefill"), request)
    assert {each.prompt_tokens for each in scored} == {len(PROMPT)}
    assert [each.cached_tokens for each in scored] == [first, len(PROMPT)]


@pytest.mark.parametrize(("cached", "first"), [(0, 0), (16, 16), (10_000, len(PROMPT))])
def test_a_walk_is_charged_what_the_prompt_lacked_in_the_cache(
    server: FakeServer, cached: int, first: int
):
    server.cached = cached
    (scored,) = ask(engine_at(server, scoring="walk"), Request(GO, choices=("left", "right")))
    assert [each.cached_tokens for each in scored] == [first, len(PROMPT)]


def test_choices_are_tokenised_once(server: FakeServer):
    engine = engine_at(server, scoring="prefill")
    ask(engine, Request(GO, choices=("left", "left", "right")))
    before = len(server.requests)
    ask(engine, Request(GO, choices=("right", "left")))
    paths = [path for path, _, _ in server.requests[before:]]
    assert paths == ["/tokenize", "/v1/completions"]


# what is wrong


@pytest.mark.parametrize("path", ["/tokenize", "/v1/completions"])
def test_a_server_that_cannot_score_says_what_to_do(server: FakeServer, path: str):
    server.missing = {path}
    with pytest.raises(CannotScore, match="cannot score given text .*use policy 'prompted'"):
        ask(engine_at(server), Request(GO, choices=("left",)))


def test_a_server_without_echo_cannot_score(server: FakeServer):
    for server.echo in ("", "nulls"):
        with pytest.raises(CannotScore, match="cannot score given text"):
            ask(engine_at(server), Request(GO, choices=("left",)))
    server.refused = {"echo"}
    with pytest.raises(CannotScore, match="cannot score given text .*unknown field"):
        ask(engine_at(server), Request(GO, choices=("left",)))


def test_a_wrong_key_is_not_taken_for_a_server_that_cannot_score(server: FakeServer):
    server.key = "secret"
    with pytest.raises(EngineError, match="refused the key") as caught:
        ask(engine_at(server), Request(GO, choices=("left",)))
    assert not isinstance(caught.value, CannotScore)


@pytest.mark.parametrize("scoring", ["prefill", "walk"])
def test_faults_of_a_scoring_server_are_tried_again(server: FakeServer, scoring: str):
    engine = engine_at(server, scoring=scoring, memory=0)
    request = Request(GO, choices=ACTIONS)
    sound = ask(engine, request)
    server.faults, server.fault_rate, server.most_faults = ["malformed", "no_choices"], 1.0, 3
    assert ask(engine, request) == sound
    assert engine.counts["retried_malformed"] == 3


def test_a_choice_that_does_not_fit_behind_the_prompt_is_refused(server: FakeServer):
    server.context = len(PROMPT) + 3
    engine = engine_at(server)
    ask(engine, Request(GO, choices=("go", "")))
    with pytest.raises(EngineError, match=f"has {len(PROMPT)} tokens and 5 more are wanted"):
        ask(engine, Request(GO, choices=("go", "left")))
    assert engine.counts["context_overflows"] == 1
