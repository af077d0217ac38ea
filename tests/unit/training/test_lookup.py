"""The gradient of a small table is a product with indicators: torch's numbers, without torch's sort."""

import pytest
import torch
from torch.nn import functional as F

from spak_runtime.training.batch import Batch
from spak_runtime.training.loop import answer_loss
from spak_runtime.training.ops import Ops

ON_DEVICE = torch.device("cuda")  # operations that believe to be there


@pytest.mark.parametrize(("vocab", "few"), [(14, True), (16, True), (17, False)])
def test_embedding(vocab, few):
    ops = Ops({}, (), None, ON_DEVICE)
    torch.manual_seed(0)
    tokens, weight = torch.randint(vocab, (5, 8)), torch.randn(vocab, 24, requires_grad=True)
    found = ops.embed(tokens, weight)
    assert torch.equal(found, F.embedding(tokens, weight))
    assert ("Embedded" in type(found.grad_fn).__name__) == few
    grad = torch.randn_like(found)
    (ours,) = torch.autograd.grad(found, weight, grad)
    (right,) = torch.autograd.grad(F.embedding(tokens, weight), weight, grad)
    torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-5)


def test_on_the_host_it_is_torchs():
    found = Ops({}, (), None, torch.device("cpu")).embed(
        torch.zeros(2, 8, dtype=torch.long), torch.randn(3, 4)
    )
    assert found.shape == (2, 8, 4)


class Reads(torch.nn.Module):
    def __init__(self, supervised):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.randn(3, 4, 6, 5))
        if supervised:
            self.supervised = range(1, 4)

    def forward(self, tokens, read_at=()):
        return list(self.logits) if read_at else self.logits[0]


@pytest.mark.parametrize("supervised", [True, False])
def test_the_loss_of_all_readings(supervised):
    """The mean over the tokens that count, over all readings."""
    model = Reads(supervised)
    targets, mask = torch.randint(5, (4, 6)), torch.randint(2, (4, 6)).float()
    loss = answer_loss(model, Batch(targets, targets, mask), Ops({}, (), None, torch.device("cpu")))
    logits = model.logits if supervised else model.logits[:1]
    each = [F.cross_entropy(x.flatten(0, 1), targets.flatten(), reduction="none") for x in logits]
    wanted = sum((part * mask.flatten()).sum() for part in each) / (mask.sum() * len(each))
    torch.testing.assert_close(loss, wanted)
