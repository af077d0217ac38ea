"""Random inputs of a kernel, and its gradient by central differences of the float64 oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spakc.ir.derive import Derivation, gradient
from spakc.ir.extents import evaluate_size
from spakc.ir.module import Gradient, Kernel
from spakc.verify.oracle import evaluate

Arrays = dict[str, np.ndarray[Any, Any]]


def random_inputs(kernel: Kernel, dims: Mapping[str, int], seed: int = 0, bound: int = 2) -> Arrays:
    """Normal floats, integers below `bound`, for every input and inout tensor."""
    rng = np.random.default_rng(seed)
    found: Arrays = {}
    for name, tensor in kernel.tensors.items():
        if tensor.role == "output":
            continue
        shape = [evaluate_size(size, dims) for size in tensor.shape]
        floats = not tensor.dtypes or tensor.dtypes[0].is_float
        found[name] = rng.standard_normal(shape) if floats else rng.integers(0, bound, shape)
    return found


def derived(
    kernel: Kernel, wanted: Gradient, inputs: Arrays, seeds: Arrays, options: Mapping[str, Any]
) -> Arrays:
    """Gradients by the symbolic derivative, in float64."""
    derivation: Derivation = gradient(kernel, wanted)
    forward = evaluate(kernel, inputs, options)
    given = {**inputs, **{name: forward[name] for name in derivation.saves}}
    given |= {f"grad_{name}": seed for name, seed in seeds.items()}
    needed = {n: a for n, a in given.items() if n in derivation.kernel.tensors}
    found = evaluate(derivation.kernel, needed, options)
    return {name: found[f"grad_{name}"] for name in wanted.inputs}


def differences(
    kernel: Kernel,
    wanted: Gradient,
    inputs: Arrays,
    seeds: Arrays,
    options: Mapping[str, Any],
    step: float = 1e-5,
) -> Arrays:
    """Gradients of sum(seed * output) by central differences, element by element."""

    def loss(values: Arrays) -> float:
        outputs = evaluate(kernel, values, options)
        total = 0.0
        for name, seed in seeds.items():
            total += float(np.sum(np.where(seed == 0, 0, outputs[name]) * seed))
        return total

    found: Arrays = {}
    for name in wanted.inputs:
        base = inputs[name].astype(np.float64)
        slope = np.zeros_like(base)
        for position in np.ndindex(*base.shape):
            moved = [base.copy(), base.copy()]
            moved[0][position] += step
            moved[1][position] -= step
            up, down = (loss({**inputs, name: array}) for array in moved)
            slope[position] = (up - down) / (2 * step)
        found[name] = slope
    return found
