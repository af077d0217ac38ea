// The matrix-multiply core of a block: warps arranged in a grid, each with a tile of f32 accumulators in registers.
#pragma once

#include "spak/operand_tile.cuh"

namespace spak {

// Warp w of WarpsM x WarpsN computes rows warp_row() .. + M and columns warp_column() .. + N of the block's tile.
template <class T, u32 TileM, u32 TileN, u32 TileK, u32 WarpsM, u32 WarpsN>
struct WarpProduct {
  static constexpr u32 M = TileM / WarpsM, N = TileN / WarpsN;
  static constexpr u32 blocks_m = M / 16, blocks_n = N / 8;
  static_assert(TileM % (16 * WarpsM) == 0, "the rows of a warp come in sixteens");
  static_assert(TileN % (16 * WarpsN) == 0, "the columns of a warp come in sixteens");
  static_assert(TileK % 16 == 0, "k comes in sixteens");

  using Accumulators = Reg<f32, blocks_m, blocks_n, 4>;

  SPAK_DEVICE static u32 warp_row() { return thread_index() / 32 / WarpsN * M; }
  SPAK_DEVICE static u32 warp_column() { return thread_index() / 32 % WarpsN * N; }

  // acc += left * right for one pair of tiles. The fragments of the next sixteen k are loaded before the products of
  // the current ones are issued, so that ldmatrix runs beside the tensor core.
  template <class LeftTile, class RightTile>
  SPAK_DEVICE static void multiply(Accumulators& acc, u32 left, u32 right) {
    Reg<u32, 2, blocks_m, 4> a;
    Reg<u32, 2, blocks_n / 2, 4> b;
    load_fragments<LeftTile, RightTile>(a[0], b[0], left, right, 0);
    SPAK_UNROLL
    for (u32 k = 0; k < TileK; k += 16) {
      const u32 now = k / 16 % 2, next = 1 - now;
      if (k + 16 < TileK) load_fragments<LeftTile, RightTile>(a[next], b[next], left, right, k + 16);
      SPAK_UNROLL
      for (u32 i = 0; i < blocks_m; i++) {
        SPAK_UNROLL
        for (u32 j = 0; j < blocks_n; j++)
          mma_m16n8k16<T>(acc[i][j], a[now][i], b[now][j / 2][j % 2 * 2], b[now][j / 2][j % 2 * 2 + 1]);
      }
    }
  }

 private:
  template <class LeftTile, class RightTile>
  SPAK_DEVICE static void load_fragments(Reg<u32, blocks_m, 4>& a, Reg<u32, blocks_n / 2, 4>& b, u32 left, u32 right,
                                         u32 k) {
    SPAK_UNROLL
    for (u32 i = 0; i < blocks_m; i++) LeftTile::left_fragment(a[i], left, warp_row() + i * 16, k);
    SPAK_UNROLL
    for (u32 j = 0; j < blocks_n / 2; j++) RightTile::right_fragment(b[j], right, warp_column() + j * 16, k);
  }
};

}  // namespace spak
