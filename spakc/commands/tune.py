"""`spakc tune FILE`: which config of a schedule is fastest for a call, and why the others are not."""

from __future__ import annotations

import datetime
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from spak_runtime.nvrtc import BASE_OPTIONS
from spak_runtime.nvrtc import version as nvrtc_version
from spakc import driver
from spakc.bench.questions import Call, Question, options_of, questions
from spakc.bench.work import operations
from spakc.cli import DIAGNOSTICS, INCONCLUSIVE, OK, show
from spakc.device_runner import device_name
from spakc.diagnostics import Sink
from spakc.evidence import Row, append_evidence, evidence_path, read_evidence
from spakc.ir.module import Device, Module
from spakc.plan.launch import Config
from spakc.plan.recognise import recognise
from spakc.record import record
from spakc.records import where_of
from spakc.tune.fresh import fresh, planned, variants_in
from spakc.tune.funnel import Funnel, funnel, key_of
from spakc.tune.preferences import Weighed, verdict_of, weighed
from spakc.tune.rows import Where, made_of, of_call, row, seconds_of
from spakc.tune.search import correlation, next_batch
from spakc.tune.timer import ChildTimer

SCHEMA = "spak-tune/1"

SHOWN = 8
"""Configs and reasons that are printed."""


@record
class Request:
    """What the command line asks. `budget` in seconds is for all calls together; without `at` the calls are those that
    claims time. `schedule` empty means the one that the model finds fastest."""

    file: Path
    kernel: str
    schedule: str
    at: tuple[str, ...]
    budget: float
    most: int
    as_json: bool


def run(request: Request, timer: Callable[[dict[str, Any]], ChildTimer] = ChildTimer) -> int:
    """Narrows, times, records and tells. Exit 5 without a device: then the model alone ranks."""
    checked = driver.check_file(request.file)
    show(checked.sink.diagnostics, request.as_json)
    module = checked.module.module
    calls = list(_calls(module, request))
    if not calls:
        click.echo(
            "nothing to tune: no claim is about times of a kernel; name a call with `--at M=4096,N=4096,K=4096`",
            err=True,
        )
        return DIAGNOSTICS
    name = device_name()
    device, where = place_of(module, name)
    if device is None:
        click.echo("nothing to tune: the file has no target", err=True)
        return DIAGNOSTICS
    until = time.monotonic() + request.budget
    told = 0
    for number, call in enumerate(calls):
        narrowed = _narrowed(module, call, device, request.schedule)
        if isinstance(narrowed, str):
            click.echo(f"{call}: not tuned: {narrowed}", err=True)
            continue
        told += 1
        now = 0
        if name is not None:
            begun = time.monotonic()
            share = (until - begun) / (len(calls) - number)
            now = _search(checked, narrowed, where, request, begun + share, timer)
        _tell(checked, narrowed, where, now, name, request.as_json)
    if name is None:
        click.echo("not run: no device; ranked by the cost model alone", err=True)
    return OK if told and name is not None else INCONCLUSIVE


def _calls(module: Module, request: Request) -> Iterator[Call]:
    """Those of the command line, else those of claims, each size once."""
    if request.at:
        kernel = request.kernel or next(iter(module.kernels), "")
        for text in request.at:
            yield parsed(module, kernel, text)
        return
    seen = set()
    for question in questions(module):
        if isinstance(question, Question):
            for _, call, library in question.subjects:
                key = call.kernel, tuple(call.dims.items()), tuple(call.options.items()), call.dtype
                if library is None and key not in seen and request.kernel in ("", call.kernel):
                    seen.add(key)
                    yield call


def parsed(module: Module, kernel: str, text: str) -> Call:
    """`M=4096,N=4096,K=4096`, with options, `dtype=` and layouts of tensors if wanted."""
    if kernel not in module.kernels:
        raise click.UsageError(f"the file has no kernel `{kernel}`")
    known = module.kernels[kernel]
    values = dict(part.split("=", 1) for part in text.replace(" ", "").split(",") if "=" in part)
    unknown = [n for n in values if n not in (*known.dims, *known.options, *known.tensors, "dtype")]
    missing = [n for n in known.dims if not values.get(n, "").isdecimal() or int(values[n]) < 1]
    if unknown or missing:
        what = (
            f"`{unknown[0]}` is nothing of {kernel}" if unknown else f"it does not say {', '.join(missing)}"
        )
        raise click.UsageError(f"--at {text}: {what}")
    first = next(t for t in known.tensors.values() if t.dtypes)
    return Call(
        kernel,
        {n: int(values[n]) for n in known.dims},
        {n: values[n] for n in values if n in known.options},
        values.get("dtype", first.dtypes[0].value),
        {n: values[n] for n in values if n in known.tensors},
    )


def place_of(module: Module, name: str | None) -> tuple[Device | None, Where]:
    targets = [module.devices[t] for t in module.targets if t in module.devices]
    if name is None:
        first = targets[0] if targets else None
        return first, Where(first.arch if first is not None else "", "")
    import torch

    from spak_runtime.device import arch_names
    from spakc.bench.measure import driver_version

    found = where_of(module, name, arch_names(*torch.cuda.get_device_capability()))
    device = next((each for each in targets if each.name == found.target), None)
    toolchain = f"nvrtc {'.'.join(map(str, nvrtc_version()))}, {platform.platform(terse=True)}"
    return device, Where(found.arch, name, found.target, toolchain, driver_version())


def _narrowed(module: Module, call: Call, device: Device, wanted: str) -> Funnel | str:
    """The funnel of the schedule that is asked for, else of the one whose best config the model finds fastest."""
    kernel = module.kernels[call.kernel]
    if wanted and wanted not in kernel.schedules:
        return f"it has no schedule `{wanted}`"
    chosen = [kernel.schedules[wanted]] if wanted else list(kernel.schedules.values())
    found = [funnel(kernel, schedule, call, device) for schedule in chosen]
    usable = [each for each in found if isinstance(each, Funnel) and each.ranked]
    if usable:
        return min(usable, key=lambda each: each.ranked[0].seconds)
    return next((each for each in found if isinstance(each, str)), "it has no schedule")


def _search(
    checked: driver.Checked,
    narrowed: Funnel,
    where: Where,
    request: Request,
    until: float,
    timer: Callable[[dict[str, Any]], ChildTimer],
) -> int:
    """Times batch after batch until the search is over or the time is; each figure is on disk before the next is taken.
    How many were timed."""
    path = evidence_path(request.file)
    count = 0
    while time.monotonic() < until:
        timed = _timed(checked, narrowed, where)
        batch = next_batch(narrowed, timed, request.most)
        if not batch:
            break
        with tempfile.TemporaryDirectory(prefix="spak-tune-") as folder:
            variants, files, opening = _artifact(checked, narrowed, batch, where, Path(folder) / "artifact")
            with timer(opening) as clock:
                for config in batch:
                    if time.monotonic() >= until:
                        break
                    variant = variants[key_of(config)]
                    made = made_of(narrowed.kernel.name, variant, where.arch, files, BASE_OPTIONS)
                    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
                    found = clock.time(variant.id)
                    entry = row(narrowed, config, made, found, where, date)
                    append_evidence(path, [entry])
                    count += 1
    return count


def _timed(checked: driver.Checked, narrowed: Funnel, where: Where) -> dict[str, float | None]:
    """What fresh evidence says of this call on this device."""
    return seconds_of(_fresh_rows(checked, narrowed), narrowed.call, where.device)


def _fresh_rows(checked: driver.Checked, narrowed: Funnel) -> list[Row]:
    rows = read_evidence(evidence_path(checked.path), Sink())
    mine = [r for r in rows if r.statement == f"config {narrowed.name}"]
    return fresh(checked, mine, driver.emit_files)


def both_of(found: Sequence[Weighed]) -> tuple[float, float] | None:
    """Seconds with what is preferred and without it, at the only call."""
    both = next(((each.having, each.lacking) for each in found if each.having and each.lacking), None)
    return (both[0].seconds, both[1].seconds) if both is not None else None


def _artifact(
    checked: driver.Checked, narrowed: Funnel, batch: list[Config], where: Where, out: Path
) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """An artifact with these configs: their variants, its files, and what a child needs to know of it."""
    kernel, schedule, call = narrowed.kernel, narrowed.schedule.name, narrowed.call
    decided, files = planned(checked, {(kernel.name, schedule): tuple(batch)}, driver.emit_files)
    driver.write_artifact(files, out)
    variants = variants_in(files, kernel.name, schedule)
    own = [variants[key_of(config)].id for config in batch]
    others = [
        v.id
        for v in decided.kernels[kernel.name].variants
        if where.arch in v.archs and v.schedule != schedule
    ]
    opening = {
        "artifact": str(out),
        "kernel": kernel.name,
        "dims": dict(call.dims),
        "options": dict(call.options),
        "dtype": call.dtype,
        "layouts": dict(call.layouts),
        "archs": [where.arch],
        "variants": own,
        "reference": others[-1] if others else own[0],
    }
    return variants, files, opening


# ---- what is told ---------------------------------------------------------------------------------------


def _tell(
    checked: driver.Checked, narrowed: Funnel, where: Where, now: int, device: str | None, as_json: bool
) -> None:
    rows = _fresh_rows(checked, narrowed) if device is not None else []
    timed = seconds_of(rows, narrowed.call, where.device)
    kernel, call = narrowed.kernel, narrowed.call
    work = operations(recognise(kernel, Sink()), call.dims, options_of(kernel, call))
    fastest = sorted((s, key) for key, s in timed.items() if s is not None)
    failed = [key for key, s in timed.items() if s is None]
    mine = [row for row in of_call(rows, call) if row.device == where.device]
    verdicts = []
    for prefer in narrowed.prefers:
        found = weighed(prefer, kernel.name, narrowed.schedule.name, mine)
        text = " ".join(prefer.proposition.span.text.split()) if prefer.proposition.span is not None else ""
        verdicts.append((text, verdict_of(found), both_of(found)))
    rho = correlation(narrowed, timed)
    if as_json:
        model = [
            {"config": dict(m.config), "seconds": m.seconds, "limit": m.limit}
            for m in narrowed.ranked[:SHOWN]
        ]
        told = {
            "schema": SCHEMA,
            "call": str(call),
            "schedule": narrowed.name,
            "device": device,
            "points": narrowed.points,
            "lawful": narrowed.lawful,
            "modelled": len(narrowed.ranked),
            "timed_now": now,
            "timed": len(timed),
            "failed": failed,
            "fell": list(narrowed.fell),
            "model": model,
            "fastest": [{"config": key, "seconds": s} for s, key in fastest[:SHOWN]],
            "rank_correlation": rho,
            "prefer": [{"prefer": p, "verdict": v, "with_and_without": both} for p, v, both in verdicts],
        }
        click.echo(json.dumps(told))
        return
    click.echo(f"{narrowed.call}: {narrowed.name} on {device or 'no device'}")
    counts = f"{narrowed.points} points, {narrowed.lawful} lawful, {len(narrowed.ranked)} modelled"
    click.echo(f"  {counts}, {len(timed)} timed ({now} now), {len(failed)} failed")
    for why in narrowed.fell[:SHOWN]:
        click.echo(f"    {why}")
    for seconds, key in fastest[:SHOWN]:
        click.echo(f"  {seconds * 1e6:9.1f} us  {_rate(work, seconds)}{key}")
    for each in narrowed.ranked[: 0 if fastest else SHOWN]:
        click.echo(f"  {each.seconds * 1e6:9.1f} us by the model ({each.limit})  {key_of(each.config)}")
    if fastest:
        first = timed.get(key_of(narrowed.ranked[0].config))
        if first is not None:
            click.echo(
                f"  the model's first choice takes {first / fastest[0][0]:.3f} times as long as the fastest"
            )
    if rho is not None:
        click.echo(
            f"  rank correlation of the model {rho:.2f} over {sum(s is not None for s in timed.values())}"
        )
    for text, said, both in verdicts:
        figures = f": {both[0] * 1e6:.1f} us with, {both[1] * 1e6:.1f} us without" if both is not None else ""
        click.echo(f"  prefer {text}: {said}{figures}")


def _rate(work: float | None, seconds: float) -> str:
    return f"{work / seconds / 1e12:7.1f} TFLOP/s  " if work else ""
