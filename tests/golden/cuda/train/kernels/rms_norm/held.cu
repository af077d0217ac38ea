// kernels/rms_norm/held.cu: family rows, template rows/held.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/held_row.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = DTYPE_x;
using T_weight = f32;
using T_y = T_x;
using T_rstd = f32;

struct Params {
  const T_x* t_x;  // [R, N]
  i64 s_x_0;
  i64 s_x_1;
  const T_weight* t_weight;  // [N]
  i64 s_weight_0;
  T_y* t_y;  // [R, N]
  i64 s_y_0;
  i64 s_y_1;
  T_rstd* t_rstd;  // [R]
  i64 s_rstd_0;
  i32 d_R;
  i32 d_N;
  f32 o_eps;
};

constexpr u32 THREADS = KNOB_threads, CHUNKS = KNOB_chunks, VECTOR = KNOB_vector;
using Group = RowGroup<THREADS>;
constexpr u32 ROWS = THREADS == 32 ? 4 : 1;  // of a block

// A warp or a block computes a row. What several passes over the row need is read once and held in registers.
SPAK_KERNEL(spak_rms_norm_held, Params, THREADS * ROWS) {
  const Group group(shared_base());
  const i32 kept = static_cast<i32>(block_index_x() * ROWS + thread_index() / THREADS);
  if (kept >= params.d_R) return;
  const i32 reduced = params.d_N;
  const u32 chunks = row_chunks<CHUNKS>(reduced, Group::size * VECTOR);
  const i32 i_r = kept;
  HeldRow<T_x, VECTOR, CHUNKS> held_0;
  SPAK_UNROLL
  for (u32 chunk = 0; chunk < chunks; chunk++) {
    const i32 first_lane = static_cast<i32>((chunk * Group::size + group.rank()) * VECTOR);
    if (first_lane < reduced) {
      held_0.read(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1);

    }
  }
  Sum part_0;
  SPAK_UNROLL
  for (u32 chunk = 0; chunk < chunks; chunk++) {
    const i32 first_lane = static_cast<i32>((chunk * Group::size + group.rank()) * VECTOR);
    if (first_lane < reduced) {
      const auto vector_0 = held_0.again(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1);
      Reg<f32, VECTOR> values;
      SPAK_UNROLL
      for (u32 lane = 0; lane < VECTOR; lane++) {
#line 14 "train.spak"
        values[lane] = (as_value(vector_0[lane]) * as_value(vector_0[lane]));
#line 63 "kernels/rms_norm/held.cu"
      }
      add_each(part_0, values);
    }
  }
  const f32 v_sum = group.reduced(part_0).value();

#line 14 "train.spak"
  const auto v_rstd_value = rsqrt_f32((divide_f32(v_sum, static_cast<f32>(params.d_N)) + params.o_eps));
#line 72 "kernels/rms_norm/held.cu"

  if (group.rank() == 0) {
#line 14 "train.spak"
    write(params.t_rstd + i_r * params.s_rstd_0, v_rstd_value);
#line 77 "kernels/rms_norm/held.cu"
  }

  SPAK_UNROLL
  for (u32 chunk = 0; chunk < chunks; chunk++) {
    const i32 first_lane = static_cast<i32>((chunk * Group::size + group.rank()) * VECTOR);
    if (first_lane < reduced) {
      const auto vector_0 = held_0.again(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1);
      const auto vector_1 = read_vector<VECTOR>(params.t_weight + first_lane * params.s_weight_0);
      Reg<T_y, VECTOR> out_0;
      SPAK_UNROLL
      for (u32 lane = 0; lane < VECTOR; lane++) {
#line 15 "train.spak"
        out_0[lane] = as_element<T_y>(((as_value(vector_0[lane]) * v_rstd_value) * as_value(vector_1[lane])));
#line 91 "kernels/rms_norm/held.cu"

      }
      write_vector(params.t_y + i_r * params.s_y_0 + first_lane * params.s_y_1, out_0);

    }
  }
}
