"""Rules that several searches share: selection scores and backup, as plain functions."""

from __future__ import annotations

import math

from agentsearch.errors import ConfigError
from agentsearch.tree import Node


def uct(mean: float, parent_visits: int, visits: int, c: float) -> float:
    """Upper confidence bound for trees.

        mean + c * sqrt(ln(parent_visits) / visits)

    Source: Kocsis and Szepesvari, 2006. `visits` must be at least 1.
    """
    return mean + c * math.sqrt(math.log(parent_visits) / visits)


def puct(mean: float, prior: float, parent_visits: int, visits: int, c: float) -> float:
    """Mean value plus a bonus for likely, seldom visited actions.

        mean + c * prior * sqrt(parent_visits) / (1 + visits)

    Source: Silver et al., 2017, AlphaGo Zero.
    """
    return mean + c * prior * math.sqrt(parent_visits) / (1 + visits)


def growing_c(parent_visits: int, c: float, c_base: float) -> float:
    """MuZero's exploration constant, which grows slowly with the visits.

        c + ln((parent_visits + c_base + 1) / c_base)

    Source: Schrittwieser et al., 2020, appendix B.
    """
    return c + math.log((parent_visits + c_base + 1) / c_base)


def promise(node: Node, value: float, root: Node, discount: float = 1.0) -> float:
    """Return from `root` on by way of `node`, which is worth `value`.

        sum_i discount^(i-1) * reward[i] + discount^d * value

    Rewards that search must not see count 0. Ranks nodes of different paths.
    """
    total, here = value, node
    while here is not root and here.parent is not None:
        total = (here.reward or 0.0) + discount * total
        here = here.parent
    return total


def check_discount(discount: float) -> None:
    """Refuse what is no discount.

    Raises:
        ConfigError: it lies outside (0, 1].
    """
    if not 0.0 < discount <= 1.0:
        raise ConfigError(f"search.discount={discount}: must lie in (0, 1].")


def backup(leaf: Node, value: float, discount: float, root: Node) -> None:
    """Add the discounted return to every node from `leaf` up to `root`.

    A node's value is counted from its own edge on: value <- reward + discount * value.
    """
    node: Node | None = leaf
    while node is not None:
        value = (node.reward or 0.0) + discount * value
        node.visits += 1
        node.value_sum += value
        if node is root:
            return
        node = node.parent
