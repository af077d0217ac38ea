// kernels/rope/grid_stride.cu: family elementwise, template elementwise/grid_stride.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/vector.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = DTYPE_x;
using T_y = T_x;

struct Params {
  const T_x* t_x;  // [B, T, H, D]
  i64 s_x_0;
  i64 s_x_1;
  i64 s_x_2;
  i64 s_x_3;
  T_y* t_y;  // [B, T, H, D]
  i64 s_y_0;
  i64 s_y_1;
  i64 s_y_2;
  i64 s_y_3;
  i32 d_B;
  i32 d_T;
  i32 d_H;
  f32 o_base;
};

constexpr u32 THREADS = KNOB_threads, VECTOR = KNOB_vector;
constexpr i32 TOGETHER = PLAN_together;  // neighbours along i_h: what costs most is the same for all

// Each thread computes VECTOR neighbouring points of TOGETHER rows, then goes on a whole grid further.
SPAK_KERNEL(spak_rope_grid_stride, Params, THREADS) {
  grid_dependency_wait();
  const i64 points = static_cast<i64>(params.d_B) * static_cast<i64>(params.d_T) * static_cast<i64>(ceil_div(params.d_H, TOGETHER)) * static_cast<i64>(floor_divide(DIM_D, 2));
  const i64 step = static_cast<i64>(grid_size_x()) * THREADS * VECTOR;
  for (i64 first = (static_cast<i64>(block_index_x()) * THREADS + thread_index()) * VECTOR; first < points; first += step) {
    const i64 above_3 = quotient(first, floor_divide(DIM_D, 2));
    const i32 first_lane = static_cast<i32>(first - above_3 * (floor_divide(DIM_D, 2)));
    const i64 above_2 = quotient(above_3, ceil_div(params.d_H, TOGETHER));
    const i32 group = static_cast<i32>(above_3 - above_2 * (ceil_div(params.d_H, TOGETHER)));
    const i64 above_1 = quotient(above_2, params.d_T);
    const i32 i_t = static_cast<i32>(above_2 - above_1 * (params.d_T));
    const i32 i_b = static_cast<i32>(above_1);
    Reg<f32, VECTOR> v_angle;
    Reg<f32, VECTOR> v_cos;
    Reg<f32, VECTOR> v_sin;
    SPAK_UNROLL
    for (u32 lane = 0; lane < VECTOR; lane++) {
      const i32 i_i = first_lane + static_cast<i32>(lane);
#line 67 "train.spak"
      v_angle[lane] = (static_cast<f32>(i_t) * pow_f32(params.o_base, divide_f32(((-2.0f) * static_cast<f32>(i_i)), static_cast<f32>(DIM_D))));
#line 53 "kernels/rope/grid_stride.cu"
      v_cos[lane] = cos_f32(v_angle[lane]);
      v_sin[lane] = sin_f32(v_angle[lane]);
    }
    const i32 end = minimum((group + 1) * TOGETHER, params.d_H);
    for (i32 i_h = group * TOGETHER; i_h < end; i_h++) {
      const auto vector_0 = as_values(read_vector<VECTOR>(params.t_x + i_b * params.s_x_0 + i_t * params.s_x_1 + i_h * params.s_x_2 + first_lane * params.s_x_3));
      const auto vector_1 = as_values(read_vector<VECTOR>(params.t_x + i_b * params.s_x_0 + i_t * params.s_x_1 + i_h * params.s_x_2 + (first_lane + floor_divide(DIM_D, 2)) * params.s_x_3));
      Reg<T_y, VECTOR> out_0;
      Reg<T_y, VECTOR> out_1;
      SPAK_UNROLL
      for (u32 lane = 0; lane < VECTOR; lane++) {
#line 68 "train.spak"
        out_0[lane] = as_element<T_y>(((vector_0[lane] * v_cos[lane]) - (vector_1[lane] * v_sin[lane])));
#line 67 "kernels/rope/grid_stride.cu"
#line 69 "train.spak"
        out_1[lane] = as_element<T_y>(((vector_0[lane] * v_sin[lane]) + (vector_1[lane] * v_cos[lane])));
#line 70 "kernels/rope/grid_stride.cu"
      }
      write_vector(params.t_y + i_b * params.s_y_0 + i_t * params.s_y_1 + i_h * params.s_y_2 + first_lane * params.s_y_3, out_0);
      write_vector(params.t_y + i_b * params.s_y_0 + i_t * params.s_y_1 + i_h * params.s_y_2 + (first_lane + floor_divide(DIM_D, 2)) * params.s_y_3, out_1);
    }
  }
}
