// kernels/cross_entropy_gradient/warp.cu: family rows, template rows/warp.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_logits = DTYPE_logits;
using T_target = i32;
using T_grad_loss = f32;
using T_grad_logits = T_logits;

struct Params {
  const T_logits* t_logits;  // [R, V]
  i64 s_logits_0;
  i64 s_logits_1;
  const T_target* t_target;  // [R]
  i64 s_target_0;
  const T_grad_loss* t_grad_loss;  // [R]
  i64 s_grad_loss_0;
  T_grad_logits* t_grad_logits;  // [R, V]
  i64 s_grad_logits_0;
  i64 s_grad_logits_1;
  i32 d_R;
  i32 d_V;
};

constexpr u32 WARPS = KNOB_warps;
using Group = WarpGroup;

// Each warp computes one row; neighbouring lanes read neighbouring elements.
SPAK_KERNEL(spak_cross_entropy_gradient_warp, Params, 32 * WARPS) {
  const Group group(0);
  const i32 kept = static_cast<i32>(block_index_x() * WARPS + warp_index());
  if (kept >= params.d_R) return;
  constexpr bool active = true;
  const i32 reduced = params.d_V;
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_r = kept;

  LogSumExp part_0;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_v = position;
#line 25 "train.spak"
    part_0.add(read_constant(params.t_logits + i_r * params.s_logits_0 + i_v * params.s_logits_1));
#line 49 "kernels/cross_entropy_gradient/warp.cu"
  }
  const f32 v_logsumexp_v = group.reduced(part_0).value();

  for (i32 position = rank; active && position < reduced; position += step) {
    const i32 i_v = position;
#line 25 "train.spak"
    write(params.t_grad_logits + i_r * params.s_grad_logits_0 + i_v * params.s_grad_logits_1, ((-((i_v == read_constant(params.t_target + i_r * params.s_target_0)) ? read_constant(params.t_grad_loss + i_r * params.s_grad_loss_0) : 0.0f)) + (read_constant(params.t_grad_loss + i_r * params.s_grad_loss_0) * ((v_logsumexp_v == (-infinity_f32())) ? 0.0f : exp_f32((read_constant(params.t_logits + i_r * params.s_logits_0 + i_v * params.s_logits_1) - v_logsumexp_v))))));
#line 57 "kernels/cross_entropy_gradient/warp.cu"
  }

}
