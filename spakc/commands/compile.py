"""`spakc compile FILE`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from spakc import driver
from spakc.cli import show
from spakc.plan.plan import Plan


def default_output(file: Path) -> Path:
    """Where `compile` and `run` write unless told otherwise."""
    return Path("out") / file.stem


def run(
    file: Path, output: Path | None, archs: tuple[str, ...], emit: str | None, backend: str, format: str
) -> int:
    """Writes the artifact, or prints one stage of it."""
    if emit is not None:
        return _print_stage(file, archs, emit, backend)
    out = output or default_output(file) / ("artifact" if backend == "cuda" else f"artifact-{backend}")
    checked, decided = driver.compile_file(file, out, archs, backend)
    show(checked.sink.diagnostics, format == "json")
    by_hand = list(_by_hand(checked)) if backend == "cuda" else []
    if format == "json":
        click.echo(
            json.dumps(
                {
                    "schema": "spak-compiled/1",
                    "artifact": str(out),
                    "kernels": _summary(decided),
                    "by_hand": by_hand,
                }
            )
        )
    else:
        click.echo("\n".join([_text(decided), *by_hand]))
        click.echo(f"wrote {out}")
    return 0


def _by_hand(checked: driver.Checked) -> Iterator[str]:
    """Of every hand-written kernel, whether the artifact has it and why."""
    if not checked.module.hand_written:
        return
    from spakc.diagnostics import Sink
    from spakc.evidence import evidence_path, read_evidence
    from spakc.implement.selection import selections

    files = driver.emit_files(driver.plan_file(checked, by_hand=False))
    yield from map(str, selections(checked, files, read_evidence(evidence_path(checked.path), Sink())))


def _print_stage(file: Path, archs: tuple[str, ...], stage: str, backend: str) -> int:
    from spakc.diagnostics import Sink
    from spakc.ir.canonical import canonical

    if stage == "ast":
        program = driver.load(file, Sink())
        click.echo("\n".join(repr(item) for item in program.files[program.root].items))
        return 0
    checked = driver.check_file(file)
    if stage == "ir":
        click.echo(canonical(checked.module.module))
        return 0
    decided = driver.plan_file(checked, archs, backend=backend)
    if stage == "plan":
        click.echo(_text(decided))
    else:
        files, wanted = driver.emit_files(decided), set(_sources(decided))
        click.echo("\n".join(f"// ==== {name}\n{text}" for name, text in files.items() if name in wanted))
    return 0


def _sources(decided: Plan) -> Iterator[str]:
    for kernel in decided.kernels.values():
        yield from (launch.source for variant in kernel.variants for launch in variant.launches)


def _summary(decided: Plan) -> dict[str, object]:
    return {
        name: {
            "variants": [{"id": v.id, "schedule": v.schedule, "reason": v.reason} for v in kernel.variants],
            "undecided": [{"schedule": u.schedule, "reason": u.reason} for u in kernel.undecided],
        }
        for name, kernel in decided.kernels.items()
    }


def _text(decided: Plan) -> str:
    lines = [f"for {', '.join(decided.archs)}:"]
    for name, kernel in decided.kernels.items():
        lines.append(f"{name}: {kernel.kernel.family}")
        lines.extend(f"  {v.id}: {v.reason}" for v in kernel.variants)
        lines.extend(f"  {u.schedule}: undecided (none): {u.reason}" for u in kernel.undecided)
        if not kernel.variants:
            lines.append("  computed by torch")
    return "\n".join(lines)
