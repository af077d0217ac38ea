// kernels/matmul/tma_pipelined.cu: family product, template product/tma_pipelined.cu.j2
// Generated. The mathematics is quoted line by line from matmul.spak; change it there.
#include "spak/functions.cuh"
#include "spak/output_slab.cuh"
#include "spak/ring.cuh"
#include "spak/scheduler.cuh"
#include "spak/tma_tile.cuh"
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
  const T_bias* t_bias;  // [N]
  i64 s_bias_0;
  T_C* t_C;  // [M, N]
  i64 s_C_0;
  i64 s_C_1;
  i32 d_M;
  i32 d_N;
  i32 d_K;
};

// The function that activation chooses in this specialisation.
SPAK_DEVICE f32 call_activation(f32 x) {
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_identity) return identity(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_gelu) return gelu(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_relu_squared) return relu_squared(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_silu) return silu(x);
}

constexpr u32 TILE_M = KNOB_tile_m, TILE_N = KNOB_tile_n, TILE_K = KNOB_tile_k, STAGES = KNOB_stages;
constexpr u32 WARPS_M = maximum(2u, TILE_M / 64), WARPS_N = maximum(2u, TILE_N / 64);
constexpr u32 READERS = WARPS_M * WARPS_N, THREADS = 32 * (READERS + 1);

using Left = TmaTile<T_A, TILE_M, TILE_K, (SPAK_WORD(LAYOUT_A) == Word::w_row), 1>;
using Right = TmaTile<T_B, TILE_N, TILE_K, (SPAK_WORD(LAYOUT_B) == Word::w_column), 1>;
using Core = WarpProduct<T_A, TILE_M, TILE_N, TILE_K, WARPS_M, WARPS_N>;
using Slots = Ring<STAGES, 1>;
constexpr u32 STAGE_BYTES = Left::bytes + Right::bytes;

// A block computes one tile of the outputs. Its last warp keeps a ring of STAGES slots full by TMA; the others multiply
// what has landed with mma, each at its own pace, and no thread works out where an element of an operand lies.
SPAK_KERNEL(spak_matmul_tma_pipelined, Params, THREADS, 1) {
  const i32 rows = params.d_M, columns = params.d_N;
  const TileIndex tile = band_order(block_index_x(), ceil_div<u32>(rows, TILE_M), ceil_div<u32>(columns, TILE_N), TILE_BAND);
  const i32 m0 = tile.m * static_cast<i32>(TILE_M), n0 = tile.n * static_cast<i32>(TILE_N);
  const u32 steps = ceil_div<u32>(params.d_K, TILE_K);

  const u32 ring = align_up(shared_base(), 1024u);
  const Slots slots{ring + STAGES * STAGE_BYTES};
  if (first_thread()) {
    slots.init(READERS);
    mbarrier_init_fence();
  }
  sync_threads();
  grid_dependency_wait();

  Slots::Place place;
  if (warp_index() == READERS) {
    if (first_lane()) {
      for (u32 step = 0; step < steps; step++) {
        const i32 k0 = static_cast<i32>(step * TILE_K);
        const u32 stage = ring + place.slot * STAGE_BYTES, full = slots.full(place.slot);
        slots.fill_begin(place, STAGE_BYTES);
        Left::load(stage, &params.m_A_0, full, m0, k0);
        Right::load(stage + Left::bytes, &params.m_B_1, full, n0, k0);
        place.advance();
      }
    }
    return;
  }

  Core::Accumulators accumulators;
  fill(accumulators, 0.0f);
  SPAK_NO_UNROLL
  for (u32 step = 0; step < steps; step++) {
    const u32 stage = ring + place.slot * STAGE_BYTES;
    slots.wait(place);
    Core::multiply<Left, Right>(accumulators, stage, stage + Left::bytes);
    sync_warp();  // all lanes have read the slot
    slots.release(place.slot);
    place.advance();
  }
  named_barrier_sync(FIRST_BARRIER, 32 * READERS);  // the ring has been read to its end: it becomes the warps' output slabs
  const u32 slab = ring + thread_index() / 32 * slab_of_a_warp<Core, T_C>();

  {
    using Slab = OutputSlab<T_C, Core>;
    const Output<T_C> output = {params.t_C, params.s_C_0, params.s_C_1};
    Slab::store(accumulators, slab, output, m0, n0, rows, columns, [&](f32 accumulator, i32 row, i32 column) {
      const i32 i_n = column;
#line 16 "matmul.spak"
      return call_activation((accumulator + (PRESENT_bias ? read_constant(params.t_bias + i_n * params.s_bias_0) : 0.0f)));
#line 103 "kernels/matmul/tma_pipelined.cu"
    });
  }
}
