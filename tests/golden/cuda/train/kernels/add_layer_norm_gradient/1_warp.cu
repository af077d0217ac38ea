// kernels/add_layer_norm_gradient/1_warp.cu: family rows, template rows/warp.cu.j2
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
using T_grad_x = f32;
using T_grad_more = DTYPE_grad_more;
using T_d_rstd = f32;
using T_sum_n = f32;
using T_sum_n_1 = f32;

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
  T_grad_x* t_grad_x;  // [R, N]
  i64 s_grad_x_0;
  i64 s_grad_x_1;
  T_grad_more* t_grad_more;  // [R, N]
  i64 s_grad_more_0;
  i64 s_grad_more_1;
  T_d_rstd* t_d_rstd;  // [R]
  i64 s_d_rstd_0;
  T_sum_n* t_sum_n;  // [R]
  i64 s_sum_n_0;
  T_sum_n_1* t_sum_n_1;  // [R]
  i64 s_sum_n_1_0;
  i32 d_R;
  i32 d_N;
};

constexpr u32 WARPS = KNOB_warps;
using Group = WarpGroup;

// Each warp computes one row; neighbouring lanes read neighbouring elements.
SPAK_KERNEL(spak_add_layer_norm_gradient_1_warp, Params, 32 * WARPS) {
  grid_dependency_wait();
  const Group group(0);
  const i32 kept = static_cast<i32>(block_index_x() * WARPS + warp_index());
  if (kept >= params.d_R) return;
  constexpr bool active = true;
  const i32 reduced = params.d_N;
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_r = kept;

  Sum part_0;
  Sum part_1;
  Sum part_2;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_n = position;
#line 106 "train.spak"
    part_0.add((read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * ((read_constant(params.t_stream + i_r * params.s_stream_0 + i_n * params.s_stream_1) - read_constant(params.t_mean + i_r * params.s_mean_0)) * read_constant(params.t_weight + i_n * params.s_weight_0))));
#line 76 "kernels/add_layer_norm_gradient/1_warp.cu"
#line 106 "train.spak"
    part_1.add((-(read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_weight + i_n * params.s_weight_0)))));
#line 79 "kernels/add_layer_norm_gradient/1_warp.cu"
#line 105 "train.spak"
    part_2.add((-((-read_constant(params.t_stream + i_r * params.s_stream_0 + i_n * params.s_stream_1)) + read_constant(params.t_mean + i_r * params.s_mean_0))));
#line 82 "kernels/add_layer_norm_gradient/1_warp.cu"
  }
  const f32 v_d_rstd_value = group.reduced(part_0).value();
  const f32 v_sum_n_value = group.reduced(part_1).value();
  const f32 v_sum = group.reduced(part_2).value();
#line 105 "train.spak"
  const auto v_row = (v_d_rstd_value * (divide_f32(1.0f, static_cast<f32>(params.d_N)) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_rstd + i_r * params.s_rstd_0)))));
#line 89 "kernels/add_layer_norm_gradient/1_warp.cu"
#line 105 "train.spak"
  const auto v_row_1 = (v_row * v_sum);
#line 92 "kernels/add_layer_norm_gradient/1_warp.cu"
  const auto v_d_sum_n = divide_f32((v_sum_n_value + v_row_1), static_cast<f32>(params.d_N));

  if (active && is_first(group.rank())) {
#line 106 "train.spak"
    write(params.t_d_rstd + i_r * params.s_d_rstd_0, v_d_rstd_value);
#line 98 "kernels/add_layer_norm_gradient/1_warp.cu"
#line 106 "train.spak"
    write(params.t_sum_n + i_r * params.s_sum_n_0, v_sum_n_value);
#line 101 "kernels/add_layer_norm_gradient/1_warp.cu"
#line 105 "train.spak"
    write(params.t_sum_n_1 + i_r * params.s_sum_n_1_0, v_row_1);
#line 104 "kernels/add_layer_norm_gradient/1_warp.cu"
  }

  for (i32 position = rank; active && position < reduced; position += step) {
    const i32 i_n = position;
#line 103 "train.spak"
    write(params.t_grad_x + i_r * params.s_grad_x_0 + i_n * params.s_grad_x_1, (((read_constant(params.t_grad_stream + i_r * params.s_grad_stream_0 + i_n * params.s_grad_stream_1) + (read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_weight + i_n * params.s_weight_0)))) - (v_row * (read_constant(params.t_stream + i_r * params.s_stream_0 + i_n * params.s_stream_1) - read_constant(params.t_mean + i_r * params.s_mean_0)))) + v_d_sum_n));
#line 111 "kernels/add_layer_norm_gradient/1_warp.cu"
#line 103 "train.spak"
    write(params.t_grad_more + i_r * params.s_grad_more_0 + i_n * params.s_grad_more_1, (((read_constant(params.t_grad_stream + i_r * params.s_grad_stream_0 + i_n * params.s_grad_stream_1) + (read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_weight + i_n * params.s_weight_0)))) - (v_row * (read_constant(params.t_stream + i_r * params.s_stream_0 + i_n * params.s_stream_1) - read_constant(params.t_mean + i_r * params.s_mean_0)))) + v_d_sum_n));
#line 114 "kernels/add_layer_norm_gradient/1_warp.cu"
  }

}
