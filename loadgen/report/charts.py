"""Drawing: bars, quantile curves, lines; every axis with its unit, every aim a line.

The rule: what is drawn is data handed in, on a light ground of its own, so that a picture reads the
same on a dark page; colours are told apart by the colour-blind (Okabe and Ito), and never alone:
markers, dashes or words say the same.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

_INK, _GRID, _AIM = "#1f2933", "#d5dae0", "#b3261e"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555", "#7a5195")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_WIDTH_IN, _HEIGHT_IN, _DPI = 9.2, 4.8, 130
_LABEL_CHARS = 46
_FAR = 30
_DECADES_TOLD = 200


class Bar(NamedTuple):
    """One bar. `group` chooses its colour; `aim` is a mark at what it should be."""

    label: str
    value: float
    group: str
    aim: float | None = None


class Line(NamedTuple):
    """One line of points. `hollow`: places in it that were not measured. `dashed`: a comparison."""

    label: str
    points: Sequence[tuple[float, float]]
    hollow: frozenset[int] = frozenset()
    dashed: bool = False


class Axis(NamedTuple):
    """What an axis counts, in words with its unit."""

    label: str
    log: bool = False


def axis_for(label: str, values: Iterable[float]) -> Axis:
    """Return an axis that begins at nothing, or a logarithmic one where values lie far apart."""
    shown = list(values)
    far = max(shown) > _FAR * min(shown)
    return Axis(f"{label}, logarithmic" if far else label, log=far)


class Mark(NamedTuple):
    """An aim: a line at a height."""

    label: str
    value: float


def bars(axis: Axis, data: Sequence[Bar]) -> bytes:
    """Draw horizontal bars, the first on top; return the PNG."""
    groups = list(dict.fromkeys(bar.group for bar in data))
    figure, axes = _figure(max(2.4, 0.9 + 0.42 * len(data)))
    places = range(len(data))
    for number, group in enumerate(groups):
        mine = [place for place in places if data[place].group == group]
        values = [data[place].value for place in mine]
        axes.barh(mine, values, color=_COLOURS[number % len(_COLOURS)], label=group, height=0.68)
    if axis.log:
        axes.set_xscale("log")
    _label_bars(axes, data)
    axes.set_yticks(list(places), [_wrapped(bar.label) for bar in data])
    axes.invert_yaxis()
    axes.set_xlabel(axis.label)
    axes.margins(x=0.14)
    axes.grid(visible=True, axis="x", color=_GRID, linewidth=0.8)
    _plain_numbers(axes, x=True, y=False)
    _legend(axes, len(groups))
    return _png(figure)


def quantile_curves(
    axis: Axis, names: Sequence[str], curves: Mapping[str, Mapping[str, float]], aims: Sequence[Bar]
) -> bytes:
    """Draw a curve for each thing over the names of quantiles; return the PNG.

    `aims`: what a quantile (its `label`) of a curve (its `group`) should be at most.
    """
    figure, axes = _figure(_HEIGHT_IN)
    for number, (label, points) in enumerate(curves.items()):
        shown = [(at, points[name]) for at, name in enumerate(names) if name in points]
        axes.plot(
            [at for at, _ in shown],
            [value for _, value in shown],
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            label=_wrapped(label),
            linewidth=1.8,
        )
    for aim in aims:
        at = names.index(aim.label)
        axes.plot([at - 0.3, at + 0.3], [aim.value] * 2, color=_AIM, linestyle="--", linewidth=2)
        text = f"aim {aim.value:g}: {aim.group}"
        axes.annotate(
            text,
            (at, aim.value),
            (0, -11),
            textcoords="offset points",
            ha="center",
            color=_AIM,
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
        )
    axes.set_xticks(range(len(names)), list(names))
    axes.set_xlim(-0.4, len(names) - 0.6)
    axes.set_xlabel("quantile")
    axes.set_ylabel(axis.label)
    if axis.log:
        axes.set_yscale("log")
    axes.grid(visible=True, axis="y", color=_GRID, linewidth=0.8)
    _plain_numbers(axes, x=False, y=True)
    _legend(axes, 2)
    return _png(figure)


def lines(x: Axis, y: Axis, data: Sequence[Line], marks: Sequence[Mark] = ()) -> bytes:
    """Draw lines; return the PNG."""
    figure, axes = _figure(_HEIGHT_IN)
    for number, line in enumerate(data):
        colour = _COLOURS[number % len(_COLOURS)]
        xs, ys = [one for one, _ in line.points], [one for _, one in line.points]
        style = "--" if line.dashed else "-"
        axes.plot(xs, ys, color=colour, linestyle=style, linewidth=1.8)
        filled = [at for at in range(len(xs)) if at not in line.hollow]
        marker = "" if line.dashed else _MARKERS[number % len(_MARKERS)]
        axes.plot(
            [xs[at] for at in filled],
            [ys[at] for at in filled],
            color=colour,
            marker=marker,
            linestyle=style if not filled else "none" if marker else style,
            label=_wrapped(line.label),
        )
        hollow = sorted(line.hollow)
        axes.plot(
            [xs[at] for at in hollow],
            [ys[at] for at in hollow],
            color=colour,
            marker=marker or "o",
            linestyle="none",
            markerfacecolor="white",
        )
    for mark in marks:
        axes.axhline(mark.value, color=_AIM, linestyle="--", linewidth=1.6, label=mark.label)
    for axis, scale, named in (
        (x, axes.set_xscale, axes.set_xlabel),
        (y, axes.set_yscale, axes.set_ylabel),
    ):
        named(axis.label)
        if axis.log:
            scale("log")
    axes.grid(visible=True, color=_GRID, linewidth=0.8)
    _plain_numbers(axes, x=True, y=True)
    _legend(axes, 2)
    return _png(figure)


def dots(axis: Axis, data: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw a row of dots for each thing, a dot for each group, around nothing; return the PNG."""
    groups = list(dict.fromkeys(group for row in data.values() for group in row))
    figure, axes = _figure(max(2.4, 1.0 + 0.34 * len(data)))
    for at, group in enumerate(groups):
        shown = [(row[group], place) for place, row in enumerate(data.values()) if group in row]
        axes.plot(
            [value for value, _ in shown],
            [place for _, place in shown],
            color=_COLOURS[at % len(_COLOURS)],
            marker=_MARKERS[at % len(_MARKERS)],
            markersize=7,
            linestyle="none",
            label=group,
        )
    axes.axvline(0, color=_INK, linewidth=1)
    axes.set_yticks(range(len(data)), [_wrapped(label) for label in data])
    axes.invert_yaxis()
    axes.set_xlabel(axis.label)
    axes.grid(visible=True, color=_GRID, linewidth=0.8)
    _plain_numbers(axes, x=True, y=False)
    _legend(axes, 2)
    return _png(figure)


def _figure(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(
        figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.set_axisbelow(True)
    return figure, axes


def _label_bars(axes: Axes, data: Sequence[Bar]) -> None:
    for place, bar in enumerate(data):
        text = f" {number(bar.value)}"
        at = bar.value if bar.aim is None else max(bar.value, bar.aim)
        axes.annotate(text, (at, place), va="center", fontsize=8.5, color=_INK)
        if bar.aim is not None:
            axes.plot([bar.aim] * 2, [place - 0.42, place + 0.42], color=_AIM, linewidth=2.2)
    if any(bar.aim is not None for bar in data):
        axes.plot([], [], color=_AIM, linewidth=2.2, label="aim")


def number(value: float) -> str:
    """Return a number as it stands beside a bar or at an axis."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M" if value % 1e5 == 0 else f"{value / 1e6:.2f} M"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain_numbers(axes: Axes, *, x: bool, y: bool) -> None:
    for wanted, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if wanted:
            low, high = sorted(axis.get_view_interval())
            if axis.get_scale() == "log" and high < _DECADES_TOLD * low:
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _place: number(value)))
            axis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes, groups: int) -> None:
    if groups > 1:
        axes.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _LABEL_CHARS)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
