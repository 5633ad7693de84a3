"""Fuzzy matching: the scores are those of thefuzz 0.19.0 with difflib, run once."""

from __future__ import annotations

import pytest

from agentsearch_envs.webshop.fuzzy import token_set_ratio, tokens


@pytest.mark.parametrize(
    ("first", "second", "score"),
    [
        ("xx-large", "('size', 'x-large')", 77),
        ("x-large", "('size', 'x-large')", 100),
        ("xx-large", "x-large", 93),
        ("essential oils", "essential oil", 96),
        ("tea tree", "tea bag", 60),
        ("long sleeve", "short sleeve", 71),
        ("machine wash", "hand wash", 67),
        ("snow powder", "cool powder snow", 100),  # one set holds the other
        ("red red blue", "blue red", 100),
        ('28" x 28"', "('size', '28\" x 28\"')", 100),
        ("navy_style_7", "navy style 7", 75),  # an underscore does not part words
        ("café noir", "caf noir", 100),
        ("½ inch", "inch", 100),
        ("Ωmega", "mega", 89),  # only Latin-1 letters are dropped
        ("東京", "東京 x", 100),
        ("", "x", 0),
        ("---", "---", 0),  # nothing is left to compare
    ],
)
def test_scores(first: str, second: str, score: int):
    assert token_set_ratio(first, second) == score


def test_the_first_text_can_matter_as_in_difflib():
    assert (token_set_ratio("tide", "diet"), token_set_ratio("diet", "tide")) == (25, 50)


def test_the_score_is_the_best_of_three_ratios():
    # common "a", rests "b" and "c": ratio("a", "a b") = 2/4, ratio("a b", "a c") = 4/6
    assert token_set_ratio("a b", "a c") == 67
    # common "a", rests "" and "bcdef": ratio("a", "a") = 1, ratio("a", "a bcdef") = 2/8
    assert token_set_ratio("a", "a bcdef") == 100


def test_tokens_are_lower_cased_words_without_punctuation():
    assert tokens("Women's  (UK-7) Slip_On É") == {"women", "s", "uk", "7", "slip_on"}
