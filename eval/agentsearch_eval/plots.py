"""Figures of a report as inline SVG: success against cost, and paired differences.

Text stays text and colours are CSS variables of the page (`--ink`, `--row-0`, ...), so a
figure follows light and dark mode. Equal numbers give equal bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from agentsearch_eval.metrics import Interval

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

LIGHT = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#8a8a2b",
)  # fmt: skip
"""Colours of the rows: six of Okabe and Ito, 2008, and two after Tol, 2021."""
DARK = (
    "#4d9de0", "#ff7f3f", "#2fbf95", "#e3a0c8", "#f2b84b", "#93d5ff", "#d0699a", "#c3c35c",
)  # fmt: skip
"""The same colours on a dark page."""
MARKERS = {
    "o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★",
    "<": "◀", ">": "▶", "p": "⬟", "h": "⬢",
}  # fmt: skip
"""Matplotlib's markers, and the same shapes as characters."""

INK, SOFT, LINE = "#1c2430", "#5d6878", "#dfe4ea"
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    **{colour: f"var(--row-{i})" for i, colour in enumerate(LIGHT)},
}
LOG_FROM = 20.0
"""Ratio of largest to smallest positive x from which the axis is logarithmic."""
NICE = (1, 2, 2.5, 5, 10)
"""What the distance between two ticks may begin with."""
SPENDS_MORE = 1.25
"""Ratio of largest to smallest cost from which a line joins a row's points."""
FONT = "DejaVu Sans"  # comes with matplotlib, so that layouts are equal everywhere
RC: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "font.family": FONT,
    "font.size": 9.0,
    "text.parse_math": False,  # names may hold dollar signs
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Style:
    """How a row looks wherever it is drawn.

    Attributes:
        colour: index into the palette; None for ceilings, which are grey.
        marker: a key of `MARKERS`.
    """

    colour: int | None
    marker: str

    @property
    def hex(self) -> str:
        """The colour that matplotlib draws with, made a variable afterwards."""
        return SOFT if self.colour is None else LIGHT[self.colour]

    @property
    def glyph(self) -> str:
        """The marker as a character."""
        return MARKERS[self.marker]


def row_styles(rows: Sequence[str], ceilings: Sequence[str] = ()) -> dict[str, Style]:
    """A colour and a marker for each row; `ceilings` are grey and use up no colour."""
    markers, styles, used = list(MARKERS), dict[str, Style](), 0
    for row in rows:
        marker = markers[used % len(markers)]
        styles[row] = Style(used % len(LIGHT), marker)
        if row in ceilings:
            styles[row] = Style(None, "o")
        else:
            used += 1
    return styles


@dataclass(frozen=True)
class Point:
    """One row at one budget: what it cost a task, and how often it succeeded."""

    cost: Interval
    success: Interval


@dataclass(frozen=True)
class Curve:
    """One row over the budgets of one kind."""

    style: Style
    points: tuple[Point, ...]

    @property
    def joined(self) -> bool:
        """Whether it spends more where it may, so that its points are a curve."""
        costs = [point.cost.estimate for point in self.points]
        return max(costs) > SPENDS_MORE * min(costs)


def success_against(curves: Sequence[Curve], cost: str, salt: str = "") -> str:
    """Success over what it cost: lines with 95 % bands, or points with bars.

    A row with one budget, or that spends the same at all, is points. Ceilings, whose cost
    says nothing, are dotted lines across.

    Args:
        curves: of one environment.
        cost: label of the horizontal axis, such as `calls per task`.
        salt: keeps names apart where a page holds the same figure twice.

    Returns:
        An `<svg>` element.
    """
    with rc_context(RC):
        figure = Figure(figsize=(3.7, 2.9), layout="constrained")
        axes = figure.add_subplot()
        for curve in curves:
            if curve.style.colour is None:
                for point in curve.points:
                    axes.axhline(point.success.estimate, color=SOFT, ls=":", lw=1.2)
            else:
                _draw_curve(axes, curve)
        drawn = [c for c in curves if c.style.colour is not None]
        _scale_cost(axes, [p.cost.estimate for c in drawn for p in c.points])
        highest = max((p.success.high for c in curves for p in c.points), default=1.0)
        axes.set_ylim(0.0, min(1.05, max(1.1 * highest, 0.05)))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.set(xlabel=cost, ylabel="success")
        axes.grid(axis="y")
        return as_svg(figure, f"success against {cost}", salt)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    points = sorted(curve.points, key=lambda p: p.cost.estimate)
    colour, marker = curve.style.hex, curve.style.marker
    x = [p.cost.estimate for p in points]
    y = [p.success.estimate for p in points]
    low, high = [p.success.low for p in points], [p.success.high for p in points]
    if curve.joined:
        axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
        axes.plot(x, y, color=colour, marker=marker, ms=5.5, lw=1.5)
        return
    axes.errorbar(
        x,
        y,
        xerr=_lengths(x, [p.cost.low for p in points], [p.cost.high for p in points]),
        yerr=_lengths(y, low, high),
        color=colour,
        fmt=marker,
        ms=5.5,
        elinewidth=0.9,
    )


def _lengths(
    middle: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Lengths of error bars below and above; a bar that does not hold its point is cut."""
    below = [max(m - a, 0.0) for m, a in zip(middle, low, strict=True)]
    above = [max(b - m, 0.0) for m, b in zip(middle, high, strict=True)]
    return below, above


def _scale_cost(axes: Axes, costs: Sequence[float]) -> None:
    """Logarithmic where the range asks for it; 0, such as the calls of a random policy, stays."""
    positive = [x for x in costs if x > 0]
    if positive and max(positive) / min(positive) >= LOG_FROM:
        if len(positive) < len(costs):
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
            axes.set_xlim(left=-0.1 * min(positive))
        else:
            axes.set_xscale("log")
        decades = math.log10(max(positive) / min(positive))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
        axes.xaxis.set_minor_locator(NullLocator())
        if len(positive) < len(costs):
            axes.set_xticks([0.0, *_decades(min(positive), max(positive))])
    else:
        axes.set_xlim(left=0.0 if min(costs, default=0.0) > 0 else None)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=NICE))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`, one below where there is none between."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    return [10.0**k for k in range(min(first, last), last + 1)]


def _short(value: float, _position: int | None = None) -> str:
    """`1,500` as `1.5k`; other numbers with as few digits as they need."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Difference:
    """One line of a forest plot."""

    row: str
    style: Style
    difference: Interval


def forest(groups: Mapping[str, Sequence[Difference]], versus: str, salt: str = "") -> str:
    """Differences paired by task with their 95 % intervals; hollow where unreliable.

    Args:
        groups: lines by the name of their budget.
        versus: the row that they are taken against.
        salt: keeps names apart where a page holds the same figure twice.

    Returns:
        An `<svg>` element.
    """
    labels: list[str] = []
    with rc_context(RC):
        lines = sum(len(group) + 1 for group in groups.values())
        figure = Figure(figsize=(5.2, 0.6 + 0.23 * lines), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.0, color=SOFT, lw=1.0)
        for budget, group in groups.items():
            labels.append(budget)
            for line in group:
                _draw_difference(axes, line, len(labels))
                labels.append(line.row)
        axes.set_yticks(range(len(labels)), labels)
        headings = set(_starts(groups))
        for i, tick in enumerate(axes.get_yticklabels()):
            tick.set_fontweight("bold" if i in headings else "normal")
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=NICE, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(_signed))
        axes.set_xlabel(f"points of success more than {versus}")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return as_svg(figure, f"differences to {versus}", salt)


def _draw_difference(axes: Axes, line: Difference, y: int) -> None:
    found = line.difference
    middle, low, high = (100 * v for v in (found.estimate, found.low, found.high))
    axes.errorbar(
        [middle],
        [y],
        xerr=_lengths([middle], [low], [high]),
        color=line.style.hex,
        fmt=line.style.marker,
        fillstyle="full" if found.reliable else "none",
        ls="none" if found.reliable else ":",
        ms=6,
        elinewidth=1.4,
    )


def _starts(groups: Mapping[str, Sequence[Difference]]) -> list[int]:
    """Where the heading of each group stands."""
    starts, at = list[int](), 0
    for group in groups.values():
        starts.append(at)
        at += len(group) + 1
    return starts


def _signed(value: float, _position: int | None = None) -> str:
    return f"{value:+.0f}".replace("-", "−") if value else "0"


def as_svg(figure: Figure, name: str, salt: str = "") -> str:
    """The figure as an `<svg>` element to stand inside a page.

    Colours become variables, the font that of the page, and only names that the figure
    itself refers to are kept, so that several figures share a page.

    Args:
        figure: drawn under `RC`.
        name: said by screen readers.
        salt: further salt of the names, beside `name`.
    """
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": f"{name} {salt}"}):
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<style[^>]*>.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S
    )
    referred = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in referred else "", svg)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"([^>]*?) height="[^"]*"', r"\1\2", svg)
    svg = svg.replace("xlink:href", "href").replace(f"'{FONT}'", "system-ui, sans-serif")
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(name)}"', 1).strip()
