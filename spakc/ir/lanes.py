"""Exact arithmetic on one value or on a whole grid of them, where any lane may be unknown.

A lane is a bool, an integer of any size, a float64 or a word. Integers never wrap: where int64 might not
hold a result, the operation is done on Python integers. Nothing here raises for a user's mistake: a division
by zero, a word compared with a number, a number too large make the lane unknown, with the reason.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from spakc.record import record

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    np = numpy
else:

    class _Nothing:
        """What no value is an instance of."""

    class _Lazy:
        """numpy, loaded when something is first computed on arrays: an edited file is mostly checked without one."""

        def __getattr__(self, name: str) -> Any:
            if name in ("ndarray", "generic") and "numpy" not in sys.modules:
                return _Nothing  # asked of values, of which none can be an array yet
            import numpy

            value = getattr(numpy, name)
            setattr(self, name, value)
            return value

    np = _Lazy()

Scalar: TypeAlias = bool | int | float | str
Array: TypeAlias = "NDArray[Any]"
Value: TypeAlias = "Scalar | NDArray[Any]"
Mask: TypeAlias = "bool | NDArray[np.bool_]"

MAX_BITS = 4096
"""No integer grows beyond this: the point of a law is to be decided, not to fill the memory."""

_SAFE = 2**62  # |a op b| below this cannot leave int64
_EXACT = 2**53  # integers up to this are exact in float64


class Undefined(Exception):
    """An operation has no value; the text says why. Never leaves this package: it becomes an unknown lane."""


@record(eq=False)
class Lanes:
    """`data` is a scalar or an array; where `unknown` is true, it means nothing. `names` are the names that
    have no value there, `reasons` what went wrong."""

    data: Value
    unknown: Mask = False
    names: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()

    @property
    def some_unknown(self) -> bool:
        unknown = self.unknown
        return unknown if isinstance(unknown, bool) else bool(np.any(unknown))


def nothing(*, names: frozenset[str] = frozenset(), reason: str = "") -> Lanes:
    """No value in any lane."""
    return Lanes(False, True, names, frozenset((reason,)) if reason else frozenset())


def kind(data: Value) -> str:
    """bool | number | word."""
    if isinstance(data, np.ndarray):
        return {"b": "bool", "U": "word"}.get(data.dtype.kind, "number")
    return "bool" if isinstance(data, bool) else "word" if isinstance(data, str) else "number"


# ---- one lane -----------------------------------------------------------------------------------------


def _checked(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        raise Undefined("a result that is not a number")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Undefined("a number too large to compute with")
    return value


def _divided(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def divide(a: Any, b: Any) -> Any:
        if b == 0:
            raise Undefined("a division by zero")
        return function(a, b)

    return divide


def _power(a: Any, b: Any) -> Any:
    if a == 0 and b < 0:
        raise Undefined("a division by zero")
    if isinstance(a, int) and isinstance(b, int) and abs(a) > 1 and a.bit_length() * abs(b) > 2 * MAX_BITS:
        raise Undefined("a number too large to compute with")
    result = a**b
    if isinstance(result, complex):
        raise Undefined("a root of a negative number")
    return result


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Every way in which Python's own arithmetic refuses becomes `Undefined`."""

    def call(*args: Any) -> Any:
        try:
            return _checked(function(*args))
        except OverflowError:
            raise Undefined("a number too large to compute with") from None
        except ValueError:
            raise Undefined("an argument outside of the function's domain") from None
        except TypeError:
            raise Undefined("arithmetic with what is not a number") from None

    return call


def _bf16(x: float) -> float:
    if not math.isfinite(x):
        return x
    with np.errstate(over="ignore"):
        bits = int(np.float32(x).view(np.uint32))
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return float(np.uint32(rounded).view(np.float32))


def _cast(to: Callable[[Any], Any]) -> Callable[[Any], float]:
    def cast(x: Any) -> float:
        with np.errstate(over="ignore"):
            return float(to(x))

    return cast


def _rsqrt(x: float) -> float:
    if x == 0:
        raise Undefined("a division by zero")
    return 1.0 / math.sqrt(x)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divided(lambda a, b: a / b),
    "floordiv": _divided(lambda a, b: a // b),
    "mod": _divided(lambda a, b: a % b),
    "ceil_div": _divided(lambda a, b: -(-a // b)),
    "min": lambda a, b: min(a, b),
    "max": lambda a, b: max(a, b),
    "pow": _power,
}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": lambda x: -x,
    "abs": abs,
    "exp": math.exp,
    "log": math.log,
    "exp2": lambda x: 2.0**x,
    "log2": math.log2,
    "sqrt": math.sqrt,
    "rsqrt": _rsqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "erf": math.erf,
    "floor": math.floor,
    "ceil": math.ceil,
    "identity": lambda x: x,
    "relu": lambda x: max(x, 0),
    "relu_squared": lambda x: max(x, 0) ** 2,
    "gelu": lambda x: 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0))),
    "gelu_tanh": _gelu_tanh,
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "cast_bf16": lambda x: _bf16(float(x)),
    "cast_f16": _cast(lambda x: np.float16(x)),
    "cast_f32": _cast(lambda x: np.float32(x)),
    "cast_f64": float,
    "cast_int32": int,
    "cast_int64": int,
    "cast_bool": bool,
}

BINARY = {name: _guarded(function) for name, function in _BINARY.items()}
COMPARISONS = {name: _guarded(function) for name, function in _COMPARISONS.items()}
UNARY = {name: _guarded(function) for name, function in _UNARY.items()}
"""Per scalar; each raises `Undefined` where there is no value, and nothing else."""


# ---- all lanes ----------------------------------------------------------------------------------------


def _union(*parts: Lanes) -> tuple[Mask, frozenset[str], frozenset[str]]:
    unknown: Mask = False
    for part in parts:
        if part.unknown is not False:
            unknown = unknown | part.unknown
    return (
        unknown,
        frozenset().union(*(part.names for part in parts)),
        frozenset().union(*(part.reasons for part in parts)),
    )


def _each(function: Callable[..., Any], *parts: Lanes) -> Lanes:
    """Lane by lane in Python: exact, and slow; for what numpy cannot do exactly."""
    unknown, names, reasons = _union(*parts)
    arrays = np.broadcast_arrays(*(np.asarray(p.data, dtype=_object_if_wide(p.data)) for p in parts), unknown)
    shape, *columns = arrays[0].shape, *(array.ravel().tolist() for array in arrays)
    out: list[Any] = []
    bad: list[bool] = []
    said: set[str] = set()
    for *args, skip in zip(*columns, strict=True):
        try:
            out.append(False if skip else function(*args))
            bad.append(skip)
        except Undefined as reason:
            said.add(str(reason))
            out.append(0)
            bad.append(True)
    mask = np.array(bad, dtype=bool).reshape(shape)
    data = _array(out).reshape(shape)
    return Lanes(data, mask if mask.any() else False, names, reasons | frozenset(said))


def _object_if_wide(data: Value) -> Any:
    return object if isinstance(data, int) and not isinstance(data, bool) and abs(data) >= _SAFE else None


def _array(values: list[Any]) -> Array:
    """The narrowest exact array: bool, int64, float64, or Python objects."""
    types = {type(v) for v in values}
    if types == {bool}:
        return np.array(values, dtype=bool)
    if types <= {int, bool} and all(abs(v) < _SAFE for v in values):
        return np.array(values, dtype=np.int64)
    if types == {float}:
        return np.array(values, dtype=np.float64)
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result


def _reach(data: Value) -> int:
    """The largest magnitude among integer lanes; 0 for floats."""
    if isinstance(data, np.ndarray):
        if data.dtype.kind != "i" or data.size == 0:
            return 0
        return max(abs(int(data.max())), abs(int(data.min())))
    return abs(data) if isinstance(data, int) else 0


def _plain(data: Value) -> bool:
    """numpy's own number types, not Python objects."""
    return not isinstance(data, np.ndarray) or data.dtype.kind in "if"


def arithmetic(op: str, a: Lanes, b: Lanes) -> Lanes:
    """One of `BINARY` on numbers."""
    unknown, names, reasons = _union(a, b)
    if unknown is True:
        return Lanes(False, True, names, reasons)
    if kind(a.data) != "number" or kind(b.data) != "number":
        return Lanes(False, True, names, reasons | {"arithmetic with what is not a number"})
    if not isinstance(a.data, np.ndarray) and not isinstance(b.data, np.ndarray):
        try:
            return Lanes(BINARY[op](a.data, b.data), unknown, names, reasons)
        except Undefined as reason:
            return Lanes(False, True, names, reasons | {str(reason)})
    if not (_plain(a.data) and _plain(b.data)) or _too_wide(op, a.data, b.data):
        return _each(BINARY[op], a, b)
    return _numpy_arithmetic(op, a.data, b.data, unknown, names, reasons)


def _too_wide(op: str, a: Value, b: Value) -> bool:
    x, y = _reach(a), _reach(b)
    if op == "mul":
        return x * y >= _SAFE or max(x, y) >= _SAFE
    if op == "div":
        return max(x, y) > _EXACT
    if op in ("min", "max"):
        return max(x, y) > _EXACT
    if op == "pow":
        return not _small_power(a, b, x, y)
    return x + y >= _SAFE


def _small_power(a: Value, b: Value, x: int, y: int) -> bool:
    """Integers to a power that is not negative, with a result that int64 holds."""
    integers = all(np.asarray(v).dtype.kind == "i" for v in (a, b))
    return integers and bool(np.all(np.asarray(b) >= 0)) and max(x, 1).bit_length() * max(y, 1) < 62


def _numpy_arithmetic(
    op: str, a: Value, b: Value, unknown: Mask, names: frozenset[str], reasons: frozenset[str]
) -> Lanes:
    x, y = np.asarray(a), np.asarray(b)
    if op in ("div", "floordiv", "mod", "ceil_div"):
        zero = y == 0
        if zero.any():
            unknown, reasons = unknown | zero, reasons | {"a division by zero"}
            y = np.where(zero, np.ones_like(y), y)
    with np.errstate(all="ignore"):
        result = _NUMPY[op](x, y)
    if result.dtype.kind == "f":
        wrong = np.isnan(result)
        if wrong.any():
            unknown, reasons = unknown | wrong, reasons | {"a result that is not a number"}
    return Lanes(result, unknown, names, reasons)


_NUMPY: dict[str, Callable[[Array, Array], Array]] = {
    "add": lambda x, y: np.asarray(x + y),
    "sub": lambda x, y: np.asarray(x - y),
    "mul": lambda x, y: np.asarray(x * y),
    "div": lambda x, y: np.asarray(x / y),
    "floordiv": lambda x, y: np.asarray(np.floor_divide(x, y)),
    "mod": lambda x, y: np.asarray(np.mod(x, y)),
    "ceil_div": lambda x, y: np.asarray(-np.floor_divide(-x, y)),
    "pow": lambda x, y: np.asarray(np.power(x, y)),
    "min": lambda x, y: np.asarray(np.minimum(x, y)),
    "max": lambda x, y: np.asarray(np.maximum(x, y)),
}


def function(op: str, a: Lanes) -> Lanes:
    """One of `UNARY` on numbers."""
    if a.unknown is True:
        return a
    if kind(a.data) == "word" or (kind(a.data) == "bool" and not op.startswith("cast_")):
        return Lanes(False, True, a.names, a.reasons | {"arithmetic with what is not a number"})
    if isinstance(a.data, np.ndarray):
        if op == "neg" and _plain(a.data) and _reach(a.data) < _SAFE:
            return Lanes(-a.data, a.unknown, a.names, a.reasons)
        if a.unknown is False and a.data.dtype.kind in "bif":
            values, places = np.unique(a.data, return_inverse=True)  # grids repeat few values many times
            few = _each(UNARY[op], Lanes(values))
            spread = places.reshape(a.data.shape)
            unknown = np.asarray(few.unknown)[spread] if few.unknown is not False else False
            return Lanes(np.asarray(few.data)[spread], unknown, a.names, a.reasons | few.reasons)
        return _each(UNARY[op], a)
    try:
        return Lanes(UNARY[op](a.data), a.unknown, a.names, a.reasons)
    except Undefined as reason:
        return Lanes(False, True, a.names, a.reasons | {str(reason)})


def compare(op: str, a: Lanes, b: Lanes) -> Lanes:
    """One of `COMPARISONS`; an integer and a float are compared exactly."""
    unknown, names, reasons = _union(a, b)
    if unknown is True:
        return Lanes(False, True, names, reasons)
    if kind(a.data) != kind(b.data):
        what = f"a {kind(a.data)} compared with a {kind(b.data)}"
        return Lanes(False, True, names, reasons | {what})
    if kind(a.data) != "number" and op not in ("eq", "ne"):
        return Lanes(False, True, names, reasons | {f"an order between {kind(a.data)}s"})
    if not isinstance(a.data, np.ndarray) and not isinstance(b.data, np.ndarray):
        return Lanes(bool(COMPARISONS[op](a.data, b.data)), unknown, names, reasons)
    if kind(a.data) == "number" and (
        not (_plain(a.data) and _plain(b.data)) or max(_reach(a.data), _reach(b.data)) > _EXACT
    ):
        return _each(lambda x, y: bool(COMPARISONS[op](x, y)), a, b)
    return Lanes(np.asarray(_COMPARISONS[op](a.data, b.data)), unknown, names, reasons)


def _known(a: Lanes, truth: bool) -> Mask:
    """Where the lane is known to be `truth`."""
    hit: Mask = a.data if truth else ~a.data if isinstance(a.data, np.ndarray) else not a.data  # type: ignore[assignment]
    if isinstance(a.unknown, bool):
        return False if a.unknown else hit
    return hit & ~a.unknown


def _only_bools(names: frozenset[str], reasons: frozenset[str]) -> Lanes:
    return Lanes(False, True, names, reasons | {"a truth value expected"})


def conjunction(a: Lanes, b: Lanes, *, absorbing: bool = False) -> Lanes:
    """Kleene's `and`; with `absorbing=True` his `or`: one lane that is known to be absorbing decides."""
    unknown, names, reasons = _union(a, b)
    if any(p.unknown is not True and kind(p.data) != "bool" for p in (a, b)):
        return _only_bools(names, reasons)
    if not any(isinstance(p.data, np.ndarray) or isinstance(p.unknown, np.ndarray) for p in (a, b)):
        hit = bool(_known(a, absorbing) or _known(b, absorbing))
        return Lanes(hit if absorbing else not hit, bool(unknown) and not hit, names, reasons)
    decided = np.asarray(_known(a, absorbing)) | np.asarray(_known(b, absorbing))
    rest = np.asarray(unknown) & ~decided
    data = decided if absorbing else ~decided
    if data.ndim == 0 and rest.ndim == 0:
        return Lanes(bool(data), bool(rest), names, reasons)
    return Lanes(data, rest if rest.any() else False, names, reasons)


def negation(a: Lanes) -> Lanes:
    """Kleene's `not`."""
    if a.unknown is True:
        return a
    if kind(a.data) != "bool":
        return _only_bools(a.names, a.reasons)
    data: Value = ~a.data if isinstance(a.data, np.ndarray) else not a.data
    return Lanes(data, a.unknown, a.names, a.reasons)


def choice(condition: Lanes, yes: Lanes, no: Lanes) -> Lanes:
    """`where`: only the branch that is taken needs a value."""
    _, names, reasons = _union(condition, yes, no)
    if condition.unknown is not True and kind(condition.data) != "bool":
        return _only_bools(names, reasons)
    if not isinstance(condition.data, np.ndarray) and condition.unknown is False:
        return yes if condition.data else no
    if condition.unknown is True:
        return Lanes(False, True, names, reasons)
    c = np.asarray(condition.data)
    unknown = np.asarray(condition.unknown) | np.where(c, yes.unknown, no.unknown)
    if yes.unknown is True or no.unknown is True:
        only = no if yes.unknown is True else yes
        return Lanes(only.data, unknown, names, reasons)
    if kind(yes.data) != kind(no.data):
        return Lanes(False, True, names, reasons | {"a choice between different kinds of value"})
    wide = max(_reach(yes.data), _reach(no.data)) > _EXACT or not (_plain_or_word(yes) and _plain_or_word(no))
    if wide:
        return _each(lambda q, x, y: x if q else y, condition, yes, no)
    return Lanes(np.where(c, yes.data, no.data), unknown if unknown.any() else False, names, reasons)


def _plain_or_word(a: Lanes) -> bool:
    return not isinstance(a.data, np.ndarray) or a.data.dtype.kind != "O"
