"""Plans and emits `.spak` texts and example files for tests."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from spak_runtime.manifest import KernelSpec
from spakc.check.check import check
from spakc.check.checked import CheckedModule
from spakc.diagnostics import Sink
from spakc.driver import load
from spakc.emit.artifact import kernel_spec
from spakc.emit.artifact import sources as sources_of
from spakc.emit.environment import environment
from spakc.lower.lower import lower
from spakc.plan.plan import KernelPlan, Plan, plan

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "templates" / "cuda"
ARCHS = ("sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a")


@functools.cache
def sources() -> dict[str, str]:
    return {p.relative_to(TEMPLATES).as_posix(): p.read_text() for p in TEMPLATES.rglob("*.j2")}


@functools.cache
def headers() -> dict[str, str]:
    folder = TEMPLATES / "include"
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.cuh")}


@dataclass(frozen=True)
class Emitted:
    plan: KernelPlan
    spec: KernelSpec
    files: dict[str, str]


def checked(path: Path) -> CheckedModule:
    sink = Sink()
    module = lower(load(path, sink), sink)
    sink.stop_if_errors()
    result = check(module, sink)
    sink.stop_if_errors()
    return result


def planned(path: Path, archs: tuple[str, ...] = ()) -> Plan:
    sink = Sink()
    result = plan(checked(path), archs, sink)
    sink.stop_if_errors()
    return result


@functools.cache
def emitted(path: Path, archs: tuple[str, ...] = ()) -> dict[str, Emitted]:
    """Every kernel of a file, derived ones too, as an artifact would hold it."""
    rendered = environment(sources())
    return {
        name: Emitted(kernel, kernel_spec(kernel), sources_of(kernel, rendered, rendered))
        for name, kernel in planned(path, archs).kernels.items()
    }


def example(name: str, archs: tuple[str, ...] = ()) -> dict[str, Emitted]:
    return emitted(ROOT / "examples" / "kernels" / f"{name}.spak", archs)
