// kernels/add_layer_norm_gradient/2_columns.cu: family rows, template rows/columns.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_weight = f32;
using T_stream = f32;
using T_mean = f32;
using T_rstd = f32;
using T_grad_y = DTYPE_grad_y;
using T_grad_stream = T_stream;
using T_d_rstd = f32;
using T_sum_n = f32;
using T_sum_n_1 = f32;
using T_parts = f32;
using T_parts_1 = f32;
using T_parts_2 = f32;

struct Params {
  const T_weight* t_weight;  // [N]
  i64 s_weight_0;
  const T_stream* t_stream;  // [R, N]
  i64 s_stream_0;
  i64 s_stream_1;
  const T_mean* t_mean;  // [R]
  i64 s_mean_0;
  const T_rstd* t_rstd;  // [R]
  i64 s_rstd_0;
  const T_grad_y* t_grad_y;  // [R, N]
  i64 s_grad_y_0;
  i64 s_grad_y_1;
  const T_grad_stream* t_grad_stream;  // [R, N]
  i64 s_grad_stream_0;
  i64 s_grad_stream_1;
  const T_d_rstd* t_d_rstd;  // [R]
  i64 s_d_rstd_0;
  const T_sum_n* t_sum_n;  // [R]
  i64 s_sum_n_0;
  const T_sum_n_1* t_sum_n_1;  // [R]
  i64 s_sum_n_1_0;
  T_parts* t_parts;  // [64, N]
  i64 s_parts_0;
  i64 s_parts_1;
  T_parts_1* t_parts_1;  // [64, N]
  i64 s_parts_1_0;
  i64 s_parts_1_1;
  T_parts_2* t_parts_2;  // [64, N]
  i64 s_parts_2_0;
  i64 s_parts_2_1;
  i32 d_R;
  i32 d_N;
};

constexpr u32 PARTS = KNOB_parts;
using Group = LaneGroup<PARTS>;

// Neighbouring lanes compute neighbouring results: 32 a block, whose warps each take a part of the reduced axis.
// Results past the end are computed like the last one and not written: every thread takes part in the barriers.
SPAK_KERNEL(spak_add_layer_norm_gradient_2_columns, Params, 32 * PARTS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const i32 results = 64 * params.d_N, own = static_cast<i32>(block_index_x() * 32 + lane_index());
  const bool active = own < results;
  const i32 kept = minimum(own, results - 1);
  const i32 reduced = ceil_div(params.d_R, 64);
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_part = kept / (params.d_N);
  const i32 i_n = kept % (params.d_N);

  Sum part_0;
  Sum part_1;
  Sum part_2;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_within = position;
#line 103 "train.spak"
    part_0.add(((((i_part * ceil_div(params.d_R, 64)) + i_within) < params.d_R) ? (((read_constant(params.t_grad_stream + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_grad_stream_0 + i_n * params.s_grad_stream_1) + (read_constant(params.t_grad_y + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_grad_y_0 + i_n * params.s_grad_y_1) * (read_constant(params.t_rstd + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_rstd_0) * read_constant(params.t_weight + i_n * params.s_weight_0)))) - ((((divide_f32(read(params.t_d_rstd + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_d_rstd_0), static_cast<f32>(params.d_N)) * read_constant(params.t_rstd + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_rstd_0)) * read_constant(params.t_rstd + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_rstd_0)) * read_constant(params.t_rstd + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_rstd_0)) * (read_constant(params.t_stream + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_stream_0 + i_n * params.s_stream_1) - read_constant(params.t_mean + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_mean_0)))) + divide_f32((read(params.t_sum_n + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_sum_n_0) + read(params.t_sum_n_1 + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_sum_n_1_0)), static_cast<f32>(params.d_N))) : 0.0f));
#line 82 "kernels/add_layer_norm_gradient/2_columns.cu"
#line 106 "train.spak"
    part_1.add(((((i_part * ceil_div(params.d_R, 64)) + i_within) < params.d_R) ? (read_constant(params.t_grad_y + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_grad_y_0 + i_n * params.s_grad_y_1) * ((read_constant(params.t_stream + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_stream_0 + i_n * params.s_stream_1) - read_constant(params.t_mean + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_mean_0)) * read_constant(params.t_rstd + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_rstd_0))) : 0.0f));
#line 85 "kernels/add_layer_norm_gradient/2_columns.cu"
#line 106 "train.spak"
    part_2.add(((((i_part * ceil_div(params.d_R, 64)) + i_within) < params.d_R) ? read_constant(params.t_grad_y + ((i_part * ceil_div(params.d_R, 64)) + i_within) * params.s_grad_y_0 + i_n * params.s_grad_y_1) : 0.0f));
#line 88 "kernels/add_layer_norm_gradient/2_columns.cu"
  }
  const f32 v_grad_shift_value = group.reduced(part_0).value();
  const f32 v_grad_weight_value = group.reduced(part_1).value();
  const f32 v_grad_bias_value = group.reduced(part_2).value();

  if (active && is_first(group.rank())) {
#line 103 "train.spak"
    write(params.t_parts + i_part * params.s_parts_0 + i_n * params.s_parts_1, v_grad_shift_value);
#line 97 "kernels/add_layer_norm_gradient/2_columns.cu"
#line 106 "train.spak"
    write(params.t_parts_1 + i_part * params.s_parts_1_0 + i_n * params.s_parts_1_1, v_grad_weight_value);
#line 100 "kernels/add_layer_norm_gradient/2_columns.cu"
#line 106 "train.spak"
    write(params.t_parts_2 + i_part * params.s_parts_2_0 + i_n * params.s_parts_2_1, v_grad_bias_value);
#line 103 "kernels/add_layer_norm_gradient/2_columns.cu"
  }

}
