"""Every hand-written kernel of a file as it would stand in an artifact, whether it is chosen or not. An edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spak_runtime.manifest import Variant
from spakc.check.checked import CheckedModule, HandWritten
from spakc.diagnostics import Sink
from spakc.emit.artifact import kernel_spec
from spakc.ir.module import Device, Kernel
from spakc.plan.hand_written import alone, variant_of
from spakc.plan.plan import devices_of
from spakc.record import record
from spakc.verify.tested import UnderTest


@record
class Candidate:
    """A hand-written kernel with its launch. `sources` are its own, by path in an artifact."""

    kernel: Kernel
    written: HandWritten
    tested: UnderTest
    sources: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.written.implementation.name

    @property
    def variant(self) -> Variant:
        return self.tested.variant

    @property
    def statement(self) -> str:
        """The id of the statement that declares it."""
        return f"implement {self.kernel.name} as {self.name}"


def candidates(checked: CheckedModule, devices: tuple[Device, ...] = ()) -> Iterator[Candidate]:
    """Those that are for one of these devices, by default the targets of the file."""
    module = checked.module
    if not checked.hand_written:
        return
    there = devices or devices_of(module, (), Sink())
    for written in checked.hand_written:
        kernel = module.kernels[written.implementation.kernel]
        planned = variant_of(kernel, written, there, "")
        if planned is None:
            continue
        spec = kernel_spec(alone(kernel, planned))
        tested = UnderTest(kernel, spec, spec.variants[0])
        yield Candidate(kernel, written, tested, {planned.launches[0].source: written.text})
