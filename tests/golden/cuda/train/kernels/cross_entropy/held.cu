// kernels/cross_entropy/held.cu: family rows, template rows/held.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/functions.cuh"
#include "spak/held_row.cuh"
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
constexpr u32 ROWS = THREADS == 32 ? 4 : 1;  // of a block

// A warp or a block computes a row. What several passes over the row need is read once and held in registers.
SPAK_KERNEL(spak_cross_entropy_held, Params, THREADS * ROWS) {
  const Group group(shared_base());
  const i32 kept = static_cast<i32>(block_index_x() * ROWS + thread_index() / THREADS);
  if (kept >= params.d_R) return;
  const i32 reduced = params.d_V;
  const u32 chunks = row_chunks<CHUNKS>(reduced, Group::size * VECTOR);
  const i32 i_r = kept;

  LogSumExp part_0;
  SPAK_UNROLL
  for (u32 chunk = 0; chunk < chunks; chunk++) {
    const i32 first_lane = static_cast<i32>((chunk * Group::size + group.rank()) * VECTOR);
    if (first_lane < reduced) {
      const auto vector_0 = read_vector<VECTOR>(params.t_logits + i_r * params.s_logits_0 + first_lane * params.s_logits_1);
      Reg<f32, VECTOR> values;
      SPAK_UNROLL
      for (u32 lane = 0; lane < VECTOR; lane++) {
#line 57 "train.spak"
        values[lane] = as_value(vector_0[lane]);
#line 53 "kernels/cross_entropy/held.cu"
      }
      add_each(part_0, values);
    }
  }
  const f32 v_lse_value = group.reduced(part_0).value();

#line 57 "train.spak"
  const auto v_loss_value = (v_lse_value - read_constant(params.t_logits + i_r * params.s_logits_0 + read_constant(params.t_target + i_r * params.s_target_0) * params.s_logits_1));
#line 62 "kernels/cross_entropy/held.cu"

  if (group.rank() == 0) {
#line 57 "train.spak"
    write(params.t_lse + i_r * params.s_lse_0, v_lse_value);
#line 67 "kernels/cross_entropy/held.cu"
#line 57 "train.spak"
    write(params.t_loss + i_r * params.s_loss_0, v_loss_value);
#line 70 "kernels/cross_entropy/held.cu"
  }

}
