"""Index variables that a counter runs through, addresses of matrices, and the statement that stores one element:
what the contexts of several families share."""

from __future__ import annotations

import re
from collections.abc import Iterable

from spakc.emit.expressions import Scope, address, expression, identifier
from spakc.emit.source_map import from_math
from spakc.ir.ops import Load, Ref, RefKind
from spakc.plan.launch import is_known_at_launch
from spakc.plan.problem import IndexRange, Operand, Store
from spakc.record import record

REDUCERS = {"sum": "Sum", "max": "Max", "min": "Min", "logsumexp": "LogSumExp"}
"""The reducer of the headers for each reduction along rows."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@record
class Group:
    """Index variables that one linear counter runs through, the last fastest. `used` are those that code
    reads."""

    indices: tuple[tuple[str, str], ...]  # C++ name and extent
    used: frozenset[str]

    @property
    def size(self) -> str:
        return " * ".join(extent for _, extent in self.indices) or "1"

    def decode(self, counter: str) -> str:
        """Declares the index variables from the counter."""
        lines = []
        rest = counter
        for position in range(len(self.indices) - 1, -1, -1):
            name, extent = self.indices[position]
            value = rest if position == 0 else f"{rest} % ({extent})"
            if name in self.used:
                lines.append(f"const i32 {name} = {value};")
            rest = f"{rest} / ({extent})"
        return "\n".join(reversed(lines))

    def decode_wide(self, counter: str) -> str:
        """The same from a counter of 64 bits, whose quotients are computed once each."""
        lines = []
        rest = counter
        for position in range(len(self.indices) - 1, -1, -1):
            name, extent = self.indices[position]
            if position > 0:
                lines.append(f"const i64 above_{position} = quotient({rest}, {extent});")
            if name in self.used:
                value = f"{rest} - above_{position} * ({extent})" if position > 0 else rest
                lines.append(f"const i32 {name} = static_cast<i32>({value});")
            rest = f"above_{position}"
        return "\n".join(lines)


def index_group(ranges: Iterable[IndexRange], scope: Scope, code: Iterable[str]) -> Group:
    """The indices that a counter runs through; `code` is what stands after their declaration."""
    indices = tuple((identifier("i", r.name), _extent(r, scope)) for r in ranges)
    words = {word for text in code for word in _WORD.findall(text)}
    return Group(indices, frozenset(name for name, _ in indices if name in words))


def _extent(index: IndexRange, scope: Scope) -> str:
    if is_known_at_launch(index):
        return f"params.{identifier('v', index.name)}"
    return expression(index.extent, scope).text


def with_indices(scope: Scope, ranges: Iterable[IndexRange]) -> Scope:
    return scope.with_indices({r.name: identifier("i", r.name) for r in ranges})


def store_statement(store: Store, scope: Scope, indent: int) -> str:
    """The statement that writes one element."""
    target = address(Load(store.tensor, store.indices, span=store.span), scope)
    return from_math(f"write({target}, {expression(store.value, scope).text});", store.span, indent)


def origin_code(operand: Operand, axes: Iterable[int | None], scope: Scope) -> str:
    """Pointer to the first element of an operand's matrix: its batch axes at this block's batch."""
    zero = Ref("0", RefKind.index)
    kept = tuple(zero if axis in axes else index for axis, index in enumerate(operand.indices))
    text = f"params.{identifier('t', operand.tensor)}"
    for axis, index in enumerate(kept):
        if index is not zero:
            stride = f"params.{identifier('s', operand.tensor)}_{axis}"
            text += f" + {expression(index, scope).text} * {stride}"
    return text


def map_name(tensor: str, role: int) -> str:
    """The tensor map of an operand or output; one tensor may be several of them."""
    return f"{identifier('m', tensor)}_{role}"


def mapped(role: int, operand: Operand, axes: Iterable[int | None], scope: Scope) -> dict[str, str]:
    """The tensor map of an operand, and what follows the coordinates of its matrix' axes in a copy by TMA."""
    batch = (index for axis, index in enumerate(operand.indices) if axis not in axes)
    coordinates = "".join(f", {expression(index, scope).text}" for index in batch)
    return {"map": f"params.{map_name(operand.tensor, role)}", "coordinates": coordinates}
