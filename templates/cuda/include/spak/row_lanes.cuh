// The four lanes that hold a row of accumulators.
#pragma once

#include "spak/primitives.cuh"

namespace spak {

// What `join` makes of the values of all four, in each of them.
template <class Join>
SPAK_DEVICE f32 over_row(f32 x, const Join& join) {
  SPAK_UNROLL
  for (u32 apart = 1; apart < 4; apart += apart) x = join(x, shuffle_xor(x, apart));
  return x;
}
SPAK_DEVICE f32 largest_of_row(f32 x) {
  return over_row(x, [](f32 a, f32 b) { return max_f32(a, b); });
}
SPAK_DEVICE f32 sum_of_row(f32 x) {
  return over_row(x, [](f32 a, f32 b) { return a + b; });
}

}  // namespace spak
