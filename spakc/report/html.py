"""The page itself. Pure; nothing in it is fetched, and nothing in it runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from spakc.record import record
from spakc.report.svg import Axis, Series, bars, chart, heat
from spakc.report.table import HEAD, TOLD, Entry
from spakc.report.times import Roof, Timing
from spakc.statistics import wilson
from spakc.status import StatementStatus, evidence_text, stale_text, summary

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem } h3 { font-size: 1rem; margin-bottom: .3rem }
table { border-collapse: collapse; margin: .6rem 0 } th { text-align: left }
td, th { padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } td.n, .whole { white-space: nowrap }
code { font: 13px ui-monospace, monospace } .note, figcaption { color: #555; font-size: .87rem }
.holds { color: #1a7f37 } .violated { color: #b42318 } .undecided { color: #8a6100 }
.absent { color: #555; font-style: italic }
figure { margin: .8rem 0 } .wide { overflow-x: auto } svg { max-width: 100%; min-width: 30rem; height: auto }
td code, td .note { overflow-wrap: anywhere }
@media (max-width: 44rem) {
  .statements th { display: none } .statements tr { display: block; border-bottom: 1px solid #ddd; padding: .4rem 0 }
  .statements td { display: inline-block; border: 0; padding: 0 .9rem 0 0 }
  .statements td:first-child { display: block } .statements td:empty { display: none }
}
svg text { font: 12px system-ui, sans-serif; fill: #222 }
svg .grid { stroke: #e4e4e4 } svg .axis { stroke: #444; fill: none }
"""


@record
class Run:
    """A finished run: its `figures.json` and the (step, loss) pairs of its log."""

    figures: Mapping[str, Any]
    losses: Sequence[tuple[int, float]]

    @property
    def experiment(self) -> str:
        """The experiment, its point of a sweep and its profile."""
        said = self.figures
        point = f" {said['point']}" if said["point"] else ""
        return f"{said['experiment']}{point} ({said['profile'] or 'as stated'})"

    @property
    def name(self) -> str:
        return f"{self.experiment}, seed {self.figures['seed']}"


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
    parts = [
        ("Claims", _statements(claims) if claims else "", "the file makes none"),
        ("Exact answers over seeds", _results(report.results), "no run has answers"),
        ("Runs", _runs(report), "`spakc run` makes them"),
        ("Loss", _losses(report.runs), "no run has a log"),
        (
            "Accuracy by digits, loss of text",
            _accuracy(report.runs),
            "no run has answers with digits, or a loss of text",
        ),
        ("Loops", _loops(report.runs), "no run has a model whose loops are read out"),
        ("Ladder", _ladder(report), "`spakc bench` and `spakc bench --ladder` measure it, on a GPU"),
        ("Roofline", _rooflines(report), "the evidence holds no rates of kernels"),
    ]
    missing = [f"<li>{escape(title)}: {escape(why)}</li>" for title, body, why in parts if not body]
    every = f"<details><summary>show</summary>{_statements(report.page)}</details>"
    sections = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p>{escape(summary(report.page))}</p>",
        *(_section(title, body) for title, body, _ in parts if body),
        *([_section("Not measured", f'<ul class="absent">{"".join(missing)}</ul>')] if missing else []),
        _section("Every statement", every),
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
        noted = (entry.status.note, *stale_text(entry))
        notes = "".join(f'<div class="note">{escape(text)}</div>' for text in noted if text)
        date = f'<span class="whole">{escape(entry.date[:10])}</span>' if entry.date else ""
        verdict = entry.status.verdict.value
        rows.append(
            (
                f"<b>{escape(entry.statement.id)}</b><br><code>{escape(entry.statement.text)}</code>{notes}",
                escape(entry.statement.target),
                f'<span class="{verdict}">{verdict}</span>',
                escape(evidence_text(entry)),
                f"{escape(entry.device)} {date}".strip(),
            )
        )
    return _table(("statement", "target", "verdict", "evidence", "measured on"), rows, kind="statements")


# ---- runs ---------------------------------------------------------------------------------------------


def _runs(report: Report) -> str:
    note = ""
    if report.left_out:
        runs = "1 run" if report.left_out == 1 else f"{report.left_out} runs"
        note = f'<p class="note">Without {runs} of an earlier state of the file.</p>'
    if not report.runs:
        return note
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
        return ""
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
        return ""
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
                    hints=[f"{d} digit{'s' * (d > 1)}: {found[d][0]} of {found[d][1]}" for d in digits],
                )
            )
    shown = ""
    if series:
        picture = chart(series, Axis("digits of the longest number"), Axis("exact match", low=0.0, high=1.0))
        caption = "Whole answers with their end token; bars are 95 % intervals."
        shown = _figure(picture, _only(series) + caption)
    shown += _text_losses(runs)
    return shown


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


# ---- loops --------------------------------------------------------------------------------------------


def _loops(runs: Sequence[Run]) -> str:
    """Of every experiment with loops: accuracy against the loop that is read out, and where tokens halt."""
    parts = []
    for name in dict.fromkeys(run.experiment for run in runs):
        mine = [run for run in runs if run.experiment == name]
        shown = _against_loops(mine) + _halting(mine)
        if shown:
            parts.append(f"<h3>{escape(name)}</h3>{shown}")
    return "".join(parts)


def _against_loops(runs: Sequence[Run]) -> str:
    """Pooled over seeds, a line a split; the dots are what the halting rule gives at the loops that it takes."""
    found: dict[str, list[tuple[list[int], int]]] = {}
    early: dict[str, list[tuple[float, int, int]]] = {}
    for row in (row for run in runs for row in run.figures["rows"] if "correct" in row):
        if "by_loops" in row:
            seen = row["by_loops"]
            found.setdefault(row["split"], []).append((seen["correct"], seen["n"]))
        elif row["readout"] == "exit" and row.get("loops") is not None:
            early.setdefault(row["split"], []).append((row["loops"], row["correct"], row["n"]))
    if not found:
        return ""
    series = []
    for split, seeds in found.items():
        total = sum(n for _, n in seeds)
        shares = [sum(hits) / total for hits in zip(*(hits for hits, _ in seeds), strict=True)]
        series.append(Series(split, list(range(1, len(shares) + 1)), shares))
    for split, exits in early.items():
        loops = statistics.mean(each for each, _, _ in exits)
        share = sum(hits for _, hits, _ in exits) / sum(n for _, _, n in exits)
        hint = f"{loops:.2f} loops a token, {share:.2%}"
        series.append(Series(f"{split}, early exit", [loops], [share], line=False, dots=True, hints=[hint]))
    picture = chart(series, Axis("loop that is read out"), Axis("exact match", low=0.0, high=1.0))
    return _figure(picture, _only(series) + "All seeds together; loops beyond those trained are shown, too.")


def _halting(runs: Sequence[Run]) -> str:
    """The mean loop at which a token halts, by its place in the answer and by digits, over all seeds."""
    found: dict[int, list[list[float]]] = {}
    for row in (row for run in runs for row in run.figures["rows"] if row["readout"] == "exit"):
        for digits, means in row.get("halting", {}).items():
            found.setdefault(int(digits), []).append(means)
    if not found:
        return ""
    rows = []
    for digits, seeds in sorted(found.items()):
        wide = max(map(len, seeds))
        means = [statistics.mean(means[n] for means in seeds if n < len(means)) for n in range(wide)]
        rows.append(("1 digit" if digits == 1 else f"{digits} digits", means))
    every = [mean for _, means in rows for mean in means]
    columns = [str(n) for n in range(1, max(len(means) for _, means in rows) + 1)]
    picture = heat(columns, rows, "place in the answer", min(every), max(every))
    low, high = (f"{end(every):.2f}" for end in (min, max))
    caption = f"Mean loop at which a token halts: light {low}, dark {high}."
    return _figure(picture, f"Every token halts at loop {low}." if low == high else caption)


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
    return "".join(parts)


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
    return "".join(parts)


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


def _figure(picture: str, caption: str) -> str:
    """Where there is no room for a picture it is moved beneath the edge, lest its text becomes too small to be read."""
    return f'<figure><div class="wide">{picture}</div><figcaption>{escape(caption)}</figcaption></figure>'


def _only(series: Sequence[Series]) -> str:
    """The name of a single series, which a chart does not show."""
    return f"{series[0].name}. " if len(series) == 1 else ""


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), kind: str = "figures"
) -> str:
    """`rows` are HTML; columns `numbers` stand on the right. On a narrow page statements stand one below the other, and
    figures are moved beneath the edge."""

    def row(cells: Sequence[str], tag: str) -> str:
        marks = [' class="n"' if n in numbers else "" for n in range(len(cells))]
        inner = (f"<{tag}{mark}>{cell}</{tag}>" for cell, mark in zip(cells, marks, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    inside = row(list(map(escape, head)), "th") + "".join(row(cells, "td") for cells in rows)
    return f'<div class="wide"><table class="{kind}">{inside}</table></div>'
