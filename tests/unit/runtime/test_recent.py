"""Which calls are taken for one that was made before. The plan is one that answers with what it was given."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from spak_runtime.args import MAX_ALIGNMENT
from spak_runtime.recent import RecentCall, recent_call


class Echo:
    def run_at(self, tensors: list[Any], pointers: list[int]) -> list[Any]:
        return [tensors, pointers]


def made(*tensors: torch.Tensor, **constants: Any) -> RecentCall | None:
    plan: Any = Echo()
    places = {i: i for i in range(len(tensors))}
    return recent_call(plan, tensors, constants, places, {}, len(tensors) + 1)


def a_tensor(*shape: int, dtype: torch.dtype = torch.float32, after: int = 0) -> torch.Tensor:
    """Zeros that begin so many bytes after a multiple of MAX_ALIGNMENT, as all memory of a device begins at one."""
    size = math.prod(shape) * dtype.itemsize
    memory = torch.zeros(size + 2 * MAX_ALIGNMENT, dtype=torch.uint8)
    first = -memory.data_ptr() % MAX_ALIGNMENT + after
    return memory[first : first + size].view(dtype).view(shape)


def test_the_same_call_gets_the_tensors_of_the_new_one() -> None:
    recent = made(a_tensor(4, 8), a_tensor(8), activation="gelu")
    assert recent is not None
    x, y = a_tensor(4, 8), a_tensor(8)
    found = recent.run((x, y), {"activation": "gelu"})
    assert found is not None
    tensors, pointers = found
    assert tensors[0] is x and tensors[1] is y and tensors[2] is None
    assert list(pointers) == [x.data_ptr(), y.data_ptr(), 0]


@pytest.mark.parametrize(
    "other",
    [
        (a_tensor(4, 9),),
        (a_tensor(8, 4).t(),),
        (a_tensor(4, 8, dtype=torch.float64),),
        (a_tensor(4, 8).requires_grad_(),),
        (torch.nn.Parameter(a_tensor(4, 8), requires_grad=False),),
        (a_tensor(4, 8, after=16),),
        (a_tensor(4, 8), a_tensor(4, 8)),
        (None,),
        (1.0,),
    ],
)
def test_others_are_not_taken(other: tuple[Any, ...]) -> None:
    recent = made(a_tensor(4, 8))
    assert recent is not None and recent.run(other, {}) is None
    assert recent.run((a_tensor(4, 8),), {"activation": "gelu"}) is None


def test_a_call_under_no_grad_is_none_with_a_gradient() -> None:
    """A guard does not ask whether gradients are recorded, so that such a call is not kept at all."""
    with torch.no_grad():
        assert made(a_tensor(4, 8).requires_grad_()) is None
