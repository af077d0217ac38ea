"""Running the cases of a verification on the emulator. An edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spak_runtime.emulator import EmulatorError, Report
from spak_runtime.emulator.call import Call, environment_of, run_variant
from spak_runtime.errors import BuildError
from spak_runtime.expressions import evaluate
from spakc.ir.types import DType
from spakc.resources import resource
from spakc.verify.arrays import Array
from spakc.verify.case import Case
from spakc.verify.examine import Counters, Finding, Observed, quoting
from spakc.verify.failure import Line
from spakc.verify.inputs import gap_bytes, nobodys, place, shape_of
from spakc.verify.oracle import NUMPY
from spakc.verify.tested import UnderTest

_OUTPUT_TILES = ("spak/output_slab.cuh", "spak/slab_store.cuh")
"""Headers whose shared memory holds tiles of outputs. What any other line keeps there belongs to inputs."""


@dataclass(frozen=True)
class OnEmulator:
    """Runs cases on the emulator. `sources` are the emitted files by path, `overlay` folders whose headers
    stand in for those of the templates.

    `checks` off leaves what a plain run would show: values, crashes, deadlocks, accesses out of bounds; copies
    then land at once, so that nothing is poisoned. `isolate` off runs kernels in this very process, a child
    that may die."""

    sources: Mapping[str, str]
    overlay: tuple[Path, ...] = ()
    checks: bool = True
    timeout_seconds: int = 60
    isolate: bool = True

    def __call__(self, tested: UnderTest, case: Case, given: Mapping[str, Array | None]) -> Observed:
        """Raises ToolError where the emulator cannot be had."""
        tensors = placed(tested, case, given)
        call = Call(tensors, case.dtypes, case.layouts, case.dims, case.options, case.sms)
        written = {n: tensors[n] for n, t in tested.kernel.tensors.items() if t.role != "input"}
        before = {name: gap_bytes(array) for name, array in written.items() if array is not None}
        try:
            reports = run_variant(
                tested.spec,
                tested.variant,
                self.sources,
                [*self.overlay, resource("templates") / "cuda" / "include"],
                call,
                seed=case.seed,
                async_mode=case.mode if self.checks else "eager",  # type: ignore[arg-type]
                contract=case.contract,
                checks=self.checks,
                timeout_seconds=self.timeout_seconds,
                isolate=self.isolate,
            )
        except BuildError as error:
            return Observed({}, (Finding(str(error)),), built=False)
        findings = tuple(self._finding(error) for report in reports for error in report.errors)
        outputs = {name: array for name, array in written.items() if array is not None}
        touched = tuple(name for name, array in outputs.items() if gap_bytes(array) != before[name])
        return Observed(
            {name: np.ascontiguousarray(array) for name, array in outputs.items()},
            findings,
            touched,
            _counters(tested, call, reports),
            visits=_visits(reports),
        )

    def _finding(self, error: EmulatorError) -> Finding:
        lines: list[Line] = []
        for place_ in (error.place, error.other):
            if place_ is None:
                continue
            rows = self.sources.get(place_.file, "").splitlines()
            text = rows[place_.line - 1].strip() if place_.line <= len(rows) else ""
            line = Line(place_.file, place_.line, text)
            lines += [line, *quoting(self.sources, line)]
        return Finding(str(error), tuple(lines))


def placed(tested: UnderTest, case: Case, given: Mapping[str, Array | None]) -> dict[str, Array | None]:
    """Every tensor of the case in memory of its own. Outputs are poisoned: whoever finds NaN there, or the
    pattern of an integer, knows that nothing was written."""
    tensors: dict[str, Array | None] = {}
    for name, tensor in tested.kernel.tensors.items():
        values = given.get(name)
        if tensor.role == "output":
            dtype = NUMPY[DType(case.dtypes[name])]
            values = np.full(shape_of(tensor, case.dims), nobodys(dtype), dtype)
        if values is not None:
            values = place(values, case.layouts[name], case.pads.get(name, 0), case.offsets.get(name, 0))
        tensors[name] = values
    return tensors


def _counters(tested: UnderTest, call: Call, reports: list[Report]) -> Counters:
    traffic: dict[str, int] = {}
    for report in reports:
        for name, moved in report.bytes.items():
            traffic[name] = traffic.get(name, 0) + moved.read + moved.written
    conflicts: dict[str, int] = {}
    requests: dict[str, int] = {}
    for access in (access for report in reports for access in report.conflicts):
        role = "output" if access.place.file.endswith(_OUTPUT_TILES) else "input"
        conflicts[role] = conflicts.get(role, 0) + access.units - access.ideal
        requests[role] = requests.get(role, 0) + access.requests
    environment = environment_of(tested.spec, tested.variant, call)
    blocks = threads = memory = 0
    for launch in tested.variant.launches:
        x, y, z = (int(evaluate(size, environment)) for size in launch.grid)
        blocks += x * y * z
        threads = max(threads, int(evaluate(launch.threads, environment)))
        memory = max(memory, int(evaluate(launch.shared_bytes, environment)))
    return Counters(traffic, conflicts, requests, blocks, threads, memory)


def _visits(reports: list[Report]) -> dict[tuple[str, int], int]:
    visits: dict[tuple[str, int], int] = {}
    for report in reports:
        for line, count in report.visits.items():
            visits[line.file, line.line] = visits.get((line.file, line.line), 0) + count
    return visits
