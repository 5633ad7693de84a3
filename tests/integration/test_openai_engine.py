"""The openai engine against a real HTTP server on loopback that the test starts."""

import asyncio
import inspect
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agentsearch.engines.hf import HFEngine
from agentsearch.engines.load import Load, Traffic
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.engines.room import Room
from agentsearch.errors import ConfigError, EngineError
from agentsearch.seeds import derive_seed
from agentsearch.types import Completion, Message, Request
from tests.servers import (
    END,
    GO,
    PROMPT,
    FakeServer,
    ask,
    encode,
    engine_at,
    logprobs_of,
    render,
    serving,
)

pytest.importorskip("aiohttp")

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


# sampling


def test_samples_come_in_one_request_with_tokens_and_usage(server: FakeServer):
    request = Request(GO, n=3, max_tokens=9, temperature=0.7, top_p=0.9, seed=5)
    (completions,) = ask(engine_at(server), request)
    (body,) = server.chats()
    assert body["messages"] == [{"role": m.role, "content": m.content} for m in GO]
    assert (body["n"], body["max_tokens"], body["temperature"], body["top_p"]) == (3, 9, 0.7, 0.9)
    for i, completion in enumerate(completions):
        text = str(body["seed"]) + i * "+"
        ids = (*encode(text), END)
        assert completion.text == text
        assert completion.tokens is not None
        assert completion.tokens.prompt == tuple(PROMPT)
        assert completion.tokens.ids == ids
        assert completion.tokens.logprobs == tuple(logprobs_of(PROMPT, ids))
        assert all(completion.tokens.sampled)
        assert completion.logprob == pytest.approx(sum(logprobs_of(PROMPT, ids)))
        assert completion.prompt_tokens == len(PROMPT)
        assert completion.cached_tokens == (len(PROMPT) if i else 3)
        assert completion.generated_tokens == len(ids)
        assert (completion.finish, completion.version) == ("stop", "fake@fp_7")


def test_seeds_have_31_bits_and_follow_the_request(server: FakeServer):
    engine = engine_at(server)
    ask(engine, *(Request(GO, seed=seed) for seed in (1, 1, 2, 2**62)))
    seeds = sorted(body["seed"] for body in server.chats())
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert max(seeds) > 2**20


def test_what_was_cut_by_max_tokens_says_so(server: FakeServer):
    ((completion,),) = ask(engine_at(server), Request(GO, max_tokens=2))
    assert completion.finish == "length"


def test_defaults_of_the_protocol_are_not_sent(server: FakeServer):
    ask(engine_at(server, logprobs=False), Request(GO))
    assert server.chats()[0].keys() == {"model", "messages", "max_tokens", "temperature", "seed"}


def test_stop_strings_are_sent_and_make_no_exact_tokens(server: FakeServer):
    ((completion,),) = ask(engine_at(server), Request(GO, stop=("\n",)))
    assert server.chats()[0]["stop"] == ["\n"]
    assert completion.tokens is None
    assert completion.logprob is not None


@pytest.mark.parametrize("only", [{"temperature": 0.0}, {"choices": ("left", "right")}])
def test_what_has_one_answer_is_asked_once(server: FakeServer, only: dict[str, Any]):
    engine = engine_at(server)
    first, other = ask(engine, Request(GO, seed=1, **only), Request(GO, seed=2, **only))
    asked = len(server.requests)
    (again,) = ask(engine, Request(GO, seed=3, **only))
    assert first == other == again
    assert len(server.requests) == asked
    assert engine.counts["saved_calls"] == 2
    cost = sum(c.prompt_tokens - c.cached_tokens + c.generated_tokens for c in first)
    assert engine.counts["saved_tokens"] == 2 * cost
    ask(engine, Request(GO, seed=1), Request(GO, seed=1))
    assert len(server.requests) == asked + 2
    forgetful = engine_at(server, memory=0)
    ask(forgetful, Request(GO, **only), Request(GO, **only))
    assert forgetful.counts["saved_calls"] == 0


def test_an_error_is_not_remembered(server: FakeServer):
    engine = engine_at(server, retries=0)
    request = Request(GO, temperature=0.0)
    server.failures = [500]
    with pytest.raises(EngineError):
        ask(engine, request)
    assert ask(engine, request)


def test_extra_fields_go_along(server: FakeServer):
    ask(engine_at(server, extra_body={"top_k": 5, "temperature": 0.1}), Request(GO))
    body = server.chats()[0]
    assert (body["top_k"], body["temperature"]) == (5, 0.1)


def test_a_server_that_ignores_n_is_asked_again_with_other_seeds(server: FakeServer):
    server.ignores_n = True
    engine = engine_at(server)
    (first,) = ask(engine, Request(GO, n=4, seed=3))
    assert [body.get("n") for body in server.chats()] == [4, None, None, None]
    assert len({completion.text for completion in first}) == 4
    (second,) = ask(engine, Request(GO, n=4, seed=3))
    assert [body.get("n") for body in server.chats()[4:]] == [None] * 4
    assert [completion.text for completion in second] == [c.text for c in first]
    assert {c.cached_tokens for c in second} == {3}  # every prompt was sent
    assert (engine.counts["requests"], engine.counts["without_n"]) == (8, 1)


def test_a_vllm_is_asked_for_each_sample_with_a_seed_of_its_own(server: FakeServer):
    server.owner = "vllm"  # it would draw n samples from seed, seed + 1 and so on
    engine = engine_at(server)
    request = Request(GO, n=4, seed=3)
    (completions,) = ask(engine, request)
    assert ["n" in body for body in server.chats()] == [False] * 4
    seeds = {str(derive_seed(3, i) >> 32) for i in range(4)}
    assert {completion.text for completion in completions} == seeds
    assert [each.cached_tokens for each in completions] == [3, *[len(PROMPT)] * 3]
    assert engine.most_tokens(request) == engine.most_tokens(replace(request, n=1))
    assert engine.counts["without_n"] == 0


def test_a_server_that_refuses_n_is_asked_for_one_at_a_time(server: FakeServer):
    server.refused = {"n"}
    (completions,) = ask(engine_at(server), Request(GO, n=3))
    assert len({completion.text for completion in completions}) == 3


def test_a_server_that_refuses_token_ids_is_asked_without_from_then_on(server: FakeServer):
    server.refused = {"return_token_ids"}
    engine = engine_at(server)
    ((completion,),) = ask(engine, Request(GO))
    assert completion.tokens is None
    assert completion.logprob is not None
    assert completion.generated_tokens == len(completion.text) + 1
    ask(engine, Request(GO, n=2))
    assert ["return_token_ids" in body for body in server.chats()] == [True, False, False]
    assert server.chats()[-1]["n"] == 2
    assert engine.counts["without_return_token_ids"] == 1


def test_a_server_without_token_ids_is_no_fault(server: FakeServer):
    server.gives_ids = False
    ((completion,),) = ask(engine_at(server), Request(GO))
    assert completion.tokens is None
    assert completion.text


def test_missing_usage_is_counted(server: FakeServer):
    server.gives_usage = False
    engine = engine_at(server)
    ((completion,),) = ask(engine, Request(GO))
    assert completion.prompt_tokens == len(PROMPT)
    assert completion.generated_tokens == len(completion.text) + 1
    assert engine.counts["replies_without_usage"] == 1


def test_generated_tokens_add_up_to_what_the_server_says(server: FakeServer):
    server.gives_ids = False
    (completions,) = ask(engine_at(server, logprobs=False), Request(GO, n=4))
    assert sum(c.generated_tokens for c in completions) == sum(len(c.text) + 1 for c in completions)
    assert all(c.logprob is None for c in completions)


def test_no_more_requests_than_allowed_are_in_flight(server: FakeServer):
    server.pause_s = 0.2
    ask(engine_at(server, max_in_flight=3), *(Request(GO, seed=i) for i in range(9)))
    assert server.most_in_flight == 3


def test_one_engine_serves_several_event_loops(server: FakeServer):
    engine = engine_at(server)
    assert ask(engine, Request(GO)) == ask(engine, Request(GO))

    async def twice() -> None:
        await engine.generate(Request(GO))
        await engine.close()
        await engine.close()

    asyncio.run(twice())


def test_two_event_loops_at_a_time_have_a_client_each(server: FakeServer):
    engine = engine_at(server)
    elsewhere: list[Any] = []

    async def main() -> None:
        await engine.generate(Request(GO))
        thread = threading.Thread(target=lambda: elsewhere.extend(ask(engine, Request(GO))))
        thread.start()
        await asyncio.to_thread(thread.join)
        await engine.generate(Request(GO))
        await engine.close()

    asyncio.run(main())
    assert len(elsewhere) == 1


# keys


def test_the_key_comes_from_the_environment_and_is_never_shown(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
):
    server.key = KEY
    engine = engine_at(server, api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", KEY)
    assert ask(engine, Request(GO))
    assert server.requests[-1][2] == f"Bearer {KEY}"
    assert KEY not in repr(engine)
    server.key = "another"
    with pytest.raises(EngineError, match="check the environment variable MY_KEY") as caught:
        ask(engine, Request(GO))
    error: BaseException | None = caught.value
    assert KEY not in f"{error!r} {error}"
    assert error is not None and error.__cause__ is None and error.__suppress_context__


def test_without_a_key_a_dummy_is_sent(server: FakeServer):
    ask(engine_at(server), Request(GO))
    assert server.requests[-1][2] == "Bearer none"
    server.key = KEY
    with pytest.raises(EngineError, match="variable OPENAI_API_KEY is not set"):
        ask(engine_at(server), Request(GO))


# faults


def test_a_refused_request_gives_the_servers_words_and_teaches_nothing(server: FakeServer):
    server.refused = {"top_k"}
    engine = engine_at(server)
    with pytest.raises(EngineError, match="HTTP 400: unknown field \\['top_k'\\]"):
        ask(engine_at(server, extra_body={"top_k": 1}), Request(GO, n=2))
    server.refused = set()
    ask(engine, Request(GO, n=2))
    assert {"n", "return_token_ids"} <= server.chats()[-1].keys()


def test_an_unknown_model_names_those_that_are_served(server: FakeServer):
    with pytest.raises(EngineError, match="'fale'. Did you mean 'fake'\\? .*fake, fake-large"):
        ask(OpenAIEngine("fale", server.url), Request(GO))


def test_a_wrong_path_points_at_the_address(server: FakeServer):
    with pytest.raises(EngineError, match="no such page.*check base_url, .* ends in /v1"):
        ask(OpenAIEngine("fake", server.url.removesuffix("/v1")), Request(GO))
    server.missing = {"/v1/chat/completions"}
    with pytest.raises(EngineError, match="HTTP 404 for 'fake': no such page"):
        ask(engine_at(server), Request(GO))


def test_an_unreachable_server_is_named(server: FakeServer):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EngineError, match=f"{url} cannot be reached.*check that the server"):
            ask(OpenAIEngine("fake", url, retries=0), Request(GO))


def test_a_key_in_a_servers_words_is_hidden(server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.refused = {KEY}
    with pytest.raises(EngineError, match="unknown field") as caught:
        ask(engine_at(server, extra_body={KEY: 1}), Request(GO))
    assert KEY not in str(caught.value)


def test_a_proxy_of_the_environment_is_used(server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(EngineError, match="nowhere.invalid/v1 answered HTTP 404"):
        ask(OpenAIEngine("fake", "http://nowhere.invalid/v1", retries=0), Request(GO))
    assert server.requests[-1][0] == "http://nowhere.invalid/v1/chat/completions"


def test_a_failure_of_one_request_leaves_the_others_alone(server: FakeServer):
    async def main() -> list[Any]:
        engine = engine_at(server)
        await engine.generate(Request(GO))
        server.failures = [422]
        try:
            requests = (engine.generate(Request(GO, seed=i)) for i in range(3))
            return await asyncio.gather(*requests, return_exceptions=True)
        finally:
            await engine.close()

    results = asyncio.run(main())
    assert sorted(isinstance(result, EngineError) for result in results) == [False, False, True]


# a forced choice


def test_a_reply_can_be_forced_to_be_one_of_given_texts(server: FakeServer):
    actions = ("left", "right", "wait")
    request = Request(GO, n=2, among=actions, seed=1)
    (found,) = ask(engine_at(server), request)
    assert server.chats()[0]["structured_outputs"] == {"choice": list(actions)}
    assert all(each.text in actions for each in found)
    assert all(each.tokens is None and each.logprob is None for each in found)
    assert {each.generated_tokens for each in found} <= {len(text) + 1 for text in actions}


def test_a_server_that_does_not_force_the_choice_is_found_out(server: FakeServer):
    server.ignored = {"structured_outputs"}
    with pytest.raises(EngineError, match="among 2 texts and wrote .*ignores structured_outputs"):
        ask(engine_at(server), Request(GO, among=("left", "right")))
    assert len(server.chats()) == 1
    ((cut,),) = ask(engine_at(server), Request(GO, among=("left", "right"), max_tokens=2))
    assert cut.finish == "length"


# room


def overflow(prompt: int, wanted: int, model: str = "fake") -> str:
    return (
        f"The prompt has {prompt} tokens and {wanted} more are wanted, but {model} holds 200; "
        "show fewer past turns or lower max_tokens."
    )


def test_what_does_not_fit_is_refused_before_it_is_sent(server: FakeServer):
    server.context = 200
    long = Request((Message("user", "x" * 150),), max_tokens=60)
    prompt = len(render([{"role": "user", "content": "x" * 150}], True))
    engine = engine_at(server)
    with pytest.raises(EngineError) as caught:
        ask(engine, long)
    assert str(caught.value) == overflow(prompt, 60)
    assert not server.chats()
    assert engine.counts["context_overflows"] == 1
    ask(engine, replace(long, max_tokens=200 - prompt))
    assert len(server.chats()) == 1


def test_an_adapter_holds_what_its_model_holds(server: FakeServer):
    server.context = 200
    engine = OpenAIEngine("policy@0007", server.url)
    with pytest.raises(EngineError, match="but policy@0007 holds 200"):
        ask(engine, Request((Message("user", "x" * 150),), max_tokens=60))
    ((reply,),) = ask(engine, Request(GO))
    assert reply.version == "policy@0007@fp_7"


def test_a_prompt_is_counted_only_where_its_bytes_leave_a_doubt(server: FakeServer):
    server.context = 200
    engine = engine_at(server)

    def counted(words: int) -> int:
        server.requests.clear()
        ask(engine, Request((Message("user", "x" * words),), max_tokens=20))
        return [path for path, _, _ in server.requests].count("/tokenize")

    assert counted(90) == 0  # at most 64 + 16 + 90 + 20 tokens
    assert engine._room.density == (19 + 90) / (64 + 16 + 90)
    engine._room.density = 0.0
    assert counted(120) == 1  # at most 220, and 159 in truth
    assert counted(120) == 0  # the last one had 139 of the 200 that it might have had
    assert counted(150) == 1
    assert server.looks == 1  # the limit is asked for once


def test_short_prompts_tell_nothing_of_long_ones(server: FakeServer):
    server.context = 400
    engine = engine_at(server)
    ask(engine, Request((Message("user", "x"),), max_tokens=8))
    assert engine._room.density == 0


def test_what_passed_uncounted_and_does_not_fit_is_refused_all_the_same(server: FakeServer):
    server.context = 200
    engine = engine_at(server)
    ask(engine, Request(GO))
    engine._room.density = 0.1  # as if prompts had had few tokens a byte so far
    long = Request((Message("user", "x" * 150),), max_tokens=60)
    with pytest.raises(EngineError) as caught:
        ask(engine, long)
    assert str(caught.value) == overflow(169, 60)
    assert len(server.chats()) > 1  # the server has refused it first
    engine._room.density, server.context = 0.1, None  # as servers that cut completions short
    with pytest.raises(EngineError) as caught:
        ask(engine, long)
    assert str(caught.value) == overflow(169, 60)


def test_without_a_tokenizer_the_server_decides_what_fits(server: FakeServer):
    server.context, server.missing = 200, {"/tokenize"}
    with pytest.raises(EngineError, match="HTTP 400: maximum context length is 200"):
        ask(engine_at(server), Request((Message("user", "x" * 150),), max_tokens=60))


def test_a_server_without_a_list_of_models_has_no_known_limit(server: FakeServer):
    server.missing = {"/v1/models"}
    assert ask(engine_at(server), Request((Message("user", "x" * 5000),)))


def test_the_limit_of_a_server_that_did_not_answer_is_asked_for_again(server: FakeServer):
    server.context, server.loading = 200, True
    engine = engine_at(server)
    with pytest.raises(EngineError, match="loading"):
        ask(engine, Request(GO))
    server.loading = False
    with pytest.raises(EngineError, match="holds 200"):
        ask(engine, Request((Message("user", "x" * 150),), max_tokens=60))


def test_the_sentence_is_that_of_the_hf_engine():
    source = inspect.getsource(HFEngine._check_room)
    words = inspect.getsource(Room.check_tokens)
    for part in ("tokens and {wanted} more are wanted", "show fewer past turns or lower"):
        assert part in source and part in words


# reservations


def spent(completions: list[Completion]) -> int:
    return sum(c.prompt_tokens - c.cached_tokens + c.generated_tokens for c in completions)


@pytest.mark.parametrize(
    "request_",
    [
        Request(GO, max_tokens=12),
        Request((Message("user", "é" * 50),), n=4, max_tokens=20),
        Request(GO, choices=("left", "", "größer")),
    ],
    ids=["one", "four", "choices"],
)
@pytest.mark.parametrize("n", ["taken", "ignored", "refused"])
def test_a_reservation_is_an_upper_bound(server: FakeServer, request_: Request, n: str):
    server.ignores_n = n == "ignored"
    server.refused = {"n"} if n == "refused" else set()
    engine = engine_at(server)
    calls = 1 if request_.choices else request_.n
    for _ in range(2):  # before the server is known, and after
        prompt, call = engine.most_tokens(request_)
        (completions,) = ask(engine, request_)
        assert spent(completions) <= prompt + calls * call


def test_a_prompt_is_reserved_for_every_sample_unless_the_server_takes_n(server: FakeServer):
    many, one = Request(GO, n=3, max_tokens=12), Request(GO, max_tokens=12)
    engine = engine_at(server)
    prompt, call = engine.most_tokens(one)
    assert (prompt, call) == (64 + 2 * 16 + len("be brief" + "go"), 12)
    assert engine.most_tokens(many) == (0, prompt + 12)  # not known yet
    ask(engine, many)
    assert engine.most_tokens(many) == (prompt, 12)
    server.ignores_n = True
    ask(engine, many)
    assert engine.most_tokens(many) == (0, prompt + 12)
    assert engine.most_tokens(one) == (prompt, 12)


def test_choices_reserve_their_bytes(server: FakeServer):
    prompt, call = engine_at(server).most_tokens(Request(GO, choices=("left", "", "é\ud800")))
    assert (prompt, call) == (64 + 2 * 16 + len("be brief" + "go"), 4 + 1 + 1 + 2 + 3 + 1)


# making one


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": "localhost:8000"}, "base_url: 'localhost:8000' is no address"),
        ({"base_url": "http://me:secret@host/v1"}, "carries a password"),
        ({"model": ""}, "model: is empty"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"retries": -1}, "retries"),
        ({"memory": -1}, "memory"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"wait_s": -1.0}, "wait_s"),
        ({"scoring": "guess"}, "scoring: 'guess' is no way to score; write auto, prefill or walk"),
        ({"base_url": "http://a/v1,b/v1"}, "base_url: 'b/v1' is no address"),
        ({"base_url": " , "}, "is no address"),
    ],
    ids=str,
)
def test_wrong_fields_are_refused_at_once(fields: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words) as caught:
        OpenAIEngine(**{"model": "m", **fields})
    assert "secret" not in str(caught.value)


def test_a_missing_package_names_the_extra():
    program = """
import sys, asyncio
sys.modules["aiohttp"] = None
from agentsearch.engines.hf import HFEngine
from agentsearch.engines.load import Load, Traffic
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.engines.room import Room
from agentsearch.types import Message, Request
asyncio.run(OpenAIEngine("m").generate(Request((Message("user", "go"),))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ConfigError" in done.stderr
    assert "pip install 'agentsearch[openai]'" in done.stderr


def test_the_switch_keeps_it_out_of_unit_tests(server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AGENTSEARCH_FORBID_REAL_ENGINES", "1")
    with pytest.raises(EngineError, match="may not be used"):
        ask(engine_at(server), Request(GO))
    assert not server.requests


# what is under way


METRICS = """\
vllm:num_requests_running{engine="0"} 12.0
vllm:num_requests_waiting{engine="0"} 3.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:prefix_cache_queries_total{engine="0"} 400.0
vllm:prefix_cache_hits_total{engine="0"} 300.0
"""


def test_traffic_is_what_waits_here_and_what_the_servers_say(server: FakeServer):
    server.metrics, server.pause_s = METRICS, 0.3
    engine = engine_at(server, max_in_flight=2)

    async def main() -> tuple[Traffic, Traffic]:
        try:
            asked = [
                asyncio.create_task(engine.generate(Request(GO, max_tokens=4, seed=i)))
                for i in range(5)
            ]
            while len(server.requests) < 2:
                await asyncio.sleep(0.005)
            during = await engine.traffic()
            await asyncio.gather(*asked)
            return during, await engine.traffic()
        finally:
            await engine.close()

    during, after = asyncio.run(main())
    assert (during.in_flight, during.queued) == (2, 3)
    assert during.asked == after.asked == 6  # with the question of what the model holds
    assert during.servers == {server.url: Load(12, 3, 0.25, 400, 300)}
    assert (after.in_flight, after.queued) == (0, 0)
    # five requests of 0.3 s: three waited, two for one other and one for two
    assert after.in_flight_s >= 5 * 0.3 and after.queued_s >= 4 * 0.3 - 0.1


def test_a_server_that_is_no_vllm_is_asked_for_its_load_once(server: FakeServer):
    engine = engine_at(server)

    async def main() -> None:
        try:
            assert (await engine.traffic()).servers == {}  # its page has no such lines
            server.metrics = METRICS
            assert (await engine.traffic()).servers == {}
        finally:
            await engine.close()

    asyncio.run(main())


def test_the_load_of_a_server_that_is_still_loading_is_asked_for_again(server: FakeServer):
    server.metrics, server.loading = METRICS, True
    engine = engine_at(server)

    async def main() -> None:
        try:
            assert (await engine.traffic()).servers == {}
            server.loading = False
            assert set((await engine.traffic()).servers) == {server.url}
        finally:
            await engine.close()

    asyncio.run(main())
