"""Timings of configs as rows of evidence, one each, and back: what fresh ones say is what the plan goes by.

A row is about `config KERNEL.SCHEDULE`. It holds as long as the mathematics, the source, the headers, the flags and the
launch of the config are what they were."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spak_runtime.manifest import Variant
from spakc.bench.questions import Call
from spakc.check.statements import kernel_core
from spakc.evidence import Part, Row, Subject, hash_source, hash_text
from spakc.ir.canonical import meaning
from spakc.plan.launch import Config
from spakc.plan.select import Measurement
from spakc.record import record
from spakc.subjects import headers_of, plain
from spakc.tune.funnel import Funnel, key_of
from spakc.tune.timer import Time

STATEMENT = "config "


@record
class Where:
    """The device of a timing, as rows name it."""

    arch: str
    device: str
    target: str = ""
    toolchain: str = ""
    driver: str = ""


def row(narrowed: Funnel, config: Config, made: Subject, time: Time, where: Where, date: str) -> Row:
    """Of one timing, or of why there is none."""
    figures: dict[str, Any] = {"config": dict(config), "call": _call(narrowed.call)}
    figures |= {"failed": time.failed} if time.failed else {"samples": list(time.seconds)}
    return Row(
        f"{STATEMENT}{narrowed.name}",
        "time",
        meaning(kernel_core(narrowed.kernel)),
        made,
        figures | {"arch": where.arch},
        where.target,
        device=where.device,
        toolchain=where.toolchain,
        driver=where.driver,
        date=date,
    )


def made_of(
    kernel: str, variant: Variant, arch: str, files: Mapping[str, str], flags: Iterable[str]
) -> Subject:
    """What a config's variant is made of: everything but what ranks it."""
    sources = sorted({launch.source for launch in variant.launches})
    launches = plain(variant)["launches"]
    text = json.dumps([launches, dict(variant.config), sorted(variant.defines.items())], sort_keys=True)
    parts = [Part("source", kernel, "launch", hash_text(text), variant.schedule, arch)]
    for name in (*sources, *sorted(headers_of(sources, files))):
        kind = "header" if name.endswith(".cuh") else "source"
        parts.append(Part(kind, kernel, name, hash_source(files[name]), variant.schedule, arch))
    parts.append(Part("flags", kernel, "device compiler", hash_text(" ".join(flags)), variant.schedule, arch))
    return Subject.of(parts)


def is_sound(row: Row) -> bool:
    """Whether a row is about a config and its figures are those that `row` writes; a checksum says nothing of that."""
    figures = row.figures
    call, samples = figures.get("call"), figures.get("samples", [])
    if not row.statement.startswith(STATEMENT) or not isinstance(call, dict) or not isinstance(samples, list):
        return False
    found = [figures.get("config"), *(call.get(name) for name in ("dims", "options", "layouts"))]
    maps = [each for each in found if isinstance(each, dict)]
    if not isinstance(figures.get("arch"), str) or len(maps) != len(found):
        return False
    sizes = [type(size) is int and 0 < size < 2**31 for size in call["dims"].values()]
    words = all(isinstance(value, (bool, int, float, str)) for each in maps for value in each.values())
    return all(sizes) and words and all(type(s) in (int, float) and 0 < s < 1e6 for s in samples)


def configs_in(rows: Iterable[Row]) -> dict[tuple[str, str], tuple[Config, ...]]:
    """The configs that rows are about, by kernel and schedule."""
    found: dict[tuple[str, str], dict[str, Config]] = {}
    for each in rows:
        kernel, _, schedule = each.statement.removeprefix(STATEMENT).partition(".")
        config = each.figures.get("config")
        if each.statement.startswith(STATEMENT) and isinstance(config, dict):
            found.setdefault((kernel, schedule), {})[key_of(config)] = config
    return {name: tuple(configs.values()) for name, configs in found.items()}


def of_call(rows: Iterable[Row], call: Call) -> list[Row]:
    """The rows about one call."""
    return [row for row in rows if row.figures.get("call") == _call(call)]


def seconds_of(rows: Sequence[Row], call: Call, device: str) -> dict[str, float | None]:
    """What rows say of one call on one device, by config; None where the config failed. The last row counts."""
    found: dict[str, float | None] = {}
    for each in rows:
        if each.figures.get("call") == _call(call) and each.device == device:
            samples = each.figures.get("samples")
            found[key_of(each.figures["config"])] = statistics.median(samples) if samples else None
    return found


def measurements(rows: Sequence[Row]) -> tuple[Measurement, ...]:
    """As the plan wants them. A config that failed has no time and stands behind those that have one."""
    found = []
    for each in rows:
        kernel, _, schedule = each.statement.removeprefix(STATEMENT).partition(".")
        figures = each.figures
        if figures.get("samples"):
            seconds = statistics.median(figures["samples"])
            dims = figures["call"]["dims"]
            found.append(Measurement(kernel, schedule, figures["arch"], figures["config"], dims, seconds))
    return tuple(found)


def _call(call: Call) -> dict[str, Any]:
    """As JSON gives it back."""
    return {
        "dims": dict(call.dims),
        "options": dict(call.options),
        "dtype": call.dtype,
        "layouts": dict(call.layouts),
    }
