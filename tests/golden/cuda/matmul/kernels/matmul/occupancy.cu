// kernels/matmul/occupancy.cu: family product, template product/occupancy.cu.j2
// Generated. The mathematics is quoted line by line from matmul.spak; change it there.
#include "spak/element.cuh"
#include "spak/functions.cuh"
#include "spak/numbers.cuh"
#include "spak/scheduler.cuh"
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

constexpr u32 TILE_M = KNOB_tile_m, TILE_N = KNOB_tile_n, TILE_K = KNOB_tile_k;
constexpr u32 SIDE = 16, THREADS = SIDE * SIDE;  // threads along either side of a tile
constexpr u32 ROWS = TILE_M / SIDE, COLUMNS = TILE_N / SIDE;  // of one thread, SIDE apart

using LeftElement = T_A;
using RightElement = T_B;

// Tiles lie in shared memory with one row for each depth. Rows are one bank further apart than their length, so that
// threads that fill a column of a tile meet different banks.
constexpr u32 LEFT_PITCH = TILE_M * sizeof(LeftElement) + 4, RIGHT_PITCH = TILE_N * sizeof(RightElement) + 4;

// A block computes one tile of the outputs with multiply-add instructions. Tiles of the operands are shared by its
// threads, so that each element is read from global memory once a block.
SPAK_KERNEL(spak_matmul_occupancy, Params, THREADS, KNOB_resident) {
  grid_dependency_wait();
  const i32 rows = params.d_M, columns = params.d_N, depth = params.d_K;
  const u32 tiles_m = ceil_div<u32>(rows, TILE_M), tiles_n = ceil_div<u32>(columns, TILE_N);
  const TileIndex tile = band_order(block_index_x() % (tiles_m * tiles_n), tiles_m, tiles_n, TILE_BAND);
  const i32 m0 = tile.m * static_cast<i32>(TILE_M), n0 = tile.n * static_cast<i32>(TILE_N);
  const u32 thread_row = thread_index() / SIDE, thread_column = thread_index() % SIDE;
  const u32 left_tile = shared_base(), right_tile = left_tile + TILE_K * LEFT_PITCH;
  const bool left_along_depth = contiguous(params.s_A_1), right_along_depth = contiguous(params.s_B_0);

  Reg<f32, ROWS, COLUMNS> accumulators;
  fill(accumulators, 0.0f);
  for (const i32 k0 : spaced(0, depth, static_cast<i32>(TILE_K))) {
    for (const u32 index : spaced(thread_index(), TILE_M * TILE_K, THREADS)) {
      const u32 r = left_along_depth ? index / TILE_K : index % TILE_M;
      const u32 d = left_along_depth ? index % TILE_K : index / TILE_M;
      const i32 row = m0 + static_cast<i32>(r), depth_index = k0 + static_cast<i32>(d);
      f32 value = 0.0f;
      if (row < rows && depth_index < depth) {
        const i32 i_m = row;
        const i32 i_k = depth_index;
#line 15 "matmul.spak"
        value = read_constant(params.t_A + i_m * params.s_A_0 + i_k * params.s_A_1);
#line 79 "kernels/matmul/occupancy.cu"
      }
      store_shared(left_tile + d * LEFT_PITCH + r * sizeof(LeftElement), as_element<LeftElement>(value));
    }
    for (const u32 index : spaced(thread_index(), TILE_N * TILE_K, THREADS)) {
      const u32 c = right_along_depth ? index / TILE_K : index % TILE_N;
      const u32 d = right_along_depth ? index % TILE_K : index / TILE_N;
      const i32 column = n0 + static_cast<i32>(c), depth_index = k0 + static_cast<i32>(d);
      f32 value = 0.0f;
      if (column < columns && depth_index < depth) {
        const i32 i_n = column;
        const i32 i_k = depth_index;
#line 15 "matmul.spak"
        value = read_constant(params.t_B + i_k * params.s_B_0 + i_n * params.s_B_1);
#line 93 "kernels/matmul/occupancy.cu"
      }
      store_shared(right_tile + d * RIGHT_PITCH + c * sizeof(RightElement), as_element<RightElement>(value));
    }
    sync_threads();  // the tiles are complete
    SPAK_NO_UNROLL
    for (u32 d = 0; d < TILE_K; d++) {
      const u32 left_row = left_tile + d * LEFT_PITCH + thread_row * sizeof(LeftElement);
      const u32 right_row = right_tile + d * RIGHT_PITCH + thread_column * sizeof(RightElement);
      Reg<f32, ROWS> a;
      Reg<f32, COLUMNS> b;
      SPAK_UNROLL
      for (u32 i = 0; i < ROWS; i++)
        a[i] = to_f32(load_shared<LeftElement>(left_row + i * SIDE * sizeof(LeftElement)));
      SPAK_UNROLL
      for (u32 j = 0; j < COLUMNS; j++)
        b[j] = to_f32(load_shared<RightElement>(right_row + j * SIDE * sizeof(RightElement)));
      SPAK_UNROLL
      for (u32 i = 0; i < ROWS; i++) {
        SPAK_UNROLL
        for (u32 j = 0; j < COLUMNS; j++) accumulators[i][j] = fma_f32(a[i], b[j], accumulators[i][j]);
      }
    }
    sync_threads();  // everyone has read the tiles
  }

  SPAK_UNROLL
  for (u32 i = 0; i < ROWS; i++) {
    SPAK_UNROLL
    for (u32 j = 0; j < COLUMNS; j++) {
      const i32 row = m0 + static_cast<i32>(thread_row + i * SIDE), column = n0 + static_cast<i32>(thread_column + j * SIDE);
      if (row < rows && column < columns) {
        const f32 accumulator = accumulators[i][j];
        const i32 i_m = row;
        const i32 i_n = column;
#line 16 "matmul.spak"
  write(params.t_C + i_m * params.s_C_0 + i_n * params.s_C_1, call_activation((accumulator + (PRESENT_bias ? read_constant(params.t_bias + i_n * params.s_bias_0) : 0.0f))));
#line 130 "kernels/matmul/occupancy.cu"
      }
    }
  }
}
