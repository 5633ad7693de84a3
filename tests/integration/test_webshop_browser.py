"""WebShop's site in a real browser: a purchase by mouse and keyboard, going back, how it looks."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("jinja2", reason="needs jinja2: pip install 'agentsearch[envs]'")
pytest.importorskip("starlette", reason="needs starlette: pip install 'agentsearch[envs]'")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'agentsearch[envs]'")

from agentsearch_envs.play import serving
from agentsearch_envs.webshop.environment import WebShop
from agentsearch_envs.webshop.shop import State
from agentsearch_envs.webshop.site import site
from tests.integration.test_view_browser import CHROMIUM, DESK, PHONE, Browser

SPLIT, TASK = "test", 3
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed")
LUMINANCE = """(([r, g, b]) => (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255)(
    getComputedStyle(document.querySelector(%s)).%s.match(/[0-9.]+/g).map(Number))"""


class Visitor:
    """Someone at the site, with a mouse and a keyboard."""

    def __init__(self, browser: Browser, home: str) -> None:
        self.browser = browser
        self.home = home
        self.script = True

    def loads(self, act, *arguments, **more) -> None:
        """Do what leads to another page, and wait for it."""
        seen = len(self.browser.events)
        act(*arguments, **more)
        while not any(map(arrived, self.browser.events[seen:])):
            self.browser.events.append(self.browser._read())
        if self.script:
            self.browser.settle()  # clicks are lost until the page is drawn

    def go(self, address: str) -> None:
        self.loads(self.browser.call, "Page.navigate", url=self.home + address)

    def back(self) -> None:
        history = self.browser.call("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] - 1]["id"]
        self.loads(self.browser.call, "Page.navigateToHistoryEntry", entryId=entry)

    def middle(self, selector: str, text: str = "") -> tuple[float, float]:
        """Where the (first line of the) element with a selector and a text is, brought in sight."""
        found = self.browser.evaluate(
            f"(() => {{ const found = [...document.querySelectorAll({json.dumps(selector)})]"
            f".find((each) => each.textContent.includes({json.dumps(text)}));"
            " found.scrollIntoView({block: 'center'}); const box = found.getClientRects()[0];"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return found[0], found[1]

    def click(self, selector: str, text: str = "") -> None:
        self.loads(self.press, selector, text)

    def press(self, selector: str, text: str = "") -> None:
        x, y = self.middle(selector, text)
        if not self.script:  # without scripts nothing tells when the page is drawn
            self.browser.evaluate(f"document.elementFromPoint({x}, {y}).click()")
            return
        for kind in ("mousePressed", "mouseReleased"):
            self.browser.mouse(kind, x, y, button="left", clickCount=1)

    def type(self, words: str) -> None:
        self.browser.evaluate("document.getElementById('search_input').focus()")
        self.browser.call("Input.insertText", text=words)

    def arrow(self) -> None:
        for kind in ("keyDown", "keyUp"):
            self.key(kind, "ArrowRight", 39)

    def enter(self) -> None:
        self.key("keyDown", "Enter", 13, text="\r")  # its page is gone before a key comes up

    def key(self, kind: str, key: str, code: int, **more) -> None:
        self.browser.call(
            "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more
        )

    def take(self, action: str) -> None:
        """An action of the environment, by hand."""
        name, label = action[:-1].split("[", 1)
        if name == "search":
            self.type(label)
            self.click(".search .btn")
        elif label.startswith("B0"):
            self.click(".product-link", label)
        else:
            radio = self.browser.evaluate(
                f"document.querySelector('[type=radio][value={json.dumps(label)}]')?.id ?? ''"
            )
            self.click(f"[for={radio}]" if radio else f".btn[value={json.dumps(label)}]")

    @property
    def reward(self) -> float:
        return float(self.browser.text("#reward pre"))

    @property
    def checked(self) -> list[str]:
        return self.browser.evaluate(
            "[...document.querySelectorAll('[type=radio]:checked')].map((radio) => radio.value)"
        )

    @property
    def step(self) -> int:
        return int(self.browser.text("header span").split("step ")[1].split()[0])


def arrived(event: dict) -> bool:
    kind = event.get("params", {}).get("type")
    return event.get("method") == "Page.loadEventFired" or kind == "BackForwardCacheRestore"


@pytest.fixture(scope="module")
def env():
    return WebShop(products=100)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def home(env):
    with serving(site(env, split=SPLIT, task=TASK)) as address:
        yield address


@pytest.fixture
def visitor(browser, home):
    browser.events.clear()
    screen(browser, DESK)
    visitor = Visitor(browser, home)
    yield visitor
    browser.evaluate("1")
    said = [
        event["params"]
        for event in browser.events
        if event.get("method")
        in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    ]
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert said == [] and all(url.startswith((home, "data:", "about:")) for url in asked)


def screen(browser: Browser, size, scheme: str = "light") -> None:
    width, height, mobile = size
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=mobile,
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", features=features)


def plan(env: WebShop) -> list[str]:
    """The oracle's purchase, with a look at the features before it."""
    state, actions = env.first_state(env.tasks(SPLIT)[TASK]), []
    while (action := env.oracle().action(state)) is not None:
        actions.append(action)
        state = env.take(state, action).state
    assert len(actions) >= 4  # search, product, option, buy
    return [*actions[:-1], "click[Features]", "click[< Prev]", actions[-1]]


def paid(env: WebShop, actions: list[str]) -> float:
    state: State = env.first_state(env.tasks(SPLIT)[TASK])
    for action in actions:
        step = env.take(state, action)
        assert step.valid
        state = step.state
    assert step.terminated
    return step.reward


def item(env: WebShop, visitor: Visitor) -> list[str]:
    """Go to the goal's product; its option values are returned."""
    visitor.go(f"/fixed_{TASK}")
    for action in plan(env)[:2]:
        visitor.take(action)
    return visitor.browser.evaluate(
        "[...document.querySelectorAll('[type=radio]')].map((radio) => radio.value)"
    )


# Shopping


@pytest.mark.parametrize("careful", [True, False], ids=["with options", "without"])
def test_a_purchase_by_hand_pays_what_the_environment_pays(env, visitor, careful):
    actions = plan(env)
    if not careful:
        actions = [*actions[:2], actions[-1]]
    visitor.go("/")
    visitor.click(".goals a")  # the given goal comes first
    for count, action in enumerate(actions):
        assert visitor.step == count
        if action == "click[< Prev]":
            assert visitor.browser.text("section")  # the features
        visitor.take(action)
    assert visitor.reward == paid(env, actions)
    assert (visitor.reward == 1.0) == careful
    assert f"Reward {visitor.reward:.3g}" in visitor.browser.text("#breakdown")
    visitor.click("#breakdown .primary")
    assert f"goal {TASK + 1}" in visitor.browser.text("header") and visitor.step == 0


def test_the_whole_of_it_without_script(env, visitor):
    visitor.browser.call("Emulation.setScriptExecutionDisabled", value=True)
    visitor.script = False
    try:
        actions = plan(env)
        visitor.go(f"/fixed_{TASK}")
        for action in actions:
            label = action[:-1].split("[", 1)[1]
            if visitor.browser.evaluate(
                f"Boolean(document.querySelector('[type=radio][value={json.dumps(label)}]'))"
            ):
                visitor.press("label", label)
                visitor.click("[type=submit][value=Choose]")
            else:
                visitor.take(action)
        assert visitor.reward == paid(env, actions) == 1.0
    finally:
        visitor.browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_the_back_button_leads_to_the_earlier_state(env, visitor):
    value = item(env, visitor)[0]
    assert visitor.checked == [] and visitor.step == 2
    visitor.click("label", value)
    assert visitor.checked == [value] and visitor.step == 3
    visitor.back()
    assert visitor.checked == [] and visitor.step == 2
    visitor.click(".btn", "Features")
    assert visitor.step == 3
    visitor.click(".btn", "< Prev")
    assert visitor.checked == [] and visitor.step == 4


def test_arrow_keys_look_and_enter_chooses(env, visitor):
    values = item(env, visitor)
    visitor.browser.evaluate("document.querySelector('[type=radio]').focus()")
    visitor.arrow()
    assert visitor.checked == [values[1]] and visitor.step == 2
    visitor.loads(visitor.enter)
    assert visitor.checked == [values[1]] and visitor.step == 3


def test_enter_searches(visitor):
    visitor.go(f"/fixed_{TASK}")
    visitor.type("shirt")
    visitor.loads(visitor.enter)
    assert "Page 1 (Total results: " in visitor.browser.text("main") and visitor.step == 1


def test_agents_that_click_radio_inputs_choose(env, visitor):
    value = item(env, visitor)[0]
    click = "document.querySelector('[type=radio]').click()"
    visitor.loads(visitor.browser.evaluate, click)
    assert visitor.checked == [value] and visitor.step == 3


# Looks


def pages_of(env: WebShop, visitor: Visitor):
    """Every kind of page, by name."""
    actions = plan(env)
    visitor.go("/")
    yield "goals"
    visitor.go(f"/fixed_{TASK}")
    yield "index"
    for name, action in zip(("results", "item", "chosen"), actions[:3], strict=True):
        visitor.take(action)
        yield name
    for label in ("Description", "Features", "Reviews"):
        visitor.click(".btn", label)
        yield label
        visitor.click(".btn", "< Prev")
    visitor.click(".btn", "Buy Now")
    yield "done"


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_the_screen_and_can_be_read(env, visitor, size, scheme):
    screen(visitor.browser, size, scheme)
    for name in pages_of(env, visitor):
        assert visitor.browser.evaluate("document.documentElement.scrollWidth") <= size[0], name
        paper = visitor.browser.evaluate(LUMINANCE % ("'body'", "backgroundColor"))
        ink = visitor.browser.evaluate(LUMINANCE % ("'body'", "color"))
        assert (paper > 0.9 and ink < 0.3) if scheme == "light" else (paper < 0.2 and ink > 0.7)


def test_what_is_chosen_looks_chosen(env, visitor):
    value = item(env, visitor)[0]
    visitor.click("label", value)
    colours = visitor.browser.evaluate(
        "['label', ':not(:checked) + label'].map((selector) =>"
        " getComputedStyle(document.querySelector(selector)).backgroundColor)"
    )
    assert colours[0] != colours[1]


def test_what_is_for_the_record_is_not_seen(env, visitor):
    *_, last = pages_of(env, visitor)
    assert last == "done" and "MTurk" not in visitor.browser.text("main")
    assert "Your score (min 0.0, max 1.0)" in visitor.browser.text("main")
