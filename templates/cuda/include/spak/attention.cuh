// Attention by warps of sixteen rows: products whose left operand may stay in registers, and the online softmax.
//
// A warp holds the scores of its rows in the order of mma accumulators: block j has columns 8j .. 8j + 7, elements 0 and 1
// of a block belong to row lane/4, elements 2 and 3 to the row eight further. Logits are in units of log2, so that a
// weight is one exp2.
#pragma once

#include "spak/element.cuh"
#include "spak/operand_tile.cuh"
#include "spak/roles.cuh"

namespace spak {

constexpr f32 LOG2_E = 1.4426950408889634f, LN_2 = 0.69314718055994531f;

// acc += left * right for the sixteen rows of the left tile from `row` on and the columns of the right one from `column`
// on, over Depth.
template <class T, class Left, class Right, u32 Depth, u32 Columns>
SPAK_DEVICE void multiply_rows(Reg<f32, Columns, 4>& acc, u32 left, u32 row, u32 right, u32 column = 0) {
  SPAK_UNROLL
  for (u32 k = 0; k < Depth; k += 16) {
    Reg<u32, 4> a;
    Left::left_fragment(a, left, row, k);
    SPAK_UNROLL
    for (u32 j = 0; j < Columns; j += 2) {
      Reg<u32, 4> b;
      Right::right_fragment(b, right, column + j * 8, k);
      mma_m16n8k16<T>(acc[j], a, b[0], b[1]);
      mma_m16n8k16<T>(acc[j + 1], a, b[2], b[3]);
    }
  }
}

// The same with the left operand in registers.
template <class T, class Right, u32 Steps, u32 Columns>
SPAK_DEVICE void multiply_fragments(Reg<f32, Columns, 4>& acc, const Reg<u32, Steps, 4>& left, u32 right) {
  SPAK_UNROLL
  for (u32 k = 0; k < Steps; k++) {
    SPAK_UNROLL
    for (u32 j = 0; j < Columns; j += 2) {
      Reg<u32, 4> b;
      Right::right_fragment(b, right, j * 8, k * 16);
      mma_m16n8k16<T>(acc[j], left[k], b[0], b[1]);
      mma_m16n8k16<T>(acc[j + 1], left[k], b[2], b[3]);
    }
  }
}

// Accumulators, rounded to T, as the left operand of the next product: they already lie where its fragments want them.
template <class T, u32 Blocks>
SPAK_DEVICE Reg<u32, Blocks / 2, 4> as_fragments(const Reg<f32, Blocks, 4>& blocks) {
  Reg<u32, Blocks / 2, 4> fragments;
  SPAK_UNROLL
  for (u32 k = 0; k < Blocks / 2; k++) {
    SPAK_UNROLL
    for (u32 i = 0; i < 4; i++) {
      const u32 block = 2 * k + i / 2, first = i % 2 * 2;
      fragments[k][i] = pack<T>(blocks[block][first], blocks[block][first + 1]);
    }
  }
  return fragments;
}

// blocks = function(blocks, row, column) for every element; (row0, column0) is the first of the warp's.
template <u32 Blocks, class Function>
SPAK_DEVICE void for_each_element(Reg<f32, Blocks, 4>& blocks, i32 row0, i32 column0, const Function& function) {
  const i32 row = row0 + static_cast<i32>(lane_index() / 4), column = column0 + static_cast<i32>(lane_index() % 4 * 2);
  SPAK_UNROLL
  for (u32 j = 0; j < Blocks; j++) {
    SPAK_UNROLL
    for (u32 i = 0; i < 4; i++)
      blocks[j][i] = function(blocks[j][i], row + static_cast<i32>(i / 2 * 8), column + static_cast<i32>(j * 8 + i % 2));
  }
}

// function(a, b, half, row, column) for the elements of two sets of accumulators at the same place of the warp's tile.
template <u32 Blocks, class Function>
SPAK_DEVICE void for_each_pair(Reg<f32, Blocks, 4>& a, Reg<f32, Blocks, 4>& b, const Function& function) {
  const u32 row = lane_index() / 4, column = lane_index() % 4 * 2;
  SPAK_UNROLL
  for (u32 j = 0; j < Blocks; j++) {
    SPAK_UNROLL
    for (u32 i = 0; i < 4; i++) function(a[j][i], b[j][i], i / 2, row + i / 2 * 8, column + j * 8 + i % 2);
  }
}

// Elements that do not count become -inf, or zero in two sets of accumulators; counts(row, column) is asked only where a tile does
// not count as a whole.
template <u32 Blocks, class Counts>
SPAK_DEVICE void drop_uncounted(Reg<f32, Blocks, 4>& blocks, i32 row0, i32 column0, bool whole, const Counts& counts) {
  if (whole) return;
  for_each_element(blocks, row0, column0, [&](f32 logit, i32 row, i32 column) { return counts(row, column) ? logit : -infinity_f32(); });
}
template <u32 Blocks, class Counts>
SPAK_DEVICE void drop_uncounted(Reg<f32, Blocks, 4>& a, Reg<f32, Blocks, 4>& b, i32 row0, i32 column0, bool whole, const Counts& counts) {
  if (whole) return;
  for_each_pair(a, b, [&](f32& one, f32& other, u32, u32 row, u32 column) {
    if (!counts(row0 + static_cast<i32>(row), column0 + static_cast<i32>(column))) one = other = 0.0f;
  });
}

// What is subtracted from a logit in units of log2 to have its weight; all weights of a row without a key become zero.
SPAK_DEVICE f32 exponent_of_sum(f32 logsumexp) { return logsumexp == -infinity_f32() ? infinity_f32() : logsumexp * LOG2_E; }

constexpr u32 HALVES = 2;  // of a warp's rows: a lane has elements of one row in each

// The softmax of rows whose logits arrive tile by tile. The four lanes of a row agree on its largest logit; each keeps its
// own part of the sum until the end.
struct OnlineSoftmax {
  Reg<f32, HALVES> largest, total;

  SPAK_DEVICE OnlineSoftmax() {
    fill(largest, -infinity_f32());
    fill(total, 0.0f);
  }

  // Turns the logits of a tile into weights relative to the largest logit so far, and rescales what was summed before.
  template <u32 Blocks, u32 OutputBlocks>
  SPAK_DEVICE void weigh(Reg<f32, Blocks, 4>& scores, Reg<f32, OutputBlocks, 4>& acc) {
    SPAK_UNROLL
    for (u32 half = 0; half < HALVES; half++) {
      f32 top = largest[half];
      SPAK_UNROLL
      for (u32 j = 0; j < Blocks; j++) top = max_f32(top, max_f32(scores[j][half * 2], scores[j][half * 2 + 1]));
      top = max_f32(top, shuffle_xor(top, 1));
      top = max_f32(top, shuffle_xor(top, 2));
      const f32 shift = top == -infinity_f32() ? 0.0f : top;  // no key yet: -inf - (-inf) would be NaN
      const f32 rescale = exp2_approx(largest[half] - shift);
      largest[half] = top;
      f32 sum = 0.0f;
      SPAK_UNROLL
      for (u32 j = 0; j < Blocks; j++) {
        SPAK_UNROLL
        for (u32 e = 0; e < 2; e++) {
          f32& weight = scores[j][half * 2 + e];
          weight = exp2_approx(weight - shift);
          sum += weight;
        }
      }
      total[half] = total[half] * rescale + sum;
      SPAK_UNROLL
      for (u32 j = 0; j < OutputBlocks; j++) {
        acc[j][half * 2] *= rescale;
        acc[j][half * 2 + 1] *= rescale;
      }
    }
  }

  // After the last tile: divides by the sum of the weights; rows without a key become zero. logsumexp() is valid then.
  template <u32 OutputBlocks>
  SPAK_DEVICE void finish(Reg<f32, OutputBlocks, 4>& acc) {
    SPAK_UNROLL
    for (u32 half = 0; half < HALVES; half++) {
      total[half] += shuffle_xor(total[half], 1);
      total[half] += shuffle_xor(total[half], 2);
      const f32 share = total[half] == 0.0f ? 0.0f : divide_f32(1.0f, total[half]);
      SPAK_UNROLL
      for (u32 j = 0; j < OutputBlocks; j++) {
        acc[j][half * 2] *= share;
        acc[j][half * 2 + 1] *= share;
      }
    }
  }
  // Natural logarithm of the sum of the exponentials of row `half`; -inf without a key.
  SPAK_DEVICE f32 logsumexp(u32 half) const { return (largest[half] + log2_f32(total[half])) * LN_2; }
};

// Sixteen rows of TileQ a warp, as output_slab.cuh wants to know it.
template <u32 Columns>
struct RowsOfWarp {
  static constexpr u32 N = Columns, blocks_m = 1, blocks_n = Columns / 8;
  using Accumulators = Reg<f32, blocks_m, blocks_n, 4>;
  SPAK_DEVICE static u32 warp_row() { return thread_index() / 32 * 16; }
  SPAK_DEVICE static u32 warp_column() { return 0; }
};

// The warps that have a problem to themselves, sixteen of its Rows rows each; a block has several such teams.
template <u32 Rows>
struct Team {
  static constexpr u32 warps = Rows / 16, threads = 32 * warps;
  SPAK_DEVICE static u32 index() { return thread_index() / threads; }
  SPAK_DEVICE static u32 thread() { return thread_index() % threads; }
  SPAK_DEVICE static u32 warp() { return thread() / 32; }
  SPAK_DEVICE static void sync() {
    if constexpr (warps == 1) sync_warp();
    else named_barrier_sync(FIRST_BARRIER + index(), threads);
  }
};

// Rows of a team, as output_slab.cuh wants to know them.
template <u32 Rows, u32 Columns>
struct RowsOfTeam : RowsOfWarp<Columns> {
  SPAK_DEVICE static u32 warp_row() { return Team<Rows>::warp() * 16; }
};

}  // namespace spak
