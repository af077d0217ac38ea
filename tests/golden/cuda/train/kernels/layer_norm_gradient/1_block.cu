// kernels/layer_norm_gradient/1_block.cu: family rows, template rows/block.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = DTYPE_x;
using T_weight = f32;
using T_mean = f32;
using T_rstd = f32;
using T_grad_y = DTYPE_grad_y;
using T_grad_x = T_x;

struct Params {
  const T_x* t_x;  // [R, N]
  i64 s_x_0;
  i64 s_x_1;
  const T_weight* t_weight;  // [N]
  i64 s_weight_0;
  const T_mean* t_mean;  // [R]
  i64 s_mean_0;
  const T_rstd* t_rstd;  // [R]
  i64 s_rstd_0;
  const T_grad_y* t_grad_y;  // [R, N]
  i64 s_grad_y_0;
  i64 s_grad_y_1;
  T_grad_x* t_grad_x;  // [R, N]
  i64 s_grad_x_0;
  i64 s_grad_x_1;
  i32 d_R;
  i32 d_N;
};

constexpr u32 THREADS = KNOB_threads;
using Group = BlockGroup<THREADS>;

// A block computes one row at a time; neighbouring threads read neighbouring elements.
SPAK_KERNEL(spak_layer_norm_gradient_1_block, Params, THREADS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const i32 kept = static_cast<i32>(block_index_x());
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
#line 29 "train.spak"
    part_0.add((read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * ((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) - read_constant(params.t_mean + i_r * params.s_mean_0)) * read_constant(params.t_weight + i_n * params.s_weight_0))));
#line 58 "kernels/layer_norm_gradient/1_block.cu"
#line 29 "train.spak"
    part_1.add((-(read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_weight + i_n * params.s_weight_0)))));
#line 61 "kernels/layer_norm_gradient/1_block.cu"
#line 28 "train.spak"
    part_2.add((-((-read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1)) + read_constant(params.t_mean + i_r * params.s_mean_0))));
#line 64 "kernels/layer_norm_gradient/1_block.cu"
  }
  const f32 v_d_rstd = group.reduced(part_0).value();
  const f32 v_sum_n = group.reduced(part_1).value();
  const f32 v_sum = group.reduced(part_2).value();
#line 28 "train.spak"
  const auto v_row = (v_d_rstd * (divide_f32(1.0f, static_cast<f32>(params.d_N)) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_rstd + i_r * params.s_rstd_0)))));
#line 71 "kernels/layer_norm_gradient/1_block.cu"
#line 28 "train.spak"
  const auto v_row_1 = (v_row * v_sum);
#line 74 "kernels/layer_norm_gradient/1_block.cu"
  const auto v_d_sum_n = divide_f32((v_sum_n + v_row_1), static_cast<f32>(params.d_N));

  for (i32 position = rank; active && position < reduced; position += step) {
    const i32 i_n = position;
#line 29 "train.spak"
    write(params.t_grad_x + i_r * params.s_grad_x_0 + i_n * params.s_grad_x_1, (((read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_weight + i_n * params.s_weight_0))) - (v_row * (read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) - read_constant(params.t_mean + i_r * params.s_mean_0)))) + v_d_sum_n));
#line 81 "kernels/layer_norm_gradient/1_block.cu"
  }

}
