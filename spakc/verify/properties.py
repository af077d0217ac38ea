"""What must be true of a result: it is that of the mathematics, up to the tolerance of the file.

`reference` says what is right for a case, `mismatches` compares. Where the inputs are whole numbers and every
step is exact on them, nothing but the right bits will do. A gradient is held to the derivative of the math,
and that to differences of the math itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from spakc.ir.extents import evaluate_size, normal_math
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.types import DType
from spakc.record import record
from spakc.verify.arrays import Array
from spakc.verify.case import Case
from spakc.verify.inputs import LARGEST_INTEGER, UNBOUNDED, draw, index_bounds
from spakc.verify.oracle import NUMPY, evaluate
from spakc.verify.tested import Derived, UnderTest
from spakc.verify.tolerance import tolerances

EXACT_BELOW = 2**24
"""Whole numbers up to here are exact in float32, in which kernels accumulate."""

STEP = 1e-5
SLACK = 1e-5
"""Of a derivative by differences: the step, and how far it may lie from the symbolic one, of its largest
term."""


@dataclass(frozen=True)
class Reference:
    """What is right for a case. `given` are the inputs and inouts as the kernel gets them (None: absent),
    `right` the results in float64, `allowed` how far from them one may lie. `is_exact`: nothing is rounded
    but each result, once. `positive`: the mathematics is undefined for some values of either sign, so none
    is negative."""

    given: Mapping[str, Array | None]
    right: Mapping[str, Array]
    allowed: Mapping[str, Array]
    dtypes: Mapping[str, DType]
    is_exact: bool
    positive: bool


@record
class Mismatch:
    """An output that is wrong: at how many of its elements, and at the first and the worst of them."""

    output: str
    wrong: int
    total: int
    at: tuple[int, ...]
    got: float
    right: float
    allowed: float

    def __str__(self) -> str:
        where = f"{self.output}[{', '.join(map(str, self.at))}]"
        how = f"within {self.allowed:.3g}" if self.allowed else "exactly"
        count = f"{self.wrong} of {self.total} wrong"
        return f"{where} = {self.got:.9g}, {how} {self.right:.9g} expected ({count})"


def reference(tested: UnderTest, case: Case) -> Reference:
    """Draws the inputs of a case and evaluates the math on them. Raises OracleError for a case that fits no
    call."""
    kernel, dtypes = tested.kernel, {name: DType(word) for name, word in case.dtypes.items()}
    positive = False
    given = _given(tested, case, dtypes, positive)
    with np.errstate(all="ignore"):
        right = evaluate(kernel, _present(given), case.options, case.dims)
        if any(np.isnan(array).any() for array in right.values() if array.dtype.kind == "f"):
            positive = True
            given = _given(tested, case, dtypes, positive)
            right = evaluate(kernel, _present(given), case.options, case.dims)
        outputs = {name: dtypes[name] for name in right}
        allowed = tolerances(kernel, right, _present(given), case.options, case.dims, outputs)
    exact = case.values == "integers" and not tested.variant.workspace
    exact = exact and not positive and is_exact_on_integers(kernel, case)
    return Reference(given, right, allowed, outputs, exact, positive)


def inputs_of(tested: UnderTest, case: Case) -> dict[str, Array | None]:
    """The inputs and inouts that a kernel gets in a case; None for an absent one."""
    return _given(tested, case, {name: DType(word) for name, word in case.dtypes.items()}, False)


def _present(given: Mapping[str, Array | None]) -> dict[str, Array]:
    return {name: array for name, array in given.items() if array is not None}


def _given(
    tested: UnderTest, case: Case, dtypes: Mapping[str, DType], positive: bool
) -> dict[str, Array | None]:
    bounds = index_bounds(tested.source, case.dims)
    given: dict[str, Array | None] = {}
    saves = tested.derived.saves if tested.derived is not None else ()
    for name, tensor in tested.kernel.tensors.items():
        if tensor.role == "output" or name in saves:
            continue
        given[name] = (
            None if name in case.absent else draw(tensor, dtypes[name], case, bounds.get(name), positive)
        )
    if tested.derived is not None and saves:
        for name, array in _forward(tested.derived, case, given, dtypes, bounds, positive).items():
            given[name] = array.astype(NUMPY[dtypes[name]])
    return given


def _forward(
    derived: Derived,
    case: Case,
    given: Mapping[str, Array | None],
    dtypes: Mapping[str, DType],
    bounds: Mapping[str, int],
    positive: bool,
) -> dict[str, Array]:
    """The forward outputs that a gradient reads, of the same inputs."""
    inputs = dict(_present(given))
    for name, tensor in derived.forward.tensors.items():
        if tensor.role != "output" and name not in given:
            dtype = dtypes.get(name) or (tensor.dtypes[0] if tensor.dtypes else DType.f32)
            inputs[name] = draw(tensor, dtype, case, bounds.get(name), positive)
    wanted = {name: array for name, array in inputs.items() if name in derived.forward.tensors}
    outputs = evaluate(derived.forward, wanted, case.options, case.dims)
    return {name: outputs[name] for name in derived.saves}


# ---- comparison ---------------------------------------------------------------------------------------


def mismatches(found: Mapping[str, Array], ref: Reference) -> list[Mismatch]:
    """Every output of a result that is not right. `found` holds all of them, in their dtypes."""
    wrong = [_compare(name, found[name], ref) for name in ref.right]
    return [each for each in wrong if each is not None]


def _compare(name: str, found: Array, ref: Reference) -> Mismatch | None:
    right = ref.right[name]
    with np.errstate(all="ignore"):
        once = right.astype(NUMPY[ref.dtypes[name]])
        got, best = found.astype(np.float64), once.astype(np.float64)
        fine = (got == best) | (np.isnan(got) & np.isnan(right))
        allowed = np.zeros(right.shape) if ref.is_exact else np.asarray(ref.allowed[name], np.float64)
        gap = np.abs(got - right)
        if not ref.is_exact:
            fine |= np.isfinite(right) & (gap <= allowed)
    if fine.all():
        return None
    badness = np.where(fine, -1.0, np.where(np.isfinite(gap), gap, np.inf))
    at = np.unravel_index(int(np.argmax(badness)), right.shape) if right.shape else ()
    where = tuple(int(i) for i in at)
    expected = float(best[where]) if ref.is_exact else float(right[where])
    return Mismatch(
        name, int((~fine).sum()), fine.size, where, float(got[where]), expected, float(allowed[where])
    )


def same_bits(one: Mapping[str, Array], other: Mapping[str, Array]) -> str | None:
    """The first output whose bits differ between two results of one call, or None."""
    return next((name for name in one if one[name].tobytes() != other[name].tobytes()), None)


# ---- exactness ----------------------------------------------------------------------------------------


def is_exact_on_integers(kernel: Kernel, case: Case) -> bool:
    """Whether every value on the way to every output is a whole number that float32 holds, in any order of
    its sums, when floating-point inputs are whole numbers up to LARGEST_INTEGER."""
    kernel, extents = normal_math(kernel)
    bounds: dict[str, float] = {}
    for equation, variables in zip(kernel.math, extents.variables, strict=True):
        sizes = {name: evaluate_size(size, case.dims) for name, size in variables.items()}
        bound = _bound(equation.value, kernel, case, sizes, bounds)
        if bound is None or bound >= EXACT_BELOW:
            return False
        bounds[equation.target] = max(bound, bounds.get(equation.target, 0))
    return True


def _bound(
    expr: Expr, kernel: Kernel, case: Case, sizes: Mapping[str, int], known: Mapping[str, float]
) -> float | None:
    """How large the whole numbers of an expression may be; None where they need not be whole or are too
    large."""

    def of(part: Expr) -> float | None:
        found = _bound(part, kernel, case, sizes, known)
        return found if found is None or found < EXACT_BELOW else None

    match expr:
        case Const(value=value):
            return abs(value) if isinstance(value, (bool, int, float)) and value == round(value) else None
        case Ref(kind=RefKind.index, name=name):
            return sizes.get(name)
        case Ref(kind=RefKind.dim, name=name):
            return case.dims[name]
        case Ref(kind=RefKind.option, name=name):
            value = case.options[name]
            whole = isinstance(value, (bool, int, float)) and np.isfinite(value) and value == round(value)
            return abs(float(value)) if whole else None
        case Load(tensor=name):
            if name in known:
                return known[name]
            tensor = kernel.tensors.get(name)
            if tensor is None or name in case.absent:
                default = tensor.default if tensor is not None else None
                return of(default) if default is not None else None
            return LARGEST_INTEGER if DType(case.dtypes[name]).is_float else UNBOUNDED
        case Reduce(op="sum", axes=axes, body=body):
            inside = of(body)
            return None if inside is None else inside * float(np.prod([sizes[axis] for axis in axes]))
        case Reduce(op="max" | "min", body=body):
            return of(body)
        case Apply():
            return _bound_of_op(expr, case, of)
    return None


def _bound_of_op(expr: Apply, case: Case, of: Callable[[Expr], float | None]) -> float | None:
    if expr.op == "call":
        chosen = expr.args[0]
        assert isinstance(chosen, Ref)
        name = case.options[chosen.name] if chosen.kind is RefKind.option else chosen.name
        return _bound_of_op(Apply(str(name), expr.args[1:]), case, of)
    if expr.op == "where":  # what decides is a condition: whole or not, it is no part of the value
        parts = [of(part) for part in expr.args[1:]]
    else:
        parts = [of(part) for part in expr.args]
    known = [part for part in parts if part is not None]
    if len(known) != len(parts):
        return None
    match expr.op:
        case "add" | "sub":
            return sum(known)
        case "mul":
            return float(np.prod(known))
        case "min" | "max" | "where":
            return max(known)
        case "neg" | "abs" | "identity" | "relu" | "cast_f32" | "cast_f64":
            return known[0]
        case "relu_squared":
            return known[0] ** 2
    return None


# ---- derivatives --------------------------------------------------------------------------------------


def derivative_gap(tested: UnderTest, case: Case) -> tuple[float, float] | None:
    """The slope of the math along a random direction: by the gradient's kernel, and by differences of the
    forward math, in float64. None where they agree. Needs a case of a gradient's kernel."""
    derived = tested.derived
    assert derived is not None
    kinds = {n: t.dtypes[0] if t.dtypes else DType.f64 for n, t in derived.forward.tensors.items()}
    kinds |= {name: DType(word) for name, word in case.dtypes.items()}
    dtypes = {name: DType.f64 if kind.is_float else kind for name, kind in kinds.items()}
    bounds = index_bounds(derived.forward, case.dims)
    ref = reference(tested, case)
    given = _given(tested, case, dtypes, ref.positive)
    full = {**_present(given)}
    for name, tensor in derived.forward.tensors.items():
        if tensor.role != "output" and name not in full and name not in case.absent:
            full[name] = draw(tensor, dtypes[name], case, bounds.get(name), ref.positive)
    rng = np.random.default_rng(case.data)
    present = [name for name in derived.gradient.inputs if name in full]
    ways = {name: rng.standard_normal(full[name].shape) for name in present}
    inputs = {name: array for name, array in full.items() if name in derived.forward.tensors}
    inputs = {n: a for n, a in inputs.items() if derived.forward.tensors[n].role != "output"}

    def outputs(step: float) -> dict[str, Array]:
        moved = {name: array + step * ways[name] if name in ways else array for name, array in inputs.items()}
        return evaluate(derived.forward, moved, case.options, case.dims)

    grads = _gradient_names(tested)
    with np.errstate(all="ignore"):
        slopes = evaluate(tested.kernel, _present(given), case.options, case.dims)
        terms = [np.sum(slopes[grads[name]] * way) for name, way in ways.items()]
        symbolic = float(sum(terms))
        high, low = outputs(STEP), outputs(-STEP)
        by_difference = 0.0
        scale = max([1.0, *(float(np.sum(np.abs(slopes[grads[n]] * w))) for n, w in ways.items())])
        for name in derived.gradient.outputs:
            rise = high[name] - low[name]
            finite = np.isfinite(rise)
            by_difference += float(np.sum(np.where(finite, rise, 0) * full[grads[name]])) / (2 * STEP)
    if abs(symbolic - by_difference) <= SLACK * scale:
        return None
    return symbolic, by_difference


def _gradient_names(tested: UnderTest) -> dict[str, str]:
    """The gradient of each tensor that has one, by name."""
    assert tested.derived is not None
    gradient = tested.derived.gradient
    roles = {"input": gradient.outputs, "output": gradient.inputs}
    found = {}
    for role, names in roles.items():
        declared = [
            n
            for n, t in tested.kernel.tensors.items()
            if t.role == role and n not in tested.derived.forward.tensors
        ]
        found.update(dict(zip(names, declared, strict=True)))
    return found
