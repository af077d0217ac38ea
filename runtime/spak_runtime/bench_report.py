"""A picture of rates: for each call one bar a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def plot(calls: Sequence[tuple[str, Sequence[tuple[str, float]]]], path: Path) -> None:
    """Writes a PNG. `calls` are (what was called, its bars), a bar is (who computed it, FLOP/s)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sum(len(bars) + 1 for _, bars in calls)
    figure = Figure(figsize=(9, 0.8 + 0.24 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    place, ticks = 0.0, []
    for call, bars in calls:
        axes.text(0, place, call, fontsize=8, fontweight="bold", va="center")
        for number, (by, rate) in enumerate(bars):
            place += 1
            axes.barh(place, rate / 1e12, color=f"C{number % 10}")
            axes.text(rate / 1e12, place, f" {rate / 1e12:.1f}", fontsize=7, va="center")
            ticks.append((place, by))
        place += 1
    axes.set_yticks([at for at, _ in ticks], [by for _, by in ticks], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("TFLOP/s")
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
