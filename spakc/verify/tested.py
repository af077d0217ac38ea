"""A variant under test: its place in the artifact, and the mathematics that it is held to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from spak_runtime.expressions import Evaluator, compile_expression
from spak_runtime.manifest import KernelSpec, Variant
from spakc.ir.module import Gradient, Kernel, Law, Verification
from spakc.record import record


@record
class Derived:
    """Of a gradient's kernel: the kernel that it is the derivative of, and the forward outputs that it
    reads."""

    forward: Kernel
    gradient: Gradient
    saves: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class UnderTest:
    """`kernel` is the mathematics of this very variant, `derived` where that is a gradient."""

    kernel: Kernel
    spec: KernelSpec
    variant: Variant
    derived: Derived | None = None

    @cached_property
    def source(self) -> Kernel:
        """The kernel of the file: what declares shapes, values and laws."""
        return self.derived.forward if self.derived is not None else self.kernel

    @property
    def verification(self) -> Verification | None:
        return self.source.verification

    @property
    def laws(self) -> tuple[Law, ...]:
        return self.source.laws

    @cached_property
    def guards(self) -> tuple[tuple[str, Evaluator], ...]:
        """The variant's guards: the law that asks, and whether it holds in an environment."""
        return tuple((g.law, compile_expression(g.condition, f"guard {g.law}")) for g in self.variant.guards)

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def name(self) -> str:
        return f"{self.spec.name}.{self.variant.id}"
