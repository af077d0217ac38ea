"""`spakc run FILE`: check, compile, pass the gates, train, evaluate, judge."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.check.statements import model_core
from spakc.check.verdict import Verdict
from spakc.cli import CLAIM_REFUTED, INCONCLUSIVE, show
from spakc.commands.compile import default_output
from spakc.commands.report_page import write_page
from spakc.diagnostics import Sink
from spakc.evidence import append_evidence, evidence_path, read_evidence
from spakc.ir.canonical import meaning
from spakc.ir.module import Module
from spakc.record import record
from spakc.records import Finished, Where, rows_of, where_of
from spakc.report.table import entries, render_table
from spakc.status import StatementStatus, render, status, summary
from spakc.subjects import subject_now


@record
class Job:
    """One run to do: an experiment at one point of its sweep with one seed. `same_as` is another experiment
    that is identical under this profile, so that its figures are these, too."""

    experiment: str
    point: str
    seed: int
    same_as: str | None


def run(
    file: Path,
    wanted: tuple[str, ...],
    output: Path | None,
    profile: str | None,
    strict: bool,
    fresh: bool,
    abreast: int,
    gpus: int,
    format: str,
) -> int:
    """`abreast` runs go on at a time, or `gpus` share one. Exit 4 if a claim is refuted, 5 if a gate fails or a claim
    that was asked for stays open, else 0."""
    _wait_quietly()
    _enough(gpus, abreast)
    checked = driver.check_file(file)
    show(checked.sink.diagnostics, format == "json")
    out = output or default_output(file)
    decided = driver.plan_file(checked)
    files = driver.emit_files(decided)
    module = checked.module.module
    say = _Speaker(format)
    experiments = experiments_of(module, wanted)
    say.line(_law_line(checked))
    chosen = profile_of(checked, experiments, profile, say.line)
    with contextlib.ExitStack() as held:
        _enter(held, out)
        driver.write_artifact(files, out / "artifact")
        jobs = _jobs(module, files, experiments, chosen)
        runs = _train(jobs, out, file, chosen, strict, fresh, abreast, gpus, say)
        now = subject_now(checked.module, files, BASE_OPTIONS)
        path = evidence_path(file)
        append_evidence(path, rows_of(module, runs, now, _where(module)))
        rows = list(read_evidence(path, checked.sink))
        page = status(checked.module, rows, now, checked.sink)
        write_page(out / "report.html", out, module, decided, files, page, rows)
        _report(module, page, runs, out, path, say)
    return _exit_code(page, runs, chosen)


_SPINS = "20000"
"""Turns in which a thread looks whether the others are ready before it sleeps, some tens of microseconds: what steps of
small models wait. On two quiet cores 30 s for 1,000 steps, where a thread that sleeps at once takes 52 to 60."""


def _wait_quietly() -> None:
    """Threads of torch that wait for each other soon sleep. By default they spin longer, some thousand times a step
    of a small model, and where other programs want the cores they spin for the one that cannot run. Read when torch is
    loaded; whoever sets how threads wait keeps it."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def _enter(held: contextlib.ExitStack, out: Path) -> None:
    """No other `run` writes into the output folder from here on: SPAK564 where one does."""
    from spak_runtime.training.alone import Taken, alone_in

    sink, shown = Sink(), driver.shorten(str(out))
    try:
        out.mkdir(parents=True, exist_ok=True)
        held.enter_context(alone_in(out))
    except Taken as taken:
        message = f"another `spakc run`{taken.owner} is at work in `{shown}`"
        help = ("wait until it has ended, or name another folder with `-o`",)
        sink.report("SPAK564", message, None, help=help)
    except OSError as error:
        sink.report("SPAK007", f"`{shown}` cannot be written: {error.strerror}", None)
    sink.stop_if_errors()


def _enough(gpus: int, abreast: int) -> None:
    """SPAK563 where there are fewer GPUs than asked for, or each run would want them at the same time."""
    if gpus == 1:
        return
    import torch

    sink, found = Sink(), torch.cuda.device_count()
    if found < gpus:
        sink.report("SPAK563", f"--gpus {gpus} asks for {gpus} GPUs, and there are {found}", None)
    elif abreast > 1:
        sink.report("SPAK563", "--gpus takes the GPUs for one run, and --jobs asks for several", None)
    sink.stop_if_errors()


@record
class _Speaker:
    """Prose for a person on stdout, or JSON lines for a program."""

    format: str

    def line(self, text: str) -> None:
        if self.format == "text":
            click.echo(text)

    def data(self, schema: str, fields: Mapping[str, Any]) -> None:
        if self.format == "json":
            click.echo(json.dumps({"schema": schema} | dict(fields)))


# ---- what is to be run ----------------------------------------------------------------------------------


def experiments_of(module: Module, wanted: Sequence[str]) -> list[str]:
    """The experiments asked for, or all of the root file but sweeps."""
    sink = Sink()
    for name in wanted:
        if name not in module.experiments:
            known = ", ".join(sorted(module.experiments)) or "none"
            sink.report("SPAK560", f"there is no experiment `{name}`; the file has {known}", None)
    sink.stop_if_errors()
    own = [n for n, e in module.experiments.items() if not e.vary and (n in module.own or not module.own)]
    if not wanted and not own:
        sink.report("SPAK560", "the file has no experiment to run", None)
        sink.stop_if_errors()
    return list(wanted) or own


def profile_of(
    checked: driver.Checked, experiments: Sequence[str], profile: str | None, say: Callable[[str], None]
) -> str | None:
    """The profile asked for; without a GPU the file's `cpu` profile, and that is said."""
    import torch

    facts = checked.module.experiments
    known = set.intersection(*({p for p in facts[name].points if p != "default"} for name in experiments))
    if profile is not None and profile not in known:
        sink = Sink()
        names = ", ".join(sorted(known)) or "none"
        sink.report(
            "SPAK560", f"there is no profile `{profile}` for what is to be run; there is {names}", None
        )
        sink.stop_if_errors()
    if profile is None and not torch.cuda.is_available() and "cpu" in known:
        say("no GPU here: running the file's `cpu` profile (its figures are shown as that profile's)")
        return "cpu"
    return profile


def _jobs(
    module: Module, files: Mapping[str, str], experiments: Sequence[str], profile: str | None
) -> list[Job]:
    """Every point and seed; an experiment that is another one under this profile is not run twice."""
    jobs: list[Job] = []
    seen: dict[str, str] = {}
    for name in experiments:
        described = json.loads(files[f"models/{name}/experiment.json"])
        points = described["settings"][profile or "default"]
        model = meaning(model_core(module.models[module.experiments[name].model]))
        rest = {k: v for k, v in described.items() if k not in ("name", "meaning", "settings")}
        same_as = seen.setdefault(json.dumps([model, points, rest], sort_keys=True), name)
        for point in points:
            seeds = point["train"].get("seeds") or [0]
            jobs += [Job(name, point["label"], seed, same_as if same_as != name else None) for seed in seeds]
    return jobs


# ---- running --------------------------------------------------------------------------------------------


def _train(
    jobs: Sequence[Job],
    out: Path,
    file: Path,
    profile: str | None,
    strict: bool,
    fresh: bool,
    abreast: int,
    gpus: int,
    say: _Speaker,
) -> list[Finished]:
    from spak_runtime import artifact
    from spak_runtime.training.progress import Progress, Quiet, Terminal
    from spak_runtime.training.run import run_experiment
    from spak_runtime.training.together import together

    own = [job for job in jobs if job.same_as is None]
    calls = {job: _call(job, out, file, profile, strict, gpus) for job in own}
    if fresh:
        for call in calls.values():
            _forget(call["out"])
    if abreast > 1 and len(own) > 1:
        _side_by_side(own, calls, out / "artifact", abreast, say)
    for job in own if gpus > 1 else ():
        say.line(f"{_label(job)} on {gpus} GPUs")
        together({k: v for k, v in calls[job].items() if k != "ranks"}, out / "artifact", gpus)
    loaded = artifact.load(out / "artifact")
    runs: list[Finished] = []
    done: dict[tuple[str, str, int], dict[str, Any]] = {}
    for job in jobs:
        if job.same_as is not None:
            figures = done[job.same_as, job.point, job.seed]
            say.line(f"{_label(job)}: the same as {job.same_as} under this profile")
        else:
            progress: Progress = Quiet()
            with contextlib.ExitStack() as shown:
                if say.format == "text":
                    progress = shown.enter_context(Terminal())
                figures = run_experiment(**calls[job], artifact=loaded, progress=progress)
            done[job.experiment, job.point, job.seed] = figures
            _say_figures(job, figures, strict, say)
        runs.append(Finished(job.experiment, figures))
    return runs


def _call(job: Job, out: Path, file: Path, profile: str | None, strict: bool, gpus: int) -> dict[str, Any]:
    """The arguments of `run_experiment` for a job."""
    return {
        "folder": out / "artifact" / "models" / job.experiment,
        "out": run_folder(out, job.experiment, profile, job.point, job.seed),
        "profile": profile,
        "seed": job.seed,
        "point": job.point,
        "base": file.parent,
        "strict": strict,
        "ranks": gpus,
    }


def _side_by_side(
    jobs: Sequence[Job], calls: Mapping[Job, Mapping[str, Any]], artifact: Path, abreast: int, say: _Speaker
) -> None:
    """Brings every job to its figures, which are read from its folder then."""
    from spak_runtime.training.side_by_side import side_by_side

    say.line(f"{len(jobs)} runs, {min(abreast, len(jobs))} at a time")
    for number in side_by_side([calls[job] for job in jobs], artifact, abreast):
        say.line(f"{_label(jobs[number])}: done")


def _where(module: Module) -> Where:
    import torch

    if not torch.cuda.is_available():
        return where_of(module, "cpu", ("host",))
    from spak_runtime.device import arch_names

    return where_of(module, torch.cuda.get_device_name(), arch_names(*torch.cuda.get_device_capability()))


def run_folder(out: Path, experiment: str, profile: str | None, point: str, seed: int) -> Path:
    """Where one run keeps its log, checkpoint and figures."""
    return out / "runs" / "-".join(filter(None, (experiment, profile, point, str(seed))))


def _label(job: Job) -> str:
    return f"{job.experiment}{f' ({job.point})' if job.point else ''} seed {job.seed}"


def _forget(folder: Path) -> None:
    """Removes what a run left: only files that a run writes."""
    for name in (
        *("figures.json", "log.jsonl", "measured.json"),
        *("checkpoint.safetensors", "model.safetensors"),
    ):
        (folder / name).unlink(missing_ok=True)


def _say_figures(job: Job, figures: Mapping[str, Any], strict: bool, say: _Speaker) -> None:
    from spak_runtime.training import kernels

    say.data("spak-run/1", {"experiment": job.experiment, "figures": figures})
    gates = ", ".join(f"{gate['name']} {'holds' if gate['holds'] else 'FAILS'}" for gate in figures["gates"])
    loss = "" if figures["loss"] is None else f", loss {figures['loss']:.4f}"
    head = f"{_label(job)}: {figures['parameters']:,} parameters, {figures['steps']} steps"
    say.line(f"\n{head} in {figures['seconds']:.0f} s on {figures['device']}{loss}")
    if gates:
        say.line(f"  gates: {gates}")
    if figures["kernels"]["status"] == "run":
        say.line(f"  steps captured in a CUDA graph: {figures['captured']}")
    for note in figures["notes"]:
        say.line(f"  note: {note}")
    for split, why in figures["hidden"].items():
        say.line(f"  {split}: withheld: {why}")
    for row in figures["rows"]:
        say.line(f"  {_result(row)}")
    say.line("  who computed what:")
    for each in figures["computed"]:
        why = f" ({each['why']})" if each["why"] else ""
        say.line(f"    {each['op']}, {each['phase']}: {each['by']}{why}")
    for line in kernels.describe(figures["kernels"], rows=strict):
        say.line(f"  {line}")


def _result(row: Mapping[str, Any]) -> str:
    if "correct" not in row:
        return f"{row['split']}: loss {row['loss']:.4f}"
    low, high = row["interval"]
    share = f"{row['correct'] / row['n']:.1%}, 95% {low:.1%} to {high:.1%}"
    early = row["loops"] is not None and row["readout"] != "last"
    loops = f", {row['loops']:.1f} loops a token" if early else ""
    return f"{row['split']}, {row['readout']}: {row['correct']} of {row['n']} exact ({share}){loops}"


# ---- judging --------------------------------------------------------------------------------------------


def _law_line(checked: driver.Checked) -> str:
    laws = [law.status for law in checked.module.laws if law.status.applicable]
    held = sum(law.verdict is Verdict.holds for law in laws)
    return f"checked {len(laws)} laws: {held} hold by proof or guard, {len(laws) - held} wait for evidence"


def _report(
    module: Module,
    page: Sequence[StatementStatus],
    runs: Sequence[Finished],
    out: Path,
    evidence: Path,
    say: _Speaker,
) -> None:
    from spak_runtime.training.report import plot

    results = entries(module, [run.figures for run in runs])
    if results:
        say.line("\nexact answers")
        for line in render_table(results):
            say.line(line)
    claims = [entry for entry in page if entry.statement.kind == "claim"]
    for entry in claims:
        say.data("spak-status/1", entry.to_json())
    if claims:
        say.line("\nclaims")
        say.line(render(claims))
    drawn = {(run.figures["experiment"], run.figures["point"], run.figures["seed"]): run for run in runs}
    folders = [
        (dict(run.figures), run_folder(out, name, run.figures["profile"], point, seed))
        for (name, point, seed), run in drawn.items()
    ]
    plot(folders, out / "report.png")
    (out / "status.txt").write_text(render(page) + "\n")
    say.line(f"\n{summary(page)}")
    say.line(
        f"wrote {out}/artifact, {out}/runs, {out}/report.html, {out}/report.png, {out}/status.txt and {evidence}"
    )


def _exit_code(page: Sequence[StatementStatus], runs: Sequence[Finished], profile: str | None) -> int:
    """Under a profile claims are undecided by definition, so only its gates count."""
    if any(e.statement.kind == "claim" and e.status.verdict is Verdict.violated for e in page):
        return CLAIM_REFUTED
    if not all(run.figures["passed"] for run in runs):
        return INCONCLUSIVE
    asked = {run.experiment for run in runs}
    open_claims = [
        e
        for e in page
        if e.statement.kind == "claim"
        and e.statement.experiments & asked
        and e.status.verdict is Verdict.undecided
    ]
    return INCONCLUSIVE if open_claims and profile is None else 0
