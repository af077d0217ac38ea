// The forward pass of attention by warpgroups of 64 queries that take turns with the tensor cores (sm_90a).
#pragma once

#include "spak/tile_ring.cuh"
#include "spak/wgmma_attention.cuh"

namespace spak {

// Warpgroups that take turns, each with a named barrier of its own from First on. Number 0 has the first turn, and nobody takes the
// last.
template <u32 Warpgroups, u32 First>
struct TurnsOfWarpgroups {
  u32 number, own = First + number, next = First + (number + 1) % Warpgroups;

  SPAK_DEVICE void begin() const {
    if (Warpgroups > 1 && number + 1 == Warpgroups) named_barrier_arrive(First, 256);
  }
  SPAK_DEVICE void take() const {
    if constexpr (Warpgroups > 1) named_barrier_sync(own, 256);
  }
  SPAK_DEVICE void give() const {
    if constexpr (Warpgroups > 1) named_barrier_arrive(next, 256);
  }
  SPAK_DEVICE void end() const {
    if (Warpgroups > 1 && number == 0) named_barrier_sync(First, 256);
  }
  // From tile number `step` to `end`, which only rows of other warpgroups want: this one passes, and so does its turn.
  template <class... Rings>
  SPAK_DEVICE void pass_over(u32& step, u32 end, const Rings&... rings) const {
    SPAK_NO_UNROLL
    for (u32 each = step; each < end; each++) {
      (rings.pass(each), ...);
      take();
      give();
    }
    step = end;
  }
};

// Lower words of the descriptors of what a warpgroup multiplies, in the first slots of the rings: of the queries from row `own` on.
template <class QueryRing, class KeyRing, class ValueRing>
struct ForwardOperands {
  using Queries = typename QueryRing::Tile;
  using Keys = typename KeyRing::Tile;
  using Values = typename ValueRing::Tile;
  using Element = typename Queries::Element;

  u32 query_tiles, key_tiles, value_tiles, own;
  u32 queries = Queries::along_columns(query_tiles, own);
  u32 keys = Keys::along_columns(query_tiles, 0) + (key_tiles - query_tiles) / 16;
  u32 values = Values::along_rows(query_tiles) + (value_tiles - query_tiles) / 16;

  // Issues products of the queries of a round with tile number `step` of keys.
  template <u32 N>
  SPAK_DEVICE void multiply_keys(Reg<f32, N>& scores, u32 round, u32 step) const {
    wgmma_fence();
    issue_scores<Element, Queries, Keys, Queries::width>(scores, queries + QueryRing::words(round), keys + KeyRing::words(step));
  }
  // Issues weighted sums of tile number `step` of the values.
  template <u32 Steps, u32 N>
  SPAK_DEVICE void add_values(Reg<f32, N>& sums, const Reg<u32, Steps, 4>& weights, u32 step, bool more) const {
    issue_sums<Element, Values>(sums, weights, values + ValueRing::words(step), more);
  }
};

// What a thread holds of 64 rows of queries: scores and weights of a tile of keys, and weighted sums of all tiles before it.
template <u32 TileK, u32 ValueDepth, class Softmax>
struct ForwardRows {
  Reg<f32, TileK / 2> scores;
  Reg<u32, TileK / 16, 4> weights;
  Reg<f32, 1, ValueDepth / 2> sums;
  Reg<f32, 2> rescale, share;
  Softmax softmax;

  // Scores become weights, by the softmax: of the first tile of all; of any other, with what was summed before still to follow; and
  // where no sum is on its way, which follows at once.
  template <class T>
  SPAK_DEVICE void weigh_first(f32 scale) {
    softmax.weigh(scores, scale, rescale);
    round_weights<T>(weights, scores);
    fill(sums[0], 0.0f);
  }
  SPAK_DEVICE void weigh(f32 scale) {
    softmax.weigh(scores, scale, rescale);
    order_before_wait(softmax.total);
  }
  template <class T>
  SPAK_DEVICE void follow() {
    round_weights<T>(weights, scores);
    Softmax::follow(sums[0], rescale);
  }
  template <class T>
  SPAK_DEVICE void weigh_alone(bool first) {
    softmax.weigh(scores, 1.0f, rescale);
    if (!first) Softmax::multiply(sums[0], rescale);
    round_weights<T>(weights, scores);
  }
  // Sums become means, once the softmax is closed.
  SPAK_DEVICE void divide() { Softmax::multiply(sums[0], share); }
};

}  // namespace spak
