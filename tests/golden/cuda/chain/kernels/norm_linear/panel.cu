// kernels/norm_linear/panel.cu: family chain, template chain/panel.cu.j2
// Generated. The mathematics is quoted line by line from chain.spak; change it there.
#include "spak/copy_ring.cuh"
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/numbers.cuh"
#include "spak/output_slab.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

enum class Word { w_column, w_gelu, w_identity, w_relu_squared, w_row, w_silu };

using T_x = DTYPE_x;
using T_gain = f32;
using T_w = T_x;
using T_y = T_x;
using T_rstd = f32;

struct Params {
  const T_x* t_x;  // [M, K]
  i64 s_x_0;
  i64 s_x_1;
  const T_gain* t_gain;  // [K]
  i64 s_gain_0;
  const T_w* t_w;  // [K, N]
  i64 s_w_0;
  i64 s_w_1;
  T_y* t_y;  // [M, N]
  i64 s_y_0;
  i64 s_y_1;
  T_rstd* t_rstd;  // [M]
  i64 s_rstd_0;
  i32 d_M;
  i32 d_N;
  i32 d_K;
  f32 o_eps;
};

// The function that activation chooses in this specialisation.
SPAK_DEVICE f32 call_activation(f32 x) {
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_identity) return identity(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_gelu) return gelu(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_silu) return silu(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_relu_squared) return relu_squared(x);
}

constexpr u32 TILE_M = KNOB_tile_m, TILE_N = KNOB_tile_n, TILE_K = KNOB_tile_k, STAGES = KNOB_stages;
constexpr u32 WARPS_M = maximum(2u, TILE_M / 64), WARPS_N = maximum(2u, TILE_N / 64);
constexpr u32 THREADS = 32 * WARPS_M * WARPS_N;
constexpr i32 WIDE = KNOB_wide;
constexpr u32 LANES = KNOB_lanes, AT_ONCE = 32 / LANES;  // lanes that compute a row, rows of a warp at once
using Group = LanesOfWarp<LANES>;

using Element = T_w;
using Panel = OperandTile<Element, TILE_M, TILE_K, true>;
using Right = OperandTile<Element, TILE_N, TILE_K, (SPAK_WORD(LAYOUT_w) == Word::w_column)>;
using Core = WarpProduct<Element, TILE_M, TILE_N, TILE_K, WARPS_M, WARPS_N>;

// A block computes TILE_M whole rows first, a few lanes a row, and keeps them in shared memory as the left tiles of
// the product: they are computed once for WIDE tiles of columns and never travel through memory. The right tiles of all
// those columns come through one ring of STAGES slots, which is filled while the rows are still being computed.
SPAK_KERNEL(spak_norm_linear_panel, Params, THREADS, 1) {
  grid_dependency_wait();
  const i32 rows = params.d_M, columns = params.d_N, depth = params.d_K;
  const i32 m0 = static_cast<i32>(block_index_x() * TILE_M), first = static_cast<i32>(block_index_y()) * WIDE;
  const i32 tiles = minimum(WIDE, ceil_div(columns, static_cast<i32>(TILE_N)) - first);
  const i32 steps = ceil_div(depth, static_cast<i32>(TILE_K)), copies = tiles * steps;
  const T_w* const right = params.t_w;
  const i64 leading = (SPAK_WORD(LAYOUT_w) == Word::w_column) ? params.s_w_1 : params.s_w_0;

  const u32 panel = shared_base(), ring = panel + static_cast<u32>(steps) * Panel::bytes;
  const u32 slab = ring + STAGES * Right::bytes + thread_index() / 32 * slab_of_a_warp<Core, T_y>();
  const auto column_of = [&](i32 tile) -> i32 { return (first + tile) * static_cast<i32>(TILE_N); };
  const auto copy_tile = [&](u32 slot, i32 copy) {
    if (copy >= copies) return;
    const i32 k0 = copy % steps * static_cast<i32>(TILE_K);
    Right::copy_async<THREADS>(ring + slot * Right::bytes, right, leading, column_of(copy / steps), columns, k0, depth);
  };
  CopyRing<STAGES> slots;
  slots.begin([&](u32 slot) { copy_tile(slot, static_cast<i32>(slot)); });

  SPAK_NO_UNROLL
  for (const u32 top : spaced(warp_index() * AT_ONCE, TILE_M, THREADS / LANES)) {
    const Group group;
    const u32 line = top + lane_index() / LANES;
    const auto keep = [&](i32 position, Element value) {
      const u32 tile = static_cast<u32>(position) / TILE_K, inside = static_cast<u32>(position) % TILE_K;
      store_shared<Element>(panel + tile * Panel::bytes + Panel::offset(line, inside / 8) + inside % 8 * 2, value);
    };
    const bool active = m0 + static_cast<i32>(line) < rows;
    const i32 kept = minimum(m0 + static_cast<i32>(line), rows - 1);  // others read along, and keep nothing
    const i32 padded = steps * static_cast<i32>(TILE_K);
    for (i32 position = (active ? depth : 0) + static_cast<i32>(group.rank()); position < padded; position += LANES)
      keep(position, Element{});  // what lies outside of the product is zero
  const i32 reduced = params.d_K;
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_m = kept;

  Sum part_0;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_k = position;
#line 18 "chain.spak"
    part_0.add((read_constant(params.t_x + i_m * params.s_x_0 + i_k * params.s_x_1) * read_constant(params.t_x + i_m * params.s_x_0 + i_k * params.s_x_1)));
#line 107 "kernels/norm_linear/panel.cu"
  }
  const f32 v_sum_k = group.reduced(part_0).value();
#line 18 "chain.spak"
  const auto v_rstd_value = rsqrt_f32((divide_f32(v_sum_k, static_cast<f32>(params.d_K)) + params.o_eps));
#line 112 "kernels/norm_linear/panel.cu"

  if (active && block_index_y() == 0 && is_first(group.rank())) {
#line 18 "chain.spak"
    write(params.t_rstd + i_m * params.s_rstd_0, v_rstd_value);
#line 117 "kernels/norm_linear/panel.cu"
  }
    for (i32 position = rank; active && position < reduced; position += step) {
      const i32 i_k = position;
#line 19 "chain.spak"
    keep(position, as_element<Element>(((read_constant(params.t_x + i_m * params.s_x_0 + i_k * params.s_x_1) * v_rstd_value) * read_constant(params.t_gain + i_k * params.s_gain_0))));
#line 123 "kernels/norm_linear/panel.cu"
    }
  }

  for (i32 tile = 0; tile < tiles; tile++) {
    const i32 n0 = column_of(tile);
    Core::Accumulators accumulators;
    fill(accumulators, 0.0f);
    SPAK_NO_UNROLL
    for (i32 step = 0; step < steps; step++) {
      slots.wait([&](u32 slot) { copy_tile(slot, tile * steps + step + static_cast<i32>(STAGES) - 1); });  // rows are complete, too
      Core::multiply<Panel, Right>(accumulators, panel + static_cast<u32>(step) * Panel::bytes, ring + slots.oldest * Right::bytes);
      slots.advance();
    }
    {
      using Slab = OutputSlab<T_y, Core>;
      const Output<T_y> output = {params.t_y, params.s_y_0, params.s_y_1};
      Slab::store(accumulators, slab, output, m0, n0, rows, columns, [&](f32 accumulator, i32 row, i32 column) {
#line 20 "chain.spak"
      return call_activation(accumulator);
#line 143 "kernels/norm_linear/panel.cu"
      });
    }
  }
}
