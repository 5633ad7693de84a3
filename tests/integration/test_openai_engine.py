"""The openai engine against a real HTTP server on loopback that the test starts."""

import asyncio
import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agentsearch.engines.openai import OpenAIEngine
from agentsearch.errors import ConfigError, EngineError
from agentsearch.types import Completion, Message, Request

pytest.importorskip("openai")

END = 2
KEY = "sk-very-secret-0123456789"


class FakeServer(ThreadingHTTPServer):
    """A server in the manner of vLLM whose tokens are characters.

    The text of a sample depends on its seed, the log-probability of a token on the token.
    Attributes set by a test switch abilities off and faults on.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.requests: list[tuple[str, dict[str, Any], str]] = []
        self.refused: set[str] = set()  # fields answered with 400
        self.missing: set[str] = set()  # paths answered with 404
        self.ignores_n = False
        self.gives_ids = True
        self.gives_usage = True
        self.echo = "logprobs"  # or "nulls", or ""
        self.cached = 0  # prompt tokens of an echo that the prefix cache served
        self.failures: list[int] = []  # status codes of the next replies
        self.raw: bytes | None = None  # sent instead of any chat completion
        self.pause_s = 0.0
        self.key: str | None = None
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def chats(self) -> list[dict[str, Any]]:
        return [body for path, body, _ in self.requests if path == "/v1/chat/completions"]


def logprob(token: int) -> float:
    return -token / 1000


def encode(text: str) -> list[int]:
    return [ord(char) for char in text]


def render(messages: list[dict[str, str]], prompting: bool) -> list[int]:
    ids: list[int] = []
    for message in messages:
        ids += [1, *encode(f"{message['role']}\n{message['content']}"), END, *encode("\n")]
    return ids + ([1, *encode("assistant\n")] if prompting else [])


class Handler(BaseHTTPRequestHandler):
    """One connection to a FakeServer."""

    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self.fail(404, "no such page")
        return self.reply(200, {"data": [{"id": "fake"}, {"id": "fake-large"}]})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.requests.append((self.path, body, self.headers.get("authorization", "")))
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            failure = server.failures.pop(0) if server.failures else None
        time.sleep(server.pause_s)
        with server.lock:
            server.in_flight -= 1
        self.answer(server, body, failure)

    def answer(self, server: FakeServer, body: dict[str, Any], failure: int | None) -> None:
        unknown = server.refused & body.keys()
        if failure:
            self.fail(failure, "out of order")
        elif server.key and self.headers.get("authorization") != f"Bearer {server.key}":
            self.fail(401, f"wrong key: {self.headers.get('authorization')}")
        elif self.path in server.missing:
            self.fail(404, "no such page")
        elif body["model"] != "fake":
            self.fail(404, f"no model {body['model']}")
        elif unknown:
            self.fail(400, f"unknown field {sorted(unknown)}")
        elif self.path == "/v1/chat/completions":
            self.chat(server, body)
        elif self.path == "/tokenize":
            ids = (
                render(body["messages"], body["add_generation_prompt"])
                if "messages" in body
                else encode(body["prompt"])
            )
            self.reply(200, {"count": len(ids), "tokens": ids})
        elif self.path == "/v1/completions":
            self.complete(server, body)
        else:
            self.fail(404, "no such page")

    def chat(self, server: FakeServer, body: dict[str, Any]) -> None:
        if server.raw is not None:
            return self.reply(200, server.raw)
        n = 1 if server.ignores_n else body.get("n", 1)
        prompt = render(body["messages"], True)
        choices = [self.choice(server, body, i) for i in range(n)]
        reply: dict[str, Any] = {"choices": choices[::-1], "system_fingerprint": "fp_7"}
        if server.gives_usage:
            generated = sum(len(choice["message"]["content"]) + 1 for choice in choices)
            reply["usage"] = {
                "prompt_tokens": len(prompt),
                "completion_tokens": generated,
                "prompt_tokens_details": {"cached_tokens": 3},
            }
        if server.gives_ids and body.get("return_token_ids"):
            reply["prompt_token_ids"] = prompt
        return self.reply(200, reply)

    def choice(self, server: FakeServer, body: dict[str, Any], i: int) -> dict[str, Any]:
        text = str(body["seed"]) + i * "+"
        ids = [*encode(text), END]
        choice: dict[str, Any] = {
            "index": i,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop" if body["max_tokens"] > 3 else "length",
        }
        if body.get("logprobs"):
            content = [{"token": "?", "logprob": logprob(token)} for token in ids]
            choice["logprobs"] = {"content": content}
        if server.gives_ids and body.get("return_token_ids"):
            choice["token_ids"] = ids
        return choice

    def complete(self, server: FakeServer, body: dict[str, Any]) -> None:
        kinds = {"logprobs": logprob, "nulls": lambda token: None}
        echoes = [
            [None, *map(kinds[server.echo], ids[1:])] if server.echo else []
            for ids in body["prompt"]
        ]
        choices = [
            {"index": i, "text": "", "logprobs": {"token_logprobs": echo}}
            for i, echo in enumerate(echoes)
        ]
        cached = {"prompt_tokens_details": {"cached_tokens": server.cached}}
        self.reply(200, {"choices": choices, "usage": cached})

    def fail(self, status: int, message: str) -> None:
        self.reply(status, {"error": {"message": message}})

    def reply(self, status: int, body: dict[str, Any] | bytes) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after-ms", "5")
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving() -> Iterator[FakeServer]:
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def ask(engine: OpenAIEngine, *requests: Request) -> list[list[Completion]]:
    async def main() -> list[list[Completion]]:
        try:
            return await asyncio.gather(*(engine.generate(request) for request in requests))
        finally:
            await engine.close()

    return asyncio.run(main())


def engine_at(server: FakeServer, **fields: Any) -> OpenAIEngine:
    return OpenAIEngine("fake", server.url, **fields)


GO = (Message("system", "be brief"), Message("user", "go"))
PROMPT = render([{"role": m.role, "content": m.content} for m in GO], True)


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
        assert completion.tokens.logprobs == tuple(map(logprob, ids))
        assert all(completion.tokens.sampled)
        assert completion.logprob == pytest.approx(sum(map(logprob, ids)))
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


def test_a_passing_failure_is_tried_again(server: FakeServer):
    server.failures = [500, 503, 429]
    assert ask(engine_at(server, retries=3), Request(GO))
    assert len(server.chats()) == 4


def test_a_lasting_failure_is_an_error_with_the_servers_words(server: FakeServer):
    server.failures = [500] * 9
    with pytest.raises(EngineError, match="HTTP 500 after 3 attempts: out of order"):
        ask(engine_at(server, retries=2), Request(GO))
    assert len(server.chats()) == 3


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


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{not json", "no JSON"),
        (b"", "no JSON"),
        (b"[1, 2]", "no JSON object"),
        (b"{}", "without choices"),
        (b'{"choices": []}', "without choices"),
        (b'{"choices": [{"index": 0}]}', "malformed"),
        (b'{"choices": {"a": 1}}', "malformed"),
        (b'{"choices": [{"message": {}, "logprobs": {"content": [{}]}}]}', "malformed"),
    ],
)
def test_a_reply_of_another_shape_is_an_error(server: FakeServer, raw: bytes, words: str):
    server.raw = raw
    with pytest.raises(EngineError, match=words):
        ask(engine_at(server), Request(GO))


def test_an_unreachable_server_is_named(server: FakeServer):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EngineError, match=f"{url} cannot be reached.*check that the server"):
            ask(OpenAIEngine("fake", url, retries=0), Request(GO))


def test_a_silent_server_is_a_timeout(server: FakeServer):
    server.pause_s = 0.5
    with pytest.raises(EngineError, match="did not answer within 0.1 s, in 1 attempt;"):
        ask(engine_at(server, timeout_s=0.1, retries=0), Request(GO))


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


# scoring


def test_choices_are_scored_from_the_echo(server: FakeServer):
    request = Request(GO, choices=("left", "go right", ""))
    (completions,) = ask(engine_at(server), request)
    (body,) = [body for path, body, _ in server.requests if path == "/v1/completions"]
    assert (body["max_tokens"], body["echo"]) == (0, True)
    for completion, text, sent in zip(
        completions, request.choices or (), body["prompt"], strict=True
    ):
        ids = [*encode(text), END]
        assert sent == PROMPT + ids
        assert completion.tokens is not None
        assert completion.tokens.ids == tuple(ids)
        assert completion.tokens.prompt == tuple(PROMPT)
        assert not any(completion.tokens.sampled)
        assert completion.logprob == pytest.approx(math.fsum(map(logprob, ids)))
        assert (completion.finish, completion.text) == ("scored", text)
        assert completion.prompt_tokens == len(PROMPT)
        assert completion.generated_tokens == len(ids)


@pytest.mark.parametrize(("cached", "first"), [(0, 0), (10, 5), (10_000, len(PROMPT))])
def test_the_choices_of_a_request_are_charged_one_prompt(
    server: FakeServer, cached: int, first: int
):
    server.cached = cached
    (completions,) = ask(engine_at(server), Request(GO, choices=("left", "right")))
    assert {c.prompt_tokens for c in completions} == {len(PROMPT)}
    assert [c.cached_tokens for c in completions] == [first, len(PROMPT)]


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


def test_choices_are_tokenised_once(server: FakeServer):
    engine = engine_at(server)
    ask(engine, Request(GO, choices=("left", "left", "right")))
    before = len(server.requests)
    ask(engine, Request(GO, choices=("right", "left")))
    paths = [path for path, _, _ in server.requests[before:]]
    assert paths == ["/tokenize", "/v1/completions"]


@pytest.mark.parametrize("path", ["/tokenize", "/v1/completions"])
def test_a_server_that_cannot_score_says_what_to_do(server: FakeServer, path: str):
    server.missing = {path}
    with pytest.raises(EngineError, match="cannot score given text .*use policy 'prompted'"):
        ask(engine_at(server), Request(GO, choices=("left",)))


def test_a_server_without_echo_cannot_score(server: FakeServer):
    for server.echo in ("", "nulls"):
        with pytest.raises(EngineError, match="cannot score given text"):
            ask(engine_at(server), Request(GO, choices=("left",)))
    server.refused = {"echo"}
    with pytest.raises(EngineError, match="cannot score given text .*unknown field"):
        ask(engine_at(server), Request(GO, choices=("left",)))


# making one


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": "localhost:8000"}, "base_url: 'localhost:8000' is no address"),
        ({"base_url": "http://me:secret@host/v1"}, "carries a password"),
        ({"model": ""}, "model: is empty"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"retries": -1}, "retries"),
        ({"timeout_s": 0.0}, "timeout_s"),
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
sys.modules["openai"] = None
from agentsearch.engines.openai import OpenAIEngine
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
