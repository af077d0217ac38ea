"""Which calls are taken for one that was made before. The plan is one that answers with the addresses it was given."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from spak_runtime.args import MAX_ALIGNMENT
from spak_runtime.known import MISSED, KnownCall, call_key


class Echo:
    overwritten = provided = ()
    settled = None

    def __init__(self) -> None:
        self.addresses = [0] * 4

    def launch(self, pointers: list[int]) -> list[int]:
        return pointers


def known(*args: Any, **kwargs: Any) -> KnownCall:
    plan: Any = Echo()
    count = sum(isinstance(value, torch.Tensor) for value in (*args, *kwargs.values()))
    return KnownCall(plan, args, kwargs, range(count), list, None)


def a_tensor(*shape: int, dtype: torch.dtype = torch.float32, after: int = 0) -> torch.Tensor:
    """Zeros that begin so many bytes after a multiple of MAX_ALIGNMENT, as all memory of a device begins at one."""
    size = math.prod(shape) * dtype.itemsize
    memory = torch.zeros(size + 3 * MAX_ALIGNMENT, dtype=torch.uint8)
    first = -memory.data_ptr() % MAX_ALIGNMENT + after
    return memory[first : first + size].view(dtype).view(shape)


def test_the_same_call_gets_the_addresses_of_the_new_one() -> None:
    call = known(a_tensor(4, 8), a_tensor(8), activation="gelu", scale=0.5)
    x, y = a_tensor(4, 8), a_tensor(8)
    assert call.answer((x, y), {"activation": "gelu", "scale": 1.0 / 2}) == [x.data_ptr(), y.data_ptr(), 0, 0]
    call = known(a_tensor(4, 8), None, bias=a_tensor(8))
    assert call.answer((x, None), {"bias": y}) == [x.data_ptr(), y.data_ptr(), 0, 0]


OTHERS: dict[str, tuple[Any, ...]] = {
    "size": (a_tensor(4, 9),),
    "stride": (a_tensor(8, 4).t(),),
    "dtype": (a_tensor(4, 8, dtype=torch.float64),),
    "gradient": (a_tensor(4, 8).requires_grad_(),),
    "parameter": (torch.nn.Parameter(a_tensor(4, 8), requires_grad=False),),
    "less aligned": (a_tensor(4, 8, after=16),),
    "device": (torch.empty(4, 8, device="meta"),),
    "negated": (torch._neg_view(a_tensor(4, 8)),),
    "one more": (a_tensor(4, 8), a_tensor(4, 8)),
    "one more that is absent": (a_tensor(4, 8), None),
    "none": (),
    "absent": (None,),
    "a number": (1.0,),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_others_are_not_taken(other: tuple[Any, ...]) -> None:
    call = known(a_tensor(4, 8))
    assert call.is_guarded and call.answer((a_tensor(4, 8),), {}) is not MISSED
    assert call.answer(other, {}) is MISSED
    assert call.answer((a_tensor(4, 8),), {"activation": "gelu"}) is MISSED


@pytest.mark.parametrize("after", [4, 8, 16, 32, 64, 128])
def test_what_is_more_or_less_aligned_is_another_call(after: int) -> None:
    call = known(a_tensor(4, 8, after=after))
    for other in (4, 8, 16, 32, 64, 128, 0, 256):
        answered = call.answer((a_tensor(4, 8, after=other),), {}) is not MISSED
        assert answered == (other == after)
    assert call.answer((a_tensor(4, 8, after=after + 2 * after),), {}) is not MISSED


@pytest.mark.parametrize(
    ("one", "other"), [(0.0, -0.0), (1.0, 1), (1, True), (0, False), ("a", "b"), (None, 0), (0.5, 0.25)]
)
def test_constants_are_told_apart_by_type_and_bits(one: Any, other: Any) -> None:
    x, keys = a_tensor(4, 8), []
    for mine, theirs in ((one, other), (other, one)):
        call = known(x, option=mine)
        assert call.answer((x,), {"option": mine}) is not MISSED
        assert call.answer((x,), {"option": theirs}) is MISSED
        assert call.answer((x,), {"another": mine}) is MISSED
        assert call.answer((x,), {}) is MISSED
        keys.append(call_key((x,), {"option": mine}))
    assert keys[0] is None or keys[0] != keys[1]


def test_gaps_and_names_are_part_of_a_call() -> None:
    x, bias = a_tensor(4, 8), a_tensor(8)
    call = known(x, None, bias=bias)
    for args, kwargs in (
        ((x, bias), {}),
        ((x, x), {"bias": bias}),
        ((x,), {"bias": bias}),
        ((x, None, None), {"bias": bias}),
        ((x, None), {"bias": None}),
        ((x, None), {"gate": bias}),
        ((x, None), {}),
        ((x, None), {"bias": bias, "gate": bias}),
    ):
        assert call.answer(args, kwargs) is MISSED


def test_a_call_under_no_grad_is_none_with_a_gradient() -> None:
    """A guard does not ask whether gradients are recorded."""
    x = a_tensor(4, 8).requires_grad_()
    with torch.no_grad():
        unrecorded = known(x)
        assert unrecorded.answer((x,), {}) is not MISSED
    assert unrecorded.answer((x,), {}) is MISSED
    recorded = known(x)
    assert recorded.answer((x,), {}) is not MISSED
    with torch.no_grad():
        assert recorded.answer((x,), {}) is MISSED


def test_a_call_in_inference_mode_is_another() -> None:
    call = known(a_tensor(4, 8))
    with torch.inference_mode():
        assert call.answer((a_tensor(4, 8),), {}) is MISSED
