// The gradient of attention by warpgroups of 64 keys (sm_90a): scores stand transposed, a row a key.
//
// A warpgroup holds scores as in wgmma_attention.cuh, with keys for queries: element 4j + 2h + c of a thread is of the query
// 8j + 2 (lane % 4) + c and of the key lane/4 + 8h of its warp's sixteen.
#pragma once

#include "spak/attention.cuh"
#include "spak/slab_store.cuh"
#include "spak/wgmma_attention.cuh"

namespace spak {

// The queries that a key may count for: all; for a key behind the last, none.
SPAK_DEVICE Range queries_of_key(i32 key, i32 keys, i32 queries) { return all_of(key < keys ? queries : 0); }

// A tile of queries on its way past a block: its first query and its head, for which warpgroups it has scores that do not count
// (a bit each) and if more tiles come, and the first key of the block and its problem. Who fills rings tells it those who
// compute: registers are short there.
struct KnownTile {
  static constexpr u32 more = 256;
  i32 query, head;
  u32 flags;
  i32 key, problem;

  SPAK_DEVICE void store(u32 address) const {
    Reg<u32, 4> words;
    words[0] = static_cast<u32>(query);
    words[1] = static_cast<u32>(head);
    words[2] = flags;
    words[3] = static_cast<u32>(key);
    store_shared_128(address, words);
    store_shared(address + 16, problem);
  }
  SPAK_DEVICE static KnownTile load(u32 address) {
    const Reg<u32, 4> words = load_shared_128(address);
    return {static_cast<i32>(words[0]), static_cast<i32>(words[1]), words[2], static_cast<i32>(words[3]), load_shared<i32>(address + 16)};
  }
  SPAK_DEVICE static u32 load_flags(u32 address) { return load_shared_32(address + 8); }

  // Work on scores of which some do not count; spared where all of a warpgroup's count.
  template <class Work>
  SPAK_DEVICE static void at_edge(u32 flags, u32 consumer, const Work& work) {
    if (!(flags >> consumer & 1)) return;
    work();
  }
};

// Products that are logits once multiplied by `scale` become weights, rounded as the left operand of sums; `sums` is the shared
// address of what the exponents of each query subtract.
template <class T, u32 N, u32 Steps>
SPAK_DEVICE void weights_from(Reg<u32, Steps, 4>& rounded, const Reg<f32, N>& scores, f32 scale, u32 sums) {
  const u32 own = sums + opaque(thread_index()) % 4 * 8;
  SPAK_UNROLL
  for (u32 block = 0; block < N / 4; block++) {
    const Reg<f32, 2> sum = load_shared_vector<f32, 2>(own + block * 32);
    SPAK_UNROLL
    for (u32 half = 0; half < 2; half++) {
      const u32 i = block * 4 + half * 2;
      rounded[block / 2][block % 2 * 2 + half] =
          pack<T>(exp2_approx(fma_f32(scores[i], scale, -sum[0])), exp2_approx(fma_f32(scores[i + 1], scale, -sum[1])));
    }
  }
}

// Slopes of weights become slopes of products where a score is a product times `slope`, rounded as the left operand of sums;
// `deltas` is the shared address of what those of each query subtract, times `slope`. Weights are taken as they were rounded,
// lest they are held twice. The last comes first: so the result may take the place of the upper half of what it comes from.
template <class T, u32 N, u32 Steps>
SPAK_DEVICE void slopes_from(Reg<u32, Steps, 4>& rounded, const Reg<f32, N>& slopes, const Reg<u32, Steps, 4>& weights, f32 slope, u32 deltas) {
  const u32 own = deltas + opaque(thread_index()) % 4 * 8;
  SPAK_UNROLL
  for (u32 block = N / 4; block-- > 0;) {
    const Reg<f32, 2> delta = load_shared_vector<f32, 2>(own + block * 32);
    SPAK_UNROLL
    for (u32 half = 0; half < 2; half++) {
      const u32 i = block * 4 + half * 2, pair = weights[block / 2][block % 2 * 2 + half];
      rounded[block / 2][block % 2 * 2 + half] =
          pack<T>(unpack_low<T>(pair) * fma_f32(slopes[i], slope, -delta[0]), unpack_high<T>(pair) * fma_f32(slopes[i + 1], slope, -delta[1]));
    }
  }
}

// function(score, slope, sum, delta, key, query) for every element. `sums` is the shared address of a number of each query,
// `apart` bytes before another one; (key, query) is the place of the thread's first element.
template <u32 N, class Function>
SPAK_DEVICE void for_each_known(Reg<f32, N>& scores, Reg<f32, N>& slopes, i32 key, i32 query, u32 sums, u32 apart, const Function& function) {
  const u32 own = sums + opaque(thread_index()) % 4 * 8;
  SPAK_UNROLL
  for (u32 i = 0; i < N; i += 4) {
    const Reg<f32, 2> sum = load_shared_vector<f32, 2>(own + i * 8), delta = load_shared_vector<f32, 2>(own + apart + i * 8);
    SPAK_UNROLL
    for (u32 e = 0; e < 4; e++)
      function(scores[i + e], slopes[i + e], sum[e % 2], delta[e % 2], key + static_cast<i32>(e / 2 * 8), query + static_cast<i32>(i * 2 + e % 2));
  }
}

// Issues acc += weights * values, 64 rows of weights in shared memory, and closes the group. Operands are lower words.
template <class T, class Weights, class Values, u32 Depth, u32 N>
SPAK_DEVICE void issue_shared_sums(Reg<f32, N>& acc, u32 weights, u32 values) {
  SPAK_UNROLL
  for (u32 step = 0; step < Depth / 16; step++)
    wgmma_ss<T, Major::k, Major::mn>(acc, Weights::columns(weights, step), Values::rows(values, step), true);
  wgmma_commit();
}

// Parts of the gradient of queries: the sum over TILE_K keys of slopes times keys, in blocks of 64 queries and 64 columns, of
// which each warpgroup computes as many.
template <class T, class Keys, class Slopes, u32 TileQ, u32 Depth, u32 Consumers>
struct PartsOfQueries {
  static constexpr u32 blocks = TileQ / 64 * (Depth / 64), own = blocks / Consumers;
  static_assert(blocks % Consumers == 0, "as many blocks for each warpgroup");
  static constexpr u32 box_bytes = 64 * 128, slab_bytes = own * 2 * box_bytes;
  static constexpr u32 keys = Keys::slab_bytes / 128;
  using Accumulators = Reg<f32, own, 32>;

  // Issues the products of this warpgroup and closes the group. Operands are lower words of descriptors along rows.
  SPAK_DEVICE static void issue(Accumulators& parts, u32 slopes, u32 columns, u32 consumer) {
    SPAK_UNROLL
    for (u32 i = 0; i < own; i++) {
      const u32 block = opaque(consumer) * own + i;  // lest descriptors occupy registers between steps
      const u32 left = slopes + block / (Depth / 64) * (Slopes::slab_bytes / 16), right = columns + block % (Depth / 64) * (Keys::slab_bytes / 16);
      SPAK_UNROLL
      for (u32 step = 0; step < keys / 16; step++)
        wgmma_ss<T, Major::mn, Major::mn>(parts[i], Slopes::rows(left, step), Keys::rows(right, step), step > 0);
    }
    wgmma_commit();
  }
  SPAK_DEVICE static void pin(Accumulators& parts) {
    SPAK_UNROLL
    for (u32 i = 0; i < own; i++) register_pin(parts[i]);
  }

  // Writes them to `slab_bytes` of shared memory of this warpgroup, whose named barrier is `barrier`.
  SPAK_DEVICE static void put(const Accumulators& parts, u32 slab, u32 barrier) {
    slabs_read<0>();
    named_barrier_sync(barrier, 128);  // TMA has read what the slab held
    // Of eight rows' swizzled places neighbours share banks: odd rows store another group of columns at a time, where shared memory
    // is what all wait for and not the instructions that choose.
    const u32 thread = opaque(thread_index());  // lest addresses occupy registers while products run
    const u32 lane = thread % 32, row = thread % 128 / 32 * 16 + lane / 4;
    const bool odd = Depth >= 128 && row % 2 != 0;
    const u32 place = slab + row * 128 + lane % 2 * 8, chunk = swizzled_chunk<8>(row, lane % 4 / 2) ^ (odd ? 4 : 0);
    SPAK_UNROLL
    for (u32 i = 0; i < own * 32; i += 2) {
      const u32 half = i / 2 % 2, group = i / 4 % 4, box = i / 16, first = i % 32, other = first ^ 8;
      Reg<f32, 2> both;
      SPAK_UNROLL
      for (u32 e = 0; e < 2; e++) both[e] = odd ? parts[i / 32][other + e] : parts[i / 32][first + e];
      store_shared_vector(place + box * box_bytes + half * 8 * 128 + (chunk ^ group * 2) * 16, both);
    }
    fence_proxy_async_shared();
  }
  // One thread adds the complete slab to the tensor of the map. TMA leaves out what lies outside.
  template <class... Batch>
  SPAK_DEVICE static void add(u32 slab, const TensorMap* map, i32 query, u32 consumer, Batch... batch) {
    SPAK_UNROLL
    for (u32 box = 0; box < own * 2; box++) {
      const u32 block = consumer * own + box / 2;
      const i32 row = query + static_cast<i32>(block / (Depth / 64) * 64), column = static_cast<i32>(block % (Depth / 64) * 64 + box % 2 * 32);
      static_assert(sizeof...(batch) <= 2, "a matrix with at most two batch axes");
      if constexpr (sizeof...(batch) == 0) tma_reduce_add_2d(map, slab + box * box_bytes, column, row);
      else if constexpr (sizeof...(batch) == 1) tma_reduce_add_3d(map, slab + box * box_bytes, column, row, batch...);
      else tma_reduce_add_4d(map, slab + box * box_bytes, column, row, batch...);
    }
    tma_commit();
  }
  // The slab may be used for something else once its warpgroup has met.
  SPAK_DEVICE static void finish() { slabs_read<0>(); }
};

// Lower words of the descriptors of what a warpgroup multiplies, `own` the first of its keys: in terms of few, since registers are
// short. Tiles of keys, of values, of queries and of the gradients of their results, and of slopes lie one behind the other.
template <class Keys, class Values, class QueryRing, class ResultRing, class Slopes>
struct GradientOperands {
  using Queries = typename QueryRing::Tile;
  using Results = typename ResultRing::Tile;
  using Element = typename Keys::Element;

  u32 key_tile, value_tile, query_tiles, result_tiles, slope_tiles, own;
  u32 side = Keys::along_columns(key_tile, 0), value_side = side + (value_tile - key_tile) / 16;
  u32 query_side = side + (query_tiles - key_tile) / 16, result_side = side + (result_tiles - key_tile) / 16;
  u32 query_rows = Queries::along_rows(key_tile) + (query_tiles - key_tile) / 16;
  u32 result_rows = Results::along_rows(key_tile) + (result_tiles - key_tile) / 16;
  u32 part_side = Keys::along_rows(key_tile), own_slopes = side + (slope_tiles - key_tile) / 16;
  u32 slope_side = Slopes::along_rows(key_tile) + (slope_tiles - key_tile) / 16;

  // Issues products of keys with tile number `step` of queries, and of values with the gradients of their results.
  template <u32 N>
  SPAK_DEVICE void multiply_keys(Reg<f32, N>& scores, u32 step) const {
    issue_scores<Element, Keys, Queries, Keys::width>(scores, side + opaque(own) * 8, query_side + QueryRing::words(step));
  }
  template <u32 N>
  SPAK_DEVICE void multiply_values(Reg<f32, N>& others, u32 step) const {
    issue_scores<Element, Values, Results, Values::width>(others, value_side + opaque(own) * 8, result_side + ResultRing::words(step));
  }
  // Issues sums of gradients of results by weights, and of queries by slopes: those that registers hold, or those of slopes of step
  // `step` in shared memory.
  template <u32 Steps, u32 N>
  SPAK_DEVICE void add_results(Reg<f32, N>& sums, const Reg<u32, Steps, 4>& weights, u32 step) const {
    issue_sums<Element, Results>(sums, weights, result_rows + ResultRing::words(step), true);
  }
  template <bool Shared, u32 Steps, u32 N>
  SPAK_DEVICE void add_queries(Reg<f32, N>& sums, const Reg<u32, Steps, 4>& slopes, u32 step) const {
    if constexpr (Shared) issue_shared_sums<Element, Slopes, Queries, Queries::height>(sums, own_slopes + opaque(own) * 8 + words_of_slopes(step), query_rows + QueryRing::words(step));
    else issue_sums<Element, Queries>(sums, slopes, query_rows + QueryRing::words(step), true);
  }
  // Issues this warpgroup's part of the gradient of queries.
  template <class Parts>
  SPAK_DEVICE void multiply_slopes(typename Parts::Accumulators& parts, u32 step, u32 consumer) const {
    Parts::issue(parts, slope_side + words_of_slopes(step), part_side, consumer);
  }
  // Slopes of two steps at a time are in shared memory.
  SPAK_DEVICE static u32 words_of_slopes(u32 step) { return step % 2 * (Slopes::bytes / 16); }
};

// Tiles of queries that see the keys of a block, head by head. `sees(walk)` says whether a head has these keys and writes to the
// walk which tiles see them.
struct WalkOfQueries {
  i32 head, tile;  // a tile below 0: none is left
  KeyTiles see;

  template <class Sees>
  SPAK_DEVICE void settle(i32 heads, const Sees& sees) {
    SPAK_NO_UNROLL
    for (; head < heads; head++) {
      if (!sees(*this)) continue;
      tile = see.begin;
      return;
    }
    tile = -1;
  }
  template <class Sees>
  SPAK_DEVICE void advance(i32 heads, const Sees& sees) {
    if (++tile < see.end) return;
    head++;
    settle(heads, sees);
  }
};

}  // namespace spak
