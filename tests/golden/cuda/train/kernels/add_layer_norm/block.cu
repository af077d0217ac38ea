// kernels/add_layer_norm/block.cu: family rows, template rows/block.cu.j2
// Generated. The mathematics is quoted line by line from train.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
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

constexpr u32 THREADS = KNOB_threads;
using Group = BlockGroup<THREADS>;

// A block computes one row at a time; neighbouring threads read neighbouring elements.
SPAK_KERNEL(spak_add_layer_norm_block, Params, THREADS) {
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
#line 104 "train.spak"
    part_0.add(((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) + read_constant(params.t_more + i_r * params.s_more_0 + i_n * params.s_more_1)) + read_constant(params.t_shift + i_n * params.s_shift_0)));
#line 67 "kernels/add_layer_norm/block.cu"
  }
  const f32 v_sum = group.reduced(part_0).value();
#line 104 "train.spak"
  const auto v_mean_value = divide_f32(v_sum, static_cast<f32>(params.d_N));
#line 72 "kernels/add_layer_norm/block.cu"

  Sum part_1;
  for (i32 position = rank; position < reduced; position += step) {
    const i32 i_n = position;
#line 105 "train.spak"
    part_1.add(((((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) + read_constant(params.t_more + i_r * params.s_more_0 + i_n * params.s_more_1)) + read_constant(params.t_shift + i_n * params.s_shift_0)) - v_mean_value) * (((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) + read_constant(params.t_more + i_r * params.s_more_0 + i_n * params.s_more_1)) + read_constant(params.t_shift + i_n * params.s_shift_0)) - v_mean_value)));
#line 79 "kernels/add_layer_norm/block.cu"
  }
  const f32 v_sum_1 = group.reduced(part_1).value();
#line 105 "train.spak"
  const auto v_rstd_value = rsqrt_f32((divide_f32(v_sum_1, static_cast<f32>(params.d_N)) + params.o_eps));
#line 84 "kernels/add_layer_norm/block.cu"

  if (active && is_first(group.rank())) {
#line 104 "train.spak"
    write(params.t_mean + i_r * params.s_mean_0, v_mean_value);
#line 89 "kernels/add_layer_norm/block.cu"
#line 105 "train.spak"
    write(params.t_rstd + i_r * params.s_rstd_0, v_rstd_value);
#line 92 "kernels/add_layer_norm/block.cu"
  }

  for (i32 position = rank; active && position < reduced; position += step) {
    const i32 i_n = position;
#line 103 "train.spak"
    write(params.t_stream + i_r * params.s_stream_0 + i_n * params.s_stream_1, ((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) + read_constant(params.t_more + i_r * params.s_more_0 + i_n * params.s_more_1)) + read_constant(params.t_shift + i_n * params.s_shift_0)));
#line 99 "kernels/add_layer_norm/block.cu"
#line 106 "train.spak"
    write(params.t_y + i_r * params.s_y_0 + i_n * params.s_y_1, ((((((read_constant(params.t_x + i_r * params.s_x_0 + i_n * params.s_x_1) + read_constant(params.t_more + i_r * params.s_more_0 + i_n * params.s_more_1)) + read_constant(params.t_shift + i_n * params.s_shift_0)) - v_mean_value) * v_rstd_value) * read_constant(params.t_weight + i_n * params.s_weight_0)) + read_constant(params.t_bias + i_n * params.s_bias_0)));
#line 102 "kernels/add_layer_norm/block.cu"
  }

}
