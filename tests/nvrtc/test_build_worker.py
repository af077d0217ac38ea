"""Processes that fill the cache: they keep what `build` would keep, and what cannot be built is no obstacle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from spak_runtime import build_worker
from spak_runtime.build_worker import build_together
from spak_runtime.cache import KernelCache, digest
from spak_runtime.disassemble import disassemble, disassemble_together
from spak_runtime.errors import ToolError
from spak_runtime.nvrtc import BuildRequest, compile_cubin, version
from spakc import cubins, driver

ROOT = Path(__file__).parents[2]


def request(body: str) -> BuildRequest:
    text = f'#include "number.cuh"\nextern "C" __global__ void f(int* x) {{ {body} }}\n'
    return BuildRequest("f.cu", text, {"number.cuh": "#define N 3\n"}, ("-DM=2",), "sm_80")


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_fill_the_cache(tmp_path: Path, processes: int) -> None:
    cache = KernelCache(tmp_path)
    good = [request(f"x[{i}] = N * M;") for i in range(3)]
    wanted = [good[0], request("no C"), good[1], request("nor C"), good[2]]
    done: list[BuildRequest] = []
    build_together(cache, wanted, processes, done.append)
    assert sorted(r.source for r in done) == sorted(r.source for r in wanted)
    compiler = "nvrtc " + ".".join(map(str, version()))
    kept = [cache.load(digest(r, compiler)) for r in good]
    assert all(k is not None and k.cubin == cache.build(r).cubin for k, r in zip(kept, good, strict=True))
    assert len(list(cache.folder.iterdir())) == 3


def test_processes_beside_this_one_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With this process held up, everything else is done beside it."""
    wanted = [request(f"x[{i}] = N;") for i in range(4)]
    cache = KernelCache(tmp_path)
    folder, build = cache.folder, cache.build

    def held_up(request: BuildRequest) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(list(folder.glob("*"))) < len(wanted) - 1:
            time.sleep(0.02)
        build(request)

    monkeypatch.setattr(cache, "build", held_up)
    begin = time.monotonic()
    build_together(cache, wanted, 2)
    assert len(list(folder.iterdir())) == len(wanted) and time.monotonic() - begin < 60


def test_what_fails_here_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = build_worker.subprocess.Popen
    monkeypatch.setattr(
        build_worker.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    cache = KernelCache(tmp_path)

    def fail(request: BuildRequest) -> None:
        raise RuntimeError("mine")

    monkeypatch.setattr(cache, "build", fail)
    with pytest.raises(RuntimeError, match="mine"):
        build_together(cache, [request("*x = N;")] * 9, 2)
    assert len(started) == 1 and started[0].returncode is not None


def test_the_artifact_is_the_same_however_many_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = driver.plan_file(driver.check_file(ROOT / "examples/kernels/matmul.spak"), ("sm_80",))
    files = driver.emit_files(decided)
    built = []
    for processes in (1, 3):
        monkeypatch.setenv("SPAK_CACHE_DIR", str(tmp_path / str(processes)))
        monkeypatch.setattr(cubins.os, "cpu_count", lambda n=processes: n)
        monkeypatch.setattr(cubins, "LEAST_SHARE", 2)
        built.append(cubins.build_cubins(decided, files))
    assert built[0] == built[1] and len(built[0]) > 4


def test_a_cubin_in_order_is_disassembled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bytes, ...]] = []
    broken: list[str] = []

    def listings(wanted: Sequence[bytes], arch: str) -> Sequence[bytes]:
        assert arch == "sm_90a"
        asked.append(tuple(wanted))
        return wanted

    monkeypatch.setattr(cubins, "disassemble_together", listings)
    monkeypatch.setattr(cubins.machine_rules, "broken_order", lambda code: iter(broken))
    cache = KernelCache(tmp_path)
    assert cubins._faults(cache, [b"one", b"one", b"other"], "sm_90a") == {b"one": [], b"other": []}
    assert cubins._faults(cache, [b"other"], "sm_90a") == {b"other": []}
    assert asked == [(b"one", b"other")], "in one run of the disassembler, and once"
    broken.append("a barrier")
    for _ in range(2):
        assert cubins._faults(cache, [b"third"], "sm_90a") == {b"third": ["a barrier"]}, "told every time"


def test_what_has_warpgroup_products_is_judged_beside_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cubins.os, "cpu_count", lambda: 2)
    cache = KernelCache(tmp_path)
    products = [request(f"x[{i}] = N; /* wgmma */") for i in range(3)]
    others = [request(f"x[{i}] = N;") for i in range(3, 6)]
    cubins._compile_side_by_side(cache, [*others, *products])
    assert len(list(cache.folder.iterdir())) == 6 and len(list((tmp_path / "in_order").iterdir())) == 3
    monkeypatch.setattr(cubins, "disassemble_together", lambda *_: pytest.fail("judged already"))
    built = [cache.build(r).cubin for r in products]
    assert cubins._faults(cache, built, "sm_80") == {cubin: [] for cubin in built}


def test_listings_of_several_cubins_in_one_run_are_those_of_each() -> None:
    built = [compile_cubin(request(f"x[{i}] = N; x[0] *= x[{i}] % M;")).cubin for i in range(3)]
    alone = [disassemble(cubin).instructions for cubin in built]
    assert len(set(alone[0])) > 5
    assert [code.instructions for code in disassemble_together(built, "sm_80")] == alone
    with pytest.raises(ToolError):
        disassemble_together([*built, b"no cubin at all"], "sm_80")
