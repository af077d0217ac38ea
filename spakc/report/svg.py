"""Charts as SVG text. Pure: the same figures give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from spakc.record import record

COLOURS = ("#1f6f8b", "#d1495b", "#66a182", "#8d6a9f", "#edae49", "#3d405b", "#a44a3f", "#4f772d")
WIDTH, HEIGHT = 620, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 16, 46
_BAR, _LABEL = 18, 140
_LETTER, _LABEL_LETTERS = 7.0, 46
"""The width that a letter of a label takes at most, on average, and how many letters a label has at most."""


@record
class Series:
    """Points (x, y), with `intervals` (low, high) of each y if there are any. `line` joins the points, `dots`
    marks them. `hints` are what a pointer over each mark shows."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[tuple[float, float]] = ()
    line: bool = True
    dots: bool = False
    dashed: bool = False
    hints: Sequence[str] = ()


@record
class Axis:
    """`low` and `high` widen the axis beyond its points. On a logarithmic one there is nothing below or at 0."""

    title: str
    log: bool = False
    low: float | None = None
    high: float | None = None


@record
class _Scale:
    """Values to places from `start` to `stop`."""

    low: float
    high: float
    log: bool
    start: float
    stop: float

    def at(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        return _decades(self.low, self.high) if self.log else _steps(self.low, self.high)


def chart(series: Sequence[Series], x: Axis, y: Axis) -> str:
    """Lines and points over two axes, with a legend below where there is more than one series. Points that a
    logarithmic axis cannot show are left out."""
    shown = [_visible(each, x.log, y.log) for each in series]
    across = _scale([v for s in shown for v in s.x], x, _LEFT, WIDTH - _RIGHT)
    tall = [v for s in shown for v in s.y] + [end for s in shown for pair in s.intervals for end in pair]
    up = _scale(tall, y, HEIGHT - _BOTTOM, _TOP)
    body = [_frame(across, up, x, y)]
    body += [_drawn(each, across, up, COLOURS[n % len(COLOURS)]) for n, each in enumerate(shown)]
    legend, height = _legend(shown) if len(shown) > 1 else ("", 0)
    return _svg(HEIGHT + height, "".join(body) + legend)


def bars(rows: Sequence[tuple[str, float, tuple[float, float]]], unit: str) -> str:
    """Horizontal bars from 0: (label, value, the ends of its spread). Long labels take from the bars, and too long ones
    are cut in the middle."""
    most = max([high for _, _, (_, high) in rows] + [value for _, value, _ in rows] + [1e-300])
    labels = [_short(label, _LABEL_LETTERS) for label, _, _ in rows]
    left = max([_LABEL, *(10 + _LETTER * len(label) for label in labels)])
    span = WIDTH - left - 16 - _LETTER * (6 + len(unit))
    body = []
    for number, (label, value, (low, high)) in enumerate(rows):
        top, middle = number * (_BAR + 6) + 4, number * (_BAR + 6) + 4 + _BAR / 2
        width, ends = value / most * span, [left + end / most * span for end in (low, high)]
        body.append(
            f'<text x="{left - 6:.0f}" y="{middle + 4:.1f}" text-anchor="end">{escape(labels[number])}'
            f"<title>{escape(label)}</title></text>"
            f'<rect x="{left:.0f}" y="{top}" width="{width:.1f}" height="{_BAR}" '
            f'fill="{COLOURS[number % len(COLOURS)]}"/>'
            f'<path d="M{ends[0]:.1f} {middle:.1f}H{ends[1]:.1f}" stroke="#222" fill="none"/>'
            f'<text x="{max(left + width, ends[1]) + 6:.1f}" y="{middle + 4:.1f}">{number_text(value)} '
            f"{escape(unit)}</text>"
        )
    return _svg(len(rows) * (_BAR + 6) + 8, "".join(body))


def heat(
    columns: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]], across: str, low: float, high: float
) -> str:
    """A cell for every value of every row, light at `low` and dark at `high`; rows may be of different lengths."""
    left, top = 130, 34
    width, height = (WIDTH - left - 10) / max(1, len(columns)), 22
    body = [f'<text x="{left}" y="12">{escape(across)}</text>']
    every = max(1, len(columns) // 16)
    for n, column in enumerate(columns[::every]):
        at = left + (n * every + 0.5) * width
        body.append(f'<text x="{at:.1f}" y="{top - 6}" text-anchor="middle">{escape(column)}</text>')
    for n, (name, values) in enumerate(rows):
        y = top + n * height
        body.append(f'<text x="{left - 6}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        for place, value in enumerate(values):
            share = min(1.0, max(0.0, (value - low) / (high - low or 1.0)))
            shade = "#" + "".join(
                f"{round(a + (b - a) * share):02x}" for a, b in zip(_LIGHT, _DARK, strict=True)
            )
            hint = f"{name}, {columns[place]}: {number_text(value)}"
            body.append(
                f'<rect x="{left + place * width:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{shade}">'
                f"<title>{escape(hint)}</title></rect>"
            )
    return _svg(top + len(rows) * height + 8, "".join(body))


_LIGHT, _DARK = (240, 246, 248), (16, 64, 88)


def number_text(value: float) -> str:
    """A figure in at most four digits."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")


def _short(label: str, most: int) -> str:
    """A label of at most so many letters: its begin and its end tell it from others."""
    if len(label) <= most:
        return label
    return f"{label[: most // 2]}…{label[len(label) - (most - most // 2 - 1) :]}"


# ---- parts --------------------------------------------------------------------------------------------


def _svg(height: float, body: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img">{body}</svg>'


def _visible(series: Series, log_x: bool, log_y: bool) -> Series:
    kept = [
        n
        for n, (x, y) in enumerate(zip(series.x, series.y, strict=True))
        if math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x) and (y > 0 or not log_y)
    ]
    return Series(
        series.name,
        [series.x[n] for n in kept],
        [series.y[n] for n in kept],
        [series.intervals[n] for n in kept] if series.intervals else (),
        series.line,
        series.dots,
        series.dashed,
        [series.hints[n] for n in kept] if series.hints else (),
    )


def _scale(values: Sequence[float], axis: Axis, start: float, stop: float) -> _Scale:
    ends = [*values, *(end for end in (axis.low, axis.high) if end is not None)] or [1.0]
    low, high = min(ends), max(ends)
    if axis.log:
        return _Scale(low / 1.15, high * 1.15, True, start, stop)
    margin = (high - low or abs(high) or 1.0) * 0.03
    return _Scale(low - margin, high + margin, False, start, stop)


def _steps(low: float, high: float) -> list[float]:
    """About five round numbers."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * f for f in (1, 2, 5, 10) if unit * f >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 times them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    every = max(1, (last - first) // 8)
    found = [f * 10.0**n for n in range(first, last + 1, every) for f in factors]
    return [v for v in found if low <= v <= high]


def _frame(across: _Scale, up: _Scale, x: Axis, y: Axis) -> str:
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    parts = []
    for tick in across.ticks():
        at = across.at(tick)
        parts.append(f'<path d="M{at:.1f} {top}V{bottom}" class="grid"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{number_text(tick)}</text>')
    for tick in up.ticks():
        at = up.at(tick)
        parts.append(f'<path d="M{left} {at:.1f}H{right}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{number_text(tick)}</text>')
    middle = (top + bottom) / 2
    parts.append(f'<path d="M{left} {top}V{bottom}H{right}" class="axis"/>')
    parts.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 36}" text-anchor="middle">{escape(x.title)}</text>'
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
        f"{escape(y.title)}</text>"
    )
    return "".join(parts)


def _drawn(series: Series, across: _Scale, up: _Scale, colour: str) -> str:
    places = [(across.at(x), up.at(y)) for x, y in zip(series.x, series.y, strict=True)]
    parts = []
    if series.line and len(places) > 1:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dashes = ' stroke-dasharray="6 4"' if series.dashed else ""
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>'
        )
    for (x, _), (low, high) in zip(places, series.intervals, strict=False):
        a, b = up.at(low), up.at(high)
        parts.append(
            f'<path d="M{x:.1f} {a:.1f}V{b:.1f}M{x - 4:.1f} {a:.1f}h8M{x - 4:.1f} {b:.1f}h8" '
            f'stroke="{colour}" fill="none"/>'
        )
    if series.dots or len(places) == 1:
        for n, (x, y) in enumerate(places):
            hint = f"<title>{escape(series.hints[n])}</title>" if series.hints else ""
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">{hint}</circle>')
    return "".join(parts)


def _legend(series: Sequence[Series]) -> tuple[str, float]:
    """One line a series, under the chart, and how tall that is."""
    parts = []
    for n, each in enumerate(series):
        y = HEIGHT + 12 + 18 * n
        parts.append(
            f'<rect x="{_LEFT}" y="{y - 9}" width="18" height="10" fill="{COLOURS[n % len(COLOURS)]}"/>'
            f'<text x="{_LEFT + 26}" y="{y}">{escape(each.name)}</text>'
        )
    return "".join(parts), 18 * len(series) + 10
