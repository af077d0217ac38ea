// A 64-bit counter taken apart into indices. Division of 64 bits is a long subroutine: where 32 suffice, they do it.
#pragma once

#include "spak/primitives.cuh"

namespace spak {

SPAK_DEVICE i64 quotient(i64 counter, i32 extent) {
  if ((counter >> 32) == 0) return static_cast<u32>(counter) / static_cast<u32>(extent);
  return counter / extent;
}

}  // namespace spak
