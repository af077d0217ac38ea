"""Figures of finished runs → rows of evidence for the gates, laws of data and claims that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from spakc.check.statements import Statement, statements
from spakc.evidence import Row, Subject, row_of_run
from spakc.figures import key_of
from spakc.ir.experiment import Claim, Gate
from spakc.ir.module import Module
from spakc.ir.ops import Expr, Query, Ref
from spakc.ir.visit import walk
from spakc.record import record


@record
class Finished:
    """One finished run: the `figures.json` of one seed of an experiment (`spak_runtime/training/run.py`)."""

    experiment: str
    figures: Mapping[str, Any]


@record
class Where:
    """The machine of the runs: the declared device that it is (empty if the file has none), its architecture."""

    target: str
    arch: str


def where_of(module: Module, name: str, archs: Sequence[str]) -> Where:
    """`name` is what the driver calls the device, `archs` the architectures whose code it runs."""
    for arch in archs:
        fitting = [d.name for d in module.devices.values() if d.arch == arch and d.name in module.targets]
        named = [each for each in fitting if each.lower() in name.lower()]
        if fitting:
            return Where((named or fitting)[0], arch)
    return Where("", archs[0])


def rows_of(module: Module, runs: Sequence[Finished], now: Subject, where: Where) -> list[Row]:
    """One row a statement that the runs say something about."""
    rows = []
    for statement in statements(module):
        about = [run for run in runs if run.experiment in statement.experiments]
        if statement.kind == "gate":
            rows += [
                _row(statement, run, now, where, seen) for run in about if (seen := _gate(statement, run))
            ]
        elif statement.kind == "law" and statement.datasets:
            tested = [(run, found) for run in runs if (found := _tested(statement, run)) is not None]
            rows += [_row(statement, run, now, where, found) for run, found in tested[-1:]]
        elif statement.kind == "claim" and about:
            quantities = list(_quantities(statement.body, about))
            if quantities:
                rows.append(_row(statement, about[-1], now, where, {"quantities": quantities}))
    return rows


def _row(statement: Statement, run: Finished, now: Subject, where: Where, figures: Mapping[str, Any]) -> Row:
    """A claim is about all seeds together, a gate about one. Data do not depend on a profile."""
    said = run.figures
    versions = sorted(said["versions"].items())
    return row_of_run(
        statement,
        now,
        figures,
        target=where.target,
        arch=where.arch,
        profile="" if statement.kind == "law" else said["profile"] or "",
        device=said["device"],
        toolchain=" ".join(f"{name} {version}" for name, version in versions),
        date=said["date"],
        seed=said["seed"] if statement.kind == "gate" else None,
    )


# ---- gates and data -------------------------------------------------------------------------------------


def _gate(statement: Statement, run: Finished) -> dict[str, Any] | None:
    """What the gate saw, by query. A gate that was not reached saw nothing."""
    gate = statement.body
    assert isinstance(gate, Gate)
    found = next((g for g in run.figures["gates"] if g["name"] == gate.name), None)
    if found is None:
        return None
    seen: dict[str, Any] = {}
    for verdict in found["verdicts"]:
        seen |= verdict["figures"]
    queries = {}
    for query in _queries([r.proposition for r in gate.require]):
        key = key_of(query)
        if query.name == "laws":
            queries[key] = all(finding["holds"] for finding in found["findings"])
        elif key in seen:
            queries[key] = seen[key]
    return {"observations": [{"queries": queries}]}


def _tested(statement: Statement, run: Finished) -> dict[str, Any] | None:
    """How many documents a law of the data was tested on in a run, and the first that broke it."""
    name = statement.body.name
    for gate in run.figures["gates"]:
        for finding in gate["findings"]:
            if finding["name"] == name and finding["cases"]:
                broken = {} if finding["holds"] else {"first": finding["detail"]}
                return {"tested": {"cases": finding["cases"], "failures": int(not finding["holds"])} | broken}
    return None


# ---- claims ---------------------------------------------------------------------------------------------


def _quantities(claim: Claim, runs: Sequence[Finished]) -> Iterator[dict[str, Any]]:
    """What the runs counted or measured of each query of a claim, one entry a seed."""
    for query in dict.fromkeys(_queries([claim.proposition])):
        named = dict(query.named)
        entity = query.args[0] if query.args else None
        mine = [run for run in runs if isinstance(entity, Ref) and run.experiment == entity.name]
        if query.name == "accuracy" and mine and len(query.args) > 1:
            yield from _accuracy(query, named, mine)
        elif query.name == "memory":
            samples = [run.figures["memory"] for run in mine if run.figures["memory"] is not None]
            if samples:
                yield {"query": key_of(query), "at": {}, "samples": samples, "rounds": "seeds"}


def _accuracy(query: Query, named: Mapping[str, Expr], runs: Sequence[Finished]) -> Iterator[dict[str, Any]]:
    split = query.args[1]
    wanted = split.name.rpartition(".")[2] if isinstance(split, Ref) else ""
    readout = _word(named.get("readout"), "last")
    found = [
        row
        for run in runs
        for row in run.figures["rows"]
        if row["split"] == wanted and row["readout"] == readout and "correct" in row
    ]
    if len(found) == len(
        runs
    ):  # a seed whose figures are withheld leaves the claim open, it does not drop out
        hits, totals = [row["correct"] for row in found], [row["n"] for row in found]
        yield {"query": key_of(query), "at": {}, "hits": hits, "totals": totals}


def _word(expr: Expr | None, default: str) -> str:
    return expr.name if isinstance(expr, Ref) else default


def _queries(exprs: Iterable[Expr]) -> list[Query]:
    return [node for expr in exprs for node in walk(expr) if isinstance(node, Query)]
