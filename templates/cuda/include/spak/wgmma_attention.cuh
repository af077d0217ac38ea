// Attention by warpgroups of 64 rows (sm_90a): tiles that TMA fills, products on wgmma, and the online softmax of their
// accumulators.
//
// A warpgroup holds the scores of its rows as wgmma leaves them: element 4j + 2h + c of a thread is in column
// 8j + 2 (lane % 4) + c of the row lane/4 + 8h of its warp's sixteen rows. Logits are in units of log2, so that a weight is one
// exp2.
#pragma once

#include "spak/functions.cuh"
#include "spak/roles.cuh"
#include "spak/row_lanes.cuh"
#include "spak/tile_mask.cuh"
#include "spak/tma_rows.cuh"
#include "spak/wgmma_groups.cuh"

namespace spak {

// The same rows as operands of wgmma.
template <class T, u32 Rows, u32 Columns>
struct RowTile : TmaRows<T, Rows, Columns> {
  static constexpr u32 slab_bytes = TmaRows<T, Rows, Columns>::slab_bytes;

  // Descriptors are handled by their lower word: addition of two words for each wgmma would take longer than it runs.
  // As an operand whose sum runs along the columns: that of the rows from `row` on (a multiple of 8), and the descriptor of the
  // columns from 16 * step on.
  SPAK_DEVICE static u32 along_columns(u32 tile, u32 row) { return static_cast<u32>(descriptor(tile + row * 128)); }
  SPAK_DEVICE static u64 columns(u32 word, u32 step) {
    return (descriptor(0) >> 32 << 32) | (word + step / 4 * (slab_bytes / 16) + step % 4 * 2);
  }
  // As the right operand of a sum that runs along the rows: the same for the rows from 16 * step on.
  SPAK_DEVICE static u32 along_rows(u32 tile) { return static_cast<u32>(descriptor(tile)); }
  SPAK_DEVICE static u64 rows(u32 word, u32 step) { return (descriptor(0) >> 32 << 32) | (word + step * (16 * 128 / 16)); }

  // Writes 16 * Steps columns of the sixteen rows of each warp, from `row` on those of a warpgroup: fragments as `round_weights`
  // leaves them.
  template <u32 Steps>
  SPAK_DEVICE static void store(u32 tile, u32 row, const Reg<u32, Steps, 4>& fragments) {
    static_assert(Steps * 16 == Columns, "whole rows");
    const u32 thread = opaque(thread_index());  // lest addresses occupy registers while products run
    const u32 own = row + thread % WARPGROUP / 32 * 16 + thread % 16;
    SPAK_UNROLL
    for (u32 step = 0; step < Steps; step++)
      stmatrix_x4(tile + step / 4 * slab_bytes + own * 128 + swizzled_chunk<8>(own, step % 4 * 2 + thread % 32 / 16) * 16, fragments[step]);
  }

 private:
  // Of an operand whose sum runs along the columns nobody asks how far slabs lie apart: a step stays within one.
  SPAK_DEVICE static u64 descriptor(u32 address) { return wgmma_descriptor(address, slab_bytes, 1024, Swizzle::b128); }
};

// Issues scores = queries * keys for 64 rows, and closes the group. Operands are lower words of descriptors.
template <class T, class Queries, class Keys, u32 Depth, u32 N>
SPAK_DEVICE void issue_scores(Reg<f32, N>& scores, u32 queries, u32 keys) {
  SPAK_UNROLL
  for (u32 step = 0; step < Depth / 16; step++)
    wgmma_ss<T, Major::k, Major::k>(scores, Queries::columns(queries, step), Keys::columns(keys, step), step > 0);
  wgmma_commit();
}

// Issues acc = weights * values (+ acc), the weights in registers, and closes the group.
template <class T, class Values, u32 Steps, u32 N>
SPAK_DEVICE void issue_sums(Reg<f32, N>& acc, const Reg<u32, Steps, 4>& weights, u32 values, bool accumulate) {
  SPAK_UNROLL
  for (u32 step = 0; step < Steps; step++)
    wgmma_rs<T, Major::mn>(acc, weights[step], Values::rows(values, step), accumulate || step > 0);
  wgmma_commit();
}

// Accumulators, rounded to T, as the left operand of the next product: they already lie where its fragments want them.
template <class T, u32 Steps, u32 N>
SPAK_DEVICE void round_weights(Reg<u32, Steps, 4>& weights, const Reg<f32, N>& scores) {
  static_assert(N == Steps * 8, "sixteen columns a step");
  SPAK_UNROLL
  for (u32 i = 0; i < N / 2; i++) weights[i / 4][i % 4] = pack<T>(scores[2 * i], scores[2 * i + 1]);
}

// The place of a thread's first element, its warpgroup's being in row `own`; opaque, lest it occupies registers where nothing asks.
SPAK_DEVICE i32 first_row(u32 own) { return static_cast<i32>(opaque(thread_index()) % WARPGROUP / 32 * 16 + lane_index() / 4 + own); }
SPAK_DEVICE i32 first_column() { return static_cast<i32>(opaque(thread_index()) % 4 * 2); }

// scores = function(scores, row, column) for every element; (row, column) is that of the thread's first.
template <u32 N, class Function>
SPAK_DEVICE void for_each_score(Reg<f32, N>& scores, i32 row, i32 column, const Function& function) {
  SPAK_UNROLL
  for (u32 i = 0; i < N; i++)
    scores[i] = function(scores[i], row + static_cast<i32>(i / 2 % 2 * 8), column + static_cast<i32>(i / 4 * 8 + i % 2));
}

// Scores of which `dropped(i)` is true become `outside`. It is true of some only if of one at an end: of number Most in the
// first row, or of its like in the other.
template <u32 Most, u32 N, class Dropped>
SPAK_DEVICE void drop(Reg<f32, N>& scores, f32 outside, const Dropped& dropped) {
  if (!vote_any(dropped(Most) || dropped(Most + 2))) return;
  SPAK_UNROLL
  for (u32 i = 0; i < N; i++)
    if (dropped(i)) scores[i] = outside;
}

// Scores of columns outside of range(row) become `outside`. (row, column) is the place of the thread's first element.
template <u32 N, class RangeOfRow>
SPAK_DEVICE void keep_range(Reg<f32, N>& scores, i32 row, i32 column, const RangeOfRow& range, f32 outside = -infinity_f32()) {
  const Range one = range(row), other = range(row + 8);
  Reg<i32, 2> first, last;
  first[0] = one.first - column;
  first[1] = other.first - column;
  last[0] = one.last - column;
  last[1] = other.last - column;
  const auto column_of = [](u32 i) { return static_cast<i32>(i / 4 * 8 + i % 2); };
  drop<N - 3>(scores, outside, [&](u32 i) { return column_of(i) > last[i / 2 % 2]; });
  drop<0>(scores, outside, [&](u32 i) { return column_of(i) < first[i / 2 % 2]; });
}

// The softmax of rows whose scores arrive tile by tile. Weights are relative to a reference near the largest logit so far,
// which stays while the largest is not 2^Slack times greater: then nothing that was summed must be multiplied, and the quotient
// at the end is the same. Each of the four lanes of a row keeps its own part of the sum until the end. Of the column
// pairs, one in `Polynomial` takes its exponentials on the multiply-add units (0: none).
template <u32 Polynomial>
struct LazySoftmax {
  static constexpr f32 slack = 8.0f;
  using Rows = Reg<f32, 2>;  // a number of each row of a thread
  Rows reference, total;     // -inf and 0 where no key counted yet

  SPAK_DEVICE void clear() {
    fill(reference, -infinity_f32());
    fill(total, 0.0f);
  }

  // Turns products that are logits once multiplied by `scale` (> 0) into weights. What was summed before is to be multiplied
  // by `rescale`.
  template <u32 N>
  SPAK_DEVICE void weigh(Reg<f32, N>& scores, f32 scale, Rows& rescale) {
    Rows top, shift;
    fill(top, -infinity_f32());
    SPAK_UNROLL
    for (u32 i = 0; i < N; i += 2) {
      f32& most = top[i / 2 % 2];
      most = max_f32(most, max_f32(scores[i], scores[i + 1]));
    }
    SPAK_UNROLL
    for (u32 half = 0; half < 2; half++) {
      top[half] = largest_of_row(top[half]) * scale;
      const bool grown = top[half] > reference[half] + slack;
      const f32 before = reference[half];
      reference[half] = grown ? top[half] : before;
      shift[half] = reference[half] == -infinity_f32() ? 0.0f : reference[half];  // -inf - (-inf) would be NaN
      rescale[half] = grown ? exp2_approx(before - shift[half]) : 1.0f;
      total[half] *= rescale[half];
    }
    SPAK_UNROLL
    for (u32 i = 0; i < N; i++) {
      const u32 half = i / 2 % 2;
      const f32 exponent = fma_f32(scores[i], scale, -shift[half]);
      const bool by_polynomial = Polynomial > 0 && i / 4 % (Polynomial > 0 ? Polynomial : 1) == Polynomial - 1;
      scores[i] = by_polynomial ? exp2_polynomial(exponent) : exp2_approx(exponent);
      total[half] += scores[i];
    }
  }

  template <u32 N>
  SPAK_DEVICE static void multiply(Reg<f32, N>& acc, const Rows& factor) {
    SPAK_UNROLL
    for (u32 i = 0; i < N; i++) acc[i] *= factor[i / 2 % 2];
  }

  // The same of what was summed before a step, unless no row of the warp has another reference now.
  template <u32 N>
  SPAK_DEVICE static void follow(Reg<f32, N>& acc, const Rows& rescale) {
    if (!vote_any(minimum(rescale[0], rescale[1]) != 1.0f)) return;
    multiply(acc, rescale);
  }

  // After the last tile: what the sums are to be multiplied by; rows without a key become zero. logsumexp() is valid then.
  SPAK_DEVICE void close(Rows& share) {
    SPAK_UNROLL
    for (u32 half = 0; half < 2; half++) {
      total[half] = sum_of_row(total[half]);
      share[half] = reference[half] == -infinity_f32() ? 0.0f : reciprocal_of_normal(total[half]);
    }
  }
  // Natural logarithm of the sum of the exponentials of row `half`; -inf without a key.
  SPAK_DEVICE f32 logsumexp(u32 half) const { return (reference[half] + log2_f32(total[half])) * 0.69314718055994531f; }
};

// The first and the last key that counts for rows of queries: each a range, over the rows. The first is no less than 0; where no key
// counts, the last comes before it.
struct Seen {
  Range first, last;
};

// Which tiles of keys rows of queries see: those from `begin` to `end`, of which `wholes` from `whole` on wholly. They are walked
// from the last to the first; there is always one, also where no key counts. All of it is the same for all threads, in terms that the
// assembler understands: loops over tiles then keep addresses in uniform registers.
struct KeyTiles {
  i32 begin, end, whole, wholes;
  i32 own_begin, own_end;  // those that some of the own rows see, at least one

  // `all` is of all rows of a block, `own` of those that no tile may leave out a key of.
  SPAK_DEVICE static KeyTiles of(Seen all, Seen own, i32 tile) {
    KeyTiles tiles;
    tiles.begin = all.first.first / tile;
    const i32 last = maximum(all.last.last / tile, tiles.begin), own_last = maximum(own.last.last / tile, tiles.begin);
    tiles.end = last + 1;
    tiles.whole = ceil_div(own.first.last, tile);
    tiles.wholes = maximum((own.last.first + 1) / tile - tiles.whole, 0);
    tiles.own_end = own_last + 1;
    tiles.own_begin = minimum(own.first.first / tile, own_last);
    return tiles;
  }
  // Whether some keys of a tile do not count.
  SPAK_DEVICE bool edge(i32 tile) const { return static_cast<u32>(tile - whole) >= static_cast<u32>(wholes); }
  // Work on scores of which some do not count; spared where all of a tile's do.
  template <class Work>
  SPAK_DEVICE void at_edge(i32 tile, const Work& work) const {
    if (!edge(tile)) return;
    work();
  }
};

}  // namespace spak
