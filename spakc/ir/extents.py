"""How many values each index variable takes, and the shape of every tensor and intermediate of a kernel.

An index variable belongs to one equation (or to a reduction in it). Its extent follows from the axes it runs
along: `A[m, k]` gives k the size of A's second axis, `x[i + D // 2]` gives i that size less `D // 2`, and the
smaller of two such bounds of one axis counts. An intermediate has the extents of the variables on its left;
one whose variables touch no tensor there (`angle[t, i] = t * i`) gets them from where it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from spakc.ir.inline import index_name, own_bound_names
from spakc.ir.module import Equation, Kernel
from spakc.ir.ops import Apply, Const, Expr, Load, Members, Reduce, Ref, RefKind
from spakc.ir.simplify import ZERO, number, simplify, sub
from spakc.ir.visit import children, walk
from spakc.record import record
from spakc.source import Span


@record
class Extents:
    """`variables[i]` are the extents of equation i's index variables (bound ones included, unless two sums
    of one equation use a name for axes of different size); `shapes` are over dims, for tensors and
    intermediates."""

    variables: tuple[Mapping[str, Expr], ...]
    shapes: Mapping[str, tuple[Expr, ...]]


class UnknownExtent(Exception):
    """An index variable that runs along no axis of known size."""

    def __init__(self, name: str, span: Span) -> None:
        super().__init__(name)
        self.name = name
        self.span = span


@record
class Bound:
    """variable < size - offset, where size is that of an axis."""

    size: Expr
    offset: Expr


def split_offset(index: Expr) -> tuple[str, Expr] | None:
    """`(i, c)` for an index `i + c` (in any order, c free of index variables), else None."""
    name = index_name(index)
    if name is not None:
        return name, ZERO
    if not isinstance(index, Apply) or index.op not in ("add", "sub"):
        return None
    names = [index_name(node) for node in walk(index) if index_name(node) is not None]
    if len(names) != 1 or names[0] is None:
        return None
    offset = simplify(sub(index, next(node for node in walk(index) if index_name(node) == names[0])))
    return None if any(index_name(node) is not None for node in walk(offset)) else (names[0], offset)


def infer_extents(kernel: Kernel) -> Extents:
    """Needs math whose indices fit the ranks of what they index. Raises UnknownExtent."""
    shapes: dict[str, list[Expr | None]] = {
        name: [simplify(size) for size in tensor.shape] for name, tensor in kernel.tensors.items()
    }
    for equation in kernel.math:
        shapes.setdefault(equation.target, [None] * len(equation.indices))
    known: list[dict[str, Expr]] = [{} for _ in kernel.math]
    segments = _segments(kernel)
    changed = True
    while changed:
        changed = False
        for equation, found in zip(kernel.math, known, strict=True):
            found.update(_variables(kernel, equation, shapes, segments.get(equation.target, {})))
            for load in _accesses(equation):
                for axis, index in enumerate(load.indices):
                    changed |= _learn(shapes[load.tensor], axis, index, found)
    for equation, found in zip(kernel.math, known, strict=True):
        for node in (*equation.indices, *walk(equation.value)):
            name = index_name(node)
            mentioned = node.axes if isinstance(node, Reduce) else () if name is None else (name,)
            for variable in mentioned:
                if variable not in found:
                    raise UnknownExtent(variable, node.span or equation.span)
    complete = {name: tuple(ZERO if size is None else size for size in axes) for name, axes in shapes.items()}
    return Extents(tuple(known), complete)


def normal_math(kernel: Kernel) -> tuple[Kernel, Extents]:
    """The kernel with bound names of their own in every equation (so that a name has one extent), and the
    extents. Raises UnknownExtent."""
    kernel = replace(kernel, math=tuple(own_bound_names(equation) for equation in kernel.math))
    return kernel, infer_extents(kernel)


def _accesses(equation: Equation) -> list[Load]:
    return [equation.left, *(node for node in walk(equation.value) if isinstance(node, Load))]


def _learn(axes: list[Expr | None], axis: int, index: Expr, found: Mapping[str, Expr]) -> bool:
    """An intermediate's axis of unknown size that is read or written at a plain variable of known extent."""
    name = index_name(index)
    if axes[axis] is not None or name is None or name not in found:
        return False
    axes[axis] = found[name]
    return True


def _segments(kernel: Kernel) -> dict[str, dict[int, Expr]]:
    """For a target written in two pieces, `y[i]` and `y[i + c]`: the axis, and c: the first piece's end."""
    found: dict[str, dict[int, Expr]] = {}
    for equation in kernel.math:
        for axis, index in enumerate(equation.indices):
            split = split_offset(index)
            if split is not None and split[1] != ZERO:
                found.setdefault(equation.target, {})[axis] = split[1]
    return found


def _variables(
    kernel: Kernel, equation: Equation, shapes: Mapping[str, list[Expr | None]], segments: Mapping[int, Expr]
) -> dict[str, Expr]:
    bounds: dict[str, list[Bound]] = {}
    for load in _accesses(equation):
        for index, size in zip(load.indices, shapes[load.tensor], strict=True):
            split = split_offset(index)
            if split is not None and size is not None and not _reaches_back(split[1]):
                bounds.setdefault(split[0], []).append(Bound(size, split[1]))
    extents = {name: _tightest(kernel, found) for name, found in bounds.items()}
    for axis, end in segments.items():
        name = index_name(equation.indices[axis])
        if name is not None:
            extents[name] = end
    return extents


def _reaches_back(offset: Expr) -> bool:
    """Whether `x[i + c]` has a negative c: it bounds i from below, which its own condition must see to."""
    value = number(offset)
    return (value is not None and value < 0) or (isinstance(offset, Apply) and offset.op == "neg")


def _tightest(kernel: Kernel, bounds: list[Bound]) -> Expr:
    """The least of the bounds. Of one size, the one with an offset is the smaller: `D - D // 2` beats `D`."""
    best = bounds[0]
    for bound in bounds[1:]:
        mine, theirs = number(bound.offset), number(best.offset)
        closer = mine is None or mine > (theirs or 0)
        if bound.size == best.size and closer and (theirs is not None or mine is not None):
            best = bound
    if best.offset == Apply("floordiv", (best.size, Const(2))) and is_even(kernel, best.size):
        return best.offset
    return simplify(sub(best.size, best.offset))


def is_even(kernel: Kernel, size: Expr) -> bool:
    """Whether the kernel says so: by the dim's domain or by a law `D % 2 == 0`."""
    if isinstance(size, Ref) and size.kind is RefKind.dim:
        domain = kernel.dims[size.name].domain
        if isinstance(domain, Members):
            values = [number(item) for item in domain.items]
            if values and all(value is not None and value % 2 == 0 for value in values):
                return True
    wanted = Apply("eq", (Apply("mod", (size, Const(2))), ZERO))
    return any(law.proposition == wanted and law.when is None for law in kernel.laws)


def evaluate_size(size: Expr, dims: Mapping[str, int]) -> int:
    """A shape expression as a number. Raises KeyError for a dim without a value."""
    if isinstance(size, Const):
        return int(size.value)
    if isinstance(size, Apply):
        return _SIZES[size.op](*(evaluate_size(child, dims) for child in children(size)))
    return dims[getattr(size, "name", "")]


_SIZES: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "ceil_div": lambda a, b: -(-a // b),
    "min": min,
    "max": max,
}
