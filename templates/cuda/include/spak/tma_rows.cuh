// Rows of an operand of attention in shared memory, filled by TMA: 16-bit elements, a multiple of 64 columns.
//
// They lie in slabs, one after the other, each all rows of 64 columns: 128 bytes that the hardware swizzles. What lies
// outside of the operand is zero.
#pragma once

#include "spak/operand_tile.cuh"

namespace spak {

template <class T, u32 Rows, u32 Columns>
struct TmaRows {
  using Element = T;
  static constexpr u32 height = Rows, width = Columns;
  static constexpr u32 slab_bytes = Rows * 128, bytes = slab_bytes * (Columns / 64);
  static_assert(sizeof(T) == 2 && Columns % 64 == 0 && Rows % 8 == 0 && Rows <= 256, "whole swizzle patterns");

  // One thread asks for the rows from `row` on; `bytes` arrive at `barrier`. `batch` are coordinates of further axes.
  template <class... Batch>
  SPAK_DEVICE static void load(u32 tile, const TensorMap* map, u32 barrier, i32 row, Batch... batch) {
    SPAK_UNROLL
    for (u32 slab = 0; slab < Columns / 64; slab++) {
      const u32 to = tile + slab * slab_bytes;
      const i32 column = static_cast<i32>(slab * 64);
      static_assert(sizeof...(batch) <= 2, "a matrix with at most two batch axes");
      if constexpr (sizeof...(batch) == 0) tma_load_2d(to, map, barrier, column, row);
      else if constexpr (sizeof...(batch) == 1) tma_load_3d(to, map, barrier, column, row, batch...);
      else tma_load_4d(to, map, barrier, column, row, batch...);
    }
  }
};

// The same as mma reads it, through ldmatrix. KMajor: the contracted axis runs along the columns, else along the rows.
template <class T, u32 Rows, u32 Columns, bool KMajor>
struct TmaOperand : TmaRows<T, Rows, Columns>, Fragments<TmaOperand<T, Rows, Columns, KMajor>> {
  static constexpr bool k_major = KMajor;

  // Byte offset of a 16-byte chunk of a row.
  SPAK_DEVICE static u32 offset(u32 row, u32 chunk) {
    return chunk / 8 * TmaRows<T, Rows, Columns>::slab_bytes + (row * 8 + swizzled_chunk<8>(row, chunk % 8)) * 16;
  }
};

}  // namespace spak
