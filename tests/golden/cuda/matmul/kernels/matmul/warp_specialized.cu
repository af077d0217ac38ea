// kernels/matmul/warp_specialized.cu: family product, template product/warp_specialized.cu.j2
// Generated. The mathematics is quoted line by line from matmul.spak; change it there.
#include "spak/functions.cuh"
#include "spak/ring.cuh"
#include "spak/scheduler.cuh"
#include "spak/slab_store.cuh"
#include "spak/split_sum.cuh"
#include "spak/tile_mask.cuh"
#include "spak/wgmma_product.cuh"
#include "spak/words.cuh"
using namespace spak;

enum class Word { w_column, w_gelu, w_identity, w_relu_squared, w_row, w_silu };

using T_A = DTYPE_A;
using T_B = T_A;
using T_bias = T_A;
using T_C = DTYPE_C;

struct Params {
  TensorMap m_A_0;
  TensorMap m_B_1;
  TensorMap m_C_2;
  const T_bias* t_bias;  // [N]
  i64 s_bias_0;
  i32 d_M;
  i32 d_N;
  i32 d_K;
  i32 v_early;
  i32 k_raster;
};

// The function that activation chooses in this specialisation.
SPAK_DEVICE f32 call_activation(f32 x) {
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_identity) return identity(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_gelu) return gelu(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_relu_squared) return relu_squared(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_silu) return silu(x);
}

enum class Mode { cooperative, pingpong };
constexpr bool PINGPONG = Mode::KNOB_mode == Mode::pingpong;
constexpr u32 TILE_M = KNOB_tile_m, TILE_N = KNOB_tile_n, TILE_K = KNOB_tile_k, STAGES = KNOB_stages;
constexpr u32 CONSUMERS = KNOB_consumers, CLUSTER = KNOB_cluster, SPLIT = KNOB_split_k;
constexpr bool IS_SPLIT = SPLIT > 1;
constexpr u32 OWNERS = PINGPONG ? 1 : CONSUMERS;  // warpgroups that share one tile
constexpr u32 THREADS = 128 * (CONSUMERS + 1);

using Left = TmaTile<T_A, TILE_M, TILE_K, (SPAK_WORD(LAYOUT_A) == Word::w_row), 1>;
using Right = TmaTile<T_B, TILE_N, TILE_K, (SPAK_WORD(LAYOUT_B) == Word::w_column), CLUSTER>;
using Core = WgmmaProduct<T_A, Left, Right, TILE_N, TILE_K, TILE_M / (64 * OWNERS)>;
using Registers = RegisterShare<CONSUMERS, Core::registers>;
using Slots = Ring<STAGES, CLUSTER>;
constexpr u32 STAGE_BYTES = Left::bytes + Right::bytes;
constexpr u32 SLAB_BYTES = PLAN_slab_bytes;  // of one consumer
using Partial = SplitSum<SPLIT, TILE_M / (64 * OWNERS), TILE_N / 2>;
constexpr u32 SHARE_N = TILE_N / SPLIT;  // columns that one block stores
static_assert(SPLIT == 1 || (CLUSTER == 1 && !PINGPONG && CONSUMERS * Partial::bytes <= STAGES * STAGE_BYTES), "partial sums fit");
constexpr u32 BARRIER_BYTES = barrier_bytes_of<Slots, Turns>;

// A block stays on its multiprocessor and computes one tile of the outputs after the other. One thread of its first
// warpgroup keeps a ring of tiles of the operands full by TMA; the other warpgroups multiply them with wgmma, and hand
// the results to TMA. Cooperative: all of these work on one tile. Ping-pong: two of them take turns, so that one stores
// its tile while the other multiplies. The blocks of a cluster lie below each other and share the right operand, or they
// multiply a part of k each for the same tile.
#if KNOB_cluster * KNOB_split_k > 1
SPAK_DEVICE void meet() { cluster_sync(); }
SPAK_KERNEL(spak_matmul_warp_specialized, Params, THREADS, 1, CLUSTER * SPLIT, 1, 1)
#else
SPAK_DEVICE void meet() { sync_threads(); }
SPAK_KERNEL(spak_matmul_warp_specialized, Params, THREADS, 1)
#endif
{
  const i32 rows = params.d_M, columns = params.d_N;
  const u32 part = IS_SPLIT ? cluster_rank() : 0, all_steps = ceil_div<u32>(params.d_K, TILE_K);
  const u32 first_step = all_steps * part / SPLIT, steps = all_steps * (part + 1) / SPLIT - first_step;
  const u32 tiles_m = ceil_div<u32>(rows, TILE_M * CLUSTER), tiles_n = ceil_div<u32>(columns, TILE_N);
  const u32 tiles = tiles_m * tiles_n;
  const u32 first = block_index_x() / (CLUSTER * SPLIT), stride = grid_size_x() / (CLUSTER * SPLIT);
  const u32 rank = Slots::rank();
  const auto row_of = [&](const TileIndex& tile) { return static_cast<i32>((tile.m * CLUSTER + rank) * TILE_M); };
  const auto column_of = [&](const TileIndex& tile) { return static_cast<i32>(tile.n * TILE_N); };

  // The tiles lie at a multiple of 1024, and the barriers in front of or behind them.
  const u32 base = shared_base(), ring = align_up(base, 1024u), slabs = ring + STAGES * STAGE_BYTES;
  const u32 barriers = place_of_barriers(base, ring, BARRIER_BYTES, slabs + CONSUMERS * SLAB_BYTES);
  const Slots slots{barriers};
  const Turns turns{barriers + Slots::barrier_bytes};
  if (first_thread()) {
    tma_prefetch(&params.m_A_0);
    tma_prefetch(&params.m_B_1);
    slots.init(4 * OWNERS);
    turns.init(4);
    mbarrier_init_fence();
  }
  meet();
  grid_dependency_wait();  // what is above, and its own launch, hide behind the end of the kernel before
  if (params.v_early) grid_dependency_launch();

  const u32 warpgroup = warp_index() / 4;
  if (warpgroup == 0) {
    Registers::give();
    if (IS_SPLIT || first_thread()) {
      Slots::Place place;
      for (u32 index = first; index < tiles; index += stride) {
        const TileIndex tile = band_order(index, tiles_m, tiles_n, params.k_raster);
        const i32 m0 = row_of(tile), n0 = column_of(tile);
        for (u32 step = 0; step < steps && (!IS_SPLIT || first_thread()); step++) {
          const i32 k0 = static_cast<i32>((first_step + step) * TILE_K);
          const u32 stage = ring + place.slot * STAGE_BYTES, full = slots.full(place.slot);
          slots.fill_begin(place, STAGE_BYTES);
          Left::load(stage, &params.m_A_0, full, m0, k0);
          Right::load(stage + Left::bytes, &params.m_B_1, full, n0, k0);
          place.advance();
        }
        if constexpr (IS_SPLIT) {  // the ring holds partial sums between these
          meet();
          meet();
        }
      }
    }
  } else {
    Registers::take();
    const u32 consumer = warpgroup - 1, own = PINGPONG ? 0 : consumer * Core::rows;
    const u64 left = Left::descriptor(ring, own), right = Right::descriptor(ring + Left::bytes, 0);
    const u32 slab = slabs + consumer * SLAB_BYTES;
    SlabPlace slab_place;
    Slots::Place place;
    const u32 barrier = FIRST_BARRIER + consumer;
    u32 turn = 0;
    if (PINGPONG && consumer == 1) place.skip(steps);
    const u32 sums = ring + consumer * Partial::bytes;
    for (u32 index = first + (PINGPONG ? consumer * stride : 0); index < tiles; index += stride * (PINGPONG ? 2 : 1)) {
      if constexpr (PINGPONG) turns.wait(consumer, turn++);
      u32 previous = place.slot;
      Core::Accumulators accumulators;
      if constexpr (IS_SPLIT) Core::clear(accumulators);
      SPAK_NO_UNROLL
      for (u32 step = 0; step < steps; step++) {
        slots.wait(place);
        const u64 stage = place.slot * (STAGE_BYTES / 16);
        Core::multiply(accumulators, left + stage, right + stage, step > 0);
        wait_but_for_last();  // the step before has been multiplied: its slot is free
        if (step > 0) slots.release(previous);
        previous = place.slot;
        place.advance();
      }
      if constexpr (PINGPONG) {
        turns.hand_over(consumer);
        place.skip(steps);
      }
      Core::finish(accumulators);
      slots.release(previous);

      const TileIndex tile = band_order(index, tiles_m, tiles_n, params.k_raster);
      const i32 m0 = row_of(tile) + static_cast<i32>(own), n0 = column_of(tile) + static_cast<i32>(part * SHARE_N);
      const bool whole = is_whole(m0, static_cast<i32>(Core::rows), rows) && is_whole(n0, static_cast<i32>(SHARE_N), columns);
      Partial::Totals totals;  // of this block's columns
      Partial::total(totals, accumulators, sums, part, FIRST_BARRIER + CONSUMERS, 128 * CONSUMERS, [] { meet(); });
      using Store = SlabStore<T_C, TILE_M / (64 * OWNERS), SHARE_N, SLAB_BYTES>;
      const TensorMap* const map = &params.m_C_2;
      const auto value = [&](f32 accumulator, i32 row, i32 column) {
        const i32 i_n = column;
#line 16 "matmul.spak"
        return call_activation((accumulator + (PRESENT_bias ? read(params.t_bias + i_n * params.s_bias_0) : 0.0f)));
#line 167 "kernels/matmul/warp_specialized.cu"
      };
      if (whole) {
        Store::store<true>(totals, slab, slab_place, barrier, map, m0, n0, rows, columns, value);
      } else {
        Store::store<false>(totals, slab, slab_place, barrier, map, m0, n0, rows, columns, value);
      }
    }
    slabs_stored();
  }
  meet();  // a block that has left could no longer be told of released slots
}
