// A row in pieces that its threads hold in registers: each thread `Chunks` vectors of `Vector` neighbours. With 0 chunks
// nothing is held, and every pass reads the row again.
#pragma once

#include "spak/vector.cuh"

namespace spak {

// Vectors of a row for each thread, where all threads together move `together` elements. Known to the compiler where
// the row is held, so that its registers can be numbered.
template <u32 Chunks>
SPAK_DEVICE u32 row_chunks(i32 elements, u32 together) {
  if constexpr (Chunks > 0) return Chunks;
  else return (static_cast<u32>(elements) + together - 1) / together;
}

template <class T, u32 Vector, u32 Chunks>
struct HeldRow {
  Reg<T, Vector> piece[Chunks];
  SPAK_DEVICE void read(u32 chunk, const T* p) { piece[chunk] = read_vector<Vector>(p); }
  SPAK_DEVICE Reg<T, Vector> again(u32 chunk, const T*) const { return piece[chunk]; }
};

template <class T, u32 Vector>
struct HeldRow<T, Vector, 0> {
  SPAK_DEVICE void read(u32, const T*) {}
  SPAK_DEVICE Reg<T, Vector> again(u32, const T* p) const { return read_vector<Vector>(p); }
};

}  // namespace spak
