"""What shoppers want: goals made from products, their price limits and their order.

Source: Yao et al., 2022, WebShop. Prices and limits are drawn from a seeded generator of
their own, in the order in which the original draws them from an unseeded one.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentsearch_envs.webshop.catalogue import Product

LIMITS = tuple(10.0 * i for i in range(1, 100))
"""The price limits, in dollars, that an instruction can name."""
NEXT_LIMITS = 4
"""How many limits above a product's price are drawn from."""
NO_LIMIT = 1_000_000.0
ORDER_SEED = 233
INSTRUCTION, ACTIONS = "Shop for: ", "Actions: search[words], click[label]"
SPLITS = {"train": slice(1500, None), "dev": slice(500, 1500), "test": slice(500)}
"""Places of each split in the shuffled order."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to buy. Only `instruction` is for the shopper; the rest is ground truth.

    Attributes:
        options: of a synthetic goal the value of each group; of a human goal the values.
        price_limit: dollars; 1,000,000 where the instruction names none.
        weight: chance of being drawn, up to a factor.
    """

    asin: str
    category: str
    query: str
    title: str
    product_category: str
    instruction: str
    attributes: tuple[str, ...]
    price_limit: float
    options: Mapping[str, str] | tuple[str, ...]
    weight: float


def draw_prices(products: Sequence[Product], rng: random.Random) -> tuple[float, ...]:
    """What each product costs, in dollars: its price, or a draw from its price range."""
    return tuple(
        product.prices[0] if len(product.prices) == 1 else rng.uniform(*product.prices)
        for product in products
    )


def synthetic_goals(
    products: Sequence[Product], prices: Sequence[float], rng: random.Random
) -> list[Goal]:
    """For each product with an instruction, a goal per combination of its options' values.

    An attribute weighs 1 / (number of goals that ask for it), a goal the mean of its
    attributes. An instruction without attributes makes no goal; the original stops there.
    """
    asked = [
        (product, product.instruction, price)
        for product, price in zip(products, prices, strict=True)
        if product.instruction is not None and product.instruction_attributes
    ]
    goals_with = Counter[str]()
    for product, _, _ in asked:
        combinations = math.prod(map(len, product.options.values()))
        for attribute in product.instruction_attributes:
            goals_with[attribute] += combinations
    goals: list[Goal] = []
    for product, instruction, price in asked:
        limit, limit_text = draw_limit(price, rng)
        names, attributes = sorted(product.options), product.instruction_attributes
        for values in itertools.product(*(product.options[name] for name in names)):
            options = dict(zip(names, values, strict=True))
            text = ", and ".join(f"{name}: {value}" for name, value in options.items())
            text = f"{instruction} with {text}" if text else instruction
            weight = sum(1 / goals_with[each] for each in attributes) / len(attributes)
            goals.append(_goal(product, text + limit_text, attributes, limit, options, weight))
    return goals


def human_goals(
    products: Sequence[Product], prices: Sequence[float], rng: random.Random
) -> list[Goal]:
    """A goal per instruction that a person wrote, unless it has no attributes; all weigh 1."""
    goals: list[Goal] = []
    for product, price in zip(products, prices, strict=True):
        for human in product.human:
            if human.attributes:
                limit, limit_text = draw_limit(price, rng)
                text = human.text.strip(".") + limit_text
                goals.append(_goal(product, text, human.attributes, limit, human.options, 1.0))
    return goals


def draw_limit(price: float, rng: random.Random) -> tuple[float, str]:
    """A price limit above `price`, in dollars, and how the instruction says it."""
    above = [limit for limit in LIMITS if limit > price][:NEXT_LIMITS]
    if len(above) < 2:
        return NO_LIMIT, ""
    limit = max(rng.sample(above, 2))
    return limit, f", and price lower than {limit:.2f} dollars"


def in_order(goals: Sequence[Goal]) -> tuple[Goal, ...]:
    """The goals in the original's order, a shuffle with a seed of its own."""
    shuffled = list(goals)
    random.Random(ORDER_SEED).shuffle(shuffled)
    return tuple(shuffled)


def split_places(split: str, count: int) -> range:
    """The places of a split in the order of `count` goals; few goals leave splits empty."""
    return range(count)[SPLITS[split]]


def prompt(wanted: str) -> str:
    """A goal's instruction as the words of a task."""
    return f"{INSTRUCTION}{wanted}\n{ACTIONS}"


def instruction(prompt: str) -> str:
    """What a task's prompt asks for."""
    return prompt.removeprefix(INSTRUCTION).removesuffix(f"\n{ACTIONS}")


def _goal(
    product: Product,
    instruction: str,
    attributes: tuple[str, ...],
    limit: float,
    options: Mapping[str, str] | tuple[str, ...],
    weight: float,
) -> Goal:
    return Goal(
        asin=product.asin,
        category=product.category,
        query=product.query,
        title=product.title,
        product_category=product.product_category,
        instruction=instruction,
        attributes=attributes,
        price_limit=limit,
        options=options,
        weight=weight,
    )
