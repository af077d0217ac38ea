"""The optimizer with its rates in tables, as it steps on a device, against the one that is told them."""

import pytest
import torch
from torch import nn

from spak_runtime.training.ops import Ops
from spak_runtime.training.optim import Optimizer

STEPS = 40
COSINE = {"name": "cosine", "peak": 1e-2, "warmup": 5, "floor": 1e-4}
CONSTANT = {"name": "constant", "rate": 1e-2}
PHASED = {"first": 1e-2, "second": 5e-1, "from": 0.5}


def trained(lr, decay, on_device, start=0, parameters=None):
    """Weights after the steps from `start` on, two of them: the first decays."""
    source = torch.Generator().manual_seed(3)
    parameters = parameters or [nn.Parameter(torch.randn(4, 3, generator=source)) for _ in range(2)]
    spec = {"name": "adamw", "betas": (0.9, 0.95), "weight_decay": decay}
    ops = Ops({}, (), None, torch.device("cuda" if on_device else "cpu"))
    optimizer = Optimizer(parameters, parameters[:1], spec, lr, ops)
    optimizer.prepare(start, STEPS)
    rates = []
    for step in range(start, STEPS):
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.sin(parameter.detach() * (number + 1) + step)
        rates.append(optimizer.step(step, STEPS))
        assert all(parameter.grad is None for parameter in parameters)
    return [parameter.detach() for parameter in parameters], rates


@pytest.mark.parametrize("lr", [COSINE, CONSTANT], ids=["cosine", "constant"])
@pytest.mark.parametrize("decay", [0.0, 0.1, PHASED], ids=["none", "some", "phased"])
def test_tables_say_what_the_host_says(lr, decay):
    (host, told), (device, taken) = (trained(lr, decay, on_device) for on_device in (False, True))
    assert told == taken
    for a, b in zip(host, device, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_counter_starts_where_the_training_goes_on():
    """From the middle, with a decay that changes there and moments that begin anew on both sides."""
    (host, _), (device, _) = (trained(COSINE, PHASED, on_device, start=20) for on_device in (False, True))
    torch.testing.assert_close(host, device, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(device[0], trained(COSINE, 0.0, True, start=20)[0][0]), "decay matters here"
