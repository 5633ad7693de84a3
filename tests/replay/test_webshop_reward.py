"""Goals and rewards recorded in the original WebShop, made again on the real products.

Source: Yao et al., 2022; princeton-nlp/WebShop, commit 64fa2a5, 1,000 products, prices drawn
with seed 7. The original ran with two stand-ins for its noun tagger; where they disagreed,
type and total are not recorded.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentsearch_envs.webshop import files, nouns
from agentsearch_envs.webshop import goals as g
from agentsearch_envs.webshop import reward as r
from agentsearch_envs.webshop.catalogue import Catalogue

Record = dict[str, Any]
TAGGERS = ("words", "lexicon")


class Shop(NamedTuple):
    catalogue: Catalogue
    prices: tuple[float, ...]
    goals: tuple[g.Goal, ...]
    colours: tuple[str, ...]

    def pay(self, asin: str, goal: g.Goal, chosen: Mapping[str, str], tagger: str) -> r.Reward:
        place = self.catalogue.places[asin]
        product, price = self.catalogue.products[place], self.prices[place]
        return r.reward(product, goal, price, chosen, nouns.find(tagger), self.colours)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "webshop"


@pytest.fixture(scope="module")
def recorded(folder: Path) -> Record:
    return json.loads(gzip.decompress((folder / "parity_dev.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def shop(folder: Path) -> Shop:
    catalogue, colours = files.load(folder, 1000), files.colours(folder)
    assert colours is not None and len(colours) == 102
    rng = random.Random(7)
    prices = g.draw_prices(catalogue.products, rng)
    goals = g.in_order(g.synthetic_goals(catalogue.products, prices, rng))
    return Shop(catalogue, prices, goals, colours)


# Goals


def test_drawn_prices_are_the_recorded_ones(shop: Shop, recorded: Record):
    drawn = {p.asin: price for p, price in zip(shop.catalogue.products, shop.prices, strict=True)}
    sampled = recorded["meta"]["sampled_prices"]
    assert len(sampled) == 93
    assert {asin: drawn[asin] for asin in sampled} == sampled
    assert [len(p.prices) > 1 for p in shop.catalogue.products].count(True) == 93


def test_the_goals_are_the_recorded_ones_in_their_order(shop: Shop, recorded: Record):
    wanted = recorded["meta"]["goals"]
    lines = (f"{goal.asin}|{json.dumps(dict(goal.options))}" for goal in shop.goals)
    assert len(shop.goals) == recorded["meta"]["n_goals"] == 6910
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == wanted["order_sha256"]
    assert sum(goal.weight for goal in shop.goals) == pytest.approx(wanted["sum_weight"], rel=1e-12)
    texts = [goal.instruction.partition(", and price lower")[0] for goal in shop.goals[:10]]
    assert texts == wanted["first10"]


def test_the_episodes_goals_are_equal_in_every_field(shop: Shop, recorded: Record):
    assert len(recorded["episodes"]) == 12
    for episode in recorded["episodes"]:
        goal = shop.goals[episode["goal_index"]]
        assert {
            "asin": goal.asin,
            "category": goal.category,
            "query": goal.query,
            "name": goal.title,
            "product_category": goal.product_category,
            "instruction_text": goal.instruction,
            "attributes": list(goal.attributes),
            "price_upper": goal.price_limit,
            "goal_options": goal.options,
            "weight": goal.weight,
        } == episode["goal"]


def test_thirteen_goals_are_in_people_s_words(shop: Shop, folder: Path):
    products, rng = shop.catalogue.products, random.Random(7)
    goals = g.human_goals(products, g.draw_prices(products, rng), rng)
    known = set(json.loads(gzip.decompress((folder / "human_goals.json.gz").read_bytes())))
    texts = [goal.instruction.rpartition(", and price lower than ")[0] for goal in goals]
    assert len(goals) == 13
    assert sum(text in known for text in texts) == 11  # the list spells two otherwise
    assert all(goal.weight == 1 and isinstance(goal.options, tuple) for goal in goals)
    assert ("black1901", "10.5") in [goal.options for goal in goals]


# Rewards


@pytest.mark.parametrize("tagger", TAGGERS)
def test_every_purchase_pays_what_is_recorded(shop: Shop, recorded: Record, tagger: str):
    purchases = [
        (shop.goals[episode["goal_index"]], step["reward"], step["reward_info"])
        for episode in recorded["episodes"]
        for step in episode["steps"]
        if step["done"]
    ]
    assert len(purchases) == 11
    assert sum(total is None for _, total, _ in purchases) == 1
    for goal, total, info in purchases:
        paid = shop.pay(info["asin"], goal, info["options"], tagger)
        parts = paid.breakdown() | {"price": shop.prices[shop.catalogue.places[info["asin"]]]}
        about = ("asin", "options", "pos_tagger_sensitive")
        known = {k: v for k, v in info.items() if k not in about and v is not None}
        assert parts.keys() - known.keys() == {"title_score"} | (
            {"r_type"} if total is None else set()
        )
        assert {k: parts[k] for k in known} == pytest.approx(known, abs=1e-9)
        if total is not None:
            assert paid.total == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize(("split", "success", "score"), [("test", 96.0, 99.4), ("dev", 92.8, 98.8)])
@pytest.mark.parametrize("tagger", TAGGERS)
def test_the_best_that_goals_pay(shop: Shop, tagger: str, split: str, success: float, score: float):
    """The goal's own product with its exact options, which are also the best to choose."""
    totals: list[float] = []
    for place in g.split_places(split, len(shop.goals)):
        goal = shop.goals[place]
        product = shop.catalogue.products[shop.catalogue.places[goal.asin]]
        assert isinstance(goal.options, Mapping)
        best = r.best_options(product, goal, shop.colours)
        assert best == dict(goal.options)
        totals.append(shop.pay(goal.asin, goal, goal.options, tagger).total)
    assert round(100 * sum(total == 1 for total in totals) / len(totals), 1) == success
    assert round(100 * sum(totals) / len(totals), 1) == score
