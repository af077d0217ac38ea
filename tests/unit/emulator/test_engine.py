"""The engine itself: contraction, builds and their errors, leaks, the portable context switch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from spak_runtime.emulator import Buffer, build, launch, toolchain
from spak_runtime.errors import BuildError, CallError, ToolError, UnknownKernelError
from tests.clock import assert_within
from tests.unit.emulator.emulator_cases import (
    HEAD,
    INCLUDE,
    ROOT,
    Params,
    from_text,
    gemm_mma,
    gemm_wgmma,
    run,
)

DIFFERENCE = """
struct P { const f32* x; const f32* m; f32* y; f32* z; f32 c; };
SPAK_KERNEL(kernel, P, 32) {
  const u32 t = thread_index();
  store(params.y + t, load(params.x + t) * params.c - load(params.m + t) * params.c);
  store(params.z + t, fma_f32(load(params.x + t), params.c, -(load(params.m + t) * params.c)));
}
"""


def test_contraction_is_a_choice() -> None:
    results = {}
    for contract in (True, False):
        kernel = build(HEAD + DIFFERENCE, INCLUDE, contract=contract)
        x = np.full(32, -1e30, np.float32)
        y, z = np.zeros(32, np.float32), np.zeros(32, np.float32)
        params = Params().input("x", x).input("m", x.copy()).output("y", y).output("z", z).f32(0.18033688)
        assert run(kernel, params).ok
        results[contract] = y
        assert abs(z[0]) > 1e20, "an explicit fma always rounds once"
    assert (results[False] == 0).all()
    assert abs(results[True][0]) > 1e20, "x*c - m*c leaves the rounding error of m*c when it is contracted"


def test_approximations_flush_subnormals() -> None:
    source = """
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const f32 x = load(params.x + thread_index());
      store(params.y + thread_index(), exp2_approx(x));
      store(params.y + 32 + thread_index(), exp2_polynomial(x));
    }
    """
    x = np.linspace(-140, 0, 32, dtype=np.float32)
    y = np.zeros(64, np.float32)
    assert run(from_text(source), Params().input("x", x).output("y", y)).ok
    assert (y[:32][x < -126] == 0).all() and (y[:32][x >= -126] > 0).all()
    true = np.exp2(x[x > -125].astype(np.float64))
    assert np.max(np.abs(y[:32][x > -125] / true - 1)) < 1e-6
    assert np.max(np.abs(y[32:][x > -125] / true - 1)) < 2e-4


def test_errors_of_a_build_name_the_line() -> None:
    with pytest.raises(BuildError, match=r"case\.spak:2:.*load_globl_32"):
        from_text("struct P { i32 n; };\nSPAK_KERNEL(kernel, P, 32) { load_globl_32(nullptr); }")


def test_no_compiler_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    toolchain.compiler.cache_clear()
    try:
        with pytest.raises(ToolError, match="no-such-compiler"):
            toolchain.compiler()
    finally:
        monkeypatch.undo()
        toolchain.compiler.cache_clear()


@pytest.mark.parametrize(
    ("script", "said"),
    [("", "found none"),
     ("#!/bin/sh\nexit 1\n", "found none"),
     ('#!/bin/sh\n[ "$1" = --version ] && echo fake++ 1.0\n', "fake.. 1.0. cannot build the emulator")],
)  # fmt: skip
def test_a_compiler_that_does_not_work_is_no_fault_of_a_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    fake = tmp_path / "fake"
    fake.write_text(script)
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    monkeypatch.setenv("SPAK_CACHE_DIR", str(tmp_path / "cache"))
    toolchain.compiler.cache_clear()
    launch._library.cache_clear()
    try:
        with pytest.raises(ToolError, match=said):
            from_text("struct P { i32 n; };\nSPAK_KERNEL(kernel, P, 32) {}")
    finally:
        monkeypatch.undo()
        toolchain.compiler.cache_clear()
        launch._library.cache_clear()


def test_builds_are_kept_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    first = from_text("struct P { i32 n; };\nSPAK_KERNEL(kernel, P, 32) {}")
    monkeypatch.setattr(toolchain, "_run", lambda *_: pytest.fail("compiled again"))
    assert from_text("struct P { i32 n; };\nSPAK_KERNEL(kernel, P, 32) {}").path == first.path


def test_wrong_arguments() -> None:
    kernel = from_text("struct P { f32* x; };\nSPAK_KERNEL(kernel, P, 32) {}")
    x = np.zeros((8, 8), np.float32)
    with pytest.raises(UnknownKernelError, match="other"):
        run(kernel, Params().input("x", x), entry="other")
    with pytest.raises(CallError, match="contiguous"):
        run(kernel, Params().input("x", x.T[1:]))
    with pytest.raises(CallError, match="there are"):
        kernel.run("kernel", bytes(8), [Buffer("x", x)], [(0, "y")], (1, 1, 1), 32, 0)
    with pytest.raises(CallError, match="outside"):
        kernel.run("kernel", bytes(8), [Buffer("x", x)], [(4, "x")], (1, 1, 1), 32, 0)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_nothing_leaks() -> None:
    def work(n: int) -> None:
        for seed in range(n):
            gemm_wgmma(128, 128, 72, seed=seed, async_mode="random", isolate=False)
            gemm_wgmma(256, 128, 72, cluster=2, seed=seed, isolate=False)
            gemm_mma(128, 128, 40, seed=seed, isolate=False)

    work(3)
    growth = []
    for _ in range(4):  # the allocator may take its time to settle; a leak grows every time
        before = resident_bytes()
        work(4)
        growth.append(resident_bytes() - before)
    assert min(growth) < 1 << 20, growth


def processes() -> list[Path]:
    """Of the emulator: the children of this one that are forks of it. Other tests leave processes that were started
    anew, like the one by which multiprocessing tidies up; these have a command line of their own."""
    tasks = Path("/proc/self/task").glob("*/children")
    children = [Path("/proc", pid) for task in tasks for pid in task.read_text().split()]
    mine = Path("/proc/self/cmdline").read_bytes()
    return [child for child in children if (child / "cmdline").read_bytes() == mine]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_one_process_runs_many_launches() -> None:
    """It is kept from launch to launch, and grows no more; a crash costs it alone; a fork has one of its own."""
    nowhere = "*reinterpret_cast<volatile f32*>(static_cast<u64>(64)) = 1;"  # far behind an array there may be memory
    crash = from_text(f"struct P {{ f32* x; }};\nSPAK_KERNEL(kernel, P, 32) {{ {nowhere} }}")
    x = np.zeros(32, np.float32)

    def work(n: int) -> None:
        for seed in range(n):
            report, exact = gemm_wgmma(256, 128, 72, cluster=2, seed=seed)
            assert report.ok and exact
            assert gemm_mma(128, 128, 40, seed=seed)[1]

    def least(process: Path) -> int:
        """Pages that it holds after one of several launches: they come and go by some hundreds."""
        found = []
        for _ in range(4):
            work(1)
            found.append(int((process / "statm").read_text().split()[1]))
        return min(found)

    work(1)
    (first,) = processes()
    before = least(first)
    work(8)
    assert least(first) - before < 512
    assert processes() == [first]
    assert [e.kind for e in run(crash, Params().output("x", x)).errors] == ["crash"]
    assert not processes()
    child = os.fork()
    if child == 0:
        work(1)
        os._exit(len(processes()) - 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    work(1)
    assert len(processes()) == 1 and processes() != [first]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_no_process_outlives_its_owner() -> None:
    """Nor does it hold the owner's output open: whoever reads that sees it end."""
    program = """
from tests.unit.emulator.emulator_cases import gemm_mma
from tests.unit.emulator.test_engine import processes
assert gemm_mma(128, 128, 40)[1]
print(*processes())
"""
    path = os.pathsep.join([str(ROOT), str(ROOT / "runtime")])
    environment = os.environ | {"PYTHONPATH": path}
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment, cwd=ROOT
    )
    (worker,) = map(Path, said.stdout.split())
    for _ in range(100):
        if not worker.exists():
            return
        time.sleep(0.05)
    pytest.fail(f"{worker} is still there")


SCRATCH = """
struct P { f32* x; i32 write; };
SPAK_DEVICE f32 scratch(i32 write) {
  volatile f32 values[64];
  if (write)
    for (u32 i = 0; i < 64; i++) values[i] = 7;
  sync_threads();
  return values[63];
}
SPAK_KERNEL(kernel, P, 32) { store(params.x + thread_index(), scratch(params.write)); }
"""


def test_what_a_launch_leaves_on_a_stack_decides_nothing() -> None:
    kernel = from_text(SCRATCH)
    x = np.ones(32, np.float32)
    for write in (0, 1, 0):
        assert run(kernel, Params().output("x", x).i32(write)).ok
        assert (x == 7 * write).all()


def test_a_small_case_is_quick() -> None:
    """About 0.01 s on an idle core; the build is kept."""
    gemm_mma(128, 128, 128, isolate=False)
    assert_within(0.1, lambda: gemm_mma(128, 128, 128, isolate=False))


@pytest.mark.slow
def test_portable_context_switch() -> None:
    """The same cases, with ucontext instead of the hand-written switch."""
    program = """
from spak_runtime.emulator import toolchain
toolchain.RUNTIME_FLAGS += ("-DSPAK_EMU_UCONTEXT",)
from tests.unit.emulator.emulator_cases import gemm_mma, gemm_wgmma
for report, exact in (gemm_mma(136, 128, 72), gemm_wgmma(128, 128, 72)):
    assert report.ok and exact, report.errors
"""
    path = os.pathsep.join([str(ROOT), str(ROOT / "runtime")])
    subprocess.run(
        [sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONPATH": path}, cwd=ROOT
    )
