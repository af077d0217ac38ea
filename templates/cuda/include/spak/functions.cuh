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
// c[0] + c[1] t + c[2] t² + …, the innermost product first.
SPAK_DEVICE f32 polynomial(f32, f32 last) { return last; }
template <class... Rest>
SPAK_DEVICE f32 polynomial(f32 t, f32 first, Rest... rest) {
  return fma_f32(polynomial(t, rest...), t, first);
}
// x times the share of a normal distribution that lies below x. The share above t = |x| is 2 to the power of a polynomial, 5e-8 off at
// most to t = 6 (a minimax fit of the exponent) and nothing beside x beyond. That is a third of what the error function takes, and
// stays exact where its sum with one cancels. Odd and even powers apart: a warp that stores a tile has few others to wait beside.
SPAK_DEVICE f32 gelu(f32 x) {
  const f32 t = min_f32(abs_f32(x), 6.0f), u = t * t;
  const f32 even = polynomial(u, -9.99999937e-1f, -4.59201417e-1f, 6.99630585e-3f, -2.82332162e-4f, -1.34714517e-5f, -7.92508653e-8f);
  const f32 odd = polynomial(u, -1.15110705f, -5.24881022e-2f, -2.06407996e-5f, 8.25119749e-5f, 1.35973989e-6f, 2.04526091e-9f);
  return fma_f32(-t, exp2_approx(fma_f32(odd, t, even)), relu(x));
}
// Its derivative: the share below x and x times the density there. Of -t = -|x| that is the density times a polynomial (a minimax
// fit, 4e-8 off at most to t = 6.5, where nothing is left), of t one less that. Half of what the error function alone takes.
SPAK_DEVICE f32 gelu_slope(f32 x) {
  const f32 t = min_f32(abs_f32(x), 6.5f);
  const f32 below = exp2_approx(x * x * -0.721347520f) *
                    polynomial(t, 0.5f, -0.797882855f, 0.249972567f, -0.13280578f, 0.0619239323f, -0.0254718177f, 0.00900384691f,
                               -0.00259009004f, 0.000563652604f, -8.47709671e-05f, 7.70877614e-06f, -3.15542906e-07f);
  return x < 0.0f ? below : 1.0f - below;
}
SPAK_DEVICE f32 gelu_tanh(f32 x) {
  const f32 inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + tanh_f32(inner));
}

}  // namespace spak
