// The matrix-multiply core of a warpgroup: a column of 64-row blocks with f32 accumulators in registers (sm_90a).
#pragma once

#include "spak/tma_tile.cuh"
#include "spak/wgmma_groups.cuh"

namespace spak {

// A warpgroup multiplies Blocks * 64 rows of the left tile with the whole right tile.
template <class T, class Left, class Right, u32 TileN, u32 TileK, u32 Blocks>
struct WgmmaProduct {
  static constexpr u32 rows = Blocks * 64;
  static constexpr u32 registers = Blocks * TileN / 2;
  using Accumulators = Reg<f32, Blocks, TileN / 2>;

  // Ends the life of what the accumulators held: the assembler takes the first product of a tile to read them.
  SPAK_DEVICE static void clear(Accumulators& acc) { fill(acc, 0.0f); }

  // Issues acc = left * right (+ acc) for one pair of tiles and closes the group; it is complete after wgmma_wait. The
  // operands are descriptors of the first 16 k.
  SPAK_DEVICE static void multiply(Accumulators& acc, u64 left, u64 right, bool accumulate) {
    wgmma_fence();
    SPAK_UNROLL
    for (u32 k = 0; k < TileK / 16; k++) {
      SPAK_UNROLL
      for (u32 block = 0; block < Blocks; block++)
        wgmma_ss<T, Left::major, Right::major>(acc[block], left + k * Left::next_k + block * Left::next_rows,
                                               right + k * Right::next_k, accumulate || k > 0);
    }
    wgmma_commit();
  }

  // Waits for all of them; the accumulators may be read.
  SPAK_DEVICE static void finish(Accumulators& acc) {
    wgmma_wait<0>();
    SPAK_UNROLL
    for (u32 block = 0; block < Blocks; block++) register_pin(acc[block]);
  }
};

// How the registers of a multiprocessor are shared between one warpgroup that issues copies and those that hold
// accumulators. With one of each the launch bounds give every thread enough. The copying warpgroup keeps what a loop
// with two TMA instructions needs; what the outputs' values read needs registers beside the accumulators.
template <u32 Consumers, u32 Accumulators>
struct RegisterShare {
  static constexpr bool moved = Consumers > 1;
  static constexpr u32 producer = Consumers == 3 ? 32 : 40;
  static constexpr u32 consumer = Consumers == 3 ? 160 : 232;
  static_assert(Consumers >= 1 && Consumers <= 3, "one to three warpgroups multiply");
  static_assert(Accumulators <= (Consumers == 3 ? 112 : 176), "accumulators would spill");

  SPAK_DEVICE static void give() {
    if constexpr (moved) register_decrease<producer>();
  }
  SPAK_DEVICE static void take() {
    if constexpr (moved) register_increase<consumer>();
  }
};

}  // namespace spak
