"""Which variant answers a call, and why not the others.

A variant admits a call if it is lawful on the device, its guards hold for the call and the device can make its
launches. Of those that do, the cost model's estimates for the sizes of the call decide (`manifest.Variant`).
Pure: an Environment in, a Choice out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spak_runtime.errors import ArchError, NoVariantError
from spak_runtime.expressions import Environment, Evaluator, compile_expression, render
from spak_runtime.manifest import KernelSpec, Launch, Variant

MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_THREADS = 1024
NONE_REFUSED: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class LaunchShape:
    """What one launch of a variant asks of the device for this call. `shared_bytes` is dynamic shared
    memory."""

    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int

    @property
    def is_empty(self) -> bool:
        return 0 in self.grid


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a variant does not answer a call: `law` says who asks, `why` what is false and what that means."""

    variant: str
    law: str
    why: str

    def __str__(self) -> str:
        return f"{self.variant}: {self.law}: {self.why}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant for a call, built for `arch`, and how long it should take (None without an estimate);
    `rejected` are the others that were asked."""

    variant: Variant
    arch: str
    shapes: tuple[LaunchShape, ...]
    environment: Environment
    rejected: tuple[Rejection, ...] = ()
    seconds: float | None = None
    violated: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """A device as a chooser sees it: the architecture names that it accepts, the best first, and measured
    facts."""

    name: str
    archs: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Chooser:
    """The variants of one kernel with their expressions compiled, once."""

    def __init__(self, kernel: KernelSpec, facts: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """`facts`: what the file says of its devices, by architecture. Raises ExpressionError."""
        self.kernel = kernel
        self.facts = facts or {}
        self._compiled = [_compile(kernel.name, variant) for variant in kernel.variants]

    @property
    def unordered(self) -> bool:
        """Whether some variant has other last bits from run to run."""
        return any(launch.unordered for variant in self.kernel.variants for launch in variant.launches)

    def choose(
        self,
        target: Target,
        environment: Environment,
        same_bits: bool = False,
        refused: Mapping[str, str] = NONE_REFUSED,
    ) -> Choice:
        """The variant for the call that `environment` describes (its knobs and facts are ignored); with `same_bits`,
        of those that compute the same bits every time. `refused`: why the code of some, by id, is not used.

        Raises ArchError where no variant is for this architecture, NoVariantError where each one has a
        guard that does not hold; both list what was asked.
        """
        rejected: list[Rejection] = []
        admitted: list[Choice] = []
        for variant, compiled in zip(self.kernel.variants, self._compiled, strict=True):
            arch = next((arch for arch in target.archs if arch in variant.archs), None)
            if arch is None:
                lawful = ", ".join(variant.archs)
                rejected.append(
                    Rejection(variant.id, "arch", f"lawful on {lawful}; the device is {target.archs[0]}")
                )
                continue
            if same_bits and any(launch.unordered for launch in variant.launches):
                rejected.append(Rejection(variant.id, "deterministic", "it adds up in any order"))
                continue
            if variant.id in refused:
                rejected.append(Rejection(variant.id, "machine code", refused[variant.id]))
                continue
            facts = {**self.facts.get(arch, {}), **target.facts}
            full = replace(environment, knobs=variant.config, facts=facts)
            outcome = _judge(variant, compiled, full, facts)
            if isinstance(outcome, Rejection):
                rejected.append(outcome)
                continue
            estimate = compiled.estimates.get(arch)
            if estimate is None:
                if not admitted:
                    return Choice(variant, arch, outcome, full, tuple(rejected))
                continue
            violated = sum(not holds(full) for holds in compiled.prefers)
            seconds = float(estimate(full))
            admitted.append(Choice(variant, arch, outcome, full, (), seconds, violated))
        if not admitted:
            raise self._refusal(target, rejected)
        best = _best(admitted)
        slower = [_slower(each, best) for each in admitted if each is not best]
        return replace(best, rejected=(*rejected, *slower))

    def _refusal(self, target: Target, rejected: Sequence[Rejection]) -> ArchError | NoVariantError:
        name = self.kernel.name
        if all(rejection.law == "arch" for rejection in rejected):
            archs = sorted({arch for variant in self.kernel.variants for arch in variant.archs})
            return ArchError(
                f"{name}: nothing was compiled for {target.name} ({target.archs[0]}); the artifact holds "
                f"variants for {', '.join(archs) or 'no architecture'}. Name the device in `targets`, or "
                f"compile with --arch {target.archs[0]}"
            )
        listed = "\n".join(f"  {rejection}" for rejection in rejected)
        return NoVariantError(f"{name}: no variant is lawful for this call on {target.name}:\n{listed}")


def _best(admitted: Sequence[Choice]) -> Choice:
    """The first of equals."""
    of_schedule: dict[str, Choice] = {}
    for each in admitted:
        known = of_schedule.get(each.variant.schedule)
        if known is None or _rank(each) < _rank(known):
            of_schedule[each.variant.schedule] = each
    return min(of_schedule.values(), key=lambda each: _rank(each)[1])


def _rank(choice: Choice) -> tuple[int, float]:
    assert choice.seconds is not None, "only variants with estimates are compared"
    return choice.violated, choice.seconds


def _slower(choice: Choice, best: Choice) -> Rejection:
    (violated, seconds), (_, least) = _rank(choice), _rank(best)
    preferred = (
        f", and the schedule would rather have another ({violated} `prefer` violated)" if violated else ""
    )
    why = f"estimated at {seconds * 1e6:.1f} us, {best.variant.id} at {least * 1e6:.1f} us{preferred}"
    return Rejection(choice.variant.id, "cost model", why)


@dataclass(frozen=True, slots=True)
class _CompiledLaunch:
    grid: tuple[Evaluator, Evaluator, Evaluator]
    threads: Evaluator
    shared_bytes: Evaluator


@dataclass(frozen=True, slots=True)
class _CompiledVariant:
    guards: tuple[Evaluator, ...]
    launches: tuple[_CompiledLaunch, ...]
    estimates: Mapping[str, Evaluator]
    prefers: tuple[Evaluator, ...]


def _compile(kernel: str, variant: Variant) -> _CompiledVariant:
    where = f"{kernel}, variant {variant.id}"
    guards = tuple(compile_expression(g.condition, f"{where}, guard `{g.law}`") for g in variant.guards)
    estimates = {arch: compile_expression(e, f"{where}, estimate") for arch, e in variant.estimates.items()}
    prefers = tuple(compile_expression(wanted, f"{where}, preference") for wanted in variant.prefers)
    launches = tuple(_compile_launch(where, launch) for launch in variant.launches)
    return _CompiledVariant(guards, launches, estimates, prefers)


def _compile_launch(where: str, launch: Launch) -> _CompiledLaunch:
    x, y, z = (compile_expression(size, f"{where}, grid of {launch.entry}") for size in launch.grid)
    return _CompiledLaunch(
        (x, y, z),
        compile_expression(launch.threads, f"{where}, threads of {launch.entry}"),
        compile_expression(launch.shared_bytes, f"{where}, shared bytes of {launch.entry}"),
    )


def _judge(
    variant: Variant, compiled: _CompiledVariant, environment: Environment, facts: Mapping[str, Any]
) -> tuple[LaunchShape, ...] | Rejection:
    for guard, holds in zip(variant.guards, compiled.guards, strict=True):
        if not holds(environment):
            reason = f" ({guard.reason})" if guard.reason else ""
            return Rejection(variant.id, guard.law, f"{render(guard.condition)} is false{reason}")
    shapes = []
    for launch, parts in zip(variant.launches, compiled.launches, strict=True):
        x, y, z = (int(size(environment)) for size in parts.grid)
        shape = LaunchShape((x, y, z), int(parts.threads(environment)), int(parts.shared_bytes(environment)))
        problem = _beyond_limits(shape, launch, facts)
        if problem:
            return Rejection(variant.id, "launch limits", problem)
        shapes.append(shape)
    return tuple(shapes)


def _beyond_limits(shape: LaunchShape, launch: Launch, facts: Mapping[str, Any]) -> str | None:
    for axis, size, most, cluster in zip("xyz", shape.grid, MAX_GRID, launch.cluster, strict=True):
        if not 0 <= size <= most:
            return f"grid.{axis} = {size} of {launch.entry} is beyond {most}"
        if size % cluster:
            return f"grid.{axis} = {size} of {launch.entry} is no multiple of its cluster of {cluster}"
    if not 0 < shape.threads <= MAX_THREADS:
        return f"{shape.threads} threads of {launch.entry} are beyond {MAX_THREADS}"
    capacity = facts.get("smem_per_block")
    if capacity is not None and shape.shared_bytes > capacity:
        return f"{shape.shared_bytes} bytes of shared memory of {launch.entry} are beyond {int(capacity)}"
    return None
