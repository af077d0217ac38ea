// kernels/swiglu_gradient/flat_grid_stride.cu: family elementwise, template elementwise/grid_stride.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/vector.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_gate = DTYPE_gate;
using T_up = T_gate;
using T_grad_y = T_gate;
using T_grad_gate = T_gate;
using T_grad_up = T_gate;

struct Params {
  const T_gate* t_gate;  // [R, N]
  i64 s_gate_0;
  i64 s_gate_1;
  const T_up* t_up;  // [R, N]
  i64 s_up_0;
  i64 s_up_1;
  const T_grad_y* t_grad_y;  // [R, N]
  i64 s_grad_y_0;
  i64 s_grad_y_1;
  T_grad_gate* t_grad_gate;  // [R, N]
  i64 s_grad_gate_0;
  i64 s_grad_gate_1;
  T_grad_up* t_grad_up;  // [R, N]
  i64 s_grad_up_0;
  i64 s_grad_up_1;
  i32 d_R;
  i32 d_N;
};

constexpr u32 THREADS = KNOB_threads, VECTOR = KNOB_vector;

// Each thread computes VECTOR neighbouring points, then goes on a whole grid further.
SPAK_KERNEL(spak_swiglu_gradient_flat_grid_stride, Params, THREADS) {
  grid_dependency_wait();
  const i64 points = static_cast<i64>((params.d_R * params.d_N));
  const i64 step = static_cast<i64>(grid_size_x()) * THREADS * VECTOR;
  for (i64 first = (static_cast<i64>(block_index_x()) * THREADS + thread_index()) * VECTOR; first < points; first += step) {
    const i32 first_lane = static_cast<i32>(first);
    const auto vector_0 = as_values(read_vector<VECTOR>(params.t_grad_y + first_lane * params.s_grad_y_1));
    const auto vector_1 = as_values(read_vector<VECTOR>(params.t_gate + first_lane * params.s_gate_1));
    const auto vector_2 = as_values(read_vector<VECTOR>(params.t_up + first_lane * params.s_up_1));
    Reg<T_grad_gate, VECTOR> out_0;
    Reg<T_grad_up, VECTOR> out_1;
    SPAK_UNROLL
    for (u32 lane = 0; lane < VECTOR; lane++) {
#line 45 "train.spak"
      out_0[lane] = as_element<T_grad_gate>((vector_0[lane] * ((sigmoid(vector_1[lane]) * (1.0f + (vector_1[lane] * (1.0f - sigmoid(vector_1[lane]))))) * vector_2[lane])));
#line 53 "kernels/swiglu_gradient/flat_grid_stride.cu"
#line 45 "train.spak"
      out_1[lane] = as_element<T_grad_up>((vector_0[lane] * silu(vector_1[lane])));
#line 56 "kernels/swiglu_gradient/flat_grid_stride.cu"
    }
    write_vector(params.t_grad_gate + first_lane * params.s_grad_gate_1, out_0);
    write_vector(params.t_grad_up + first_lane * params.s_grad_up_1, out_1);
  }
}
