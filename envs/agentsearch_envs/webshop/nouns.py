"""The nouns of product titles, which the reward's type part compares.

The original uses the tags of a spaCy model. A tagger is any function from a title to its
nouns in lower case, repeats included; results should name the one they were made with.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from agentsearch.errors import ConfigError, did_you_mean

Tagger = Callable[[str], list[str]]

SPACY_MODEL = "en_core_web_sm"
"""What `spacy` stands for."""
NOUN_TAGS = ("NOUN", "PROPN")
WORD = re.compile(r"(?!(?<=['’])s\b)\b[^\W\d_]+\b")
"""Letters only, so not `4K`, and not the `s` of `men's`."""
FUNCTION_WORDS = frozenset(
    """
    a an the this that these those any all each every some no not more most very than
    and or but nor if so when while which is are be was it its you your we our they their
    for of with without in into on onto at to from by as per via within between
    """.split()  # noqa: SIM905  # a list takes a line per word
)
"""Words that are never nouns. In titles `off`, `up` and the like are parts of names."""


def words(title: str) -> list[str]:
    """All words: in titles most of them are nouns."""
    return WORD.findall(title.lower())


def lexicon(title: str) -> list[str]:
    """All words but articles, prepositions, conjunctions and the like."""
    return [word for word in words(title) if word not in FUNCTION_WORDS]


BUILT_IN: dict[str, Tagger] = {"words": words, "lexicon": lexicon}


def find(name: str) -> Tagger:
    """The tagger called `words`, `lexicon`, `spacy`, `spacy:MODEL` or `module:function`.

    Raises:
        ConfigError: no such tagger, or it cannot be loaded.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    module, colon, rest = name.partition(":")
    if module == "spacy":
        return spacy_tagger(rest or SPACY_MODEL)
    if not colon:
        known = (*BUILT_IN, "spacy")
        raise ConfigError(
            f"env.tagger={name!r}: no such tagger.{did_you_mean(name, known)} Known: "
            f"{', '.join(known)}. Your own function can be named as 'module:function'."
        )
    try:
        tagger: Any = getattr(importlib.import_module(module), rest)
    except Exception as cause:  # a module may raise anything while it is imported
        raise ConfigError(
            f"env.tagger={name!r}: cannot be loaded ({type(cause).__name__}: {cause}). "
            "Name a function as 'module:function'."
        ) from cause
    if not callable(tagger):
        raise ConfigError(
            f"env.tagger={name!r}: is not a function. Name one that takes a title and returns "
            "its nouns."
        )
    return cast(Tagger, tagger)


@lru_cache(maxsize=4)
def spacy_tagger(model: str) -> Tagger:
    """The words that a spaCy model tags as nouns or names, as in the original.

    Raises:
        ConfigError: spaCy or the model is not installed.
    """
    try:
        tag: Any = importlib.import_module("spacy").load(model)
    except ImportError:
        raise ConfigError(
            "env.tagger: spaCy is not installed. Run `pip install spacy` and `python -m spacy "
            f"download {model}`, or set env.tagger=lexicon, which is built in."
        ) from None
    except OSError:
        raise ConfigError(
            f"env.tagger: the spaCy model {model!r} is not installed. Run `python -m spacy "
            f"download {model}`, or set env.tagger=lexicon, which is built in."
        ) from None

    def nouns(title: str) -> list[str]:
        return [token.text.lower() for token in tag(title) if token.pos_ in NOUN_TAGS]

    return nouns
