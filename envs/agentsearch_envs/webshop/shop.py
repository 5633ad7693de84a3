"""The rules of WebShop: what an action makes of a state.

A `Shop` is loaded once and shared; a `State` is a small value that only points into it, so
that thousands of them are cheap. Page texts are in `pages.py`, rewards in `reward.py`.

Source: Yao et al., 2022, WebShop, and the behaviour of its text environment. What differs:
the original reads the kind of page from the address by substring, so that a search for
`item_page` confuses it; here the state knows its page.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from agentsearch_envs.webshop.catalogue import Catalogue, Product
from agentsearch_envs.webshop.goals import Goal
from agentsearch_envs.webshop.nouns import Tagger
from agentsearch_envs.webshop.ranking import Index
from agentsearch_envs.webshop.reward import Reward, reward

INDEX, RESULTS, ITEM, SUB, DONE = "index", "results", "item", "sub", "done"
SEARCH, BACK, PREV, NEXT, BUY = "Search", "Back to Search", "< Prev", "Next >", "Buy Now"
SUB_PAGES = ("Description", "Features", "Reviews")
ATTRIBUTES = "Attributes"
HITS, PER_PAGE = 50, 10
CACHED_SEARCHES = 20_000
LONGEST_CACHED_QUERY = 1000
ACTION = re.compile(r"(.+)\[(.+)\]")
NOT_IN_AN_ACTION = re.compile(r"[][\n]")


def parse(action: str) -> tuple[str, str] | None:
    """Name and lower-case argument of an action, or None where it has not the form of one."""
    match = ACTION.match(action)
    return (match[1], match[2].lower()) if match else None


def search_for(words: str) -> str:
    """The action that searches for any words: brackets in its argument would break it."""
    return f"search[{NOT_IN_AN_ACTION.sub(' ', words)}]"


class State(NamedTuple):
    """Where a shopper is.

    Attributes:
        goal: index into the shop's goals.
        page: one of the five kinds above.
        query: what was searched for, lower case; empty before the first search.
        hits: indices of the products found, best first.
        number: of the results page, from 1; 0 before the first search.
        product: index of the product looked at, or -1.
        options: chosen values, as pairs of group and value.
        sub: which sub page of the item is open.
        visited: products looked at since the last time on the index page.
        steps: valid actions so far.
        note: what the last action is answered with instead of a page, in ReAct's notation.
    """

    goal: int
    page: str = INDEX
    query: str = ""
    hits: tuple[int, ...] = ()
    number: int = 0
    product: int = -1
    options: tuple[tuple[str, str], ...] = ()
    sub: str = ""
    visited: frozenset[int] = frozenset()
    steps: int = 0
    note: str = ""


@dataclass(frozen=True)
class Shop:
    """Everything that no action changes.

    Attributes:
        prices: what the reward takes a product to cost, in dollars, by product.
        colours: words that an option's value is cut down to, alphabetical.
        special_searches: whether `<r>`, `<c> category` and `<q> query` mean something in
            the search box, as in the original.
    """

    catalogue: Catalogue
    index: Index
    prices: tuple[float, ...]
    goals: tuple[Goal, ...]
    colours: tuple[str, ...]
    tagger: Tagger
    show_attributes: bool = False
    special_searches: bool = False
    find: Callable[[str], tuple[int, ...]] = field(init=False, repr=False, compare=False)
    """The products that a query finds, best first."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "find", lru_cache(CACHED_SEARCHES)(self._find))

    def product(self, state: State) -> Product:
        """The product that the state looks at."""
        return self.catalogue.products[state.product]

    def reward(self, state: State) -> Reward:
        """What buying the state's product with its options pays."""
        return reward(
            self.product(state),
            self.goals[state.goal],
            self.prices[state.product],
            dict(state.options),
            self.tagger,
            self.colours,
        )

    # What can be clicked

    def buttons(self, state: State) -> list[str]:
        """The labels of the page's buttons, in page order."""
        match state.page:
            case "index":
                return [SEARCH]
            case "results":
                return [BACK, *([PREV] if state.number > 1 else []), NEXT]
            case "item":
                return [BACK, PREV, *self.sub_pages, BUY]
            case "sub":
                return [BACK, PREV]
            case _:
                return []

    @property
    def sub_pages(self) -> tuple[str, ...]:
        """The sub pages that items have."""
        return (*SUB_PAGES, ATTRIBUTES) if self.show_attributes else SUB_PAGES

    def shown(self, state: State) -> tuple[int, ...]:
        """The products on a results page."""
        return state.hits[(state.number - 1) * PER_PAGE : state.number * PER_PAGE]

    def labels(self, state: State) -> list[str]:
        """All that can be clicked, as the page writes it: buttons, products, options."""
        labels = self.buttons(state)
        if state.page == RESULTS:
            products = self.catalogue.products
            labels += [products[place].asin for place in self.shown(state)]
        elif state.page == ITEM:
            taken = {label.lower() for label in labels}
            values = (v for group in self.product(state).options.values() for v in group)
            labels += [value for value in dict.fromkeys(values) if value not in taken]
        return labels

    def clicks(self, state: State) -> list[str]:
        """The labels that a click works on: the original knows no way to say some of them."""
        return [
            label
            for label in self.labels(state)
            if label.lower() != SEARCH.lower()
            and parse(f"click[{label}]") == ("click", label.lower())
        ]

    # Transitions

    def act(self, state: State, action: str) -> State | None:
        """The state after `action`, or None where it does nothing."""
        parsed = parse(action)
        if parsed is None or state.page == DONE:
            return None
        name, argument = parsed
        if name == "search":
            return self.search(state, argument)
        return self.click(state, argument) if name == "click" else None

    def search(self, state: State, query: str) -> State | None:
        """The first page of results; any page can be searched from."""
        if self.special_searches and query.split(" ")[0] == "<a>":
            return None  # the original fails here
        find = self.find if len(query) <= LONGEST_CACHED_QUERY else self._find
        return self._results(state, query, find(query), 1)

    def click(self, state: State, label: str) -> State | None:
        """Follow a button, a product or an option; `label` in lower case."""
        if label == BACK.lower():
            return None if state.page == INDEX else State(state.goal, steps=state.steps + 1)
        match state.page:
            case "results":
                return self._click_result(state, label)
            case "item":
                return self._click_item(state, label)
            case "sub" if label == PREV.lower():
                return state._replace(page=ITEM, sub="", steps=state.steps + 1)
            case _:
                return None

    def _results(self, state: State, query: str, hits: tuple[int, ...], number: int) -> State:
        return State(
            state.goal,
            RESULTS,
            query,
            hits,
            number,
            visited=state.visited,
            steps=state.steps + 1,
        )

    def _click_result(self, state: State, label: str) -> State | None:
        if label == NEXT.lower():
            return self._results(state, state.query, state.hits, state.number + 1)
        if label == PREV.lower() and state.number > 1:
            return self._results(state, state.query, state.hits, state.number - 1)
        products = self.catalogue.products
        place = next((i for i in self.shown(state) if products[i].asin.lower() == label), None)
        if place is None:
            return None
        visited = state.visited | {place}
        return state._replace(page=ITEM, product=place, visited=visited, steps=state.steps + 1)

    def _click_item(self, state: State, label: str) -> State | None:
        if label == PREV.lower():
            return self._results(state, state.query, state.hits, state.number)
        if label == BUY.lower():
            return state._replace(page=DONE, steps=state.steps + 1)
        for sub in self.sub_pages:
            if label == sub.lower():
                return state._replace(page=SUB, sub=sub, steps=state.steps + 1)
        groups = [g for g, values in self.product(state).options.items() if label in values]
        if not groups or label == SEARCH.lower():
            return None
        chosen = dict(state.options) | {groups[-1]: label}  # a later group hides an earlier one
        return state._replace(options=tuple(chosen.items()), steps=state.steps + 1)

    def _find(self, query: str) -> tuple[int, ...]:
        if self.special_searches:
            products, words = self.catalogue.products, query.split(" ")
            everything = range(len(products))
            if words[0] == "<r>":
                rng = random.Random(query)
                return tuple(rng.sample(everything, min(HITS, len(products))))
            if words[0] == "<c>":
                name = " ".join(words[1:2]).strip()
                return tuple(i for i in everything if products[i].category == name)
            if words[0] == "<q>":
                rest = " ".join(words[1:]).strip()
                return tuple(i for i in everything if products[i].query == rest)
        return self.index.search(query, HITS)
