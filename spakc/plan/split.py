"""Splits maths that is no single problem of a family into a chain of problems joined by intermediates.

A backward kernel is rarely of one family: the gradient of a product is an element-wise step, two products
and a sum over columns. Intermediates are handed on through memory only where a family asks for it: a product
reads tensors, and reductions along different indices cannot share a pass. All else is inlined and computed
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from spakc.ir.extents import Extents, UnknownExtent, normal_math
from spakc.ir.inline import free_indices, fresh, loads, plain_target
from spakc.ir.lift import lift_reductions
from spakc.ir.module import Equation, Kernel, Tensor
from spakc.ir.ops import Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import factors_of, mul
from spakc.ir.types import DType
from spakc.plan.match_attention import match_attention
from spakc.plan.match_elementwise import match_elementwise
from spakc.plan.match_product import match_product
from spakc.plan.match_rows import match_rows
from spakc.plan.mismatch import Mismatch
from spakc.plan.naming import taken_names
from spakc.plan.problem import AttentionProblem, ChainProblem, ElementwiseProblem, ProductProblem, RowsProblem

Stage = ProductProblem | RowsProblem | ElementwiseProblem | AttentionProblem

_MOST_FACTORS = 8  # beyond, a sum is not taken for a product of two groups of factors


def split(kernel: Kernel) -> Stage | ChainProblem:
    """The kernel as one problem if any family fits, else as a chain. Needs checked maths, changes nothing.
    Raises Mismatch where no family fits even a part."""
    single = _match(kernel)
    if not isinstance(single, Mismatch):
        return single
    try:
        return _Splitter(kernel).run()
    except UnknownExtent:
        raise single from None


def as_chain(kernel: Kernel) -> Stage | ChainProblem:
    """The same for a kernel that is declared a chain: a product in it stays one, for tensor cores, even where a
    single pass over rows could compute everything. Raises Mismatch."""
    whole = split(kernel)
    if isinstance(whole, RowsProblem):
        try:
            parts = _Splitter(kernel).run()
        except (Mismatch, UnknownExtent):
            return whole
        if any(isinstance(stage, ProductProblem) for stage in parts.stages):
            return parts
    return whole


def _match(kernel: Kernel) -> Stage | Mismatch:
    """The kernel as a problem of the first family that fits, or why the most likely one does not."""
    matchers = (match_elementwise, match_product, match_rows, match_attention)
    first: Mismatch | None = None
    for matcher in matchers:
        try:
            return matcher(kernel)
        except Mismatch as mismatch:
            first = mismatch if first is None or matcher is match_rows else first
    assert first is not None
    return first


@dataclass
class _Stage:
    targets: tuple[str, ...]
    problem: Stage


class _Splitter:
    def __init__(self, kernel: Kernel) -> None:
        self.taken = taken_names(kernel)
        lifted = lift_reductions(kernel.math, self.taken)
        self.taken |= {equation.target for equation in lifted}
        self.kernel = replace(kernel, math=tuple(lifted))
        self.stored: dict[str, None] = {}
        self.stages: list[_Stage] = []
        for equation in lifted:
            self._store_operands(equation)
        self.extents: Extents
        self.kernel, self.extents = normal_math(self.kernel)

    def run(self) -> ChainProblem:
        stored = -1
        while stored != len(self.stored):  # what is stored for one output, every other may read
            stored = len(self.stored)
            self._emit_all(merge=False)
        self._emit_all(merge=True)
        carried = tuple(tuple(n for n in stage.targets if n in self.stored) for stage in self.stages)
        return ChainProblem(self.kernel.name, tuple(stage.problem for stage in self.stages), carried)

    def _emit_all(self, merge: bool) -> None:
        self.stages = []
        for name, tensor in self.kernel.tensors.items():
            if tensor.role != "input":
                self._emit(name, merge)

    # ---- products read tensors ---------------------------------------------------------------------------

    def _store_operands(self, equation: Equation) -> None:
        """Both groups of factors of a product become tensors: inputs, or intermediates that are stored."""
        node = equation.value
        groups = product_groups(equation) if isinstance(node, Reduce) and node.op == "sum" else None
        if groups is None or not isinstance(node, Reduce):
            return
        outside, sides = groups
        operands = [self._operand(side, equation) for side in sides]
        body = mul(*outside, *operands)
        self._replace(equation, replace(equation, value=Reduce("sum", node.axes, body, span=node.span)))

    def _operand(self, side: Sequence[Expr], equation: Equation) -> Expr:
        if len(side) == 1 and isinstance(side[0], Load) and not _gathers(side[0]):
            if self._is_intermediate(side[0].tensor):
                self.stored[side[0].tensor] = None
            return side[0]
        value = mul(*side)
        name = fresh(f"{equation.target}_operand", self.taken)
        self.taken.add(name)
        indices = tuple(Ref(n, RefKind.index) for n in free_indices(value))
        own = Equation(name, indices, value, span=equation.span)
        position = self.kernel.math.index(equation)
        math = (*self.kernel.math[:position], own, *self.kernel.math[position:])
        self.kernel = replace(self.kernel, math=math)
        self.stored[name] = None
        return Load(name, indices, span=value.span)

    def _replace(self, old: Equation, new: Equation) -> None:
        self.kernel = replace(self.kernel, math=tuple(new if e is old else e for e in self.kernel.math))

    def _is_intermediate(self, name: str) -> bool:
        return name not in self.kernel.tensors

    # ---- stages ------------------------------------------------------------------------------------------

    def _emit(self, name: str, merge: bool) -> None:
        """Adds the stage that writes a tensor or a stored intermediate, after those that it reads."""
        if any(name in stage.targets for stage in self.stages):
            return
        while True:
            part = self._part((name,))
            problem = _match(part)
            if not isinstance(problem, Mismatch):
                break
            if not self._store_reductions(part, name):
                raise problem
        for other in sorted(self._reads(part)):
            if other != name and other in self.stored:
                self._emit(other, merge)
        if not (merge and self._merged(name)):
            self.stages.append(_Stage((name,), problem))

    def _merged(self, name: str) -> bool:
        """Lets an earlier stage of one family write this too, where one pass can."""
        for position, stage in enumerate(self.stages):
            if isinstance(stage.problem, (ProductProblem, AttentionProblem)):
                continue
            together = (*stage.targets, name)
            part = self._part(together)
            later = {target for after in self.stages[position + 1 :] for target in after.targets}
            if self._reads(part) & later:
                continue
            problem = _match(part)
            if type(problem) is type(stage.problem) and not isinstance(problem, Mismatch):
                self.stages[position] = _Stage(together, problem)
                return True
        return False

    def _part(self, targets: tuple[str, ...]) -> Kernel:
        """The kernel that writes only these, reading what is stored elsewhere."""
        needed: set[str] = set()
        pending = list(targets)
        while pending:
            target = pending.pop()
            if target in needed:
                continue
            needed.add(target)
            for equation in self.kernel.math:
                if equation.target == target:
                    pending += [x.tensor for x in loads(equation.value) if self._is_computed(x, targets)]
        tensors = {n: t for n, t in self.kernel.tensors.items() if t.role != "output" or n in targets}
        for name in self.stored:
            tensors[name] = self._tensor(name, "output" if name in targets else "input")
        for name in self._written():
            tensors.setdefault(name, replace(self.kernel.tensors[name], role="input"))
        math = tuple(e for e in self.kernel.math if e.target in needed)
        return replace(self.kernel, tensors=tensors, math=math)

    def _is_computed(self, load: Load, targets: Iterable[str]) -> bool:
        if load.tensor in targets:
            return True
        tensor = self.kernel.tensors.get(load.tensor)
        if tensor is not None and tensor.role != "output" and not load.new:
            return False
        return load.tensor not in self.stored and load.tensor not in self._written()

    def _written(self) -> set[str]:
        """Outputs of earlier stages that keep full precision, so that later ones may read them back."""
        done = {target for stage in self.stages for target in stage.targets}
        return {
            n for n in done if n in self.kernel.tensors and set(self._dtypes(n)) <= {DType.f32, DType.f64}
        }

    def _dtypes(self, name: str) -> tuple[DType | None, ...]:
        tensor = self.kernel.tensors[name]
        return (None,) if tensor.same_as or tensor.role != "output" else tensor.dtypes

    def _tensor(self, name: str, role: str) -> Tensor:
        shape = self.extents.shapes[name]
        span = next(e.span for e in self.kernel.math if e.target == name)
        return Tensor(name, role, (DType.f32,), None, shape, (), span=span)

    def _reads(self, part: Kernel) -> set[str]:
        return {load.tensor for equation in part.math for load in loads(equation.value)}

    def _store_reductions(self, part: Kernel, target: str) -> bool:
        """Stores the reductions that stand between a target and what it reads. False if there is none
        left."""
        inside = [
            e.target
            for e in part.math
            if isinstance(e.value, Reduce)
            and e.target != target
            and plain_target(e)
            and e.target not in part.tensors
        ]
        # The innermost first: with them in memory, the ones that read them may already fit.
        for name in inside[:1]:
            self.stored[name] = None
        return bool(inside)


def _gathers(load: Load) -> bool:
    return any(isinstance(node, Load) for index in load.indices for node in loads(index))


def product_groups(equation: Equation) -> tuple[list[Expr], tuple[list[Expr], list[Expr]]] | None:
    """`(outside, (left, right))`, the factors under a sum as those that no summed index enters and two groups
    such that each brings an index of the left side that the other lacks, and both have every summed index.
    None if the sum is no matrix product. Groups of a single element are preferred."""
    assert isinstance(equation.value, Reduce)
    axes = set(equation.value.axes)
    left_side = {name for index in equation.indices for name in free_indices(index)}
    factors = factors_of(equation.value.body)
    outside = [f for f in factors if not axes & set(free_indices(f))]
    inside = [f for f in factors if axes & set(free_indices(f))]
    if not 2 <= len(inside) <= _MOST_FACTORS:
        return None
    best: tuple[int, tuple[list[Expr], list[Expr]]] | None = None
    for mask in range(1, 2 ** (len(inside) - 1)):
        sides = _sides(inside, mask)
        indices = [{n for f in side for n in free_indices(f)} for side in sides]
        own = [(indices[i] - indices[1 - i]) & left_side for i in (0, 1)]
        if not (own[0] and own[1] and axes <= indices[0] and axes <= indices[1]):
            continue
        cost = sum(len(side) > 1 or not isinstance(side[0], Load) for side in sides)
        if best is None or cost < best[0]:
            best = cost, sides
    return None if best is None else (outside, best[1])


def _sides(factors: Sequence[Expr], mask: int) -> tuple[list[Expr], list[Expr]]:
    left = [f for i, f in enumerate(factors) if not mask >> i & 1]
    return left, [f for i, f in enumerate(factors) if mask >> i & 1]
