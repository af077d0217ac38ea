// kernels/matmul/2_columns.cu: family rows, template rows/columns.cu.j2
// Generated. The mathematics is quoted line by line from matmul.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

enum class Word { w_gelu, w_identity, w_relu_squared, w_silu };

using T_A = DTYPE_A;
using T_bias = T_A;
using T_C = DTYPE_C;
using T_parts = f32;

struct Params {
  const T_bias* t_bias;  // [N]
  i64 s_bias_0;
  T_C* t_C;  // [M, N]
  i64 s_C_0;
  i64 s_C_1;
  const T_parts* t_parts;  // [max(min(min(((sms // cluster) // max((ceil_div(M, (tile_m * cluster)) * ceil_div(N, tile_n)), 1)), (ceil_div(K, tile_k) // 3)), 64), 1), M, N]
  i64 s_parts_0;
  i64 s_parts_1;
  i64 s_parts_2;
  i32 d_M;
  i32 d_N;
  i32 d_K;
  i32 v_part;
};

// The function that activation chooses in this specialisation.
SPAK_DEVICE f32 call_activation(f32 x) {
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_identity) return identity(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_gelu) return gelu(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_relu_squared) return relu_squared(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_silu) return silu(x);
}

constexpr u32 PARTS = KNOB_parts;
using Group = LaneGroup<PARTS>;

// Neighbouring lanes compute neighbouring results: 32 a block, whose warps each take a part of the reduced axis.
// Results past the end are computed like the last one and not written: every thread takes part in the barriers.
SPAK_KERNEL(spak_matmul_2_columns, Params, 32 * PARTS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const i32 results = params.d_M * params.d_N, own = static_cast<i32>(block_index_x() * 32 + lane_index());
  const bool active = own < results;
  const i32 kept = minimum(own, results - 1);
  const i32 reduced = params.v_part;
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_m = kept / (params.d_N);
  const i32 i_n = kept % (params.d_N);

  Sum part_0;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_part = position;
    part_0.add(read(params.t_parts + i_part * params.s_parts_0 + i_m * params.s_parts_1 + i_n * params.s_parts_2));
  }
  const f32 v_acc = group.reduced(part_0).value();

  if (active && is_first(group.rank())) {
#line 16 "matmul.spak"
    write(params.t_C + i_m * params.s_C_0 + i_n * params.s_C_1, call_activation((v_acc + (PRESENT_bias ? read_constant(params.t_bias + i_n * params.s_bias_0) : 0.0f))));
#line 68 "kernels/matmul/2_columns.cu"
  }

}
