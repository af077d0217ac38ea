import math

import pytest
import torch

from spak_runtime.numerics import compare, ulp


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_one_ulp_is_the_distance_to_the_next_number(dtype):
    tiny = torch.finfo(dtype).tiny
    values = torch.tensor([1.0, 1.5, 2.0, 3.99, 1000.0, -7.0, tiny, tiny * 2, 0.0], dtype=dtype)
    upwards = (
        torch.nextafter(values.abs(), torch.full_like(values, math.inf)).double() - values.abs().double()
    )
    assert torch.equal(ulp(values, dtype), upwards)


def test_a_comparison_names_the_worst_element():
    reference = torch.zeros(2, 3, dtype=torch.float64)
    result = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, -0.3]])
    found = compare(result, reference, 0.2)
    assert (found.agrees, found.wrong, found.total, found.index) == (False, 1, 6, (1, 2))
    assert found.error == pytest.approx(0.3)
    assert found.excess == pytest.approx(1.5)
    assert "1 of 6 elements differ; worst at [1, 2]: -0.3" in str(found)
    assert compare(result, reference, 0.31).agrees


def test_tolerances_by_element():
    reference = torch.tensor([1.0, 100.0], dtype=torch.float64)
    result = torch.tensor([1.0, 100.5])
    assert compare(result, reference, ulp(reference, torch.bfloat16)).agrees
    assert not compare(result + 0.5, reference, ulp(reference, torch.bfloat16)).agrees
    assert compare(result, reference, ulp(reference, torch.bfloat16)).index == (1,)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_agrees_only_with_itself(wrong):
    good = torch.tensor([wrong, 1.0])
    assert compare(good, good, 0.0).agrees
    assert not compare(good, torch.tensor([2.0, 1.0]), math.inf if math.isnan(wrong) else 1e30).agrees
    assert not compare(torch.tensor([2.0, 1.0]), good, 1e30).agrees


def test_shapes_never_broadcast():
    with pytest.raises(ValueError, match="differ in shape"):
        compare(torch.zeros(3), torch.zeros(1), 1.0)
    assert compare(torch.zeros(0, 3), torch.zeros(0, 3), 0.0).agrees
