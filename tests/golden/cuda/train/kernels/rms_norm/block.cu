// kernels/rms_norm/block.cu: family rows, template rows/block.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/reduce.cuh"
#include "spak/words.cuh"
using namespace spak;

using T_x = DTYPE_x;
using T_weight = f32;
using T_y = DTYPE_y;
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

constexpr u32 THREADS = KNOB_threads;
using Group = BlockGroup<THREADS>;

// A block computes one row at a time; neighbouring threads read neighbouring elements.
SPAK_KERNEL(spak_rms_norm_block, Params, THREADS) {
  grid_dependency_wait();
  const Group group(shared_base());
  const i32 kept = static_cast<i32>(block_index_x());
  constexpr bool active = true;
  const i32 reduced = params.d_N;
  const i32 rank = static_cast<i32>(group.rank());
  constexpr i32 step = static_cast<i32>(Group::size);
  const i32 i_r = kept;

  Sum part_0;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_n = position;
#line 14 "train.spak"
    part_0.add((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) * read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1)));
#line 50 "kernels/rms_norm/block.cu"
  }
  const f32 v_sum = group.reduced(part_0).value();
#line 14 "train.spak"
  const auto v_rstd_value = rsqrt_f32((divide_f32(v_sum, static_cast<f32>(params.d_N)) + params.o_eps));
#line 55 "kernels/rms_norm/block.cu"

  if (active && is_first(group.rank())) {
#line 14 "train.spak"
    write(params.t_rstd + i_r * params.s_rstd_0, v_rstd_value);
#line 60 "kernels/rms_norm/block.cu"
  }

  for (i32 position = rank; active && position < reduced; position += step) {
    const i32 i_n = position;
#line 15 "train.spak"
    write(params.t_y + i_r * params.s_y_0 + i_n * params.s_y_1, ((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) * v_rstd_value) * read_constant(params.t_weight + i_n * params.s_weight_0)));
#line 67 "kernels/rms_norm/block.cu"
  }

}
