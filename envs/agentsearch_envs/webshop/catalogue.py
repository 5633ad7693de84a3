"""What a shop sells: products as they are read from a catalogue's records.

Source: Yao et al., 2022, WebShop (arXiv 2207.01206); the rules are those of the original
code, and a product's fields carry its display text exactly as the original's pages show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFAULT_PRICE = 100.0
"""Of a product whose record has no price."""
NO_ATTRIBUTES = ("DUMMY_ATTR",)
"""What the original gives a product that the attribute file does not know."""
LONGEST_ID = 10
"""Records with longer ids are skipped, as in the original."""


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """What a person asked for, of whom the product is the answer."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One product.

    Attributes:
        price_tag: as pages show it, such as `$34.0` or `$19.99 to $27.99`.
        prices: in dollars: one number, or the two ends of a range.
        options: group name to values, both lower case, in page order.
        attributes: what the reward compares; no page shows them.
        query: the search the product was found by, lower case.
        product_category: from the general to the special, separated by ` › `.
        instruction, instruction_attributes: what a synthetic goal asks for; None where
            the product has no goal.
        human: what people asked for.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    price_tag: str
    prices: tuple[float, ...]
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    category: str
    query: str
    product_category: str
    image: str = ""
    instruction: str | None = None
    instruction_attributes: tuple[str, ...] = ()
    human: tuple[HumanInstruction, ...] = ()

    @property
    def document(self) -> str:
        """What the search engine indexes."""
        groups = (f"{name}: {', '.join(values)}" for name, values in self.options.items())
        parts = (self.title, self.description, self.bullets[0], ", and ".join(groups))
        return " ".join(parts).lower()


@dataclass(frozen=True)
class Catalogue:
    """Products in their official order.

    Attributes:
        name: says in every result which catalogue this is, such as `generated-0`.
        digest: hash of the files or of the generator's settings it was made from.
    """

    name: str
    digest: str
    products: tuple[Product, ...]
    places: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """Index in `products` by id."""

    def __post_init__(self) -> None:
        places = {product.asin: i for i, product in enumerate(self.products)}
        object.__setattr__(self, "places", places)


def build(
    name: str,
    digest: str,
    records: Iterable[Mapping[str, Any]],
    attributes: Mapping[str, Mapping[str, Any]],
    human: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Catalogue:
    """A catalogue from records in the original's layout, already checked.

    Records with the id `nan`, with a long id or with an id seen before are skipped.
    """
    found: dict[str, Product] = {}
    for record in records:
        asin = record["asin"]
        if asin != "nan" and len(asin) <= LONGEST_ID and asin not in found:
            found[asin] = product(record, attributes.get(asin, {}), (human or {}).get(asin, ()))
    return Catalogue(name, digest, tuple(found.values()))


def product(
    record: Mapping[str, Any],
    attributes: Mapping[str, Any],
    human: Sequence[Mapping[str, Any]] = (),
) -> Product:
    """One product from its record, its entry in the attribute file and people's instructions."""
    bullets = record["small_description"]
    tag, prices = pricing(record.get("pricing"))
    return Product(
        asin=record["asin"],
        title=record["name"],
        description=record["full_description"],
        bullets=tuple(bullets) if isinstance(bullets, list) else (bullets,),
        price_tag=tag,
        prices=prices,
        options=options(record.get("customization_options") or {}),
        attributes=tuple(attributes.get("attributes", NO_ATTRIBUTES)),
        category=record["category"],
        query=record["query"].lower().strip(),
        product_category=record["product_category"],
        image=next(iter(record.get("images") or ()), ""),
        instruction=attributes.get("instruction"),
        instruction_attributes=tuple(attributes.get("instruction_attributes") or ()),
        human=tuple(
            HumanInstruction(
                each["instruction"],
                tuple(each["instruction_attributes"]),
                tuple(each["instruction_options"]),
            )
            for each in human
        ),
    )


def pricing(text: str | None) -> tuple[str, tuple[float, ...]]:
    """Price tag and prices of a display string such as `$1,019.99 to $1,249.0`."""
    if not text:
        return f"${DEFAULT_PRICE}", (DEFAULT_PRICE,)
    prices = tuple(float(re.sub(r"[^\d.]", "", part)) for part in text.split("$")[1:])
    if len(prices) == 1:
        return f"${prices[0]}", prices
    return f"${prices[0]} to ${prices[1]}", prices[:2]


def options(groups: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Option values by group, as pages show them."""
    return {
        name.lower(): tuple(
            content["value"].strip().replace("/", " | ").lower() for content in contents
        )
        for name, contents in groups.items()
        if contents is not None
    }
