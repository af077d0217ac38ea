// kernels/rms_norm_gradient/one_pass_2_columns.cu: family rows, template rows/columns.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_weight = f32;
using T_grad_weight = T_weight;
using T_parts = f32;

struct Params {
  T_grad_weight* t_grad_weight;  // [N]
  i64 s_grad_weight_0;
  const T_parts* t_parts;  // [ceil_div(max(R, 1), (ceil_div(max(R, 1), ((sms * 2) * 8)) * 8)), N]
  i64 s_parts_0;
  i64 s_parts_1;
  i32 d_R;
  i32 d_N;
  i32 v_part;
};

constexpr u32 PARTS = KNOB_parts;
using Group = LaneGroup<PARTS>;

// Neighbouring lanes compute neighbouring results: 32 a block, whose warps each take a part of the reduced axis.
// Results past the end are computed like the last one and not written: every thread takes part in the barriers.
SPAK_KERNEL(spak_rms_norm_gradient_one_pass_2_columns, Params, 32 * PARTS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const i32 results = params.d_N, own = static_cast<i32>(block_index_x() * 32 + lane_index());
  const bool active = own < results;
  const i32 kept = minimum(own, results - 1);
  const i32 reduced = params.v_part;
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_n = kept;

  Sum part_0;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_part = position;
#line 15 "train.spak"
    part_0.add(read(params.t_parts + i_part * params.s_parts_0 + i_n * params.s_parts_1));
#line 46 "kernels/rms_norm_gradient/one_pass_2_columns.cu"
  }
  const f32 v_grad_weight_value = group.reduced(part_0).value();

  if (active && is_first(group.rank())) {
#line 15 "train.spak"
    write(params.t_grad_weight + i_n * params.s_grad_weight_0, v_grad_weight_value);
#line 53 "kernels/rms_norm_gradient/one_pass_2_columns.cu"
  }

}
