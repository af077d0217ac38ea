// kernels/layer_norm_gradient/3_columns.cu: family rows, template rows/columns.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_weight = f32;
using T_grad_weight = T_weight;
using T_grad_bias = f32;
using T_parts = f32;
using T_parts_1 = f32;

struct Params {
  T_grad_weight* t_grad_weight;  // [N]
  i64 s_grad_weight_0;
  T_grad_bias* t_grad_bias;  // [N]
  i64 s_grad_bias_0;
  const T_parts* t_parts;  // [64, N]
  i64 s_parts_0;
  i64 s_parts_1;
  const T_parts_1* t_parts_1;  // [64, N]
  i64 s_parts_1_0;
  i64 s_parts_1_1;
  i32 d_N;
};

constexpr u32 PARTS = KNOB_parts;
using Group = LaneGroup<PARTS>;

// Neighbouring lanes compute neighbouring results: 32 a block, whose warps each take a part of the reduced axis.
// Results past the end are computed like the last one and not written: every thread takes part in the barriers.
SPAK_KERNEL(spak_layer_norm_gradient_3_columns, Params, 32 * PARTS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const i32 results = params.d_N, own = static_cast<i32>(block_index_x() * 32 + lane_index());
  const bool active = own < results;
  const i32 kept = minimum(own, results - 1);
  const i32 reduced = 64;
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_n = kept;

  Sum part_0;
  Sum part_1;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_part = position;
#line 29 "train.spak"
    part_0.add(read(params.t_parts + i_part * params.s_parts_0 + i_n * params.s_parts_1));
#line 52 "kernels/layer_norm_gradient/3_columns.cu"
#line 29 "train.spak"
    part_1.add(read(params.t_parts_1 + i_part * params.s_parts_1_0 + i_n * params.s_parts_1_1));
#line 55 "kernels/layer_norm_gradient/3_columns.cu"
  }
  const f32 v_grad_weight_value = group.reduced(part_0).value();
  const f32 v_grad_bias_value = group.reduced(part_1).value();

  if (active && is_first(group.rank())) {
#line 29 "train.spak"
    write(params.t_grad_weight + i_n * params.s_grad_weight_0, v_grad_weight_value);
#line 63 "kernels/layer_norm_gradient/3_columns.cu"
#line 29 "train.spak"
    write(params.t_grad_bias + i_n * params.s_grad_bias_0, v_grad_bias_value);
#line 66 "kernels/layer_norm_gradient/3_columns.cu"
  }

}
