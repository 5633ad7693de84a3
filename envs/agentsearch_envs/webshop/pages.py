"""How a shopper sees a state: the page's words, in six modes.

    text        the original's `text`: the page's words joined with ` [SEP] `
    text_rich   the original's `text_rich`: a line each, with buttons marked
    html        the page itself
    url         the page's address
    react       as ReAct's agents saw it: `[X]`, `[[chosen]]`, three products
    brief       ours: every page whole, in few words, chosen options and seen products marked

The first four follow the original to the letter, tested against its traces. The page after
a purchase prints the score in the original; `observe` leaves it out in every mode.
Source: Yao et al., 2022, WebShop; Yao et al., 2023, ReAct.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, get_args

from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.shop import Shop, State

Mode = Literal["brief", "text", "text_rich", "html", "url", "react"]
MODES: tuple[str, ...] = get_args(Mode)
SEPARATOR = " [SEP] "
BASE_URL = "http://127.0.0.1:3000"
REACT_PRODUCTS = 3
RATING = "Rating: N.A."
THANKS = "Thank you for shopping with us!"
TEXT, BUTTON, PRODUCT, OPTION = "text", "button", "product", "option"


class Words(NamedTuple):
    """One piece of text on a page: plain, or the label of something to click."""

    text: str
    kind: str = TEXT


def observe(shop: Shop, state: State, mode: Mode) -> str:
    """The state as a policy may see it, in a mode."""
    match mode:
        case "text":
            return text(shop, state)
        case "text_rich":
            return text_rich(shop, state)
        case "html":
            from agentsearch_envs.webshop.html import page

            return page(shop, state)
        case "url":
            return url(shop, state)
        case "react":
            return react(shop, state)
        case "brief":
            return brief(shop, state)


def available(shop: Shop, state: State) -> dict[str, object]:
    """The original's available actions: whether there is a search bar, and what is clickable."""
    clickables = dict.fromkeys(label.lower() for label in shop.labels(state))
    return {"has_search_bar": state.page == s.INDEX, "clickables": list(clickables)}


# Pages


def words(shop: Shop, state: State, score: float | None = None) -> list[Words]:
    """The page's pieces of text in order; a purchase's `score` only where it is given."""
    instruction = Words(shop.goals[state.goal].instruction)
    match state.page:
        case "index":
            return [Words("WebShop"), Words("Instruction: "), instruction, Words(s.SEARCH, BUTTON)]
        case "done":
            return list(_done(shop, state, score))
        case "results":
            body = _results(shop, state)
        case "item":
            body = _item(shop, state)
        case _:
            body = _sub(shop, state)
    pieces = [Words("Instruction:"), instruction, Words(s.BACK, BUTTON), *body]
    return [piece for each in pieces if (piece := _visible(each)) is not None]


def _visible(piece: Words) -> Words | None:
    """The piece as an HTML parser gives it back: white space alone shrinks or goes."""
    if piece.text.strip(" \n\t\f\r"):
        return piece
    return None if "\n" in piece.text or not piece.text else piece._replace(text=" ")


def _results(shop: Shop, state: State) -> Iterator[Words]:
    yield Words(f"Page {state.number} (Total results: {len(state.hits)})")
    yield from (Words(label, BUTTON) for label in shop.buttons(state)[1:])
    for place in shop.shown(state):
        product = shop.catalogue.products[place]
        yield Words(product.asin, PRODUCT)
        yield Words(product.title)
        yield Words(product.price_tag)


def _item(shop: Shop, state: State) -> Iterator[Words]:
    product = shop.product(state)
    yield Words(s.PREV, BUTTON)
    for group, values in product.options.items():
        yield Words(group)
        yield from (Words(value, OPTION) for value in values)
    yield Words(product.title)
    yield Words(f"Price: {product.price_tag}")
    yield Words(RATING)
    yield from (Words(label, BUTTON) for label in (*shop.sub_pages, s.BUY))


def _sub(shop: Shop, state: State) -> Iterator[Words]:
    yield Words(s.PREV, BUTTON)
    yield from map(Words, content(shop, state))


def content(shop: Shop, state: State) -> list[str]:
    """What a sub page tells."""
    product = shop.product(state)
    match state.sub:
        case "Description":
            return [product.description]
        case "Features":
            return [f" {bullet}" for bullet in product.bullets]
        case "Attributes":
            about = (product.category, product.query, product.product_category)
            return [*(f" {attribute}" for attribute in product.attributes), *about]
        case _:
            return []  # the original loads no reviews


def _done(shop: Shop, state: State, score: float | None) -> Iterator[Words]:
    yield from map(Words, (THANKS, "Your code: ", "None", " (Paste it in your MTurk interface.)"))
    bought = (shop.product(state).asin, options_json(state))
    yield from map(Words, ("Purchased", "asin", bought[0], "options", bought[1]))
    if score is None:
        return
    for name in ("attrs", "category", "query", "product category"):
        yield from map(Words, (name, "None"))
    target = "Target,asin,options,attrs,price upper,instuction text,category,product category,query"
    yield from map(Words, (*target.split(","), "Goal ", "None", "Reward"))
    yield from map(Words, ("Your score (min 0.0, max 1.0)", str(score), "Reward Details ", "None"))


def options_json(state: State) -> str:
    """The chosen options as the original's page after a purchase prints them."""
    dumped = json.dumps(dict(state.options), sort_keys=True)
    for character in "<>&'":
        dumped = dumped.replace(character, f"\\u{ord(character):04x}")
    return dumped


# Modes


def text(shop: Shop, state: State, score: float | None = None) -> str:
    """The page's words on one line."""
    return SEPARATOR.join(piece.text.strip() for piece in words(shop, state, score))


def text_rich(shop: Shop, state: State, score: float | None = None) -> str:
    """The page's words, a line each, with the buttons marked."""
    address = url(shop, state)
    seen = {shop.catalogue.products[place].asin for place in state.visited}
    lines: list[str] = []
    clicked: list[str] = []
    for text, kind in words(shop, state, score):
        if kind == BUTTON:
            lines.append(f"[button] {text} [button_]")
        elif kind == OPTION and f'"{text}"' in address:  # as the original finds it
            lines.append(f"  [clicked button] {text} [clicked button_]")
            clicked.insert(0, f"You have clicked {text}.")
        elif kind == OPTION:
            lines.append(f"  [button] {text} [button_]")
        elif kind == PRODUCT:
            mark = "clicked button" if text in seen else "button"
            lines.append(f"\n[{mark}] {text} [{mark}_]")
        else:
            lines.append(text)
    return "".join(f"{line}\n" for line in (*clicked, *lines))


def url(shop: Shop, state: State) -> str:
    """The page's address in the original; the session is the goal's number."""
    words, options = "+".join(state.query.split(" ")), dict(state.options)
    asin = shop.product(state).asin if state.product >= 0 else ""
    match state.page:
        case "index":
            parts: tuple[object, ...] = (state.goal,)
        case "results":
            parts = ("search_results", state.goal, words, state.number)
        case "item":
            parts = ("item_page", state.goal, asin, words, state.number, json.dumps(options))
        case "sub":
            parts = ("item_sub_page", state.goal, asin, words, state.number, state.sub, options)
        case _:
            parts = ("done", state.goal, asin, options)
    return "/".join(map(str, (BASE_URL, *parts)))


def react(shop: Shop, state: State) -> str:
    """The page in ReAct's notation, or the short answer to the last action.

    The instruction stands on the index page only and a results page shows three products.
    """
    if state.note or state.page == s.DONE:
        return state.note
    pieces = words(shop, state)[0 if state.page == s.INDEX else 2 :]
    if state.page == s.RESULTS:
        heading = 2 + (state.number > 1)
        pieces = pieces[: 1 + heading + 3 * REACT_PRODUCTS]
    if state.page == s.INDEX:
        pieces = [Words("Webshop"), *pieces[1:]]
    chosen = {value for _, value in state.options}
    shown = ""
    for text, kind in pieces:
        if kind == OPTION:
            shown += f"[[{text}]]" if text in chosen else f"[{text}]"
        elif kind in (BUTTON, PRODUCT):
            shown += f"\n[{text}] "
        elif text.strip():
            shown += f"\n{text} "
    return shown


def brief(shop: Shop, state: State) -> str:
    """The whole page in few words; the instruction is in the task's prompt."""
    match state.page:
        case "index":
            lines = ["WebShop", f"[{s.SEARCH}]"]
        case "results":
            lines = [
                _buttons(shop.buttons(state)),
                f"Page {state.number} (Total results: {len(state.hits)})",
            ]
            for place in shop.shown(state):
                product = shop.catalogue.products[place]
                label = _mark(product.asin, place in state.visited)
                lines.append(f"{label} {product.title} {product.price_tag}")
        case "item":
            product, chosen = shop.product(state), dict(state.options)
            lines = [_buttons((s.BACK, s.PREV)), product.title, f"Price: {product.price_tag}"]
            for group, values in product.options.items():
                marked = (_mark(value, chosen.get(group) == value) for value in values)
                lines.append(f"{group}: {' '.join(marked)}")
            lines.append(_buttons((*shop.sub_pages, s.BUY)))
        case "sub":
            lines = [_buttons((s.BACK, s.PREV)), f"{state.sub}:"]
            lines += [line.strip() for line in content(shop, state)]
        case _:
            lines = [THANKS, f"Purchased {shop.product(state).asin} {options_json(state)}"]
    return "\n".join(lines)


def _buttons(labels: Iterable[str]) -> str:
    return " ".join(f"[{label}]" for label in labels)


def _mark(label: str, chosen: bool) -> str:
    return f"[[{label}]]" if chosen else f"[{label}]"
