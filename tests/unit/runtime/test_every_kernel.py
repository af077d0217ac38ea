"""What torch asks of an operator, of every kernel of examples/kernels: on the CPU, where torch computes. The same on a
device, and what only a device shows, is in tests/gpu/test_every_kernel.py."""

from __future__ import annotations

import pytest
import torch

from tests.unit.runtime.every_kernel import Call, assert_one_graph_computes_the_same, declared, every_call

CALLS = every_call()

each = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def test_no_kernel_is_left_out() -> None:
    assert CALLS.keys() == declared()
    for call in CALLS.values():
        inputs = {name for gradient in call.kernel.spec.gradients for name in gradient.inputs}
        assert inputs <= {call.kernel.signature.inputs[i] for i in call.wrt}, call.name


@each
def test_opcheck(call: Call) -> None:
    torch.library.opcheck(call.kernel.operator, call.flat(call.fresh(requires_grad=True)))


@each
def test_compiled_in_one_graph(call: Call) -> None:
    assert_one_graph_computes_the_same(call, "aot_eager")


@each
def test_autocast_changes_nothing(call: Call) -> None:
    plain, inside = call.fresh(True), call.fresh(True)
    wanted = call.run(plain)
    with torch.autocast("cpu", dtype=torch.float16):
        found = call.run(inside)
    assert [each.dtype for each in found] == [each.dtype for each in wanted]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@each
@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients(call: Call, off: type) -> None:
    wanted = call.run(call.fresh())
    arguments = call.fresh(True)
    with off():
        found = call.run(arguments)
    assert not any(each.requires_grad for each in found[: len(call.kernel.signature.outputs)])
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
