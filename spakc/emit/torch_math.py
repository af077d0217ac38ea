"""A kernel's mathematics as a Python file: `forward(*, tensors…, options…)` in torch operations, in float32.

It is what runs on a CPU, and torch differentiates through it. One statement an equation, each citing its
line of the `.spak` file; deterministic; no loop over elements. Names of the file reach the code only as
identifiers that the grammar allows, and never where Python would read them otherwise.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence

from spakc.emit.torch_expr import ACTIVATION_CODE, Expressions, Names
from spakc.ir.extents import normal_math, split_offset
from spakc.ir.inline import free_indices, fresh
from spakc.ir.module import Declared, Equation, Kernel, Tensor
from spakc.ir.ops import ACTIVATIONS, Expr, Ref, RefKind
from spakc.ir.simplify import ZERO
from spakc.ir.types import DType
from spakc.ir.visit import walk

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BUILTINS = (
    "abs",
    "bool",
    "float",
    "int",
    "max",
    "min",
    "softmax",
    "logsumexp",
    "ACTIVATIONS",
    "given",
    "device",
)
_HELPERS = {
    "softmax": '''def softmax(x, dim):
    """Softmax along `dim`; a row of -inf alone gives zeros, and passes no gradient."""
    empty = (x == -{math}.inf).all(dim, keepdim=True)
    return {torch}.softmax(x.masked_fill(empty, 0.0), dim).masked_fill(empty, 0.0)
''',
    "logsumexp": '''def logsumexp(x, dim):
    """Log of the sum of exponentials along `dim`; -inf for a row of -inf alone, which passes no gradient."""
    empty = (x == -{math}.inf).all(dim, keepdim=True)
    value = {torch}.logsumexp(x.masked_fill(empty, 0.0), dim, keepdim=True)
    return value.masked_fill(empty, -{math}.inf).squeeze(dim)
''',
}


def math_source(kernel: Kernel) -> str:
    """The text of the file. Needs a checked kernel.

    `forward` takes every input and inout tensor and every option by name and returns a dict: each output, and
    each inout's new value, by name. Floats come as they were computed, the caller rounds them. Numbers come
    as Python numbers, words as strings; options left out have their defaults."""
    return _File(kernel).text()


class _File:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.extents = normal_math(kernel)
        self.names = _names(self.kernel)
        self.indices: dict[tuple[str, str], str] = {}
        self.statements: list[str] = []

    def text(self) -> str:
        for position, equation in enumerate(self.kernel.math):
            self._equation(position, equation)
        defaults = self._defaults()  # these and the statements mention dims, which come before
        body = [
            *self._unpacking(),
            *self._sizes(),
            *defaults,
            *self._conversions(),
            *self._index_lines(),
            *self.statements,
            self._result(),
        ]
        file = _printable(self.kernel.span.source.name)
        title = f'"""The mathematics of the kernel `{self.kernel.name}` of {file}, in torch operations."""'
        parts = [
            title,
            self._imports(),
            *self._helpers(),
            self._signature() + "".join(f"\n    {s}" for s in body),
        ]
        return "\n\n\n".join(part.rstrip("\n") for part in (f"{parts[0]}\n\n{parts[1]}", *parts[2:])) + "\n"

    # ---- the frame ---------------------------------------------------------------------------------------

    def _imports(self) -> str:
        names = self.names
        lines = [_import("torch", names.torch)]
        if any(f"{names.math}." in s for s in (*self.statements, *self._defaults())) or names.helpers - {
            "ACTIVATIONS"
        }:
            lines.insert(0, _import("math", names.math))
            lines.insert(1, "")
        if any(f"{names.functional}." in s for s in self.statements) or "ACTIVATIONS" in names.helpers:
            alias = "" if names.functional == "functional" else f" as {names.functional}"
            lines.append(f"from torch.nn import functional{alias}")
        return "\n".join(lines)

    def _helpers(self) -> list[str]:
        names = self.names
        found = []
        if "ACTIVATIONS" in names.helpers:
            words = [w for o in self.kernel.options.values() for w in o.choices if w in ACTIVATIONS]
            rows = [
                f'    "{word}": {ACTIVATION_CODE[word].format(F=names.functional, torch=names.torch)},'
                for word in dict.fromkeys(words)
            ]
            found.append("\n".join(["ACTIVATIONS = {", *rows, "}"]))
        for name, text in _HELPERS.items():
            if name in names.helpers:
                found.append(text.format(math=names.math, torch=names.torch))
        return found

    def _parameters(self) -> list[str]:
        tensors = [name for name, tensor in self.kernel.tensors.items() if tensor.role != "output"]
        return [*tensors, *self._unknown_dims(), *self.kernel.options]

    def _is_plain(self) -> bool:
        """Whether every parameter can be named in Python as in the file."""
        return all(self.names.local[name] == name for name in self._parameters())

    def _signature(self) -> str:
        if not self._is_plain():
            return "def forward(**given):"
        options = [f"{name}={self._default(name)}" for name in self.kernel.options]
        needed = [name for name in self._parameters() if name not in self.kernel.options]
        return f"def forward(*, {', '.join((*needed, *options))}):"

    def _default(self, option: str) -> str:
        default = self.kernel.options[option].default
        return "None" if self._is_computed(default) else self._expressions().code(default).text

    def _is_computed(self, default: Expr) -> bool:
        return any(isinstance(node, Ref) and node.kind is not RefKind.symbol for node in walk(default))

    def _unpacking(self) -> list[str]:
        if self._is_plain():
            return []
        lines = []
        for name in self._parameters():
            value = f'given["{name}"]'
            if name in self.kernel.options:
                value = f'given.get("{name}", {self._default(name)})'
            lines.append(f"{self.names.local[name]} = {value}")
        return lines

    def _sizes(self) -> list[str]:
        """The dims that the code mentions, from the shapes of the tensors."""
        lines: list[str] = []
        known: set[str] = set()
        for name, tensor in self.kernel.tensors.items():
            if tensor.role == "output":
                continue
            marks = ["_"] * len(tensor.shape)
            for axis, size in enumerate(tensor.shape):
                if isinstance(size, Ref) and size.name in self.names.used - known:
                    known.add(size.name)
                    marks[axis] = self.names.local[size.name]
            if any(mark != "_" for mark in marks):
                comma = "," if len(marks) == 1 else ""
                lines.append(
                    f"{', '.join(marks)}{comma} = {self.names.local[name]}.shape{self._cite(tensor)}"
                )
        return lines

    def _unknown_dims(self) -> list[str]:
        """Dims that no tensor's shape shows: passed by name."""
        given = {
            size.name
            for tensor in self.kernel.tensors.values()
            if tensor.role != "output"
            for size in tensor.shape
            if isinstance(size, Ref)
        }
        return [name for name in self.kernel.dims if name not in given]

    def _defaults(self) -> list[str]:
        lines = []
        for name, option in self.kernel.options.items():
            if self._is_computed(option.default):
                local = self.names.local[name]
                value = self._expressions().code(option.default).text
                lines.append(f"{local} = {value} if {local} is None else {local}{self._cite(option)}")
        return lines

    def _conversions(self) -> list[str]:
        """Floats are computed in float32 (float64 stays)."""
        lines = []
        for name, tensor in self.kernel.tensors.items():
            local = self.names.local.get(name)
            if tensor.role == "output" or local is None or self._integers(tensor):
                continue
            root = _root(self.kernel, tensor)
            method = "double" if root.dtypes == (DType.f64,) else "float"
            if root.dtypes != (DType.f32,):
                lines.append(f"{local} = {local}.{method}(){self._cite(tensor)}")
        return lines

    def _integers(self, tensor: Tensor) -> bool:
        return not _root(self.kernel, tensor).dtypes[0].is_float

    def _index_lines(self) -> list[str]:
        return [
            f"{local} = {self.names.torch}.arange({size}{self.names.device})"
            for (_, size), local in self.indices.items()
        ]

    def _result(self) -> str:
        items = []
        for name, tensor in self.kernel.tensors.items():
            if tensor.role == "input":
                continue
            items.append(f'"{name}": {self.names.new[name]}{self._final_cast(tensor)}')
        return f"return {{{', '.join(items)}}}"

    def _final_cast(self, tensor: Tensor) -> str:
        """Floats stay as computed, the caller rounds them to the dtype it asked for."""
        if tensor.same_as is not None or len(tensor.dtypes) != 1 or tensor.dtypes[0].is_float:
            return ""
        return f".to({self.names.torch}.{tensor.dtypes[0].value})"

    # ---- equations ---------------------------------------------------------------------------------------

    def _expressions(self, position: int | None = None) -> Expressions:
        kernel = self.kernel
        variables: Mapping[str, Expr] = {} if position is None else self.extents.variables[position]
        order: list[str] = []
        if position is not None:
            order = [n for index in kernel.math[position].indices for n in free_indices(index)]
        inputs = {n for n, t in kernel.tensors.items() if t.role != "output"}
        written = frozenset(e.target for e in kernel.math if e.target not in inputs)
        integers = frozenset(n for n, t in kernel.tensors.items() if self._integers(t))
        return Expressions(self.names, order, variables, self.extents.shapes, written, integers, self.indices)

    def _equation(self, position: int, equation: Equation) -> None:
        expressions = self._expressions(position)
        code = expressions.code(equation.value)
        axes = [n for index in equation.indices for n in free_indices(index)]
        text = expressions.spread(code, axes)
        name = self.names.new[equation.target]
        pieces = [e for e in self.kernel.math if e.target == equation.target]
        if len(pieces) == 1:
            self.statements.append(f"{name} = {text}{self._cite(equation)}")
            return
        number = pieces.index(equation)
        parts = [fresh(f"{name}_{i}", self.names.taken) for i in range(len(pieces))]
        self.statements.append(f"{parts[number]} = {text}{self._cite(equation)}")
        if number == len(pieces) - 1:
            self.statements.append(self._joined(name, parts, pieces))

    def _joined(self, name: str, parts: Sequence[str], pieces: Sequence[Equation]) -> str:
        """The pieces of a target side by side, along the axis in which they differ."""
        axis = next(
            axis
            for axis in range(len(pieces[0].indices))
            if any((split := split_offset(p.indices[axis])) is not None and split[1] != ZERO for p in pieces)
        )
        starts = {part: split_offset(p.indices[axis]) for part, p in zip(parts, pieces, strict=True)}
        ordered = sorted(starts, key=lambda n: (split := starts[n]) is not None and split[1] != ZERO)
        cite = self._cite(pieces[-1])
        return f"{name} = {self.names.torch}.cat(({', '.join(ordered)}), dim={axis}){cite}"

    def _cite(self, declared: Declared) -> str:
        return f"  # {_printable(declared.span.source.name)}:{declared.span.line}"


def _names(kernel: Kernel) -> Names:
    """Python names for everything: the file's own where Python lets them stand."""
    mine = [*kernel.tensors, *kernel.options, *kernel.dims, *(e.target for e in kernel.math)]
    for name in mine:
        assert _NAME.fullmatch(name), name
    taken = {*mine, *keyword.kwlist, *keyword.softkwlist, *_BUILTINS}
    taken |= {f"at_{n}" for e in kernel.math for n in _index_names(e)}

    def python(name: str) -> str:
        if not keyword.iskeyword(name) and name not in _BUILTINS and not name.startswith("at_"):
            return name
        escaped = fresh(f"{name}_", taken)
        taken.add(escaped)
        return escaped

    local = {name: python(name) for name in dict.fromkeys(mine)}
    new = dict(local)
    for name, tensor in kernel.tensors.items():
        if tensor.role == "inout":
            new[name] = fresh(f"new_{name}", taken)
            taken.add(new[name])
    torch, math, functional = (fresh(module, taken) for module in ("torch", "math", "functional"))
    first = next((name for name, tensor in kernel.tensors.items() if tensor.role != "output"), None)
    device = "" if first is None else f", device={local[first]}.device"
    return Names(torch, math, functional, local, new, device, frozenset(taken))


def _index_names(equation: Equation) -> Iterable[str]:
    for expr in (*equation.indices, equation.value):
        for node in walk(expr):
            if isinstance(node, Ref) and node.kind is RefKind.index:
                yield node.name


def _import(module: str, name: str) -> str:
    return f"import {module}" if name == module else f"import {module} as {name}"


def _printable(name: str) -> str:
    """A file name that cannot end a comment or a string."""
    return "".join(c if c.isprintable() and c not in "\"'\\" else "?" for c in name)


def _root(kernel: Kernel, tensor: Tensor) -> Tensor:
    """The tensor whose dtypes this one's go back to."""
    while tensor.same_as is not None:
        tensor = kernel.tensors[tensor.same_as]
    return tensor
