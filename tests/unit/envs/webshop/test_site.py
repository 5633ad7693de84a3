"""WebShop as a site: every page, going back, sessions that end, and requests that make no sense."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from html import unescape
from urllib.parse import urlencode

import pytest

pytest.importorskip("jinja2", reason="needs jinja2: pip install 'agentsearch[envs]'")
pytest.importorskip("starlette", reason="needs starlette: pip install 'agentsearch[envs]'")
pytest.importorskip("httpx", reason="needs httpx, which starlette's test client uses")

from starlette.testclient import TestClient

from agentsearch.errors import ConfigError
from agentsearch_envs.webshop.environment import WebShop
from agentsearch_envs.webshop.html import page
from agentsearch_envs.webshop.shop import Shop, State
from agentsearch_envs.webshop.site import GOALS, HEADERS, MAX_PAGES, actions, site
from tests.unit.envs.webshop.test_html import Page, shop_of

SPLIT = "test"


@pytest.fixture(scope="module")
def env():
    return WebShop(products=100)


@pytest.fixture(scope="module")
def client(env):
    return client_of(env)


def client_of(env, **more) -> TestClient:
    return TestClient(site(env, split=SPLIT, task=3, **more), follow_redirects=True)


def place(reply) -> str:
    return reply.url.path


def do(client, at: str, **fields: str):
    """The page that a form's fields lead to."""
    return client.get(f"{at}?{urlencode(fields)}")


def main(reply) -> str:
    """The part of a page that agents see, as a page of its own."""
    assert reply.status_code == 200
    return re.search(r"<main>.*</main>", reply.text, re.DOTALL)[0]


def of_state(env, state: State, score: float | None = None, action_url: str = "") -> str:
    text = page(env.shop, state, score, action_url=action_url)
    return re.search(r"<main>.*</main>", text, re.DOTALL)[0]


def same(reply, env, state: State, score: float | None = None) -> bool:
    """Whether a page has the words of a state."""
    return Page(main(reply)).words == Page(of_state(env, state, score)).words


# A visit


def test_a_purchase_pays_what_it_pays_in_the_environment(env, client):
    task = env.tasks(SPLIT)[3]
    state, oracle = env.first_state(task), env.oracle()
    reply = client.get("/fixed_3")
    assert place(reply).endswith("/0") and same(reply, env, state)
    while (action := oracle.action(state)) is not None:
        step = env.take(state, action)
        name, value = action[:-1].split("[", 1)
        field = {"search": "search_query", "click": "click"}[name]
        reply = do(client, place(reply), **{field: value})
        state = step.state
        assert same(reply, env, state, step.reward if step.terminated else None)
    assert step.terminated and step.reward == 1.0
    assert Page(reply.text).find("div", id="reward") == [{"id": "reward"}]
    assert "<pre>1.0</pre>" in reply.text and "Reward <strong>1</strong>" in reply.text
    assert 'href="/fixed_4"' in reply.text


@pytest.mark.parametrize("sub", ["Description", "Features", "Reviews"])
def test_sub_pages_lead_back_with_the_options_chosen(env, client, sub):
    reply = with_options(env, client)
    item = place(reply)
    group, value = next(of_radios(reply, checked=False))
    chosen = do(client, item, options="", **{group: value})
    assert (group, value) in of_radios(chosen, checked=True)
    inside = do(client, place(chosen), click=sub)
    assert place(do(client, place(inside), click="< Prev")) != item  # a later step
    assert (group, value) in of_radios(do(client, place(inside), click="< Prev"), checked=True)


def with_options(env, client):
    """The page of a product that has options, of which none is chosen."""
    products = env.shop.catalogue.products
    wanted = max(products, key=lambda each: (len(each.options), each.title))
    reply = do(client, place(client.get("/fixed_3")), search_query=wanted.title)
    return do(client, place(reply), click=wanted.asin)


def of_radios(reply, checked: bool):
    for radio in Page(main(reply)).find("input", type="radio"):
        if ("checked" in radio) == checked:
            yield radio["name"], radio["value"]


def test_a_form_without_script_chooses_in_every_group_at_once(env, client):
    item = with_options(env, client)
    wanted = dict(of_radios(item, checked=False))
    assert len(wanted) >= 2
    chosen = do(client, place(item), options="", **wanted)
    assert dict(of_radios(chosen, checked=True)) == wanted
    assert f"step {2 + len(wanted)} of" in chosen.text
    assert place(do(client, place(chosen), options="", **wanted)) == place(chosen)


def test_going_back_shows_the_earlier_state_and_branches_off(env, client):
    start = place(client.get("/fixed_3"))
    shirts = do(client, start, search_query="shirt")
    before = main(client.get(start))
    lamps = do(client, start, search_query="lamp")
    assert place(lamps) != place(shirts) and main(client.get(start)) == before
    assert same(client.get(place(shirts)), env, after(env, "search[shirt]"))
    assert same(client.get(place(lamps)), env, after(env, "search[lamp]"))
    assert place(do(client, start, search_query="shirt")) == place(shirts)


def after(env, *taken: str) -> State:
    state = env.first_state(env.tasks(SPLIT)[3])
    for action in taken:
        state = env.take(state, action).state
    return state


def test_actions_answer_with_a_redirect(client):
    reply = client.get(
        f"{place(client.get('/fixed_0'))}?search_query=shirt", follow_redirects=False
    )
    assert reply.status_code == 303 and reply.headers["location"].endswith("/1")


def test_nothing_happens_where_nothing_can(env, client):
    start = place(client.get("/fixed_3"))
    for fields in (
        {"click": "Buy Now"},
        {"search_query": ""},
        {"x": "y"},
        {"options": "", "a": "b"},
    ):
        assert place(do(client, start, **fields)) == start


def test_the_last_step_is_the_environments(env):
    short = WebShop(products=100, max_steps=2)
    client = client_of(short)
    at = place(client.get("/fixed_3"))
    for words in ("shirt", "lamp"):
        assert "No step is left" not in client.get(at).text
        at = place(do(client, at, search_query=words))
    assert "No step is left" in client.get(at).text
    assert place(do(client, at, search_query="shoe")) == at


def test_forms_stand_for_actions():
    assert list(actions([("search_query", "red [L] shirt]")], {})) == ["search[red  L] shirt]]"]
    assert list(actions([("click", "Buy Now"), ("click", "x")], {})) == ["click[Buy Now]"]
    fields = [("options", ""), ("click", "red"), ("search_query", "xl"), ("trim", "red")]
    assert list(actions(fields, {"click": "red"})) == ["click[xl]", "click[red]"]
    assert list(actions([], {})) == list(actions([("a", "b")], {})) == []


# The list of goals


def test_the_given_goal_comes_first(env, client):
    tasks = env.tasks(SPLIT)
    links = [str(a["href"]) for a in Page(client.get("/").text).find("a")]
    assert links[:GOALS] == [f"/fixed_{i}" for i in range(3, 3 + GOALS)]
    assert links[GOALS:] == ["/?first=0", f"/?first={3 + GOALS}"]
    shown = unescape(client.get("/").text)
    assert all(env.shop.goals[tasks[i].data["goal"]].instruction in shown for i in range(3, 13))
    assert f"has {len(tasks)} goals" in shown


@pytest.mark.parametrize("first", ["499", "999999999"])
def test_the_list_ends(env, client, first):
    last = len(env.tasks(SPLIT)) - 1
    links = [str(a["href"]) for a in Page(client.get(f"/?first={first}").text).find("a")]
    assert links == [f"/fixed_{last}", f"/?first={last - GOALS}"]


def test_the_last_goal_has_no_next_one(env, client):
    last = len(env.tasks(SPLIT)) - 1
    assert "Next goal" not in client.get(f"/fixed_{last}").text
    assert client.get(f"/fixed_{last + 1}").status_code == 404


@pytest.mark.parametrize("task", [-1, 10_000])
def test_a_task_that_is_not_there_is_refused(env, task):
    with pytest.raises(ConfigError, match=rf"task={task}: split 'test' has \d+ tasks"):
        site(env, split=SPLIT, task=task)


# Sessions


def test_the_longest_unused_session_makes_room(env):
    client = client_of(env, max_sessions=2)
    first, second = (place(client.get("/fixed_0")) for _ in range(2))
    client.get(first)
    third = place(client.get("/fixed_0"))
    assert [client.get(at).status_code for at in (first, second, third)] == [200, 404, 200]


def test_sessions_end_when_nobody_comes(env):
    now = [0.0]
    client = client_of(env, timeout_s=60.0, clock=lambda: now[0])
    at = place(client.get("/fixed_0"))
    for now[0], status in ((60.0, 200), (119.0, 200), (179.0, 200), (239.5, 404)):
        assert client.get(at).status_code == status
    assert "visits end 1 minutes" in client.get(at).text


def test_a_session_keeps_so_many_pages(env):
    client = client_of(env)
    at = place(client.get("/fixed_0"))
    for i in range(1, MAX_PAGES):
        assert place(do(client, at, search_query=f"shirt {i}")).endswith(f"/{i}")
    refused = do(client, at, search_query="one more")
    assert refused.status_code == 429 and "too many pages" in refused.text
    assert place(do(client, at, search_query="shirt 7")).endswith("/7")
    assert client.get(at).status_code == 200


# Requests that make no sense


@pytest.mark.parametrize(
    "address",
    [
        *("/nothing", "/a/b/c", "/0123456789abcdef/0", "/fixed_", "/fixed_-1", "/fixed_x"),
        *(f"/fixed_{'9' * 5000}", "/../etc/passwd", "/templates/base.html.j2", "/%00/%00"),
    ],
    ids=lambda address: address[:20],
)
def test_what_is_not_there_is_said_on_a_page(client, address):
    reply = client.get(address)
    assert reply.status_code == 404 and "All goals" in reply.text


@pytest.mark.parametrize("number", ["1", "-1", "x", "9" * 5000, "0/1"], ids=lambda n: n[:5])
def test_a_state_that_was_not_reached_is_not_there(client, number):
    session = place(client.get("/fixed_0")).rsplit("/", 1)[0]
    assert client.get(f"{session}/{number}").status_code == 404


def test_a_numeral_that_is_no_number_lists_the_given_goal(client):
    for first in ("x", "-1", "٣", "9" * 5000):
        assert "/fixed_3" in client.get("/", params={"first": first}).text


def test_long_requests_and_other_methods_are_refused(client):
    at = place(client.get("/fixed_0"))
    assert do(client, at, search_query="x" * 8000).status_code == 200
    assert do(client, at, search_query="x" * 9000).status_code == 414
    assert client.post(at).status_code == 405


@dataclass(frozen=True)
class Hostile(WebShop):
    """Products and a goal whose every text is one hostile text."""

    text: str = ""

    @cached_property
    def shop(self) -> Shop:
        return shop_of(self.text)


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "half \ud800 a pair", "&lt;"],
)
def test_hostile_texts_stay_texts(text):
    env = Hostile(text=text)
    client = TestClient(site(env, split=SPLIT, task=0))
    start = client.get("/fixed_0")
    results = do(client, place(start), search_query=text.replace("\ud800", "?"))
    item = do(client, place(results), click="B000000001")
    chosen = do(client, place(item), options="", size="small")
    told = do(client, place(item), click="Features")
    done = do(client, place(chosen), click="Buy Now")
    for reply in (client.get("/"), start, results, item, chosen, told, done):
        assert reply.status_code == 200
        seen = Page(reply.text)
        assert [each["src"] for each in seen.find("script")] == ["/site.js"]
        assert seen.find("img") == []
        assert text.replace("\ud800", "?") in unescape(reply.text) or reply is done
    assert dict(of_radios(chosen, checked=True)) == {"size": "small"}


def test_every_reply_restrains_the_browser(client):
    start = place(client.get("/fixed_0"))
    for address in ("/", "/style.css", "/site.js", "/nothing", start, f"{start}?click=x"):
        reply = client.get(address, follow_redirects=False)
        for name, value in HEADERS.items():
            assert reply.headers[name] == value
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_files_have_their_types(client):
    assert client.get("/style.css").headers["content-type"].startswith("text/css")
    assert client.get("/site.js").headers["content-type"].startswith("text/javascript")
