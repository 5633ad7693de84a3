"""Environments over HTTP: a real server on loopback, asked as a trainer would."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from agentsearch.errors import ConfigError
from agentsearch_envs.game24 import Game24
from agentsearch_envs.play import serving
from tests.corridor import Corridor
from tests.toy import Letters

pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'agentsearch[envs]'")
httpx = pytest.importorskip("httpx", reason="needs httpx, which asks the server")
http_api = pytest.importorskip("agentsearch_envs.http_api", reason="needs starlette")
application, MAX_BODY = http_api.application, http_api.MAX_BODY


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Client:
    """One caller; `ok` insists on success, `refused` on an error in one sentence."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=address, timeout=30, trust_env=False)

    def ok(self, path, **fields):
        reply = self.http.post(path, json=fields)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def refused(self, path, body=None, **fields):
        reply = self.http.post(path, content=json.dumps(fields) if body is None else body)
        return self.sentence(reply)

    @staticmethod
    def sentence(reply):
        assert list(reply.json()) == ["error"], reply.text
        text = reply.json()["error"]
        assert "\n" not in text and len(text) < 600
        return reply.status_code, text

    def get(self, path, **query):
        return self.http.get(path, params=query)

    def session(self, task=0, **fields):
        name = self.ok("/create")["id"]
        self.ok("/reset", id=name, task=task, **fields)
        return name


@contextmanager
def client_of(env, **limits):
    with serving(application(env, **limits)) as address:
        client = Client(address)
        with client.http:
            yield client


@pytest.fixture(scope="module")
def game24():
    with client_of(Game24()) as client:
        yield client


@pytest.fixture
def letters():
    with client_of(Letters()) as client:
        yield client


# -- the same as stepping directly -----------------------------------------------------


async def episode(env, task, seed, choose):
    """An episode as the environment itself plays it: pairs of action and reply."""
    last, steps, replies = await env.reset(task, seed=seed), 0, []
    state = last
    while True:
        action = choose(env.legal_actions(state))
        step = await env.step(state, action)
        state, steps = step.state, steps + 1
        truncated = step.truncated or (steps == env.spec.max_steps and not step.terminated)
        legal, done = env.legal_actions(state), step.terminated or truncated
        reply = {
            "observation": env.observe(state),
            "legal_actions": None if legal is None else list(legal),
            "key": http_api.written(env.key(state)),
            "answer": env.answer(state) if done and hasattr(env, "answer") else None,
            "reward": step.reward,
            "terminated": step.terminated,
            "truncated": truncated,
            "done": done,
            "valid": step.valid,
            "steps": steps,
        }
        replies.append((action, reply))
        if reply["done"]:
            return replies


def sometimes_wrong(seed):
    """A random policy that says something invalid once in a while."""
    rng = random.Random(seed)
    return lambda legal: "fly away" if rng.random() < 0.1 else rng.choice(legal)


def play_both(client, env, split, index):
    task = env.tasks(split)[index]
    name = client.ok("/create")["id"]
    first = client.ok("/reset", id=name, task=task.id, split=split, seed=index)
    direct = asyncio.run(episode(env, task, index, sometimes_wrong(index)))
    start = asyncio.run(env.reset(task, seed=index))
    assert (first["task"], first["prompt"]) == (task.id, task.prompt)
    assert first["observation"] == env.observe(start)
    assert first["legal_actions"] == list(env.legal_actions(start))
    assert (first["reward"], first["done"], first["steps"], first["valid"]) == (0.0, False, 0, True)
    for action, expected in direct:
        assert client.ok("/step", id=name, action=action) == expected
    client.ok("/close", id=name)
    return direct[-1][1]


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_an_episode_of_game24_is_that_of_direct_stepping(game24, split):
    for index in range(5):
        play_both(game24, Game24(), split, index)


def test_an_episode_of_babyai_is_that_of_direct_stepping():
    pytest.importorskip("minigrid", reason="needs minigrid: pip install 'agentsearch[envs]'")
    from agentsearch_envs.babyai_text import BabyAIText

    env = BabyAIText(kind="go_to")
    with client_of(env) as client:
        ends = [play_both(client, env, "dev", index) for index in range(3)]
    assert {end["steps"] for end in ends} != {1}


def test_a_solved_puzzle_pays_once(game24):
    name = game24.session("game24/1-2-3-4")
    rewards = [game24.ok("/step", id=name, action=a)["reward"] for a in ("2 * 1", "3 * 2", "6 * 4")]
    assert rewards == [0.0, 0.0, 1.0]
    last = game24.get("/observation", id=name).json()
    assert last["observation"] == "Numbers: 24" and last["terminated"] and not last["truncated"]


def test_a_task_is_named_by_id_or_index(game24):
    name = game24.ok("/create")["id"]
    by_index = game24.ok("/reset", id=name, task=7, split="test")
    by_id = game24.ok("/reset", id=name, task=by_index["task"], split="test")
    assert by_id == by_index
    assert game24.ok("/reset", id=name, task=7)["task"] == Game24().tasks("train")[7].id


def test_invalid_actions_count_and_cut_the_episode(letters):
    name = letters.session()
    for steps in (1, 2, 3):
        reply = letters.ok("/step", id=name, action="z")
        assert (reply["valid"], reply["observation"], reply["steps"]) == (False, "", steps)
        assert reply["reward"] == 0.0
    assert (reply["truncated"], reply["terminated"], reply["done"]) == (True, False, True)


def test_the_last_step_that_terminates_is_not_truncated(letters):
    name = letters.session()
    replies = [letters.ok("/step", id=name, action=each) for each in "cab"]
    assert [each["reward"] for each in replies] == [0.0, 0.0, 1.0]
    assert (replies[-1]["terminated"], replies[-1]["truncated"]) == (True, False)


def test_an_episode_that_has_ended_takes_no_more_actions(letters):
    name = letters.session()
    for letter in "cab":
        letters.ok("/step", id=name, action=letter)
    status, text = letters.refused("/step", id=name, action="a")
    assert status == 409 and "has ended" in text
    letters.ok("/reset", id=name, task=1)
    assert letters.ok("/step", id=name, action="c")["observation"] == "c"


def test_an_episode_has_to_be_begun(letters):
    name = letters.ok("/create")["id"]
    for path, fields in (("/step", {"action": "a"}), ("/snapshot", {})):
        assert letters.refused(path, id=name, **fields)[0] == 409
    assert letters.sentence(letters.get("/observation", id=name))[0] == 409


# -- snapshots -------------------------------------------------------------------------


def test_restore_goes_back_exactly_and_as_often_as_wanted():
    with client_of(Corridor()) as client:
        name = client.session()
        client.ok("/step", id=name, action="left")
        here = client.get("/observation", id=name).json()
        kept = client.ok("/snapshot", id=name)["snapshot"]
        paths = []
        for _ in range(2):
            paths.append([client.ok("/step", id=name, action="right") for _ in range(3)])
            assert paths[-1][-1]["terminated"]
            assert client.ok("/restore", id=name, snapshot=kept) == here
            assert client.get("/observation", id=name).json() == here
        assert paths[0] == paths[1]
        assert paths[0][-1]["reward"] == pytest.approx(1 - 0.9 * 4 / 30)  # the fourth step
        assert here["steps"] == 1


def test_a_snapshot_of_the_end_is_still_the_end(letters):
    name = letters.session()
    for letter in "cab":
        letters.ok("/step", id=name, action=letter)
    kept = letters.ok("/snapshot", id=name)["snapshot"]
    assert letters.ok("/restore", id=name, snapshot=kept)["done"]
    assert letters.refused("/step", id=name, action="a")[0] == 409


def test_any_session_can_go_to_a_snapshot_also_after_a_reset(letters):
    one, two = letters.session(), letters.session("letters/train/3")
    here = letters.ok("/step", id=one, action="c")
    kept = letters.ok("/snapshot", id=one)["snapshot"]
    letters.ok("/reset", id=one, task=1)
    there = letters.ok("/restore", id=two, snapshot=kept)
    assert there == {"task": "letters/train/0", "prompt": "Spell the word.", **here}
    assert letters.ok("/step", id=two, action="a")["steps"] == 2
    assert letters.get("/observation", id=one).json()["task"] == "letters/train/1"
    letters.ok("/close", id=one)
    status, text = letters.refused("/restore", id=two, snapshot=kept)
    assert status == 410 and kept in text and "its session is closed" in text


@pytest.mark.parametrize("snapshot", ["", "snapshot-1", "0000.1", "{id}", "{id}.2", "{id}.1.1"])
def test_a_snapshot_that_was_never_taken(letters, snapshot):
    name = letters.session()
    letters.ok("/snapshot", id=name)
    status, text = letters.refused("/restore", id=name, snapshot=snapshot.format(id=name))
    assert status == 410 and "no snapshot" in text


def test_the_least_recently_used_snapshot_of_a_session_is_dropped():
    with client_of(Letters(), max_snapshots=2) as client:
        name, other = client.session(), client.session()
        first, second = (client.ok("/snapshot", id=name)["snapshot"] for _ in range(2))
        client.ok("/restore", id=name, snapshot=first)
        third = client.ok("/snapshot", id=name)["snapshot"]
        assert client.refused("/restore", id=name, snapshot=second)[0] == 410
        client.ok("/snapshot", id=other)
        for kept in (first, third):
            client.ok("/restore", id=name, snapshot=kept)


def test_a_session_whose_snapshots_are_used_is_not_idle():
    clock = Clock()
    with client_of(Letters(), timeout_s=60, clock=clock) as client:
        owner, user = client.session(), client.session()
        kept = client.ok("/snapshot", id=owner)["snapshot"]
        for _ in range(3):
            clock.now += 50
            client.ok("/restore", id=user, snapshot=kept)
        clock.now += 61
        assert client.get("/health").json()["sessions"] == 0


# -- for a search in another process ---------------------------------------------------


def test_keys_are_equal_where_those_of_the_environment_are(game24):
    name = game24.session("game24/1-2-3-4")
    start = game24.ok("/snapshot", id=name)["snapshot"]
    one = game24.ok("/step", id=name, action="2 * 1")["key"]
    game24.ok("/restore", id=name, snapshot=start)
    two = game24.ok("/step", id=name, action="2 / 1")["key"]
    game24.ok("/restore", id=name, snapshot=start)
    three = game24.ok("/step", id=name, action="2 + 1")["key"]
    assert one == two != three
    assert len(one) == 32


@dataclass(frozen=True)
class Marked:
    """A key with all that may be in one; what is not compared does not count."""

    place: tuple
    things: frozenset
    notes: list = field(default_factory=list, compare=False)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (-1, -2, False),
        ("1", 1, False),
        (b"a", "a", False),
        ((1, 2), (2, 1), False),
        (((1,), 2), ((1, 2),), False),
        ((), None, False),
        (Fraction(1, 3), Fraction(2, 6), True),
        (frozenset("abcdefgh"), frozenset("hgfedcba"), True),
        (Marked((1, None), frozenset({"x"}), [1]), Marked((1, None), frozenset({"x"}), [2]), True),
        (Marked((1, None), frozenset({"x"})), Marked((1, None), frozenset({"y"})), False),
        ("\ud83d", "\ud83e", False),
    ],
)
def test_equal_keys_are_written_alike_and_others_are_not(one, other, same):
    assert (one == other) is same
    assert (http_api.written(one) == http_api.written(other)) is same


def test_a_key_that_is_no_plain_data_is_null():
    assert http_api.written((1, object())) is None
    assert http_api.written([1]) is None


def test_tasks_are_listed_in_pages(game24):
    env = Game24()
    for start, count in ((0, 100), (1052, 7), (1060, 100), (5000, 1)):
        listed = game24.get("/tasks", split="train", start=start, count=count).json()
        expected = env.tasks("train")[start : start + count]
        assert listed["tasks"] == [{"id": t.id, "prompt": t.prompt} for t in expected]
    assert game24.get("/tasks").json()["split"] == "train"
    for query, says in (
        ({"split": "trian"}, "must be train, dev or test"),
        ({"start": "-1"}, "'start' must be a whole number"),
        ({"start": "x"}, "'start' must be a whole number"),
        ({"count": "101"}, "from 1 to 100, not '101'"),
    ):
        status, text = game24.sentence(game24.get("/tasks", **query))
        assert status == 400 and says in text


def test_an_episode_is_judged_by_the_verifier(game24):
    start = {"task": "game24/1-2-3-4", "split": "train", "seed": 0}
    path = ["2 * 1", "3 * 2", "6 * 4"]
    right = game24.ok("/verify", **start, actions=path)
    assert (right["correct"], right["credit"]) == (True, 1.0)
    assert game24.ok("/verify", **start, actions=[*path, "fly away"]) == right
    for actions in ([], path[:2], ["fly away", *path]):  # an invalid one counts as a step
        assert not game24.ok("/verify", **start, actions=actions)["correct"]
    status, text = game24.refused("/verify", **start, actions="2 * 1")
    assert status == 400 and "'actions' must be a list of texts" in text
    assert game24.refused("/verify", task=-1, actions=[])[0] == 404


# -- sessions --------------------------------------------------------------------------


def test_sessions_do_not_mix(game24):
    env = Game24()
    tasks = env.tasks("dev")[:2]
    names = [game24.session(task.id, split="dev") for task in tasks]
    paths = [asyncio.run(episode(env, task, 0, sometimes_wrong(3))) for task in tasks]
    for pair in zip(*paths, strict=False):
        for name, (action, expected) in zip(names, pair, strict=True):
            assert game24.ok("/step", id=name, action=action) == expected


@dataclass(frozen=True)
class Gate(Letters):
    """Steps of the session that says `a` first wait until the test opens the gate."""

    entered: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    async def step(self, state, action):
        if action == "a":
            self.entered.set()
            while not self.opened.is_set():
                await asyncio.sleep(0.005)
        return await super().step(state, action)


@contextmanager
def at_the_gate(**limits):
    """A server where a first session's step `a` is under way.

    `send` begins another step of that session; `finish` opens the gate and gives the reply
    to each action.
    """
    gate, waiting, replies = Gate(), {}, {}
    with client_of(gate, **limits) as client:
        name = client.session()
        address = (client.http.base_url.host, client.http.base_url.port)

        def send(action):
            body = json.dumps({"id": name, "action": action}).encode()
            waiting[action] = socket.create_connection(address, timeout=30)
            waiting[action].sendall(
                b"POST /step HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )

        def finish():
            gate.opened.set()
            for action, connection in waiting.items():
                with connection, connection.makefile("rb") as stream:
                    replies[action] = json.loads(stream.read().partition(b"\r\n\r\n")[2])
            waiting.clear()
            return replies

        send("a")
        assert gate.entered.wait(30)
        try:
            yield client, name, send, finish
        finally:
            finish()


def test_steps_of_a_session_wait_for_each_other_and_sessions_do_not():
    with at_the_gate() as (client, name, send, finish):
        send("b")
        other = client.session()
        for letter in "cb":  # the other session goes on meanwhile
            assert client.ok("/step", id=other, action=letter)["valid"]
        replies = finish()
        assert (replies["a"]["observation"], replies["a"]["steps"]) == ("a", 1)
        assert (replies["b"]["observation"], replies["b"]["steps"]) == ("ab", 2)


def test_a_session_can_be_closed_while_a_step_hangs():
    with at_the_gate() as (client, name, send, finish):
        send("b")
        for _ in range(5):  # until that has come in
            client.get("/health")
        client.ok("/close", id=name)
        replies = finish()
        assert replies["a"]["observation"] == "a"
        assert "no session" in replies["b"]["error"]
        assert client.get("/health").json()["sessions"] == 0


def test_sessions_end_when_they_are_idle_for_too_long():
    clock = Clock()
    with client_of(Letters(), timeout_s=60, clock=clock) as client:
        idle, used, _ = client.session(), client.session(), client.session()
        clock.now += 60
        client.ok("/step", id=used, action="c")
        assert client.get("/health").json() == {"status": "healthy", "sessions": 3}
        clock.now += 1
        assert client.get("/health").json()["sessions"] == 1
        status, text = client.refused("/step", id=idle, action="c")
        assert status == 404 and "60 s" in text
        assert client.ok("/step", id=used, action="a")["observation"] == "ca"


def test_every_call_on_a_session_keeps_it_alive():
    clock = Clock()
    with client_of(Letters(), timeout_s=60, clock=clock) as client:
        name = client.session()
        kept = client.ok("/snapshot", id=name)["snapshot"]
        calls = [
            lambda: client.ok("/step", id=name, action="c"),
            lambda: client.ok("/snapshot", id=name),
            lambda: client.get("/observation", id=name),
            lambda: client.ok("/restore", id=name, snapshot=kept),
            lambda: client.refused("/step", id=name, action=1),  # this one does not
        ]
        for call in calls:
            clock.now += 50
            call()
        clock.now += 11
        assert client.refused("/step", id=name, action="c")[0] == 404


def test_a_session_at_work_is_not_idle():
    clock = Clock()
    with at_the_gate(timeout_s=60, clock=clock) as (client, name, _, finish):
        clock.now += 1000
        assert client.get("/health").json()["sessions"] == 1
        assert finish()["a"]["observation"] == "a"
        assert client.ok("/step", id=name, action="b")["observation"] == "ab"


def test_sessions_have_a_cap_that_close_and_time_free():
    clock = Clock()
    with client_of(Letters(), max_sessions=2, timeout_s=60, clock=clock) as client:
        first, _ = client.session(), client.session()
        status, text = client.refused("/create")
        assert status == 429 and "All 2 sessions" in text
        assert client.ok("/close", id=first) == {"closed": True}
        assert client.refused("/close", id=first)[0] == 404
        client.ok("/create")
        assert client.refused("/create")[0] == 429
        clock.now += 61
        client.ok("/create")


# -- what is refused -------------------------------------------------------------------

ID = "0" * 16


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/reset", "{", "not JSON"),
        ("/reset", "", "'id' is missing"),
        ("/reset", b"\xff\xfe", "not JSON"),
        ("/reset", "[" * 100_000, "not JSON"),
        ("/reset", "[]", "must be a JSON object, not []"),
        ("/reset", "null", "must be a JSON object, not None"),
        ("/reset", '"id"', "must be a JSON object"),
        ("/reset", {"id": ID}, "'task' is missing; it is a task id"),
        (
            "/reset",
            {"id": ID, "task": 0, "sede": 1},
            "'sede' is no field here. Did you mean 'seed'",
        ),
        ("/reset", {"id": ID, "task": 1.0}, "'task' must be a task id, or its index"),
        ("/reset", {"id": ID, "task": True}, "'task' must be"),
        ("/reset", {"id": ID, "task": None}, "'task' must be"),
        (
            "/reset",
            {"id": ID, "task": 0, "split": "trian"},
            "must be train, dev or test, not 'trian'",
        ),
        ("/reset", {"id": ID, "task": 0, "split": ["dev"]}, "must be train, dev or test"),
        ("/reset", {"id": ID, "task": 0, "seed": -1}, "'seed' must be a whole number"),
        ("/reset", {"id": ID, "task": 0, "seed": 1 << 63}, "'seed' must be a whole number"),
        ("/reset", {"id": ID, "task": 0, "seed": "1"}, "'seed' must be a whole number"),
        ("/reset", {"id": ID, "task": 0, "seed": 0.5}, "'seed' must be a whole number"),
        ("/reset", f'{{"id": "{ID}", "task": {"9" * 3000}}}', "no session"),
        ("/reset", f'{{"id": "{ID}", "task": {"9" * 9000}}}', "not JSON"),
        ("/step", {"id": ID}, "'action' is missing"),
        ("/step", {"id": ID, "action": 3}, "'action' must be a text, not 3"),
        ("/step", {"id": ID, "action": None}, "'action' must be a text"),
        ("/step", {"id": 3, "action": "a"}, "'id' must be the id that /create gave, not 3"),
        ("/step", f'{{"id": "{ID}", "action": "\\ud800"}}', "not JSON"),
        ("/step", {"id": ID, "action": "a", "x" * 9000: 1}, "is no field here"),
        ("/snapshot", {"id": ID, "name": "x"}, "The fields are: id."),
        ("/restore", {"id": ID}, "'snapshot' is missing"),
        ("/restore", {"id": ID, "snapshot": 0}, "'snapshot' must be the name"),
        ("/close", {}, "'id' is missing"),
        ("/create", {"seed": 1}, "There are no fields."),
    ],
)
def test_a_request_that_is_wrong_is_told_why(game24, path, body, says):
    raw = json.dumps(body) if isinstance(body, dict) else body
    status, text = game24.refused(path, raw)
    assert says in text
    assert status == (404 if says == "no session" else 400)


def test_what_is_wrong_in_an_address(game24):
    for query, says in (({}, "'id' is missing"), ({"id": ID, "x": "1"}, "'x' is no field")):
        status, text = game24.sentence(game24.get("/observation", **query))
        assert status == 400 and says in text
    assert game24.sentence(game24.get("/observation", id=ID))[0] == 404


@pytest.mark.parametrize("task", [-1, 10**6, 10**1000, "game24/9-9-9-9", "", "0"])
def test_a_task_that_is_not_there(game24, task):
    name = game24.session(2)
    before = game24.get("/observation", id=name).json()
    status, text = game24.refused("/reset", id=name, task=task)
    assert status == 404 and "Split 'train' has no task" in text
    assert game24.get("/observation", id=name).json() == before


@pytest.mark.parametrize("path", ["/reset", "/step", "/snapshot", "/restore", "/close"])
def test_an_id_that_is_not_there(game24, path):
    fields = {"/reset": {"task": 0}, "/step": {"action": "a"}, "/restore": {"snapshot": "x"}}
    status, text = game24.refused(path, id="nobody", **fields.get(path, {}))
    assert status == 404 and "no session 'nobody'" in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/steps", 404), ("GET", "/step", 405), ("POST", "/health", 405), ("PUT", "/", 405)],
)
def test_a_call_that_is_not_there(game24, method, path, status):
    reply = game24.http.request(method, path)
    assert game24.sentence(reply) == (
        status,
        f"{method} {path} is no call here; GET / lists the calls.",
    )
    assert ("allow" in reply.headers) == (status == 405)


def test_a_body_has_a_limit(letters):
    name = letters.session()
    room = MAX_BODY - len(json.dumps({"id": name, "action": ""}))
    reply = letters.ok("/step", id=name, action="x" * room)
    assert not reply["valid"]
    status, text = letters.refused("/step", id=name, action="x" * (room + 1))
    assert status == 413 and "1,048,576 bytes" in text
    assert letters.get("/observation", id=name).json()["steps"] == 1


def test_a_caller_that_goes_away_disturbs_nobody(letters, caplog):
    address = letters.http.base_url
    with socket.create_connection((address.host, address.port)) as caller:
        caller.sendall(b"POST /create HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
    assert letters.get("/health").json() == {"status": "healthy", "sessions": 0}
    assert not caplog.records


# -- environments that fail ------------------------------------------------------------


def test_an_environment_that_raises_costs_no_session(caplog):
    with client_of(Letters(broken="ca")) as client:
        name = client.session()
        client.ok("/step", id=name, action="c")
        status, text = client.refused("/step", id=name, action="a")
        assert (status, text) == (500, "step: RuntimeError: no way past ca")
        assert "no way past ca" in caplog.text and "Traceback" in caplog.text
        reply = client.ok("/step", id=name, action="b")
        assert (reply["observation"], reply["steps"]) == ("cb", 2)


@dataclass(frozen=True)
class Faulty(Letters):
    """Something else goes wrong at `cc`, by what the word is."""

    async def reset(self, task, *, seed):
        if self.word == "reset" and seed == 1:
            raise ConfigError("seed 1:\nis not\tfor this world. " + "x" * 1000)
        return ""

    def observe(self, state):
        if self.word == "observe" and state == "cc":
            raise OSError("no eyes")
        wrong = {"surrogate": "\ud83d", "bytes": b"not a text"}
        return wrong.get(self.word, state)

    def legal_actions(self, state):
        return None if self.word == "open" else super().legal_actions(state)

    async def step(self, state, action):
        step = await super().step(state, action)
        nan = self.word == "nan" and step.state == "cc"
        return type(step)(step.state, float("nan")) if nan else step


def test_an_observation_that_fails_leaves_the_episode_where_it_was():
    with client_of(Faulty("observe")) as client:
        name = client.session()
        client.ok("/step", id=name, action="c")
        assert client.refused("/step", id=name, action="c") == (500, "observe: OSError: no eyes")
        assert client.get("/observation", id=name).json()["observation"] == "c"


def test_an_error_is_one_line_of_bearable_length():
    with client_of(Faulty("reset")) as client:
        name = client.session()
        status, text = client.refused("/reset", id=name, task=0, seed=1)
        assert status == 500 and text.startswith("seed 1: is not for this world. xxx")


def test_a_reward_that_is_no_number_is_an_error_and_no_bad_json():
    with client_of(Faulty("nan")) as client:
        name = client.session()
        client.ok("/step", id=name, action="c")
        status, text = client.refused("/step", id=name, action="c")
        assert (status, text) == (500, "The reward is nan, which is no finite number.")
        assert client.get("/observation", id=name).json()["observation"] == "c"


def test_a_bug_is_an_error_too_and_its_traceback_is_logged(caplog):
    with client_of(Faulty("bytes")) as client:
        name = client.ok("/create")["id"]
        status, text = client.refused("/reset", id=name, task=0)
        assert (status, text) == (500, "The server failed (TypeError); its log says where.")
    assert "Traceback" in caplog.text  # it is logged after the reply


def test_half_a_surrogate_pair_is_written_out():
    with client_of(Faulty("surrogate")) as client:
        name = client.ok("/create")["id"]
        reply = client.http.post("/reset", json={"id": name, "task": 0})
        assert b'"observation": "\\ud83d"' in reply.content


def test_open_actions_are_null():
    with client_of(Faulty("open")) as client:
        name = client.session()
        assert client.get("/observation", id=name).json()["legal_actions"] is None


# -- what is served --------------------------------------------------------------------


def test_the_root_describes_what_is_served(game24):
    found = game24.get("/").json()
    spec = Game24().spec
    assert (found["env"], found["version"], found["max_steps"]) == ("game24", spec.version, 3)
    assert found["splits"] == {each: len(Game24().tasks(each)) for each in found["splits"]}
    assert list(found["splits"]) == ["train", "dev", "test"]
    assert (found["actions"], found["reversible"]) == ("finite", True)
    for method, paths in found["calls"].items():
        for path in paths:
            assert game24.http.request(method, path).status_code not in (404, 405)


def test_ids_are_learnt_only_as_far_as_they_are_asked_for():
    made = []

    class Worlds:
        def __init__(self, tasks):
            self.all = tasks

        def __len__(self):
            return len(self.all)

        def __getitem__(self, index):
            made.append(index)
            return self.all[index]

    @dataclass(frozen=True)
    class Large(Letters):
        def tasks(self, split):
            return Worlds(super().tasks(split))

    with client_of(Large()) as client:
        client.session("letters/train/2")
        assert made == [0, 1, 2, 2]
        client.session("letters/train/1")
        assert made[4:] == [1]
        client.session("letters/train/4")
        assert made[5:] == [3, 4, 4]


@pytest.mark.parametrize("limit", ["max_sessions", "timeout_s", "max_snapshots"])
def test_a_limit_that_leaves_nothing_is_refused(limit):
    with pytest.raises(ConfigError, match=f"{limit}=0: must be more than 0"):
        application(Letters(), **{limit: 0})


# -- the command -----------------------------------------------------------------------


@contextmanager
def spawned(*args):
    """`agentsearch play` in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agentsearch", "play", *args],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process):
    """Exit code, output and errors after Ctrl-C."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_serves_until_ctrl_c(as_json):
    options = ["rules=rational", "--api", *(["--json"] if as_json else [])]
    with spawned("game24", *options) as process:
        if as_json:
            told = json.loads("".join(process.stdout.readline() for _ in range(4)))
            assert told["env"] == "game24"
            address = told["address"]
        else:
            name, address, *_ = process.stdout.readline().split()
            assert name == "game24:"
        assert address.startswith("http://127.0.0.1:")
        with Client(address).http as http:
            assert http.get("/").json()["splits"] == {
                each: len(Game24("rational").tasks(each)) for each in ("train", "dev", "test")
            }
        assert interrupted(process) == (130, "", "Interrupted.\n")


def test_ctrl_c_ends_a_game_in_the_terminal_at_once():
    with spawned("game24", "--split", "train") as process:
        process.stdin.write("1\n")
        process.stdin.flush()
        prompts = 0
        while prompts < 2:
            prompts += process.stdout.read(1) == ">"
        code, out, err = interrupted(process)
    assert (code, out.strip(), err) == (130, "", "Interrupted.\n")
