// Sums over the blocks of a cluster that multiply a part of k each, for the same tile (sm_90).
//
// Every thread leaves its accumulators in shared memory, and adds up a share of those that its like in each block has
// left. Each block begins with its own and goes on to another than its peers do, lest all read the same one; they add
// pair by pair, so that the sum has the same bits in whichever block it is computed.
#pragma once

#include "spak/roles.cuh"

namespace spak {

// Of a warpgroup with Blocks x Registers accumulators a thread. Block r of Parts adds up the r-th part of its columns.
template <u32 Parts, u32 Blocks, u32 Registers>
struct SplitSum {
  static constexpr u32 share = Registers / Parts;
  using Totals = Reg<f32, Blocks, share>;
  static constexpr u32 bytes = Blocks * Registers * WARPGROUP * sizeof(f32);
  static_assert((Parts & (Parts - 1)) == 0, "pairs of pairs");
  static_assert(Registers % (8 * Parts) == 0, "shares of whole pairs of 8 columns");

  // Of all warpgroups that multiply, `threads` of them, together with the rest of the cluster: `meet` is its barrier, which
  // the others pass twice a tile. `memory` is this warpgroup's, `bytes` of it, and may be what the operands came in.
  template <class Accumulators, class Meet>
  SPAK_DEVICE static void total(Totals& totals, const Accumulators& acc, u32 memory, u32 rank, u32 barrier, u32 threads,
                                const Meet& meet) {
    if constexpr (Parts == 1) {
      totals = acc;
    } else {
      named_barrier_sync(barrier, threads);  // all have multiplied
      leave(acc, memory);
      meet();
      add(totals, memory, rank);
      fence_proxy_async_shared();
      meet();
    }
  }

 private:
  template <class Accumulators>
  SPAK_DEVICE static void leave(const Accumulators& acc, u32 memory) {
    SPAK_UNROLL
    for (u32 block = 0; block < Blocks; block++) {
      SPAK_UNROLL
      for (u32 i = 0; i < Registers; i++) store_shared(place(memory, block, i), acc[block][i]);
    }
  }
  SPAK_DEVICE static void add(Totals& totals, u32 memory, u32 rank) {
    SPAK_UNROLL
    for (u32 block = 0; block < Blocks; block++) {
      SPAK_UNROLL
      for (u32 i = 0; i < share; i++) {
        const u32 from = place(memory, block, rank * share + i);
        Reg<f32, Parts> parts;
        SPAK_UNROLL
        for (u32 p = 0; p < Parts; p++) parts[p] = p ? load_shared_remote<f32>(from, rank ^ p) : load_shared<f32>(from);
        SPAK_UNROLL
        for (u32 apart = 1; apart < Parts; apart *= 2) {
          SPAK_UNROLL
          for (u32 p = 0; p < Parts; p += 2 * apart) parts[p] = parts[p] + parts[p + apart];
        }
        totals[block][i] = parts[0];
      }
    }
  }
  SPAK_DEVICE static u32 place(u32 memory, u32 block, u32 i) {
    return memory + ((block * Registers + i) * WARPGROUP + thread_index() % WARPGROUP) * sizeof(f32);
  }
};

}  // namespace spak
