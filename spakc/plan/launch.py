"""One kernel launch as the plan decides it, and the signature it is generated for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from spak_runtime.manifest import Expression, Guard, Param, TensorSpec
from spakc.ir.module import Dim, Kernel, Option, Tensor
from spakc.ir.ops import Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.types import DType
from spakc.ir.visit import walk
from spakc.plan.problem import (
    AttentionGradientProblem,
    AttentionProblem,
    IndexRange,
    PanelProblem,
    ProductProblem,
    RowsProblem,
    StageProblem,
    Store,
    WholeGradientProblem,
)
from spakc.record import record

StepProblem = StageProblem | PanelProblem
"""What one launch computes."""

Config = Mapping[str, bool | int | float | str]
"""A value for each knob."""


@record
class Signature:
    """What a kernel works on. `carried` are intermediates that one launch hands to the next through memory:
    contiguous workspace tensors, row-major, whose names are no declared tensor's."""

    kernel: Kernel
    carried: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {**self.kernel.tensors, **self.carried}

    @property
    def dims(self) -> Mapping[str, Dim]:
        return self.kernel.dims

    @property
    def options(self) -> Mapping[str, Option]:
        return self.kernel.options

    def alternatives(self, name: str) -> tuple[DType, ...]:
        """Every dtype that a tensor may have, `same(...)` followed."""
        tensor = self.tensors[name]
        own = tensor.dtypes
        if tensor.same_as is None:
            return own
        return tuple(dict.fromkeys((*self.alternatives(tensor.same_as), *own)))

    def dtype_root(self, name: str) -> str:
        """The tensor whose DTYPE macro (or fixed dtype) decides this tensor's dtype."""
        tensor = self.tensors[name]
        return name if tensor.dtypes or tensor.same_as is None else self.dtype_root(tensor.same_as)

    def is_free(self, name: str) -> bool:
        """Whether a call chooses the dtype of this tensor, so that it is an axis of specialisation."""
        tensor = self.tensors[name]
        return len(tensor.dtypes) + (tensor.same_as is not None) > 1

    def stride(self, name: str, axis: int) -> Expression:
        """Elements between neighbours along an axis."""
        if name not in self.carried:
            return ["stride", name, axis]
        return product(stored_shape(self.carried[name])[axis + 1 :])

    def dtype(self, name: str) -> Expression:
        """The name of a tensor's dtype, as an expression or, where it is fixed, as a word."""
        root = self.dtype_root(name)
        tensor = self.tensors[root]
        return ["dtype", root] if self.is_free(root) else tensor.dtypes[0].value

    def element_bytes(self, name: str) -> Expression:
        root = self.dtype_root(name)
        tensor = self.tensors[root]
        return ["sizeof", root] if self.is_free(root) else tensor.dtypes[0].bytes

    def largest_element(self, name: str) -> int:
        """Bytes of the widest dtype that the tensor may have."""
        return max(dtype.bytes for dtype in self.alternatives(name))

    def alignment(self, name: str) -> Expression:
        return 256 if name in self.carried else ["alignment", name]

    def contiguous_axes(self, name: str) -> tuple[int, ...]:
        """The axis with stride 1 for each layout that a call may choose: one entry, or row's and column's."""
        rank = len(self.tensors[name].shape)
        layouts = self.tensors[name].layouts or ("row",)
        return tuple(rank - 1 if layout == "row" else rank - 2 for layout in layouts)


@record
class LaunchPlan:
    """`template` is the path of the template, `source` that of the file in the artifact; several launches may
    share neither. `grid`, `threads` and `shared_bytes` are manifest expressions. A source that was written by hand is
    `text`: it has no problem and no template. `one_by_one` and `unordered` as in manifest.Launch; `derived` are
    macros, as in manifest.Variant. `adds` as in manifest.Launch."""

    problem: StepProblem | None
    family: str
    template: str
    source: str
    entry: str
    params: tuple[Param, ...]
    grid: tuple[Expression, Expression, Expression]
    threads: Expression
    shared_bytes: Expression
    cluster: tuple[int, int, int] = (1, 1, 1)
    text: str = ""
    one_by_one: bool = False
    overlaps: bool = False
    unordered: bool = False
    derived: Mapping[str, Expression] = field(default_factory=dict)
    adds: Mapping[str, str] = field(default_factory=dict)


@record
class Requirements:
    """What a template asks of a call, and what it uses of a specialisation."""

    guards: tuple[Guard, ...] = ()
    layouts: tuple[str, ...] = ()  # tensors whose LAYOUT macro the source reads


ROW_UNIT = 8
"""Rows of a workspace tensor are a multiple of this many elements apart, so that 16-byte accesses of any of
its rows are aligned."""


def stored_shape(tensor: Tensor) -> list[Expression]:
    """The shape of a workspace tensor in memory: the last axis of a matrix rounded up to whole units."""
    sizes = [lower(size) for size in tensor.shape]
    if len(sizes) > 1:
        sizes[-1] = product([fold(["ceil_div", sizes[-1], ROW_UNIT]), ROW_UNIT])
    return sizes


def lower(expr: Expr) -> Expression:
    """A shape expression (over dims, knobs and numbers) as a manifest expression."""
    if isinstance(expr, Const):
        return expr.value
    if isinstance(expr, Ref) and expr.kind in (RefKind.dim, RefKind.knob, RefKind.option, RefKind.fact):
        return [expr.kind.value, expr.name]
    from spakc.ir.ops import Apply

    assert isinstance(expr, Apply), f"{expr} is no size"
    return fold([expr.op, *(lower(arg) for arg in expr.args)])


def fold(expression: list[Expression]) -> Expression:
    """Constant arithmetic done now, so that a manifest reads like what it means."""
    op, *args = expression
    if op == "mul":
        return product(args)
    if all(isinstance(arg, int) and not isinstance(arg, bool) for arg in args) and len(args) == 2:
        a, b = args
        if op == "add":
            return a + b
        if op == "sub":
            return a - b
        if op == "max":
            return max(a, b)
        if op in ("floordiv", "mod", "ceil_div") and b != 0:
            return {"floordiv": a // b, "mod": a % b, "ceil_div": -(-a // b)}[op]
    return expression


def product(factors: Iterable[Expression]) -> Expression:
    """The product of expressions: 1 if there are none."""
    constant, others = 1, []
    for factor in factors:
        if isinstance(factor, int) and not isinstance(factor, bool):
            constant *= factor
        else:
            others.append(factor)
    if constant != 1 or not others:
        others.append(constant)
    return others[0] if len(others) == 1 else ["mul", *others]


def expressions_of(problem: StepProblem, targets: bool = True) -> Iterator[Expr]:
    """Every expression that the code of a problem evaluates, the stores' `targets` among them as loads. What stays on
    chip is no load."""
    if isinstance(problem, PanelProblem):
        for expr in (*expressions_of(problem.rows, targets), *expressions_of(problem.product, targets)):
            if not (isinstance(expr, Load) and expr.tensor == problem.panel):
                yield expr
        return
    if isinstance(problem, WholeGradientProblem):
        for expr in expressions_of(problem.by_keys, targets):
            if expr != problem.by_keys.delta:
                yield expr
        yield problem.result_operand.load
        for store in (*problem.query_outputs, *problem.score_outputs):
            if targets:
                yield Load(store.tensor, store.indices)
            yield store.value
        return
    if isinstance(problem, ProductProblem):
        yield from (operand.load for operand in problem.operands)
        groups = (*problem.batch, *problem.rows, *problem.columns, *problem.reduced)
        stores = problem.outputs
    elif isinstance(problem, RowsProblem):
        yield from (step.value for step in problem.steps)
        groups = (*problem.kept, *problem.reduced)
        stores = (*problem.row_outputs, *problem.element_outputs, *problem.column_sums)
    elif isinstance(problem, AttentionProblem):
        yield from (operand.load for operand in problem.operands)
        yield from (problem.score, *(() if problem.mask is None else (problem.mask,)))
        groups = (*problem.batch, problem.query, problem.key, problem.depth, problem.value_depth)
        stores = (*problem.outputs, *problem.row_outputs)
    elif isinstance(problem, AttentionGradientProblem):
        yield from (operand.load for operand in problem.operands)
        yield from (problem.score, problem.slope, *(() if problem.mask is None else (problem.mask,)))
        yield from (problem.lse, problem.delta, *(expr for _, expr in problem.conditions))
        groups = (*problem.batch, *problem.space, problem.query, problem.key)
        groups = (*groups, problem.depth, problem.value_depth)
        stores = problem.outputs if problem.added is None else (*problem.outputs, problem.added)
    else:
        yield from (local.value for local in problem.locals)
        groups = problem.space
        stores = problem.outputs
    yield from (index.extent for index in groups)
    for store in stores:
        if targets:
            yield Load(store.tensor, store.indices)
        yield store.value


def stores_of(problem: StepProblem) -> tuple[Store, ...]:
    """Everything a step writes."""
    if isinstance(problem, RowsProblem):
        return (*problem.row_outputs, *problem.element_outputs, *problem.column_sums)
    if isinstance(problem, AttentionProblem):
        return (*problem.outputs, *problem.row_outputs)
    if isinstance(problem, PanelProblem):
        return (*problem.rows.row_outputs, *problem.product.outputs)
    if isinstance(problem, AttentionGradientProblem) and problem.added is not None:
        return (*problem.outputs, problem.added)
    return problem.outputs


def ranges_of(problem: StepProblem) -> tuple[IndexRange, ...]:
    """Every index variable of a step."""
    if isinstance(problem, ProductProblem):
        return (*problem.batch, *problem.rows, *problem.columns, *problem.reduced)
    if isinstance(problem, RowsProblem):
        parts = (problem.parts,) if problem.parts is not None else ()
        return (*problem.kept, *problem.reduced, *parts)
    if isinstance(problem, AttentionProblem):
        return (*problem.batch, problem.query, problem.key, problem.depth, problem.value_depth)
    if isinstance(problem, PanelProblem):
        return (*ranges_of(problem.rows), *ranges_of(problem.product))
    if isinstance(problem, WholeGradientProblem):
        return ranges_of(problem.by_keys)
    if isinstance(problem, AttentionGradientProblem):
        batch = dict.fromkeys((*problem.space, *problem.batch))
        return (*batch, problem.query, problem.key, problem.depth, problem.value_depth)
    return problem.space


@record
class Uses:
    """What the code of a problem reads or writes, in the order of declaration."""

    tensors: tuple[str, ...]
    dims: tuple[str, ...]
    options: tuple[str, ...]


def added_by(problem: StepProblem, signature: Signature) -> dict[str, str]:
    """The outputs of a step that does nothing but add up parts, as rows of float32, and what each is the sum of; none
    where it does more."""
    if not isinstance(problem, RowsProblem) or problem.element_outputs or len(problem.reduced) != 1:
        return {}
    (part,) = problem.reduced
    kept = tuple(index.ref for index in problem.kept)
    sums: dict[Expr, str] = {}
    for step in problem.steps:
        value = step.value
        if not isinstance(value, Reduce) or value.op != "sum" or not isinstance(value.body, Load):
            return {}
        if value.body.tensor not in signature.carried or value.body.indices != (part.ref, *kept):
            return {}
        sums[step.ref] = value.body.tensor
    found = {store.tensor: sums.get(store.value) for store in problem.row_outputs}
    plain = all(store.indices == kept for store in problem.row_outputs)
    wide = all(signature.alternatives(name) == (DType.f32,) for name in found)
    if not (plain and wide and None not in found.values()):
        return {}
    return {name: parts for name, parts in found.items() if parts is not None}


def uses_of(problem: StepProblem, signature: Signature) -> Uses:
    tensors: set[str] = set()
    names: set[tuple[RefKind, str]] = set()
    for expr in expressions_of(problem):
        for node in walk(expr):
            if isinstance(node, Load):
                tensors.add(node.tensor)
            elif isinstance(node, Ref) and node.kind in (RefKind.dim, RefKind.option):
                names.add((node.kind, node.name))
    for name in tuple(tensors):  # the default of an optional tensor is part of the code
        default = signature.tensors[name].default
        names |= {
            (node.kind, node.name)
            for node in (walk(default) if default is not None else ())
            if isinstance(node, Ref)
        }
    return Uses(
        tuple(name for name in signature.tensors if name in tensors),
        tuple(name for name in signature.dims if (RefKind.dim, name) in names),
        tuple(name for name in signature.options if (RefKind.option, name) in names),
    )


def params_of(problem: StepProblem, signature: Signature) -> tuple[Param, ...]:
    """The parameter struct of a launch: for each tensor its pointer and strides, then dims and options that
    are not compiled in."""
    uses = uses_of(problem, signature)
    params: list[Param] = []
    for name in uses.tensors:
        params.append(Param("pointer", "u64", name))
        for axis in range(len(signature.tensors[name].shape)):
            if name in signature.carried:
                params.append(Param("value", "i64", name, axis, signature.stride(name, axis)))
            else:
                params.append(Param("stride", "i64", name, axis))
    params += [Param("dim", "i32", name) for name in uses.dims if signature.dims[name].domain is None]
    for name in uses.options:
        option = signature.options[name]
        if not option.compiled_in:
            params.append(Param("option", "f32" if option.dtype is DType.f32 else "i32", name))
    counted = (i for i in ranges_of(problem) if not isinstance(problem, RowsProblem) or i != problem.parts)
    launched = filter(is_known_at_launch, counted)
    params += [Param("value", "i32", index.name, value=lower(index.extent)) for index in launched]
    return tuple(params)


def is_known_at_launch(index: IndexRange) -> bool:
    """Whether the extent depends on the device, so that it is worked out once and handed to the kernel."""
    return any(isinstance(node, Ref) and node.kind is RefKind.fact for node in walk(index.extent))


def axes_of(problem: StepProblem, signature: Signature, layouts: Iterable[str]) -> tuple[str, ...]:
    """The macros that a specialisation of this launch binds."""
    uses = uses_of(problem, signature)
    roots = dict.fromkeys(signature.dtype_root(name) for name in uses.tensors)
    axes = [f"DTYPE_{name}" for name in roots if signature.is_free(name)]
    axes += [f"LAYOUT_{name}" for name in layouts]
    axes += [f"PRESENT_{name}" for name in uses.tensors if signature.tensors[name].default is not None]
    axes += [f"OPTION_{name}" for name in uses.options if signature.options[name].compiled_in]
    axes += [f"DIM_{name}" for name in uses.dims if signature.dims[name].domain is not None]
    return tuple(axes)


def workspace_spec(tensor: Tensor) -> TensorSpec:
    """A carried intermediate as the manifest lists it."""
    dtypes = tuple(dtype.value for dtype in tensor.dtypes)
    return TensorSpec(tensor.name, "workspace", dtypes, tensor.same_as, tuple(stored_shape(tensor)))
