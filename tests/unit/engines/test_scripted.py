"""The scripted engine and the switch that forbids real ones."""

import asyncio
import time

import pytest

from agentsearch.engines.guard import SWITCH, check_real_engines_allowed
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError, EngineError
from agentsearch.types import Message, Request

HELLO = (Message("system", "be brief please"), Message("user", "go on"))


def test_every_sample_is_the_function_of_request_and_index():
    engine = ScriptedEngine(lambda request, i: f"{request.messages[-1].content} {i}")
    completions = asyncio.run(engine.generate(Request(HELLO, n=3)))
    assert [c.text for c in completions] == ["go on 0", "go on 1", "go on 2"]
    assert {c.finish for c in completions} == {"stop"}


def test_words_are_tokens():
    engine = ScriptedEngine(lambda request, i: "one two three")
    first, second = asyncio.run(engine.generate(Request(HELLO, n=2)))
    assert (first.prompt_tokens, first.cached_tokens, first.generated_tokens) == (5, 0, 3)
    assert (second.prompt_tokens, second.cached_tokens) == (5, 5)
    assert engine.count_prompt_tokens(Request(HELLO)) == 5


def test_max_tokens_cuts():
    engine = ScriptedEngine(lambda request, i: "one two three")
    (cut,) = asyncio.run(engine.generate(Request(HELLO, max_tokens=2)))
    assert (cut.text, cut.finish, cut.generated_tokens) == ("one two", "length", 2)


def test_choices_are_scored_in_order():
    engine = ScriptedEngine(score=lambda request, choice: -float(len(choice)))
    scored = asyncio.run(engine.generate(Request(HELLO, choices=("go left", "up"))))
    assert [(c.text, c.logprob, c.finish) for c in scored] == [
        ("go left", -7.0, "scored"),
        ("up", -2.0, "scored"),
    ]


def test_a_reservation_is_what_a_request_can_cost_at_most():
    engine = ScriptedEngine(lambda request, i: "one two three", score=lambda request, choice: 0.0)
    for request in (Request(HELLO, n=2, max_tokens=3), Request(HELLO, choices=("go left", "up"))):
        prompt, call = engine.most_tokens(request)
        made = asyncio.run(engine.generate(request))
        calls = 1 if request.choices else request.n
        assert prompt == sum(c.prompt_tokens - c.cached_tokens for c in made)
        assert calls * call == sum(c.generated_tokens for c in made)


def test_choices_need_a_score():
    engine = ScriptedEngine(replies=["x"])
    with pytest.raises(EngineError, match="score"):
        asyncio.run(engine.generate(Request(HELLO, choices=("a",))))


def test_replies_are_drawn_by_the_seed():
    engine = ScriptedEngine(replies=["a", "b", "c"])

    def texts(seed: int) -> list[str]:
        return [c.text for c in asyncio.run(engine.generate(Request(HELLO, n=30, seed=seed)))]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert set(texts(1)) == {"a", "b", "c"}


def test_latency_is_waited_for():
    engine = ScriptedEngine(replies=["a"], latency_s=0.05)
    start = time.perf_counter()
    asyncio.run(engine.generate(Request(HELLO)))
    assert time.perf_counter() - start >= 0.05


def test_an_engine_with_nothing_to_say_is_refused():
    with pytest.raises(ConfigError, match="reply"):
        ScriptedEngine()
    with pytest.raises(ConfigError, match="list"):
        ScriptedEngine(replies="hello")


def test_the_switch_forbids_real_engines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SWITCH, "0")
    check_real_engines_allowed("hf")
    monkeypatch.setenv(SWITCH, "1")
    with pytest.raises(EngineError, match="'hf' may not be used"):
        check_real_engines_allowed("hf")


def test_what_an_engine_cannot_force_is_refused():
    request = Request((Message("user", "Hello"),), among=("yes", "no"))
    with pytest.raises(EngineError, match="cannot keep its samples to given texts"):
        asyncio.run(ScriptedEngine(replies=("maybe",)).generate(request))
