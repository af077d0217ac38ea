// f32 functions, and one of integers. The suffix _f32 marks the accurate form (a few ulp at most), _approx the hardware one:
//
//   exp2_approx, log2_approx, reciprocal_approx, rsqrt_approx
//                         2 ulp or so; subnormal inputs and results are 0
//   exp_approx(x)         exp2_approx(x * log2 e)
//   tanh_approx           about 2^-11 relative
//   exp2_polynomial(x)    for x <= 0; about 1e-4 relative, on the FMA pipe instead of MUFU
//
// max_f32 and min_f32 return the other operand when one is NaN; max_nan_f32 returns NaN.
// quotient(counter, extent) divides a count of 64 bits by the length of an axis; neither is negative. The device takes its division
// of 32 bits where that suffices: the one of 64 is a long subroutine.
//
// fma_f32 rounds once. Ordinary expressions may be contracted to fma: never rely on a*b - a*b being 0.
#pragma once

namespace spak {

SPAK_DEVICE f32 fma_f32(f32 a, f32 b, f32 c) { return __fmaf_rn(a, b, c); }
SPAK_DEVICE f32 abs_f32(f32 x) { return fabsf(x); }
SPAK_DEVICE f32 max_f32(f32 a, f32 b) { return fmaxf(a, b); }
SPAK_DEVICE f32 min_f32(f32 a, f32 b) { return fminf(a, b); }
SPAK_DEVICE f32 max_nan_f32(f32 a, f32 b) {
  f32 r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
SPAK_DEVICE f32 floor_f32(f32 x) { return floorf(x); }
SPAK_DEVICE f32 ceil_f32(f32 x) { return ceilf(x); }
SPAK_DEVICE f32 round_f32(f32 x) { return rintf(x); }
SPAK_DEVICE f32 sqrt_f32(f32 x) { return __fsqrt_rn(x); }
SPAK_DEVICE f32 rsqrt_f32(f32 x) { return rsqrtf(x); }
SPAK_DEVICE f32 reciprocal_f32(f32 x) { return __frcp_rn(x); }
SPAK_DEVICE f32 divide_f32(f32 a, f32 b) { return __fdiv_rn(a, b); }
SPAK_DEVICE f32 exp_f32(f32 x) { return expf(x); }
SPAK_DEVICE f32 exp2_f32(f32 x) { return exp2f(x); }
SPAK_DEVICE f32 expm1_f32(f32 x) { return expm1f(x); }
SPAK_DEVICE f32 log_f32(f32 x) { return logf(x); }
SPAK_DEVICE f32 log2_f32(f32 x) { return log2f(x); }
SPAK_DEVICE f32 log1p_f32(f32 x) { return log1pf(x); }
SPAK_DEVICE f32 sin_f32(f32 x) { return sinf(x); }
SPAK_DEVICE f32 cos_f32(f32 x) { return cosf(x); }
SPAK_DEVICE f32 tanh_f32(f32 x) { return tanhf(x); }
SPAK_DEVICE f32 erf_f32(f32 x) { return erff(x); }
SPAK_DEVICE f32 pow_f32(f32 x, f32 y) { return powf(x, y); }
SPAK_DEVICE i64 quotient(i64 counter, i32 extent) {
  if ((counter >> 32) == 0) return static_cast<u32>(counter) / static_cast<u32>(extent);
  return counter / extent;
}
SPAK_DEVICE f32 infinity_f32() { return __uint_as_float(0x7f800000u); }

SPAK_DEVICE f32 exp2_approx(f32 x) {
  f32 r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
SPAK_DEVICE f32 exp_approx(f32 x) { return exp2_approx(x * 1.4426950408889634f); }
SPAK_DEVICE f32 log2_approx(f32 x) {
  f32 r;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
SPAK_DEVICE f32 reciprocal_approx(f32 x) {
  f32 r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
SPAK_DEVICE f32 rsqrt_approx(f32 x) {
  f32 r;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
SPAK_DEVICE f32 tanh_approx(f32 x) {
  f32 r;
  asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

// 2^x for x <= 0. Adding 1.5 * 2^23 rounding down leaves floor(x) in the low mantissa bits; a cubic gives
// 2^fraction, and the integer is added into the exponent. -126 bounds the exponent (2^-126 stands for 0).
SPAK_DEVICE f32 exp2_polynomial(f32 x) {
  const f32 clamped = fmaxf(x, -126.0f);
  const f32 shifted = __fadd_rd(clamped, 12582912.0f);
  const f32 fraction = clamped - (shifted - 12582912.0f);
  const f32 cubic =
      __fmaf_rn(__fmaf_rn(__fmaf_rn(0.077119f, fraction, 0.227564f), fraction, 0.695146f), fraction, 1.0f);
  return __int_as_float((__float_as_int(shifted) << 23) + __float_as_int(cubic));
}

}  // namespace spak
