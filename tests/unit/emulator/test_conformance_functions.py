"""Conversions, functions and special values.

Bit for bit as numpy says, on the emulator in every mode and, with `-m gpu`, on a device.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.emulator.emulator_cases import Params
from tests.unit.emulator.machines import Machine


def interesting_floats() -> np.ndarray:
    bits = np.random.default_rng(0).integers(0, 2**32, 1 << 15, dtype=np.uint64).astype(np.uint32)
    bits[:8192] = 0x38000000 + np.arange(8192, dtype=np.uint32) * 4099  # around the smallest normal f16
    bits[8192:16384] = 0x33000000 + np.arange(8192, dtype=np.uint32) * 8191  # subnormal f16
    bits[16384:16392] = [0, 0x80000000, 0x7F800000, 0xFF800000, 0x477FE000, 0x477FF000, 0x477FF001, 1]
    x = bits.view(np.float32)
    return np.where(np.isnan(x), np.float32(1), x)


def test_conversions(machine: Machine) -> None:
    import ml_dtypes

    source = """
    struct P { const f32* x; u16* h; u16* b; f32* back; u32* pairs; };
    SPAK_KERNEL(kernel, P, 256) {
      const u32 i = block_index_x() * 256 + thread_index();
      const f32 x = load(params.x + i);
      store(params.h + i, from_f32<f16>(x).bits);
      store(params.b + i, from_f32<bf16>(x).bits);
      store(params.back + i, to_f32(from_f32<f16>(x)));
      const u32 both = pack<f16>(x, -x), other = pack<bf16>(-x, x);
      const bool agrees = unpack_high<f16>(both) == -unpack_low<f16>(both) &&
                          unpack_low<bf16>(other) == -unpack_high<bf16>(other);
      store(params.pairs + i, agrees ? (both & 0xffffu) | (other & 0xffff0000u) : 0xdeadu);
    }
    """
    x = interesting_floats()
    h, b, pairs = np.zeros(x.size, np.uint16), np.zeros(x.size, np.uint16), np.zeros(x.size, np.uint32)
    back = np.zeros(x.size, np.float32)
    params = Params().input("x", x).output("h", h).output("b", b).output("back", back).output("pairs", pairs)
    machine.run(source, params, grid=(x.size // 256, 1, 1), block=256)
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    brain = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(h, half.view(np.uint16)) and np.array_equal(b, brain)
    assert np.array_equal(back, half.astype(np.float32))
    assert np.array_equal(pairs, half.view(np.uint16).astype(np.uint32) | (brain.astype(np.uint32) << 16))


FUNCTIONS = {  # name: (numpy, lowest, highest, relative error allowed)
    "exp_f32": (np.exp, -80, 80, 4e-7),
    "exp2_f32": (np.exp2, -100, 100, 4e-7),
    "expm1_f32": (np.expm1, -1, 1, 4e-7),
    "log_f32": (np.log, 1.5, 1e6, 4e-7),
    "log2_f32": (np.log2, 1.5, 1e6, 4e-7),
    "log1p_f32": (np.log1p, 0.1, 10, 4e-7),
    "sin_f32": (np.sin, 0.1, 3, 4e-7),
    "cos_f32": (np.cos, -1.5, 1.5, 4e-7),
    "tanh_f32": (np.tanh, -5, 5, 4e-7),
    "sqrt_f32": (np.sqrt, 0, 1e9, 1e-7),
    "rsqrt_f32": (lambda x: 1 / np.sqrt(x), 1e-9, 1e9, 3e-7),
    "reciprocal_f32": (lambda x: 1 / x, 1e-9, 1e9, 1e-7),
    "floor_f32": (np.floor, -1e5, 1e5, 0),
    "ceil_f32": (np.ceil, -1e5, 1e5, 0),
    "round_f32": (np.rint, -1e5, 1e5, 0),
    "abs_f32": (np.abs, -1e5, 1e5, 0),
    "exp2_approx": (np.exp2, -125, 125, 4e-7),
    "exp_approx": (np.exp, -80, 80, 1e-5),
    "log2_approx": (np.log2, 2, 1e6, 4e-6),
    "reciprocal_approx": (lambda x: 1 / x, 1e-9, 1e9, 3e-7),
    "rsqrt_approx": (lambda x: 1 / np.sqrt(x), 1e-9, 1e9, 4e-7),
    "tanh_approx": (np.tanh, -5, 5, 2e-3),
    "exp2_polynomial": (np.exp2, -120, 0, 2e-4),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(machine: Machine, name: str) -> None:
    reference, low, high, tolerance = FUNCTIONS[name]
    source = """
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 256) {
      const u32 i = block_index_x() * 256 + thread_index();
      store(params.y + i, FUNCTION(load(params.x + i)));
    }
    """
    x = np.linspace(low, high, 1024, dtype=np.float32)
    y = np.zeros(1024, np.float32)
    machine.run(source, Params().input("x", x).output("y", y), {"FUNCTION": name}, grid=(4, 1, 1), block=256)
    expected = reference(x.astype(np.float64))
    assert np.all(np.abs(y - expected) <= tolerance * np.abs(expected) + 1e-37)


def test_gelu_is_as_exact_as_float32_beside_its_argument(machine: Machine) -> None:
    source = """
    #include "spak/functions.cuh"
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 256) {
      const u32 i = block_index_x() * 256 + thread_index();
      store(params.y + i, gelu(load(params.x + i)));
    }
    """
    x = np.linspace(-9, 9, 4096, dtype=np.float32)
    x[:4] = [np.nan, np.inf, -np.inf, 0]
    y = np.zeros_like(x)
    machine.run(source, Params().input("x", x).output("y", y), grid=(16, 1, 1), block=256)
    assert np.isnan(y[0]) and y[1] == np.inf and abs(y[2]) < 1e-8 and y[3] == 0
    exact = np.array([v / 2 * math.erfc(-v / math.sqrt(2)) for v in x[4:].tolist()])
    off = np.abs(y[4:] - exact)
    assert np.all(off <= 2.0**-23 * np.abs(x[4:]))
    near = x[4:] > -5
    assert np.all(off[near] <= 8e-6 * np.abs(exact[near]))  # where 1 + erf(x) has few places left


def test_a_count_of_64_bits_is_divided_by_a_length(machine: Machine) -> None:
    source = """
    struct P { const i64* counter; const i32* extent; i64* y; };
    SPAK_KERNEL(kernel, P, 256) {
      const u32 t = thread_index();
      store(params.y + t, quotient(load(params.counter + t), load(params.extent + t)));
    }
    """
    rng = np.random.default_rng(0)
    counter = rng.integers(0, 2 ** rng.integers(1, 63, 256))
    counter[:8] = [0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**63 - 1]
    extent = rng.integers(1, 2 ** rng.integers(1, 31, 256)).astype(np.int32)
    extent[:8] = 3
    y = np.zeros(256, np.int64)
    params = Params().input("counter", counter).input("extent", extent).output("y", y)
    machine.run(source, params, block=256)
    assert np.array_equal(y, counter // extent)


def test_special_values(machine: Machine) -> None:
    source = """
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 t = thread_index();
      const f32 a = load(params.x + t), b = load(params.x + 31 - t);
      store(params.y + t, max_f32(a, b));
      store(params.y + 32 + t, min_f32(a, b));
      store(params.y + 64 + t, max_nan_f32(a, b));
      store(params.y + 96 + t, exp2_approx(a));
      store(params.y + 128 + t, a * infinity_f32());
      store(params.y + 160 + t, fma_f32(a, b, -1.0f));
      store(params.y + 192 + t, reciprocal_approx(a));
    }
    """
    x = np.tile(np.float32([0, -1, 2, np.nan, np.inf, -np.inf, -130, 1e-40]), 4)
    y = np.zeros(32 * 7, np.float32)
    machine.run(source, Params().input("x", x).output("y", y))
    largest, smallest, strict, power, scaled, fused, inverse = y.reshape(7, 32)
    other = x[::-1]
    assert np.array_equal(largest, np.fmax(x, other), equal_nan=True)
    assert np.array_equal(smallest, np.fmin(x, other), equal_nan=True)
    assert np.array_equal(strict, np.maximum(x, other), equal_nan=True)
    assert np.array_equal(power[:8], np.float32([1, 0.5, 4, np.nan, np.inf, 0, 0, 1]), equal_nan=True)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(scaled, x * np.float32(np.inf), equal_nan=True)
        exact = (x.astype(np.float64) * other - 1).astype(np.float32)
    assert np.array_equal(fused, exact, equal_nan=True)
    assert inverse[0] == np.inf and inverse[7] == np.inf and inverse[4] == 0, "subnormals are flushed"


@pytest.mark.parametrize(
    ("call", "reference", "low", "high", "error"),
    [
        ("erf_f32(x)", lambda x: np.vectorize(math.erf)(x), -3, 3, 4e-7),
        ("pow_f32(x, 2.5f)", lambda x: x**2.5, 0.1, 50, 2e-6),
        ("divide_f32(3.0f, x)", lambda x: 3 / x, 0.1, 1e6, 1e-7),
        ("opaque(x)", lambda x: x, -5, 5, 0),
        ("minimum(x, maximum(x - 1.0f, x))", lambda x: x, -5, 5, 0),
    ],
)
def test_more_functions(
    machine: Machine, call: str, reference: object, low: float, high: float, error: float
) -> None:
    source = """
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 256) {
      const u32 i = block_index_x() * 256 + thread_index();
      f32 x = load(params.x + i);
      store_streaming(params.y + i, f32(CALL));
    }
    """.replace("CALL", call).replace(
        "opaque(x)", "__builtin_bit_cast(f32, opaque(__builtin_bit_cast(u32, x)))"
    )
    x, y = np.linspace(low, high, 1024, dtype=np.float32), np.zeros(1024, np.float32)
    machine.run(source, Params().input("x", x).output("y", y), grid=(4, 1, 1), block=256)
    expected = reference(x.astype(np.float64))  # type: ignore[operator]
    assert np.all(np.abs(y - expected) <= error * np.abs(expected))
