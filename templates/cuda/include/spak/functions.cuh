// Functions of the mathematics that the primitive layer does not name: activations, integer division, powers.
#pragma once

#include "spak/primitives.cuh"

namespace spak {

// Quotient and remainder that round towards minus infinity, as in the mathematics (C++ rounds towards zero).
template <class Int>
SPAK_DEVICE Int floor_divide(Int a, Int b) {
  const Int quotient = a / b;
  return quotient * b != a && ((a < 0) != (b < 0)) ? quotient - 1 : quotient;
}
template <class Int>
SPAK_DEVICE Int floor_modulo(Int a, Int b) {
  return a - floor_divide(a, b) * b;
}
SPAK_DEVICE f32 floor_divide(f32 a, f32 b) { return floor_f32(divide_f32(a, b)); }
SPAK_DEVICE f32 floor_modulo(f32 a, f32 b) { return a - floor_divide(a, b) * b; }

SPAK_DEVICE f32 identity(f32 x) { return x; }
SPAK_DEVICE f32 relu(f32 x) { return max_nan_f32(x, 0.0f); }
SPAK_DEVICE f32 relu_squared(f32 x) {
  const f32 r = relu(x);
  return r * r;
}
// 1 / x where neither is subnormal or infinite: without the branch of a division for those.
SPAK_DEVICE f32 reciprocal_of_normal(f32 x) {
  const f32 r = reciprocal_approx(x);
  return fma_f32(r, fma_f32(-x, r, 1.0f), r);
}
// The exponential never overflows: the denominator lies between 1 and 2.
SPAK_DEVICE f32 sigmoid(f32 x) {
  const f32 e = exp_f32(-abs_f32(x)), r = reciprocal_of_normal(1.0f + e);
  return x < 0.0f ? e * r : r;
}
SPAK_DEVICE f32 silu(f32 x) { return x * sigmoid(x); }
SPAK_DEVICE f32 gelu(f32 x) { return 0.5f * x * (1.0f + erf_f32(x * 0.70710678118654752f)); }
SPAK_DEVICE f32 gelu_tanh(f32 x) {
  const f32 inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + tanh_f32(inner));
}

}  // namespace spak
