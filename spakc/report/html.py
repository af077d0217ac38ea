"""The page itself. Pure; nothing in it is fetched, and nothing in it runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from spakc.record import record
from spakc.report.svg import Axis, Series, bars, chart
from spakc.report.table import HEAD, TOLD, Entry
from spakc.report.times import Roof, Timing
from spakc.statistics import wilson
from spakc.status import StatementStatus, evidence_text, summary

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem } h3 { font-size: 1rem; margin-bottom: .3rem }
table { border-collapse: collapse; margin: .6rem 0 } th { text-align: left }
td, th { padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
code { font: 13px ui-monospace, monospace } .note, figcaption { color: #555; font-size: .87rem }
.holds { color: #1a7f37 } .violated { color: #b42318 } .undecided { color: #8a6100 }
.absent { color: #555; font-style: italic }
figure { margin: .8rem 0 } svg { max-width: 100%; height: auto }
svg text { font: 12px system-ui, sans-serif; fill: #222 }
svg .grid { stroke: #e4e4e4 } svg .axis { stroke: #444; fill: none }
"""


@record
class Run:
    """A finished run: its `figures.json` and the (step, loss) pairs of its log."""

    figures: Mapping[str, Any]
    losses: Sequence[tuple[int, float]]

    @property
    def name(self) -> str:
        said = self.figures
        point = f" {said['point']}" if said["point"] else ""
        return f"{said['experiment']}{point} ({said['profile'] or 'as stated'}), seed {said['seed']}"


@record
class Ladder:
    """What `spakc bench --ladder` timed: for each call, who computed it and the rates in FLOP/s."""

    device: str
    date: str
    calls: Sequence[tuple[str, Sequence[tuple[str, Sequence[float]]]]]


@record
class Report:
    """Everything on the page. `left_out` are runs in the folder of another version of the file."""

    title: str
    page: Sequence[StatementStatus]
    runs: Sequence[Run]
    left_out: int
    results: Sequence[Entry]
    timings: Sequence[Timing]
    roofs: Mapping[str, Roof]
    ladder: Ladder | None


def render_html(report: Report) -> str:
    """The whole document."""
    claims = [entry for entry in report.page if entry.statement.kind == "claim"]
    sections = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p>{escape(summary(report.page))}</p>",
        _section("Claims", _statements(claims) if claims else _absent("The file makes no claims.")),
        _section("Exact answers over seeds", _results(report.results)),
        _section("Runs", _runs(report)),
        _section("Loss", _losses(report.runs)),
        _section("Accuracy by digits, loss of text", _accuracy(report.runs)),
        _section("Ladder", _ladder(report)),
        _section("Roofline", _rooflines(report)),
        _section("Every statement", f"<details><summary>show</summary>{_statements(report.page)}</details>"),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(report.title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style>'
    )
    body = "\n".join(sections)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


# ---- statements ---------------------------------------------------------------------------------------


def _statements(page: Sequence[StatementStatus]) -> str:
    """What each says, its verdict, how it is known and since when; those that do not apply are left out."""
    rows = []
    for entry in page:
        if not entry.status.applicable:
            continue
        stale = f"stale: {', '.join(entry.stale_because)}" if entry.stale_because else ""
        notes = "".join(
            f'<div class="note">{escape(text)}</div>' for text in (entry.status.note, stale) if text
        )
        where = " ".join(part for part in (entry.device, entry.date[:10]) if part)
        verdict = entry.status.verdict.value
        rows.append(
            (
                f"<b>{escape(entry.statement.id)}</b><br><code>{escape(entry.statement.text)}</code>{notes}",
                escape(entry.statement.target),
                f'<span class="{verdict}">{verdict}</span>',
                escape(evidence_text(entry)),
                escape(where),
            )
        )
    return _table(("statement", "target", "verdict", "evidence", "measured on"), rows)


# ---- runs ---------------------------------------------------------------------------------------------


def _runs(report: Report) -> str:
    note = ""
    if report.left_out:
        note = f'<p class="note">{report.left_out} runs of an earlier state of the file are left out.</p>'
    if not report.runs:
        return _absent("No run: `spakc run` makes one.") + note
    rows = []
    for run in report.runs:
        said = run.figures
        gates = ", ".join(f"{g['name']} {'holds' if g['holds'] else 'fails'}" for g in said["gates"])
        loss = "" if said["loss"] is None else f"{said['loss']:.4f}"
        steps = f"{said['steps']:,} in {said['seconds']:.0f} s"
        rows.append(
            (escape(run.name), f"{said['parameters']:,}", steps, loss, escape(said["device"]), escape(gates))
        )
    table = _table(("run", "parameters", "steps", "loss", "device", "gates"), rows, numbers=(1, 3))
    results = [(run, row) for run in report.runs for row in run.figures["rows"]]
    shares = [
        (
            escape(run.name),
            escape(f"{row['split']}, {row['readout']}"),
            f"{row['correct']:,} of {row['n']:,}",
            "{:.1%} to {:.1%}".format(*row["interval"]),
        )
        for run, row in results
        if "correct" in row
    ]
    losses = [
        (escape(run.name), escape(row["split"]), f"{row['loss']:.4f}")
        for run, row in results
        if "loss" in row
    ]
    withheld = [
        f"<li>{escape(run.name)}: {escape(split)} is withheld: {escape(why)}</li>"
        for run in report.runs
        for split, why in run.figures["hidden"].items()
    ]
    if shares:
        table += _table(("run", "split, readout", "exact answers", "95 % interval"), shares, numbers=(2,))
    if losses:
        table += _table(("run", "split", "loss"), losses, numbers=(2,))
    return table + (f"<ul>{''.join(withheld)}</ul>" if withheld else "") + note


def _results(results: Sequence[Entry]) -> str:
    if not results:
        return _absent("Not measured: no run has answers.")
    rows = [tuple(map(escape, entry.cells)) for entry in results]
    told = f'<p class="note">{escape(TOLD)}</p>' if any(entry.told for entry in results) else ""
    return _table(HEAD, rows, numbers=(1, 4, 5, 6, 7)) + told


def _losses(runs: Sequence[Run]) -> str:
    series = [
        Series(run.name, [step for step, _ in run.losses], [loss for _, loss in run.losses])
        for run in runs
        if run.losses
    ]
    if not series:
        return _absent("Not measured: no run has a log.")
    return _figure(chart(series, Axis("step"), Axis("training loss", log=True)), _only(series))


def _accuracy(runs: Sequence[Run]) -> str:
    series = []
    for run in runs:
        found = by_digits(run.figures)
        if found:
            digits = sorted(found)
            intervals = [wilson(*found[d]) for d in digits]
            series.append(
                Series(
                    run.name,
                    digits,
                    [found[d][0] / found[d][1] for d in digits],
                    [(each.low, each.high) for each in intervals],
                    dots=True,
                    hints=[f"{d} digits: {found[d][0]} of {found[d][1]}" for d in digits],
                )
            )
    shown = ""
    if series:
        picture = chart(series, Axis("digits of the longest number"), Axis("exact match", low=0.0, high=1.0))
        caption = "Whole answers with their end token; bars are 95 % intervals."
        shown = _figure(picture, _only(series) + caption)
    shown += _text_losses(runs)
    return shown or _absent("Not measured: no run has answers with digits, or a loss of text.")


def _text_losses(runs: Sequence[Run]) -> str:
    """What a model of text is judged by."""
    rows = [
        (f"{run.name}: {row['split']}", row["loss"], (row["loss"], row["loss"]))
        for run in runs
        for row in run.figures["rows"]
        if "loss" in row
    ]
    caption = "Loss of text at the end of training, in nats a token; what it is a part of stands before it."
    return _figure(bars(rows, "nats"), caption) if rows else ""


def by_digits(figures: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """Right answers and answers by the digits of the longest number: plain readout, all splits that are not
    withheld."""
    found: dict[int, tuple[int, int]] = {}
    for row in figures["rows"]:
        if row["readout"] == "last":
            for digits, (correct, count) in row.get("by_digits", {}).items():
                before = found.get(int(digits), (0, 0))
                found[int(digits)] = before[0] + correct, before[1] + count
    return found


# ---- times --------------------------------------------------------------------------------------------


def _ladder(report: Report) -> str:
    parts = []
    if report.ladder is not None:
        for call, rungs in report.ladder.calls:
            parts.append(_bars(call, rungs, f"each schedule; {report.ladder.device}, {report.ladder.date}"))
    groups: dict[tuple[str, str, str], list[Timing]] = {}
    for each in report.timings:
        groups.setdefault((each.claim, each.call, each.target), []).append(each)
    for (claim, call, _), timed in groups.items():
        rungs = [(t.library or call.partition("(")[0], t.rates) for t in timed]
        parts.append(_bars(call, rungs, f"claim {claim}; {timed[0].device}, {timed[0].date[:10]}"))
    missing = "Not measured: `spakc bench` and `spakc bench --ladder` do, on a GPU."
    return "".join(parts) or _absent(missing)


def _bars(title: str, rungs: Iterable[tuple[str, Sequence[float]]], note: str) -> str:
    rows = [
        (by, statistics.median(rates) / 1e12, (min(rates) / 1e12, max(rates) / 1e12)) for by, rates in rungs
    ]
    return f"<h3>{escape(title)}</h3>" + _figure(bars(rows, "TFLOP/s"), note + "; lines from least to most.")


def _rooflines(report: Report) -> str:
    parts = []
    for target in sorted({each.target for each in report.timings}):
        roof = report.roofs.get(target)
        if roof is not None:
            parts.append(_roofline(roof, [each for each in report.timings if each.target == target]))
    return "".join(parts) or _absent("Not measured: the evidence holds no rates of kernels.")


def _roofline(roof: Roof, timed: Sequence[Timing]) -> str:
    low = min(each.intensity for each in timed) / 2
    high = max(max(each.intensity for each in timed), roof.ridge) * 2
    edge = sorted({low, roof.ridge, high})
    series = [Series("what the device could do", edge, [roof.at(x) / 1e12 for x in edge], dashed=True)]
    for name in dict.fromkeys(each.library or each.call.partition("(")[0] for each in timed):
        mine = [each for each in timed if (each.library or each.call.partition("(")[0]) == name]
        series.append(
            Series(
                name,
                [each.intensity for each in mine],
                [each.rate / 1e12 for each in mine],
                line=False,
                dots=True,
                hints=[f"{each.call}: {each.rate / 1e12:.1f} TFLOP/s" for each in mine],
            )
        )
    picture = chart(series, Axis("FLOP a byte that must move", log=True), Axis("TFLOP/s (median)", log=True))
    note = (
        f"{timed[0].device}, {timed[0].date[:10]}. The roof is documented, not measured: {roof.flops / 1e12:.0f} "
        f"TFLOP/s of dense 16-bit products, {roof.bandwidth / 1e12:.2f} TB/s."
    )
    return f"<h3>{escape(roof.device)}</h3>" + _figure(picture, note)


# ---- pieces -------------------------------------------------------------------------------------------


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>"


def _absent(text: str) -> str:
    return f'<p class="absent">{escape(text)}</p>'


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _only(series: Sequence[Series]) -> str:
    """The name of a single series, which a chart does not show."""
    return f"{series[0].name}. " if len(series) == 1 else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """`rows` are HTML; columns `numbers` stand on the right."""

    def row(cells: Sequence[str], tag: str) -> str:
        marks = [' class="n"' if n in numbers else "" for n in range(len(cells))]
        inner = (f"<{tag}{mark}>{cell}</{tag}>" for cell, mark in zip(cells, marks, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    return f"<table>{row(list(map(escape, head)), 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"
