"""The symbolic derivative of a kernel: `gradient O wrt Q, K` becomes a kernel of its own, in index notation.

Reverse mode, equation by equation. For `T[i] = f(X[e(i)])` the gradient of X gets a contribution: the
gradient of T times the partial derivative, summed over every index that does not fix the element of X. An
index that X is read at plainly is renamed; an integer-indexed or mapped one (`logits[r, target[r]]`, `K[h //
group]`) becomes a condition `v == target[r]`; the halves of an axis become two equations. Forward values
that the derivative needs are recomputed, except outputs kept in full precision (`rstd`), which are read back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields

from spakc.diagnostics.sink import Sink
from spakc.ir.extents import UnknownExtent, is_even, normal_math, split_offset
from spakc.ir.inline import (
    all_index_names,
    free_indices,
    fresh,
    index_name,
    inline,
    loads,
    plain_target,
    replace,
    substitute,
)
from spakc.ir.lift import lift_reductions
from spakc.ir.module import Equation, Gradient, Kernel
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.partials import partial
from spakc.ir.signature import derived_tensors, used_dims
from spakc.ir.simplify import (
    MINUS_INFINITY,
    ONE,
    ZERO,
    add,
    compare,
    conjunction,
    div,
    mul,
    simplify,
    sub,
    where,
)
from spakc.ir.types import DType
from spakc.ir.visit import references, transform
from spakc.record import record
from spakc.source import Span


class Underivable(Exception):
    """A gradient that cannot be had: a code, a message, a place, and what would do."""

    def __init__(self, code: str, message: str, span: Span | None, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.hint = hint


@record
class Derivation:
    """`kernel` computes `grad_<input>` from forward inputs, `grad_<output>` and the forward outputs in
    `saves`. Its family is the forward's, of which it need not be an instance: the plan splits it into
    launches."""

    kernel: Kernel
    gradient: Gradient
    saves: tuple[str, ...]


def gradient(kernel: Kernel, wanted: Gradient) -> Derivation:
    """The backward kernel of one `gradient … wrt …`. Needs checked names, shapes and dtypes (a gradient is of
    floats). Raises Underivable."""
    _check_request(kernel, wanted)
    try:
        return _Reverse(kernel, wanted).run()
    except UnknownExtent as unknown:
        message = f"nothing says how many values the index {unknown.name} takes in simplified form"
        raise Underivable("SPAK417", message, unknown.span, "an axis that it runs along") from None


def gradient_or_report(kernel: Kernel, wanted: Gradient, sink: Sink) -> Derivation | None:
    """`gradient`, with what stands against it (SPAK417, SPAK420 to SPAK422) in the sink."""
    try:
        return gradient(kernel, wanted)
    except Underivable as problem:
        sink.report(
            problem.code,
            problem.message,
            problem.span,
            f"expected {problem.hint}",
            also=[(wanted.span, "for this gradient")] if problem.span != wanted.span else [],
        )
    return None


def _check_request(kernel: Kernel, wanted: Gradient) -> None:
    for name, tensor in kernel.tensors.items():
        if tensor.role == "inout":
            raise Underivable(
                "SPAK420",
                f"the kernel changes {name} in place, so it has no gradient",
                wanted.span,
                "outputs only",
            )


@record
class _Contribution:
    """weight, to be added to the gradient of X at `indices`, for every value of `variables`."""

    indices: tuple[Expr, ...]
    weight: Expr
    variables: Mapping[str, Expr]
    span: Span


@dataclass
class _Reverse:
    kernel: Kernel
    wanted: Gradient
    contributions: dict[str, list[_Contribution]] = field(default_factory=dict)
    backward: list[Equation] = field(default_factory=list)

    def run(self) -> Derivation:
        kernel = self.kernel
        self.taken = {e.target for e in kernel.math} | {*kernel.tensors, *kernel.dims, *kernel.options}
        lifted = lift_reductions(map(_without_widening, kernel.math), self.taken)
        self.taken |= {equation.target for equation in lifted}
        self.forward, self.extents = normal_math(replace_fields(kernel, math=tuple(lifted)))
        self.active = self._active()
        self.names = {
            name: fresh(f"grad_{name}", self.taken) for name in (*self.wanted.outputs, *self.wanted.inputs)
        }
        for equation, variables in reversed(
            list(zip(self.forward.math, self.extents.variables, strict=True))
        ):
            if equation.target in self.active:
                self._equation(equation, variables)
        for name in self.wanted.inputs:
            if name not in self.contributions:
                raise Underivable(
                    "SPAK421",
                    f"{' and '.join(self.wanted.outputs)} does not depend on {name}: its gradient is zero",
                    self.wanted.span,
                    "an input that the output depends on",
                )
            self.backward += self._gathered(name, self.names[name], None)
        self.backward = _shared(
            self._kept_forward(), _without_aliases(self.backward, set(self.names.values()))
        )
        return self._kernel()

    def _kept_forward(self) -> list[Equation]:
        """Forward equations whose left side stands for its value: intermediates, and outputs that are read
        back."""
        return [
            e for e in self.forward.math if e.target not in self.kernel.tensors or self._is_saved(e.target)
        ]

    def _active(self) -> set[str]:
        """Targets between the wanted inputs and outputs."""
        depends = set(self.wanted.inputs)
        for equation in self.forward.math:
            if any(load.tensor in depends for load in loads(equation.value)):
                depends.add(equation.target)
        return depends

    # ---- one equation ------------------------------------------------------------------------------------

    def _equation(self, equation: Equation, variables: Mapping[str, Expr]) -> None:
        incoming = self._incoming(equation)
        if incoming is None or (isinstance(equation.value, Reduce) and equation.value.op in ("every", "any")):
            return  # nothing flows into it, or nothing through it
        if isinstance(equation.value, Reduce):
            weight = self._through_reduction(equation, equation.value, incoming)
            body = equation.value.body
            ranges = {n: variables.get(n) for n in (*_left(equation), *equation.value.axes)}
        else:
            weight, body = incoming, equation.value
            ranges = {n: variables.get(n) for n in _left(equation)}
        known = {name: size for name, size in ranges.items() if size is not None}
        for element in loads(body):
            if element.tensor not in self.active:
                continue
            slope = partial(body, element, lambda option: self.kernel.options[option].choices)
            if slope != ZERO:
                found = _Contribution(element.indices, simplify(mul(weight, slope)), known, equation.span)
                self.contributions.setdefault(element.tensor, []).append(found)

    def _incoming(self, equation: Equation) -> Load | None:
        """The gradient of the equation's left side at its indices; defines it if it is a sum of
        contributions."""
        name = equation.target
        given = name in self.wanted.outputs
        if name not in self.contributions:
            return Load(self.names[name], equation.indices, span=equation.span) if given else None
        total = fresh(f"d_{name}", self.taken)
        if total not in (e.target for e in self.backward):
            self.backward += self._gathered(name, total, self.names[name] if given else None)
        return Load(total, equation.indices, span=equation.span)

    def _through_reduction(self, equation: Equation, node: Reduce, incoming: Expr) -> Expr:
        """The gradient of the reduced body, at one point of it."""
        result = Load(equation.target, equation.indices, span=equation.span)
        if node.op == "sum":
            return incoming
        if node.op == "logsumexp":
            share = Apply("exp", (sub(node.body, result),), span=node.span)
            return mul(incoming, where(compare("eq", result, MINUS_INFINITY), ZERO, share))
        if node.op in ("max", "min"):
            chosen = where(compare("eq", node.body, result), ONE, ZERO)
            ties = Reduce("sum", node.axes, chosen, span=node.span)
            return mul(incoming, div(chosen, self._named(f"ties_{equation.target}", equation, ties)))
        raise AssertionError(node.op)

    def _named(self, name: str, equation: Equation, value: Expr) -> Load:
        name = fresh(name, self.taken)
        self.taken.add(name)
        self.backward.append(Equation(name, equation.indices, value, span=equation.span))
        return Load(name, equation.indices, span=equation.span)

    # ---- contributions summed ----------------------------------------------------------------------------

    def _gathered(self, tensor: str, target: str, seed: str | None) -> list[Equation]:
        """The equations of the gradient of a tensor or intermediate, named `target`; `seed` is a given
        part."""
        shape = self.extents.shapes[tensor]
        found = self.contributions[tensor]
        axes = self._axis_names(tensor, found)
        piece = self._piece(tensor, shape, found)
        equations: list[Equation] = []
        for start in (None,) if piece is None else (ZERO, piece[1]):
            terms = []
            for contribution in found:
                term = self._term(contribution, axes, shape, None if piece is None else piece[0], start)
                if term is not None:
                    terms.append(term)
            indices: list[Expr] = [Ref(name, RefKind.index) for name in axes]
            if piece is not None and start is not None:
                indices[piece[0]] = add(indices[piece[0]], start)
            if seed is not None:
                terms.insert(0, Load(seed, tuple(indices)))
            equations.append(Equation(target, tuple(indices), simplify(add(*terms)), span=found[0].span))
        return equations

    def _axis_names(self, tensor: str, found: Sequence[_Contribution]) -> tuple[str, ...]:
        """A name for each axis of a gradient: what the file's own accesses call it."""
        names: list[str] = []
        reserved = {*self.kernel.dims, *self.kernel.options}
        for axis in range(len(self.extents.shapes[tensor])):
            splits = [split_offset(c.indices[axis]) for c in found]
            candidates = [split[0] for split in splits if split is not None and split[0] not in names]
            plain = [n for n in candidates if n in {index_name(c.indices[axis]) for c in found}]
            name = (plain or candidates or [fresh("i", {*names, *reserved})])[0]
            if name in names:
                name = fresh(name, {*names, *reserved})
            names.append(name)
        return tuple(names)

    def _piece(
        self, tensor: str, shape: Sequence[Expr], found: Sequence[_Contribution]
    ) -> tuple[int, Expr] | None:
        """The axis that contributions reach in two pieces, and where the second begins."""
        starts: dict[tuple[int, Expr], Span] = {}
        short: list[_Contribution] = []
        for contribution in found:
            for axis, index in enumerate(contribution.indices):
                split = split_offset(index)
                if split is None:
                    continue
                if split[1] != ZERO:
                    starts[axis, split[1]] = contribution.span
                elif contribution.variables.get(split[0], shape[axis]) != shape[axis]:
                    short.append(contribution)
        if len(starts) > 1 or (short and not starts):
            span = next(iter(starts.values()), short[0].span if short else None)
            raise Underivable(
                "SPAK422",
                f"{tensor} is read at shifted indices that do not split its axis in two",
                span,
                "two halves: x[i] and x[i + D // 2], with D even",
            )
        return next(iter(starts), None)

    def _term(
        self,
        contribution: _Contribution,
        axes: Sequence[str],
        shape: Sequence[Expr],
        split_axis: int | None,
        start: Expr | None,
    ) -> Expr | None:
        """One contribution as an expression over the axes of the gradient; None if it misses this piece."""
        mapping: dict[str, Expr] = {}
        conditions: list[tuple[Expr, Expr]] = []
        for axis, (name, index) in enumerate(zip(axes, contribution.indices, strict=True)):
            here: Expr = Ref(name, RefKind.index)
            split = split_offset(index)
            if split is None or split[0] in mapping:
                position = here if axis != split_axis or start is None else add(here, start)
                conditions.append((position, index))
                continue
            if axis == split_axis and start is not None:
                whole = contribution.variables[split[0]] == shape[axis]
                if not whole and not self._same_piece(split[1], start, contribution, split[0], shape[axis]):
                    return None
                here = add(here, start) if whole else here
            mapping[split[0]] = here
        summed = [name for name in contribution.variables if name not in mapping]
        taken = set(axes) | all_index_names((contribution.weight, *contribution.indices))
        for name in summed:
            if name in axes:
                mapping[name] = Ref(fresh(name, taken), RefKind.index)
                taken.add(getattr(mapping[name], "name", name))
        weight = substitute(contribution.weight, mapping)
        condition = conjunction(*(compare("eq", p, substitute(i, mapping)) for p, i in conditions))
        bound = {
            index_name(mapping.get(n, Ref(n, RefKind.index))) or n: contribution.variables[n] for n in summed
        }
        return _summed(weight, condition, bound, contribution.span)

    def _same_piece(
        self, offset: Expr, start: Expr, contribution: _Contribution, name: str, size: Expr
    ) -> bool:
        """Whether a contribution that reaches a part of an axis reaches exactly this piece, or misses it."""
        if offset != start:
            return False
        extent = contribution.variables[name]
        end = simplify(sub(size, start)) if start != ZERO else None
        halves = is_even(self.kernel, size) and extent == Apply("floordiv", (size, Const(2)))
        if end is not None and extent != end and not halves:
            raise Underivable(
                "SPAK422",
                "a part of an axis is read that is no half of it",
                contribution.span,
                "two halves: x[i] and x[i + D // 2], with D even",
            )
        return True

    # ---- the kernel --------------------------------------------------------------------------------------

    def _kernel(self) -> Derivation:
        forward = {e.target: e for e in self.forward.math}
        saves: list[str] = []
        recomputed: dict[str, None] = {}

        def need(expr: Expr) -> None:
            for load in loads(expr):
                name = load.tensor
                if name not in forward or name in saves or name in recomputed:
                    continue
                if self._is_saved(name):
                    saves.append(name)
                    continue
                recomputed[name] = None
                for equation in self.forward.math:
                    if equation.target == name:
                        need(equation.value)

        for equation in self.backward:
            need(equation.value)
        math = [e for e in self.forward.math if e.target in recomputed] + self.backward
        suffix = "_".join(self.wanted.outputs) if len(self.kernel.gradients) > 1 else ""
        name = "_".join(filter(None, (self.kernel.name, "gradient", suffix)))
        tensors = derived_tensors(self.kernel, math, self.names, self.wanted, saves)
        shown = {dim for t in tensors.values() for size in t.shape for dim in references(size, RefKind.dim)}
        used = shown | used_dims(self.kernel, math, ())
        kernel = replace_fields(
            self.kernel,
            name=name,
            dims={name: dim for name, dim in self.kernel.dims.items() if name in used},
            tensors=tensors,
            math=tuple(math),
            gradients=(),
            schedules={},
            intent=None,
        )
        return Derivation(kernel, self.wanted, tuple(saves))

    def _is_saved(self, name: str) -> bool:
        tensor = self.kernel.tensors.get(name)
        return tensor is not None and tensor.same_as is None and set(tensor.dtypes) <= {DType.f32, DType.f64}


def _left(equation: Equation) -> list[str]:
    return [name for index in equation.indices for name in free_indices(index)]


def _summed(weight: Expr, condition: Expr, bound: Mapping[str, Expr], span: Span) -> Expr:
    """The sum of `weight` where `condition` holds, over the bound indices (each with its extent)."""
    used = set(free_indices(weight)) | set(free_indices(condition))
    for name, extent in bound.items():
        if name not in used:
            weight = mul(extent, weight)
    axes = tuple(name for name in bound if name in used)
    if not axes:
        return where(condition, weight, ZERO, span=span)
    # As a factor, the condition leaves the product under the sum a product.
    body = mul(where(condition, ONE, ZERO), weight) if condition != Const(True) else weight
    return Reduce("sum", axes, body, span=span)


def _without_widening(equation: Equation) -> Equation:
    """Gradients are computed in the accumulate type whatever the file says of a step: `f32(x)` is `x`."""

    def change(node: Expr) -> Expr:
        return node.args[0] if isinstance(node, Apply) and node.op in ("cast_f32", "cast_f64") else node

    return replace_fields(equation, value=transform(equation.value, change))


def _without_aliases(equations: Sequence[Equation], kept: set[str]) -> list[Equation]:
    """Reads what an intermediate merely repeats (`d_s[r] = grad_loss[r]`) at its source."""
    table: dict[str, Equation] = {}
    result: list[Equation] = []
    for equation in equations:
        own = replace_fields(equation, value=simplify(inline(equation.value, table)))
        if isinstance(own.value, Load) and plain_target(own) and own.target not in kept:
            table[own.target] = own
        else:
            result.append(own)
    return result


def _shared(forward: Sequence[Equation], backward: Sequence[Equation]) -> list[Equation]:
    """Where a backward equation repeats the value of an earlier one, it reads that one's left side."""
    table: dict[Expr, Equation] = {
        e.value: e for e in reversed(forward) if plain_target(e) and isinstance(e.value, (Apply, Reduce))
    }
    result: list[Equation] = []

    def change(node: Expr) -> Expr | None:
        found = table.get(node)
        return None if found is None else Load(found.target, found.indices, span=node.span)

    for equation in backward:
        own = replace_fields(equation, value=replace(equation.value, change))
        result.append(own)
        if plain_target(own) and isinstance(own.value, (Apply, Reduce)):
            table.setdefault(own.value, own)
    return result
