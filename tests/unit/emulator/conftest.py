"""The machines of the conformance tests: the emulator in every asynchronous mode and, with `-m gpu`, a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.emulator.machines import Machine, OnDevice, OnEmulator

EMULATOR = OnEmulator()


def device() -> Machine:
    # torch is not asked first: loaded, it makes every later fork of the emulator ten times as slow.
    if not Path("/dev/nvidiactl").exists():
        pytest.skip("not run: no device")
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("not run: no device")
    return OnDevice()


@pytest.fixture(scope="module", params=["emulator", pytest.param("device", marks=pytest.mark.gpu)])
def machine(request: pytest.FixtureRequest) -> Machine:
    return EMULATOR if request.param == "emulator" else device()


@pytest.fixture
def hopper(machine: Machine) -> Machine:
    if not machine.has("sm_90a"):
        pytest.skip("not run: needs sm_90a")
    return machine
