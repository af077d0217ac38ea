"""What a kernel's mathematics was recognised as: the contract between the maths and whoever generates code.

A problem says *what* is computed in the terms of its family and nothing about how. Names of tensors, options
and dims are the file's; roles (left, rows, query …) are ours, so a template that speaks in roles follows any
renaming.

Expressions inside a problem contain, besides constants, dims, options and index variables:
* `Load` of a declared tensor (never of an intermediate: those are inlined or named as below);
* `Ref(name, RefKind.local)`: a value computed on chip before, one per iteration point. Each problem says
  which local names it defines and over which indices a local varies.
Reductions appear only where a problem's docstring says so. Every expression is in the normal form of
`spakc.ir.simplify` and keeps the spans of the source.
"""

from __future__ import annotations

from dataclasses import field
from typing import TypeAlias

from spakc.ir.ops import Expr, Load, Ref, RefKind
from spakc.ir.types import DType
from spakc.ir.visit import references
from spakc.record import record
from spakc.source import Span


@record
class IndexRange:
    """An index variable and how many values it takes: 0 <= name < extent, extent an expression over dims."""

    name: str
    extent: Expr

    @property
    def ref(self) -> Ref:
        return Ref(self.name, RefKind.index)


@record
class Operand:
    """A tensor that a contraction reads. `indices[i]` indexes axis i: a plain index variable, or for a batch
    axis any integer expression over the batch indices (`h // (H // G)`)."""

    tensor: str
    indices: tuple[Expr, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    def axis_of(self, index: str) -> int | None:
        """The axis that this index variable runs along, alone; None if it does not appear so (broadcast)."""
        for axis, expr in enumerate(self.indices):
            if isinstance(expr, Ref) and expr.kind is RefKind.index and expr.name == index:
                return axis
        return None

    @property
    def load(self) -> Load:
        return Load(self.tensor, self.indices, span=self.span)


@record
class Store:
    """`tensor[indices] = value`, converted to the tensor's dtype. Indices are plain index variables of the
    problem or affine in one (`i + D // 2`)."""

    tensor: str
    indices: tuple[Expr, ...]
    value: Expr
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Local:
    """A named on-chip value. `name` is the file's where the file has one, else made up and unused by the
    file."""

    name: str
    value: Expr
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def ref(self) -> Ref:
        return Ref(self.name, RefKind.local)


@record
class ProductProblem:
    """`accumulator[batch, rows, columns] = sum[reduced](left * right)`, then `outputs` from it.

    Each role is a group of one or more index variables: `rows` appear in left and in the outputs, `columns`
    in right and in the outputs, `reduced` in both operands and in no output, `batch` in the outputs and in
    at least one operand through an expression. The operand whose index comes first in the first output is
    `left`, so for one row and one column index the first output is [.., rows, columns]. Either operand may
    be stored in either order: `left.axis_of(rows[0].name)` and `left.axis_of(reduced[0].name)` tell.

    Output values are over `Ref(accumulator, local)`, the index variables and loads: a vector over columns,
    over rows, a matrix over both, a scalar. Products of constants under the sum are already moved into the
    outputs.

    With `parts`, which are the batch then, each sum is over a part of what is reduced; which one is the launch's to say
    (a part beyond the end is zero).
    """

    kernel: str
    left: Operand
    right: Operand
    batch: tuple[IndexRange, ...]
    rows: tuple[IndexRange, ...]
    columns: tuple[IndexRange, ...]
    reduced: tuple[IndexRange, ...]
    accumulate: DType
    accumulator: str
    outputs: tuple[Store, ...]
    span: Span | None = field(default=None, compare=False, repr=False)  # of the sum
    parts: IndexRange | None = None

    @property
    def operands(self) -> tuple[Operand, Operand]:
        return self.left, self.right


@record
class RowsProblem:
    """For every point of `kept`: the `steps` in order, each a scalar of that row; then the outputs.

    A step's value is either `Reduce(op, axes = names of reduced, body)` with op in sum, max, min, logsumexp
    and `body` over kept and reduced indices, loads and earlier steps; or an expression without a reduction
    over kept indices, loads (gathers such as `logits[r, target[r]]` among them) and earlier steps.
    `row_outputs` are
    written once a row, `element_outputs` for every reduced point too (softmax's are already written as
    `where(lse == -inf, 0, exp(x - lse))`).

    Each of `column_sums` is summed over the rows, for every reduced point: a group of rows for each of `parts`, which
    groups being the launch's to say (a part without a row is zero). Its store is indexed by part and reduced point.

    A norm over the last axis has kept = rows, reduced = columns; a weight gradient the other way round:
    `reduced_is_contiguous` tells whether the tensors of the bodies run along the last reduced index in their
    last axis (neighbouring threads read neighbouring elements of one row) or along the last kept one.
    """

    kernel: str
    kept: tuple[IndexRange, ...]
    reduced: tuple[IndexRange, ...]
    steps: tuple[Local, ...]
    row_outputs: tuple[Store, ...]
    element_outputs: tuple[Store, ...]
    accumulate: DType
    reduced_is_contiguous: bool
    column_sums: tuple[Store, ...] = ()
    parts: IndexRange | None = None


@record
class ElementwiseProblem:
    """For every point of `space`: the `locals` in order, then every output. No point reads what another
    writes.

    An `inout` tensor is read as it was before; where the maths says `new(p)[i]`, the value is already the
    local that the store of `p` writes, so loads may all come before stores."""

    kernel: str
    space: tuple[IndexRange, ...]
    locals: tuple[Local, ...]
    outputs: tuple[Store, ...]


@record
class AttentionProblem:
    """Over `batch` (b, h, …), for a query index and a key index:

    dot    = sum[depth](query_operand * key_operand)        Ref(`dot`, local)
    logit  = where(mask, score, -inf)                       `score` over dot, index variables, options, loads
    weight = softmax over key, lse = logsumexp over key     Ref(`lse`, local); empty row: weights 0, lse -inf
    acc    = sum[key](weight * value_operand)               Ref(`accumulator`, local), over value_depth

    `outputs` are over accumulator and lse and indexed by batch, query, value_depth; `row_outputs` are over
    lse and indexed by batch and query. `mask` is a condition over indices, dims, options (and loads), None
    if every key counts. `scale` is set when score is exactly `scale * dot` with a scale that no index enters.
    Key and value operands carry the head-group map in their indices (`h // (H // G)`).
    """

    kernel: str
    batch: tuple[IndexRange, ...]
    query: IndexRange
    key: IndexRange
    depth: IndexRange
    value_depth: IndexRange
    query_operand: Operand
    key_operand: Operand
    value_operand: Operand
    dot: str
    score: Expr
    scale: Expr | None
    mask: Expr | None
    lse: str
    accumulator: str
    outputs: tuple[Store, ...]
    row_outputs: tuple[Store, ...]
    accumulate: DType
    span: Span | None = field(default=None, compare=False, repr=False)  # of the softmax

    @property
    def operands(self) -> tuple[Operand, Operand, Operand]:
        return self.query_operand, self.key_operand, self.value_operand


@record
class PanelProblem:
    """A product whose left operand is made on chip: `rows` computes the values of whole rows, and `panel` is the
    intermediate that holds them, written at every point of rows by one of its `element_outputs` (the only one)
    and read by `product` as its left operand. The one kept index of `rows` runs along the rows of the product,
    the one reduced index along what the product reduces; their names are of their own."""

    kernel: str
    rows: RowsProblem
    product: ProductProblem
    panel: str


@record
class AttentionGradientProblem:
    """A part of the gradient of attention, over the index variables of the forward problem. With g the gradient
    of its output (`result_operand`), for every query and key that `mask` lets count:

    weight = exp(score - lse)         slope_of_dot = weight * (sum[value_depth](g * value) - delta) * slope
    grad_of_query = sum[key](slope_of_dot * key_operand)
    grad_of_key   = sum[…, query](slope_of_dot * query_operand)
    grad_of_value = sum[…, query](weight * g)

    `slope` is the derivative of `score` by the dot product, over the same variables. Either `by_keys`: results are
    those of keys and values, of every point of `space`; `passing` are the other batch indices, which are summed
    over where all of `conditions` hold (an index of `space` is equal to an expression over batch indices). Or the
    result is that of queries, `space` is the batch. `accumulators` name the sums of slopes and of weights. With `added`
    a problem by keys also adds its part of grad_of_query to a tensor in memory, which is zero before the launch.
    """

    kernel: str
    by_keys: bool
    batch: tuple[IndexRange, ...]
    query: IndexRange
    key: IndexRange
    depth: IndexRange
    value_depth: IndexRange
    query_operand: Operand
    key_operand: Operand
    value_operand: Operand
    result_operand: Operand
    space: tuple[IndexRange, ...]
    passing: tuple[IndexRange, ...]
    conditions: tuple[tuple[Ref, Expr], ...]
    dot: str
    score: Expr
    slope: Expr
    mask: Expr | None
    lse: Load
    delta: Load
    accumulators: tuple[str, str]
    outputs: tuple[Store, ...]
    accumulate: DType
    added: Store | None = None
    span: Span | None = field(default=None, compare=False, repr=False)  # of the softmax

    def of_weights(self, store: Store) -> bool:
        """Whether an output is the sum of weights, not that of slopes."""
        return self.accumulators[1] in references(store.value, RefKind.local)

    @property
    def operands(self) -> tuple[Operand, Operand, Operand, Operand]:
        return self.query_operand, self.key_operand, self.value_operand, self.result_operand

    @property
    def owned(self) -> tuple[Operand, Operand]:
        """The rows that a block keeps: those that dot products are of, and those of the other products."""
        if self.by_keys:
            return self.key_operand, self.value_operand
        return self.query_operand, self.result_operand

    @property
    def passed(self) -> tuple[Operand, Operand]:
        """The rows that pass by."""
        if self.by_keys:
            return self.query_operand, self.result_operand
        return self.key_operand, self.value_operand

    @property
    def own(self) -> IndexRange:
        return self.key if self.by_keys else self.query

    @property
    def other(self) -> IndexRange:
        return self.query if self.by_keys else self.key


@record
class WholeGradientProblem:
    """The whole gradient of attention in one launch, for problems of so few queries and keys that all of one stays on
    chip. `by_keys` is the part that keys and values get, whose `delta` is no tensor here: it is
    sum[value_depth](g * result_operand), `result_operand` being the output that the forward pass wrote.

    `query_outputs` are over the sum of slopes, too. `score_outputs` are the gradients of
    tensors of which the score reads one element for each query and key, over Ref(`slope`, local): the slope of the
    logit, weight * (sum[value_depth](g * value) - delta), zero where the mask lets nothing count.
    """

    kernel: str
    by_keys: AttentionGradientProblem
    result_operand: Operand
    slope: str
    query_outputs: tuple[Store, ...]
    score_outputs: tuple[Store, ...]

    @property
    def outputs(self) -> tuple[Store, ...]:
        return (*self.query_outputs, *self.by_keys.outputs, *self.score_outputs)


@record
class ChainProblem:
    """Problems of other families joined by named on-chip intermediates, in order. `carried[i]` are the names
    of the intermediates that stage i hands on; a later stage reads them as loads of a tensor of that name."""

    kernel: str
    stages: tuple[StageProblem, ...]
    carried: tuple[tuple[str, ...], ...]


StageProblem: TypeAlias = (
    ProductProblem
    | RowsProblem
    | ElementwiseProblem
    | AttentionProblem
    | AttentionGradientProblem
    | WholeGradientProblem
)
Problem: TypeAlias = StageProblem | ChainProblem
