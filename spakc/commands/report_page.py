"""Reads what the report is made of (runs, evidence, a ladder) and writes the page. An edge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from spak_runtime.training.figures import read_figures, read_losses
from spakc.evidence import Row
from spakc.ir.module import Module
from spakc.plan.plan import Plan
from spakc.report.html import Ladder, Report, Run, render_html
from spakc.report.table import entries, recorded
from spakc.report.times import roof_of, timings
from spakc.resources import write_atomically
from spakc.status import StatementStatus

FIGURES = "spak-figures/1"
LADDER = "spak-ladder/1"


def write_page(
    path: Path,
    out: Path,
    module: Module,
    decided: Plan,
    files: Mapping[str, str],
    page: Sequence[StatementStatus],
    rows: Sequence[Row],
) -> None:
    """Writes the page of a file whose runs lie in `out`; `files` is its artifact. Runs of an experiment that
    now means something else are left out, and the page says how many; answers of runs that are not at hand are those of
    the evidence."""
    found = [run for run in map(_run, sorted((out / "runs").glob("*/figures.json"))) if run is not None]
    present = {
        name: json.loads(files[f"models/{name}/experiment.json"])["meaning"] for name in module.experiments
    }
    runs = [run for run in found if present.get(run.figures["experiment"]) == run.figures["meaning"]]
    results = entries(module, [run.figures for run in runs])
    here = {(each.experiment, each.split, each.readout) for each in results}
    results += [e for e in recorded(decided.checked, rows) if (e.experiment, e.split, e.readout) not in here]
    problems = {name: kernel.problem for name, kernel in decided.kernels.items()}
    timed = list(timings(module, problems, rows))
    roofs = {target: roof_of(module, target) for target in {each.target for each in timed}}
    report = Report(
        Path(module.root).name,
        page,
        runs,
        len(found) - len(runs),
        results,
        timed,
        {target: roof for target, roof in roofs.items() if roof is not None},
        _ladder(out / "ladder.json"),
    )
    write_atomically(path, render_html(report))


def _run(path: Path) -> Run | None:
    figures = read_figures(path)
    if figures is None or figures.get("schema") != FIGURES:
        return None
    return Run(figures, read_losses(path.with_name("log.jsonl")))


def _ladder(path: Path) -> Ladder | None:
    found = read_figures(path)
    if found is None or found.get("schema") != LADDER:
        return None
    calls = [(each["call"], [(bar["by"], bar["rates"]) for bar in each["bars"]]) for each in found["calls"]]
    return Ladder(found["device"], found["date"], calls)
