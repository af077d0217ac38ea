"""A call's arguments against a kernel's signature: names bound, dims inferred, everything checked, outputs
described.

Two steps. `Signature.bind` gives every argument its name; `Signature.resolve` checks the tensors and yields
a `Resolved`: all that expressions, allocation and launch need to know. What is wrong is said with both
places where two things disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from spak_runtime.dtypes import SIZES, TORCH, word_of
from spak_runtime.errors import (
    AlignmentError,
    CallError,
    DeviceError,
    DimError,
    DTypeError,
    OptionError,
    ShapeError,
    StrideError,
)
from spak_runtime.expressions import Environment, TensorFacts, compile_expression, evaluate, names_of, render
from spak_runtime.manifest import KernelSpec, OptionSpec, TensorSpec

MAX_ALIGNMENT = 256
INT32 = range(-(2**31), 2**31)


@dataclass(slots=True)
class Arguments:
    """The arguments of one call by name. `inputs` holds every input and inout, None where an optional one
    is absent; `outputs` those that the caller provides; `dtypes` (words) and `layouts` what the caller asks
    of outputs."""

    inputs: dict[str, torch.Tensor | None]
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    layouts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """How a tensor that the runtime allocates looks. Strides in elements."""

    name: str
    shape: tuple[Any, ...]
    strides: tuple[Any, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Resolved:
    """A checked call. `environment` has dims, options and tensors; `dtypes` and `layouts` cover every
    tensor of the signature; `allocated` are the outputs that the caller did not provide, `absent` the
    optional inputs not given."""

    device: torch.device
    environment: Environment
    dtypes: Mapping[str, str]
    layouts: Mapping[str, str]
    allocated: tuple[Form, ...]
    absent: tuple[str, ...]


class Signature:
    """What a kernel takes and gives, ready to check calls."""

    def __init__(self, kernel: KernelSpec) -> None:
        self.kernel = kernel
        self.name = kernel.name
        self.specs = {spec.name: spec for spec in kernel.tensors if spec.role != "workspace"}
        self.inputs = tuple(name for name, spec in self.specs.items() if spec.role in ("input", "inout"))
        self.inouts = tuple(name for name, spec in self.specs.items() if spec.role == "inout")
        self.outputs = tuple(name for name, spec in self.specs.items() if spec.role == "output")
        self.options = {option.name: option for option in kernel.options}
        self.late_options = frozenset(n for n, o in self.options.items() if names_of(o.default, "dim"))
        self._defaults = {
            name: self._default(option, {})
            for name, option in self.options.items()
            if name not in self.late_options
        }
        declared = self.specs.keys() | self.options.keys()
        self._asks = frozenset({"out", "dtype", "layout"} - declared)  # a declared name wins over ours
        self._shapes = {
            name: tuple(compile_expression(size, f"{self.name}, shape of {name}") for size in spec.shape)
            for name, spec in self.specs.items()
        }

    # ---- names -----------------------------------------------------------------------------------------

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Positional arguments are the inputs in the order of declaration; any tensor or option may be
        given by name.

        `out` is a tensor, a tuple of them or a dict by name; `dtype` (a torch dtype or a word) and `layout`
        ("row", "column") ask for outputs, for all of them or by name in a dict. Raises CallError,
        OptionError, DTypeError.
        """
        if len(args) > len(self.inputs):
            raise CallError(
                f"{self.name} takes {len(self.inputs)} tensors ({', '.join(self.inputs)}), {len(args)} were "
                "given; options are given by name"
            )
        given = dict(zip(self.inputs, args, strict=False))
        call = Arguments({}, options=self.default_options())
        for name, value in kwargs.items():
            if name in given:
                raise CallError(f"{self.name}: {name} is given twice, by place and by name")
            if name in self.options:
                call.options[name] = checked_option(self.name, self.options[name], value)
            elif name in self.outputs:
                self._provide(call, name, value)
            elif name in self.specs:
                given[name] = value
            elif name in self._asks:
                self._ask(call, name, value)
            else:
                raise CallError(f"{self.name} has no argument {name!r}; it has {', '.join(self._known())}")
        for name in self.inputs:
            value = given.get(name)
            if value is None and not self.specs[name].optional:
                raise CallError(f"{self.name}: the tensor {name} is missing")
            if value is not None and not isinstance(value, torch.Tensor):
                raise CallError(f"{self.name}: {name} must be a tensor, not {type(value).__name__}")
            call.inputs[name] = value
        return call

    def default_options(self) -> dict[str, Any]:
        """Options with the value that the declaration gives them; `resolve` adds those that follow from
        sizes."""
        return dict(self._defaults)

    def _default(self, option: OptionSpec, dims: Mapping[str, Any]) -> Any:
        value = evaluate(option.default, Environment(dims=dims), f"default of {option.name}")
        return checked_option(self.name, option, value)

    def _known(self) -> list[str]:
        return [*self.specs, *self.options, *sorted(self._asks)]

    def _provide(self, call: Arguments, name: str, value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, torch.Tensor):
            raise CallError(f"{self.name}: the output {name} must be a tensor, not {type(value).__name__}")
        if name in call.outputs:
            raise CallError(f"{self.name}: the output {name} is given twice")
        call.outputs[name] = value

    def _ask(self, call: Arguments, ask: str, value: Any) -> None:
        if value is None:
            return
        if ask == "out" and isinstance(value, (tuple, list)):
            if len(value) != len(self.outputs):
                raise CallError(f"{self.name} has {len(self.outputs)} outputs, `out` gives {len(value)}")
            value = dict(zip(self.outputs, value, strict=True))
        if not isinstance(value, Mapping):
            if ask == "out" and len(self.outputs) != 1:
                raise CallError(
                    f"{self.name} has {len(self.outputs)} outputs: `out` must be a tuple or a dict"
                )
            value = dict.fromkeys(self.outputs, value)
        for name, wanted in value.items():
            if name not in self.outputs:
                raise CallError(
                    f"{self.name} has no output {name!r}; it has {', '.join(self.outputs) or 'none'}"
                )
            if ask == "out":
                self._provide(call, name, wanted)
            elif ask == "dtype":
                call.dtypes[name] = self._asked_dtype(wanted)
            elif wanted not in (self.specs[name].layouts or ("row",)):
                raise StrideError(
                    f"{self.name}: the output {name} can be {_either(self.specs[name].layouts or ('row',))}, "
                    f"not {wanted!r}"
                )
            else:
                call.layouts[name] = wanted

    def _asked_dtype(self, wanted: Any) -> str:
        word = word_of(wanted) if isinstance(wanted, torch.dtype) else wanted
        if not isinstance(word, str) or word not in TORCH:
            raise DTypeError(f"{self.name}: {wanted!r} is no element type; they are {', '.join(TORCH)}")
        return word

    # ---- checks ----------------------------------------------------------------------------------------

    def resolve(self, call: Arguments) -> Resolved:
        """Checks devices, dtypes, shapes, strides and alignment of a bound call, and describes its outputs.
        Options whose default follows from sizes (`scale = rsqrt(D)`) get their value here.

        Raises DeviceError, DTypeError, ShapeError, StrideError, AlignmentError, DimError.
        """
        tensors: dict[str, torch.Tensor] = {n: t for n, t in call.inputs.items() if t is not None}
        tensors.update(call.outputs)
        device = self.device_of(tensors)
        if device.type not in ("cpu", "cuda"):
            raise DeviceError(
                f"{self.name}: no kernel runs on {device}; they run on cuda, their mathematics on cpu"
            )
        dtypes = self.dtypes_of(tensors, call.dtypes)
        dims = self._dims(tensors)
        late = self.late_options - call.options.keys()
        options = call.options | {name: self._default(self.options[name], dims) for name in late}
        facts: dict[str, TensorFacts] = {}
        layouts: dict[str, str] = {}
        allocated: list[Form] = []
        for name, spec in self.specs.items():
            word = dtypes[name]
            tensor = tensors.get(name)
            if tensor is not None:
                layouts[name], strides = self._lie(spec, tensor)
                facts[name] = TensorFacts(
                    word, SIZES[word], strides, layouts[name], self._alignment(name, tensor)
                )
                continue
            layouts[name] = call.layouts.get(name) or (spec.layouts or ("row",))[0]
            if spec.role == "output":
                form = self.form(name, dims, TORCH[word], layouts[name])
                allocated.append(form)
                facts[name] = TensorFacts(word, SIZES[word], form.strides, layouts[name])
            else:
                facts[name] = TensorFacts(
                    word, SIZES[word], (0,) * len(spec.shape), layouts[name], present=False
                )
        absent = tuple(name for name, tensor in call.inputs.items() if tensor is None)
        environment = Environment(dims=dims, options=options, tensors=facts)
        return Resolved(device, environment, dtypes, layouts, tuple(allocated), absent)

    def form(self, name: str, dims: Mapping[str, Any], dtype: torch.dtype, layout: str) -> Form:
        """The shape and strides of a tensor that the runtime allocates; sizes may be symbolic."""
        environment = Environment(dims=dims)
        shape = tuple(size(environment) for size in self._shapes[name])
        return Form(name, shape, strides_of(shape, layout), dtype)

    def shape_of(self, name: str, dims: Mapping[str, Any]) -> tuple[Any, ...]:
        """The declared shape of a tensor for given dims."""
        return tuple(size(Environment(dims=dims)) for size in self._shapes[name])

    def declared(self, name: str) -> str:
        """A tensor's shape as the file has it: `[M, K]`."""
        return "[" + ", ".join(render(size) for size in self.specs[name].shape) + "]"

    def device_of(self, tensors: Mapping[str, torch.Tensor]) -> torch.device:
        """The device that all tensors of a call lie on. Raises DeviceError."""
        devices = {name: tensor.device for name, tensor in tensors.items()}
        if not devices:
            raise DeviceError(f"{self.name}: no tensor is given, so there is no device to run on")
        (first, device), *others = devices.items()
        for name, other in others:
            if other != device:
                raise DeviceError(f"{self.name}: {first} is on {device}, {name} is on {other}")
        return device

    def dtypes_of(self, tensors: Mapping[str, torch.Tensor], asked: Mapping[str, str]) -> dict[str, str]:
        words: dict[str, str] = {}
        for name, spec in self.specs.items():
            tensor = tensors.get(name)
            word = word_of(tensor.dtype) if tensor is not None else asked.get(name)
            follows = spec.same_as
            allowed = (*((words[follows],) if follows in words else ()), *spec.dtypes)
            if word is None:
                words[name] = allowed[0]
            elif word in allowed:
                words[name] = word
            else:
                because = f" as {follows}" if follows and not spec.dtypes else ""
                raise DTypeError(
                    f"{self.name}: {name} is {word}, expected {_either(dict.fromkeys(allowed))}{because}"
                )
        return words

    def _dims(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
        dims: dict[str, int] = {}
        origin: dict[str, str] = {}
        for name, tensor in tensors.items():
            declared = self.specs[name].shape
            if tensor.dim() != len(declared):
                raise ShapeError(
                    f"{self.name}: {name} has {tensor.dim()} axes {list(tensor.shape)}, "
                    f"expected {len(declared)}: {self.declared(name)}"
                )
            for size, expression in zip(tensor.shape, declared, strict=True):
                dim = _plain_dim(expression)
                if dim is None:
                    continue
                if dims.setdefault(dim, size) != size:
                    raise ShapeError(
                        f"{self.name}: {dim} is {dims[dim]} in {origin[dim]} but {size} in "
                        f"{name} {list(tensor.shape)} = {self.declared(name)}"
                    )
                origin.setdefault(dim, f"{name} {list(tensor.shape)} = {self.declared(name)}")
        self._check_sizes(tensors, dims)
        self._check_domains(dims, origin)
        return dims

    def _check_sizes(self, tensors: Mapping[str, torch.Tensor], dims: Mapping[str, int]) -> None:
        for name, spec in self.specs.items():
            missing = set().union(*(names_of(size, "dim") for size in spec.shape)) - dims.keys()
            if missing and name in (*tensors, *self.outputs):
                dim = min(missing)
                raise DimError(
                    f"{self.name}: the size of {dim} in {name} = {self.declared(name)} follows from no tensor"
                )
            if name in tensors and list(tensors[name].shape) != list(self.shape_of(name, dims)):
                known = ", ".join(f"{dim} = {size}" for dim, size in dims.items())
                raise ShapeError(
                    f"{self.name}: {name} has shape {list(tensors[name].shape)}, expected "
                    f"{self.declared(name)} = {list(self.shape_of(name, dims))} ({known})"
                )

    def _check_domains(self, dims: Mapping[str, int], origin: Mapping[str, str]) -> None:
        for dim, size in dims.items():
            domain = self.kernel.dims.get(dim)
            if domain is not None and size not in domain:
                raise DimError(
                    f"{self.name}: {dim} is {size} in {origin[dim]}; it is compiled for {_either(domain)}"
                )
            if size not in INT32:
                raise DimError(f"{self.name}: {dim} is {size} in {origin[dim]}; sizes are below 2**31")

    def _lie(self, spec: TensorSpec, tensor: torch.Tensor) -> tuple[str, tuple[int, ...]]:
        """The layout and strides of a tensor. An axis of at most one element has no step: it is reported as
        0, as 1 where the layout wants it contiguous, whatever torch says."""
        shape, strides = tuple(tensor.shape), tensor.stride()
        layouts = spec.layouts or ("row",)
        layout = layout_of(shape, strides, layouts)
        if layout is None:
            wanted = " or ".join(_LAYOUT_WORDS[word] for word in layouts)
            raise StrideError(
                f"{self.name}: {spec.name} {list(shape)} has strides {list(strides)}, expected {wanted}; "
                f"{spec.name}.contiguous() makes a copy that fits"
            )
        if spec.role != "input" and any(
            step == 0 and size > 1 for size, step in zip(shape, strides, strict=True)
        ):
            raise StrideError(
                f"{self.name}: {spec.name} {list(shape)} is written, but its elements share memory: "
                f"strides {list(strides)}"
            )
        unit = len(shape) - (1 if layout == "row" else 2)
        steps = (
            step if size > 1 else int(axis == unit)
            for axis, (size, step) in enumerate(zip(shape, strides, strict=True))
        )
        return layout, tuple(steps)

    def _alignment(self, name: str, tensor: torch.Tensor) -> int:
        pointer = tensor.data_ptr()
        if pointer % tensor.element_size():
            raise AlignmentError(
                f"{self.name}: {name} begins at an address that is no multiple of its "
                f"{tensor.element_size()}-byte elements; clone() it"
            )
        return alignment_of(pointer)


_LAYOUT_WORDS = {"row": "stride 1 on the last axis", "column": "stride 1 on the last but one"}


def alignment_of(pointer: int) -> int:
    """The largest power of two, at most 256, that divides an address."""
    pointer |= MAX_ALIGNMENT
    return pointer & -pointer


def strides_of(shape: Sequence[Any], layout: str) -> tuple[Any, ...]:
    """The strides of a dense tensor: row: the last axis is contiguous, column: the last but one is."""
    order = list(range(len(shape)))
    if layout == "column" and len(shape) >= 2:
        order[-1], order[-2] = order[-2], order[-1]
    strides: list[Any] = [1] * len(shape)
    step: Any = 1
    for axis in reversed(order):
        strides[axis] = step
        step = step * shape[axis]
    return tuple(strides)


def layout_of(shape: Sequence[int], strides: Sequence[int], layouts: Sequence[str]) -> str | None:
    """Which of `layouts` describes a tensor: one whose unit axis really has stride 1 before one where that
    axis has a single element; None where none does."""
    if not shape or math.prod(shape) == 0:
        return layouts[0]
    single: str | None = None
    for layout in layouts:
        axis = len(shape) - (1 if layout == "row" else 2)
        if axis < 0:
            continue
        if strides[axis] == 1 and shape[axis] > 1:
            return layout
        if shape[axis] == 1:
            single = single or layout
    return single


def checked_option(kernel: str, option: OptionSpec, value: Any) -> Any:
    """The value of an option as expressions see it. Raises OptionError."""
    if option.choices:
        if value not in option.choices:
            raise OptionError(f"{kernel}: {option.name} is {_either(option.choices)}, not {value!r}")
        return value
    if option.dtype == "bool" and isinstance(value, bool):
        return value
    if option.dtype == "int32" and isinstance(value, int) and not isinstance(value, bool):
        if value not in INT32:
            raise OptionError(f"{kernel}: {option.name} is {value}, beyond 32 bits")
        return value
    if option.dtype == "f32" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise OptionError(f"{kernel}: {option.name} is a number of type {option.dtype}, not {value!r}")


def default_value(spec: TensorSpec, word: str, device: torch.device) -> torch.Tensor:
    """One element of an absent tensor's default."""
    return torch.full((), spec.default if spec.default is not None else 0, dtype=TORCH[word], device=device)


def _plain_dim(expression: Any) -> str | None:
    is_dim = isinstance(expression, list) and len(expression) == 2 and expression[0] == "dim"
    return str(expression[1]) if is_dim else None


def _either(values: Any) -> str:
    words = [str(value) for value in values]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
