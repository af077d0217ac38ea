"""Values and memory of a case."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from spak_runtime.emulator.call import memory_of
from spakc.verify.inputs import gap_bytes, index_bounds, place, steps_of
from tests.unit.verify.kernels import example

DTYPES = [ml_dtypes.bfloat16, np.float32, np.int32, np.bool_]


@pytest.mark.parametrize(
    ("shape", "layout", "pad", "steps"),
    [
        ((2, 3), "row", 0, (3, 1)),
        ((2, 3), "row", 4, (7, 1)),
        ((2, 3), "column", 0, (1, 2)),
        ((2, 3), "column", 1, (1, 3)),
        ((4, 2, 3), "row", 1, (8, 4, 1)),
        ((4, 2, 3), "column", 1, (9, 1, 3)),
        ((5,), "row", 0, (1,)),
        ((), "row", 0, ()),
    ],
)
def test_strides(shape: tuple[int, ...], layout: str, pad: int, steps: tuple[int, ...]) -> None:
    assert steps_of(shape, layout, pad) == steps


@pytest.mark.parametrize(
    ("dtype", "layout", "pad", "offset"),
    list(itertools.product(DTYPES, ["row", "column"], [0, 3], [0, 5])),
)
def test_memory_holds_the_values_and_nothing_else(dtype: type, layout: str, pad: int, offset: int) -> None:
    values = np.arange(12).reshape(3, 4).astype(dtype)
    array = place(values, layout, pad, offset)
    memory = memory_of(array)
    assert np.array_equal(array, values)
    last = sum((n - 1) * s // array.itemsize for n, s in zip(array.shape, array.strides, strict=True))
    assert memory.size == offset + last + 1, "the memory ends with the last element"
    assert len(gap_bytes(array)) == (memory.size - 12) * array.itemsize
    if np.issubdtype(memory.dtype, np.inexact) and memory.size > 12:
        assert np.isnan(memory.astype(np.float32)).sum() == memory.size - 12


def test_a_write_beside_an_element_shows_and_one_to_an_element_does_not() -> None:
    array = place(np.zeros((2, 3), np.float32), "row", 2, 1)
    before = gap_bytes(array)
    array[...] = 7
    assert gap_bytes(array) == before
    memory_of(array)[4] = 7
    assert gap_bytes(array) != before


def test_indices_stay_inside_of_what_they_index() -> None:
    kernel = example("train", "cross_entropy").kernel
    assert index_bounds(kernel, {"R": 4, "V": 9}) == {"target": 9}
