"""What doctor asks of a server: a stand-in with every feature, and without each."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agentsearch.budget import Metered
from agentsearch.cli import handshake
from agentsearch.cli.handshake import Server
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.errors import ConfigError

KEY = "sk-very-secret-0123456789"


class Handler(BaseHTTPRequestHandler):
    """Answers as vLLM does, less what the server `lacks`."""

    def log_message(self, *_):
        pass

    def send(self, status, reply):
        body = reply if isinstance(reply, str) else json.dumps(reply)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self):
        if self.path == "/v1/models":
            return self.send(200, {"data": [{"id": "fake", "max_model_len": 4096}]})
        lacks, asked = self.server.lacks, self.server.long_prompts
        lines = ["# HELP nothing"]
        if "metrics" not in lacks:
            lines += ["vllm:num_requests_running{engine='0'} 0.0"]
        if "adapters" not in lacks:
            lines += ["vllm:lora_requests_info{max_lora='2'} 1.7e9"]
        hits = 0 if "prefix cache" in lacks else 256 * max(0, asked - 1)
        for engine in ("0", "1"):  # both do half of it
            lines += [f"vllm:prefix_cache_hits_total{{engine='{engine}'}} {hits / 2}"]
            lines += [f"vllm:prefix_cache_queries_total{{engine='{engine}'}} {150 * asked}.0"]
        return self.send(200, "\n".join(lines))

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server.keys.append(self.headers.get("authorization"))
        if server.status != 200:
            return self.send(server.status, f"no, {self.headers.get('authorization')}")
        lacks = server.lacks
        if self.path == "/tokenize":
            assert body.get("add_generation_prompt", "messages" not in body)
            text = body.get("prompt") or json.dumps(body["messages"])
            ids = [] if "tokenize" in lacks else [ord(c) + server.shift for c in text]
            return self.send(404 if "tokenize" in lacks else 200, {"tokens": ids})
        if self.path == "/v1/load_lora_adapter":
            assert not body["lora_name"] and not body["lora_path"]  # loads nothing
            return self.send(404 if "adapter route" in lacks else 400, "must be provided")
        if "connection" in lacks and "echo" in body:
            return self.connection.shutdown(socket.SHUT_RDWR)
        server.long_prompts += body.get("prompt") == handshake.LONG
        answer = self.chat if self.path == "/v1/chat/completions" else self.complete
        return self.send(200, answer(body, lacks))

    def chat(self, body, lacks):
        self.server.chats += 1
        text = f"{self.server.chats}" if "seeds" in lacks else f"{body.get('seed')}"
        if "structured choice" not in lacks and "structured_outputs" in body:
            text = body["structured_outputs"]["choice"][0]
        choice = {"message": {"content": text}}
        if body.get("logprobs") and "log-probabilities" not in lacks:
            choice["logprobs"] = {"content": [{"logprob": -1.5}]}
        reply = {"choices": [choice] * (1 if "n > 1" in lacks else body.get("n", 1))}
        if body.get("return_token_ids") and "token ids" not in lacks:
            choice["token_ids"], reply["prompt_token_ids"] = [1], [2]
        return reply

    def complete(self, body, lacks):
        logprobs = {"token_logprobs": [None], "top_logprobs": [{"a": -1.0}]}
        if body.get("echo") and "log-probabilities of prompts" not in lacks:
            logprobs["token_logprobs"] = [None, -1.0]
        if "log-probabilities of given tokens" not in lacks:
            ids = body.get("logprob_token_ids", ())
            logprobs["top_logprobs"] = [{f"token_id:{each}": -1.0 for each in ids}]
        cached = {} if "cached tokens" in lacks else {"prompt_tokens_details": {"cached_tokens": 0}}
        return {"choices": [{"text": "x", "logprobs": logprobs}], "usage": cached}


@contextmanager
def server(*lacks, status=200, shift=0):
    """A server without some features; its tokens are characters, moved by `shift`."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.lacks, made.status, made.shift = lacks, status, shift
    made.keys, made.chats, made.long_prompts = [], 0, 0
    made.url = f"http://127.0.0.1:{made.server_address[1]}/v1"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def asked(made, model="fake", encode=None):
    rows = list(handshake.server_rows(Server(made.url, model, "DOCTOR_KEY"), encode))
    assert rows[0].name == "server" and rows[0].detail == made.url
    return {row.name: row for row in rows[1:]}


def encode(what):
    return [ord(c) for c in (what if isinstance(what, str) else json.dumps(what))]


def test_a_server_with_everything():
    with server() as made:
        rows = asked(made, encode=encode)
    assert {name: row.detail for name, row in rows.items() if not row.ok} == {}
    assert list(rows) == [
        "models",
        "chat",
        "n > 1",
        "log-probabilities",
        "token ids",
        "seeds",
        "tokenize",
        "log-probabilities of prompts",
        "log-probabilities of given tokens",
        "structured choice",
        "adapters",
        "metrics",
        "prefix cache",
        "cached tokens",
        "tokenizer",
        "chat template",
    ]
    assert rows["models"].detail == "fake, holds 4096 tokens"
    assert rows["prefix cache"].detail == "256 of 600 tokens were known"


@pytest.mark.parametrize(
    "feature",
    [
        "n > 1",
        "log-probabilities",
        "token ids",
        "seeds",
        "tokenize",
        "log-probabilities of prompts",
        "log-probabilities of given tokens",
        "structured choice",
        "adapters",
        "metrics",
        "prefix cache",
        "cached tokens",
    ],
)
def test_a_server_without(feature):
    with server(feature) as made:
        rows = asked(made)
    missing = {name for name, row in rows.items() if row.ok is False}
    if feature == "tokenize":  # without which no token can be given
        missing -= {"log-probabilities of given tokens"}
    assert missing == {feature}
    assert rows[feature].do and not rows[feature].needed


def test_a_field_that_is_ignored_is_seen_through():
    with server("structured choice") as made:
        row = asked(made)["structured choice"]
    assert row.detail == "structured_outputs is ignored: it wrote '24'"


def test_a_server_without_the_route_for_adapters():
    with server("adapter route") as made:
        row = asked(made)["adapters"]
    assert row.ok is False and row.detail.startswith("HTTP 404")


def test_another_model_is_the_last_row():
    with server() as made:
        rows = asked(made, model="fakes")
    assert list(rows) == ["models"] and rows["models"].needed
    assert rows["models"].detail == "it does not serve 'fakes', but fake"


def test_a_server_that_refuses_to_chat(monkeypatch):
    monkeypatch.setenv("DOCTOR_KEY", KEY)
    with server(status=401) as made:
        rows = asked(made)
        assert made.keys == [f"Bearer {KEY}"]
    assert rows["chat"].needed and rows["chat"].detail == "HTTP 401: no, Bearer ***"
    assert list(rows) == ["models", "chat"]


def test_a_server_that_is_down():
    with server() as made:
        pass
    (row,) = asked(made).values()
    assert row.ok is False and row.needed and "does not answer" in row.detail
    assert row.do == "Start it: agentsearch serve MODEL"


def test_a_request_that_breaks_the_connection_is_only_that_row():
    with server("connection") as made:
        rows = asked(made)
    (broken,) = [row for row in rows.values() if row.ok is False]
    assert broken.name == "log-probabilities of prompts" and not broken.needed


def test_other_tokens_are_found():
    with server(shift=1) as made:
        rows = asked(made, encode=encode)
    assert not rows["tokenizer"].ok and not rows["chat template"].ok
    assert "differ from token 0 on: [89, 111, 117] here, [90, 112, 118] there" in (
        rows["tokenizer"].detail
    )


def test_another_template_is_found():
    def longer(what):
        return encode(what) + ([] if isinstance(what, str) else [7])

    with server() as made:
        rows = asked(made, encode=longer)
    assert rows["tokenizer"].ok and not rows["chat template"].ok
    n = len(encode(handshake.CHAT))
    assert rows["chat template"].detail == (
        f"{n + 1} tokens here, {n} there; they differ from token {n} on: [7] here, [] there"
    )


def test_every_server_is_asked():
    with server("seeds") as one, server() as two:
        engine = OpenAIEngine("other", f"{one.url},{two.url}")
        rows = handshake.rows(Metered(engine))
    assert [row.detail for row in rows if row.name == "server"] == [one.url, two.url]
    assert {row.name for row in rows} == {"server", "models"}  # and the client not, as both lack it


def test_the_local_side_needs_a_server():
    class Engine:
        version = "x"

    with pytest.raises(ConfigError, match="compared with a server"):
        handshake.rows(Metered(Engine()), "tiny")


def test_the_local_tokenizer_is_the_models():
    pytest.importorskip("transformers")
    ids = handshake.local_tokenizer("tiny")
    assert ids("pick up the key") == ids("pick up the key") != ids("pick up the keys")
    whole = ids([{"role": "user", "content": "Hello"}])
    assert whole[: len(ids("<|im_start|>user\n"))] == ids("<|im_start|>user\n")
    assert whole[-len(ids("<|im_start|>assistant\n")) :] == ids("<|im_start|>assistant\n")
