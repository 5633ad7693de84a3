"""WebShop's pages as HTML: the words of `pages.words`, where the original's agents look."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("jinja2", reason="needs jinja2: pip install 'agentsearch[envs]'")

from hypothesis import given, settings
from hypothesis import strategies as st

from agentsearch_envs.webshop import nouns, pages
from agentsearch_envs.webshop.catalogue import Catalogue, Product
from agentsearch_envs.webshop.goals import Goal
from agentsearch_envs.webshop.html import page
from agentsearch_envs.webshop.pages import BUTTON, OPTION, PRODUCT, TEXT, Words
from agentsearch_envs.webshop.shop import Shop, State

UNSEEN = ("style", "script", "head", "title", "meta")
VOID = ("meta", "link", "input", "br")
SPACES = " \n\t\f\r"
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "&amp; &lt;b&gt; &notin; &#65;",
    "</main></body><!-- --> ]]> <![CDATA[ </textarea></title>",
    "{{ 7 * 7 }} {% raw %} {# #}",
    "Ünïcödé 日本語 🛒 \u202e\u2028 \x00 \x85",
    " lead and trail ",
    " ",
    "\n \t\r\n",
    "",
    "one\r\ntwo\n\nthree",
    "half a pair \ud800",
    ("<&\"'> " + "x" * 94) * 1000,
]


class Element(NamedTuple):
    tag: str
    attributes: dict[str, str | None]


class Page(HTMLParser):
    """The text nodes of a page as the original reads them, each with its kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.words: list[Words] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        assert len(element.attributes) == len(attrs)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        if not self._open:
            assert not data.strip(SPACES)
            return
        parent = self._open[-1]
        if parent.tag in UNSEEN:
            return
        if not data.strip(SPACES):
            if "\n" in data:
                return
            data = " "
        kind = {"button": BUTTON, "label": OPTION}.get(parent.tag, TEXT)
        self.words.append(
            Words(data, PRODUCT if parent.attributes.get("class") == "product-link" else kind)
        )

    def find(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            each.attributes
            for each in self.elements
            if each.tag == tag and wanted.items() <= each.attributes.items()
        ]


class Everything:
    """A search engine that finds all there is."""

    def search(self, query: str, k: int) -> tuple[int, ...]:
        return tuple(range(12))


def shop_of(text: str, options: dict[str, tuple[str, ...]] | None = None) -> Shop:
    """Twelve products whose every text is `text`."""
    product = Product(
        asin="B000000000",
        title=text,
        description=text,
        bullets=(text, "steel", text),
        price_tag="$19.99 to $27.99",
        prices=(19.99, 27.99),
        options={text: (text, "red"), "size": ("small", text)} if options is None else options,
        attributes=("soft", text),
        category=text,
        query=text,
        product_category=text,
        image="https://images.test/1.jpg",
    )
    first = replace(product, asin=text.strip() or "B0")
    rest = (replace(product, asin=f"B{i:09}") for i in range(11))
    wanted = f"find {text}"
    goal = Goal("B0", "", "", text, "", wanted, ("soft",), 30.0, {}, 1.0)
    return Shop(
        catalogue=Catalogue("test", "", (first, *rest)),
        index=Everything(),
        prices=(20.0,) * 12,
        goals=(goal,),
        colours=(),
        tagger=nouns.find("words"),
        show_attributes=True,
    )


def states(text: str) -> list[State]:
    """Every kind of page."""
    hits = tuple(range(12))
    results = State(0, "results", "shirt", hits, 1, visited=frozenset({1}), steps=3)
    item = results._replace(page="item", product=0)
    chosen = item._replace(options=((text, text), ("size", "small")))
    subs = [
        chosen._replace(page="sub", sub=sub)
        for sub in ("Description", "Features", "Reviews", "Attributes")
    ]
    later = [results._replace(number=number) for number in (2, 3)]
    return [State(0), results, *later, item, chosen, *subs, chosen._replace(page="done")]


def check(text: str) -> None:
    shop = shop_of(text)
    for state in states(text):
        for score in (None, 0.25) if state.page == "done" else (None,):
            seen = Page(page(shop, state, score)).words
            assert seen == pages.words(shop, state, score), state.page
            line = pages.SEPARATOR.join(word.text.strip() for word in seen)
            assert line == pages.text(shop, state, score)


# Words


@pytest.mark.parametrize("text", ["a shirt", *HOSTILE], ids=lambda text: ascii(text[:12]))
def test_the_text_is_that_of_the_text_mode_node_by_node(text: str):
    check(text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_shown_as_it_is(text: str):
    check(text)


def test_a_purchase_shows_its_score_only_where_it_is_given():
    shop, done = shop_of("a shirt"), states("a shirt")[-1]
    assert pages.observe(shop, done, "html") == page(shop, done)
    assert "score" not in page(shop, done) and not Page(page(shop, done)).find("div", id="reward")
    shown = page(shop, done, 0.25)
    assert Page(shown).find("div", id="reward") == [{"id": "reward"}]
    assert "<pre>0.25</pre>" in shown


# What agents look for


def test_agents_for_the_original_find_the_same_things():
    shop = shop_of("a shirt", {"color": ("red", "blue"), "size": ("small",)})
    start, results, *_, item, chosen = states("a shirt")[:6]
    [field] = Page(page(shop, start)).find("input")
    assert (field["id"], field["name"]) == ("search_input", "search_query")
    for state in (start, results, item):
        assert len(Page(page(shop, state)).find("div", id="instruction-text")) == 1
        buttons = Page(page(shop, state)).find("button")
        labels = shop.buttons(state)
        if state.page != "index":
            assert [button["value"] for button in buttons] == labels
        assert len(buttons) == len(labels)
        assert all("btn" in str(button["class"]).split() for button in buttons)
    radios = Page(page(shop, item)).find("input", type="radio")
    named = [(radio["name"], radio["value"]) for radio in radios]
    assert named == [("color", "red"), ("color", "blue"), ("size", "small")]
    labels = Page(page(shop, item)).find("label")
    assert [label["for"] for label in labels] == [radio["id"] for radio in radios]
    assert len({radio["id"] for radio in radios}) == 3


def test_chosen_options_are_checked_in_their_group_only():
    shop = shop_of("a shirt", {"color": ("red", "blue"), "trim": ("red", "blue")})
    state = states("a shirt")[4]._replace(options=(("trim", "red"),))
    checked = [
        (radio["name"], radio["value"])
        for radio in Page(page(shop, state)).find("input", type="radio")
        if "checked" in radio
    ]
    assert checked == [("trim", "red")]


def test_seen_products_are_marked():
    shop, results = shop_of("a shirt"), states("a shirt")[1]
    items = [item.get("class") for item in Page(page(shop, results)).find("li")]
    assert items == [None, "seen", *[None] * 8]


@pytest.mark.parametrize("asin", ["B000000001", 'a&b="?#/ü<'])
def test_links_and_forms_lead_where_they_are_told(asin: str):
    shop, results = shop_of(asin), states(asin)[1]
    seen = Page(page(shop, results, action_url="/s/7"))
    address = urlsplit(str(seen.find("a")[0]["href"]))
    assert address.path == "/s/7" and parse_qs(address.query) == {"click": [asin]}
    assert {form["action"] for form in seen.find("form")} == {"/s/7"}
    assert str(Page(page(shop, results)).find("a")[0]["href"]).startswith("?click=")


def test_pages_load_nothing():
    shop = shop_of("a shirt")
    for state in states("a shirt"):
        text = page(shop, state)
        assert not any(loads in text for loads in ("src=", "<link", "<script", "<style", "http"))


def test_a_missing_library_names_the_extra():
    code = """
import sys
sys.modules["jinja2"] = None
from agentsearch.errors import ConfigError
from agentsearch_envs.webshop.html import template
try:
    template("index")
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "jinja2: pip install 'agentsearch[envs]'" in done.stdout
