// A tile of one operand of a product in shared memory, filled by TMA and read by wgmma or, through
// ldmatrix, by mma: 16-bit elements, in either orientation.
//
// As in operand_tile.cuh an operand has an outer axis (m or n) and the contracted axis k, and a tile keeps the order of
// global memory. KMajor: TileOuter rows of TileK elements, 128 bytes each. Otherwise: panels of `columns` neighbours
// along the outer axis, each panel TileK rows of `span` bytes. Either way the hardware swizzles rows of `span` bytes, and
// what lies outside of the operand is zero.
#pragma once

#include "spak/operand_tile.cuh"

namespace spak {

// The widest swizzle, in bytes, whose rows divide a row of this many bytes.
SPAK_DEVICE constexpr u32 swizzle_span(u32 row_bytes) {
  return row_bytes % 128 == 0 ? 128 : row_bytes % 64 == 0 ? 64 : 32;
}

// `Share` blocks of a cluster need the same tile: each loads its part and sends it to all of them.
template <class T, u32 TileOuter, u32 TileK, bool KMajor, u32 Share>
struct TmaTile : Fragments<TmaTile<T, TileOuter, TileK, KMajor, Share>> {
  static constexpr bool k_major = KMajor, shared = Share > 1;
  static constexpr u32 bytes = TileOuter * TileK * sizeof(T);
  static constexpr u32 span = KMajor ? 128 : swizzle_span(TileOuter * sizeof(T));
  static constexpr u32 columns = span / sizeof(T);
  static constexpr Swizzle swizzle = span == 128 ? Swizzle::b128 : span == 64 ? Swizzle::b64 : Swizzle::b32;
  static constexpr Major major = KMajor ? Major::k : Major::mn;
  static_assert(TileK * sizeof(T) == 128, "a step along k is one swizzled row of 128 bytes");
  static_assert(KMajor ? TileOuter % (8 * Share) == 0 : TileOuter % columns == 0, "whole swizzle patterns");

  // One thread asks for the tile at (outer, k); `bytes` of them arrive at `barrier`. `batch` are coordinates of further
  // axes of the tensor map.
  template <class... Batch>
  SPAK_DEVICE static void load(u32 tile, const TensorMap* map, u32 barrier, i32 outer, i32 k, Batch... batch) {
    const u32 part = shared ? cluster_rank() : 0;
    if constexpr (KMajor) {
      const u32 first = part * (TileOuter / Share);
      box(tile + first * span, map, barrier, k, outer + static_cast<i32>(first), batch...);
    } else {
      const u32 first = part * (TileK / Share);
      SPAK_UNROLL
      for (u32 panel = 0; panel < TileOuter / columns; panel++)
        box(tile + (panel * TileK + first) * span, map, barrier, outer + static_cast<i32>(panel * columns),
            k + static_cast<i32>(first), batch...);
    }
  }

  // Byte offset of a 16-byte chunk of a row: the hardware's swizzle of rows of `span` bytes, panel by panel.
  SPAK_DEVICE static u32 offset(u32 row, u32 chunk) {
    constexpr u32 chunks = span / 16;
    const u32 panel = KMajor ? 0 : chunk / chunks * TileK;
    return ((panel + row) * chunks + swizzled_chunk<chunks>(row, chunk % chunks)) * 16;
  }

  // Descriptor of the rows from `outer` on (a multiple of 64 if not 0) of the first 16 k of a tile, and the steps from
  // it: to the next 16 k, and to the next 64 rows.
  SPAK_DEVICE static u64 descriptor(u32 tile, u32 outer) {
    return wgmma_descriptor(tile + outer * 128, TileK * span, 8 * span, swizzle);
  }
  static constexpr u64 next_k = (KMajor ? 32 : 16 * span) / 16;
  static constexpr u64 next_rows = 64 * 128 / 16;
  static_assert(64 * 128 == TileK * 128, "64 rows take as many bytes in either orientation");

 private:
  template <class... Coordinates>
  SPAK_DEVICE static void box(u32 to, const TensorMap* map, u32 barrier, Coordinates... at) {
    constexpr u32 rank = sizeof...(at);
    static_assert(rank >= 2 && rank <= 4, "a matrix with at most two batch axes");
    if constexpr (shared) {
      constexpr u16 everyone = (1 << Share) - 1;
      if constexpr (rank == 2) tma_load_2d_multicast(to, map, barrier, at..., everyone);
      else if constexpr (rank == 3) tma_load_3d_multicast(to, map, barrier, at..., everyone);
      else tma_load_4d_multicast(to, map, barrier, at..., everyone);
    } else {
      if constexpr (rank == 2) tma_load_2d(to, map, barrier, at...);
      else if constexpr (rank == 3) tma_load_3d(to, map, barrier, at...);
      else tma_load_4d(to, map, barrier, at...);
    }
  }
};

}  // namespace spak
