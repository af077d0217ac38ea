// kernels/layer_norm_gradient/1_held.cu: family rows, template rows/held.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/held_row.cuh"
#include "spak/numbers.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = DTYPE_x;
using T_weight = f32;
using T_mean = f32;
using T_rstd = f32;
using T_grad_y = DTYPE_grad_y;
using T_grad_x = T_x;

struct Params {
  const T_x* t_x;  // [R, N]
  i64 s_x_0;
  i64 s_x_1;
  const T_weight* t_weight;  // [N]
  i64 s_weight_0;
  const T_mean* t_mean;  // [R]
  i64 s_mean_0;
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

constexpr u32 THREADS = KNOB_threads, CHUNKS = KNOB_chunks, VECTOR = KNOB_vector;
using Group = RowGroup<THREADS>;
constexpr u32 ROWS = THREADS <= 32 ? KNOB_rows : 1;  // that a block computes at a time
constexpr u32 TOGETHER = ceil_div(WarpGroup::size, THREADS);  // rows of a warp, which goes on while one of them is left
constexpr u32 PANEL = row_panel<CHUNKS>;             // vectors of a thread that are read together

// A part of a warp, a warp or a block computes a row, then goes on a whole grid further. What several passes need, or several
// rows, is read once and held in registers.
SPAK_KERNEL(spak_layer_norm_gradient_1_held, Params, THREADS * ROWS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const u32 rows = static_cast<u32>(params.d_R);
  const i32 reduced = params.d_N;
  const u32 panels = row_panels<CHUNKS>(reduced, Group::size * VECTOR);
    HeldRow<T_weight, VECTOR, CHUNKS> held_2;
    {
      constexpr u32 panel = 0;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced;
        held_2.read(chunk, params.t_weight + first_lane * params.s_weight_0, inside);
      }
    }
  for (const u32 row : spaced(block_index_x() * ROWS + thread_index() / THREADS, align_up(rows, TOGETHER), grid_size_x() * ROWS)) {
    const bool mine = row < rows;
    const i32 kept = static_cast<i32>(mine ? row : rows - 1);
    const i32 i_r = kept;
    HeldRow<T_grad_y, VECTOR, CHUNKS> held_0;
    HeldRow<T_x, VECTOR, CHUNKS> held_1;
    {
      constexpr u32 panel = 0;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        held_0.read(chunk, params.t_grad_y + i_r * params.s_grad_y_0 + first_lane * params.s_grad_y_1, inside);
        held_1.read(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1, inside);
      }
    }

    Sum part_0;
    Sum part_1;
    Sum part_2;
    for (const u32 panel : upto(panels)) {
      Reg<T_grad_y, PANEL, VECTOR> vector_0s;
      Reg<T_x, PANEL, VECTOR> vector_1s;
      Reg<T_weight, PANEL, VECTOR> vector_2s;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        vector_0s[chunk] = held_0.again(chunk, params.t_grad_y + i_r * params.s_grad_y_0 + first_lane * params.s_grad_y_1, inside);
        vector_1s[chunk] = held_1.again(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1, inside);
        vector_2s[chunk] = held_2.again(chunk, params.t_weight + first_lane * params.s_weight_0, inside);
      }
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        if (inside) {
          const auto vector_0 = as_values(vector_0s[chunk]);
          const auto vector_1 = as_values(vector_1s[chunk]);
          const auto vector_2 = as_values(vector_2s[chunk]);
          Reg<f32, VECTOR> values_0, values_1, values_2;
          SPAK_UNROLL
          for (u32 lane = 0; lane < VECTOR; lane++) {
#line 29 "train.spak"
            values_0[lane] = (vector_0[lane] * ((vector_1[lane] - read_constant(params.t_mean + i_r * params.s_mean_0)) * vector_2[lane]));
#line 107 "kernels/layer_norm_gradient/1_held.cu"
#line 29 "train.spak"
            values_1[lane] = (-(vector_0[lane] * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * vector_2[lane])));
#line 110 "kernels/layer_norm_gradient/1_held.cu"
#line 28 "train.spak"
            values_2[lane] = (-((-vector_1[lane]) + read_constant(params.t_mean + i_r * params.s_mean_0)));
#line 113 "kernels/layer_norm_gradient/1_held.cu"

          }
          add_each(part_0, values_0);
          add_each(part_1, values_1);
          add_each(part_2, values_2);

        }
      }
    }
    group.reduce(part_0, part_1, part_2);
    const f32 v_d_rstd = part_0.value();
    const f32 v_sum_n = part_1.value();
    const f32 v_sum = part_2.value();
#line 28 "train.spak"
    const auto v_row = (v_d_rstd * (divide_f32(1.0f, static_cast<f32>(params.d_N)) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_rstd + i_r * params.s_rstd_0)))));
#line 129 "kernels/layer_norm_gradient/1_held.cu"
#line 28 "train.spak"
    const auto v_row_1 = (v_row * v_sum);
#line 132 "kernels/layer_norm_gradient/1_held.cu"
    const auto v_d_sum_n = divide_f32((v_sum_n + v_row_1), static_cast<f32>(params.d_N));

    for (const u32 panel : upto(panels)) {
      Reg<T_grad_y, PANEL, VECTOR> vector_0s;
      Reg<T_weight, PANEL, VECTOR> vector_2s;
      Reg<T_x, PANEL, VECTOR> vector_1s;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        vector_0s[chunk] = held_0.again(chunk, params.t_grad_y + i_r * params.s_grad_y_0 + first_lane * params.s_grad_y_1, inside);
        vector_2s[chunk] = held_2.again(chunk, params.t_weight + first_lane * params.s_weight_0, inside);
        vector_1s[chunk] = held_1.again(chunk, params.t_x + i_r * params.s_x_0 + first_lane * params.s_x_1, inside);
      }
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        if (inside) {
          const auto vector_0 = as_values(vector_0s[chunk]);
          const auto vector_2 = as_values(vector_2s[chunk]);
          const auto vector_1 = as_values(vector_1s[chunk]);
          Reg<T_grad_x, VECTOR> out_0;
          SPAK_UNROLL
          for (u32 lane = 0; lane < VECTOR; lane++) {
#line 29 "train.spak"
            out_0[lane] = as_element<T_grad_x>((((vector_0[lane] * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * vector_2[lane])) - (v_row * (vector_1[lane] - read_constant(params.t_mean + i_r * params.s_mean_0)))) + v_d_sum_n));
#line 160 "kernels/layer_norm_gradient/1_held.cu"

          }
          write_vector(params.t_grad_x + i_r * params.s_grad_x_0 + first_lane * params.s_grad_x_1, out_0);

        }
      }
    }
  }
}
