// kernels/gelu_gradient/flat_grid_stride.cu: family elementwise, template elementwise/grid_stride.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/vector.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = DTYPE_x;
using T_grad_y = T_x;
using T_grad_x = T_x;

struct Params {
  const T_x* t_x;  // [R, N]
  i64 s_x_0;
  i64 s_x_1;
  const T_grad_y* t_grad_y;  // [R, N]
  i64 s_grad_y_0;
  i64 s_grad_y_1;
  T_grad_x* t_grad_x;  // [R, N]
  i64 s_grad_x_0;
  i64 s_grad_x_1;
  i32 d_R;
  i32 d_N;
};

constexpr u32 THREADS = KNOB_threads, VECTOR = KNOB_vector;

// Each thread computes VECTOR neighbouring points, then goes on a whole grid further.
SPAK_KERNEL(spak_gelu_gradient_flat_grid_stride, Params, THREADS) {
  grid_dependency_wait();
  const i64 points = static_cast<i64>((params.d_R * params.d_N));
  const i64 step = static_cast<i64>(grid_size_x()) * THREADS * VECTOR;
  for (i64 first = (static_cast<i64>(block_index_x()) * THREADS + thread_index()) * VECTOR; first < points; first += step) {
    const i32 first_lane = static_cast<i32>(first);
    const auto vector_0 = as_values(read_vector<VECTOR>(params.t_grad_y + first_lane * params.s_grad_y_1));
    const auto vector_1 = as_values(read_vector<VECTOR>(params.t_x + first_lane * params.s_x_1));
    Reg<T_grad_x, VECTOR> out_0;
    SPAK_UNROLL
    for (u32 lane = 0; lane < VECTOR; lane++) {
#line 37 "train.spak"
      out_0[lane] = as_element<T_grad_x>((vector_0[lane] * gelu_slope(vector_1[lane])));
#line 43 "kernels/gelu_gradient/flat_grid_stride.cu"
    }
    write_vector(params.t_grad_x + first_lane * params.s_grad_x_1, out_0);
  }
}
