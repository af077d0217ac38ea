// kernels/layer_norm_gradient/2_columns.cu: family rows, template rows/columns.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = DTYPE_x;
using T_mean = f32;
using T_rstd = f32;
using T_grad_y = T_x;
using T_weight = f32;
using T_grad_weight = T_weight;
using T_grad_bias = f32;

struct Params {
  const T_x* t_x;  // [R, N]
  i64 s_x_0;
  i64 s_x_1;
  const T_mean* t_mean;  // [R]
  i64 s_mean_0;
  const T_rstd* t_rstd;  // [R]
  i64 s_rstd_0;
  const T_grad_y* t_grad_y;  // [R, N]
  i64 s_grad_y_0;
  i64 s_grad_y_1;
  T_grad_weight* t_grad_weight;  // [N]
  i64 s_grad_weight_0;
  T_grad_bias* t_grad_bias;  // [N]
  i64 s_grad_bias_0;
  i32 d_R;
  i32 d_N;
};

constexpr u32 PARTS = KNOB_parts;
using Group = LaneGroup<PARTS>;

// Neighbouring lanes compute neighbouring results: 32 a block, whose warps each take a part of the reduced axis.
// Results past the end are computed like the last one and not written: every thread takes part in the barriers.
SPAK_KERNEL(spak_layer_norm_gradient_2_columns, Params, 32 * PARTS) {
  const Group group(shared_base());
  const i32 own = static_cast<i32>(block_index_x() * 32 + lane_index());
  const bool active = own < params.d_N;
  const i32 kept = active ? own : params.d_N - 1;
  const i32 reduced = params.d_R;
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_n = kept;

  Sum part_0;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_r = position;
#line 29 "train.spak"
    part_0.add((read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * ((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) - read_constant(params.t_mean + i_r * params.s_mean_0)) * read_constant(params.t_rstd + i_r * params.s_rstd_0))));
#line 57 "kernels/layer_norm_gradient/2_columns.cu"
  }
  const f32 v_grad_weight_value = group.reduced(part_0).value();

  Sum part_1;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_r = position;
#line 29 "train.spak"
    part_1.add(read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1));
#line 66 "kernels/layer_norm_gradient/2_columns.cu"
  }
  const f32 v_grad_bias_value = group.reduced(part_1).value();

  if (active && rank == 0) {
#line 29 "train.spak"
    write(params.t_grad_weight + i_n * params.s_grad_weight_0, v_grad_weight_value);
#line 73 "kernels/layer_norm_gradient/2_columns.cu"
#line 29 "train.spak"
    write(params.t_grad_bias + i_n * params.s_grad_bias_0, v_grad_bias_value);
#line 76 "kernels/layer_norm_gradient/2_columns.cu"
  }

}
