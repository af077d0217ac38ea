"""The settings of an `implement`, checked: what no launch could have is said where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from spakc.diagnostics import Sink
from spakc.ir.module import Implementation, Kernel
from spakc.ir.ops import Const, Expr, Ref, Tuple
from spakc.plan.guards import runtime_expression

MOST_THREADS = 1024
CLUSTER = 8
"""Most blocks of a cluster."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parts_of(value: Expr) -> tuple[Expr, ...]:
    """The members of a tuple; any other value alone."""
    return value.items if isinstance(value, Tuple) else (value,)


def check_implementation(kernel: Kernel, implementation: Implementation, sink: Sink) -> None:
    """Reports settings that no launch can have (SPAK324)."""
    for problem, span_of in _problems(kernel, implementation):
        sink.report("SPAK324", problem, span_of.span or implementation.span, "of this implementation")


def _problems(kernel: Kernel, implementation: Implementation) -> Iterator[tuple[str, Expr | Implementation]]:
    settings = implementation.settings
    if implementation.name in kernel.schedules:
        yield f"`{implementation.name}` is a schedule of {kernel.name}, too", implementation
    entry = settings["entry"]
    if not _NAME.fullmatch(str(getattr(entry, "value", ""))):
        yield "an `entry` is the name of a function", entry
    for key, most in (("grid", 3), ("cluster", 3), ("threads", 1), ("shared", 1)):
        parts = parts_of(settings[key]) if key in settings else ()
        if len(parts) > most:
            yield f"`{key}` has at most {most} {'sizes' if most > 1 else 'size'}", settings[key]
        for part in parts:
            if runtime_expression(part) is None or isinstance(getattr(part, "value", 0), (str, float)):
                yield f"`{key}` is a whole number that a call can work out", part
            elif isinstance(part, Const) and int(part.value) < (0 if key == "shared" else 1):
                yield f"`{key}` is at least 1", part
    threads = settings["threads"]
    if isinstance(threads, Const) and int(threads.value) > MOST_THREADS:
        yield f"a block has at most {MOST_THREADS} threads", threads
    for part in parts_of(settings["cluster"]) if "cluster" in settings else ():
        if not isinstance(part, Const) or not 1 <= int(part.value) <= CLUSTER:
            yield f"a `cluster` is a number from 1 to {CLUSTER} along each axis", part
    for need in implementation.needs:
        if runtime_expression(need) is None:
            yield "what an implementation `needs` is about sizes, options, dtypes and the device", need
    yield from _problems_of_arguments(kernel, implementation)


def _problems_of_arguments(
    kernel: Kernel, implementation: Implementation
) -> Iterator[tuple[str, Expr | Implementation]]:
    given = implementation.settings.get("arguments")
    if given is None:
        return
    passed = {part.name for part in parts_of(given) if isinstance(part, Ref)}
    for part in parts_of(given):
        is_tensor = isinstance(part, Ref) and part.name in kernel.tensors
        is_whole = runtime_expression(part) is not None and not isinstance(
            getattr(part, "value", 0), (str, float)
        )
        if not is_tensor and not is_whole:
            yield "an argument is a tensor, a dim, an option or a number that a call can work out", part
    for name, tensor in kernel.tensors.items():
        if tensor.role != "input" and name not in passed:
            yield f"nothing could write `{name}`: it is none of the `arguments`", given
