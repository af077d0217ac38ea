"""`spakc bench FILE`: the times that claims are about, measured beside the library in the same process."""

from __future__ import annotations

import datetime
import difflib
import json
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click

from spak_runtime.nvrtc import BASE_OPTIONS
from spak_runtime.nvrtc import version as nvrtc_version
from spak_runtime.training.figures import sealed
from spakc import driver
from spakc.bench.measure import Answer, Timed, answer, driver_version, ratio
from spakc.bench.questions import Call, Question, Unclear, questions
from spakc.check.statements import Statement, statements
from spakc.check.verdict import Verdict
from spakc.cli import CLAIM_REFUTED, INCONCLUSIVE, OK, show
from spakc.commands.compile import default_output
from spakc.commands.report_page import LADDER
from spakc.commands.tune import parsed, place_of
from spakc.device_runner import device_name
from spakc.diagnostics import Sink
from spakc.evidence import append_evidence, evidence_path, read_evidence, row_of_run
from spakc.implement.bench import races
from spakc.ir.module import Module
from spakc.record import record
from spakc.records import where_of
from spakc.resources import write_atomically
from spakc.status import render, status
from spakc.subjects import subject_now

SCHEMA = "spak-bench/1"


@record
class Request:
    """What the command line asks. `claims` empty means all over times of kernels; `at` are calls at which hand-written
    kernels are timed, instead of those of claims; `against` are backends that are timed at claims' calls as well."""

    file: Path
    claims: tuple[str, ...]
    rounds: int
    ladder: bool
    as_json: bool
    at: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


def run(request: Request) -> int:
    """Times, prints, appends to the evidence and judges; a ladder only prints. Exit 4: a claim is refuted; 5:
    one stays open, or there is no device."""
    checked = driver.check_file(request.file)
    show(checked.sink.diagnostics, request.as_json)
    module = checked.module.module
    every = list(questions(module))
    _check_names(request.claims, module, every)
    asked = [q for q in every if not request.claims or _named(q, request.claims)]
    for unclear in (each for each in asked if isinstance(each, Unclear)):
        click.echo(f"{unclear.statement.id}: not timed: {unclear.why}", err=True)
    clear = [each for each in asked if isinstance(each, Question)]
    if device_name() is None:
        click.echo("not run: no device")
        return INCONCLUSIVE
    if checked.module.hand_written and not request.ladder:
        _race(request, checked)
    decided = driver.plan_file(checked)
    files = driver.emit_files(decided)
    answers = []
    with tempfile.TemporaryDirectory(prefix="spak-bench-") as folder:
        driver.write_artifact(files, Path(folder) / "artifact")
        from spak_runtime import load
        from spak_runtime.bench import Effort

        artifact = load(Path(folder) / "artifact")
        tiles = None
        if "cutile" in request.against:
            driver.write_artifact(
                driver.emit_files(driver.plan_file(checked, backend="cutile")), Path(folder) / "tiles"
            )
            tiles = load(Path(folder) / "tiles")
        effort = Effort(request.rounds)
        for question in clear:
            answers.append(
                answer(question, decided, artifact, effort, request.ladder, request.against, tiles)
            )
            _tell(answers[-1], request.as_json)
        if request.ladder:
            return _draw(request.file, answers)
    now = subject_now(checked.module, files, BASE_OPTIONS)
    path = evidence_path(request.file)
    append_evidence(path, _rows(module, answers, now))
    page = status(checked.module, read_evidence(path, checked.sink), now, checked.sink)
    statements = {each.statement.id for each in asked}
    judged = [entry for entry in page if entry.statement.id in statements]
    if not request.as_json:
        click.echo(render(judged))
    verdicts = {entry.status.verdict for entry in judged}
    if Verdict.violated in verdicts:
        return CLAIM_REFUTED
    return INCONCLUSIVE if Verdict.undecided in verdicts else OK


def _race(request: Request, checked: driver.Checked) -> None:
    """Times hand-written kernels beside what is generated, and keeps what was seen: the claims that are timed next are
    about the plan that follows from it."""
    module = checked.module.module

    def calls(kernel: str) -> list[Call]:
        if request.at:
            return [parsed(module, kernel, text) for text in request.at]
        clear = (each for each in questions(module) if isinstance(each, Question))
        subjects = (call for each in clear for _, call, library in each.subjects if library is None)
        return list({str(call): call for call in subjects if call.kernel == kernel}.values())

    path = evidence_path(request.file)
    _, where = place_of(module, device_name())
    for raced in races(checked, read_evidence(path, checked.sink), calls, where):
        if request.as_json:
            figures = raced.row.figures if raced.row is not None else {}
            told = {"schema": SCHEMA, "implement": raced.statement, "missing": raced.why, **figures}
            click.echo(json.dumps(told))
        else:
            click.echo(str(raced))
        append_evidence(path, [raced.row] if raced.row is not None else [])


def _draw(file: Path, answers: list[Answer]) -> int:
    """What each schedule is worth, as a picture. A ladder judges nothing."""
    from spak_runtime.bench_report import plot

    bars = [
        (
            str(each.question.subjects[0][1]),
            [(t.by, t.work / statistics.median(t.seconds)) for t in each.timed],
        )
        for each in answers
        if each.timed and each.timed[0].work > 1
    ]
    if bars:
        path = default_output(file) / "ladder.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        plot(bars, path)
        write_atomically(path.with_suffix(".json"), _ladder(answers))
        click.echo(f"wrote {path} and {path.with_suffix('.json')}", err=True)
    return OK if all(each.timed for each in answers) else INCONCLUSIVE


def _ladder(answers: list[Answer]) -> str:
    """The rates of every round, for the report."""
    calls = [
        {
            "call": str(each.question.subjects[0][1]),
            "bars": [{"by": t.by, "rates": [t.work / s for s in t.seconds]} for t in each.timed],
        }
        for each in answers
        if each.timed and each.timed[0].work > 1
    ]
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    found = {"schema": LADDER, "device": device_name(), "date": date, "calls": calls}
    return sealed(found)


def _check_names(claims: tuple[str, ...], module: Module, every: list[Question | Unclear]) -> None:
    """Reports SPAK809 for a name of no claim, or of one that is not about times of kernels."""
    sink = Sink()
    known = list(dict.fromkeys(_name(each) for each in every))
    for name in claims:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"claims over times: {', '.join(known) or 'none'}"
        others = {each.id.removeprefix("claim ") for each in statements(module) if each.kind == "claim"}
        message = (
            f"claim `{name}` is not about times of kernels"
            if name in others
            else f"there is no claim `{name}`"
        )
        sink.report("SPAK809", message, None, help=(hint,))
    sink.stop_if_errors()


def _name(asked: Question | Unclear) -> str:
    return asked.statement.id.removeprefix("claim ")


def _named(asked: Question | Unclear, claims: tuple[str, ...]) -> bool:
    return _name(asked) in claims


def _tell(given: Answer, as_json: bool) -> None:
    call = given.question.subjects[0][1]
    if as_json:
        click.echo(json.dumps(_json(given)))
    elif given.missing:
        click.echo(f"{call}: not timed: {given.missing}")
    else:
        click.echo(f"{call}")
        for each in given.timed:
            click.echo(f"  {_line(each, given.timed[0])}")
        for text in (*given.skipped, given.clocks):
            if text:
                click.echo(f"  {text}")


def _line(each: Timed, ours: Timed) -> str:
    middle = statistics.median(each.seconds)
    spread = (max(each.seconds) - min(each.seconds)) / middle
    rate = f"{each.work / middle / 1e12:7.1f} TFLOP/s" if each.work > 1 else ""
    line = f"{each.by:40} {middle * 1e6:10.1f} us {rate}  spread {spread:.1%} of {len(each.seconds)}"
    if each is not ours:
        low, middle, high = ratio(ours, each)
        line += f"  ours {middle:.3f}x [{low:.3f}, {high:.3f}]"
    return line


def _json(given: Answer) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "claim": given.question.statement.id,
        "at": dict(given.question.point),
        "missing": given.missing,
        "device": device_name(),
        "clocks": given.clocks,
        "skipped": list(given.skipped),
        "subjects": [
            {"name": t.subject, "by": t.by, "seconds": t.seconds, "operations": t.work} for t in given.timed
        ],
    }


def _rows(module: Module, answers: list[Answer], now: Any) -> list[Any]:
    """One row a claim, with all its points."""
    import torch

    from spak_runtime.device import arch_names

    name = device_name() or ""
    where = where_of(module, name, arch_names(*torch.cuda.get_device_capability()))
    groups: dict[tuple[str, str], tuple[Statement, list[dict[str, Any]]]] = {}
    for each in answers:
        statement = each.question.statement
        if statement.target in ("", where.target):
            kept = groups.setdefault((statement.id, statement.target), (statement, []))[1]
            kept.extend(each.quantities)
    return [
        row_of_run(
            statement,
            now,
            {"quantities": quantities, "clocks": sorted({a.clocks for a in answers if a.clocks})},
            target=where.target,
            arch=where.arch,
            device=name,
            toolchain=f"nvrtc {'.'.join(map(str, nvrtc_version()))}, {platform.platform(terse=True)}",
            driver=driver_version(),
            baselines={"torch": torch.__version__, "cuda": str(torch.version.cuda)},
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        )
        for statement, quantities in groups.values()
        if quantities
    ]
