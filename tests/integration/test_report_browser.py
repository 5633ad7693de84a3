"""The report in a real browser, at desktop and phone width, on a light and a dark page."""

import html
import json
import re
import shutil
import subprocess

import pytest

from agentsearch_eval.report import write_report
from tests.suite_folder import Plan, make_suite_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DESK, PHONE = 1280, 390
PATIENCE_S = 180
LOOK = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[0-9.]+/g).map(Number);
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
};
const look = (frame) => {
  const page = frame.contentDocument, style = (node) => frame.contentWindow.getComputedStyle(node);
  const cut = [...page.querySelectorAll("svg text")].filter((text) => {
    const inner = text.getBoundingClientRect();
    const outer = text.closest("svg").getBoundingClientRect();
    return inner.left < outer.left - 1 || inner.right > outer.right + 1;
  });
  return {
    width: frame.contentWindow.innerWidth,
    scroll: page.documentElement.scrollWidth,
    figures: page.querySelectorAll("svg").length,
    hidden: [...page.querySelectorAll("svg")].filter((each) => each.clientWidth < 200).length,
    cut: cut.map((text) => text.textContent),
    wide: [...page.querySelectorAll(".scroll")].some((box) => box.scrollWidth > box.clientWidth),
    paper: luminance(style(page.body).backgroundColor),
    ink: luminance(style(page.body).color),
    label: luminance(style(page.querySelector("svg text")).fill),
    cells: page.querySelectorAll(".grid td").length,
    cell: page.querySelector(".grid td").getBoundingClientRect().width,
  };
};
addEventListener("load", () => {
  const seen = [...document.querySelectorAll("iframe")].map(look);
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
"""
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed")


def looked_at(page, folder, *flags):
    """What stands on a page at both widths, and what the browser had to say about it."""
    frames = "".join(
        f'<iframe width={width} height=800 style="border:0" srcdoc="{html.escape(page)}"></iframe>'
        for width in (DESK, PHONE)
    )
    path = folder / "frames.html"
    path.write_text(f"<!doctype html>{frames}<pre id=seen></pre><script>{LOOK}</script>")
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}"),
            *("--dump-dom", *flags, path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    seen = json.loads(re.search(r"<pre id=.seen.>(.*?)</pre>", done.stdout)[1])
    return seen, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    make_suite_folder(folder, Plan(envs=("go to", "pick up"), tasks=40))
    return write_report(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def light(page, tmp_path_factory):
    return looked_at(page, tmp_path_factory.mktemp("light"))


def test_nothing_is_said_on_the_console(light):
    assert light[1] == []


def test_what_breaks_the_policy_is_said(page, tmp_path):
    _, said = looked_at(page.replace("<main>", "<main><script>1</script>"), tmp_path)
    assert any("Content Security Policy" in line for line in said)


@pytest.mark.parametrize("screen", [0, 1], ids=["desk", "phone"])
def test_the_page_does_not_scroll_sideways(light, screen):
    seen = light[0][screen]
    assert seen["width"] == (DESK, PHONE)[screen]
    assert seen["scroll"] <= seen["width"]


def test_wide_tables_scroll_inside_their_boxes_on_a_phone(light):
    assert light[0][1]["wide"]


@pytest.mark.parametrize("screen", [0, 1], ids=["desk", "phone"])
def test_figures_and_grids_are_whole(light, screen):
    seen = light[0][screen]
    assert seen["figures"] == 3 * (2 * 4 + 2) and seen["hidden"] == 0 and seen["cut"] == []
    assert seen["cells"] == 2 * 2 * 8 * 40 and seen["cell"] >= 3


def test_a_light_and_a_dark_page_can_be_read(light, page, tmp_path):
    dark = looked_at(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    for seen in light[0]:
        assert seen["paper"] > 0.9 and seen["ink"] < 0.3 and seen["label"] < 0.4
    for seen in dark[0]:
        assert seen["paper"] < 0.2 and seen["ink"] > 0.7 and seen["label"] > 0.6
