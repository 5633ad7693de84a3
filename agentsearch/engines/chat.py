"""Chats and texts as token ids, by the model's own tokenizer and chat template."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from agentsearch.errors import ConfigError, EngineError, boundary
from agentsearch.types import Message, Request

Ids = tuple[int, ...]

REMEMBERED_PROMPTS = 2_048
REMEMBERED_TEXTS = 16_384


@dataclass(frozen=True)
class ChatTokenizer:
    """The tokenizer in a model's folder; it is loaded when it is first used.

    Attributes:
        model: the name by which the user knows the model.
        folder: where it lies.
    """

    model: str
    folder: Path

    @cached_property
    def prompt(self) -> Callable[[tuple[Message, ...]], Ids]:
        """Ids of a chat with the assistant's turn opened; remembered."""
        return lru_cache(REMEMBERED_PROMPTS)(self._prompt)

    @cached_property
    def encode(self) -> Callable[[str], Ids]:
        """Ids of a plain text; remembered."""
        return lru_cache(REMEMBERED_TEXTS)(self._encode)

    @property
    def end(self) -> int:
        """The end-of-turn token."""
        return int(self._tokenizer.eos_token_id)

    def most_tokens(self, request: Request) -> tuple[int, int]:
        """Tokens of the prompt, and most further ones of each call; scoring is one call."""
        prompt = len(self.prompt(request.messages))
        if request.choices is None:
            return prompt, request.max_tokens
        return prompt, sum(len(self.encode(choice)) + 1 for choice in request.choices)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, less special tokens."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def load(self) -> None:
        """Load the tokenizer now.

        Raises:
            ConfigError: transformers is not installed, or this is no tokenizer for chats.
        """
        _ = self._tokenizer

    def _prompt(self, messages: tuple[Message, ...]) -> Ids:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        with boundary(EngineError, f"The chat template of {self.model} refused the messages"):
            text = self._tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=False
            )
        return self._encode(text)

    def _encode(self, text: str) -> Ids:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    @cached_property
    def _tokenizer(self) -> Any:
        transformers = import_extra("transformers", "hf")
        with config_errors(f"The tokenizer of {self.model} cannot be loaded"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
        if not tokenizer.chat_template:
            raise ConfigError(
                f"{self.model} has no chat template; use a chat model, "
                "or put a chat_template.jinja beside its tokenizer."
            )
        if tokenizer.eos_token_id is None:
            raise ConfigError(f"The tokenizer of {self.model} names no end-of-turn token (eos).")
        return tokenizer


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop string."""
    ends = [text.index(each) for each in stop if each in text]
    return text[: min(ends)] if ends else text


def import_extra(package: str, extra: str) -> Any:
    """A package that comes with an extra of ours.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as cause:
        raise ConfigError(
            f"The {extra} engine needs {package}, which is not installed; "
            f"run: pip install 'agentsearch[{extra}]'"
        ) from cause


@contextmanager
def config_errors(doing: str) -> Generator[None]:
    """What a user's choice of model makes the libraries raise, as one sentence."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as cause:
        raise ConfigError(f"{doing} ({type(cause).__name__}: {cause}).") from cause
