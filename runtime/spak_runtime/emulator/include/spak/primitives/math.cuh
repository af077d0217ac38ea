// f32 functions (emulator) and one of integers: the C library's, with the flushes of the device's approximate forms.
#pragma once

namespace spak {

inline f32 fma_f32(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
inline f32 abs_f32(f32 x) { return __builtin_fabsf(x); }
inline f32 max_f32(f32 a, f32 b) { return __builtin_fmaxf(a, b); }
inline f32 min_f32(f32 a, f32 b) { return __builtin_fminf(a, b); }
inline f32 max_nan_f32(f32 a, f32 b) { return a != a ? a : b != b ? b : __builtin_fmaxf(a, b); }
inline f32 floor_f32(f32 x) { return __builtin_floorf(x); }
inline f32 ceil_f32(f32 x) { return __builtin_ceilf(x); }
inline f32 round_f32(f32 x) { return __builtin_rintf(x); }
inline f32 sqrt_f32(f32 x) { return __builtin_sqrtf(x); }
inline f32 rsqrt_f32(f32 x) { return 1.0f / __builtin_sqrtf(x); }
inline f32 reciprocal_f32(f32 x) { return 1.0f / x; }
inline f32 divide_f32(f32 a, f32 b) { return a / b; }
inline f32 exp_f32(f32 x) { return __builtin_expf(x); }
inline f32 exp2_f32(f32 x) { return __builtin_exp2f(x); }
inline f32 expm1_f32(f32 x) { return __builtin_expm1f(x); }
inline f32 log_f32(f32 x) { return __builtin_logf(x); }
inline f32 log2_f32(f32 x) { return __builtin_log2f(x); }
inline f32 log1p_f32(f32 x) { return __builtin_log1pf(x); }
inline f32 sin_f32(f32 x) { return __builtin_sinf(x); }
inline f32 cos_f32(f32 x) { return __builtin_cosf(x); }
inline f32 tanh_f32(f32 x) { return __builtin_tanhf(x); }
inline f32 erf_f32(f32 x) { return __builtin_erff(x); }
inline f32 pow_f32(f32 x, f32 y) { return __builtin_powf(x, y); }
inline i64 quotient(i64 counter, i32 extent) { return counter / extent; }
inline f32 infinity_f32() { return __builtin_inff(); }

// A subnormal becomes a zero of its sign, as .ftz does.
inline f32 flush_subnormal(f32 x) {
  return __builtin_fabsf(x) < 1.17549435e-38f ? __builtin_copysignf(0.0f, x) : x;
}
inline f32 exp2_approx(f32 x) { return flush_subnormal(__builtin_exp2f(flush_subnormal(x))); }
inline f32 exp_approx(f32 x) { return exp2_approx(x * 1.4426950408889634f); }
inline f32 log2_approx(f32 x) { return __builtin_log2f(flush_subnormal(x)); }
inline f32 reciprocal_approx(f32 x) { return flush_subnormal(1.0f / flush_subnormal(x)); }
inline f32 rsqrt_approx(f32 x) { return 1.0f / __builtin_sqrtf(flush_subnormal(x)); }
inline f32 tanh_approx(f32 x) { return __builtin_tanhf(x); }

inline f32 exp2_polynomial(f32 x) {
  const f32 clamped = __builtin_fmaxf(x, -126.0f);
  const f32 whole = __builtin_floorf(clamped), fraction = clamped - whole;
  const f32 cubic =
      fma_f32(fma_f32(fma_f32(0.077119f, fraction, 0.227564f), fraction, 0.695146f), fraction, 1.0f);
  return bits_as<f32>((static_cast<i32>(whole) << 23) + bits_as<i32>(cubic));
}

}  // namespace spak
