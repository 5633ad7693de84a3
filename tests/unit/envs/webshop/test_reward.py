"""WebShop's reward: type, attributes, options, price, and the best options to choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from agentsearch_envs.webshop import nouns
from agentsearch_envs.webshop import reward as r
from agentsearch_envs.webshop.catalogue import Product
from agentsearch_envs.webshop.goals import Goal

SHAMPOO = Product(
    asin="B000000001",
    title="Acme Shampoo Tea Tree",
    description="Made with Natural Ingredients",
    bullets=("Smells like lemons", "Keeps color, sulfate", "free for long"),
    price_tag="$12.0",
    prices=(12.0,),
    options={"size": ("small", "x-large"), "color": ("dark blue", "black2626", "sand")},
    attributes=("essential oil", "cruelty free"),
    category="beauty",
    query="shampoos",
    product_category="Beauty › Hair Care › Shampoo",
)
GOAL = Goal(
    asin="B000000001",
    category="beauty",
    query="shampoos",
    title="Acme Shampoo Tea Tree",
    product_category="Beauty › Hair Care › Shampoo",
    instruction="Find me shampoos",
    attributes=("essential oils", "cruelty free"),
    price_limit=20.0,
    options={"color": "dark blue", "size": "small"},
    weight=1.0,
)
EXACT = {"size": "small", "color": "dark blue"}
COLOURS = ("black", "blue", "dark", "sand")


def pay(
    product: Product = SHAMPOO,
    goal: Goal = GOAL,
    chosen: Mapping[str, str] = EXACT,
    price: float = 12.0,
    tagger: nouns.Tagger = nouns.words,
) -> r.Reward:
    return r.reward(product, goal, price, chosen, tagger, COLOURS)


def matched(options: Mapping[str, str] | tuple[str, ...], *chosen: str) -> float | None:
    values = dict(zip("abc", chosen, strict=False))
    return pay(goal=replace(GOAL, options=options), chosen=values).r_option


def typed(product: Product, **goal: str) -> r.Reward:
    return pay(product, replace(GOAL, **goal))


# The whole


def test_the_exact_purchase_pays_one_and_has_the_original_s_breakdown():
    assert pay().total == 1
    assert pay().breakdown() == {
        **{"r_type": 1, "query_match": True, "category_match": True, "title_score": 1},
        **{"r_att": 1, "w_att": 2 / 5, "r_option": 1, "w_option": 2 / 5},
        **{"r_price": True, "w_price": 1 / 5},
    }


def test_the_formula_on_numbers_small_enough_for_the_hand():
    goal = replace(GOAL, attributes=("essential oils", "soy free", "vegan"), query="soaps")
    other = replace(SHAMPOO, title="Tea Kettle", product_category="Kitchen › Kettles")
    paid = pay(other, goal, {"size": "small"})
    # 1 of 3 attributes, 1 of 2 options, the price; 1 of 4 title words, which is above 0.2
    assert paid.total == pytest.approx(1.0 * (1 + 1 + 1) / 6)
    assert (paid.r_att, paid.r_option, paid.r_price) == (pytest.approx(1 / 3), 0.5, True)
    assert (paid.w_att, paid.w_option, paid.w_price) == (0.5, pytest.approx(1 / 3), 1 / 6)
    # 1 of 5 title words is not above 0.2, so the type is half right
    paid = pay(other, replace(goal, title="Acme Shampoo Tea Tree Oil"), {"size": "small"})
    assert paid.total == pytest.approx(0.5 * 3 / 6)


def test_a_goal_without_options_counts_attributes_and_price_only():
    paid = pay(goal=replace(GOAL, options={}), price=20.01)
    assert (paid.r_option, paid.w_option) == (None, None)
    assert not {"r_option", "w_option"} & paid.breakdown().keys()
    assert (paid.w_att, paid.w_price, paid.total) == (2 / 3, 1 / 3, pytest.approx(2 / 3))


@pytest.mark.parametrize(("price", "within"), [(19.99, True), (20.0, True), (20.01, False)])
def test_a_price_may_equal_the_limit(price: float, within: bool):
    assert pay(price=price).r_price is within
    assert pay(price=price).total == pytest.approx(1 if within else 4 / 5)


# Type


def test_a_category_matches_by_two_common_names_in_any_order():
    for category, match in (
        ("Shampoo › Beauty › Hair Care", True),
        ("Beauty › Skin › Shampoo", True),
        ("Beauty›Shampoo", True),
        ("Beauty › Beauty › Skin", False),
        ("Kitchen › Kettles", False),
    ):
        assert pay(replace(SHAMPOO, product_category=category)).category_match is match


@pytest.mark.parametrize(
    ("share", "same_query", "r_type"),
    [
        (3, False, 1.0),  # of 10 words
        (2, False, 0.5),  # must be above 0.2
        (2, True, 1.0),
        (1, False, 0.5),
        (1, True, 1.0),
        (0, True, 0.0),  # overrides the match
    ],
)
def test_the_type_by_title_share_and_match(share: int, same_query: bool, r_type: float):
    wanted = ["ape", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibex", "jay"]
    other = replace(SHAMPOO, title=" ".join(wanted[:share]) + " zoo", product_category="Pets")
    paid = typed(other, title=" ".join(wanted), query="shampoos" if same_query else "animals")
    assert (paid.title_score, paid.r_type) == (share / 10, r_type)
    assert (paid.query_match, paid.category_match) == (same_query, False)


def test_a_share_below_a_tenth_pays_a_tenth_in_spite_of_a_match():
    paid = typed(SHAMPOO, title="acme " + "word " * 10)  # 1 of 11, with repeats
    assert (paid.title_score, paid.r_type) == (pytest.approx(1 / 11), 0.1)
    assert paid.total == pytest.approx(0.1)


def test_repeats_of_a_noun_count_only_in_the_number_of_nouns():
    assert typed(SHAMPOO, title="acme acme acme tree").title_score == 2 / 4


def test_a_title_without_nouns_scores_a_fifth():
    assert typed(SHAMPOO, title="921 4K").title_score == 0.2
    assert pay(tagger=lambda title: []).title_score == 0.2


SOUNDBAR = (
    "Saireed UL Listed 2 Prong Power Cord for JBL Bar 3.1 Bar 2.1 Channel 4K Ultra HD Soundbar"
)
CORD = (
    "BRST AC Power Cord Outlet Socket Cable Plug Lead for Panasonic SC-HT830V DVD/VCR Combo "
    "Home Theater System"
)


@pytest.mark.parametrize(
    ("wanted", "title", "original", "words", "lexicon"),
    [
        (
            "Mens D.O.N. Issue 2 Gca Basketball Sneakers Shoes Casual - Off White",
            "PEAK High Top Mens Basketball Shoes Lou Williams Streetball Master Breathable "
            "Non Slip Outdoor Sneakers",
            *(0.333, 4 / 12, 4 / 12),
        ),
        (f"{SOUNDBAR} Home Theater System Subwoofer", CORD, 0.3, 6 / 18, 5 / 17),
        (SOUNDBAR, CORD, 0.15, 3 / 14, 2 / 13),
        (
            "Rusticware 921ORB Kitchen and Bath Cabinet Knob",
            "Minkissy 2pcs Stainless Steel Eyebrow Tweezers Blackhead Acne Remover Portable "
            "Makeup Tweezers (Silver)",
            *(0.0, 0.0, 0.0),
        ),
    ],
    ids=["sneakers", "subwoofer", "soundbar", "knob"],
)
def test_title_scores_of_the_original_s_tests(
    wanted: str, title: str, original: float, words: float, lexicon: float
):
    """The titles of its tests/web-agent-site/engine/test_goal.py, whose tolerance is 0.01."""
    product, goal = replace(SHAMPOO, title=title), replace(GOAL, title=wanted)
    assert pay(product, goal, tagger=nouns.words).title_score == pytest.approx(words)
    score = pay(product, goal, tagger=nouns.lexicon).title_score
    assert score == pytest.approx(lexicon) and score == pytest.approx(original, abs=0.01)


# Attributes


@pytest.mark.parametrize(
    ("attribute", "matches"),
    [
        ("essential oils", True),  # 96 against "essential oil"
        ("tea tree", True),  # the title
        ("natural ingredients", True),  # the description
        ("smells like", True),  # a bullet
        ("sulfate free", True),  # across two bullets
        ("soy free", False),
        ("Tea Tree", False),  # texts are lower-cased, the attribute is not
        ("cruelty", True),  # a subset of the words of "cruelty free"
    ],
)
def test_attributes_match_alike_ones_or_texts_that_hold_them(attribute: str, matches: bool):
    assert pay(goal=replace(GOAL, attributes=(attribute,))).r_att == matches


# Options


def test_values_match_what_people_name_if_they_are_alike():
    assert matched(("grey", "xl", "pack of 12"), "pack of 12", "grey", "xl") == 1
    assert matched(("grey", "xl", "pack of 12"), "pack of 12", "white", "xl") == 2 / 3
    assert matched(("cool powder snow", "xl"), "powder snow") == 1 / 2
    assert matched(("grey", "xl")) == 0
    assert matched((), "grey") is None
    assert matched(("grey", "grey"), "grey") == 1  # one value can match several


def test_colours_are_cut_down_to_the_first_of_the_list_on_both_sides():
    assert matched(("navy blue",), "light blue") == 1  # both are `blue`
    assert matched(("dark blue",), "blue green") == 1  # `blue` comes before `dark`
    assert matched(("sandstone",), "sand") == 1
    assert matched(("black2626",), "black") == 1
    assert matched(("dark grey",), "grey") == 0  # `dark` against `grey`


def test_a_pair_is_cut_down_only_where_an_element_is_the_colour():
    """The quirk that keeps some synthetic goals below 1."""
    assert matched({"color": "black"}, "black2626") == 1
    assert matched({"color": "black2626"}, "black2626") == 0
    assert matched({"color": "dark blue"}, "dark blue") == 1  # `blue` is a word of the pair
    assert matched({"black": "small"}, "small") == 0  # the group's name is the colour


def test_a_chosen_value_matches_a_pair_that_has_its_words():
    assert matched({"size": "x-large"}, "x-large") == 1
    assert matched({"size": "x-large"}, "xx-large") == 0  # 77
    assert matched({"size": "x-large"}, "large") == 1  # a subset of the pair's words
    assert matched({"size": "x-large"}, "size") == 1


# The best options


def best(product: Product = SHAMPOO, goal: Goal = GOAL) -> dict[str, str]:
    return r.best_options(product, goal, COLOURS)


def test_the_best_options_of_the_goal_s_product_are_those_it_names():
    assert best() == EXACT
    capped = replace(GOAL, options={"color": "black2626", "size": "x-large"})
    assert best(goal=capped) == {"color": "black2626", "size": "x-large"}
    assert pay(goal=capped, chosen=best(goal=capped)).r_option == 1 / 2


def test_the_best_options_of_another_product_match_what_can_be_matched():
    other = replace(SHAMPOO, options={"scent": ("rose", "mint"), "shade": ("sky", "navy blue")})
    assert best(other) == {"shade": "navy blue"}  # nothing has the size, no scent helps
    assert best(replace(SHAMPOO, options={})) == {}


def test_an_exact_value_comes_before_one_that_is_as_good():
    sizes = replace(SHAMPOO, options={"size": ("large", "x-large")})
    assert best(sizes, replace(GOAL, options=("x-large",))) == {"size": "x-large"}
    assert best(sizes, replace(GOAL, options={"size": "x-large"})) == {"size": "x-large"}


def test_a_pair_names_a_value_of_its_own_group_only():
    two = replace(SHAMPOO, options={"top": ("red", "oak"), "base": ("red", "oak")})
    assert best(two, replace(GOAL, options={"base": "oak"})) == {"base": "oak"}


def test_groups_share_the_goal_s_options_out_between_them():
    """Taking the first that matches, `red`, in each group would match only one of two."""
    goal = replace(GOAL, options=("red", "oak"))
    product = replace(SHAMPOO, options={"a": ("red", "oak"), "b": ("red", "plain")})
    assert best(product, goal) == {"a": "oak", "b": "red"}


def test_our_own_colour_words_are_alphabetical_and_lower_case():
    assert list(r.COLOURS) == sorted(set(r.COLOURS)) == [word.lower() for word in r.COLOURS]
