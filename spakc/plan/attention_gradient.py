"""The gradient of attention as launches without scores in memory: what a row of queries subtracts from its slopes, then
the gradients of keys and values by tiles of keys. That of queries by tiles of queries in a launch of its own; or by
the same blocks, which add their parts in float32 to a tensor that was zero, and it is rounded last.

Everything comes from the forward problem and the derivative that was derived from it. With w the weights and
g = gradient of the output, the slope of a score is w * (g·v - sum over keys of w * g·v), and that sum is g·o
for the output o: so the derived kernel reads the output back instead of summing over keys once more.
"""

from __future__ import annotations

from dataclasses import replace

from spakc.ir.derive import Derivation
from spakc.ir.inline import free_indices, fresh, index_name, inline, loads, plain_target
from spakc.ir.module import Equation, Kernel, Tensor
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.partials import partial
from spakc.ir.simplify import ZERO, factors_of, mul, neg, simplify
from spakc.ir.types import DType
from spakc.ir.visit import transform
from spakc.plan.naming import taken_names
from spakc.plan.problem import (
    AttentionGradientProblem,
    AttentionProblem,
    ChainProblem,
    ElementwiseProblem,
    IndexRange,
    Local,
    Operand,
    RowsProblem,
    StageProblem,
    Store,
)


def fused_gradient(
    forward: Kernel, problem: AttentionProblem, derivation: Derivation
) -> tuple[Derivation, dict[str, ChainProblem]] | None:
    """The derivation with the output among what it reads, and its launches, in each way by its name, those to prefer
    first; None where the mathematics is not of this form: another output has a gradient, the output is more than the
    weighted sum, the logsumexp is not kept, an operand is read twice, or another input than the operands has a
    gradient."""
    wanted, kernel = derivation.gradient, derivation.kernel
    operands = [operand.tensor for operand in problem.operands]
    if len(problem.outputs) != 1 or len(set(operands)) != 3 or not set(wanted.inputs) <= set(operands):
        return None
    (output,) = problem.outputs
    lse = next((s for s in problem.row_outputs if s.value == Ref(problem.lse, RefKind.local)), None)
    if wanted.outputs != (output.tensor,) or output.value != Ref(problem.accumulator, RefKind.local):
        return None
    if lse is None or forward.tensors[lse.tensor].dtypes != (DType.f32,):
        return None
    elements = {
        load.tensor for expr in (problem.score, problem.mask) if expr is not None for load in loads(expr)
    }
    if elements & set(operands) or not _shares_groups(problem):
        return None
    given = [name for name, t in kernel.tensors.items() if t.role == "input" and name not in forward.tensors]
    results = [name for name, t in kernel.tensors.items() if t.role == "output"]
    if len(given) != 1 or len(results) != len(wanted.inputs):
        return None
    read_back = _reading_output(kernel, problem, output.tensor, lse.tensor, given[0])
    if read_back is None:
        return None
    names = dict(zip(wanted.inputs, results, strict=True))
    saves = tuple(n for n in forward.tensors if n in (*derivation.saves, output.tensor, lse.tensor))
    chains = _launches(forward, read_back, problem, output, lse, given[0], names)
    return replace(derivation, kernel=read_back, saves=saves), chains


def _shares_groups(problem: AttentionProblem) -> bool:
    """Whether keys and values belong to the same heads."""
    key = _batch_indices(problem.key_operand, (problem.key.name, problem.depth.name))
    return key == _batch_indices(problem.value_operand, (problem.key.name, problem.value_depth.name))


def _batch_indices(operand: Operand, inner: tuple[str, str]) -> list[Expr]:
    return [index for index in operand.indices if index_name(index) not in inner]


def _reading_output(
    kernel: Kernel, problem: AttentionProblem, output: str, lse: str, given: str
) -> Kernel | None:
    """The derived kernel with every sum over keys of weight * g·v replaced by g·o."""
    table = {e.target: e for e in kernel.math if plain_target(e)}
    math: list[Equation] = []
    for equation in kernel.math:
        value = equation.value
        if isinstance(value, Reduce) and value.op == "sum":
            read = _weighted_slopes(value, table, problem, lse, given)
            if read is not None:
                row = {name for index in equation.indices for name in free_indices(index)}
                along = tuple(name for name in free_indices(read) if name not in row)
                both = neg(mul(read, Load(output, read.indices, span=read.span)))
                equation = replace(equation, value=Reduce("sum", along, both, span=value.span))
        math.append(equation)
    if tuple(math) == kernel.math:
        return None
    math = [replace(equation, value=_once(equation.value)) for equation in math]
    like = kernel.tensors[given]
    own = replace(like, name=output, same_as=like.same_as or (given if len(like.dtypes) > 1 else None))
    if own.same_as is not None:
        own = replace(own, dtypes=() if like.same_as is None else own.dtypes)
    tensors: dict[str, Tensor] = {}
    for name, tensor in kernel.tensors.items():
        tensors[name] = tensor
        if name == given:
            tensors[output] = own
    return replace(kernel, math=tuple(math), tensors=tensors)


def _once(value: Expr) -> Expr:
    """a * w + b * w as (a + b) * w: where a slope vanishes, no rounding of one of two products is left over."""
    if not (isinstance(value, Apply) and value.op == "add" and len(value.args) == 2):
        return value
    left, right = (factors_of(part) for part in value.args)
    shared = next((factor for factor in left if factor in right), None)
    if shared is None:
        return value
    sides = [mul(*(f for f in side if f is not shared and f != shared)) for side in (left, right)]
    return Apply("mul", (Apply("add", (sides[0], sides[1])), shared), span=value.span)


def _weighted_slopes(
    node: Reduce, table: dict[str, Equation], problem: AttentionProblem, lse: str, given: str
) -> Load | None:
    """The element of g where this is -(sum over keys and along values of weight * g * v), in whatever order its
    sums stand."""
    pending, factors, axes = [simplify(neg(node.body))], [], list(node.axes)
    while pending:
        for factor in factors_of(pending.pop()):
            inner = factor
            if isinstance(factor, Load) and factor.tensor in table:
                inner = inline(factor, {factor.tensor: table[factor.tensor]})
            if isinstance(inner, Reduce) and inner.op == "sum":
                axes += inner.axes
                pending.append(inner.body)
            elif factors_of(inner) != [inner]:
                pending.append(inner)
            else:
                factors.append(inner)
    if len(axes) != 2 or len(factors) != 3:
        return None
    read = {factor.tensor: factor for factor in factors if isinstance(factor, Load)}
    weights = [factor for factor in factors if not isinstance(factor, Load)]
    if read.keys() != {given, problem.value_operand.tensor} or len(weights) != 1:
        return None
    return read[given] if _is_weight(weights[0], lse) else None


def _is_weight(expr: Expr, lse: str) -> bool:
    """Whether this is exp(score - lse), zero where there is no key."""
    match expr:
        case Apply("where", (_, zero, kept)) if zero == ZERO:
            return _is_weight(kept, lse)
        case Apply("exp", (Apply("sub", (_, Load(tensor))),)):
            return tensor == lse
    return False


def _launches(
    forward: Kernel,
    kernel: Kernel,
    problem: AttentionProblem,
    output: Store,
    lse: Store,
    given: str,
    names: dict[str, str],
) -> dict[str, ChainProblem]:
    taken = {*taken_names(kernel), *(r.name for r in problem.batch), problem.dot, problem.lse}
    subtracted = fresh("delta", taken)
    row = lse.indices
    total = Reduce(
        "sum",
        (problem.value_depth.name,),
        mul(Load(given, output.indices), Load(output.tensor, output.indices)),
    )
    rows = RowsProblem(
        kernel.name,
        (*problem.batch, problem.query),
        (problem.value_depth,),
        (Local(subtracted, total, span=problem.span),),
        (Store(subtracted, row, Ref(subtracted, RefKind.local), span=problem.span),),
        (),
        problem.accumulate,
        True,
    )
    dot = Load(" dot", ())  # stands for the product while the score is differentiated
    score = transform(problem.score, lambda n: dot if n == Ref(problem.dot, RefKind.local) else n)
    slope = partial(score, dot, lambda option: kernel.options[option].choices)
    slope = simplify(transform(slope, lambda n: Ref(problem.dot, RefKind.local) if n == dot else n))
    common = AttentionGradientProblem(
        kernel=kernel.name,
        by_keys=False,
        batch=problem.batch,
        query=problem.query,
        key=problem.key,
        depth=problem.depth,
        value_depth=problem.value_depth,
        query_operand=problem.query_operand,
        key_operand=problem.key_operand,
        value_operand=problem.value_operand,
        result_operand=Operand(given, output.indices, span=output.span),
        space=problem.batch,
        passing=(),
        conditions=(),
        dot=problem.dot,
        score=problem.score,
        slope=slope,
        mask=problem.mask,
        lse=Load(lse.tensor, row),
        delta=Load(subtracted, row),
        accumulators=("grad_of_query", "grad_of_value"),
        outputs=(),
        accumulate=problem.accumulate,
        span=problem.span,
    )
    stages: list[RowsProblem | AttentionGradientProblem] = [rows]
    found: dict[str, ChainProblem] = {}
    key, value = names.get(problem.key_operand.tensor), names.get(problem.value_operand.tensor)
    if key is not None or value is not None:
        stages.append(_by_keys(forward, common, key, value, taken))
    if problem.query_operand.tensor in names:
        target = names[problem.query_operand.tensor]
        accumulated = Ref(common.accumulators[0], RefKind.local)
        store = Store(target, problem.query_operand.indices, accumulated, span=problem.query_operand.span)
        for by_keys in stages[1:]:
            assert isinstance(by_keys, AttentionGradientProblem)
            found["joined"] = _joined(rows, by_keys, store, fresh("sum", {*taken, subtracted}))
        stages.append(replace(common, outputs=(store,)))
    carried = ((subtracted,), *(() for _ in stages[1:]))
    return {**found, "fused": ChainProblem(kernel.name, tuple(stages), carried)}


def _joined(rows: RowsProblem, by_keys: AttentionGradientProblem, store: Store, name: str) -> ChainProblem:
    """The gradient of queries is added up by the blocks of keys: zeros before, a rounding after them."""
    (subtracted,) = rows.row_outputs
    added = replace(store, tensor=name)
    stages: list[StageProblem] = []
    if (
        by_keys.depth.extent == by_keys.value_depth.extent
    ):  # the pass over rows of values fills rows of queries
        along = {by_keys.depth.name: by_keys.value_depth.ref}
        indices = tuple(along.get(index_name(index) or "", index) for index in store.indices)
        zeros = Store(name, indices, ZERO, span=store.span)
        stages.append(replace(rows, element_outputs=(zeros,)))
        first: tuple[tuple[str, ...], ...] = ((subtracted.tensor, name),)
    else:
        space = (*rows.kept, by_keys.depth)
        zeros = replace(added, value=ZERO)
        stages += [rows, ElementwiseProblem(rows.kernel, space, (), (zeros,))]
        first = ((subtracted.tensor,), (name,))
    stages.append(replace(by_keys, added=added))
    rounded = replace(store, value=Load(name, store.indices))
    stages.append(
        replace(rows, reduced=(by_keys.depth,), steps=(), row_outputs=(), element_outputs=(rounded,))
    )
    return ChainProblem(rows.kernel, tuple(stages), (*first, (), ()))


def _by_keys(
    forward: Kernel, common: AttentionGradientProblem, key: str | None, value: str | None, taken: set[str]
) -> AttentionGradientProblem:
    """Blocks are places of keys; the batch indices that do not say where a key is run inside of a block, as far
    as the conditions allow."""
    inner = (common.key.name, common.depth.name, common.value_depth.name)
    space: list[IndexRange] = []
    conditions: list[tuple[Ref, Expr]] = []
    found: dict[Expr, Expr] = {}
    shape = forward.tensors[common.key_operand.tensor].shape
    for index, extent in zip(common.key_operand.indices, shape, strict=True):
        if index_name(index) in inner or index in found:
            continue
        known = next((r for r in common.batch if index == r.ref), None)
        if known is None:
            known = IndexRange(fresh("group", taken), extent)
            taken.add(known.name)
            conditions.append((known.ref, index))
        space.append(known)
        found[index] = known.ref

    def placed(operand: Operand) -> Operand:
        return replace(operand, indices=tuple(found.get(index, index) for index in operand.indices))

    key_operand, value_operand = placed(common.key_operand), placed(common.value_operand)
    stores = []
    for target, operand, name in zip(
        (key, value), (key_operand, value_operand), ("grad_of_key", "grad_of_value"), strict=True
    ):
        if target is not None:
            stores.append(Store(target, operand.indices, Ref(name, RefKind.local), span=operand.span))
    return replace(
        common,
        by_keys=True,
        key_operand=key_operand,
        value_operand=value_operand,
        space=tuple(space),
        passing=tuple(r for r in common.batch if r not in space),
        conditions=tuple(conditions),
        accumulators=("grad_of_key", "grad_of_value"),
        outputs=tuple(stores),
    )
