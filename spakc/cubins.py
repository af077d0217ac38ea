"""Cubins of an artifact, built ahead with NVRTC: no GPU, no driver."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread

from spak_runtime.build_worker import build_together
from spak_runtime.cache import KernelCache, digest
from spak_runtime.compilers import compiler_of
from spak_runtime.disassemble import disassemble_together
from spak_runtime.errors import BuildError, ToolError
from spak_runtime.machine_rules import broken_rules
from spak_runtime.manifest import KernelSpec, Variant
from spak_runtime.nvrtc import BuildRequest, Compiled
from spak_runtime.specialise import bindings, build_request
from spakc import machine_rules
from spakc.diagnostics import Sink
from spakc.emit.artifact import kernel_spec
from spakc.ir.module import Kernel
from spakc.plan.plan import Plan
from spakc.plan.variants import ahead_of_time
from spakc.record import record
from spakc.source import Span

MOST_PROCESSES = 8
LEAST_SHARE = 3
"""A process takes a fifth of a second to start: one compilation or two are not worth it."""


def build_cubins(decided: Plan, files: Mapping[str, str]) -> dict[str, str | bytes]:
    """`cubin/<arch>/<kernel>.<variant>[.<n>].cubin` for the default specialisation of every variant that a
    call can reach, launch by launch, and `cubin/index.json`: by digest (what the runtime looks for) the file, its
    checksum and the compiler's log. Other specialisations are built when a call first needs them, and refused there.

    `files` are those of the plan's artifact. Reports SPAK752 for a source that the device compiler refuses,
    SPAK705 at the schedule of a variant that spills, draws a message of `machine_rules.ADVISORIES` or, of those
    with warpgroup products, has its instructions in a bad order. Raises ToolError without nvdisasm.
    """
    headers = {n.removeprefix("include/"): text for n, text in files.items() if n.startswith("include/")}
    cache, sink = KernelCache(), Sink()
    built: dict[str, str | bytes] = {}
    cubins = {}
    jobs = [
        _Job(kernel, variant, arch, n, build_request(files, headers, variant, launch, binding, arch))
        for kernel, variant, arch in _wanted(decided)
        for binding in (next(bindings(kernel, variant)),)
        for n, launch in enumerate(variant.launches)
    ]
    _compile_side_by_side(cache, [job.request for job in jobs])
    compiler = ", ".join(sorted({compiler_of(job.request) for job in jobs}))
    done = [(job, found) for job in jobs if (found := _built(cache, job.request, sink)) is not None]
    faults: dict[bytes, list[str]] = {}
    for arch in decided.archs:
        products = [c.cubin for job, c in done if job.arch == arch and _has_products(job.request)]
        faults |= _faults(cache, products, arch)
    for job, compiled in done:
        for broken in (*broken_rules(compiled), *faults.get(compiled.cubin, ())):
            place = _place(decided.kernels[job.kernel.name].kernel, job.variant)
            message = f"variant {job.variant.id} on {job.arch}: {broken}"
            sink.report("SPAK705", message, place, "of this schedule")
        built[job.file] = compiled.cubin
        checksum = hashlib.sha256(compiled.cubin).hexdigest()
        cubins[digest(job.request, compiler)] = {"file": job.file, "sha256": checksum, "log": compiled.log}
    sink.stop_if_errors()
    index = {"schema": "spak-cubins/1", "compiler": compiler, "cubins": cubins}
    built["cubin/index.json"] = json.dumps(index, indent=1, sort_keys=True) + "\n"
    return built


@record
class _Job:
    """One launch of a variant, to be compiled for one architecture."""

    kernel: KernelSpec
    variant: Variant
    arch: str
    number: int
    request: BuildRequest

    @property
    def file(self) -> str:
        """The cubin's place in the artifact."""
        suffix = f".{self.number}" if len(self.variant.launches) > 1 else ""
        return f"cubin/{self.arch}/{self.kernel.name}.{self.variant.id}{suffix}.cubin"


def _built(cache: KernelCache, request: BuildRequest, sink: Sink) -> Compiled | None:
    try:
        return cache.build_unjudged(request)
    except BuildError as error:
        sink.report("SPAK752", str(error), None)
    return None


def _faults(cache: KernelCache, cubins: Sequence[bytes], arch: str) -> dict[bytes, list[str]]:
    """`broken_order` of each cubin. One without a fault is remembered beside the kernels, by its content and that of
    the rules: the disassembler takes as long as a compilation."""
    rules = Path(machine_rules.__file__).read_bytes()
    sound = {c: cache.root / "in_order" / hashlib.sha256(rules + c).hexdigest() for c in cubins}
    unknown = [cubin for cubin, kept in sound.items() if not kept.exists()]
    found: dict[bytes, list[str]] = {cubin: [] for cubin in sound}
    for cubin, code in zip(unknown, disassemble_together(unknown, arch) if unknown else (), strict=True):
        found[cubin] = list(machine_rules.broken_order(code))
        if not found[cubin]:
            with contextlib.suppress(OSError):
                sound[cubin].parent.mkdir(parents=True, exist_ok=True)
                sound[cubin].touch()
    return found


def _compile_side_by_side(cache: KernelCache, requests: Sequence[BuildRequest]) -> None:
    """Fills the cache with what it lacks, on every processor. What fails here is compiled, and told, afterwards.
    Warpgroup products come first: once they are there, their code is judged beside the other compilations."""
    missing = [r for r in requests if not (cache.folder / digest(r, compiler_of(r))).exists()]
    count = min(os.cpu_count() or 1, MOST_PROCESSES, len(missing) // LEAST_SHARE)
    if count < 2:
        return
    products, others = ([r for r in missing if _has_products(r) is wanted] for wanted in (True, False))
    judge = Thread(target=_judge_ahead, args=(cache, products))
    number = itertools.count(1)

    def done(request: BuildRequest) -> None:
        if _has_products(request) and next(number) == len(products):
            judge.start()

    build_together(cache, products + others, count, done)
    if judge.ident is not None:
        judge.join()


def _has_products(request: BuildRequest) -> bool:
    return "wgmma" in request.source


def _judge_ahead(cache: KernelCache, requests: Sequence[BuildRequest]) -> None:
    """Leaves the judgement of what is in order with the cache, for `_faults`; all else is told there."""
    for arch in sorted({request.arch for request in requests}):
        found = [cache.load(digest(r, compiler_of(r))) for r in requests if r.arch == arch]
        with contextlib.suppress(ToolError):
            _faults(cache, [compiled.cubin for compiled in found if compiled is not None], arch)


def _place(kernel: Kernel, variant: Variant) -> Span:
    """The schedule of a variant; the kernel where the file has none of that name."""
    schedule = kernel.schedules.get(variant.schedule)
    return schedule.span if schedule is not None else kernel.span


def _wanted(decided: Plan) -> Iterator[tuple[KernelSpec, Variant, str]]:
    for kernel in decided.kernels.values():
        spec = kernel_spec(kernel)
        for arch in decided.archs:
            selected = {variant.id for variant in ahead_of_time(kernel.variants, arch)}
            yield from ((spec, variant, arch) for variant in spec.variants if variant.id in selected)
