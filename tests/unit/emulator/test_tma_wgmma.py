"""Mistakes with TMA and wgmma, what the driver would refuse, and the cost of their shared-memory accesses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from spak_runtime.emulator import Buffer, Kernel, Report, TensorMap
from spak_runtime.errors import CallError
from tests.unit.emulator.emulator_cases import Params, from_text, run
from tests.unit.emulator.primitive_kernels import ROUND_TRIP_THREADS, WGMMA, RoundTrip, Wgmma


def test_traffic_of_a_clipped_box() -> None:
    case = RoundTrip(2, 128, start=8)
    report = run(from_text(case.source), case.params, block=ROUND_TRIP_THREADS, shared=case.shared)
    assert report.ok, report.errors
    assert report.bytes["in"].read == report.bytes["out"].written == 12 * 128
    loads = [a for a in report.conflicts if a.place.line == line_of(case.source, "tma_load")]
    assert [a.units for a in loads] == [a.ideal for a in loads] == [16]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"INIT_FENCE": ""}, "mbarrier-init-not-fenced"),
        ({"PROXY_FENCE": ""}, "missing-proxy-fence"),
        ({"WAIT": ""}, "exit-with-pending-store"),
        ({"BYTES": "32u"}, "deadlock"),
        ({"LOAD": "tma_load_2d(box + 16, &params.in, base, 0, 0)"}, "misaligned-tma"),
        ({"LOAD": "tma_load_2d(box + 128, &params.in, base, 0, 0)"}, "tma-not-swizzle-aligned"),
        ({"LOAD": "tma_load_3d(box, &params.in, base, 0, 0, 0)"}, "bad-tensor-map"),
        ({"LOAD": "TensorMap m = params.in; tma_load_2d(box, &m, base, 0, 0)"}, "bad-tensor-map"),
        ({"LOAD": "tma_load_2d(box + 4096, &params.in, base, 0, 0)"}, "shared-out-of-bounds"),
        ({"LOAD": "tma_load_2d(box, &params.in, base + 8, 0, 0)"}, "mbarrier-not-initialised"),
    ],
)
def test_tma_mistakes(change: dict[str, str], kind: str) -> None:
    case = RoundTrip(2, 128, **change)
    report = run(from_text(case.source), case.params, block=ROUND_TRIP_THREADS, shared=case.shared)
    assert kind in report.kinds, report.errors


def test_store_of_the_wrong_type_cannot_add() -> None:
    params = Params()
    x = np.zeros((16, 32), np.int32)
    params.map(Buffer("out", x, writable=True), "int32", (32, 16), 128)
    kernel = from_text(
        "struct P { TensorMap out; };\nSPAK_KERNEL(kernel, P, 32) {\n"
        "if (thread_index() == 0) tma_reduce_add_2d(&params.out, align_up(shared_base(), 1024u), 0, 0); }"
    )
    assert run(kernel, params, shared=4096).kinds == {"bad-tensor-map"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"box": (64, 16)}, "inner side"),
        ({"box": (32, 300)}, "1 .. 256"),
        ({"swizzle": 48}, "swizzle"),
        ({"strides": (24,)}, "multiples of 16"),
        ({"offset": 32}, "multiple of 64"),
        ({"dtype": "complex"}, "complex"),
        ({"strides": ()}, "do not match"),
    ],
)
def test_maps_that_the_driver_would_refuse(change: dict[str, object], word: str) -> None:
    base = {
        "offset": 0,
        "buffer": "x",
        "dtype": "f32",
        "dims": (32, 16),
        "strides": (128,),
        "box": (32, 16),
        "swizzle": 128,
    }
    kernel = from_text("struct P { TensorMap m; };\nSPAK_KERNEL(kernel, P, 32) {}")
    with pytest.raises(CallError, match=word):
        kernel.run(
            "kernel",
            bytes(128),
            [Buffer("x", np.zeros((16, 32), np.float32))],
            [],
            (1, 1, 1),
            32,
            0,
            tensor_maps=[TensorMap(**(base | change))],
        )  # type: ignore[arg-type]


def wgmma(case: Wgmma) -> tuple[Report, bool]:
    report = run(from_text(WGMMA, **case.defines), case.params, block=case.threads, shared=case.shared)
    return report, bool(np.array_equal(case.d, case.expected))


def test_wgmma_of_unfenced_stores() -> None:
    report, exact = wgmma(Wgmma(64, ("k", 128), ("k", 128), "bf16", fence=0))
    assert exact, "the values are right by luck"
    assert report.kinds == {"missing-proxy-fence"}


def line_of(source: str, text: str) -> int:
    return source[: source.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("form", "factor"),
    [(("k", 128), 1), (("mn", 128), 1), (("k", 64), 1), (("mn", 64), 1), (("k", 32), 1), (("k", 0), 1)],
)
def test_operands_as_they_should_lie_have_no_conflicts(form: tuple[str, int], factor: int) -> None:
    report, _ = wgmma(Wgmma(64, form, form, "bf16"))
    (reads,) = [x for x in report.conflicts if x.place.line == line_of(WGMMA, "wgmma_ss<")]
    assert reads.requests == 4 and reads.ideal == 2 * (16 + 16)
    assert reads.units == factor * reads.ideal


def in_every_mode(kernel: Kernel) -> Iterator[tuple[Report, np.ndarray]]:
    """What is said of a warpgroup that stores one number a thread, and these, whenever asynchronous work is done."""
    for mode in ("late", "eager", "random"):
        y = np.zeros(128, np.float32)
        yield run(kernel, Params().output("y", y), block=128, shared=16384, async_mode=mode), y


@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("fenced", [False, True])
def test_accumulators_that_are_written_want_a_fence(fenced: bool, adds: bool) -> None:
    source = """
    struct P { f32* y; };
    SPAK_KERNEL(kernel, P, 128) {
      const u32 base = align_up(shared_base(), 1024u), t = thread_index();
      for (u32 i = t; i < 4096; i += 128) store_shared<u16>(base + i * 2, 0);
      fence_proxy_async_shared();
      sync_threads();
      Reg<f32, 4> d;
      fill(d, 1.0f);
      const u64 zeros = wgmma_descriptor(base, 16, 1024, Swizzle::b128);
      for (u32 turn = 0; turn < 2; turn++) {
        wgmma_fence();
        if (turn == 1) d[2] += 1.0f;
        if (FENCED) wgmma_fence();
        for (u32 k = 0; k < 2; k++) wgmma_ss<bf16, Major::k, Major::k>(d, zeros, zeros, ADDS || k > 0);
        wgmma_commit();
        wgmma_wait<0>();
      }
      store(params.y + t, d[2]);
    }
    """
    for report, y in in_every_mode(from_text(source, FENCED=int(fenced), ADDS=int(adds))):
        assert report.kinds == (set() if fenced else {"wgmma-without-fence"}), report.errors
        assert (y == (2 if adds else 0)).all()


@pytest.mark.parametrize("pending", [0, 1])
def test_a_pin_stands_behind_the_wait(pending: int) -> None:
    """Two groups: a wait for all but one leaves the accumulators of the second to its wgmma."""
    source = """
    struct P { f32* y; };
    SPAK_KERNEL(kernel, P, 128) {
      const u32 base = align_up(shared_base(), 1024u), t = thread_index();
      for (u32 i = t; i < 4096; i += 128) store_shared<u16>(base + i * 2, 0);
      fence_proxy_async_shared();
      sync_threads();
      Reg<f32, 4> d, e;
      fill(d, 1.0f);
      fill(e, 1.0f);
      const u64 zeros = wgmma_descriptor(base, 16, 1024, Swizzle::b128);
      wgmma_fence();
      wgmma_ss<bf16, Major::k, Major::k>(d, zeros, zeros, true);
      wgmma_commit();
      wgmma_ss<bf16, Major::k, Major::k>(e, zeros, zeros, true);
      wgmma_commit();
      wgmma_wait<PENDING>();
      register_pin(d);
      register_pin(e);
      wgmma_wait<0>();
      register_pin(e);
      store(params.y + t, d[2] + e[2]);
    }
    """
    for report, y in in_every_mode(from_text(source, PENDING=pending)):
        assert report.kinds == ({"wgmma-without-wait"} if pending else set()), report.errors
        assert (y == 2).all()


def test_accumulators_are_nan_before_the_wait() -> None:
    source = """
    struct P { f32* early; f32* late; };
    SPAK_KERNEL(kernel, P, 128) {
      const u32 base = align_up(shared_base(), 1024u), t = thread_index();
      for (u32 i = t; i < 4096; i += 128) store_shared<u16>(base + i * 2, 0);
      fence_proxy_async_shared();
      sync_threads();
      Reg<f32, 4> d;
      fill(d, 1.0f);
      const u64 zeros = wgmma_descriptor(base, 16, 1024, Swizzle::b128);
      wgmma_fence();
      wgmma_ss<bf16, Major::k, Major::k>(d, zeros, zeros, true);
      wgmma_commit();
      store(params.early + t, d[0]);
      wgmma_wait<0>();
      store(params.late + t, d[0]);
    }
    """
    for mode in ("late", "random"):
        early, late = np.zeros(128, np.float32), np.zeros(128, np.float32)
        report = run(
            from_text(source),
            Params().output("early", early).output("late", late),
            block=128,
            shared=9216,
            async_mode=mode,
        )
        assert report.ok, report.errors
        assert np.isnan(early).all() and (late == 1).all()


@pytest.mark.parametrize(("columns", "ragged"), [(40, False), (36, False), (38, True)])
def test_a_store_writes_whole_pieces_of_16_bytes(columns: int, ragged: bool) -> None:
    """What a device was seen to do: rows that end within 16 bytes lose what stands behind them."""
    source = """
    struct P { TensorMap out; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 box = align_up(shared_base(), 1024u);
      for (u32 i = thread_index(); i < 8 * 32; i += 32) store_shared<f32>(box + i * 4, f32(i));
      fence_proxy_async_shared();
      sync_threads();
      if (thread_index() == 0) { tma_store_2d(&params.out, box, 16, 0); tma_commit(); tma_wait<0>(); }
    }
    """
    out = np.zeros((8, 48), np.float32)
    params = Params().map(Buffer("out", out, writable=True), "f32", (32, 8), 0)
    params.maps[0] = replace(params.maps[0], dims=(columns, 8))
    report = run(from_text(source), params, block=32, shared=4096)
    assert ("tma-ragged-store" in report.kinds) is ragged, report.errors


@pytest.mark.parametrize(("start", "column"), [(-3, 0), (2, -4)])
def test_a_store_begins_within_the_tensor(start: int, column: int) -> None:
    """A device stops with an illegal instruction; a load may begin before."""
    case = RoundTrip(2, 128, start, column)
    report = run(from_text(case.source), case.params, block=ROUND_TRIP_THREADS, shared=case.shared)
    assert report.kinds == {"tma-negative-store"}, report.errors
