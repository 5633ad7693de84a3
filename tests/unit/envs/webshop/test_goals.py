"""Goals of WebShop: prices, limits, combinations, weights, order, splits."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from agentsearch_envs.webshop import goals as g
from agentsearch_envs.webshop.catalogue import HumanInstruction, Product

LAMP = Product(
    asin="B000000001",
    title="Desk Lamp",
    description="",
    bullets=("",),
    price_tag="$24.5",
    prices=(24.5,),
    options={"size": ("small", "large"), "color": ("red", "blue | green", "black")},
    attributes=("long lasting",),
    category="garden",
    query="lamps",
    product_category="Home › Lamps",
    instruction="Find me lamps with steel frame",
    instruction_attributes=("steel frame", "long lasting"),
)
PLAIN = replace(LAMP, asin="B000000002", options={}, instruction_attributes=("long lasting",))
RUG = replace(LAMP, asin="B000000003", instruction=None, instruction_attributes=())


def synthetic(*products: Product, seed: int = 7) -> list[g.Goal]:
    return g.synthetic_goals(products, [24.5] * len(products), random.Random(seed))


def asked(*humans: HumanInstruction) -> list[g.Goal]:
    return g.human_goals([replace(RUG, human=humans)], [24.5], random.Random(7))


# Prices and limits


def test_only_range_priced_products_draw_a_price_and_they_draw_in_order():
    ranged = replace(LAMP, prices=(10.0, 20.0)), replace(LAMP, prices=(500.0, 501.0))
    prices = g.draw_prices((ranged[0], LAMP, ranged[1]), random.Random(7))
    rng = random.Random(7)
    assert prices == (rng.uniform(10, 20), 24.5, rng.uniform(500, 501))
    assert 10 <= prices[0] <= 20 and 500 <= prices[2] <= 501


@pytest.mark.parametrize(
    ("price", "limits"),
    [
        (0.0, {20, 30, 40}),
        (24.5, {40, 50, 60}),
        (30.0, {50, 60, 70}),  # a limit lies above the price, never on it
        (955.0, {970, 980, 990}),
        (979.99, {990}),
    ],
)
def test_the_limit_is_the_larger_of_two_among_the_next_four(price: float, limits: set[int]):
    drawn = [g.draw_limit(price, random.Random(seed)) for seed in range(60)]
    assert {limit for limit, _ in drawn} == limits
    assert all(text == f", and price lower than {limit:.2f} dollars" for limit, text in drawn)


@pytest.mark.parametrize("price", [980.0, 990.0, 5000.0])
def test_a_price_with_less_than_two_limits_above_it_has_none(price: float):
    rng = random.Random(7)
    assert g.draw_limit(price, rng) == (1_000_000, "")
    assert rng.random() == random.Random(7).random()  # nothing was drawn


# Goals made from products


def test_a_product_makes_a_goal_per_combination_with_groups_by_name():
    goals = synthetic(LAMP)
    assert [dict(goal.options) for goal in goals] == [
        {"color": color, "size": size}
        for color in ("red", "blue | green", "black")
        for size in ("small", "large")
    ]
    assert goals[3].instruction == (
        "Find me lamps with steel frame with color: blue | green, and size: large"
        f", and price lower than {goals[3].price_limit:.2f} dollars"
    )
    assert len({goal.price_limit for goal in goals}) == 1  # one draw per product
    first = goals[0]
    assert (first.asin, first.title, first.query) == ("B000000001", "Desk Lamp", "lamps")
    assert (first.category, first.product_category) == ("garden", "Home › Lamps")
    assert first.attributes == ("steel frame", "long lasting")


def test_a_product_without_options_makes_one_goal():
    [goal] = synthetic(PLAIN)
    assert goal.options == {}
    limit = f"{goal.price_limit:.2f}"
    assert (
        goal.instruction == f"Find me lamps with steel frame, and price lower than {limit} dollars"
    )


def test_products_without_instruction_options_or_attributes_make_none():
    empty_group = replace(LAMP, options={"color": ()})
    no_attributes = replace(LAMP, instruction_attributes=())
    assert synthetic(RUG, empty_group, no_attributes) == []


def test_only_products_with_a_goal_draw_a_limit():
    alone, [*_, after] = synthetic(PLAIN), synthetic(RUG, PLAIN)
    assert [after] == alone


def test_a_goal_weighs_the_mean_rarity_of_its_attributes():
    *lamps, plain = synthetic(LAMP, PLAIN)
    assert len(lamps) == 6  # of 6 goals with "steel frame" and 7 with "long lasting"
    assert all(goal.weight == pytest.approx((1 / 6 + 1 / 7) / 2) for goal in lamps)
    assert plain.weight == pytest.approx(1 / 7)
    # each attribute spreads a weight of one over its goals, halved in lamps
    assert sum(goal.weight for goal in (*lamps, plain)) == pytest.approx(0.5 + 6 / 14 + 1 / 7)


# Goals of people


def test_a_person_s_goal_is_their_text_without_full_stops_and_the_values_they_name():
    [goal] = asked(HumanInstruction("..i want a red lamp.", ("steel frame",), ("red",)))
    assert goal.instruction == (
        f"i want a red lamp, and price lower than {goal.price_limit:.2f} dollars"
    )
    assert (goal.options, goal.weight, goal.attributes) == (("red",), 1, ("steel frame",))


def test_people_s_instructions_without_attributes_are_skipped_and_draw_nothing():
    good = HumanInstruction("a lamp", ("steel frame",), ())
    assert asked(HumanInstruction("anything", (), ("red",)), good) == asked(good)
    assert [goal.instruction[:6] for goal in asked(good, good)] == ["a lamp"] * 2


# Order and splits


def test_the_order_is_a_shuffle_of_its_own_seed():
    goals = synthetic(LAMP)
    places = list(range(6))
    random.Random(233).shuffle(places)
    assert g.in_order(goals) == tuple(goals[place] for place in places)
    assert sorted(places) == list(range(6)) != places


def test_splits_share_out_all_places_in_the_usual_way():
    assert g.split_places("test", 6910) == range(500)
    assert g.split_places("dev", 6910) == range(500, 1500)
    assert g.split_places("train", 6910) == range(1500, 6910)
    assert [len(g.split_places(split, 13)) for split in ("test", "dev", "train")] == [13, 0, 0]
    assert [len(g.split_places(split, 700)) for split in ("test", "dev", "train")] == [500, 200, 0]
