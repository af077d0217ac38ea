"""The manifest of an artifact: the one interface between what the compiler writes and what the runtime loads.

Pure data, importable by both sides; JSON on disk.

Expressions are JSON prefix lists for `spak_runtime.expressions`; a number, a bool or a string is itself:
    ["ceil_div", ["dim", "M"], ["knob", "tile_m"]]
Atoms:
    ["dim", d]  ["knob", k]  ["option", o]  ["fact", key] (of the device)
    ["sizeof", tensor]  ["dtype", tensor]  ["layout", tensor] ("row" | "column")  ["present", tensor]
    ["stride", tensor, axis] (elements)
    ["alignment", tensor] (largest power of two dividing the pointer, bytes, at most 256)
Operations: the scalar ones of `spakc.ir.ops.OPS` (add, mul, and, or, min, max take two or more), and
    ["member", x, ["set", a, b, …]]  ["member", x, ["interval", first, last, by]] (both ends included)

Values of the macros that a specialisation binds (`Variant.axes`), as the runtime passes them to NVRTC:
    DTYPE_<tensor>    spak::bf16  spak::f16  spak::f32  double  spak::i32  spak::i64  bool
    LAYOUT_<tensor>   the word row (the last axis has stride 1) or column (the last but one has stride 1)
    PRESENT_<tensor>  1 given, 0 absent (its pointer is 0). Without this axis an absent tensor is passed in
                      full, every element its default
    OPTION_<option>   the chosen word; true or false for a bool; else the number
    DIM_<dim>         the size

A `math` file defines `forward(**tensors, **options)` over torch tensors. An absent optional tensor is passed
as one element of its default, expanded to its shape. It returns a dict: the new value of every output and
inout by name.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from dataclasses import field
from typing import Any

from spak_runtime.record import record

SCHEMA = "spak-artifact/1"

Expression = Any
"""bool | int | float | str | list: see the module docstring."""


@record
class TensorSpec:
    """role: input | output | inout | workspace. `dtypes` empty means the dtype of `same_as`. Both given:
    either (the caller's choice for an output). `default` fills an absent optional input."""

    name: str
    role: str
    dtypes: tuple[str, ...]
    same_as: str | None
    shape: tuple[Expression, ...]
    layouts: tuple[str, ...] = ()
    optional: bool = False
    default: float | int | bool | None = None


@record
class OptionSpec:
    """`choices` for words, else `dtype` (bool | int32 | f32). `compiled_in` options are part of a
    specialisation."""

    name: str
    choices: tuple[str, ...]
    dtype: str | None
    default: Expression
    compiled_in: bool


@record
class Guard:
    """A condition over run-time values; a call for which it is false goes to the next variant. `law` is the
    law (or the template's own need) that asks for it, `reason` what to tell the user."""

    law: str
    condition: Expression
    reason: str


@record
class Param:
    """One field of the parameter struct, in order. kind: pointer | stride | dim | option | value |
    tensor_map. type: u64 | i64 | i32 | f32 | map. `value` evaluates an expression at launch. Fields lie as
    in C: each aligned to its size, a map to 64 bytes. An option that is a word is passed as its position
    among the choices. A tensor_map has value ["tensor_map", swizzle_bytes (0 | 32 | 64 | 128), [dims],
    [strides], [box]]: dims and box in elements, innermost first; strides in elements, of all dims but the
    innermost."""

    kind: str
    type: str
    name: str = ""
    axis: int = 0
    value: Expression = None


@record
class Launch:
    """One kernel launch of a variant. `source` is relative to the artifact, `entry` an extern "C" name. It takes one
    struct of all `params`, or with `one_by_one` each as an argument of its own, in the order and type of the struct's
    fields. One that `overlaps` may begin before the kernel before it in its stream has ended: it waits by itself,
    before it touches memory (programmatic dependent launch, sm_90). What an `unordered` one adds up in memory has other
    last bits from run to run. Outputs, by name, of one that `adds` are the sums over the first axis of a tensor of the
    workspace each, and it does nothing else: who adds up the parts of several calls may leave it out."""

    source: str
    entry: str
    params: tuple[Param, ...]
    grid: tuple[Expression, Expression, Expression]
    threads: Expression
    shared_bytes: Expression
    cluster: tuple[int, int, int] = (1, 1, 1)
    one_by_one: bool = False
    overlaps: bool = False
    unordered: bool = False
    adds: dict[str, str] = field(default_factory=dict)


@record
class Variant:
    """One schedule with one config. `defines` are the macros every specialisation gets (KNOB_tile_m …),
    `derived` those that follow from knobs and compiled dims (PLAN_query_slots …);
    `axes` are the macros a specialisation binds: "DTYPE_<tensor>", "LAYOUT_<tensor>", "PRESENT_<tensor>",
    "OPTION_<option>", "DIM_<dim>". `archs` are the targets it is lawful on (sm_80 …).

    Where several variants admit a call: of each schedule the one that breaks fewest of its `prefers`, of these
    the one with the least estimate; of all schedules the one with the least estimate. `estimates` are seconds
    by architecture, over dims and facts of the device; a variant without one answers what no variant before it
    does. `by_hand` names the file of a source that was written by hand, else it is empty."""

    id: str
    schedule: str
    config: dict[str, Any]
    archs: tuple[str, ...]
    defines: dict[str, str]
    axes: tuple[str, ...]
    guards: tuple[Guard, ...]
    launches: tuple[Launch, ...]
    workspace: tuple[TensorSpec, ...] = ()
    reason: str = ""
    estimates: dict[str, Expression] = field(default_factory=dict)
    prefers: tuple[Expression, ...] = ()
    by_hand: str = ""
    derived: dict[str, Expression] = field(default_factory=dict)


@record
class GradientSpec:
    """`kernel` (a key of the manifest's kernels) computes the gradients of `outputs` with respect to
    `inputs`. Its inputs are named like the forward's tensors, plus `grad_<output>`; its outputs are
    `grad_<input>`."""

    kernel: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    saves: tuple[str, ...] = ()


@record
class KernelSpec:
    """`math` is a Python file (relative) with the same computation in torch ops: `forward(**tensors,
    **options)`. `meaning` is the hash of its checked canonical form."""

    name: str
    family: str
    dims: dict[str, tuple[int, ...] | None]
    tensors: tuple[TensorSpec, ...]
    options: tuple[OptionSpec, ...]
    variants: tuple[Variant, ...]
    math: str
    gradients: tuple[GradientSpec, ...] = ()
    meaning: str = ""


@record
class Manifest:
    source: str
    targets: tuple[str, ...]
    kernels: dict[str, KernelSpec]
    facts: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # by arch: what the file says of its devices
    experiments: tuple[str, ...] = ()  # folders under models/
    schema: str = SCHEMA

    def to_json(self) -> str:
        return json.dumps(self, default=_fields, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> Manifest:
        """Raises ValueError with what is wrong, where."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(f"not a {SCHEMA} manifest")
        manifest = _read(Manifest, data, "manifest")
        assert isinstance(manifest, Manifest)
        return manifest


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, value: Any, where: str) -> Any:
    """Rebuilds records from JSON by their annotations."""
    if kind is Any:
        return value
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _read(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(args) != len(value):
            raise ValueError(f"{where}: expected {len(args)} items")
        return tuple(
            _read(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(args, value, strict=True))
        )
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object")
        return {key: _read(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object")
        hints = _hints(kind)
        unknown = value.keys() - hints.keys()
        if unknown:
            raise ValueError(f"{where}: unknown field {sorted(unknown)[0]}")
        try:
            return kind(**{key: _read(hints[key], item, f"{where}.{key}") for key, item in value.items()})
        except TypeError as error:
            raise ValueError(f"{where}: {error}") from None
    if kind in (int, str, bool, float) and not isinstance(value, (int, str, bool, float)):
        raise ValueError(f"{where}: expected {kind.__name__}")
    return value
