"""The element-wise functions of the language over numpy arrays, as the oracle evaluates them. A leaf."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from spakc.verify.arrays import Array


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), dtype=np.float64).reshape(np.shape(x))


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.mod,
    "ceil_div": lambda a, b: -np.floor_divide(-a, b),
    "min": np.minimum,
    "max": np.maximum,
    "pow": lambda a, b: np.power(np.asarray(a, np.float64), b),
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "neg": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "exp2": np.exp2,
    "log2": np.log2,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "erf": _erf,
    "floor": np.floor,
    "ceil": np.ceil,
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu_squared": lambda x: np.square(np.maximum(x, 0)),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
}
"""Every element-wise op over numpy arrays."""

TRANSCENDENTAL = frozenset(FUNCTIONS) & {
    *("exp", "log", "exp2", "log2", "rsqrt", "sin", "cos", "tanh", "erf", "pow"),
    *("gelu", "gelu_tanh", "silu", "sigmoid"),
}
"""What no unit computes exactly."""
