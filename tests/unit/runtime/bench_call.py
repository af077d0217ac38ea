"""What a call of a known shape costs the host, without a device: CPU tensors take the way of CUDA tensors, and a
function of the C library stands for the driver's launch.

    python -m tests.unit.runtime.bench_call [--calls 20000] [--rounds 9]

Prints microseconds: of the call, of the launch alone, of torch's allocation of the output, and of what is left, which
is ours. Medians over rounds, with the fastest round.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import torch

import spak_runtime
from spak_runtime import function, kernel, plan
from tests.unit.runtime import hand_artifact
from tests.unit.runtime.test_launch import plan_of


def stand_in() -> Callable[..., int]:
    """Four addresses in, 0 out: no file has such a number."""
    call = ctypes.CDLL(None).isatty
    call.argtypes = [ctypes.c_void_p] * 4
    return call  # type: ignore[no-any-return]


def seconds(call: Callable[[], object], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def measure(calls: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Median and least microseconds of each part."""
    launch = stand_in()
    with tempfile.TemporaryDirectory() as folder:
        affine = spak_runtime.load(hand_artifact.write(Path(folder))).affine
        patches = (
            patch.object(torch.Tensor, "get_device", lambda _: 0),
            patch.object(function, "_is_on_cpu", lambda _: False),
            patch.object(function.KernelFunction, "_plan", lambda self, call, _: plan_of(self, call)),
            patch.object(kernel, "_launcher", lambda: launch),
            patch.object(plan, "current_stream", lambda _: 64),
            patch.object(torch._C, "_cuda_getDevice", lambda: 0, create=True),
            patch.object(torch.cuda, "is_current_stream_capturing", lambda: False),
            patch.object(torch.cuda, "synchronize", lambda _: None),
        )
        for each in patches:
            each.start()
        try:
            x, gate = torch.randn(64, 64), torch.randn(64)
            subjects: dict[str, Callable[[], object]] = {
                "call": lambda: affine(x, gate),
                "launch": lambda: launch(64, 1, 64, None),
                "output": lambda: torch.empty_strided((64, 64), (64, 1), dtype=x.dtype, device=x.device),
            }
            found = {name: [seconds(call, calls) for _ in range(rounds)] for name, call in subjects.items()}
        finally:
            for each in patches:
                each.stop()
    found["ours"] = [c - p - o for c, p, o in zip(*found.values(), strict=True)]
    return {name: (1e6 * statistics.median(times), 1e6 * min(times)) for name, times in found.items()}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args(arguments)
    for name, (median, least) in measure(given.calls, given.rounds).items():
        print(f"{name:8s} {median:6.2f} us (least {least:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
