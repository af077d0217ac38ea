// kernels/matmul/pipelined.cu: family product, template product/pipelined.cu.j2
// Generated. The mathematics is quoted line by line from matmul.spak; change it there.
#include "spak/copy_ring.cuh"
#include "spak/functions.cuh"
#include "spak/output_slab.cuh"
#include "spak/scheduler.cuh"
#include "spak/words.cuh"
using namespace spak;

enum class Word { w_column, w_gelu, w_identity, w_relu_squared, w_row, w_silu };

using T_A = DTYPE_A;
using T_B = T_A;
using T_bias = T_A;
using T_C = DTYPE_C;

struct Params {
  const T_A* t_A;  // [M, K]
  i64 s_A_0;
  i64 s_A_1;
  const T_B* t_B;  // [K, N]
  i64 s_B_0;
  i64 s_B_1;
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
constexpr u32 THREADS = 32 * WARPS_M * WARPS_N;

using Left = OperandTile<T_A, TILE_M, TILE_K, (SPAK_WORD(LAYOUT_A) == Word::w_row)>;
using Right = OperandTile<T_B, TILE_N, TILE_K, (SPAK_WORD(LAYOUT_B) == Word::w_column)>;
using Core = WarpProduct<T_A, TILE_M, TILE_N, TILE_K, WARPS_M, WARPS_N>;
constexpr u32 STAGE_BYTES = Left::bytes + Right::bytes;

// A block computes one tile of the outputs. Tiles of the operands travel through a ring of STAGES slots in shared
// memory: cp.async fills slots ahead while the tensor cores work on the oldest one.
SPAK_KERNEL(spak_matmul_pipelined, Params, THREADS, 1) {
  grid_dependency_wait();
  const i32 rows = params.d_M, columns = params.d_N, depth = params.d_K;
  const TileIndex tile = band_order(block_index_x(), ceil_div<u32>(rows, TILE_M), ceil_div<u32>(columns, TILE_N), TILE_BAND);
  const i32 m0 = tile.m * static_cast<i32>(TILE_M), n0 = tile.n * static_cast<i32>(TILE_N);
  const i32 steps = ceil_div(depth, static_cast<i32>(TILE_K));
  const T_A* const left = params.t_A;
  const T_B* const right = params.t_B;
  const i64 left_leading = (SPAK_WORD(LAYOUT_A) == Word::w_row) ? params.s_A_0 : params.s_A_1;
  const i64 right_leading = (SPAK_WORD(LAYOUT_B) == Word::w_column) ? params.s_B_1 : params.s_B_0;

  const u32 ring = shared_base();
  const auto copy_stage = [&](u32 slot, i32 step) {
    const i32 k0 = step * static_cast<i32>(TILE_K);
    const u32 stage = ring + slot * STAGE_BYTES;
    Left::copy_async<THREADS>(stage, left, left_leading, m0, rows, k0, depth);
    Right::copy_async<THREADS>(stage + Left::bytes, right, right_leading, n0, columns, k0, depth);
  };

  const auto copy_step = [&](u32 slot, i32 step) {
    if (step < steps) copy_stage(slot, step);
  };
  CopyRing<STAGES> slots;
  slots.begin([&](u32 slot) { copy_step(slot, static_cast<i32>(slot)); });

  Core::Accumulators accumulators;
  fill(accumulators, 0.0f);
  SPAK_NO_UNROLL
  for (i32 step = 0; step < steps; step++) {
    slots.wait([&](u32 slot) { copy_step(slot, step + static_cast<i32>(STAGES) - 1); });
    const u32 stage = ring + slots.oldest * STAGE_BYTES;
    Core::multiply<Left, Right>(accumulators, stage, stage + Left::bytes);
    slots.advance();
  }
  sync_threads();  // no copy is on its way: the ring becomes the warps' output slabs
  const u32 slab = ring + thread_index() / 32 * slab_of_a_warp<Core, T_C>();

  {
    using Slab = OutputSlab<T_C, Core>;
    const Output<T_C> output = {params.t_C, params.s_C_0, params.s_C_1};
    Slab::store(accumulators, slab, output, m0, n0, rows, columns, [&](f32 accumulator, i32 row, i32 column) {
      const i32 i_n = column;
#line 16 "matmul.spak"
      return call_activation((accumulator + (PRESENT_bias ? read_constant(params.t_bias + i_n * params.s_bias_0) : 0.0f)));
#line 98 "kernels/matmul/pipelined.cu"
    });
  }
}
