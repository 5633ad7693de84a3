"""What a purchase pays: how far the product, its options and its price match the goal.

    reward = r_type * (attributes matched + options matched + [price <= limit]) / n

where n is the goal's attributes and options and 1 for the price.

Source: Yao et al., 2022, WebShop, and the behaviour of its code. A synthetic goal asks for
(group, value) pairs, and the original cuts a chosen value down to its colour word but not
the pair, so that some of these goals pay less than 1 at best: `black2626` chosen is `black`,
which is no word of `('color', 'black2626')`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

from agentsearch_envs.webshop.catalogue import Product
from agentsearch_envs.webshop.fuzzy import token_set_ratio
from agentsearch_envs.webshop.goals import Goal
from agentsearch_envs.webshop.nouns import Tagger

THRESHOLD = 85
"""Texts with a higher `token_set_ratio` match."""
COLOURS = tuple(
    """
    beige black blue bronze brown burgundy coral cream gold gray green grey ivory khaki lavender
    mint navy orange peach pink purple red silver teal turquoise white yellow
    """.split()  # noqa: SIM905  # a list takes a line per word
)
"""What options are cut down to where no colour words come with the catalogue."""


@dataclass(frozen=True)
class Reward:
    """A purchase's reward and its parts, under the original's names.

    Attributes:
        total: in [0, 1].
        r_type: 1, 0.5, 0.1 or 0: how far it is the kind of product that was asked for.
        r_att, r_option, r_price: share of the goal's attributes and options that match, and
            whether the price is within the limit.
        w_att, w_option, w_price: what these count; their sum is 1.
        title_score: share of the nouns of the goal's title that the product's title has.
        r_option, w_option: None where the goal has no options.
    """

    total: float
    r_type: float
    r_att: float
    w_att: float
    query_match: bool
    category_match: bool
    title_score: float
    r_option: float | None
    w_option: float | None
    r_price: bool
    w_price: float

    def breakdown(self) -> dict[str, float]:
        """What the original reports beside the reward."""
        parts = asdict(self)
        del parts["total"]
        return {name: value for name, value in parts.items() if value is not None}


def reward(
    product: Product,
    goal: Goal,
    price: float,
    chosen: Mapping[str, str],
    tagger: Tagger,
    colours: tuple[str, ...],
) -> Reward:
    """What buying `product` pays.

    Args:
        product: what is bought.
        goal: what was asked for.
        price: what the product costs, in dollars; of a price range, the draw.
        chosen: the value chosen in each option group; not all need one.
        tagger: finds the nouns of titles.
        colours: words that an option's value is cut down to, alphabetical.
    """
    query_match = product.query == goal.query
    category_match = len(_parts(product) & _parts(goal)) >= 2
    title_score = _title_score(product.title, goal.title, tagger)
    r_type = _type_reward(query_match or category_match, title_score)
    attributes = sum(_has_attribute(product, each) for each in goal.attributes)
    wanted = _wanted(goal, colours)
    options = len(frozenset[int]().union(*(_met(v, wanted, colours) for v in chosen.values())))
    within = price <= goal.price_limit
    count = len(goal.attributes) + len(wanted) + 1
    return Reward(
        total=r_type * ((attributes + options + within) / count),
        r_type=r_type,
        r_att=attributes / len(goal.attributes),
        w_att=len(goal.attributes) / count,
        query_match=query_match,
        category_match=category_match,
        title_score=title_score,
        r_option=options / len(wanted) if wanted else None,
        w_option=len(wanted) / count if wanted else None,
        r_price=within,
        w_price=1 / count,
    )


def best_options(product: Product, goal: Goal, colours: tuple[str, ...]) -> dict[str, str]:
    """The values of a product's option groups that match most of the goal's options.

    Among equals the values that the goal names come first, and groups that add nothing
    stay unset.
    """
    wanted = _wanted(goal, colours)
    best: dict[frozenset[int], dict[str, str]] = {frozenset(): {}}
    for group, values in product.options.items():
        named = [value for value in values if _names(goal, group, value)]
        after = {} if named else dict(best)
        for met, chosen in best.items():
            for value in (*named, *values):
                total = met | _met(value, wanted, colours)
                after.setdefault(total, chosen | {group: value})
        best = after
    return best[max(best, key=len)]


# Type


def _parts(item: Product | Goal) -> frozenset[str]:
    return frozenset(part.strip() for part in item.product_category.split("›"))


def _title_score(title: str, wanted: str, tagger: Tagger) -> float:
    nouns = _nouns(wanted, tagger)
    if not nouns:
        return 0.2
    # repeats count in the denominator only, as in the original
    return len(set(_nouns(title, tagger)) & set(nouns)) / len(nouns)


@lru_cache(maxsize=2**14)
def _nouns(title: str, tagger: Tagger) -> tuple[str, ...]:
    return tuple(tagger(title))


def _type_reward(match: bool, title_score: float) -> float:
    # a title that has nothing in common overrides a match of query or category
    if title_score == 0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if match or title_score > 0.2 else 0.5


# Attributes


def _has_attribute(product: Product, wanted: str) -> bool:
    return any(token_set_ratio(each, wanted) > THRESHOLD for each in product.attributes) or any(
        wanted in text.lower()
        for text in (product.title, " ".join(product.bullets), product.description)
    )


# Options


def _wanted(goal: Goal, colours: Iterable[str]) -> list[str]:
    """The texts that chosen values are compared with, one per option of the goal."""
    if not isinstance(goal.options, Mapping):
        return [_normalised(value, colours) for value in goal.options]
    # a colour is looked for among the elements of a pair, not within their text
    return [
        next((colour for colour in colours if colour in pair), str(pair))
        for pair in goal.options.items()
    ]


def _normalised(value: str, colours: Iterable[str]) -> str:
    """The first colour word within `value`, else the value."""
    return next((colour for colour in colours if colour in value), value)


def _met(value: str, wanted: list[str], colours: Iterable[str]) -> frozenset[int]:
    """Which of the goal's options a chosen value matches."""
    value = _normalised(value, colours)
    return frozenset(i for i, text in enumerate(wanted) if token_set_ratio(value, text) > THRESHOLD)


def _names(goal: Goal, group: str, value: str) -> bool:
    """Whether a goal asks for exactly this value."""
    if isinstance(goal.options, Mapping):
        return goal.options.get(group) == value
    return value in goal.options
