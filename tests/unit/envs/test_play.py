"""`agentsearch play`: by hand in the terminal, and who is served what."""

import json
import socket
import sys
import urllib.request
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from agentsearch.cli.main import app
from agentsearch.errors import ConfigError
from agentsearch_envs import play
from tests.corridor import Corridor
from tests.toy import Letters

LETTERS = "tests.toy:Letters"
CORRIDOR = "tests.corridor:Corridor"


def run(*args, says=""):
    """The command, with lines on its standard input."""
    return CliRunner().invoke(app, ["play", *args], input=says, catch_exceptions=False)


def outcome(*args, says=""):
    result = run(*args, "--json", says=says)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*args, says=""):
    result = run(*args, says=says)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert result.stderr.startswith("Error: ")
    return result.stderr


# -- in the terminal -------------------------------------------------------------------


def test_a_whole_episode_by_action_and_number():
    result = run(LETTERS, says="c\n1\nb\n")
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout == (
        "letters/dev/0\nSpell the word.\n"
        "\n\n   1  a\n   2  b\n   3  c\n> "
        "\nc\n   1  a\n   2  b\n   3  c\n> "
        "\nca\n   1  a\n   2  b\n   3  c\n> "
        "\ncab\n"
        "\nTerminated after 3 steps, reward 1.\nVerdict: correct, credit 1: spelt 'cab'\n"
    )


def test_the_outcome_as_json_is_alone_on_stdout():
    result = run(LETTERS, "word=ba", "--json", says="b\nz\n2\n")
    assert json.loads(result.stdout) == {
        "env": "letters",
        "task": "letters/dev/0",
        "actions": ["b", "b"],
        "invalid": 1,
        "reward": 0.0,
        "terminated": True,
        "truncated": False,
        "verdict": {"correct": False, "credit": 0.5, "reason": "spelt 'bb'"},
    }
    assert "'z' is not valid here." in result.stderr


def test_rewards_add_up_and_a_cut_episode_says_so():
    found = outcome(LETTERS, "pay={a: 0.25}", "truncate=2", says="a\na\n")
    assert (found["reward"], found["terminated"], found["truncated"]) == (0.5, False, True)
    assert "Truncated after 2 steps, reward 0.5." in (
        run(LETTERS, "pay={a: 0.25}", "truncate=2", says="a\na\n").stdout
    )


@pytest.mark.parametrize("says", ["", "c\n", "c\n\n\n", "c\nfly"])
def test_the_end_of_input_ends_the_game(says):
    result = run(LETTERS, says=says)
    assert result.exit_code == 0 and "Verdict" not in result.stdout
    count = "1 step" if says else "0 steps"
    assert result.stdout.endswith(
        f"\nStopped after {count}, reward 0; the episode had not ended.\n"
    )


def test_input_that_is_no_text():
    assert "standard input is no text" in refused(LETTERS, says=b"c\n\xff\n")


def test_an_empty_line_is_no_action():
    assert outcome(LETTERS, says="\n  \nc\na\nb\n")["invalid"] == 0


def test_a_text_that_is_an_action_is_no_number():
    found = outcome(LETTERS, "letters='321'", "word='13'", says="1\n3\n")
    assert found["actions"] == ["1", "3"] and found["verdict"]["correct"]


def test_a_number_that_is_not_listed_is_a_text():
    assert outcome(LETTERS, says="0\n4\n-1\n" + "9" * 5000 + "\n")["invalid"] == 4


def test_the_picture_is_shown_where_there_is_one():
    out = run(CORRIDOR, says="right\nright\n").stdout
    assert "\n..@..\n\n2\n" in out and "\n....@\n\n4\n" in out
    assert "Verdict: correct, credit 1: ended at 4" in out


@dataclass(frozen=True)
class Hostile(Letters):
    """Tells the terminal to do things, and lists no actions."""

    def observe(self, state):
        return f"{state}\x1b[2J"

    def legal_actions(self, state):
        return None


@dataclass(frozen=True)
class Broken(Letters):
    async def step(self, state, action):
        raise RuntimeError("no\nway")


def test_texts_never_command_the_terminal():
    out = run(f"{__name__}:Hostile", says="\x1b[1m\nc\na\nb\n").stdout
    assert "\x1b" not in out and "\\x1b[2J" in out
    assert "      (any action)\n> " in out


def test_an_environment_that_raises_is_a_sentence():
    assert refused(f"{__name__}:Broken", says="a\n") == "Error: letters: RuntimeError: no way\n"


def test_steps_that_wait_are_waited_for():
    assert outcome(LETTERS, "instant=false", says="c\na\nb\n")["verdict"]["correct"]


def test_a_real_environment():
    says = "2 * 1\n3 * 2\n6 * 4\n"
    found = outcome("game24", "--split", "train", "--task", "game24/1-2-3-4", says=says)
    assert found["reward"] == 1.0 and found["verdict"]["correct"]


# -- which task, which environment -----------------------------------------------------


@pytest.mark.parametrize(
    ("args", "task"),
    [
        ([], "letters/dev/0"),
        (["--task", "3"], "letters/dev/3"),
        (["--task", "letters/test/4", "--split", "test"], "letters/test/4"),
    ],
)
def test_a_task_is_named_by_index_or_id(args, task):
    assert outcome(LETTERS, *args)["task"] == task


@dataclass(frozen=True)
class Seeded(Letters):
    async def reset(self, task, *, seed):
        return "c" * seed


def test_the_seed_goes_to_reset():
    assert "\ncc\n" in run(f"{__name__}:Seeded", "--seed", "2").stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([LETTERS, "--task", "5"], "--task 5: split 'dev' has 5 tasks, counted from 0."),
        ([LETTERS, "--task", "99999999999"], "is not in split 'dev'"),
        ([LETTERS, "--task", "letters/dev/9"], "Did you mean 'letters/dev/"),
        (["game24", "--split", "trian"], "unknown split 'trian'"),
        (["game42"], "Did you mean 'game24'?"),
        (["game24", "rules=round"], "env.rules='round'"),
        (["game24", "rulez=integer"], "Did you mean 'rules'?"),
        (["game24", "rational"], "write key=value"),
        ([LETTERS, "--api", "--terminal"], "choose one"),
        ([LETTERS, "--api", "--task", "0"], "--task: with --api every /reset names its own"),
        ([LETTERS, "--api", "--split", "dev"], "--split: with --api"),
        ([LETTERS, "--api", "--seed", "0"], "--seed: with --api"),
    ],
)
def test_what_cannot_be_played_is_a_sentence(args, says):
    assert says in refused(*args)


def test_help_has_examples():
    result = run("--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout and "agentsearch play game24" in result.stdout


# -- served ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Shop(Letters):
    """An environment with pages: one, which says what it was made for."""

    def site(self, *, split, task):
        async def page(scope, receive, send):
            if scope["type"] != "http":
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": f"{split} {task}".encode()})

        return page


SHOP = f"{__name__}:Shop"


def test_pages_are_passed_over_with_terminal():
    assert "Spell the word." in run(SHOP, "--terminal").stdout


def test_pages_take_no_seed():
    assert "--seed: the pages take none" in refused(SHOP, "--seed", "1")


@pytest.fixture
def taken():
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


def needs_uvicorn():
    pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'agentsearch[envs]'")
    pytest.importorskip("starlette", reason="needs starlette: pip install 'agentsearch[envs]'")


@pytest.mark.parametrize("args", [[SHOP], [LETTERS, "--api"]])
def test_a_port_that_is_taken_is_a_sentence(args, taken):
    needs_uvicorn()
    assert f"--host 127.0.0.1 --port {taken}: cannot be used" in refused(*args, "--port", taken)


def test_a_host_that_is_none_is_a_sentence():
    needs_uvicorn()
    assert "--host 300.0.0.1" in refused(LETTERS, "--api", "--host", "300.0.0.1")


def test_without_the_libraries_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for args in ([SHOP], [LETTERS, "--api"]):
        assert "pip install 'agentsearch[envs]'" in refused(*args)


def test_serving_ends_with_its_block():
    needs_uvicorn()
    with play.serving(Shop().site(split="dev", task=3)) as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=30) as reply:
            assert reply.read() == b"dev 3"
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=30)


def test_the_socket_sends_at_once():
    with play.listening("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_only_this_machine_is_listened_to():
    with play.listening(play.HOST, 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_address_of_ipv6_has_brackets():
    try:
        listener = play.listening("::1", 0)
    except ConfigError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        assert play.address_of(listener).startswith("http://[::1]:")


def test_ids_are_looked_at_no_further_than_they_have_to():
    class Worlds(list):
        def __getitem__(self, index):
            assert index <= 1
            return super().__getitem__(index)

    tasks = Worlds(Corridor().tasks("dev"))
    assert play.find_task(tasks, "dev", "corridor/dev/1") == 1
