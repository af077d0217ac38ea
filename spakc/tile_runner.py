"""Running the cases of a verification on the interpreter of programs over tiles. An edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spak_runtime.emulator.call import Call, environment_of
from spak_runtime.emulator.tiles import Tensor, TileMistake, run_program
from spak_runtime.expressions import evaluate
from spak_runtime.params import value_of
from spak_runtime.specialise import Binding, build_request
from spakc.emulator_runner import placed
from spakc.verify.arrays import Array
from spakc.verify.case import Case
from spakc.verify.examine import Finding, Observed
from spakc.verify.inputs import gap_bytes
from spakc.verify.tested import UnderTest


@dataclass(frozen=True)
class OnTiles:
    """Runs cases of variants for cuTile. `sources` are the emitted files by path."""

    sources: Mapping[str, str]

    def __call__(self, tested: UnderTest, case: Case, given: Mapping[str, Array | None]) -> Observed:
        arrays = placed(tested, case, given)
        call = Call(arrays, case.dtypes, case.layouts, case.dims, case.options)
        environment = environment_of(tested.spec, tested.variant, call)
        present = {name: array is not None for name, array in arrays.items()}
        binding = Binding(case.dtypes, case.layouts, present, case.options, case.dims)
        options = {option.name: option for option in tested.spec.options}
        tensors = {n: Tensor(n, a if a is not None else np.zeros(0)) for n, a in arrays.items()}
        roles = {name: tensor.role for name, tensor in tested.kernel.tensors.items()}
        written = {n: a for n, a in arrays.items() if a is not None and roles[n] != "input"}
        before = {name: gap_bytes(array) for name, array in written.items()}
        findings: list[Finding] = []
        for launch in tested.variant.launches:
            request = build_request(self.sources, {}, tested.variant, launch, binding, "")
            arguments: list[Any] = []
            for param in launch.params:
                if param.kind == "pointer":
                    arguments.append(tensors[param.name])
                elif param.kind in ("dim", "option"):
                    arguments.append(value_of(param, environment, options, launch.entry))
            x, y, z = (int(evaluate(size, environment)) for size in launch.grid)
            try:
                run_program(request.source, request.options, launch.entry, arguments, x * y * z)
            except TileMistake as mistake:
                findings.append(Finding(str(mistake)))
        touched = tuple(name for name, array in written.items() if gap_bytes(array) != before[name])
        return Observed({n: np.ascontiguousarray(a) for n, a in written.items()}, tuple(findings), touched)
