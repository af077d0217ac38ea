// kernels/add_layer_norm_gradient/one_pass_1_held.cu: family rows, template rows/held.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/held_row.cuh"
#include "spak/numbers.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_weight = f32;
using T_stream = f32;
using T_mean = f32;
using T_rstd = f32;
using T_grad_y = DTYPE_grad_y;
using T_grad_stream = T_stream;
using T_grad_x = f32;
using T_grad_more = DTYPE_grad_more;
using T_d_rstd = f32;
using T_sum_n = f32;
using T_sum_n_1 = f32;
using T_parts = f32;
using T_parts_1 = f32;
using T_parts_2 = f32;

struct Params {
  const T_weight* t_weight;  // [N]
  i64 s_weight_0;
  const T_stream* t_stream;  // [R, N]
  i64 s_stream_0;
  i64 s_stream_1;
  const T_mean* t_mean;  // [R]
  i64 s_mean_0;
  const T_rstd* t_rstd;  // [R]
  i64 s_rstd_0;
  const T_grad_y* t_grad_y;  // [R, N]
  i64 s_grad_y_0;
  i64 s_grad_y_1;
  const T_grad_stream* t_grad_stream;  // [R, N]
  i64 s_grad_stream_0;
  i64 s_grad_stream_1;
  T_grad_x* t_grad_x;  // [R, N]
  i64 s_grad_x_0;
  i64 s_grad_x_1;
  T_grad_more* t_grad_more;  // [R, N]
  i64 s_grad_more_0;
  i64 s_grad_more_1;
  T_d_rstd* t_d_rstd;  // [R]
  i64 s_d_rstd_0;
  T_sum_n* t_sum_n;  // [R]
  i64 s_sum_n_0;
  T_sum_n_1* t_sum_n_1;  // [R]
  i64 s_sum_n_1_0;
  T_parts* t_parts;  // [ceil_div(max(R, 1), (ceil_div(max(R, 1), ((sms * 2) * 8)) * 8)), N]
  i64 s_parts_0;
  i64 s_parts_1;
  T_parts_1* t_parts_1;  // [ceil_div(max(R, 1), (ceil_div(max(R, 1), ((sms * 2) * 8)) * 8)), N]
  i64 s_parts_1_0;
  i64 s_parts_1_1;
  T_parts_2* t_parts_2;  // [ceil_div(max(R, 1), (ceil_div(max(R, 1), ((sms * 2) * 8)) * 8)), N]
  i64 s_parts_2_0;
  i64 s_parts_2_1;
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
// On its way a block sums down the columns of its rows; in the end it writes a row of parts.
SPAK_KERNEL(spak_add_layer_norm_gradient_one_pass_1_held, Params, THREADS * ROWS) {
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
  ColumnSums<VECTOR, CHUNKS> columns_0;
  ColumnSums<VECTOR, CHUNKS> columns_1;
  ColumnSums<VECTOR, CHUNKS> columns_2;
  for (const u32 row : spaced(block_index_x() * ROWS + thread_index() / THREADS, align_up(rows, TOGETHER), grid_size_x() * ROWS)) {
    const bool mine = row < rows;
    const i32 kept = static_cast<i32>(mine ? row : rows - 1);
    const i32 i_r = kept;
    HeldRow<T_grad_y, VECTOR, CHUNKS> held_0;
    HeldRow<T_stream, VECTOR, CHUNKS> held_1;
    {
      constexpr u32 panel = 0;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        held_0.read(chunk, params.t_grad_y + i_r * params.s_grad_y_0 + first_lane * params.s_grad_y_1, inside);
        held_1.read(chunk, params.t_stream + i_r * params.s_stream_0 + first_lane * params.s_stream_1, inside);
      }
    }

    Sum part_0;
    Sum part_1;
    Sum part_2;
    for (const u32 panel : upto(panels)) {
      Reg<T_grad_y, PANEL, VECTOR> vector_0s;
      Reg<T_stream, PANEL, VECTOR> vector_1s;
      Reg<T_weight, PANEL, VECTOR> vector_2s;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        vector_0s[chunk] = held_0.again(chunk, params.t_grad_y + i_r * params.s_grad_y_0 + first_lane * params.s_grad_y_1, inside);
        vector_1s[chunk] = held_1.again(chunk, params.t_stream + i_r * params.s_stream_0 + first_lane * params.s_stream_1, inside);
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
#line 106 "train.spak"
            values_0[lane] = (vector_0[lane] * ((vector_1[lane] - read_constant(params.t_mean + i_r * params.s_mean_0)) * vector_2[lane]));
#line 140 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 106 "train.spak"
            values_1[lane] = (-(vector_0[lane] * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * vector_2[lane])));
#line 143 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 105 "train.spak"
            values_2[lane] = (-((-vector_1[lane]) + read_constant(params.t_mean + i_r * params.s_mean_0)));
#line 146 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"

          }
          add_each(part_0, values_0);
          add_each(part_1, values_1);
          add_each(part_2, values_2);

        }
      }
    }
    group.reduce(part_0, part_1, part_2);
    const f32 v_d_rstd_value = part_0.value();
    const f32 v_sum_n_value = part_1.value();
    const f32 v_sum = part_2.value();
#line 105 "train.spak"
    const auto v_row = (v_d_rstd_value * (divide_f32(1.0f, static_cast<f32>(params.d_N)) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * read_constant(params.t_rstd + i_r * params.s_rstd_0)))));
#line 162 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 105 "train.spak"
    const auto v_row_1 = (v_row * v_sum);
#line 165 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
    const auto v_d_sum_n = divide_f32((v_sum_n_value + v_row_1), static_cast<f32>(params.d_N));

    if (is_first(group.rank()) && mine) {
#line 106 "train.spak"
      write(params.t_d_rstd + i_r * params.s_d_rstd_0, v_d_rstd_value);
#line 171 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 106 "train.spak"
      write(params.t_sum_n + i_r * params.s_sum_n_0, v_sum_n_value);
#line 174 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 105 "train.spak"
      write(params.t_sum_n_1 + i_r * params.s_sum_n_1_0, v_row_1);
#line 177 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
    }

    for (const u32 panel : upto(panels)) {
      Reg<T_grad_stream, PANEL, VECTOR> vector_3s;
      Reg<T_grad_y, PANEL, VECTOR> vector_0s;
      Reg<T_weight, PANEL, VECTOR> vector_2s;
      Reg<T_stream, PANEL, VECTOR> vector_1s;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        vector_3s[chunk] = read_vector_if<VECTOR>(params.t_grad_stream + i_r * params.s_grad_stream_0 + first_lane * params.s_grad_stream_1, inside);
        vector_0s[chunk] = held_0.again(chunk, params.t_grad_y + i_r * params.s_grad_y_0 + first_lane * params.s_grad_y_1, inside);
        vector_2s[chunk] = held_2.again(chunk, params.t_weight + first_lane * params.s_weight_0, inside);
        vector_1s[chunk] = held_1.again(chunk, params.t_stream + i_r * params.s_stream_0 + first_lane * params.s_stream_1, inside);
      }
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        if (inside) {
          const auto vector_3 = as_values(vector_3s[chunk]);
          const auto vector_0 = as_values(vector_0s[chunk]);
          const auto vector_2 = as_values(vector_2s[chunk]);
          const auto vector_1 = as_values(vector_1s[chunk]);
          Reg<T_grad_x, VECTOR> out_0;
          Reg<T_grad_more, VECTOR> out_1;
          Reg<f32, VECTOR> columns_0_part;
          Reg<f32, VECTOR> columns_1_part;
          Reg<f32, VECTOR> columns_2_part;
          SPAK_UNROLL
          for (u32 lane = 0; lane < VECTOR; lane++) {
#line 103 "train.spak"
            out_0[lane] = as_element<T_grad_x>((((vector_3[lane] + (vector_0[lane] * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * vector_2[lane]))) - (v_row * (vector_1[lane] - read_constant(params.t_mean + i_r * params.s_mean_0)))) + v_d_sum_n));
#line 212 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 103 "train.spak"
            out_1[lane] = as_element<T_grad_more>((((vector_3[lane] + (vector_0[lane] * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * vector_2[lane]))) - (v_row * (vector_1[lane] - read_constant(params.t_mean + i_r * params.s_mean_0)))) + v_d_sum_n));
#line 215 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 103 "train.spak"
            columns_0_part[lane] = (((vector_3[lane] + (vector_0[lane] * (read_constant(params.t_rstd + i_r * params.s_rstd_0) * vector_2[lane]))) - ((((divide_f32(v_d_rstd_value, static_cast<f32>(params.d_N)) * read_constant(params.t_rstd + i_r * params.s_rstd_0)) * read_constant(params.t_rstd + i_r * params.s_rstd_0)) * read_constant(params.t_rstd + i_r * params.s_rstd_0)) * (vector_1[lane] - read_constant(params.t_mean + i_r * params.s_mean_0)))) + divide_f32((v_sum_n_value + v_row_1), static_cast<f32>(params.d_N)));
#line 218 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 106 "train.spak"
            columns_1_part[lane] = (vector_0[lane] * ((vector_1[lane] - read_constant(params.t_mean + i_r * params.s_mean_0)) * read_constant(params.t_rstd + i_r * params.s_rstd_0)));
#line 221 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"
#line 106 "train.spak"
            columns_2_part[lane] = vector_0[lane];
#line 224 "kernels/add_layer_norm_gradient/one_pass_1_held.cu"

          }
          columns_0.add(chunk, columns_0_part);
          columns_1.add(chunk, columns_1_part);
          columns_2.add(chunk, columns_2_part);
          write_vector(params.t_grad_x + i_r * params.s_grad_x_0 + first_lane * params.s_grad_x_1, out_0);
          write_vector(params.t_grad_more + i_r * params.s_grad_more_0 + first_lane * params.s_grad_more_1, out_1);

        }
      }
    }
  }

  if constexpr (THREADS == 32) {
    columns_0.leave(shared_base());
    columns_1.leave(shared_base() + 1 * ROWS * ColumnSums<VECTOR, CHUNKS>::bytes);
    columns_2.leave(shared_base() + 2 * ROWS * ColumnSums<VECTOR, CHUNKS>::bytes);
    sync_threads();
  }
  if (thread_index() < THREADS) {
    if constexpr (THREADS == 32) {
      columns_0.gather<ROWS>(shared_base());
      columns_1.gather<ROWS>(shared_base() + 1 * ROWS * ColumnSums<VECTOR, CHUNKS>::bytes);
      columns_2.gather<ROWS>(shared_base() + 2 * ROWS * ColumnSums<VECTOR, CHUNKS>::bytes);
    }
    constexpr u32 panel = 0;
    SPAK_UNROLL
    for (const u32 chunk : upto(CHUNKS)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced;
        if (inside) {
          write_vector(params.t_parts + static_cast<i32>(block_index_x()) * params.s_parts_0 + first_lane * params.s_parts_1, columns_0.total[chunk]);
          write_vector(params.t_parts_1 + static_cast<i32>(block_index_x()) * params.s_parts_1_0 + first_lane * params.s_parts_1_1, columns_1.total[chunk]);
          write_vector(params.t_parts_2 + static_cast<i32>(block_index_x()) * params.s_parts_2_0 + first_lane * params.s_parts_2_1, columns_2.total[chunk]);
        }
    }
  }
}
