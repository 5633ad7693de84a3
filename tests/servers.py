"""A server in the manner of vLLM with scripted replies, and every fault that a server has.

As a context manager in a test:

    with serving() as server:
        OpenAIEngine("fake", server.url)

or as a process of its own, which a test can kill:

    python -m tests.servers --port 8000 --fault-rate 0.1
"""

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agentsearch.engines.openai import OpenAIEngine
from agentsearch.types import Completion, Message, Request

END = 2
GO = (Message("system", "be brief"), Message("user", "go"))
FAULTS = (
    "429",
    "500",
    "503",
    "malformed",
    "wrong_shape",
    "no_choices",
    "empty",
    "nan",
    "broken_off",
    "half_reply",
    "reset",
    "slow",
)
"""Kinds of `fault_rate`. `slow` sends byte by byte for `slow_s`."""

Body = dict[str, Any]


def own_words(body: Body, i: int) -> str:
    """Sample i of a chat, unless a server is given other words: it tells its seed."""
    return str(body["seed"]) + i * "+"


def encode(text: str) -> list[int]:
    return [ord(char) for char in text]


def render(messages: list[dict[str, str]], prompting: bool) -> list[int]:
    ids: list[int] = []
    for message in messages:
        ids += [1, *encode(f"{message['role']}\n{message['content']}"), END, *encode("\n")]
    return ids + ([1, *encode("assistant\n")] if prompting else [])


def logprob(before: Sequence[int], token: int) -> float:
    """Of a token behind others: it depends on how many and which."""
    seed = 31 * len(before) + 7 * sum(before[-5:]) + token
    return -(seed % 997 + 1) / 500


def logprobs_of(prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
    """Of every token of a completion."""
    return [logprob([*prompt, *ids[:i]], ids[i]) for i in range(len(ids))]


PROMPT = render([{"role": m.role, "content": m.content} for m in GO], True)


class FakeServer(ThreadingHTTPServer):
    """Tokens are characters; the text of a sample depends on its seed alone.

    Attributes set by a test switch abilities off and faults on.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, say: Callable[[Body, int], str] = own_words) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.say = say
        self.requests: list[tuple[str, Body, str]] = []
        self.looks = 0  # at its models
        self.refused: set[str] = set()  # fields answered with 400
        self.ignored: set[str] = set()  # fields without effect
        self.missing: set[str] = set()  # paths answered with 404
        self.ignores_n = False
        self.gives_ids = True
        self.gives_usage = True
        self.echo = "logprobs"  # or "nulls", or ""
        self.cached: int | None = None  # prompt tokens that the prefix cache served
        self.adapters = False  # as after --enable-lora
        self.metrics = ""  # further lines of its page of them
        self.context: int | None = None  # what the model holds, where the server tells
        self.owner = "us"  # of its models, as /models has it
        self.failures: list[int] = []  # status codes of the next replies
        self.raw: bytes | None = None  # sent instead of any chat completion
        self.pause_s = 0.0
        self.loading = False  # HTTP 503 to everything
        self.key: str | None = None
        self.fault_rate = 0.0
        self.faults: Sequence[str] = FAULTS  # in turn
        self.most_faults = sys.maxsize
        self.draw = random.Random(0)  # says which requests go wrong
        self.faulted = Counter[str]()
        self.slow_s = 5.0
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        self.dead = False

    def chats(self) -> list[Body]:
        return [body for path, body, _ in self.requests if path == "/v1/chat/completions"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def die(self) -> None:
        """Close the port and every connection at once, as a killed process does."""
        self.dead = True
        self.shutdown()
        self.server_close()
        with self.lock:
            connections = list(self.open)
        for each in connections:
            with suppress(OSError):
                reset(each)


def reset(connection: socket.socket) -> None:
    """Have the other side see `connection reset`."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection to a FakeServer."""

    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server = self.server
        server.looks += self.path == "/v1/models"
        if server.loading:
            return self.fail(503, "loading")
        if self.path == "/metrics":
            kind = "vllm:lora_requests_info" if server.adapters else "vllm:num_requests_running"
            return self.reply(200, f"# TYPE {kind} gauge\n{server.metrics}".encode())
        if self.path != "/v1/models" or self.path in server.missing:
            return self.fail(404, "no such page")
        fake = {"id": "fake", "max_model_len": server.context, "owned_by": server.owner}
        models = [fake, {"id": "fake-large"}]
        adapter = {"id": "policy@0007", "parent": "fake", "max_model_len": None}
        return self.reply(200, {"data": [*models, adapter]})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.requests.append((self.path, body, self.headers.get("authorization", "")))
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            failure = server.failures.pop(0) if server.failures else None
            fault = self.drawn()
        time.sleep(server.pause_s)
        with server.lock:
            server.in_flight -= 1
        if server.dead:
            self.close_connection = True
        elif fault:
            getattr(self, f"send_{fault}", self.send_status)(fault, body)
        else:
            self.answer(server, body, failure)

    def drawn(self) -> str | None:
        """A fault, as often as the server has them."""
        server = self.server
        faulted = server.faulted.total()
        if server.draw.random() >= server.fault_rate or faulted >= server.most_faults:
            return None
        kinds = server.faults
        if self.path != "/v1/chat/completions":
            kinds = [each for each in kinds if each not in ("empty", "nan", "broken_off")]
        fault = kinds[faulted % len(kinds)]
        server.faulted[fault] += 1
        return fault

    def answer(self, server: FakeServer, body: Body, failure: int | None) -> None:
        unknown = server.refused & body.keys()
        if server.loading:
            self.fail(503, "loading")
        elif failure:
            self.fail(failure, "out of order")
        elif server.key and self.headers.get("authorization") != f"Bearer {server.key}":
            self.fail(401, f"wrong key: {self.headers.get('authorization')}")
        elif self.path in server.missing:
            self.fail(404, "no such page")
        elif body["model"] not in ("fake", "policy@0007"):
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
            (self.echo if body.get("echo") else self.walk)(server, body)
        else:
            self.fail(404, "no such page")

    # sound replies

    def chat(self, server: FakeServer, body: Body) -> None:
        prompt = render(body["messages"], True)
        wanted = body.get("max_tokens", 16)
        if server.raw is not None:
            return self.reply(200, server.raw)
        if server.context is not None and len(prompt) + wanted > server.context:
            return self.fail(400, f"maximum context length is {server.context} tokens")
        return self.reply(200, self.chat_reply(server, body, prompt))

    def chat_reply(self, server: FakeServer, body: Body, prompt: list[int]) -> Body:
        n = 1 if server.ignores_n else body.get("n", 1)
        choices = [self.choice(server, body, prompt, i) for i in range(n)]
        reply: Body = {"choices": choices[::-1], "system_fingerprint": "fp_7"}
        if server.gives_usage:
            generated = sum(len(choice["message"]["content"]) + 1 for choice in choices)
            cached = 3 if server.cached is None else server.cached
            reply["usage"] = {
                "prompt_tokens": len(prompt),
                "completion_tokens": generated,
                "prompt_tokens_details": {"cached_tokens": cached},
            }
        if server.gives_ids and body.get("return_token_ids"):
            reply["prompt_token_ids"] = prompt
        return reply

    def choice(self, server: FakeServer, body: Body, prompt: list[int], i: int) -> Body:
        among = body.get("structured_outputs", {}).get("choice")
        if among and "structured_outputs" not in server.ignored:
            text = among[(body["seed"] + i) % len(among)]
        else:
            text = server.say(body, i) if "seed" in body else "hello"
        ids = [*encode(text), END]
        choice: Body = {
            "index": i,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop" if body.get("max_tokens", 16) > 3 else "length",
        }
        if body.get("logprobs"):
            content = [{"token": "?", "logprob": each} for each in logprobs_of(prompt, ids)]
            choice["logprobs"] = {"content": content}
        if server.gives_ids and body.get("return_token_ids"):
            choice["token_ids"] = ids
        return choice

    def echo(self, server: FakeServer, body: Body) -> None:
        def of(ids: list[int]) -> list[float | None]:
            if not server.echo:
                return []
            given = logprobs_of([], ids)
            return [None, *(given[1:] if server.echo == "logprobs" else [None] * len(given[1:]))]

        choices = [
            {"index": i, "text": "", "logprobs": {"token_logprobs": of(ids)}}
            for i, ids in enumerate(body["prompt"])
        ]
        self.reply(200, {"choices": choices, "usage": self.cached_usage()})

    def walk(self, server: FakeServer, body: Body) -> None:
        assert (body["max_tokens"], body["return_tokens_as_token_ids"]) == (1, True)
        wanted = [] if "logprob_token_ids" in server.ignored else body["logprob_token_ids"]
        if len(wanted) > 128:
            return self.fail(400, "logprob_token_ids is greater than max allowed: 128")
        choices = [
            {
                "index": i,
                "text": "!",
                "logprobs": {
                    "top_logprobs": [{f"token_id:{t}": logprob(ids, t) for t in [33, *wanted]}]
                },
            }
            for i, ids in enumerate(body["prompt"])
        ]
        return self.reply(200, {"choices": choices[::-1], "usage": self.cached_usage()})

    def cached_usage(self) -> Body:
        return {"prompt_tokens_details": {"cached_tokens": self.server.cached or 0}}

    # faults

    def send_status(self, fault: str, body: Body) -> None:
        self.fail(int(fault), "out of order")

    def send_malformed(self, fault: str, body: Body) -> None:
        self.reply(200, b'{"choices": [{"ind')

    def send_wrong_shape(self, fault: str, body: Body) -> None:
        self.reply(200, {"choices": [7], "tokens": 7})

    def send_no_choices(self, fault: str, body: Body) -> None:
        self.reply(200, {"choices": []})

    def send_empty(self, fault: str, body: Body) -> None:
        self.spoilt(body, lambda choice: choice["message"].update(content=""))

    def send_broken_off(self, fault: str, body: Body) -> None:
        self.spoilt(body, lambda choice: choice.update(finish_reason="abort"))

    def send_nan(self, fault: str, body: Body) -> None:
        self.spoilt(body, lambda c: c["logprobs"]["content"][-1].update(logprob=float("nan")))

    def spoilt(self, body: Body, spoil: Callable[[Body], object]) -> None:
        """A reply of which one choice is not sound."""
        reply = self.chat_reply(self.server, body, render(body["messages"], True))
        spoil(reply["choices"][0])
        self.reply(200, reply)

    def send_half_reply(self, fault: str, body: Body) -> None:
        self.head(200, 1000)
        self.wfile.write(b'{"choices": [')
        self.close_connection = True

    def send_reset(self, fault: str, body: Body) -> None:
        self.close_connection = True
        reset(self.connection)

    def send_slow(self, fault: str, body: Body) -> None:
        self.head(200, 1000)
        until = time.monotonic() + self.server.slow_s
        with suppress(OSError):  # the client hangs up
            while time.monotonic() < until:
                self.wfile.write(b" ")
                time.sleep(0.02)
        self.close_connection = True

    # the wire

    def fail(self, status: int, message: str) -> None:
        self.reply(status, {"error": {"message": message}})

    def reply(self, status: int, body: Body | bytes) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(status, len(data))
        self.wfile.write(data)

    def head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(length))
        self.send_header("retry-after-ms", "5")
        self.end_headers()


@contextmanager
def serving(port: int = 0, say: Callable[[Body, int], str] = own_words) -> Iterator[FakeServer]:
    """A server in a thread; it may die before the end, and another take its port."""
    server = FakeServer(port, say)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        if not server.dead:
            server.die()
        thread.join()


def ask(engine: OpenAIEngine, *requests: Request) -> list[list[Completion]]:
    """The replies to requests made side by side, in an event loop of their own."""

    async def main() -> list[list[Completion]]:
        try:
            return await asyncio.gather(*(engine.generate(request) for request in requests))
        finally:
            await engine.close()

    return asyncio.run(main())


def engine_at(*servers: FakeServer, **fields: Any) -> OpenAIEngine:
    """An engine for servers that should be of one kind."""
    return OpenAIEngine("fake", ",".join(server.url for server in servers), **fields)


def main() -> None:
    """Serve until killed, after a line with the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--pause-s", type=float, default=0.0)
    given = parser.parse_args()
    server = FakeServer(given.port)
    server.fault_rate, server.pause_s = given.fault_rate, given.pause_s
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
