"""The emitted CUDA of the example kernels, kept as text: a refactoring leaves it as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.unit.emit.planned import ARCHS, example


@pytest.mark.parametrize("name", ["matmul", "train"])
def test_emitted_cuda(name: str, golden: Callable[[str, Mapping[str, str]], None]) -> None:
    files = {path: text for kernel in example(name, ARCHS).values() for path, text in kernel.files.items()}
    golden(f"cuda/{name}", files)


def test_emitted_chain(golden: Callable[[str, Mapping[str, str]], None]) -> None:
    """What stays on chip; the other variants are those of its stages."""
    files = example("chain", ARCHS)["norm_linear"].files
    golden("cuda/chain", {path: text for path, text in files.items() if path.endswith("panel.cu")})
