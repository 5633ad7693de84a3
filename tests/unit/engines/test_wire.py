"""Which chat replies are sound, and which are asked for again."""

from collections import Counter
from typing import Any

import pytest

from agentsearch.engines.http import Fault
from agentsearch.engines.wire import read_chat, version
from agentsearch.types import Completion, Message, Request

GO = (Message("user", "go"),)


def reply(
    content: str | None = "left",
    finish: str | None = "stop",
    ids: list[int] | None = None,
    logprobs: list[float] | None = None,
    generated: int | None = None,
    **message: Any,
) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"content": content, **message},
        "finish_reason": finish,
    }
    if ids is not None:
        choice["token_ids"] = ids
    if logprobs is not None:
        choice["logprobs"] = {"content": [{"logprob": each} for each in logprobs]}
    usage = {} if generated is None else {"usage": {"completion_tokens": generated}}
    return {"choices": [choice], "prompt_token_ids": [5, 6], **usage}


def read(reply: dict[str, Any], **fields: Any) -> Completion:
    (completion,) = read_chat(reply, Request(GO, **fields), "m", Counter())
    return completion


@pytest.mark.parametrize(
    "sound",
    [
        reply("", ids=[2], logprobs=[-0.5], generated=1),
        reply("", generated=1),
        reply("", logprobs=[-0.5]),
        reply(None, generated=1),
        reply("", finish="length", generated=1),  # half a character
        reply(""),  # the server does not say
        reply(None, generated=40, reasoning_content="hm"),
        reply(None, generated=40, tool_calls=[{"id": "1"}]),
    ],
    ids=str,
)
def test_an_empty_completion_that_the_model_wrote_is_sound(sound: dict[str, Any]):
    assert read(sound).text == ""


@pytest.mark.parametrize(
    ("unsound", "tokens"),
    [
        (reply("", ids=[7, 8, 2], logprobs=[-1, -1, -1]), 3),
        (reply("", logprobs=[-1, -1]), 2),
        (reply("", generated=9), 9),
        (reply(None, finish="length", generated=9), 9),
        (reply("", generated=0), 0),
    ],
    ids=str,
)
def test_an_empty_completion_that_lost_its_text_is_a_fault(unsound: dict[str, Any], tokens: int):
    with pytest.raises(Fault, match=f"a completion of {tokens} tokens without text") as caught:
        read(unsound)
    assert caught.value.kind == "empty"
    if tokens:
        assert read(unsound, stop=("\n",)).text == ""  # the stop string cut all of it


def test_of_several_samples_the_usage_tells_nothing_of_each():
    two = reply("", generated=7)
    two["choices"] += reply("left")["choices"]
    texts = [each.text for each in read_chat(two, Request(GO, n=2), "m", Counter())]
    assert texts == ["", "left"]


@pytest.mark.parametrize("finish", ["abort", "error"])
def test_what_the_server_broke_off_is_a_fault(finish: str):
    with pytest.raises(Fault, match=f"finish_reason '{finish}'") as caught:
        read(reply(finish=finish))
    assert caught.value.kind == "broken_off"


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "repetition", None])
def test_other_endings_are_the_models_own(finish: str | None):
    assert read(reply(finish=finish)).finish == "stop"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "NaN"])
def test_a_log_probability_that_is_no_finite_number_is_a_fault(value: Any):
    with pytest.raises(Fault, match="log-probability") as caught:
        read(reply(logprobs=[-0.5, value]))
    assert caught.value.kind == "bad_logprobs"


@pytest.mark.parametrize("value", [None, {}, "much"])
def test_a_log_probability_of_another_type_is_malformed(value: Any):
    with pytest.raises(Fault, match="malformed") as caught:
        read(reply(logprobs=[value]))
    assert caught.value.kind == "malformed"


def test_a_forced_reply_has_no_log_probability_of_the_models_own():
    forced = reply(ids=[7, 2], logprobs=[0.0, 0.0])
    assert read(forced).logprob == 0.0 and read(forced).tokens is not None
    found = read(forced, among=("left",))
    assert found.logprob is None and found.tokens is None


def test_the_version_names_the_weights_once():
    assert version("tiny", {}) == "tiny"
    assert version("tiny", {"system_fingerprint": "7eca"}) == "tiny@7eca"
    assert version("tiny@7eca", {"system_fingerprint": "7eca"}) == "tiny@7eca"
