"""compute-sanitizer over every kernel that is for this device, as `make sanitize` runs it."""

from __future__ import annotations

import pytest

from spakc.device_runner import device_archs
from tests.gpu.launch_every_kernel import EXAMPLES, tasks_of
from tests.gpu.sanitize import build, everything, launched, ring_row, rings, row, sanitizer


def test_every_kernel_is_clean() -> None:
    path = sanitizer()
    if path is None:
        pytest.skip("not run: compute-sanitizer is not installed")
    build()
    alone = rings(path)
    print(ring_row(alone))
    assert alone.clean, alone.found.said[-3000:]
    found = list(everything(path, 2))
    print("\n".join(row(each, alone) for each in found))
    dirty = [each for each in found if not each.clean and not alone.excuses(each)]
    assert not dirty, [each.said[-3000:] for each in dirty]
    every = {t for task in tasks_of(sorted(EXAMPLES.glob("*.spak")), device_archs()) for t in task[4]}
    for each in found:
        assert each.what != "generated kernels" or launched(each).keys() == every
