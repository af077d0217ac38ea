"""TMA in every rank and swizzle, bulk copies, and wgmma against numpy in every operand form."""

from __future__ import annotations

import numpy as np
import pytest
from spak_runtime.emulator import Buffer, TensorMap
from spak_runtime.errors import CallError

from tests.unit.emulator.emulator_cases import Params, from_text, run, to_bf16

MODES = ["late", "eager", "random"]

ROUND_TRIP = """
// One box in, every element through plain code, one box out. The box's inner side fills the swizzle.
struct P { TensorMap in, out; f32* seen; };
SPAK_KERNEL(kernel, P, 128) {
  const u32 base = align_up(shared_base(), 1024u), box = base + 1024, t = thread_index();
  if (t == 0) { mbarrier_init(base, 1); INIT_FENCE }
  sync_threads();
  if (t == 0) { mbarrier_arrive_expect(base, BYTES); LOAD; }
  mbarrier_wait(base, 0);
  for (u32 i = t; i < BYTES / 4; i += 128) {
    const f32 x = load_shared<f32>(box + i * 4);
    store(params.seen + i, x);
    store_shared<f32>(box + i * 4, x * 2.0f);
  }
  PROXY_FENCE
  sync_threads();
  if (t == 0) { STORE; tma_commit(); WAIT }
}
"""
SUFFIX = {2: "0, C1", 3: "0, C1, 1", 4: "0, C1, 1, 2"}


def round_trip(
    rank: int, swizzle: int, mode: str, start: int = 0, store: str = "tma_store", **change: str
) -> tuple:
    inner = (swizzle or 64) // 4
    shape = {2: (20, inner), 3: (3, 20, inner), 4: (4, 2, 20, inner)}[rank]
    box = (inner, 16) + (1,) * (rank - 2)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    out, seen = np.zeros(shape, np.float32), np.zeros(16 * inner, np.float32)
    coordinates = SUFFIX[rank].replace("C1", str(start))
    parts = {
        "LOAD": f"tma_load_{rank}d(box, &params.in, base, {coordinates})",
        "STORE": f"{store}_{rank}d(&params.out, box, {coordinates})",
        "BYTES": f"{16 * inner * 4}u",
        "INIT_FENCE": "mbarrier_init_fence();",
        "PROXY_FENCE": "fence_proxy_async_shared();",
        "WAIT": "tma_wait<0>();",
    }
    source = ROUND_TRIP
    for name, text in (parts | change).items():
        source = source.replace(name, text)
    params = Params().map(Buffer("in", x), "f32", box, swizzle)
    params.map(Buffer("out", out, writable=True), "f32", box, swizzle).output("seen", seen)
    report = run(
        from_text(source),
        params,
        block=128,
        shared=1024 + 1024 + 16 * inner * 4 + 1024,
        async_mode=mode,
        seed=2,
    )
    return report, x, out, seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("swizzle", [0, 32, 64, 128])
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_box_there_and_back(rank: int, swizzle: int, mode: str) -> None:
    for start in (0, 8, -3):
        report, x, out, seen = round_trip(rank, swizzle, mode, start)
        assert report.ok, report.errors
        index = {2: (), 3: (1,), 4: (2, 1)}[rank]
        rows = [r for r in range(start, start + 16) if 0 <= r < 20]
        expected = np.zeros_like(x)
        expected[(*index, rows)] = 2 * x[(*index, rows)]
        assert np.array_equal(out, expected)
        # In shared memory: 16-byte chunk c of row r lies at chunk c ^ f(r), f as the swizzle says.
        inner = x.shape[-1]
        chunks = seen.reshape(16, inner // 4, 4)
        for r in range(16):
            for c in range(inner // 4):
                bits = ((r * inner * 4) >> 7) & {0: 0, 32: 1, 64: 3, 128: 7}[swizzle]
                row = start + r
                want = x[(*index, row)][c * 4 : c * 4 + 4] if 0 <= row < 20 else np.zeros(4)
                assert np.array_equal(chunks[r, c ^ bits], want)
        assert report.bytes["in"].read == report.bytes["out"].written == len(rows) * inner * 4


@pytest.mark.parametrize("mode", MODES)
def test_reduce_add(mode: str) -> None:
    report, x, out, _ = round_trip(
        3,
        128,
        mode,
        store="tma_reduce_add",
        WAIT="tma_commit(); STORE2; tma_commit(); tma_wait<0>();".replace(
            "STORE2", "tma_reduce_add_3d(&params.out, box, 0, 0, 1)"
        ),
    )
    assert report.ok, report.errors
    assert np.array_equal(out[1, :16], 4 * x[1, :16])


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
    report, *_ = round_trip(2, 128, "late", **change)
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


@pytest.mark.parametrize("mode", MODES)
def test_bulk_copies(mode: str) -> None:
    source = """
    struct P { const f32* x; f32* y; f32* z; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 base = align_up(shared_base(), 128u), t = thread_index();
      if (t == 0) { mbarrier_init(base, 1); mbarrier_init_fence(); }
      sync_threads();
      if (t == 0) { mbarrier_arrive_expect(base, 256); bulk_load(base + 128, params.x, 256, base); }
      mbarrier_wait(base, 0);
      if (t == 0) {
        bulk_store(params.y, base + 128, 256);
        bulk_reduce_add_f32(params.z, base + 128, 128); bulk_reduce_add_f32(params.z, base + 256, 128);
        tma_commit(); tma_wait<0>();
      }
    }
    """
    x, y, z = np.arange(64, dtype=np.float32), np.zeros(64, np.float32), np.ones(32, np.float32)
    params = Params().input("x", x).output("y", y).workspace("z", z)
    report = run(from_text(source), params, shared=512, async_mode=mode)
    assert report.ok, report.errors
    assert np.array_equal(y, x) and np.array_equal(z, 1 + x[:32] + x[32:])


WGMMA = """
struct P { const ELEMENT* a; const ELEMENT* b; f32* d; const u32* a_at; const u32* b_at; };
SPAK_KERNEL(kernel, P, 128) {
  // The host says where each element goes, so the test states the layout and not the kernel.
  const u32 base = align_up(shared_base(), 1024u), a = base, b = base + 8192, t = thread_index();
  for (u32 i = t; i < 64 * 32; i += 128) store_shared(a + load(params.a_at + i), load(params.a + i));
  for (u32 i = t; i < COLUMNS * 32; i += 128) store_shared(b + load(params.b_at + i), load(params.b + i));
  if (FENCE) fence_proxy_async_shared();
  sync_threads();
  Reg<f32, COLUMNS / 2> d;
  wgmma_fence();
  SPAK_UNROLL
  for (u32 k = 0; k < 2; k++) {
    const u64 db = wgmma_descriptor(b + k * B_STEP, B_LEADING, B_STRIDE, Swizzle::B_SWIZZLE);
    if (FROM_REGISTERS) {
      Reg<u32, 4> r;
      const u32 warp = warp_index(), lane = lane_index();
      SPAK_UNROLL
      for (u32 i = 0; i < 4; i++) {
        const u32 row = warp * 16 + lane / 4 + (i & 1) * 8, column = k * 16 + (lane & 3) * 2 + (i >> 1) * 8;
        r[i] = pack_bits(load(params.a + row * 32 + column), load(params.a + row * 32 + column + 1));
      }
      wgmma_rs<ELEMENT, Major::B_MAJOR>(d, r, db, k != 0);
    } else {
      wgmma_ss<ELEMENT, Major::A_MAJOR, Major::B_MAJOR>(
          d, wgmma_descriptor(a + k * A_STEP, A_LEADING, A_STRIDE, Swizzle::A_SWIZZLE), db, k != 0);
    }
  }
  wgmma_commit();
  wgmma_wait<0>();
  register_pin(d);
  const u32 warp = t >> 5, lane = t & 31;
  SPAK_UNROLL
  for (u32 i = 0; i < COLUMNS / 2; i++)
    store(params.d + (warp * 16 + lane / 4 + ((i >> 1) & 1) * 8) * COLUMNS + (i >> 2) * 8 + (lane & 3) * 2 +
              (i & 1), d[i]);
}
"""


def layout(rows: int, k: int, major: str, swizzle: int) -> tuple[np.ndarray, dict[str, int]]:
    """Byte offset of each element [row, k] of a packed tile, and the descriptor's numbers."""
    r, c = np.meshgrid(np.arange(rows), np.arange(k), indexing="ij")
    if swizzle == 0:  # 8 x 8 matrices of 128 contiguous bytes
        blocks = k // 8
        inside = (r % 8) * 16 + (c % 8) * 2 if major == "k" else (c % 8) * 16 + (r % 8) * 2
        at = ((r // 8) * blocks + c // 8) * 128 + inside
        return at, {"LEADING": 128, "STRIDE": blocks * 128, "STEP": 256}
    width = swizzle // 2
    if major == "k":  # rows of `swizzle` bytes, in slabs of `width` k
        plain = (c // width) * rows * swizzle + r * swizzle + (c % width) * 2
        step = 32 if width > 16 else rows * swizzle
        numbers = {"LEADING": 16, "STRIDE": 8 * swizzle, "STEP": step}
    else:  # k rows of `swizzle` bytes, in slabs of `width` rows of the matrix
        plain = (r // width) * k * swizzle + c * swizzle + (r % width) * 2
        numbers = {"LEADING": k * swizzle, "STRIDE": 8 * swizzle, "STEP": 16 * swizzle}
    mask = {32: 1, 64: 3, 128: 7}[swizzle]
    return plain ^ (((plain >> 7) & mask) << 4), numbers


def wgmma(
    n: int, a_form: tuple[str, int] | None, b_form: tuple[str, int], element: str, **options: object
) -> tuple:
    rng = np.random.default_rng(n)
    a, b = rng.integers(-8, 9, (64, 32)), rng.integers(-8, 9, (n, 32))
    encode = to_bf16 if element == "bf16" else lambda x: x.astype(np.float16).view(np.uint16)
    fence = options.pop("fence", 1)
    defines: dict[str, object] = {
        "ELEMENT": element,
        "COLUMNS": n,
        "FENCE": fence,
        "FROM_REGISTERS": int(a_form is None),
    }
    places = {}
    for name, rows, form in (("A", 64, a_form or ("k", 128)), ("B", n, b_form)):
        places[name], numbers = layout(rows, 32, *form)
        defines |= {f"{name}_{key}": value for key, value in numbers.items()}
        defines[f"{name}_MAJOR"] = form[0]
        defines[f"{name}_SWIZZLE"] = f"b{form[1]}" if form[1] else "none"
    d = np.zeros((64, n), np.float32)
    params = Params().input("a", encode(a)).input("b", encode(b)).output("d", d)
    for name in ("A", "B"):
        params.input(f"{name}_at", places[name].astype(np.uint32))
    kernel = from_text(WGMMA, **defines)  # type: ignore[arg-type]
    report = run(kernel, params, block=128, shared=1024 + 8192 + n * 128 + 1024, **options)
    return report, np.array_equal(d, a @ b.T)


FORMS = [(major, swizzle) for major in ("k", "mn") for swizzle in (0, 32, 64, 128)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("element", ["bf16", "f16"])
def test_wgmma_operand_forms(form: tuple[str, int], element: str) -> None:
    for mode in MODES:
        for n, a_form, b_form in ((64, form, ("k", 128)), (128, ("mn", 64), form), (64, None, form)):
            report, exact = wgmma(n, a_form, b_form, element, async_mode=mode)
            assert report.ok, report.errors
            assert exact, (a_form, b_form)


@pytest.mark.parametrize("n", [8, 24, 80, 176, 256])
def test_wgmma_widths(n: int) -> None:
    report, exact = wgmma(n, ("k", 128), ("k", 128), "bf16")
    assert report.ok and exact, report.errors


def test_wgmma_of_unfenced_stores() -> None:
    report, exact = wgmma(64, ("k", 128), ("k", 128), "bf16", fence=0)
    assert exact, "the values are right by luck"
    assert report.kinds == {"missing-proxy-fence"}


def line_of(source: str, text: str) -> int:
    return source[: source.index(text)].count("\n") + 1


def test_swizzled_operands_have_no_conflicts() -> None:
    report, _ = wgmma(64, ("k", 128), ("mn", 128), "bf16")
    (reads,) = [x for x in report.conflicts if x.place.line == line_of(WGMMA, "d, wgmma_descriptor(a") - 1]
    assert reads.requests == 4 and reads.units == reads.ideal == 2 * (16 + 16)


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
