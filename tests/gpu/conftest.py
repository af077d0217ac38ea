"""Tests that need a CUDA device. Without one each says `not run: no device`; none of them runs in CI."""

from pathlib import Path

import pytest
import torch

import spak_runtime
from tests.unit.runtime import hand_artifact

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"


def pytest_collection_modifyitems(items):
    here = [item for item in items if HERE in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="not run: no device"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(20)
    yield
    torch.cuda.synchronize()  # an error of a kernel belongs to the test that launched it


@pytest.fixture(scope="session")
def hand(tmp_path_factory):
    """The hand-written artifact."""
    return spak_runtime.load(hand_artifact.write(tmp_path_factory.mktemp("hand")))


@pytest.fixture(scope="session")
def products():
    """The compiled examples/kernels/matmul.spak."""
    import spakc

    return spakc.load(EXAMPLES / "kernels" / "matmul.spak")


@pytest.fixture(scope="session")
def steps():
    """The compiled examples/kernels/train.spak."""
    import spakc

    return spakc.load(EXAMPLES / "kernels" / "train.spak")


@pytest.fixture(scope="session")
def attentions():
    """The compiled examples/kernels/fmha.spak."""
    import spakc

    return spakc.load(EXAMPLES / "kernels" / "fmha.spak")


@pytest.fixture(scope="session")
def chains():
    """The compiled examples/kernels/chain.spak."""
    import spakc

    return spakc.load(EXAMPLES / "kernels" / "chain.spak")
