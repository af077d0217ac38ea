// kernels/rms_norm_gradient/1_warp.cu: family rows, template rows/warp.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = DTYPE_x;
using T_weight = f32;
using T_rstd = f32;
using T_grad_y = DTYPE_grad_y;
using T_grad_x = T_x;

struct Params {
  const T_x* t_x;  // [R, N]
  i64 s_x_0;
  i64 s_x_1;
  const T_weight* t_weight;  // [N]
  i64 s_weight_0;
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

constexpr u32 WARPS = KNOB_warps;
using Group = WarpGroup;

// Each warp computes one row; neighbouring lanes read neighbouring elements.
SPAK_KERNEL(spak_rms_norm_gradient_1_warp, Params, 32 * WARPS) {
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
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_n = position;
#line 15 "train.spak"
    part_0.add((read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * (read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) * read_constant(params.t_weight + i_n * params.s_weight_0))));
#line 54 "kernels/rms_norm_gradient/1_warp.cu"
  }
  const f32 v_d_rstd = group.reduced(part_0).value();
#line 14 "train.spak"
  const auto v_row = (v_d_rstd * (divide_f32(1.0f, static_cast<f32>(params.d_N)) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_rstd + i_r * params.s_rstd_0)))));
#line 59 "kernels/rms_norm_gradient/1_warp.cu"

  for (i32 position = rank; active && position < reduced; position += step) {
    const i32 i_n = position;
#line 15 "train.spak"
    write(params.t_grad_x + i_r * params.s_grad_x_0 + i_n * params.s_grad_x_1, ((read_constant(params.t_grad_y + i_r * params.s_grad_y_0 + i_n * params.s_grad_y_1) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_weight + i_n * params.s_weight_0))) - (v_row * read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1))));
#line 65 "kernels/rms_norm_gradient/1_warp.cu"
  }

}
