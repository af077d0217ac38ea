"""Accuracy by experiment and split over seeds: one row each, and what its positions are told about the task.

Samples of one seed are not independent of each other, so the pooled interval is drawn over seeds first, then samples;
beside it stand the worst seed and how many seeds reach the level by the lower end of their own interval. Of a seed
whose answers a gate withholds nothing is known but that it was trained: it counts among those that do not reach it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from spakc.check.check_experiment import count_parameters
from spakc.check.checked import CheckedModule
from spakc.evidence import Row
from spakc.figures import key_of
from spakc.ir.model import queries
from spakc.ir.module import Module
from spakc.ir.ops import Query, Ref
from spakc.record import record
from spakc.records import asked_by
from spakc.statistics import Counts, combined, wilson

LEVEL = 0.99
"""Seeds are counted whose lower end of the 95 % interval is at least this."""

TOLD = (
    "index = digit_run tells a token its place in its number, from the left alone: an alignment that the task gives, "
    "not one that the model found."
)
"""What a reader must know of every table with such positions."""


@record
class Entry:
    """One experiment at one point under one profile, on one split by one readout. `hits` of `totals`, an entry a seed;
    of `withheld` seeds more a gate shows no answers; `positions` as the file writes them, `told` whether they know the
    task."""

    experiment: str
    parameters: int
    positions: str
    told: bool
    split: str
    readout: str
    counts: Counts
    withheld: int = 0

    @property
    def shares(self) -> list[float]:
        return [k / n for k, n in zip(self.counts.hits, self.counts.totals, strict=True)]

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of `HEAD`."""
        shares, counts = self.shares, self.counts
        lows = [wilson(k, n).low for k, n in zip(counts.hits, counts.totals, strict=True)]
        sure = f"{sum(low >= LEVEL for low in lows)} of {len(lows) + self.withheld}"
        if self.withheld:
            sure += f", {self.withheld} withheld"
        spread = over_seeds = samples = "withheld"
        if shares:
            pooled = combined(lambda values: values[0], [counts], 0.95)
            spread = f"{min(shares):.2%} / {median(shares):.2%} / {max(shares):.2%}"
            over_seeds = f"{pooled.low:.2%} to {pooled.high:.2%}"
            samples = f"{min(counts.totals):,}"
        return (
            self.experiment,
            f"{self.parameters:,}",
            self.positions,
            self.split if self.readout == "last" else f"{self.split}, {self.readout}",
            spread,
            over_seeds,
            sure,
            samples,
        )


HEAD = (
    "experiment",
    "parameters",
    "positions",
    "split",
    "least / median / most",
    "95 % over seeds",
    f"seeds surely ≥ {LEVEL:.0%}",
    "samples a seed",
)


def entries(module: Module, runs: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """`runs` are `figures.json` of finished runs. Failed seeds are in, and those of which a gate withholds a split that
    others answered."""
    groups: dict[tuple[str, str, str], dict[int, tuple[int, int]]] = {}
    sizes: dict[str, int] = {}
    models: dict[str, str] = {}
    hidden: dict[tuple[str, str], set[int]] = {}
    for figures in runs:
        label = " ".join(filter(None, (figures["experiment"], figures["point"], figures["profile"])))
        sizes[label], models[label] = figures["parameters"], figures["experiment"]
        for row in figures["rows"]:
            if "correct" in row:
                seeds = groups.setdefault((label, row["split"], row["readout"]), {})
                seeds[figures["seed"]] = row["correct"], row["n"]
        for split in figures["hidden"]:
            hidden.setdefault((label, split), set()).add(figures["seed"])
    answered = {split for _, split, _ in groups}
    for label, split in sorted(hidden.keys() - {(label, split) for label, split, _ in groups}):
        if split in answered:
            groups[label, split, "last"] = {}
    found = []
    for (label, split, readout), seeds in groups.items():
        hits = tuple(seeds[seed][0] for seed in sorted(seeds))
        totals = tuple(seeds[seed][1] for seed in sorted(seeds))
        withheld = len(hidden.get((label, split), set()) - seeds.keys())
        positions = _positions(module, models[label])
        found.append(Entry(label, sizes[label], *positions, split, readout, Counts(hits, totals), withheld))
    return found


def recorded(checked: CheckedModule, rows: Iterable[Row]) -> list[Entry]:
    """The same from what the evidence holds of claims, by the latest row of each: what is left where the runs are not
    at hand."""
    module, found = checked.module, dict[tuple[str, str, str], Entry]()
    latest = {
        row.statement: row for row in sorted(rows, key=lambda row: row.date) if "quantities" in row.figures
    }
    for claim in module.claims.values():
        row = latest.get(f"claim {claim.name}")
        if row is None:
            continue
        known = {(q["query"], tuple(q["at"].items())): q for q in row.figures["quantities"] if "hits" in q}
        for asked in asked_by(module, claim):
            counted = known.get((asked.query, tuple(asked.at.items())))
            if counted is None:
                continue
            label = " ".join(filter(None, (asked.experiment, asked.point, row.profile)))
            facts = checked.experiments[asked.experiment]
            parameters = count_parameters(facts, row.profile or None, asked.point or "")
            found[label, asked.split, asked.readout] = Entry(
                label,
                parameters or 0,
                *_positions(module, asked.experiment),
                asked.split,
                asked.readout,
                Counts(tuple(counted["hits"]), tuple(counted["totals"])),
            )
    return list(found.values())


def _positions(module: Module, experiment: str) -> tuple[str, bool]:
    """As text, and whether they know the task."""
    texts = list(dict.fromkeys(positions_of(module, experiment)))
    return ", ".join(texts) or "none", any("digit_run" in text for text in texts)


def positions_of(module: Module, experiment: str) -> Iterator[str]:
    """The positions that the experiment's model is given, as text."""
    model = module.models[module.experiments[experiment].model]
    for part in (*model.parts.values(), model.forward):
        for node in queries(part.body):
            positions = dict(node.named).get("positions")
            if isinstance(positions, Query | Ref):
                yield key_of(positions)


def render_table(found: Sequence[Entry]) -> list[str]:
    """Lines of plain text, with what must be known of the positions below."""
    rows = [HEAD, *(entry.cells for entry in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [*lines, *([TOLD] if any(entry.told for entry in found) else [])]
