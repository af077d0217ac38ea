"""From a variant to what the device compiler gets: macros, the source, and only the headers that it reaches.

A specialisation is a variant with dtypes, layouts, presence, compiled options and compiled dims bound.
Pure: needs neither torch nor a GPU, so a compiler may build every specialisation ahead of time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spak_runtime.errors import ArtifactError
from spak_runtime.expressions import Environment, evaluate
from spak_runtime.manifest import KernelSpec, Launch, OptionSpec, TensorSpec, Variant
from spak_runtime.nvrtc import BuildRequest

C_TYPES = {
    "bf16": "spak::bf16",
    "f16": "spak::f16",
    "f32": "spak::f32",
    "f64": "double",
    "int32": "spak::i32",
    "int64": "spak::i64",
    "bool": "bool",
}
"""The device type of each element type: the value of a DTYPE_ macro."""

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Binding:
    """What the axes of a variant may ask for, by name: dtype words, "row" | "column", presence, option
    values, sizes."""

    dtypes: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    present: Mapping[str, bool] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)


def macros(variant: Variant, binding: Binding) -> dict[str, str]:
    """Every macro of a specialisation and its value. Raises ArtifactError for an axis that the binding
    lacks, ExpressionError for a derived one without a value."""
    known = Environment(binding.dims, variant.config)
    derived = {name: _word(evaluate(value, known, name)) for name, value in variant.derived.items()}
    return dict(variant.defines) | derived | {axis: _axis_value(axis, binding) for axis in variant.axes}


def build_request(
    sources: Mapping[str, str],
    headers: Mapping[str, str],
    variant: Variant,
    launch: Launch,
    binding: Binding,
    arch: str,
) -> BuildRequest:
    """The compilation of one launch of a variant. `sources` by path in the artifact, `headers` by include
    name."""
    if launch.source not in sources:
        raise ArtifactError(f"variant {variant.id} names {launch.source}, which the artifact does not hold")
    source = sources[launch.source]
    options = tuple(f"-D{name}={value}" for name, value in sorted(macros(variant, binding).items()))
    return BuildRequest(launch.source, source, reachable(source, headers), options, arch)


def reachable(source: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that a source includes, directly or through others, by name; names that are unknown are
    left to the device compiler to report."""
    found: dict[str, str] = {}
    waiting = _INCLUDE.findall(source)
    while waiting:
        name = waiting.pop()
        if name in headers and name not in found:
            found[name] = headers[name]
            waiting += _INCLUDE.findall(headers[name])
    return dict(sorted(found.items()))


def bindings(kernel: KernelSpec, variant: Variant) -> Iterator[Binding]:
    """Every specialisation of a variant, the one of first choices and defaults first.

    Guards are not asked: some of these may never be chosen at run time.
    """
    free = {t.name: _dtype_choices(t) for t in kernel.tensors}
    names = [axis.partition("_") for axis in variant.axes]
    wanted_dtypes = {n for kind, _, n in names if kind == "DTYPE"}
    tensors = {t.name: t for t in kernel.tensors}
    varying: dict[tuple[str, str], tuple[Any, ...]] = {
        ("dtype", name): free[name]
        for name in free
        if name in wanted_dtypes | _sources(tensors, wanted_dtypes)
    }
    for kind, _, name in names:
        if kind == "LAYOUT":
            varying["layout", name] = tensors[name].layouts or ("row",)
        elif kind == "PRESENT":
            varying["present", name] = (True, False)
        elif kind == "OPTION":
            varying["option", name] = _option_choices({o.name: o for o in kernel.options}[name])
        elif kind == "DIM":
            varying["dim", name] = kernel.dims[name] or ()
    for values in itertools.product(*varying.values()):
        chosen = dict(zip(varying, values, strict=True))
        part = {
            kind: {name: value for (k, name), value in chosen.items() if k == kind}
            for kind in ("dtype", "layout", "present", "option", "dim")
        }
        dtypes = {name: _resolved(name, tensors, part["dtype"]) for name in free}
        yield Binding(dtypes, part["layout"], part["present"], part["option"], part["dim"])


def _axis_value(axis: str, binding: Binding) -> str:
    kind, _, name = axis.partition("_")
    try:
        if kind == "DTYPE":
            return C_TYPES[binding.dtypes[name]]
        if kind == "LAYOUT":
            return binding.layouts[name]
        if kind == "PRESENT":
            return str(int(binding.present[name]))
        if kind == "OPTION":
            return _word(binding.options[name])
        if kind == "DIM":
            return str(int(binding.dims[name]))
    except KeyError:
        raise ArtifactError(f"the axis {axis} of a variant names nothing of its kernel") from None
    raise ArtifactError(f"{axis} is no axis: one begins with DTYPE_, LAYOUT_, PRESENT_, OPTION_ or DIM_")


def _word(value: Any) -> str:
    """A value as the device compiler reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _dtype_choices(tensor: TensorSpec) -> tuple[str, ...]:
    """`""` stands for the dtype of `same_as`."""
    return (*(("",) if tensor.same_as else ()), *tensor.dtypes)


def _sources(tensors: Mapping[str, TensorSpec], names: set[str]) -> set[str]:
    """The tensors whose dtype others follow."""
    found: set[str] = set()
    for name in names:
        follows = tensors[name].same_as
        while follows and follows not in found:
            found.add(follows)
            follows = tensors[follows].same_as
    return found


def _resolved(name: str, tensors: Mapping[str, TensorSpec], chosen: Mapping[str, str]) -> str:
    word = chosen.get(name) or ""
    tensor = tensors[name]
    if word:
        return word
    return _resolved(tensor.same_as, tensors, chosen) if tensor.same_as else tensor.dtypes[0]


def _option_choices(option: OptionSpec) -> tuple[Any, ...]:
    if option.choices:
        return (option.default, *(c for c in option.choices if c != option.default))
    if option.dtype == "bool":
        return (bool(option.default), not option.default)
    return (option.default,)
