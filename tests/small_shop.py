"""A shop small enough to know by heart: six products, ten plain ones to fill pages, six goals.

B00SHIRT01  in three colours and two sizes, $19.99 to $27.99; its reward price is $25
B00SHIRT02  nearly the same shirt, in one colour, $30
B00LAMP003  `black` is in two groups, the later of which hides it in the earlier
B00MUG0004  no options, $12.5
B00TEA0005  no price, an empty description, an empty and a null group of options
B00ODD0006  markup everywhere, values called as buttons and values no action can say
B00PLATE00 to B00PLATE09  nothing else is a plate
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agentsearch_envs.webshop import WebShop
from agentsearch_envs.webshop import catalogue as c
from agentsearch_envs.webshop.goals import Goal
from agentsearch_envs.webshop.nouns import words
from agentsearch_envs.webshop.shop import Shop

SHIRT, OTHER_SHIRT, LAMP, MUG, TEA, ODD = range(6)
COLOURS = ("black", "blue", "red", "white")
MARKUP = "<script>alert('x')</script><b>bold</b> & \"quoted\" </h2><!-- ]]> --> &lt;i&gt;"
ODD_VALUES = (
    "",
    "description",
    "Buy Now",
    "search",
    "size [l]",
    "l]",
    "two\nlines",
    "\u0130stanbul/\u00e9",
    "<img src=x onerror=alert(1)>",
    '"',
)


def record(asin: str, name: str, **more: Any) -> dict[str, Any]:
    """A product's record in the original's layout."""
    plain = {
        "asin": asin,
        "name": name,
        "full_description": f"About the {name.lower()}.",
        "small_description": ["first point", "second point"],
        "category": "home",
        "query": "Plain Things ",
        "product_category": "Home › Kitchen › Things",
        "pricing": "$10.0",
        "customization_options": {},
    }
    return plain | more


def values(*texts: str) -> list[dict[str, str]]:
    return [{"value": text} for text in texts]


CLOTHES = {
    "category": "fashion",
    "query": "men's shirts",
    "product_category": "Clothing › Men › Shirts",
}
RECORDS = (
    record(
        "B00SHIRT01",
        "Cotton Shirt for Men",
        pricing="$19.99 to $27.99",
        customization_options={
            "Color": values("Red", " Blue/White ", "black"),
            "SIZE": values("Small", "Large"),
        },
        **CLOTHES,
    ),
    record(
        "B00SHIRT02",
        "Linen Shirt for Men",
        pricing="$30.00",
        customization_options={"color": values("red")},
        **CLOTHES,
    ),
    record(
        "B00LAMP003",
        "Desk Lamp",
        customization_options={
            "base": values("black", "white"),
            "shade": values("black", "gold"),
        },
    ),
    record("B00MUG0004", "Blue Mug", pricing="$12.5"),
    record(
        "B00TEA0005",
        "Green Tea",
        pricing=None,
        full_description="",
        small_description="one point only",
        customization_options={"flavor": None, "empty": [], "size": values("20 bags")},
    ),
    record(
        "B00ODD0006",
        f"Odd [thing] {MARKUP}",
        full_description=f"{MARKUP}\n\n{MARKUP}",
        small_description=[MARKUP, "", " ", "\n", "[button] Buy Now [button_]", "a [SEP] b"],
        category=MARKUP,
        query=MARKUP,
        product_category=MARKUP,
        customization_options={MARKUP: values(*ODD_VALUES), " ": values("x", " "), "": values("y")},
    ),
    *(record(f"B00PLATE{n:02}", f"Plate number {n}") for n in range(10)),
)
ATTRIBUTES = {
    "B00SHIRT01": {"attributes": ["machine wash", "soft cotton"], "instruction": "a cotton shirt"},
    "B00SHIRT02": {"attributes": ["machine wash"]},
    "B00LAMP003": {"attributes": ["bright light"]},
    "B00ODD0006": {"attributes": [MARKUP]},
}


@dataclass(frozen=True)
class Overlap:
    """Ranks products by how many of the query's words their documents hold, then by place."""

    documents: tuple[str, ...]

    def search(self, query: str, k: int) -> tuple[int, ...]:
        """The best k places at most."""
        wanted = set(query.split())
        found = {i: len(wanted & set(text.split())) for i, text in enumerate(self.documents)}
        return tuple(sorted(filter(found.get, found), key=lambda i: (-found[i], i))[:k])


def goal(catalogue: c.Catalogue, place: int, instruction: str, options: Any, **more: Any) -> Goal:
    product = catalogue.products[place]
    return Goal(
        **{
            "asin": product.asin,
            "category": product.category,
            "query": product.query,
            "title": product.title,
            "product_category": product.product_category,
            "instruction": instruction,
            "attributes": product.attributes,
            "price_limit": 30.0,
            "options": options,
            "weight": 1.0,
        }
        | more
    )


def small_shop(show_attributes: bool = False, special_searches: bool = False) -> Shop:
    """The shop; goal 0 is the shirt in red and large, 1 the lamp all in black."""
    catalogue = c.build("small", "0" * 64, RECORDS, ATTRIBUTES)
    goals = (
        goal(
            catalogue,
            SHIRT,
            "find me a cotton shirt with color: red, and size: large, "
            "and price lower than 30.00 dollars",
            {"color": "red", "size": "large"},
        ),
        goal(catalogue, LAMP, "a lamp, all in black", {"base": "black", "shade": "black"}),
        goal(catalogue, MUG, "a blue mug", {}, attributes=("second point",)),
        goal(catalogue, TEA, "green tea in 20 bags", ("20 bags",), price_limit=1e6),
        goal(catalogue, ODD, f"{MARKUP} [thing]", ("l]",)),
        goal(catalogue, TEA, "cheap green tea", (), price_limit=20.0),
    )
    prices = tuple(25.0 if len(p.prices) > 1 else p.prices[0] for p in catalogue.products)
    index: Any = Overlap(tuple(product.document for product in catalogue.products))
    return Shop(catalogue, index, prices, goals, COLOURS, words, show_attributes, special_searches)


@dataclass(frozen=True)
class SmallWebShop(WebShop):
    """The environment over the small shop; all six goals are of the split `test`."""

    @cached_property
    def shop(self) -> Shop:  # type: ignore[override]
        """The small one."""
        return small_shop(self.show_attributes, self.special_searches)
