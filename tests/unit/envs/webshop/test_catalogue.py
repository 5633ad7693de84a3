"""Products from records in the original's layout."""

from __future__ import annotations

import pytest

from agentsearch_envs.webshop import catalogue as c
from tests.small_shop import ATTRIBUTES, LAMP, ODD, RECORDS, SHIRT, TEA, record, small_shop, values

PRODUCTS = small_shop().catalogue.products


def one(**more: object) -> c.Product:
    return c.product(record("B00000000X", "Thing", **more), {})


@pytest.mark.parametrize(
    ("text", "tag", "prices"),
    [
        (None, "$100.0", (100.0,)),
        ("", "$100.0", (100.0,)),
        ("$34", "$34.0", (34.0,)),
        ("$34.00", "$34.0", (34.0,)),
        ("$877.8", "$877.8", (877.8,)),
        ("$19.99 to $27.99", "$19.99 to $27.99", (19.99, 27.99)),
        ("$1,019.99 to $1,249.00", "$1019.99 to $1249.0", (1019.99, 1249.0)),
        ("$1.00 to $2.00 to $3.00", "$1.0 to $2.0", (1.0, 2.0)),
        ("from $5.5 each", "$5.5", (5.5,)),
    ],
)
def test_prices_are_read_as_in_the_original(text, tag, prices):
    assert c.pricing(text) == (tag, prices)
    assert (one(pricing=text).price_tag, one(pricing=text).prices) == (tag, prices)


def test_a_record_may_lack_price_options_and_images():
    bare = record("B00000000X", "Thing")
    del bare["pricing"], bare["customization_options"]
    product = c.product(bare, {})
    assert (product.price_tag, product.options, product.image) == ("$100.0", {}, "")
    assert one(images=["first", "second"]).image == "first"
    assert one(images=[]).image == one(images=None).image == ""


def test_option_groups_and_values_are_lower_case_with_spaced_slashes():
    assert PRODUCTS[SHIRT].options == {
        "color": ("red", "blue | white", "black"),
        "size": ("small", "large"),
    }
    assert list(PRODUCTS[SHIRT].options) == ["color", "size"]  # in page order
    assert PRODUCTS[LAMP].options == {"base": ("black", "white"), "shade": ("black", "gold")}


def test_null_groups_of_options_are_dropped_and_empty_ones_stay():
    assert PRODUCTS[TEA].options == {"empty": (), "size": ("20 bags",)}
    assert one(customization_options=None).options == {}


def test_of_groups_that_differ_in_case_the_later_one_s_values_stay():
    groups = {"Color": values("red"), "Size": values("s"), "COLOR": values("blue")}
    assert list(c.options(groups).items()) == [("color", ("blue",)), ("size", ("s",))]


def test_only_the_ends_of_an_option_value_are_stripped():
    assert c.options({"g": values("  A  B\t")}) == {"g": ("a  b",)}


def test_attributes_come_from_their_file_or_are_the_original_s_placeholder():
    assert PRODUCTS[SHIRT].attributes == ("machine wash", "soft cotton")
    assert PRODUCTS[TEA].attributes == c.NO_ATTRIBUTES == ("DUMMY_ATTR",)
    assert c.product(RECORDS[0], {"attributes": []}).attributes == ()


def test_only_products_with_an_instruction_are_asked_for():
    entry = {"instruction": "a thing", "instruction_attributes": ["big"], "attributes": []}
    product = c.product(record("B00000000X", "Thing"), entry)
    assert (product.instruction, product.instruction_attributes) == ("a thing", ("big",))
    none = c.product(record("B00000000X", "Thing"), {"instruction_attributes": None})
    assert (none.instruction, none.instruction_attributes) == (None, ())


def test_people_s_instructions_keep_their_order_and_words():
    told = {
        "instruction": "i want a thing.",
        "instruction_attributes": ["big"],
        "instruction_options": ["red", "large"],
    }
    [human] = c.product(record("B00000000X", "Thing"), {}, [told]).human
    assert human == c.HumanInstruction("i want a thing.", ("big",), ("red", "large"))


def test_one_bullet_point_may_be_text():
    assert PRODUCTS[TEA].bullets == ("one point only",)


def test_the_query_is_lower_case_and_stripped_and_texts_stay_as_they_are():
    assert PRODUCTS[TEA].query == "plain things"
    assert PRODUCTS[ODD].title == RECORDS[ODD]["name"]
    assert PRODUCTS[ODD].description == RECORDS[ODD]["full_description"]


def test_records_named_nan_with_long_ids_or_seen_before_are_skipped():
    records = [
        record("nan", "No id"),
        record("B0000000001", "Eleven characters"),
        record("B000000001", "First"),
        record("B000000001", "Again"),
        record("B1", "Short ids are fine"),
    ]
    built = c.build("name", "digest", records, {})
    assert [product.title for product in built.products] == ["First", "Short ids are fine"]
    assert built.places == {"B000000001": 0, "B1": 1}
    assert (built.name, built.digest) == ("name", "digest")


def test_the_order_of_the_file_is_kept():
    assert [p.asin for p in PRODUCTS] == [each["asin"] for each in RECORDS]
    assert all(
        PRODUCTS[place].asin == asin for asin, place in small_shop().catalogue.places.items()
    )


def test_what_is_searched_is_title_description_first_point_and_options_in_lower_case():
    assert PRODUCTS[SHIRT].document == (
        "cotton shirt for men about the cotton shirt for men. first point "
        "color: red, blue | white, black, and size: small, large"
    )
    assert PRODUCTS[TEA].document == "green tea  one point only empty: , and size: 20 bags"
    assert one().document == "thing about the thing. first point "


def test_a_catalogue_does_not_depend_on_what_its_records_become():
    records = [record("B000000001", "First", customization_options={"g": values("a")})]
    built = c.build("name", "digest", records, ATTRIBUTES)
    records[0]["small_description"].clear()
    records[0]["customization_options"].clear()
    assert built.products[0].bullets == ("first point", "second point")
    assert built.products[0].options == {"g": ("a",)}
