"""Each check on global and shared memory: the mistake is named, the right version is silent."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.emulator.emulator_cases import Params, from_text, run

COPY = """
struct P { const f32* x; f32* y; i32 n; };
SPAK_KERNEL(kernel, P, 64) {
  const i32 i = block_index_x() * 64 + thread_index() + SHIFT;
  if (i < params.n + SLACK) store(params.y + i + (WRONG ? -(i % 2) : 0), load(params.x + i));
}
"""


def copy(n: int, **defines: int) -> tuple[object, np.ndarray, np.ndarray]:
    kernel = from_text(COPY, **({"SLACK": 0, "SHIFT": 0, "WRONG": 0} | defines))
    x, y = np.arange(n, dtype=np.float32), np.zeros(n, np.float32)
    report = run(kernel, Params().input("x", x).output("y", y).i32(n), grid=(-(-n // 64), 1, 1), block=64)
    return report, x, y


def test_copy_is_clean() -> None:
    report, x, y = copy(100)
    assert report.ok, report.errors
    assert np.array_equal(x, y)
    assert report.bytes["x"].read == 400 and report.bytes["y"].written == 400
    assert [a.units for a in report.sectors] == [26]  # 13 sectors read, 13 written, by one line


@pytest.mark.parametrize(
    ("defines", "kind"),
    [
        ({"SLACK": 1}, "global-out-of-bounds"),
        ({"SHIFT": 1}, "unwritten-output"),
        ({"WRONG": 1}, "double-write"),
    ],
)
def test_global_mistakes(defines: dict[str, int], kind: str) -> None:
    report, *_ = copy(100, **defines)
    assert kind in report.kinds, report.errors
    if kind == "global-out-of-bounds":
        assert report.errors[0].place is not None
        assert (report.errors[0].place.file, report.errors[0].place.line) == ("case.spak", 5)


ONE_THREAD = """
struct P { const f32* x; f32* y; };
SPAK_KERNEL(kernel, P, 32) {
  const u32 base = shared_base(), t = thread_index();
  BODY
}
"""


def one_block(body: str, shared: int = 1024, block: int = 32, **options: object) -> object:
    kernel = from_text(ONE_THREAD.replace("BODY", body).replace("P, 32", f"P, {block}"))
    x, y = np.ones(256, np.float32), np.zeros(256, np.float32)
    return run(kernel, Params().input("x", x).workspace("y", y), block=block, shared=shared, **options)


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("misaligned-global", "load_vector<4>(params.x + 1);", "load_vector<4>(params.x + 4);"),
        ("write-to-readonly", "store(const_cast<f32*>(params.x), 1.0f);", "store(params.y + t, 1.0f);"),
        (
            "shared-out-of-bounds",
            "store_shared<f32>(base + 1024, 1.0f);",
            "store_shared<f32>(base + t * 4, 1.0f);",
        ),
        (
            "shared-out-of-bounds",
            "store_shared<f32>(base - 4, 1.0f);",
            "store_shared<f32>(base + t * 4, 1.0f);",
        ),
        (
            "misaligned-shared",
            "store_shared<f32>(base + 2 + t * 4, 1.0f);",
            "store_shared<f32>(base + t * 4, 1.0f);",
        ),
        (
            "uninitialised-shared-read",
            "load_shared<f32>(base + t * 4);",
            "store_shared<f32>(base + t * 4, 1.0f); load_shared<f32>(base + t * 4);",
        ),
        (
            "race-read-after-write",
            "store_shared<f32>(base + t * 4, 1.0f); shuffle(t, 0); load_shared<f32>(base + (t ^ 1) * 4);",
            "store_shared<f32>(base + t * 4, 1.0f); sync_warp(); load_shared<f32>(base + (t ^ 1) * 4);",
        ),
        (
            "race-write-after-write",
            "store_shared<f32>(base, f32(t));",
            "if (t == 0) store_shared<f32>(base, f32(t));",
        ),
        (
            "race-write-after-read",
            "store_shared<f32>(base + t * 4, 1.0f); sync_warp(); load_shared<f32>(base + (t ^ 1) * 4);"
            "store_shared<f32>(base + t * 4, 2.0f);",
            "store_shared<f32>(base + t * 4, 1.0f); sync_warp(); load_shared<f32>(base + (t ^ 1) * 4);"
            "sync_warp(); store_shared<f32>(base + t * 4, 2.0f);",
        ),
        (
            "global-race-read-after-write",
            "store(params.y + t, 1.0f); load(params.y + (t ^ 1));",
            "store(params.y + t, 1.0f); sync_threads(); load(params.y + (t ^ 1));",
        ),
        (
            "readonly-load-of-written",
            "store(params.y + t, load_readonly(params.y + t) + 1.0f);",
            "store(params.y + t, load(params.y + t) + load_readonly(params.y + 32 + t));",
        ),
        (
            "readonly-load-of-written",
            "store(params.y + t, 1.0f); load_vector_readonly<1>(params.y + t);",
            "store(params.y + t, 1.0f); load(params.y + t);",
        ),
        ("global-race-write-after-write", "store(params.y, 1.0f);", "if (t == 0) store(params.y, 1.0f);"),
        (
            "register-out-of-bounds",
            "Reg<f32, 4> r; fill(r, 0.0f); r[t & 7] = 1.0f;",
            "Reg<f32, 4> r; r[t & 3] = 1.0f;",
        ),
        (
            "misaligned-cp-async",
            "cp_async_16(base + 8, params.x); cp_async_commit(); cp_async_wait<0>();",
            "",
        ),
        (
            "misaligned-cp-async",
            "cp_async_16(base + t * 16, params.x + 1); cp_async_commit(); cp_async_wait<0>();",
            "cp_async_16(base + t * 16, params.x); cp_async_commit(); cp_async_wait<0>();",
        ),
        (
            "race-read-after-write",
            "cp_async_4(base + t * 4, params.x + t); cp_async_commit(); load_shared<f32>(base + t * 4);"
            "cp_async_wait<0>();",
            "cp_async_4(base + t * 4, params.x + t); cp_async_commit(); cp_async_wait<0>();"
            "load_shared<f32>(base + t * 4);",
        ),
        (
            "exit-with-pending-cp-async",
            "cp_async_8(base + t * 8, params.x + t * 2); cp_async_commit();",
            "cp_async_8(base + t * 8, params.x + t * 2); cp_async_commit(); cp_async_wait<0>();",
        ),
        (
            "misaligned-shared",
            "store_shared_128(base + t * 16, load_global_128(params.x)); sync_warp(); Reg<u32, 1> r;"
            "ldmatrix_x1(r, base + 8);",
            "store_shared_128(base + t * 16, load_global_128(params.x)); sync_warp(); Reg<u32, 1> r;"
            "ldmatrix_x1(r, base + (t & 7) * 16);",
        ),
    ],
)
def test_each_check(kind: str, wrong: str, right: str) -> None:
    for mode in ("late", "eager", "random"):
        found = one_block(wrong, seed=3, async_mode=mode)
        assert kind in found.kinds, found.errors
        clean = one_block(right, seed=3, async_mode=mode)
        assert clean.ok, clean.errors


def test_uninitialised_workspace() -> None:
    kernel = from_text(
        "struct P { f32* w; f32* y; };\nSPAK_KERNEL(kernel, P, 32) {\n"
        "if (FIRST) store(params.w + thread_index(), 1.0f);\n"
        "store(params.y + thread_index(), load(params.w + thread_index())); }",
        FIRST=0,
    )
    good = from_text(
        "struct P { f32* w; f32* y; };\nSPAK_KERNEL(kernel, P, 32) {\n"
        "store(params.w + thread_index(), 1.0f);\n"
        "store(params.y + thread_index(), load(params.w + thread_index())); }"
    )
    for k, kinds in ((kernel, {"uninitialised-global-read"}), (good, set())):
        w, y = np.zeros(32, np.float32), np.zeros(32, np.float32)
        report = run(k, Params().workspace("w", w, uninitialised=True).output("y", y))
        assert report.kinds == kinds
        assert np.isnan(y).all() == bool(kinds)


def test_copies_hold_nan_until_waited_for() -> None:
    body = """
    cp_async_4(base + t * 4, params.x + t); cp_async_commit();
    if (WAIT) cp_async_wait<0>();
    store(params.y + t, load_shared<f32>(base + t * 4));
    cp_async_wait<0>();
    """
    for wait in (0, 1):
        kernel = from_text(ONE_THREAD.replace("BODY", body), WAIT=wait)
        y = np.zeros(32, np.float32)
        report = run(
            kernel, Params().input("x", np.ones(32, np.float32)).output("y", y), shared=128, checks=False
        )
        assert report.ok
        assert np.isnan(y).all() == (wait == 0)


def test_cp_async_fills_with_zero() -> None:
    body = (
        "cp_async_16(base + t * 16, params.x + t, t % 17); cp_async_commit(); cp_async_wait<0>();"
        "store_vector(params.y + t * 4, load_shared_vector<f32, 4>(base + t * 16));"
    )
    kernel = from_text(ONE_THREAD.replace("BODY", body).replace("params.x + t,", "params.x + t * 4,"))
    x, y = np.arange(1, 129, dtype=np.float32), np.zeros(128, np.float32)
    report = run(kernel, Params().input("x", x).output("y", y), shared=512)
    assert report.ok, report.errors
    expected = x.reshape(32, 4).copy().view(np.uint8)
    for t in range(32):
        expected[t, t % 17 :] = 0
    assert np.array_equal(y.view(np.uint8), expected.reshape(-1))


@pytest.mark.parametrize(("stride", "factor"), [(4, 1), (8, 2), (128, 32), (0, 1)])
def test_bank_conflicts_of_plain_loads(stride: int, factor: int) -> None:
    body = (
        f"if (t == 0) for (u32 i = 0; i < 1024; i++) store_shared<f32>(base + i * 4, 0.0f);\nsync_warp();\n"
        f"load_shared<f32>(base + t * {stride});"
    )
    report = one_block(body, shared=4096)
    assert report.ok, report.errors
    (load,) = [a for a in report.conflicts if a.place.line == 7]
    assert (load.requests, load.units, load.ideal) == (1, factor, 1)


def test_crash_fails_its_case_only() -> None:
    report = one_block("*reinterpret_cast<volatile int*>(16) = 1;")
    assert report.kinds == {"crash"}
    assert one_block("sync_warp();").ok


def test_endless_kernel_times_out() -> None:
    report = one_block("volatile u32 x = 1; sync_warp();\nwhile (x) x = 1;", timeout_seconds=1)
    assert report.kinds == {"timeout"}
    assert report.errors[0].place is not None and report.errors[0].place.line == 5


def test_stack_overflow_is_found() -> None:
    report = one_block("volatile char big[65000]; for (u32 i = 0; i < 65000; i++) big[i] = 1; sync_warp();")
    assert report.kinds & {"stack-overflow", "crash"}


def test_shared_base_is_only_16_byte_aligned() -> None:
    bases = set()
    for seed in range(8):
        y = np.zeros(256, np.float32)
        kernel = from_text(ONE_THREAD.replace("BODY", "store(params.y + t, f32(base % 1024));"))
        run(kernel, Params().input("x", y).workspace("y", y), shared=64, seed=seed)
        bases.add(float(y[0]))
    assert len(bases) > 3 and all(b % 16 == 0 for b in bases)


def test_launch_must_match_the_declaration() -> None:
    kernel = from_text(ONE_THREAD.replace("BODY", ""))
    x = np.zeros(4, np.float32)
    report = run(kernel, Params().input("x", x).workspace("y", x), block=64)
    assert report.kinds == {"launch-mismatch"}
    report = run(kernel, Params().input("x", x).workspace("y", x.copy()).i32(1, 2), block=32)
    assert report.kinds == {"launch-mismatch"}


def test_errors_name_the_callers_of_a_helper() -> None:
    source = """
SPAK_DEVICE void inner(u32 a) {
  store_shared<f32>(a, 1.0f);
}
SPAK_DEVICE void outer(u32 a) {
  inner(a);
}
struct P { f32* y; };
SPAK_KERNEL(kernel, P, 32) {
  outer(shared_base() + 4 * thread_index());
  sync_warp();
  outer(shared_base() + 4 * thread_index() + 4);
}
"""
    report = run(from_text(source), Params().workspace("y", np.zeros(1, np.float32)), shared=128)
    (error,) = report.errors
    assert str(error.place) == "case.spak:3"
    assert [str(place) for place in error.via] == ["case.spak:6", "case.spak:12"]
    assert "called at case.spak:12" in str(error)
