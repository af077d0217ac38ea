// A tile of one operand of a product in shared memory: 16-bit elements, in either orientation.
//
// An operand has a non-contracted axis ("outer": m of the left operand, n of the right one) and the contracted axis k.
// KMajor tiles hold `TileOuter` rows of `TileK` contiguous elements, the others `TileK` rows of `TileOuter`: the tile
// keeps the order of global memory, so that 16-byte copies serve both, and ldmatrix transposes where the product needs it.
#pragma once

#include "spak/numbers.cuh"

namespace spak {

// 16-byte chunks of a row are permuted by an exclusive-or with the row, so that the eight rows that one ldmatrix phase or
// one quarter-warp of copies touches fall into different banks. A row of 128 bytes or more needs 8 places, one of 64
// bytes 4 places for pairs of rows, one of 32 bytes 2 places for groups of four: as many as the power of two in `Chunks`.
template <u32 Chunks>
SPAK_DEVICE u32 swizzled_chunk(u32 row, u32 chunk) {
  constexpr u32 places = minimum(Chunks & -Chunks, 8u);
  return chunk ^ row / (8 / places) % places;
}

// How mma reads a tile of either orientation, whoever filled it: `Tile` says where the 16-byte chunks of its rows lie.
template <class Tile>
struct Fragments {
  // Fragment of the left operand of mma_m16n8k16: rows outer .. +15, k .. +15.
  SPAK_DEVICE static void left_fragment(Reg<u32, 4>& fragment, u32 tile, u32 outer, u32 k) {
    const u32 lane = lane_index();
    if constexpr (Tile::k_major)
      ldmatrix_x4(fragment, tile + Tile::offset(outer + lane % 16, k / 8 + lane / 16));
    else
      ldmatrix_x4_trans(fragment, tile + Tile::offset(k + lane % 8 + lane / 16 * 8, outer / 8 + lane / 8 % 2));
  }

  // Fragments of the right operand for columns outer .. +15: [0], [1] for the first eight, [2], [3] for the others.
  SPAK_DEVICE static void right_fragment(Reg<u32, 4>& fragment, u32 tile, u32 outer, u32 k) {
    const u32 lane = lane_index();
    if constexpr (Tile::k_major)
      ldmatrix_x4(fragment, tile + Tile::offset(outer + lane % 8 + lane / 16 * 8, k / 8 + lane / 8 % 2));
    else
      ldmatrix_x4_trans(fragment, tile + Tile::offset(k + lane % 16, outer / 8 + lane / 16));
  }
};

template <class T, u32 TileOuter, u32 TileK, bool KMajor, bool Swizzled = true>
struct OperandTile : Fragments<OperandTile<T, TileOuter, TileK, KMajor, Swizzled>> {
  static constexpr bool k_major = KMajor;
  static constexpr u32 rows = KMajor ? TileOuter : TileK;
  static constexpr u32 columns = KMajor ? TileK : TileOuter;
  static constexpr u32 chunks = columns / 8;
  static constexpr u32 bytes = rows * columns * sizeof(T);
  static_assert(sizeof(T) == 2, "OperandTile holds 16-bit elements");
  static_assert(columns % 16 == 0 && rows % 8 == 0, "OperandTile: rows by 8, columns by 16");

  // Byte offset of a 16-byte chunk of a row.
  SPAK_DEVICE static u32 offset(u32 row, u32 chunk) {
    const u32 place = Swizzled ? swizzled_chunk<chunks>(row, chunk) : chunk;
    return (row * chunks + place) * 16;
  }

  // Copies the tile at (outer, k) of the operand; what lies outside outer_size x k_size becomes zero. `leading` is the
  // distance of rows in global memory, in elements; rows are contiguous and 16-byte aligned. All Threads take part, each
  // with a number of its own.
  template <u32 Threads>
  SPAK_DEVICE static void copy_async(u32 tile, const T* operand, i64 leading, i32 outer, i32 outer_size, i32 k,
                                     i32 k_size, u32 thread = thread_index()) {
    const i32 row0 = KMajor ? outer : k, row_size = KMajor ? outer_size : k_size;
    const i32 column0 = KMajor ? k : outer, column_size = KMajor ? k_size : outer_size;
    for_own_share<rows * chunks, Threads>(thread, [&](u32 index) {
      const u32 row = index / chunks, chunk = index % chunks;
      const i32 r = row0 + static_cast<i32>(row), c = column0 + static_cast<i32>(chunk) * 8;
      const i32 inside = r < row_size ? minimum(maximum(column_size - c, 0), 8) : 0;
      const T* source = inside ? operand + r * leading + c : operand;
      cp_async_16(tile + offset(row, chunk), source, static_cast<u32>(inside) * 2);
    });
  }

  // The same by element, through registers, for operands whose rows are not 16-byte aligned or not contiguous.
  template <u32 Threads>
  SPAK_DEVICE static void copy_elements(u32 tile, const T* operand, i64 stride_outer, i64 stride_k, i32 outer,
                                        i32 outer_size, i32 k, i32 k_size) {
    for_own_share<rows * columns, Threads>(thread_index(), [&](u32 index) {
      const u32 row = index / columns, column = index % columns;
      const i32 o = outer + static_cast<i32>(KMajor ? row : column), kk = k + static_cast<i32>(KMajor ? column : row);
      const bool inside = is_inside(o, outer_size, kk, k_size);
      const T value = inside ? load(operand + o * stride_outer + kk * stride_k) : T{};
      store_shared<T>(tile + offset(row, column / 8) + column % 8 * 2, value);
    });
  }
};

}  // namespace spak
