"""The page of a tree in a real browser, on a desk and on a phone."""

import base64
import fcntl
import json
import os
import random
import select
import shutil
import subprocess
import sys
import time

import pytest

from agentsearch.tree import Node, Tree
from agentsearch.types import Message, Proposal
from agentsearch.viz.tree_html import tree_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DESK, PHONE = (1280, 800, False), (390, 844, True)
PATIENCE_S = 300
LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)  # Chromium reads commands at 3
os.dup2(int(sys.argv[2]), 4)  # and answers at 4
os.execv(sys.argv[3], sys.argv[3:])
"""
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed")


class Browser:
    """One tab of headless Chromium, spoken to over a pair of pipes."""

    def __init__(self, profile):
        reads, self._out = os.pipe()
        self._in, writes = os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (reads, writes)]
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={profile}", "--no-first-run", "--disable-dev-shm-usage"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *map(str, theirs), CHROMIUM, *flags],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (reads, writes, *theirs):
            os.close(end)
        self._buffer, self._last, self._session, self.events = b"", 0, None, []
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._read()
            if reply.get("id") == self._last:
                assert "error" not in reply, reply
                return reply["result"]
            self.events.append(reply)

    def _read(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], PATIENCE_S)
            assert ready, "the browser does not answer"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def evaluate(self, expression):
        reply = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def until(self, expression):
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + PATIENCE_S
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)
        return found

    def open(self, path, screen, hash=""):
        width, height, mobile = screen
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[still])
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri() + hash)
        self.until("document.documentElement?.dataset.ready")
        self.settle()

    def settle(self):
        """Let two frames be drawn."""
        self.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def key(self, key):
        """A key pressed on the tree."""
        self.evaluate("document.getElementById('canvas').focus()")
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)
        self.settle()

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, x, y, to_x, to_y):
        self.mouse("mousePressed", x, y, button="left", clickCount=1)
        for share in (0.5, 1):
            at = x + share * (to_x - x), y + share * (to_y - y)
            self.mouse("mouseMoved", *at, button="left", buttons=1)
        self.mouse("mouseReleased", to_x, to_y, button="left", clickCount=1)
        self.settle()

    def click(self, x, y):
        self.mouse("mousePressed", x, y, button="left", clickCount=1)
        self.mouse("mouseReleased", x, y, button="left", clickCount=1)
        self.settle()

    def set(self, control, value, event="input"):
        self.evaluate(
            f"{{ const c = document.getElementById('{control}'); c.value = {json.dumps(value)};"
            f" c.dispatchEvent(new Event('{event}')); }}"
        )
        self.settle()

    def next_match(self):
        """Enter, in the search box."""
        press = "new KeyboardEvent('keydown', {key: 'Enter'})"
        self.evaluate(f"document.getElementById('search').dispatchEvent({press})")

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    @property
    def drawn(self):
        return int(self.evaluate("document.getElementById('canvas').dataset.drawn"))

    @property
    def selected(self):
        return int(self.evaluate("new URLSearchParams(location.hash.slice(1)).get('node')"))

    def complaints(self):
        """Errors, warnings, and requests for anything but the page itself."""
        self.evaluate("1")
        found = []
        for event in self.events:
            kind, params = event.get("method"), event.get("params", {})
            if kind in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                found.append(params)
            if kind == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:", "about:")):
                    found.append(url)
        return found

    def close(self):
        self._session = None
        os.write(self._out, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


GRID = "# # # # \n# >r  # \n# kbbp# \n# # Lg# \ncarrying: ay"


class Says:
    """Prompts of one message, for pages without a run."""

    def chats(self, tree):
        return (None if n.done else (Message("user", f"What next, {n.id}?"),) for n in tree.nodes)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Seven nodes: a root, its children 1 and 2 (chosen), and two below each."""
    tree = Tree(Node(0, None, "the start"), "toy/<b>1</b>", "Do it.")
    for i in range(1, 7):
        parent = tree.nodes[(i - 1) // 2]
        proposal = Proposal(f"move {i}", f"I say <i>move {i}</i>", version="toy@1")
        node = tree.add(parent, f"move {i}", None, f"seen {i}", prior=0.5, proposal=proposal)
        node.terminated = i > 2
        node.visits, node.value_sum, node.value = 7 - i, (7 - i) / 10 * i, i / 10
    tree.root.visits, tree.root.draws = 20, 2
    tree.nodes[1].extra = {"picture": GRID}
    tree.nodes[3].extra = {"picture": "a drawing\nof its own"}
    tree.meta = {"committed": [2, 5], "credit_after_search": {"5": 1.0, "6": 0.0}}
    path = tmp_path_factory.mktemp("page") / "tree.html"
    path.write_text(tree_html(tree, prompter=Says()))
    return path


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """20,000 nodes with different texts of 5,000 characters."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(3, 9))) for _ in range(500)]
    page = " ".join(rng.choices(words, k=1000))[:5000]
    tree = Tree(Node(0, None, page), "huge", "")
    for i in range(1, 20_000):
        cut = rng.randrange(5000)
        text = f"number {i} {page[cut:]}{page[:cut]}"[:5000]
        node = tree.add(tree.nodes[(i - 1) // 5], f"action {i}", None, text)
        node.visits, node.value_sum = 1, rng.random()
    path = tmp_path_factory.mktemp("huge") / "tree.html"
    path.write_text(tree_html(tree))
    return path


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def screen(request):
    return request.param


def test_it_loads_without_a_complaint_and_fits_the_screen(browser, page, screen):
    browser.open(page, screen)
    assert browser.complaints() == [] and browser.text("#failure") == ""
    assert browser.text("#task-name") == "toy/<b>1</b>"
    assert browser.evaluate("document.documentElement.scrollWidth") == screen[0]
    assert browser.drawn >= (7 if screen is DESK else 3)
    picture = browser.call("Page.captureScreenshot", format="png")["data"]
    assert len(base64.b64decode(picture)) > 10_000


def test_a_node_shows_all_that_is_known_of_it(browser, page, screen):
    browser.open(page, screen, "#node=5")
    shown = browser.text("#node")
    for words in ("#5", "move 5", "seen 5", "I say <i>move 5</i>", "toy@1", "chosen", "✓ correct"):
        assert words in shown
    assert browser.text("#node .tiles").split()[:3] == ["0.5", "mean", "value"]
    assert "terminated\nyes" in shown.replace("\t", "\n")
    assert browser.evaluate("document.querySelectorAll('#node i').length") == 1  # the swatch


def test_keys_and_clicks_select(browser, page, screen):
    browser.open(page, screen)
    browser.key("ArrowRight")
    assert browser.selected == 2 and "seen 2" in browser.text("#node")  # chosen ones come first
    browser.key("ArrowDown")
    assert browser.selected == 1
    browser.key("c")
    assert browser.selected == 5
    browser.key("ArrowLeft")
    browser.key("Home")
    assert browser.selected == 0
    box = "document.getElementById('canvas').getBoundingClientRect()"
    middle = [browser.evaluate(f"{box}.{side}") for side in ("left", "width", "top", "height")]
    browser.key("c")
    browser.click(middle[0] + middle[1] / 2, middle[2] + middle[3] / 2)
    assert browser.selected == 5
    browser.drag(*(middle[0] + middle[1] / 2, middle[2] + middle[3] / 2), middle[0] + 20, 60)
    browser.click(middle[0] + middle[1] / 2, middle[2] + middle[3] / 2)
    assert browser.selected == 5  # a drag moves the tree and selects nothing


def test_prompts_are_written_when_they_are_opened(browser, page):
    browser.open(page, DESK)
    browser.evaluate("document.querySelector('#node .prompt').open = true")
    browser.until("Boolean(document.querySelector('#node .message'))")
    assert "What next, 0?" in browser.text("#node .prompt")
    browser.key("ArrowRight")
    browser.until("document.querySelector('#node .prompt').innerText.includes('What next, 2?')")
    assert "Not sent" in browser.text("#node .prompt")
    browser.key("c")
    browser.until("document.querySelector('#node .prompt').innerText.includes('Nobody is asked')")


def test_folding_leaves_fewer_nodes(browser, page):
    browser.open(page, DESK)
    assert browser.drawn == 7
    browser.key("ArrowRight")
    browser.key("Enter")
    assert browser.drawn == 5 and "2 folded" in browser.text("#status")
    browser.key("Enter")
    assert browser.drawn == 7
    for choice, count in (("path", 3), ("1", 3), ("all", 7)):
        browser.set("unfold", choice, "change")
        assert browser.drawn == count


def test_the_slider_hides_what_came_later(browser, page, screen):
    browser.open(page, screen)
    browser.set("time", "2")
    assert browser.drawn <= 3 and browser.text("#clock") == "3 of 7"
    browser.set("time", "0")
    assert browser.drawn == 1
    browser.key("]")
    assert browser.text("#clock") == "2 of 7"
    browser.key("p")
    browser.until("document.getElementById('clock').innerText === '7 of 7'")


def test_search_finds_texts_and_goes_through_them(browser, page):
    browser.open(page, DESK)
    browser.set("search", "SEEN")
    assert browser.until("document.getElementById('found').innerText") == "6 nodes"
    browser.set("search", "I say <i>move 4")
    browser.until("document.getElementById('found').innerText === '1 node'")
    browser.next_match()
    browser.until("location.hash.includes('node=4')")


def test_pictures_are_drawn_and_unknown_ones_shown_as_text(browser, page):
    browser.open(page, DESK, "#node=1")
    label = browser.evaluate(
        "document.querySelector('#node section canvas').getAttribute('aria-label')"
    )
    assert label == (
        "Grid of 4 by 4: red agent facing right at column 2, row 2; blue key at column 2, row 3; "
        "purple box at column 3, row 3; green locked door at column 3, row 4; carrying yellow ball"
    )
    assert "carrying: yellow ball" in browser.text("#node")
    browser.open(page, DESK, "#node=3")
    assert "a drawing\nof its own" in browser.text("#node")


def test_the_sheet_of_a_phone_opens(browser, page):
    browser.open(page, PHONE)
    height = "document.getElementById('panel').offsetHeight"
    before = browser.evaluate(height)
    browser.evaluate("document.getElementById('sheet').click()")
    browser.until(f"{height} > {before} + 200")
    assert browser.evaluate("document.getElementById('sheet').ariaExpanded") == "true"


def test_twenty_thousand_nodes_are_drawn_only_where_they_are_seen(browser, huge, screen):
    browser.open(huge, screen)
    assert browser.complaints() == []
    assert 0 < browser.drawn <= 200
    browser.set("unfold", "all", "change")
    assert 0 < browser.drawn <= 200
    before = browser.text("#status")
    browser.drag(200, 400, 180, 380)
    assert 0 < browser.drawn <= 200 and browser.text("#status").endswith("20,000 nodes in sight")
    browser.key("0")
    assert 200 < browser.drawn <= 5_000 and browser.text("#status") != before
    browser.set("search", "number 12345 ")
    browser.until("document.getElementById('found').innerText === '1 node'")
    browser.next_match()
    browser.until("document.getElementById('node').innerText.includes('number 12345 ')")
    assert len(browser.text("#node pre")) > 4_900
