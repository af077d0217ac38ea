// kernels/cross_entropy/held.cu: family rows, template rows/held.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/held_row.cuh"
#include "spak/numbers.cuh"
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

constexpr u32 THREADS = KNOB_threads, CHUNKS = KNOB_chunks, VECTOR = KNOB_vector;
using Group = RowGroup<THREADS>;
constexpr u32 ROWS = THREADS <= 32 ? KNOB_rows : 1;  // that a block computes at a time
constexpr u32 TOGETHER = ceil_div(WarpGroup::size, THREADS);  // rows of a warp, which goes on while one of them is left
constexpr u32 PANEL = row_panel<CHUNKS>;             // vectors of a thread that are read together

// A part of a warp, a warp or a block computes a row, then goes on a whole grid further. What several passes need, or several
// rows, is read once and held in registers.
SPAK_KERNEL(spak_cross_entropy_held, Params, THREADS * ROWS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const u32 rows = static_cast<u32>(params.d_R);
  const i32 reduced = params.d_V;
  const u32 panels = row_panels<CHUNKS>(reduced, Group::size * VECTOR);
  for (const u32 row : spaced(block_index_x() * ROWS + thread_index() / THREADS, align_up(rows, TOGETHER), grid_size_x() * ROWS)) {
    const bool mine = row < rows;
    const i32 kept = static_cast<i32>(mine ? row : rows - 1);
    const i32 i_r = kept;

    LogSumExp part_0;
    for (const u32 panel : upto(panels)) {
      Reg<T_logits, PANEL, VECTOR> vector_0s;
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        vector_0s[chunk] = read_vector_if<VECTOR>(params.t_logits + i_r * params.s_logits_0 + first_lane * params.s_logits_1, inside);
      }
      SPAK_UNROLL
      for (const u32 chunk : upto(PANEL)) {
        const i32 first_lane = static_cast<i32>(((panel * PANEL + chunk) * Group::size + group.rank()) * VECTOR);
        [[maybe_unused]] const bool inside = first_lane < reduced && mine;
        if (inside) {
          const auto vector_0 = as_values(vector_0s[chunk]);
          Reg<f32, VECTOR> values_0;
          SPAK_UNROLL
          for (u32 lane = 0; lane < VECTOR; lane++) {
#line 57 "train.spak"
            values_0[lane] = vector_0[lane];
#line 69 "kernels/cross_entropy/held.cu"

          }
          add_each(part_0, values_0);

        }
      }
    }
    group.reduce(part_0);
    const f32 v_lse_value = part_0.value();
#line 57 "train.spak"
    const auto v_loss_value = (v_lse_value - read_constant(params.t_logits + i_r * params.s_logits_0 + read_constant(params.t_target + i_r * params.s_target_0) * params.s_logits_1));
#line 81 "kernels/cross_entropy/held.cu"

    if (is_first(group.rank()) && mine) {
#line 57 "train.spak"
      write(params.t_lse + i_r * params.s_lse_0, v_lse_value);
#line 86 "kernels/cross_entropy/held.cu"
#line 57 "train.spak"
      write(params.t_loss + i_r * params.s_loss_0, v_loss_value);
#line 89 "kernels/cross_entropy/held.cu"
    }

  }
}
