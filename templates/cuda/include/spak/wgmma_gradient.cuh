// The gradient of attention by warpgroups of 64 keys (sm_90a): scores stand transposed, a row a key.
//
// A warpgroup holds scores as in wgmma_attention.cuh, with keys for queries: element 4j + 2h + c of a thread is of the query
// 8j + 2 (lane % 4) + c and of the key lane/4 + 8h of its warp's sixteen.
#pragma once

#include "spak/attention.cuh"
#include "spak/slab_store.cuh"
#include "spak/tile_ring.cuh"
#include "spak/wgmma_attention.cuh"

namespace spak {

// The queries that a key may count for: all; for a key behind the last, none.
SPAK_DEVICE Range queries_of_key(i32 key, i32 keys, i32 queries) { return all_of(key < keys ? queries : 0); }

// How far a walk over tiles of queries is, head by head; a tile below 0: none is left.
struct WalkOfQueries {
  i32 head, tile;
  KeyTiles see;
};

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

// What the exponents and the slopes of tiles of queries subtract, and their KnownTiles, in a ring. Warps write them plainly, each those
// of 64 queries, and a lane those of two.
template <u32 Queries, u32 Slots>
struct KnownRing {
  using Place = RingPlace<Slots>;
  static constexpr u32 slot_bytes = Queries * 8 + 32, bytes = Slots * slot_bytes, writers = Queries / 64;

  Ring<Slots, 1> ring;
  u32 slots;

  static constexpr u32 barrier_bytes = decltype(ring)::barrier_bytes;

  SPAK_DEVICE void init(u32 readers) const { ring.init(readers, writers); }

  // Of tile number `step`: the shared addresses of what exponents subtract, and of what slopes do.
  SPAK_DEVICE u32 sums(u32 step) const { return slots + Place::at(step).slot * slot_bytes; }
  SPAK_DEVICE u32 deltas(u32 step) const { return sums(step) + Queries * 4; }
  // A reader: waits until the tile is known, and asks what it is; and has left it.
  SPAK_DEVICE u32 flags(u32 step) const {
    ring.wait(Place::at(step));
    return KnownTile::load_flags(sums(step) + Queries * 8);
  }
  SPAK_DEVICE KnownTile tile(u32 step) const { return KnownTile::load(sums(step) + Queries * 8); }
  SPAK_DEVICE void leave(u32 step) const { ring.leave(Place::at(step).slot); }

  // Whether a warp writes; the first of the queries of a lane, the other being 32 further; and what it knows, delta(i) of query i.
  SPAK_DEVICE static bool writes(u32 warp) { return warp > 0 && warp <= writers; }
  SPAK_DEVICE static u32 first_query(u32 warp) { return (warp - 1) * 64 + lane_index(); }
  template <class Delta>
  SPAK_DEVICE void write(u32 step, u32 first, const KnownTile& tile, const Reg<f32, 2>& sum, const Delta& delta) const {
    const Place at = Place::at(step);
    const u32 slot = slots + at.slot * slot_bytes;
    ring.fill_wait(at);
    SPAK_UNROLL
    for (u32 i = 0; i < 2; i++) {
      const u32 row = slot + (first + i * 32) * 4;
      store_shared(row, exponent_of_sum(sum[i]));
      store_shared(row + Queries * 4, delta(i));
    }
    if (first == 0) tile.store(slot + Queries * 8);
    ring.filled(at.slot);
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

// function(score, slope, sum, delta, key, query) for every element. `sums` is the shared address of what the exponent of each query
// subtracts, behind which what its slope does lies; (key, query) is the place of the thread's first element.
template <u32 N, class Function>
SPAK_DEVICE void for_each_known(Reg<f32, N>& scores, Reg<f32, N>& slopes, i32 key, i32 query, u32 sums, const Function& function) {
  constexpr u32 apart = N * 2 * 4;
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
    // Of eight rows' swizzled places neighbours share banks: odd rows store another group of columns at a time, where rows are
    // so long that shared memory is what all wait for and not the instructions that choose.
    constexpr u32 odd_bit = Depth / 128;
    const u32 thread = opaque(thread_index());  // lest addresses occupy registers while products run
    const u32 lane = thread % 32, row = thread % 128 / 32 * 16 + lane / 4;
    const bool odd = row & odd_bit;
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

// Where what a block of TileK keys has in shared memory lies: its keys and values, rings of `Stages` tiles of TileQ queries and of
// gradients of their results, slopes of two steps, a slab of each warpgroup, and what is known of queries. Tiles and slabs lie at
// multiples of 1024, and the barriers in front of or behind them.
template <class T, u32 TileQ, u32 TileK, u32 Depth, u32 ValueDepth, u32 Stages, u32 Consumers>
struct GradientMemory {
  using Keys = RowTile<T, TileK, Depth>;
  using Values = RowTile<T, TileK, ValueDepth>;
  using Queries = RowTile<T, TileQ, Depth>;
  using Results = RowTile<T, TileQ, ValueDepth>;  // the gradients of results
  using Slopes = RowTile<T, TileK, TileQ>;
  using Parts = PartsOfQueries<T, Keys, Slopes, TileQ, Depth, Consumers>;  // of the gradient of queries
  using OwnRing = Ring<1, 1>;
  using QueryRing = TileRing<Queries, Stages>;
  using ResultRing = TileRing<Results, Stages>;
  using Known = KnownRing<TileQ, Stages>;
  static constexpr u32 consumers = Consumers;
  static constexpr u32 slab_bytes = maximum(Parts::slab_bytes, 8192u);  // of a warpgroup
  static constexpr u32 barrier_bytes = barrier_bytes_of<OwnRing, QueryRing, ResultRing, Known>;

  // The first key of a warpgroup.
  SPAK_DEVICE static u32 first_key(u32 consumer) { return consumer * 64; }

  u32 base = shared_base(), keys = align_up(base, 1024u), values = keys + Keys::bytes;
  u32 queries = values + Values::bytes, results = queries + QueryRing::bytes;
  u32 slopes = results + ResultRing::bytes, slabs = slopes + 2 * Slopes::bytes;
  u32 known = slabs + Consumers * slab_bytes;
  u32 barriers = place_of_barriers(base, keys, barrier_bytes, known + Known::bytes);
};

// Lower words of the descriptors of what a warpgroup multiplies, `own` the first of its keys: in terms of few, since registers are
// short. Tiles of keys, of values, of queries and of the gradients of their results, and of slopes lie one behind the other.
template <class Memory>
struct GradientOperands {
  using Keys = typename Memory::Keys;
  using Values = typename Memory::Values;
  using Queries = typename Memory::Queries;
  using Results = typename Memory::Results;
  using Slopes = typename Memory::Slopes;
  using QueryRing = typename Memory::QueryRing;
  using ResultRing = typename Memory::ResultRing;
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

// Sums of one block of 64 rows, as SlabStore asks for them.
template <u32 N>
struct OneBlock {
  const Reg<f32, N>& sums;
  SPAK_DEVICE const Reg<f32, N>& operator[](u32) const { return sums; }
};

// What a thread holds of 64 keys: scores of a tile of queries and products of values with gradients of results, which become weights
// and slopes, both rounded as the left operands of sums; and the sums over all tiles.
template <class Memory>
struct GradientRows {
  using Parts = typename Memory::Parts;
  using Element = typename Memory::Keys::Element;
  using Operands = GradientOperands<Memory>;
  static constexpr u32 queries = Memory::Queries::height;

  Reg<f32, queries / 2> weights, others;
  Reg<u32, queries / 16, 4> rounded, slopes;
  Reg<f32, Memory::Keys::width / 2> slope_sums;
  Reg<f32, Memory::Values::width / 2> weight_sums;
  typename Parts::Accumulators parts;

  SPAK_DEVICE void clear() {
    fill(slope_sums, 0.0f);
    fill(weight_sums, 0.0f);
    register_pin(slope_sums);
    register_pin(weight_sums);
  }

  // Products with a tile of queries: alone, and with those of values and gradients of results beside them.
  SPAK_DEVICE void score(const Operands& operands, u32 step) {
    wgmma_fence();
    operands.multiply_keys(weights, step);
    wgmma_wait<0>();
    register_pin(weights);
  }
  SPAK_DEVICE void score_both(const Operands& operands, u32 step) {
    wgmma_fence();
    operands.multiply_keys(weights, step);
    operands.multiply_values(others, step);
    wgmma_wait<0>();
    register_pin(weights);
    register_pin(others);
  }

  // Weights and slopes of products that are logits once multiplied by `scale`, whose derivative is `slope`. The products of weights
  // may still run then.
  SPAK_DEVICE void weigh(const Operands& operands, const typename Memory::Known& known, u32 step, f32 scale, f32 slope) {
    wgmma_fence();
    operands.multiply_values(others, step);
    weights_from<Element>(rounded, weights, scale, known.sums(step));
    wgmma_fence();
    operands.add_results(weight_sums, rounded, step);
    wait_but_for_last();
    register_pin(others);
    slopes_from<Element>(slopes, others, rounded, slope, known.deltas(step));
  }
  // The same where weights and slopes are there.
  SPAK_DEVICE void round(const Operands& operands, u32 step) {
    round_weights<Element>(rounded, weights);
    round_weights<Element>(slopes, others);
    wgmma_fence();
    operands.add_results(weight_sums, rounded, step);
  }

  // Everything behind the slopes of a step, whose products of weights may still run, until the part of the gradient of queries is in
  // the slab of this warpgroup. With `More`, the scores of the next step are computed while slopes are handed over, so that each
  // product runs beside something else. `Shared`: where no registers are left for slopes.
  template <bool More, bool Shared>
  SPAK_DEVICE void finish(const Operands& operands, const typename Memory::QueryRing& query_ring, const typename Memory::ResultRing& result_ring,
                          u32 step, u32 consumer, u32 slab) {
    Memory::Slopes::store(operands.slope_tiles + step % 2 * Memory::Slopes::bytes, Memory::first_key(consumer), slopes);
    fence_proxy_async_shared();
    if constexpr (More) {
      query_ring.wait(step + 1);
      wgmma_wait<0>();
      register_pin(weight_sums);
      wgmma_fence();
      operands.multiply_keys(weights, step + 1);
    }
    // Everyone's slopes are there, and nobody reads those of the step before.
    named_barrier_sync(FIRST_BARRIER + Memory::consumers, 128 * Memory::consumers);
    wgmma_fence();
    operands.template multiply_slopes<Parts>(parts, step, consumer);
    operands.template add_queries<Shared>(slope_sums, slopes, step);
    wait_but_for_last();
    Parts::pin(parts);
    if constexpr (More) register_pin(weights);
    result_ring.release(step);
    Parts::put(parts, slab, FIRST_BARRIER + consumer);
    wgmma_wait<0>();
    register_pin(slope_sums);
    query_ring.release(step);
    named_barrier_sync(FIRST_BARRIER + consumer, 128);  // the slab is complete
  }
};

}  // namespace spak
