"""How alike two short texts are, word order and repeats aside.

Source: `token_set_ratio` of thefuzz 0.19.0 without python-Levenshtein, which the original
WebShop rewards are made with. Newer versions and rapidfuzz score some options otherwise.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache

LATIN_1 = dict.fromkeys(range(128, 256))
"""Characters that are dropped; those beyond them stay."""


@lru_cache(maxsize=2**17)
def token_set_ratio(first: str, second: str) -> int:
    """Similarity of the texts' sets of words, 0 to 100.

        max of ratio(c, c + r1), ratio(c, c + r2), ratio(c + r1, c + r2)

    where c is the common words, r1 and r2 the remaining ones of each text, all sorted and
    joined by spaces, and ratio is difflib's in percent. 0 where a text has no words. As
    difflib's, the result can depend on which text is the first.
    """
    words, others = tokens(first), tokens(second)
    if not words or not others:
        return 0
    common = sorted(words & others)
    one = " ".join(common + sorted(words - others))
    two = " ".join(common + sorted(others - words))
    both = " ".join(common)
    return max(_ratio(both, one), _ratio(both, two), _ratio(one, two))


@lru_cache(maxsize=2**14)
def tokens(text: str) -> frozenset[str]:
    """The lower-cased words of a text; underscores and digits belong to words."""
    return frozenset(re.sub(r"\W", " ", text.translate(LATIN_1)).lower().split())


def _ratio(first: str, second: str) -> int:
    return round(100 * SequenceMatcher(None, first, second).ratio())
