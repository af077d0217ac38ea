// kernels/matmul/naive.cu: family product, template product/naive.cu.j2
// Generated. The mathematics is quoted line by line from matmul.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/words.cuh"
using namespace spak;

enum class Word { w_column, w_gelu, w_identity, w_relu_squared, w_row, w_silu };

using T_A = DTYPE_A;
using T_B = T_A;
using T_bias = T_A;
using T_C = DTYPE_C;

struct Params {
  const T_A* t_A;  // [M, K]
  i64 s_A_0;
  i64 s_A_1;
  const T_B* t_B;  // [K, N]
  i64 s_B_0;
  i64 s_B_1;
  const T_bias* t_bias;  // [N]
  i64 s_bias_0;
  T_C* t_C;  // [M, N]
  i64 s_C_0;
  i64 s_C_1;
  i32 d_M;
  i32 d_N;
  i32 d_K;
};

// The function that activation chooses in this specialisation.
SPAK_DEVICE f32 call_activation(f32 x) {
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_identity) return identity(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_gelu) return gelu(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_relu_squared) return relu_squared(x);
  if constexpr (SPAK_WORD(OPTION_activation) == Word::w_silu) return silu(x);
}

constexpr i32 BLOCK = KNOB_block;

// One thread computes one element of the outputs; nothing is shared.
SPAK_KERNEL(spak_matmul_naive, Params, BLOCK * BLOCK) {
  grid_dependency_wait();
  const i32 rows = params.d_M, columns = params.d_N, depth = params.d_K;
  const i32 blocks_m = ceil_div(rows, BLOCK), blocks_n = ceil_div(columns, BLOCK);
  const i32 block = static_cast<i32>(block_index_x()), thread = static_cast<i32>(thread_index());
  const i32 row = block / blocks_n % blocks_m * BLOCK + thread / BLOCK;
  const i32 column = block % blocks_n * BLOCK + thread % BLOCK;
  if (row >= rows || column >= columns) return;
  const i32 i_m = row;
  const i32 i_n = column;

  f32 accumulator = 0.0f;
  for (i32 depth_index = 0; depth_index < depth; depth_index++) {
    const i32 i_k = depth_index;
#line 15 "matmul.spak"
    accumulator = fma_f32(read_constant(params.t_A + i_m * params.s_A_0 + i_k * params.s_A_1), read_constant(params.t_B + i_k * params.s_B_0 + i_n * params.s_B_1), accumulator);
#line 60 "kernels/matmul/naive.cu"
  }
#line 16 "matmul.spak"
  write(params.t_C + i_m * params.s_C_0 + i_n * params.s_C_1, call_activation((accumulator + (PRESENT_bias ? read_constant(params.t_bias + i_n * params.s_bias_0) : 0.0f))));
#line 64 "kernels/matmul/naive.cu"
}
