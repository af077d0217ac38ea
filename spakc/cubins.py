"""Cubins of an artifact, built ahead with NVRTC: no GPU, no driver."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from spak_runtime.build_worker import workers
from spak_runtime.cache import KernelCache, digest
from spak_runtime.disassemble import disassemble
from spak_runtime.errors import BuildError
from spak_runtime.manifest import KernelSpec, Manifest, Variant
from spak_runtime.nvrtc import BuildRequest, version
from spak_runtime.specialise import bindings, build_request
from spakc import machine_rules
from spakc.diagnostics import Sink
from spakc.ir.module import Kernel
from spakc.machine_rules import broken_rules
from spakc.plan.plan import Plan
from spakc.plan.variants import reachable
from spakc.source import Span

MOST_PROCESSES = 8
LEAST_SHARE = 3
"""A process takes a fifth of a second to start: one compilation or two are not worth it."""


def build_cubins(decided: Plan, files: Mapping[str, str]) -> dict[str, str | bytes]:
    """`cubin/<arch>/<kernel>.<variant>[.<n>].cubin` for the default specialisation of every variant that a
    call can reach, launch by launch, and `cubin/index.json`: by digest (what the runtime looks for) the file, its
    checksum and the compiler's log. Other specialisations are built when a call first needs them.

    `files` are those of the plan's artifact. Reports SPAK752 for a source that the device compiler refuses,
    SPAK705 at the schedule of a variant that spills, draws a message of `machine_rules.ADVISORIES` or, of those
    with warpgroup products, has its instructions in a bad order. Raises ToolError without nvdisasm.
    """
    manifest = Manifest.from_json(files["manifest.json"])
    headers = {n.removeprefix("include/"): text for n, text in files.items() if n.startswith("include/")}
    compiler = "nvrtc " + ".".join(map(str, version()))
    cache, sink = KernelCache(), Sink()
    built: dict[str, str | bytes] = {}
    cubins = {}
    requests = [
        (kernel, variant, arch, number, build_request(files, headers, variant, launch, binding, arch))
        for kernel, variant, arch in _wanted(decided, manifest)
        for binding in (next(bindings(kernel, variant)),)
        for number, launch in enumerate(variant.launches)
    ]
    _compile_side_by_side(cache, [request for *_, request in requests], compiler)
    for kernel, variant, arch, number, request in requests:
        try:
            compiled = cache.build(request)
        except BuildError as error:
            sink.report("SPAK752", str(error), None)
            continue
        order = _order(cache, compiled.cubin) if "wgmma" in request.source else []
        for broken in (*broken_rules(compiled), *order):
            place = _place(decided.kernels[kernel.name].kernel, variant)
            sink.report("SPAK705", f"variant {variant.id} on {arch}: {broken}", place, "of this schedule")
        suffix = f".{number}" if len(variant.launches) > 1 else ""
        name = f"cubin/{arch}/{kernel.name}.{variant.id}{suffix}.cubin"
        built[name] = compiled.cubin
        checksum = hashlib.sha256(compiled.cubin).hexdigest()
        cubins[digest(request, compiler)] = {"file": name, "sha256": checksum, "log": compiled.log}
    sink.stop_if_errors()
    index = {"schema": "spak-cubins/1", "compiler": compiler, "cubins": cubins}
    built["cubin/index.json"] = json.dumps(index, indent=1, sort_keys=True) + "\n"
    return built


def _order(cache: KernelCache, cubin: bytes) -> list[str]:
    """`broken_order` of a cubin. One without a fault is remembered beside the kernels, by its content and that of the
    rules: a disassembly takes as long as a tenth of a compilation."""
    key = hashlib.sha256(Path(machine_rules.__file__).read_bytes() + cubin).hexdigest()
    sound = cache.root / "in_order" / key
    if sound.exists():
        return []
    found = list(machine_rules.broken_order(disassemble(cubin)))
    if not found:
        with contextlib.suppress(OSError):
            sound.parent.mkdir(parents=True, exist_ok=True)
            sound.touch()
    return found


def _compile_side_by_side(cache: KernelCache, requests: Sequence[BuildRequest], compiler: str) -> None:
    """Fills the cache with what it lacks, on every processor. What fails here is compiled, and told, afterwards."""
    missing = [r for r in requests if not (cache.folder / digest(r, compiler)).exists()]
    count = min(os.cpu_count() or 1, MOST_PROCESSES, len(missing) // LEAST_SHARE)
    if count < 2:
        return
    shares = [missing[first::count] for first in range(count)]
    with workers(cache, shares[1:]):
        for request in shares[0]:
            with contextlib.suppress(BuildError):
                cache.build(request)


def _place(kernel: Kernel, variant: Variant) -> Span:
    """The schedule of a variant; the kernel where the file has none of that name."""
    schedule = kernel.schedules.get(variant.schedule)
    return schedule.span if schedule is not None else kernel.span


def _wanted(decided: Plan, manifest: Manifest) -> Iterator[tuple[KernelSpec, Variant, str]]:
    for name, kernel in decided.kernels.items():
        spec = manifest.kernels[name]
        for arch in decided.archs:
            selected = {variant.id for variant in reachable(kernel.variants, arch)}
            yield from ((spec, variant, arch) for variant in spec.variants if variant.id in selected)
