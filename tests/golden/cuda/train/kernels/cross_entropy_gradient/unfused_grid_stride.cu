// kernels/cross_entropy_gradient/unfused_grid_stride.cu: family elementwise, template elementwise/grid_stride.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/vector.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_logits = DTYPE_logits;
using T_target = i32;
using T_lse = f32;
using T_grad_loss = f32;
using T_grad_logits = T_logits;

struct Params {
  const T_logits* t_logits;  // [R, V]
  i64 s_logits_0;
  i64 s_logits_1;
  const T_target* t_target;  // [R]
  i64 s_target_0;
  const T_lse* t_lse;  // [R]
  i64 s_lse_0;
  const T_grad_loss* t_grad_loss;  // [R]
  i64 s_grad_loss_0;
  T_grad_logits* t_grad_logits;  // [R, V]
  i64 s_grad_logits_0;
  i64 s_grad_logits_1;
  i32 d_R;
  i32 d_V;
};

constexpr u32 THREADS = KNOB_threads, VECTOR = KNOB_vector;

// Each thread computes VECTOR neighbouring points, then goes on a whole grid further.
SPAK_KERNEL(spak_cross_entropy_gradient_unfused_grid_stride, Params, THREADS) {
  grid_dependency_wait();
  const i64 points = static_cast<i64>(params.d_R) * static_cast<i64>(params.d_V);
  const i64 step = static_cast<i64>(grid_size_x()) * THREADS * VECTOR;
  for (i64 first = (static_cast<i64>(block_index_x()) * THREADS + thread_index()) * VECTOR; first < points; first += step) {
    const i64 above_1 = quotient(first, params.d_V);
    const i32 first_lane = static_cast<i32>(first - above_1 * (params.d_V));
    const i32 i_r = static_cast<i32>(above_1);
    const auto vector_0 = as_values(read_vector<VECTOR>(params.t_logits + i_r * params.s_logits_0 + first_lane * params.s_logits_1));
    Reg<T_grad_logits, VECTOR> out_0;
    SPAK_UNROLL
    for (u32 lane = 0; lane < VECTOR; lane++) {
      const i32 i_v = first_lane + static_cast<i32>(lane);
#line 57 "train.spak"
      out_0[lane] = as_element<T_grad_logits>(((-((i_v == read_constant(params.t_target + i_r * params.s_target_0)) ? read_constant(params.t_grad_loss + i_r * params.s_grad_loss_0) : 0.0f)) + (read_constant(params.t_grad_loss + i_r * params.s_grad_loss_0) * ((read_constant(params.t_lse + i_r * params.s_lse_0) == (-infinity_f32())) ? 0.0f : exp_f32((vector_0[lane] - read_constant(params.t_lse + i_r * params.s_lse_0)))))));
#line 50 "kernels/cross_entropy_gradient/unfused_grid_stride.cu"
    }
    write_vector(params.t_grad_logits + i_r * params.s_grad_logits_0 + first_lane * params.s_grad_logits_1, out_0);
  }
}
