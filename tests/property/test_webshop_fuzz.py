"""WebShop under hostile text: in actions, and in the products and instructions of its pages."""

from __future__ import annotations

import random
from dataclasses import replace
from html.parser import HTMLParser

import pytest

pytest.importorskip("jinja2", reason="needs jinja2: pip install 'agentsearch[envs]'")

from hypothesis import given, settings
from hypothesis import strategies as st

from agentsearch_envs.webshop import pages
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.html import page as html_page
from agentsearch_envs.webshop.shop import State
from tests.small_shop import MARKUP, SmallWebShop, small_shop

STEPS = 50_000
RENDERED = 23
"""Every so many steps the state is shown in all modes."""
LONG = 100_000
HOSTILE = (
    MARKUP,
    "\x00\x01\x1b[31m",
    "\u202eevil\u202c",
    "\ud800",  # half a surrogate pair
    "\U0001f469\u200d\U0001f4bb \u00e9\u0301 \u0130 \u00df \u03a3",
    "{{ 7 * 7 }} {% for x in y %} ${x} %s %(a)s {0} {shop}",
    "']\"; DROP TABLE products; --",
    "[[[[]]]]",
    "](](",
    "../../etc/passwd?a=b&c=%00#x",
    "a\nb\r\nc\td\u2028e",
    "search_results item_page item_sub_page done",
    "<r> <c> <q> <a>",
    "javascript:alert(1)//",
    '" onmouseover="alert(1)',
    "shirt lamp mug tea odd plate",
    " ",
    "-1",
    "think[",
    "Buy Now",
)
FORMS = ("search[{}]", "click[{}]", "{}", "think[{}]", "search[{}", "{}]", "[{}]", " click[{}] x")
OUR_TAGS = """
    html head meta title body main div h1 h2 h3 h4 h5 br form input button ul li a fieldset
    legend label section p pre
"""
OUR_ATTRIBUTES = """
    lang charset id class type name value required placeholder autocomplete aria-label for
    href checked
"""
ENVS = [
    SmallWebShop(observation=mode, max_steps=12, show_attributes=odd, special_searches=odd)  # type: ignore[arg-type]
    for mode, odd in (("brief", False), ("react", True))
]


class Tags(HTMLParser):
    """All markup that an HTML parser finds, and the text between it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.other: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags += [(tag, name) for name, _ in attrs] or [(tag, "")]
        self.other += [f"{k}={v}" for k, v in attrs if k.startswith("on") or k == "style"]
        self.other += [v for k, v in attrs if k == "href" and v and not v.startswith("?click=")]

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        self.other.append(data)

    def handle_pi(self, data):
        self.other.append(data)

    def unknown_decl(self, data):
        self.other.append(data)


def check_markup(text: str) -> None:
    found = Tags(text)
    assert {tag for tag, _ in found.tags} <= set(OUR_TAGS.split())
    assert {name for _, name in found.tags if name} <= set(OUR_ATTRIBUTES.split())
    assert found.other == []


def written(rng: random.Random, env: SmallWebShop, state: State) -> str:
    """A legal click half the time, else anything at all."""
    legal = env.legal_actions(state)
    if legal and rng.random() < 0.5:
        return rng.choice(legal)
    if rng.random() < 0.3:
        return f"search[{rng.choice(('shirt', 'lamp', 'odd', 'plate number', 'mug tea'))}]"
    text = rng.choice(HOSTILE)
    if rng.random() < 0.3:
        text += "".join(map(chr, rng.choices(range(0x2FFF), k=rng.randrange(12))))
    if rng.random() < 0.001:
        text = (text * LONG)[:LONG]
    return rng.choice(FORMS).replace("{}", text)


def test_50_000_hostile_steps():
    rng = random.Random(4)
    taken = valid = bought = longest = 0
    for env in ENVS:
        states = [env.first_state(task) for task in env.tasks("test")]
        state = states[0]
        for _ in range(STEPS // len(ENVS)):
            action = written(rng, env, state)
            before, copied = hash(state), State(*state)
            step = env.take(state, action)
            assert state == copied and hash(state) == before
            if not step.valid:
                assert step.state is state and step.reward == 0.0
            elif not step.terminated:
                assert step.reward == 0.0 and step.state.steps == state.steps + 1
            assert 0.0 <= step.reward <= 1.0
            assert not (step.terminated and step.truncated)
            assert step.state.goal == state.goal
            taken, valid, bought = taken + 1, valid + step.valid, bought + step.terminated
            longest = max(longest, len(action))
            if taken % RENDERED == 0 or len(step.state.query) >= 1000:
                show(env, step.state)
            over = step.terminated or step.truncated
            state = rng.choice(states) if over else step.state
    assert taken == STEPS and valid > STEPS / 3 and bought > 300 and longest > LONG


def show(env: SmallWebShop, state: State) -> None:
    """Every mode gives text, the same one twice, and html none but our own markup."""
    for mode in pages.MODES:
        seen = pages.observe(env.shop, state, mode)  # type: ignore[arg-type]
        assert isinstance(seen, str)
        if mode == "html":
            check_markup(seen)
    assert env.observe(state) == env.observe(state)
    assert hash(env.key(state)) == hash(env.key(state)) and isinstance(env.answer(state), str)
    legal = env.legal_actions(state)
    assert legal is None or len(set(legal)) == len(legal)


def test_every_legal_action_of_hostile_pages_is_valid_and_answered():
    for env in ENVS:
        start = env.first_state(env.tasks("test")[4])
        item = env.take(env.take(start, "search[odd]").state, "click[B00ODD0006]").state
        reached = {env.key(item): item}
        frontier = [item]
        while frontier:
            state = frontier.pop()
            show(env, state)
            for action in env.legal_actions(state) or ():
                step = env.take(state._replace(steps=0), action)
                assert step.valid, action
                if env.key(step.state) not in reached and step.state.number <= 2:
                    reached[env.key(step.state)] = step.state
                    frontier.append(step.state)
        assert len(reached) > 30


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_products_stay_text_in_html(text):
    """The page's texts come back from a parser as they were, wherever they stand."""
    shop = small_shop()
    product = shop.catalogue.products[5]
    hostile = replace(
        product,
        title=text,
        description=text,
        bullets=(text,),
        price_tag=text,
        options={text: (text, "red")},
        attributes=(text,),
        category=text,
        query=text,
        product_category=text,
    )
    products = tuple(hostile if each is product else each for each in shop.catalogue.products)
    goals = tuple(replace(goal, instruction=text) for goal in shop.goals)
    shop = replace(
        shop,
        catalogue=replace(shop.catalogue, products=products),
        goals=goals,
        show_attributes=True,
    )
    item = State(4, s.ITEM, text, (5,), 1, 5, ((text, text),))
    walk = [State(4), item._replace(page=s.RESULTS), item, item._replace(page=s.DONE)]
    walk += [item._replace(page=s.SUB, sub=sub) for sub in shop.sub_pages]
    for state in walk:
        drawn = html_page(shop, state)
        check_markup(drawn)
        told = "".join(Tags(drawn).texts)
        wanted = "" if state.page == s.DONE else text
        assert wanted in told
        for mode in ("text", "text_rich", "url", "react", "brief"):
            assert isinstance(pages.observe(shop, state, mode), str)
    assert "".join(Tags(html_page(shop, item)).texts).count(text) >= 4


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(), max_size=8), st.sampled_from(FORMS))
def test_any_text_is_an_action_or_changes_nothing(texts, form):
    env = ENVS[0]
    state = env.first_state(env.tasks("test")[0])
    for text in texts:
        action = form.replace("{}", text)
        step = env.take(state, action)
        parsed = s.parse(action)
        if parsed is not None and parsed[0] == "search":
            assert step.valid and step.state.query == parsed[1]
        if parsed is None:
            assert not step.valid and step.state is state
        show(env, step.state)
        state = step.state
