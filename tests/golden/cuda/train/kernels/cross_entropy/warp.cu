// kernels/cross_entropy/warp.cu: family rows, template rows/warp.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_logits = DTYPE_logits;
using T_target = i32;
using T_loss = f32;
using T_lse = f32;

struct Params {
  const T_logits* t_logits;  // [R, V]
  i64 s_logits_0;
  i64 s_logits_1;
  const T_target* t_target;  // [R]
  i64 s_target_0;
  T_loss* t_loss;  // [R]
  i64 s_loss_0;
  T_lse* t_lse;  // [R]
  i64 s_lse_0;
  i32 d_R;
  i32 d_V;
};

constexpr u32 WARPS = KNOB_warps;
using Group = WarpGroup;

// Each warp computes one row; neighbouring lanes read neighbouring elements.
SPAK_KERNEL(spak_cross_entropy_warp, Params, 32 * WARPS) {
  grid_dependency_wait();
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
#line 57 "train.spak"
    part_0.add(read_constant(params.t_logits + i_r * params.s_logits_0 + i_v * params.s_logits_1));
#line 49 "kernels/cross_entropy/warp.cu"
  }
  const f32 v_lse_value = group.reduced(part_0).value();
#line 57 "train.spak"
  const auto v_loss_value = (v_lse_value - read_constant(params.t_logits + i_r * params.s_logits_0 + read_constant(params.t_target + i_r * params.s_target_0) * params.s_logits_1));
#line 54 "kernels/cross_entropy/warp.cu"

  if (active && is_first(group.rank())) {
#line 57 "train.spak"
    write(params.t_lse + i_r * params.s_lse_0, v_lse_value);
#line 59 "kernels/cross_entropy/warp.cu"
#line 57 "train.spak"
    write(params.t_loss + i_r * params.s_loss_0, v_loss_value);
#line 62 "kernels/cross_entropy/warp.cu"
  }

}
