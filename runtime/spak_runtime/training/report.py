"""A picture of runs: loss over steps; accuracy by the digits of the numbers, or the loss of text by its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spak_runtime.training.evaluate import wilson
from spak_runtime.training.figures import read_losses


def plot(runs: Sequence[tuple[dict[str, Any], Path]], path: Path) -> None:
    """Writes a PNG of runs, each given by its figures and its folder (for the log). Runs of one experiment
    share a colour. What a gate withheld is not drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracy = figure.subplots(1, 2)
    names = list(dict.fromkeys(_name(figures) for figures, _ in runs))
    for figures, folder in runs:
        colour = f"C{names.index(_name(figures)) % 10}"
        steps, values = _losses(folder / "log.jsonl")
        losses.plot(steps, values, color=colour, linewidth=1, alpha=0.8)
        digits, shares = _by_digits(figures)
        if digits:
            errors = [[s - low for s, low, _ in shares], [high - s for s, _, high in shares]]
            label = f"{_name(figures)}, seed {figures['seed']}"
            accuracy.errorbar(
                digits, [s for s, _, _ in shares], errors, color=colour, marker="o", capsize=3, label=label
            )
    losses.set(xlabel="step", ylabel="loss", yscale="log", title="Training")
    parts = [] if accuracy.has_data() else _text_losses(runs)
    if parts:
        accuracy.barh([name for name, _ in parts], [loss for _, loss in parts], color="C0")
        accuracy.set(xlabel="loss, nats a token", title="Text, at the end of training")
    else:
        accuracy.set(
            xlabel="digits", ylabel="exact match", ylim=(-0.03, 1.03), title="Whole answers, 95 % intervals"
        )
    if accuracy.has_data() and not parts:
        accuracy.legend(fontsize=8)
    temporary = path.with_name(path.name + ".new")
    figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
    temporary.replace(path)


def _name(figures: dict[str, Any]) -> str:
    point = f" {figures['point']}" if figures["point"] else ""
    return f"{figures['experiment']}{point} ({figures['profile'] or 'as stated'})"


def _losses(log: Path) -> tuple[list[int], list[float]]:
    rows = read_losses(log)
    return [step for step, _ in rows], [loss for _, loss in rows]


def _text_losses(runs: Sequence[tuple[dict[str, Any], Path]]) -> list[tuple[str, float]]:
    """The loss of each part of the text of each run, by their names."""
    return [
        (f"{_name(figures)}, seed {figures['seed']}: {row['split']}", row["loss"])
        for figures, _ in runs
        for row in figures["rows"]
        if "loss" in row
    ]


def _by_digits(figures: dict[str, Any]) -> tuple[list[int], list[tuple[float, float, float]]]:
    """Digits, and share with its interval, of the plain readout over all splits."""
    found: dict[int, list[int]] = {}
    for row in figures["rows"]:
        if row["readout"] == "last":
            for digits, (correct, count) in row.get("by_digits", {}).items():
                before = found.setdefault(int(digits), [0, 0])
                found[int(digits)] = [before[0] + correct, before[1] + count]
    digits = sorted(found)
    return digits, [(found[d][0] / found[d][1], *wilson(*found[d])) for d in digits]
