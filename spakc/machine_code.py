"""What the device compiler made of a variant: registers, spills, instructions. An edge; needs no GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from spak_runtime.cache import KernelCache
from spak_runtime.disassemble import disassemble
from spak_runtime.errors import BuildError, ExpressionError
from spak_runtime.expressions import Environment, TensorFacts, evaluate
from spak_runtime.machine_rules import broken_rules
from spak_runtime.manifest import Expression
from spak_runtime.specialise import Binding, build_request
from spakc.record import record
from spakc.verify.specialisations import Specialisation
from spakc.verify.tested import UnderTest


@record
class MachineCode:
    """Of all launches of a specialisation: the most registers a thread has, bytes spilled, instructions by
    name; the most threads and dynamic shared memory of a launch, None where they depend on the sizes of a
    call; the rules that it breaks, for which no call would get it."""

    registers: int
    spill_bytes: int
    instructions: Mapping[str, int]
    threads: int | None
    shared_bytes: int | None
    broken: tuple[str, ...] = ()


def compile_one(
    tested: UnderTest,
    chosen: Specialisation,
    files: Mapping[str, str],
    arch: str,
    count: Sequence[str],
    cache: KernelCache,
) -> MachineCode:
    """Compiles a specialisation for one architecture and counts the instructions `count`.

    Raises BuildError for a source that the device compiler refuses or that lacks the kernel, ToolError without
    NVRTC or, where something is to be counted, nvdisasm."""
    headers = {name.removeprefix("include/"): t for name, t in files.items() if name.startswith("include/")}
    binding = Binding(
        {name: dtype.value for name, dtype in chosen.dtypes.items()},
        chosen.layouts,
        {name: name not in chosen.absent for name in chosen.dtypes},
        chosen.options,
        chosen.dims,
    )
    registers = spilled = 0
    found = dict.fromkeys(count, 0)
    broken: list[str] = []
    for launch in tested.variant.launches:
        built = cache.build_unjudged(build_request(files, headers, tested.variant, launch, binding, arch))
        resources = built.entries.get(launch.entry)
        if resources is None:
            raise BuildError(f'no `extern "C"` kernel {launch.entry!r}', log=built.log)
        registers, spilled = max(registers, resources.registers), spilled + resources.spill_bytes
        broken += broken_rules(built)
        if count:
            code = disassemble(built.cubin)
            found = {name: number + code.count(name) for name, number in found.items()}
    facts = {
        name: TensorFacts(d.value, d.bytes, (), chosen.layouts[name]) for name, d in chosen.dtypes.items()
    }
    environment = Environment(chosen.dims, tested.variant.config, chosen.options, {}, facts)
    threads = _most((launch.threads for launch in tested.variant.launches), environment)
    shared = _most((launch.shared_bytes for launch in tested.variant.launches), environment)
    return MachineCode(registers, spilled, found, threads, shared, tuple(broken))


def _most(expressions: Iterable[Expression], environment: Environment) -> int | None:
    try:
        return max((int(evaluate(each, environment)) for each in expressions), default=0)
    except ExpressionError:
        return None
