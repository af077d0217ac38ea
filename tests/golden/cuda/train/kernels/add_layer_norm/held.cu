// kernels/add_layer_norm/held.cu: family rows, template rows/held.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/held_row.cuh"
#include "spak/numbers.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = f32;
using T_more = DTYPE_more;
using T_shift = f32;
using T_weight = f32;
using T_bias = f32;
using T_y = DTYPE_y;
using T_stream = f32;
using T_mean = f32;
using T_rstd = f32;

struct Params {
  const T_x* t_x;  // [R, N]
  i64 s_x_0;
  i64 s_x_1;
  const T_more* t_more;  // [R, N]
  i64 s_more_0;
  i64 s_more_1;
  const T_shift* t_shift;  // [N]
  i64 s_shift_0;
  const T_weight* t_weight;  // [N]
  i64 s_weight_0;
  const T_bias* t_bias;  // [N]
  i64 s_bias_0;
  T_y* t_y;  // [R, N]
  i64 s_y_0;
  i64 s_y_1;
  T_stream* t_stream;  // [R, N]
  i64 s_stream_0;
  i64 s_stream_1;
  T_mean* t_mean;  // [R]
  i64 s_mean_0;
  T_rstd* t_rstd;  // [R]
  i64 s_rstd_0;
  i32 d_R;
  i32 d_N;
  f32 o_eps;
};

constexpr u32 THREADS = KNOB_threads, CHUNKS = KNOB_chunks, VECTOR = KNOB_vector;
using Group = RowGroup<THREADS>;
constexpr u32 ROWS = THREADS <= 32 ? KNOB_rows : 1;  // that a block computes at a time
constexpr u32 TOGETHER = ceil_div(WarpGroup::size, THREADS);  // rows of a warp, which goes on while one of them is left
constexpr u32 PANEL = row_panel<CHUNKS>;             // vectors of a thread that are read together

// A part of a warp, a warp or a block computes a row, then goes on a whole grid further. What several passes need, or several
// rows, is read once and held in registers.
SPAK_KERNEL(spak_add_layer_norm_held, Params, THREADS * ROWS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const u32 rows = static_cast<u32>(params.d_R);
  const i32 reduced = params.d_N;
  const u32 panels = row_panels<CHUNKS>(reduced, Group::size * VECTOR);
    HeldRow<T_shift, VECTOR, CHUNKS> held_2;
    HeldRow<T_weight, VECTOR, CHUNKS> held_3;
    HeldRow<T_bias, VECTOR, CHUNKS> held_4;
    {
      constexpr u32 panel = 0;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced;
        held_2.read(chunk, params.t_shift + first_lane * params.s_shift_0, inside);
        held_3.read(chunk, params.t_weight + first_lane * params.s_weight_0, inside);
        held_4.read(chunk, params.t_bias + first_lane * params.s_bias_0, inside);
      }
    }
  for (const u32 row : spaced(block_index_x() * ROWS + thread_index() / THREADS, align_up(rows, TOGETHER), grid_size_x() * ROWS)) {
    const bool mine = row < rows;
    const i32 kept = static_cast<i32>(mine ? row : rows - 1);
    const i32 i_r = kept;
    HeldRow<T_x, VECTOR, CHUNKS> held_0;
    HeldRow<T_more, VECTOR, CHUNKS> held_1;
    {
      constexpr u32 panel = 0;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        held_0.read(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1, inside);
        held_1.read(chunk, params.t_more + i_r * params.s_more_0 + first_lane * params.s_more_1, inside);
      }
    }

    Sum part_0;
    for (const u32 panel : upto(panels)) {
      Reg<T_x, PANEL, VECTOR> vector_0s;
      Reg<T_more, PANEL, VECTOR> vector_1s;
      Reg<T_shift, PANEL, VECTOR> vector_2s;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        vector_0s[chunk] = held_0.again(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1, inside);
        vector_1s[chunk] = held_1.again(chunk, params.t_more + i_r * params.s_more_0 + first_lane * params.s_more_1, inside);
        vector_2s[chunk] = held_2.again(chunk, params.t_shift + first_lane * params.s_shift_0, inside);
      }
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        if (inside) {
          const auto vector_0 = as_values(vector_0s[chunk]);
          const auto vector_1 = as_values(vector_1s[chunk]);
          const auto vector_2 = as_values(vector_2s[chunk]);
          Reg<f32, VECTOR> values_0;
          SPAK_UNROLL
          for (u32 lane = 0; lane < VECTOR; lane++) {
#line 104 "train.spak"
            values_0[lane] = ((vector_0[lane] + vector_1[lane]) + vector_2[lane]);
#line 120 "kernels/add_layer_norm/held.cu"

          }
          add_each(part_0, values_0);

        }
      }
    }
    group.reduce(part_0);
    const f32 v_sum = part_0.value();
#line 104 "train.spak"
    const auto v_mean_value = divide_f32(v_sum, static_cast<f32>(params.d_N));
#line 132 "kernels/add_layer_norm/held.cu"

    Sum part_1;
    for (const u32 panel : upto(panels)) {
      Reg<T_x, PANEL, VECTOR> vector_0s;
      Reg<T_more, PANEL, VECTOR> vector_1s;
      Reg<T_shift, PANEL, VECTOR> vector_2s;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        vector_0s[chunk] = held_0.again(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1, inside);
        vector_1s[chunk] = held_1.again(chunk, params.t_more + i_r * params.s_more_0 + first_lane * params.s_more_1, inside);
        vector_2s[chunk] = held_2.again(chunk, params.t_shift + first_lane * params.s_shift_0, inside);
      }
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        if (inside) {
          const auto vector_0 = as_values(vector_0s[chunk]);
          const auto vector_1 = as_values(vector_1s[chunk]);
          const auto vector_2 = as_values(vector_2s[chunk]);
          Reg<f32, VECTOR> values_1;
          SPAK_UNROLL
          for (u32 lane = 0; lane < VECTOR; lane++) {
#line 105 "train.spak"
            values_1[lane] = ((((vector_0[lane] + vector_1[lane]) + vector_2[lane]) - v_mean_value) * (((vector_0[lane] + vector_1[lane]) + vector_2[lane]) - v_mean_value));
#line 160 "kernels/add_layer_norm/held.cu"

          }
          add_each(part_1, values_1);

        }
      }
    }
    group.reduce(part_1);
    const f32 v_sum_1 = part_1.value();
#line 105 "train.spak"
    const auto v_rstd_value = rsqrt_f32((divide_f32(v_sum_1, static_cast<f32>(params.d_N)) + params.o_eps));
#line 172 "kernels/add_layer_norm/held.cu"

    if (is_first(group.rank()) && mine) {
#line 104 "train.spak"
      write(params.t_mean + i_r * params.s_mean_0, v_mean_value);
#line 177 "kernels/add_layer_norm/held.cu"
#line 105 "train.spak"
      write(params.t_rstd + i_r * params.s_rstd_0, v_rstd_value);
#line 180 "kernels/add_layer_norm/held.cu"
    }

    for (const u32 panel : upto(panels)) {
      Reg<T_x, PANEL, VECTOR> vector_0s;
      Reg<T_more, PANEL, VECTOR> vector_1s;
      Reg<T_shift, PANEL, VECTOR> vector_2s;
      Reg<T_weight, PANEL, VECTOR> vector_3s;
      Reg<T_bias, PANEL, VECTOR> vector_4s;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        vector_0s[chunk] = held_0.again(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1, inside);
        vector_1s[chunk] = held_1.again(chunk, params.t_more + i_r * params.s_more_0 + first_lane * params.s_more_1, inside);
        vector_2s[chunk] = held_2.again(chunk, params.t_shift + first_lane * params.s_shift_0, inside);
        vector_3s[chunk] = held_3.again(chunk, params.t_weight + first_lane * params.s_weight_0, inside);
        vector_4s[chunk] = held_4.again(chunk, params.t_bias + first_lane * params.s_bias_0, inside);
      }
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        if (inside) {
          const auto vector_0 = as_values(vector_0s[chunk]);
          const auto vector_1 = as_values(vector_1s[chunk]);
          const auto vector_2 = as_values(vector_2s[chunk]);
          const auto vector_3 = as_values(vector_3s[chunk]);
          const auto vector_4 = as_values(vector_4s[chunk]);
          Reg<T_stream, VECTOR> out_0;
          Reg<T_y, VECTOR> out_1;
          SPAK_UNROLL
          for (u32 lane = 0; lane < VECTOR; lane++) {
#line 103 "train.spak"
            out_0[lane] = as_element<T_stream>(((vector_0[lane] + vector_1[lane]) + vector_2[lane]));
#line 215 "kernels/add_layer_norm/held.cu"
#line 106 "train.spak"
            out_1[lane] = as_element<T_y>(((((((vector_0[lane] + vector_1[lane]) + vector_2[lane]) - v_mean_value) * v_rstd_value) * vector_3[lane]) + vector_4[lane]));
#line 218 "kernels/add_layer_norm/held.cu"

          }
          write_vector(params.t_stream + i_r * params.s_stream_0 + first_lane * params.s_stream_1, out_0);
          write_vector(params.t_y + i_r * params.s_y_0 + first_lane * params.s_y_1, out_1);

        }
      }
    }
  }
}
