"""The generated catalogue: shape, near-duplicates, what the texts say, goals that can be met."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import pytest

from agentsearch.errors import ConfigError
from agentsearch_envs.webshop import generated as g
from agentsearch_envs.webshop import vocabulary as v
from agentsearch_envs.webshop.catalogue import Catalogue, Product
from agentsearch_envs.webshop.files import load
from agentsearch_envs.webshop.goals import draw_prices, human_goals, synthetic_goals
from agentsearch_envs.webshop.nouns import lexicon, words
from agentsearch_envs.webshop.reward import COLOURS, best_options, reward

HASHED = """
import hashlib, json
from agentsearch_envs.webshop.generated import generated, records
made = records(5, 300)
whole = json.dumps([made.products, made.attributes, made.human])
print(hashlib.sha256(whole.encode()).hexdigest(), generated(5, 300).digest)
"""


@pytest.fixture(scope="module")
def shop() -> Catalogue:
    return g.generated(0)


@pytest.fixture(scope="module")
def real(shared: Path) -> Path:
    folder = shared / "webshop"
    if not folder.is_dir():
        pytest.skip(f"needs the original's data in {folder}, which is not here")
    return folder


def read(path: Path) -> Any:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def texts(product: Product) -> list[str]:
    """What the reward looks for attributes in."""
    parts = (product.title, " ".join(product.bullets), product.description)
    return [part.lower() for part in parts]


def families(shop: Catalogue) -> list[list[Product]]:
    """Products of a type by family: one of those shares most of the first one's title."""
    found: list[list[Product]] = []
    of_type: dict[str, list[Product]] = defaultdict(list)
    for product in shop.products:
        of_type[product.query].append(product)
    for products in of_type.values():
        groups: list[list[Product]] = []
        for product in products:
            home = next((group for group in groups if overlap(group[0], product) >= 0.5), None)
            if home is None:
                groups.append([product])
            else:
                home.append(product)
        found += groups
    return found


def overlap(one: Product, other: Product) -> float:
    """Share of title words in common."""
    a, b = set(words(one.title)), set(words(other.title))
    return len(a & b) / len(a | b)


# Seeds


def test_a_seed_gives_the_same_catalogue_in_every_process():
    seen = set[str]()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", HASHED],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1
    assert seen.pop().split()[1] == g.generated(5, 300).digest


def test_names_and_digests_tell_catalogues_apart():
    assert g.generated(3).name == "generated-3"
    assert g.generated(3, 50).name == "generated-3-50"
    made = [g.generated(seed, count) for seed, count in ((3, 50), (4, 50), (3, 51))]
    assert len({each.digest for each in made}) == 3


def test_seeds_share_no_product(shop: Catalogue):
    other = g.generated(1)
    assert len(shop.products) == len(other.products) == 1000
    assert not shop.places.keys() & other.places.keys()
    assert len({p.title for p in shop.products} & {p.title for p in other.products}) < 10


@pytest.mark.parametrize("count", [1, 2, 7, 333])
def test_a_catalogue_has_as_many_products_as_asked_for(count: int):
    assert len(g.generated(0, count).products) == count


def test_no_products_are_refused():
    with pytest.raises(ConfigError, match="count is 0"):
        g.generated(0, 0)


@pytest.mark.slow
def test_a_hundred_thousand_products_have_ids_of_their_own():
    ids = {product["asin"] for product in g.records(0, 100_000).products}
    assert len(ids) == 100_000
    assert all(re.fullmatch(r"B0[A-Z0-9]{8}", each) for each in ids)


# Shape


def test_files_in_the_original_layout_give_the_same_catalogue(tmp_path: Path):
    g.write(tmp_path, 2, 200)
    made, read_back = g.generated(2, 200), load(tmp_path)
    assert read_back.products == made.products


def test_records_have_the_fields_of_real_ones(real: Path):
    made = g.records(0)
    theirs = read(real / "items_shuffle_1000.json.gz")[0]
    assert {tuple(sorted(each)) for each in made.products} == {tuple(sorted(theirs))}
    fields = {"attributes", "instruction", "instruction_attributes"}
    assert {field for each in made.attributes.values() for field in each} == fields
    (person, *_), *_ = read(real / "items_human_ins_1000.json").values()
    assert all(each.keys() == person.keys() for some in made.human.values() for each in some)


def test_the_five_categories_have_many_types_and_attributes(shop: Catalogue):
    assert {kind.category for kind in v.KINDS} == {p.category for p in shop.products}
    assert len({kind.query for kind in v.KINDS}) == len(v.KINDS) >= 100
    assert len(g.ROLES) == len(v.BEFORE) + len(v.WITH) + len(v.FOR) >= 150
    assert {phrase for kind in v.KINDS for phrase in kind.attributes} == g.ROLES.keys()
    assert len({p.query for p in shop.products}) >= 150
    assert all(len(kind.nouns) in (2, 3, 4) and " › " in kind.path for kind in v.KINDS)
    shared = Counter(phrase for kind in v.KINDS for phrase in kind.attributes)
    assert sum(count > 1 for count in shared.values()) > 100


def test_products_look_as_they_should(shop: Catalogue):
    for product in shop.products:
        assert 7 <= len([w for w in product.title.split() if w not in "-|"]) <= 18, product.title
        assert 3 <= len(product.attributes) <= 6
        assert len(product.options) <= 3
        assert all(1 <= len(values) <= 8 for values in product.options.values())
        assert len(set(sum(product.options.values(), ()))) == sum(
            map(len, product.options.values())
        )
        assert prod(map(len, product.options.values())) <= g.MOST_COMBINATIONS
        assert "  " not in product.title + (product.instruction or "")
        assert "{" not in " ".join([*texts(product), product.instruction or ""])


def test_prices_are_mostly_single_and_sometimes_missing():
    tags = [product["pricing"] for product in g.records(0, 5000).products]
    assert all(re.fullmatch(r"(\$[\d,]+\.\d\d( to \$[\d,]+\.\d\d)?)?", tag) for tag in tags)
    assert 0.02 < tags.count("") / 5000 < 0.04
    assert 0.09 < sum(" to " in tag for tag in tags) / 5000 < 0.15


def test_some_records_have_surprising_shapes():
    products = g.records(0, 5000).products
    odd = {
        "no description": [p for p in products if not p["full_description"]],
        "one bullet point": [p for p in products if isinstance(p["small_description"], str)],
        "markup": [p for p in products if "&nbsp;" in p["full_description"]],
        "symbols": [p for p in products if str(p["small_description"]).count("★")],
        "slash": [p for p in products if "/" in str(p["customization_options"])],
        "empty group": [p for p in products if None in (p["customization_options"] or {}).values()],
    }
    assert all(odd.values()), {name: len(found) for name, found in odd.items()}
    assert len(odd["one bullet point"]) < 100


# Near-duplicates


def test_products_come_in_families(shop: Catalogue):
    sizes = [len(family) for family in families(shop)]
    assert 3 <= sum(sizes) / len(sizes) <= 8
    assert sum(size for size in sizes if size >= 3) > 800


def test_near_duplicates_differ_in_attributes_prices_and_options(shop: Catalogue):
    pairs = [pair for family in families(shop) for pair in combinations(family, 2)]
    apart = [len(set(a.attributes) ^ set(b.attributes)) for a, b in pairs]
    assert sum(0 < each <= 8 for each in apart) > 0.75 * len(pairs)
    assert sum(a.prices != b.prices for a, b in pairs) > 0.75 * len(pairs)
    offering = [(a, b) for a, b in pairs if a.options]
    assert sum(a.options != b.options for a, b in offering) > 0.75 * len(offering)
    same = sum(
        (a.attributes, a.prices, a.options) == (b.attributes, b.prices, b.options) for a, b in pairs
    )
    assert same < 0.01 * len(pairs)


def test_price_limits_exclude_some_near_duplicates(shop: Catalogue):
    prices = draw_prices(shop.products, random.Random(7))
    goals = {goal.asin: goal for goal in synthetic_goals(shop.products, prices, random.Random(7))}
    too_dear = others = 0
    for family in families(shop):
        for product in family:
            if product.asin in goals:
                limit = goals[product.asin].price_limit
                siblings = [shop.places[each.asin] for each in family if each is not product]
                too_dear += sum(prices[place] > limit for place in siblings)
                others += len(siblings)
    assert 0.05 < too_dear / others < 0.5


# What is asked for


def test_every_attribute_is_said_and_most_often_in_the_title(shop: Catalogue):
    in_title = said = 0
    for product in shop.products:
        for phrase in product.attributes:
            assert any(phrase in text for text in texts(product)), (product.title, phrase)
            in_title += phrase in product.title.lower()
            said += 1
        assert set(product.instruction_attributes) <= set(product.attributes)
    assert 0.5 < in_title / said < 0.7


def test_words_that_all_products_of_a_type_share_are_none_of_its_attributes():
    for kind in v.KINDS:
        plain = " | ".join([*kind.nouns, *kind.uses, *kind.styles, kind.query]).lower()
        assert [phrase for phrase in kind.attributes if phrase in plain] == [], kind.query


def test_an_instruction_names_its_attributes_and_the_type(shop: Catalogue):
    asked = [product for product in shop.products if product.instruction is not None]
    assert 550 < len(asked) < 650
    for product in asked:
        assert product.instruction is not None
        assert 1 <= len(product.instruction_attributes) <= 4
        for phrase in (product.query, *product.instruction_attributes):
            assert phrase in product.instruction
        assert "$" not in product.instruction and "price" not in product.instruction


def test_the_number_of_goals_is_moderate():
    for seed in range(3):
        shop = g.generated(seed)
        prices = draw_prices(shop.products, random.Random(7))
        goals = synthetic_goals(shop.products, prices, random.Random(7))
        assert 4000 < len(goals) < 8000
        assert max(Counter(goal.asin for goal in goals).values()) <= 40


def test_people_ask_in_many_ways_and_name_their_options(shop: Catalogue):
    asked = [(product, human) for product in shop.products for human in product.human]
    assert 2000 < len(asked) < 2500
    assert len(set(v.REQUESTS + v.DESCRIPTIONS)) >= 25
    for product, human in asked:
        assert human.attributes and set(human.attributes) <= set(product.attributes)
        assert all(value in human.text for value in human.options), human
        assert set(human.options) <= set(sum(product.options.values(), ()))
    own = [phrase in human.text for _, human in asked for phrase in human.attributes]
    assert 0.6 < sum(own) / len(own) < 0.98
    assert len({human.text for _, human in asked}) > 0.98 * len(asked)


@pytest.mark.parametrize("tagger", [words, lexicon])
def test_the_right_purchase_pays_in_full(shop: Catalogue, tagger: Any):
    prices = draw_prices(shop.products, random.Random(7))
    goals = synthetic_goals(shop.products, prices, random.Random(7))
    people = human_goals(shop.products, prices, random.Random(7))
    paid: list[float] = []
    for goal in (*goals[::5], *people):
        place = shop.places[goal.asin]
        product = shop.products[place]
        chosen = best_options(product, goal, COLOURS)
        paid.append(reward(product, goal, prices[place], chosen, tagger, COLOURS).total)
    assert sum(each == 1 for each in paid) >= 0.97 * len(paid)


def test_option_values_stay_themselves_when_cut_down_to_colour_words(real: Path):
    colours = read(real / "color_words.json")
    for name, values in v.VALUES.items():
        for value in values:
            cut = next((colour for colour in colours if colour in value.lower()), None)
            assert cut is None or cut in re.findall(r"\w+", value.lower()), (name, value)


def test_no_text_is_a_real_one(real: Path):
    products = read(real / "items_shuffle_1000.json.gz")
    theirs = {p["name"].lower() for p in products} | {p["full_description"] for p in products}
    theirs |= {line for p in products for line in p["small_description"]}
    attributes = read(real / "items_ins_v2_1000.json.gz").values()
    theirs |= {each["instruction"] for each in attributes if each.get("instruction")}
    theirs |= set(read(real / "human_goals.json.gz"))
    for seed in range(2):
        for p in g.generated(seed).products:
            ours = {p.title.lower(), p.description, *p.bullets, p.instruction}
            assert not {text for text in ours if text} & theirs
            assert not {human.text for human in p.human} & theirs
