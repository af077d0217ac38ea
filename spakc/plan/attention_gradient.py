"""The gradient of attention without scores in memory, as launches: what a row of queries subtracts from its slopes,
then the gradients of keys and values by tiles of keys. That of queries by tiles of queries in a launch of its own;
or by the same blocks, which add their parts in float32 to a tensor that was zero, and it is rounded last. And as one
launch for problems that stay on chip as a whole, which may also write the gradient of what the score adds for each
query and key.

Everything comes from the forward problem and the derivative that was derived from it. With w the weights and
g = gradient of the output, the slope of a score is w * (g·v - sum over keys of w * g·v), and that sum is g·o
for the output o: so the derived kernel reads the output back instead of summing over keys once more.
"""

from __future__ import annotations

from dataclasses import replace

from spak_runtime.manifest import Guard
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
    WholeGradientProblem,
)
from spakc.record import record


@record
class Way:
    """Launches for the calls for which the guards hold."""

    label: str
    problem: ChainProblem | WholeGradientProblem
    guards: tuple[Guard, ...] = ()


def fused_gradient(
    forward: Kernel, problem: AttentionProblem, derivation: Derivation
) -> tuple[Derivation, tuple[Way, ...]] | None:
    """The derivation with the output among what it reads, and ways to launch it; None where the mathematics is not of
    this form: another output has a gradient, the output is more than the weighted sum, the logsumexp is not kept,
    an operand is read twice, or another input has a gradient than the operands and what the score reads one element of
    for each query and key."""
    wanted, kernel = derivation.gradient, derivation.kernel
    operands = [operand.tensor for operand in problem.operands]
    if len(problem.outputs) != 1 or len(set(operands)) != 3:
        return None
    added = {name: load for name in wanted.inputs if (load := _one_each(name, problem)) is not None}
    if not set(wanted.inputs) <= {*operands, *added}:
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
    stores = (output, lse)
    chain, whole = _launches(forward, read_back, problem, stores, given[0], names, added)
    ways = [] if added else [*_joined(chain, taken_names(read_back)), Way("fused", chain)]
    apart = _ungrouped(problem)
    if apart is not None:  # before the others, which it is one of where it may be called
        _, own = _launches(forward, read_back, apart[0], stores, given[0], names, added)
        ways.append(Way("fused_ungrouped", own, (apart[1],)))
    ways.append(Way("fused", whole))
    return replace(derivation, kernel=read_back, saves=saves), tuple(ways)


def _ungrouped(problem: AttentionProblem) -> tuple[AttentionProblem, Guard] | None:
    """The same where each head has keys and values of its own, and when that is so: `h // (H // G)` is h where H == G.
    None if no operand is indexed like that, or by several."""
    heads = {index.name: index.extent for index in problem.batch}
    found = {
        (index, head.name, ratio.args)
        for operand in problem.operands
        for index in operand.indices
        if isinstance(index, Apply) and index.op == "floordiv"
        for head, ratio in (index.args,)
        if isinstance(head, Ref) and isinstance(ratio, Apply) and ratio.op == "floordiv"
    }
    if len(found) != 1:
        return None
    ((grouped, head, (many, few)),) = found
    sizes = [size for size in (many, few) if isinstance(size, Ref) and size.kind is RefKind.dim]
    if heads.get(head) != many or len(sizes) != 2:
        return None

    def placed(operand: Operand) -> Operand:
        own = Ref(head, RefKind.index)
        return replace(
            operand, indices=tuple(own if index == grouped else index for index in operand.indices)
        )

    why = f"each {head} has keys and values of its own"
    guard = Guard("ungrouped", ["eq", *(["dim", size.name] for size in sizes)], why)
    key, value = placed(problem.key_operand), placed(problem.value_operand)
    return replace(problem, key_operand=key, value_operand=value), guard


def _one_each(tensor: str, problem: AttentionProblem) -> Load | None:
    """How the score reads this tensor, if it reads one element for each query and key of each problem, each element
    once; else None."""
    if problem.mask is not None and any(load.tensor == tensor for load in loads(problem.mask)):
        return None
    found = {load for load in loads(problem.score) if load.tensor == tensor}
    if len(found) != 1:
        return None
    (load,) = found
    every = sorted((*(index.name for index in problem.batch), problem.query.name, problem.key.name))
    return load if sorted(index_name(index) or "" for index in load.indices) == every else None


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


def _delta(
    kernel: Kernel, problem: AttentionProblem, stores: tuple[Store, Store], given: str, name: str
) -> RowsProblem:
    """What is subtracted from the slope of every weight of a row: the row of results times its given gradient."""
    output, lse = stores
    total = Reduce(
        "sum",
        (problem.value_depth.name,),
        mul(Load(given, output.indices), Load(output.tensor, output.indices)),
    )
    return RowsProblem(
        kernel.name,
        (*problem.batch, problem.query),
        (problem.value_depth,),
        (Local(name, total, span=problem.span),),
        (Store(name, lse.indices, Ref(name, RefKind.local), span=problem.span),),
        (),
        problem.accumulate,
        True,
    )


def _launches(
    forward: Kernel,
    kernel: Kernel,
    problem: AttentionProblem,
    stores: tuple[Store, Store],
    given: str,
    names: dict[str, str],
    added: dict[str, Load],
) -> tuple[ChainProblem, WholeGradientProblem]:
    output, lse = stores
    taken = {*taken_names(kernel), *(r.name for r in problem.batch), problem.dot, problem.lse}
    subtracted = fresh("delta", taken)
    row = lse.indices
    rows = _delta(kernel, problem, stores, given, subtracted)
    dot = Load(" dot", ())  # stands for the product while the score is differentiated
    score = transform(problem.score, lambda n: dot if n == Ref(problem.dot, RefKind.local) else n)

    def slope_by(element: Load) -> Expr:
        slope = partial(score, element, lambda option: kernel.options[option].choices)
        return simplify(transform(slope, lambda n: Ref(problem.dot, RefKind.local) if n == dot else n))

    slope = slope_by(dot)
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
    by_queries: tuple[Store, ...] = ()
    if problem.query_operand.tensor in names:
        target = names[problem.query_operand.tensor]
        accumulated = Ref(common.accumulators[0], RefKind.local)
        by_queries = (
            Store(target, problem.query_operand.indices, accumulated, span=problem.query_operand.span),
        )
    key, value = names.get(problem.key_operand.tensor), names.get(problem.value_operand.tensor)
    by_keys = _by_keys(forward, common, key, value, taken)
    stages: list[RowsProblem | AttentionGradientProblem] = [rows]
    stages += [by_keys] * bool(by_keys.outputs)
    stages += [replace(common, outputs=by_queries)] * bool(by_queries)
    carried = ((subtracted,), *(() for _ in stages[1:]))
    of_logit = fresh("slope", {*taken, *common.accumulators})
    by_scores = tuple(
        Store(
            names[name],
            load.indices,
            simplify(mul(Ref(of_logit, RefKind.local), slope_by(load))),
            span=load.span,
        )
        for name, load in added.items()
    )
    result = Operand(output.tensor, output.indices, span=output.span)
    sums = Ref(by_keys.accumulators[0], RefKind.local)
    of_queries = tuple(replace(store, value=sums) for store in by_queries)
    whole = WholeGradientProblem(kernel.name, by_keys, result, of_logit, of_queries, by_scores)
    return ChainProblem(kernel.name, tuple(stages), carried), whole


def _joined(chain: ChainProblem, taken: set[str]) -> list[Way]:
    """The same where the gradient of queries is added up by the blocks of keys: zeros before, a rounding after them."""
    if len(chain.stages) != 3:
        return []
    rows, by_keys, by_queries = chain.stages
    assert isinstance(rows, RowsProblem)
    assert isinstance(by_keys, AttentionGradientProblem) and isinstance(by_queries, AttentionGradientProblem)
    (subtracted,), (store,) = rows.row_outputs, by_queries.outputs
    name = fresh("sum", {*taken, subtracted.tensor})
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
    return [Way("joined", ChainProblem(rows.kernel, tuple(stages), (*first, (), ())))]


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
