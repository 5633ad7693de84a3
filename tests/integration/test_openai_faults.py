"""What the openai engine does when servers fail: tries again, waits, or says so."""

import asyncio
import logging
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from agentsearch.engines.openai import OpenAIEngine
from agentsearch.errors import AgentSearchError, EngineError, SearchError, ServerLost
from agentsearch.types import Message, Request
from tests.servers import FAULTS, GO, FakeServer, ask, engine_at, serving

pytest.importorskip("aiohttp")

COUNTED = {
    "429": "429",
    "500": "500",
    "503": "503",
    "malformed": "malformed",
    "wrong_shape": "malformed",
    "no_choices": "malformed",
    "empty": "empty",
    "nan": "bad_logprobs",
    "broken_off": "broken_off",
    "half_reply": "half_reply",
    "reset": "disconnected",
    "slow": "timeout",
}
"""Under which name each fault of the scripted server is counted."""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def faults_of(engine: OpenAIEngine) -> dict[str, int]:
    return {k: n for k, n in engine.counts.items() if k.startswith(("retried", "gave_up", "out"))}


# one request


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_counted_by_kind_and_tried_again(server: FakeServer, fault: str):
    engine = engine_at(server, retries=1, timeout_s=1.5 if fault == "slow" else 60.0)
    sound = ask(engine, Request(GO, n=2))
    server.faults, server.fault_rate, server.most_faults = [fault], 1.0, 1
    kind = COUNTED[fault]
    assert ask(engine, Request(GO, n=2)) == sound
    assert faults_of(engine) == {f"retried_{kind}": 1}
    server.most_faults = 9
    with pytest.raises(EngineError, match=f"^{server.url} .*, in 2 attempts; "):
        ask(engine, Request(GO, n=2))
    assert faults_of(engine) == {f"retried_{kind}": 2, f"gave_up_{kind}": 1}
    assert engine.counts["requests"] == len(server.chats())


def test_a_lasting_failure_is_an_error_with_the_servers_words(server: FakeServer):
    server.failures = [500] * 9
    words = f"{server.url} answered HTTP 500: out of order, in 3 attempts; look at the server's log"
    with pytest.raises(EngineError) as caught:
        ask(engine_at(server, retries=2), Request(GO))
    assert str(caught.value) == f"{words}."
    assert len(server.chats()) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_what_asking_again_would_not_change_is_asked_once(server: FakeServer, status: int):
    server.failures = [status] * 9
    engine = engine_at(server, logprobs=False)
    with pytest.raises(EngineError):
        ask(engine, Request(GO))
    assert len(server.chats()) == 1
    assert faults_of(engine) == {}


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
def test_a_reply_of_another_shape_is_named(server: FakeServer, raw: bytes, words: str):
    server.raw = raw
    with pytest.raises(EngineError, match=words):
        ask(engine_at(server, retries=0), Request(GO))


def test_a_silent_server_is_a_timeout(server: FakeServer):
    server.pause_s = 0.5
    with pytest.raises(EngineError, match="did not answer within 0.1 s, in 1 attempt; raise time"):
        ask(engine_at(server, timeout_s=0.1, retries=0), Request(GO))


def test_bytes_that_trickle_in_do_not_stretch_the_time_limit(server: FakeServer):
    server.faults, server.fault_rate, server.slow_s = ["slow"], 1.0, 60.0
    started = time.monotonic()
    with pytest.raises(EngineError, match="did not answer within 0.3 s"):
        ask(engine_at(server, timeout_s=0.3, retries=0), Request(GO))
    assert time.monotonic() - started < 30


# many requests


def test_a_tenth_of_all_replies_spoilt_changes_no_result(server: FakeServer):
    requests = [Request(GO, n=2, seed=seed) for seed in range(200)]
    sound = ask(engine_at(server), *requests)
    server.fault_rate = 0.1
    server.faults = [each for each in FAULTS if each != "slow"]
    engine = engine_at(server, retries=6)
    assert ask(engine, *requests) == sound
    spoilt = Counter[str]()
    for fault, n in server.faulted.items():
        spoilt[f"retried_{COUNTED[fault]}"] += n
    assert spoilt.total() >= len(server.faults)
    assert faults_of(engine) == dict(spoilt)


# dead servers


def test_a_server_that_dies_is_waited_for(server: FakeServer, caplog: pytest.LogCaptureFixture):
    requests = [Request(GO, seed=seed) for seed in range(20)]
    expected = ask(engine_at(server), *requests)
    engine = engine_at(server, retries=1)
    finished = threading.Event()
    seen: list[int] = []

    def die_and_return() -> None:
        while server.in_flight < len(requests):
            time.sleep(0.01)
        server.die()
        time.sleep(1.0)
        with serving(server.server_address[1]) as again:
            finished.wait()
            seen.extend([len(again.chats()), again.looks])

    async def main() -> Any:
        await engine.generate(requests[0])
        server.pause_s = 10.0
        dying = asyncio.create_task(asyncio.to_thread(die_and_return))
        try:
            return await asyncio.gather(*map(engine.generate, requests))
        finally:
            finished.set()
            await dying
            await engine.close()

    with caplog.at_level(logging.WARNING, "agentsearch"):
        assert asyncio.run(main()) == expected
    waiting, answers = [record.getMessage() for record in caplog.records]
    assert waiting == f"{server.url} does not answer; waiting up to 10 minutes for it to return."
    assert answers.startswith(f"{server.url} answers again, after ")
    assert seen == [len(requests), 1]  # each was sent once more, and one look was for all
    assert faults_of(engine) == {"retried_disconnected": len(requests), "outages": 1}


def test_an_outage_before_a_request_is_sent_is_not_held_against_it(server: FakeServer):
    engine = engine_at(server, retries=0)
    port = server.server_address[1]

    async def main() -> None:
        await engine.generate(Request(GO))
        await asyncio.to_thread(server.die)
        reply = asyncio.create_task(engine.generate(Request(GO)))
        while not engine.counts["outages"]:
            await asyncio.sleep(0.01)
        with serving(port):
            assert await reply
            await engine.close()

    asyncio.run(main())
    assert faults_of(engine) == {"outages": 1}


def test_a_server_that_does_not_return_ends_the_run(server: FakeServer):
    engine = engine_at(server, wait_s=0.2)

    async def main() -> None:
        await engine.generate(Request(GO))
        await asyncio.to_thread(server.die)
        requests = (engine.generate(Request(GO, seed=seed)) for seed in range(9))
        lost = await asyncio.gather(*requests, return_exceptions=True)
        await engine.close()
        assert [type(each) for each in lost] == [ServerLost] * 9
        words = f"{server.url} did not come back within 0.2 s .*then resume the run"
        assert re.match(words, str(lost[0]))

    asyncio.run(main())
    assert issubclass(ServerLost, AgentSearchError)
    assert not issubclass(ServerLost, SearchError)  # so no task is recorded as failed


def test_a_server_that_never_answered_is_not_waited_for():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        engine = OpenAIEngine("fake", url)
        words = f"{url} cannot be reached .*; check that the server runs and that base_url is right"
        with pytest.raises(EngineError, match=words):
            ask(engine, Request(GO))
        with pytest.raises(EngineError, match=words):
            asyncio.run(checked(engine))


async def checked(engine: OpenAIEngine) -> None:
    try:
        await engine.check()
    finally:
        await engine.close()


def test_a_server_that_is_loading_is_a_dead_one(server: FakeServer):
    server.loading = True
    with pytest.raises(EngineError, match="HTTP 503: loading; check that the server runs"):
        asyncio.run(checked(engine_at(server)))
    server.loading = False
    engine = engine_at(server, retries=0)

    async def main() -> None:
        await engine.generate(Request(GO))
        server.loading = True
        reply = asyncio.create_task(engine.generate(Request(GO)))
        while not engine.counts["outages"]:
            await asyncio.sleep(0.01)
        server.loading = False
        assert await reply
        await engine.close()

    asyncio.run(main())
    assert faults_of(engine) == {"outages": 1}


def test_one_unavailable_reply_of_a_living_server_is_a_fault_like_others(server: FakeServer):
    server.failures = [503]
    engine = engine_at(server)
    assert ask(engine, Request(GO))
    assert faults_of(engine) == {"retried_503": 1}


def test_checking_asks_for_a_token_and_names_what_is_wrong(server: FakeServer):
    asyncio.run(checked(engine_at(server)))
    (body,) = server.chats()
    assert (body["max_tokens"], body["model"]) == (1, "fake")
    with pytest.raises(EngineError, match="does not serve 'fale'. Did you mean 'fake'"):
        asyncio.run(checked(OpenAIEngine("fale", server.url)))


# several servers


def in_turn(engine: OpenAIEngine, requests: Iterable[Request]) -> None:
    """Make requests one after another."""

    async def main() -> None:
        for request in requests:
            await engine.generate(request)
        await engine.close()

    asyncio.run(main())


def about(task: int) -> tuple[Message, ...]:
    return GO[0], Message("user", f"task {task}")


def test_requests_are_shared_out_and_those_that_begin_alike_stay_together(server: FakeServer):
    with serving() as other:
        told = (*about(0), Message("assistant", "left"), Message("user", "a wall"))
        requests = [Request((*about(i), *told[2:turns])) for i in range(30) for turns in (2, 4)]
        in_turn(engine_at(server, other), requests)
        first, second = (
            {body["messages"][1]["content"] for body in each.chats()} for each in (server, other)
        )
        assert not first & second
        assert min(len(first), len(second)) >= 5
        assert len(server.chats()) + len(other.chats()) == 60


def test_a_busy_server_is_relieved(server: FakeServer):
    with serving() as other:
        server.pause_s = other.pause_s = 0.3
        ask(engine_at(server, other), *(Request(GO, seed=s) for s in range(40)))
        assert min(len(server.chats()), len(other.chats())) >= 10


def test_a_dead_server_is_left_out_while_another_lives(
    server: FakeServer, caplog: pytest.LogCaptureFixture
):
    with serving() as other:
        engine = engine_at(server, other, wait_s=0.0)
        requests = [Request(about(i)) for i in range(30)]

        async def main() -> None:
            await asyncio.gather(*map(engine.generate, requests))
            assert server.chats() and other.chats()
            await asyncio.to_thread(server.die)
            before = len(other.chats())
            await asyncio.gather(*map(engine.generate, requests))
            assert len(other.chats()) == before + len(requests)
            await asyncio.to_thread(other.die)
            with pytest.raises(ServerLost, match=f"{server.url}, {other.url} did not come back"):
                await engine.generate(Request(GO))
            await engine.close()

        with caplog.at_level(logging.WARNING, "agentsearch"):
            asyncio.run(main())
        first, last = [record.getMessage() for record in caplog.records]
        assert first == f"{server.url} does not answer; going on with {other.url}."
        assert last == f"{other.url} does not answer; waiting up to 0 s for it to return."


def test_checking_refuses_one_dead_server_of_several(server: FakeServer):
    with serving() as other:
        engine = engine_at(server, other)
        other.die()
        with pytest.raises(EngineError, match=f"^{other.url} cannot be reached"):
            asyncio.run(checked(engine))
