"""`spakc selftest [FILE…]`: the verifier verified. Every template's sources and the headers that they share are
damaged, one place at a time, and given to the checks of `spakc verify`."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import spakc.selftest
from spak_runtime.emulator import prepare
from spak_runtime.errors import ToolError
from spak_runtime.processes import spared
from spakc import driver
from spakc.cli import DIAGNOSTICS, INCONCLUSIVE, OK, USAGE, VERIFY_FAILED, show
from spakc.commands.verify import variants_of
from spakc.diagnostics import Sink
from spakc.record import record
from spakc.resources import resource, write_atomically
from spakc.selftest.journal import Journal, States
from spakc.selftest.judge import Baseline, Verdict, baseline, judge_everywhere
from spakc.selftest.plan_of_mutants import Task, cases_of_each, slice_of, tasks_of
from spakc.selftest.reasons import read_reasons
from spakc.selftest.score import Outcome, Score, score_text
from spakc.selftest.subjects import Judged, Subject, by_template, subjects_of

REASONS = "equivalent_mutants.toml"
"""Beside the templates."""

MUTANTS_PER_WORKER = 60
"""Each built mutant stays loaded in its process: a worker is replaced before that is much."""


@record
class Request:
    """What the command line asks. `templates` and `kinds` empty mean all; `limit` None means every mutant, `minutes`
    None as long as it takes."""

    files: tuple[Path, ...]
    templates: tuple[str, ...]
    kinds: tuple[str, ...]
    jobs: int
    limit: int | None
    minutes: float | None
    seed: int
    cases: int
    output: Path
    as_json: bool


def run(request: Request) -> int:
    """Judges, prints and keeps the score. What was judged before, from the same sources by the same checks, is not
    judged again. Exit 0: enough was killed; 3: not enough, or a kernel is wrong as it is; 5: a template is used by no
    kernel of the files, or time was over before all were judged; 1: diagnostics; 2: no such template."""
    started = time.monotonic()
    files = request.files or _example_files()
    try:
        prepare()
        subjects = [subject for file in files for subject in _subjects(file)]
        chosen = by_template(subjects)
        unknown = [name for name in request.templates if not _matching(chosen, name)]
        if unknown or not files:
            there = f"there are {', '.join(map(_short, chosen))}" if files else "name a FILE"
            click.echo(f"there is no template `{unknown[0]}`; {there}" if unknown else there, err=True)
            return USAGE
        names = [n for asked in request.templates for n in _matching(chosen, asked)] or list(chosen)
        wanted = {name: chosen[name] for name in names}
        every = tasks_of(wanted, _judging())
        of_kinds = [task for task in every if not request.kinds or task.mutant.kind in request.kinds]
        tasks = slice_of(of_kinds, request.limit, request.seed)
        states = States(request.cases, request.seed)
        journal = Journal(
            request.output.with_suffix(".jsonl"), {task.mutant.key: states.of(task.judges) for task in tasks}
        )
        left = [tasks[place] for place in journal.missing([task.mutant for task in tasks])]
        wrong = _broken(left, every, request)
        if not wrong:
            _judge_all(left, request, journal, started)
        judged = [task for task in tasks if task.mutant.key in journal.known]
    except ToolError as error:
        sink = Sink()
        sink.report("SPAK753", error.message, None)
        show(sink.diagnostics, request.as_json)
        return DIAGNOSTICS
    if wrong:
        for line in wrong:
            click.echo(f"wrong without any mutant: {line}", err=True)
        return VERIFY_FAILED
    score = _score(request, wanted, every, judged, journal)
    write_atomically(request.output, json.dumps(score.to_json(), indent=1) + "\n")
    if request.as_json:
        click.echo(json.dumps(score.to_json()))
    else:
        for line in score_text(score):
            click.echo(line)
        click.echo(f"kept in {request.output}")
    if score.shortfalls:
        return VERIFY_FAILED
    return INCONCLUSIVE if score.unused or len(judged) < len(tasks) else OK


def _example_files() -> tuple[Path, ...]:
    """The kernels that come with the source of the compiler; none in an installation without them."""
    try:
        return tuple(sorted(resource("examples/kernels").glob("*.spak")))
    except FileNotFoundError:
        return ()


def _judging() -> list[Subject]:
    """Kernels that are there to judge shared headers, by the schedules that they name: what no example asks of them."""
    files = sorted((Path(spakc.selftest.__file__).parent / "judges").glob("*.spak"))
    every = [subject for file in files for subject in _subjects(file)]
    return [s for s in every if s.tested.variant.schedule in s.tested.source.schedules]


def _subjects(file: Path) -> list[Subject]:
    decided = driver.plan_file(driver.check_file(file))
    files = driver.emit_files(decided)
    return subjects_of(decided, files, variants_of(decided, files))


def _short(template: str) -> str:
    return template.partition(".")[0]


def _matching(chosen: Mapping[str, object], asked: str) -> list[str]:
    """The templates of a name: a whole path, without its suffix, or its last part."""
    return [name for name in chosen if asked in (name, _short(name), _short(name).rpartition("/")[2])]


def _score(
    request: Request,
    wanted: Mapping[str, Sequence[Judged]],
    every: Sequence[Task],
    tasks: Sequence[Task],
    journal: Journal,
) -> Score:
    reasons = read_reasons(resource("templates/cuda") / REASONS)
    outcomes = [
        Outcome(task.mutant, journal.known[task.mutant.key], reasons.why.get(task.mutant.key, ""))
        for task in tasks
    ]
    there = {task.mutant.key for task in every}
    stale = [f"{file}: {line}" for file, line, _, _ in reasons.why.keys() - there]
    return Score(
        len(every),
        outcomes,
        [name for name, sources in wanted.items() if sources],
        [name for name, sources in wanted.items() if not sources],
        sorted(stale) if not request.templates and not request.files else [],
        request.seed,
        request.cases,
        journal.seconds,
    )


# ---- many processes -----------------------------------------------------------------------------------

_tasks: Sequence[Task] = ()
_subjects_to_try: Sequence[tuple[Subject, int]] = ()
_request: Request
"""What workers judge: they are copies of this process, made when these are set."""


def _judge_all(tasks: Sequence[Task], request: Request, journal: Journal, started: float) -> None:
    """Keeps a verdict of each task, or of those that there is time for."""
    global _tasks
    _tasks = tasks
    begun = time.monotonic()
    until = started + 60 * request.minutes if request.minutes is not None else float("inf")
    for done, (number, (verdict, seconds)) in enumerate(
        _mapped(_judge_one, len(tasks), request.jobs), start=1
    ):
        journal.keep(tasks[number].mutant, verdict, seconds)
        if sys.stderr.isatty():
            rest = (len(tasks) - done) * (time.monotonic() - begun) / done
            click.echo(f"\r{done} of {len(tasks)} mutants, {rest:.0f} s left  ", err=True, nl=False)
        if time.monotonic() > until:
            break
    if sys.stderr.isatty():
        click.echo("\r" + " " * 60 + "\r", err=True, nl=False)


def _broken(tasks: Sequence[Task], every: Sequence[Task], request: Request) -> list[str]:
    """Draws the cases of every variant that judges, as many as it needs for `every` mutant: what is judged later is
    judged alike. Returns those that fail as they are: nothing could be learnt from their mutants."""
    global _subjects_to_try, _request
    asked = {subject for task in tasks for subject in task.judges}
    times = cases_of_each(every)
    _subjects_to_try, _request = [(s, request.cases * n) for s, n in times.items() if s in asked], request
    subjects = [subject for subject, _ in _subjects_to_try]
    found: dict[int, Baseline] = dict(_mapped(_try_one, len(subjects), request.jobs))
    for number, subject in enumerate(subjects):
        subject.trials[:] = found[number].trials
        subject.builds.update(found[number].builds)
    return [f"{s.name}: {found[n].wrong}" for n, s in enumerate(subjects) if found[n].wrong]


def _mapped(work: Callable[[int], tuple[int, Any]], count: int, jobs: int) -> Iterator[tuple[int, Any]]:
    with tempfile.TemporaryDirectory(prefix="spak-selftest-", ignore_cleanup_errors=True) as folder:
        with (
            spared()
        ):  # workers that take the place of others are started by a thread of the pool, so they are, too
            pool = multiprocessing.get_context("fork").Pool(jobs, _begin, (folder,), MUTANTS_PER_WORKER)
        with pool:
            yield from pool.imap_unordered(work, range(count))


def _begin(folder: str) -> None:
    """A worker keeps what it builds apart from the user's kernels."""
    os.environ["SPAK_CACHE_DIR"] = str(Path(folder, str(os.getpid())))


def _judge_one(number: int) -> tuple[int, tuple[Verdict, float]]:
    task = _tasks[number]
    start = time.monotonic()
    verdict = judge_everywhere(task)
    shutil.rmtree(os.environ["SPAK_CACHE_DIR"], ignore_errors=True)
    return number, (verdict, time.monotonic() - start)


def _try_one(number: int) -> tuple[int, Baseline]:
    subject, cases = _subjects_to_try[number]
    return number, baseline(subject, cases, _request.seed)
