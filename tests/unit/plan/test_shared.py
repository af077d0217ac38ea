"""What neighbours along an outer index have in common."""

import pytest

from spakc.diagnostics import Sink
from spakc.ir.ops import RefKind
from spakc.ir.visit import references
from spakc.plan.plan import plan
from spakc.plan.problem import ElementwiseProblem
from spakc.plan.shared import shared_of
from tests.unit.emit.planned import checked

KERNEL = """spak 1
use std.devices
targets h100
kernel k: elementwise {
  dim B, T, H, D
  input  x: f32 [B, T, H, D]
  output y: f32 [B, T, H, D]
  option base: f32 = 10_000.0
  math { %s }
}
"""


def shared(math, tmp_path):
    file = tmp_path / "k.spak"
    file.write_text(KERNEL % math)
    problem = plan(checked(file), (), Sink()).kernels["k"].problem
    assert isinstance(problem, ElementwiseProblem)
    return shared_of(problem)


def test_what_is_the_same_in_every_head_is_computed_once(tmp_path):
    found = shared("y[b, t, h, i] = x[b, t, h, i] * cos(t * pow(base, 1.0 * i))", tmp_path)
    assert found.along.name == "h" and [local.name for local in found.locals] == ["cos"]
    (store,) = found.rest.outputs
    assert references(store.value, RefKind.local) == {"cos"}


def test_a_name_of_the_file_stays(tmp_path):
    found = shared(
        "angle[t, i] = t * pow(base, 1.0 * i)  y[b, t, h, i] = x[b, t, h, i] * angle[t, i]", tmp_path
    )
    assert found is not None


@pytest.mark.parametrize(
    "math",
    [
        "y[b, t, h, i] = x[b, t, h, i] * cos(1.0 * h)",
        "y[b, t, h, i] = exp(x[b, t, h, i])",
        "y[b, t, h, i] = x[b, t, h, i] * (t + i)",
        "s[h] = sin(1.0 * h)  y[b, t, h, i] = x[b, t, h, i] + exp(s[h])",
    ],
    ids=["it changes", "an element", "nothing that costs much", "a name that changes"],
)
def test_else_every_point_is_computed_alone(math, tmp_path):
    assert shared(math, tmp_path) is None
