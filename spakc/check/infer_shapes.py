"""Shapes of a kernel: ranks, ranges of index variables, accesses inside their tensors, outputs covered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from spakc.check.sizes import Ints, Sizes, find_escape, mentioned_dims, sizes_of
from spakc.diagnostics import Sink
from spakc.ir.extents import Extents, UnknownExtent, infer_extents
from spakc.ir.inline import free_indices, index_name
from spakc.ir.lanes import np
from spakc.ir.module import Equation, Kernel, Law
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import simplify
from spakc.ir.visit import loads, substitute, walk
from spakc.record import record

_DIVISIONS = ("floordiv", "mod", "ceil_div")


def infer_shapes(kernel: Kernel, sink: Sink) -> Extents | None:
    """The extent of every index variable and the shape of every tensor and intermediate, over dims.

    Needs mathematics as lowering leaves it. Guarantees, when nothing was reported: every access has as many
    indices as its tensor has axes; the axes that an index variable runs along alone fit each other; on the
    sizes that were tried (the laws about dims hold on them) no access leaves its tensor and every element of
    every output is assigned exactly once. Accesses at values of integer tensors are a guard's business.
    Reports SPAK301-303, 307-309, 325, 326. Returns None when the ranks are wrong or a range is not known.
    Leaves alone: types, the family.
    """
    before = len(sink.diagnostics)
    if all(tensor.role == "input" for tensor in kernel.tensors.values()):
        sink.report("SPAK325", f"`{kernel.name}` computes nothing", kernel.span, "has no output")
    _check_divisors(kernel, sink)
    _check_ranks(kernel, sink)
    if len(sink.diagnostics) > before:
        return None
    try:
        extents = infer_extents(kernel)
    except UnknownExtent as unknown:
        sink.report(
            "SPAK308",
            f"nothing says how far `{unknown.name}` runs",
            unknown.span,
            "runs along no axis of known size",
            help=["index a tensor with it alone, or with an offset"],
        )
        return None
    work = _Work(kernel, extents, sizes_of(kernel), sink)
    for equation, found in zip(kernel.math, extents.variables, strict=True):
        work.equation(equation, found)
    for law in _laws_of(kernel):
        work.law(law)
    if len(sink.diagnostics) == before:
        work.coverage()
    return extents


def check_bound_ranges(proposition: Expr, extents: Mapping[str, Expr], sink: Sink) -> None:
    """That every axis of a reduction in a proposition has a known extent (SPAK308)."""
    for node in walk(proposition):
        if isinstance(node, Reduce):
            for axis in node.axes:
                if axis not in extents:
                    sink.report("SPAK308", f"nothing says how far `{axis}` runs", node.span, "over no tensor")


def _laws_of(kernel: Kernel) -> Iterator[Law]:
    yield from kernel.laws
    for schedule in kernel.schedules.values():
        yield from schedule.laws


def _check_divisors(kernel: Kernel, sink: Sink) -> None:
    """Whole numbers divided by zero whatever the sizes are: the device would compute rubbish."""
    written = [size for tensor in kernel.tensors.values() for size in tensor.shape]
    written += [part for equation in kernel.math for part in (*equation.indices, equation.value)]
    for part in written:
        for node in walk(part):
            if isinstance(node, Apply) and node.op in _DIVISIONS and simplify(node.args[1]) == Const(0):
                sink.report("SPAK326", "a whole number is divided by zero", node.span, "has no value")


def _check_ranks(kernel: Kernel, sink: Sink) -> None:
    ranks = {name: (len(tensor.shape), tensor.span, "declared") for name, tensor in kernel.tensors.items()}
    for equation in kernel.math:
        ranks.setdefault(equation.target, (len(equation.indices), equation.span, "assigned"))
    accesses = [equation.left for equation in kernel.math]
    accesses += [load for equation in kernel.math for load in loads(equation.value)]
    accesses += [load for law in _laws_of(kernel) for load in loads(law.proposition)]
    for load in accesses:
        rank, span, how = ranks[load.tensor]
        if len(load.indices) != rank:
            sink.report(
                "SPAK301",
                f"`{load.tensor}` has {_count(rank, 'axis', 'axes')}, indexed here with {len(load.indices)}",
                load.span,
                "wrong number of indices",
                also=[(span, f"{how} here with {rank}")],
            )


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


@record
class _Axis:
    """An index variable alone on an axis."""

    load: Load
    position: int
    size: Expr


class _Work:
    """The checks that need extents, over one kernel."""

    def __init__(self, kernel: Kernel, extents: Extents, sizes: Sizes, sink: Sink) -> None:
        self.kernel = kernel
        self.extents = extents
        self.sizes = sizes
        self.sink = sink
        self.parts: dict[str, list[Equation]] = {}
        for equation in kernel.math:
            self.parts.setdefault(equation.target, []).append(equation)

    def size(self, load: Load, position: int) -> Expr:
        return self.extents.shapes[load.tensor][position]

    # ---- one equation -------------------------------------------------------------------------------

    def equation(self, equation: Equation, found: Mapping[str, Expr]) -> None:
        left = equation.left
        extents = dict(found)
        if len(self.parts[equation.target]) == 1 and equation.target in self.kernel.tensors:
            for position, index in enumerate(left.indices):
                name = index_name(index)
                if name is not None:
                    extents[name] = self.size(left, position)  # all of the axis must be computable
        bound = {axis for node in walk(equation.value) if isinstance(node, Reduce) for axis in node.axes}
        bound -= {name for index in left.indices for name in free_indices(index)}
        self.accesses([left, *loads(equation.value)], extents, bound)

    def law(self, law: Law) -> None:
        found = list(loads(law.proposition))
        extents: dict[str, Expr] = {}
        for load in found:
            for position, index in enumerate(load.indices):
                name = index_name(index)
                if name is not None:
                    extents.setdefault(name, simplify(self.size(load, position)))
        check_bound_ranges(law.proposition, extents, self.sink)
        self.accesses(found, extents, set(extents))

    def accesses(self, found: Sequence[Load], extents: Mapping[str, Expr], bound: set[str]) -> None:
        first: dict[str, _Axis] = {}
        for load in found:
            for position, index in enumerate(load.indices):
                name = index_name(index)
                if name is None:
                    self.computed(load, position, index, extents)
                elif name in extents:
                    axis = _Axis(load, position, self.size(load, position))
                    fits = self.plain(name, axis, first.setdefault(name, axis), extents[name], name in bound)
                    if not fits:
                        break  # of one access, the first mistake: swapped indices are one

    def plain(self, name: str, axis: _Axis, first: _Axis, extent: Expr, bound: bool) -> bool:
        """Whether an axis that a variable runs along alone is as long as the variable needs; for a sum,
        exactly as long. Reports it when not."""
        if simplify(axis.size) == simplify(extent):
            return True
        size, needed = self.sizes.values(axis.size), self.sizes.values(extent)
        if size is None or needed is None:
            return True
        bad = size != needed if bound else size < needed
        dims = [*mentioned_dims(axis.size), *mentioned_dims(extent)]
        smallest = self.sizes.first(bad, dims)
        if smallest is None:
            return True
        row, text = smallest
        other = first if first is not axis else None
        also = []
        if other is not None and other.load.span is not None:
            also.append((other.load.span, f"`{name}` takes {_written(extent)} values"))
        tensor = self.kernel.tensors.get(axis.load.tensor)
        if tensor is not None:
            also.append(
                (tensor.span, f"axis {axis.position + 1} of `{axis.load.tensor}` is {_written(axis.size)}")
            )
        self.sink.report(
            "SPAK302",
            f"`{name}` runs over axes of different sizes",
            axis.load.span,
            f"{_written(axis.size)} here, {_written(extent)} there: {size[row]}, {needed[row]} if {text}",
            also=also,
            help=["use another index variable, or declare both axes with one dim"],
        )
        return False

    def computed(self, load: Load, position: int, index: Expr, extents: Mapping[str, Expr]) -> None:
        if any(isinstance(node, Load) for node in walk(index)):
            return
        names = list(dict.fromkeys(free_indices(index)))
        if any(name not in extents for name in names):
            return
        size = self.size(load, position)
        escape = find_escape(self.sizes, index, size, {name: extents[name] for name in names}, names)
        if escape is None:
            return
        place = index.span or load.span
        reached = "has no value" if escape.index is None else f"reaches {escape.index}"
        at = f" with {escape.sizes}" if escape.sizes else ""
        tensor = self.kernel.tensors.get(load.tensor)
        self.sink.report(
            "SPAK303",
            f"an index leaves axis {position + 1} of `{load.tensor}`",
            place,
            f"{reached}{at}; the axis ends at {escape.last}",
            also=[(tensor.span, "declared here")] if tensor is not None else (),
            help=["state what the sizes must satisfy in a law about dims"] if escape.sizes else (),
        )

    # ---- all equations of a tensor ------------------------------------------------------------------

    def coverage(self) -> None:
        """Whether the equations of each tensor assign every element once: counted, on small sizes."""
        for name, tensor in self.kernel.tensors.items():
            parts = self.parts.get(name, [])
            if len(parts) > 1 or any(index_name(index) is None for part in parts for index in part.indices):
                self.covered(name, tensor.shape, parts)

    def covered(self, name: str, shape: Sequence[Expr], parts: Sequence[Equation]) -> None:
        axes = [self.sizes.values(size) for size in shape]
        boxes = [self.box(part) for part in parts]
        if any(axis is None for axis in axes) or any(box is None for box in boxes):
            return
        known = [axis for axis in axes if axis is not None]
        volume = np.prod(np.array(known, dtype=np.float64), axis=0)
        dims = sorted({dim for size in shape for dim in mentioned_dims(size)})
        for row in np.argsort(volume, kind="stable")[:24]:
            if volume[row] > _LARGEST:
                break
            counts = np.zeros([int(axis[row]) for axis in known], dtype=np.int8)
            owner = np.full(counts.shape, -1, dtype=np.int8)
            for number, box in enumerate(boxes):
                assert box is not None
                region = tuple(slice(max(int(s[row]), 0), max(int(s[row] + n[row]), 0)) for s, n in box)
                taken = counts[region].astype(bool)
                if taken.any():
                    other = int(owner[region][taken].max())
                    self.overlap(name, parts[number], parts[other], int(row), dims)
                    return
                counts[region] += 1
                owner[region] = number
            if not counts.all():
                self.gap(name, parts, int(row), dims, np.argwhere(counts == 0)[0].tolist())
                return

    def box(self, part: Equation) -> list[tuple[Ints, Ints]] | None:
        """Per axis, where the elements that an equation assigns begin and how many they are, at all sizes."""
        found = self.extents.variables[self.kernel.math.index(part)]
        box = []
        for index in part.indices:
            (name,) = free_indices(index)
            start = self.sizes.values(substitute(index, {(RefKind.index, name): Const(0)}))
            count = self.sizes.values(found[name])
            if start is None or count is None:
                return None
            box.append((start, count))
        return box

    def overlap(self, name: str, part: Equation, other: Equation, row: int, dims: Sequence[str]) -> None:
        self.sink.report(
            "SPAK309",
            f"two equations assign the same elements of `{name}`{self.at(row, dims)}",
            part.left.span,
            "assigned again here",
            also=[(other.span, "first assigned here")],
        )

    def gap(
        self, name: str, parts: Sequence[Equation], row: int, dims: Sequence[str], where: list[int]
    ) -> None:
        element = ", ".join(str(index) for index in where)
        self.sink.report(
            "SPAK307",
            f"`{name}[{element}]` is never assigned{self.at(row, dims)}",
            parts[0].span,
            "these equations leave it out" if len(parts) > 1 else "this equation leaves it out",
            also=[(self.kernel.tensors[name].span, "declared here")]
            + [(part.span, "and this one") for part in parts[1:]],
        )

    def at(self, row: int, dims: Sequence[str]) -> str:
        text = ", ".join(f"{dim} = {self.sizes.columns[dim][row]}" for dim in dims)
        return f" with {text}" if text else ""


_LARGEST = 1 << 16
"""Elements of the largest tensor whose elements are counted one by one."""


def _written(size: Expr) -> str:
    """A size as a reader would write it."""
    if isinstance(size, Ref):
        return size.name
    if isinstance(size, Const):
        return str(size.value)
    return " ".join(size.span.text.split()) if size.span is not None else "another size"
