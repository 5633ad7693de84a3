r"""Text into the terms that the search engine indexes.

Words are the segments of Unicode's word segmentation (UAX 29) that hold a letter, a decimal
digit or a pictograph. They lose a final `'s`, become lower case, and are stemmed unless they
are stop words.

Source: Lucene's English analyzer, which the original's engine (Anserini 0.22.1) uses; the
stemmer is Porter's (1980) with its author's later departures.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version

from agentsearch.errors import ConfigError

VERSION = "1"
"""Raised whenever the terms of a text change."""
CACHED_SEGMENTS = 100_000
STOP_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these",
    "they", "this", "to", "was", "will", "with",
))  # fmt: skip
POSSESSIVES = ("'s", "\u2019s", "\uff07s")
PICTOGRAPHS = (
    r"\xA9\xAE\u203C\u2049\u2122\u2139\u2194-\u2199\u21A9\u21AA\u231A\u231B\u2328\u2388\u23CF"
    r"\u23E9-\u23F3\u23F8-\u23FA\u24C2\u25AA\u25AB\u25B6\u25C0\u25FB-\u25FE\u2600-\u2605"
    r"\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2714\u2716\u271D\u2721\u2728\u2733"
    r"\u2734\u2744\u2747\u274C\u274E\u2753-\u2755\u2757\u2763-\u2767\u2795-\u2797\u27A1\u27B0"
    r"\u27BF\u2934\u2935\u2B05-\u2B07\u2B1B\u2B1C\u2B50\u2B55\u3030\u303D\u3297\u3299"
    r"\U0001F000-\U0001F0FF\U0001F10D-\U0001F10F\U0001F12F\U0001F16C-\U0001F171\U0001F17E"
    r"\U0001F17F\U0001F18E\U0001F191-\U0001F19A\U0001F1AD-\U0001F1E5\U0001F201-\U0001F20F"
    r"\U0001F21A\U0001F22F\U0001F232-\U0001F23A\U0001F23C-\U0001F23F\U0001F249-\U0001F3FA"
    r"\U0001F400-\U0001F53D\U0001F546-\U0001F64F\U0001F680-\U0001F6FF\U0001F774-\U0001F77F"
    r"\U0001F7D5-\U0001F7FF\U0001F80C-\U0001F80F\U0001F848-\U0001F84F\U0001F85A-\U0001F85F"
    r"\U0001F888-\U0001F88F\U0001F8AE-\U0001F8FF\U0001F90C-\U0001F93A\U0001F93C-\U0001F945"
    r"\U0001F947-\U0001FAFF\U0001FC00-\U0001FFFD"
)
"""Extended_Pictographic of Unicode 15; later versions leave out signs such as the black star."""

# `regex` leaves an apostrophe or a mark with no letter before it on the word that follows.
# Flags are no words and slow to segment. Lucene too cuts words after 255 characters.
_SKIPPED = r"\s'\u2019\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}\p{WB=Regional_Indicator}"
_SEGMENT = rf"(?sw)[^{_SKIPPED}](?:.{{0,254}}?\b|.{{254}})"
# A letter that only extends what is before it, such as U+FF9F, makes no word.
_KEPT = rf"(?V1)[[\p{{L}}--\p{{WB=Extend}}]\p{{Nd}}{PICTOGRAPHS}]"


def terms(text: str) -> list[str]:
    """The terms of a text, in order and as often as they occur.

    Raises:
        ConfigError: `regex` or `nltk` is not installed.
    """
    return [found for segment in _segments()(text) if (found := term(segment))]


@lru_cache(CACHED_SEGMENTS)
def term(segment: str) -> str:
    """The term of one segment; empty for stop words and what is no word."""
    if not _is_word()(segment):
        return ""
    word = segment.lower()
    if word.endswith(POSSESSIVES):
        word = word[:-2]
    return "" if word in STOP_WORDS else _stem()(word)


def versions() -> tuple[str, ...]:
    """Of everything that decides which terms a text has.

    Raises:
        ConfigError: `regex` or `nltk` is not installed.
    """
    try:
        return (VERSION, version("regex"), version("nltk"), unicodedata.unidata_version)
    except PackageNotFoundError as cause:
        raise _missing(cause.name) from cause


# `regex` and `nltk` are imported at the first use: the latter takes most of a second.


@cache
def _segments() -> Callable[[str], list[str]]:
    try:
        import regex
    except ImportError as cause:
        raise _missing("regex") from cause
    return regex.compile(_SEGMENT).findall


@cache
def _is_word() -> Callable[[str], object]:
    import regex

    return regex.compile(_KEPT).search


@cache
def _stem() -> Callable[[str], str]:
    try:
        from nltk.stem.porter import PorterStemmer
    except ImportError as cause:
        raise _missing("nltk") from cause
    return PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS).stem


def _missing(package: str) -> ConfigError:
    return ConfigError(
        f"The search engine of webshop needs {package}, which is not installed; "
        "run: pip install 'agentsearch[envs]'"
    )
