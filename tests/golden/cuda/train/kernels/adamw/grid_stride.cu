// kernels/adamw/grid_stride.cu: family elementwise, template elementwise/grid_stride.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/vector.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_p = f32;
using T_m = f32;
using T_v = f32;
using T_g = DTYPE_g;
using T_lr = f32;
using T_decay = f32;
using T_c1 = f32;
using T_c2 = f32;
using T_scale = f32;

struct Params {
  T_p* t_p;  // [N]
  i64 s_p_0;
  T_m* t_m;  // [N]
  i64 s_m_0;
  T_v* t_v;  // [N]
  i64 s_v_0;
  const T_g* t_g;  // [N]
  i64 s_g_0;
  const T_lr* t_lr;  // []
  const T_decay* t_decay;  // []
  const T_c1* t_c1;  // []
  const T_c2* t_c2;  // []
  const T_scale* t_scale;  // []
  i32 d_N;
  f32 o_beta1;
  f32 o_beta2;
  f32 o_eps;
};

constexpr u32 THREADS = KNOB_threads, VECTOR = KNOB_vector;

// Each thread computes VECTOR neighbouring points, then goes on a whole grid further.
SPAK_KERNEL(spak_adamw_grid_stride, Params, THREADS) {
  grid_dependency_wait();
  const i64 points = static_cast<i64>(params.d_N);
  const i64 step = static_cast<i64>(grid_size_x()) * THREADS * VECTOR;
  for (i64 first = (static_cast<i64>(block_index_x()) * THREADS + thread_index()) * VECTOR; first < points; first += step) {
    const i32 first_lane = static_cast<i32>(first);
    const auto vector_0 = as_values(read_vector<VECTOR>(params.t_g + first_lane * params.s_g_0));
    const auto vector_1 = as_values(read_vector<VECTOR>(params.t_m + first_lane * params.s_m_0));
    const auto vector_2 = as_values(read_vector<VECTOR>(params.t_v + first_lane * params.s_v_0));
    const auto vector_3 = as_values(read_vector<VECTOR>(params.t_p + first_lane * params.s_p_0));
    Reg<T_m, VECTOR> out_0;
    Reg<T_v, VECTOR> out_1;
    Reg<T_p, VECTOR> out_2;
    SPAK_UNROLL
    for (u32 lane = 0; lane < VECTOR; lane++) {
#line 80 "train.spak"
      const auto v_h = (read_constant(params.t_scale) * vector_0[lane]);
#line 59 "kernels/adamw/grid_stride.cu"
#line 81 "train.spak"
      const auto v_m_new = ((params.o_beta1 * vector_1[lane]) + ((1.0f - params.o_beta1) * v_h));
#line 62 "kernels/adamw/grid_stride.cu"
#line 82 "train.spak"
      const auto v_v_new = ((params.o_beta2 * vector_2[lane]) + (((1.0f - params.o_beta2) * v_h) * v_h));
#line 65 "kernels/adamw/grid_stride.cu"
#line 81 "train.spak"
      out_0[lane] = as_element<T_m>(v_m_new);
#line 68 "kernels/adamw/grid_stride.cu"
#line 82 "train.spak"
      out_1[lane] = as_element<T_v>(v_v_new);
#line 71 "kernels/adamw/grid_stride.cu"
#line 83 "train.spak"
      out_2[lane] = as_element<T_p>(((vector_3[lane] * (1.0f - (read_constant(params.t_lr) * read_constant(params.t_decay)))) - divide_f32((read_constant(params.t_lr) * divide_f32(v_m_new, read_constant(params.t_c1))), (sqrt_f32(divide_f32(v_v_new, read_constant(params.t_c2))) + params.o_eps))));
#line 74 "kernels/adamw/grid_stride.cu"
    }
    write_vector(params.t_m + first_lane * params.s_m_0, out_0);
    write_vector(params.t_v + first_lane * params.s_v_0, out_1);
    write_vector(params.t_p + first_lane * params.s_p_0, out_2);
  }
}
