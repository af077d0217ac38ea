"""Processes that fill the cache: they keep what `build` would keep, and what cannot be built is no obstacle."""

from __future__ import annotations

from pathlib import Path

import pytest

from spak_runtime import build_worker
from spak_runtime.build_worker import workers
from spak_runtime.cache import KernelCache, digest
from spak_runtime.nvrtc import BuildRequest, version
from spakc import cubins, driver

ROOT = Path(__file__).parents[2]


def request(body: str) -> BuildRequest:
    text = f'#include "number.cuh"\nextern "C" __global__ void f(int* x) {{ {body} }}\n'
    return BuildRequest("f.cu", text, {"number.cuh": "#define N 3\n"}, ("-DM=2",), "sm_80")


def test_processes_fill_the_cache(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path)
    good = [request(f"x[{i}] = N * M;") for i in range(3)]
    with workers(cache, [[good[0], request("no C"), good[1]], [good[2]]]):
        pass
    compiler = "nvrtc " + ".".join(map(str, version()))
    kept = [cache.load(digest(r, compiler)) for r in good]
    assert all(k is not None and k.cubin == cache.build(r).cubin for k, r in zip(kept, good, strict=True))
    assert len(list(cache.folder.iterdir())) == 3


def test_a_body_that_fails_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = build_worker.subprocess.Popen
    monkeypatch.setattr(
        build_worker.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    with pytest.raises(RuntimeError, match="mine"), workers(KernelCache(tmp_path), [[request("*x = N;")]]):
        raise RuntimeError("mine")
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
    asked: list[bytes] = []
    broken: list[str] = []
    monkeypatch.setattr(cubins, "disassemble", asked.append)
    monkeypatch.setattr(cubins.machine_rules, "broken_order", lambda code: iter(broken))
    cache = KernelCache(tmp_path)
    for cubin in (b"one", b"one", b"other"):
        assert cubins._order(cache, cubin) == []
    assert asked == [b"one", b"other"]
    broken.append("a barrier")
    for _ in range(2):
        assert cubins._order(cache, b"third") == ["a barrier"], "a fault is told every time"
