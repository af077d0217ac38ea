// silu(gate) * up on the primitives, so that the emulator verifies it: each thread takes one element after the other, a
// grid apart. DTYPE_gate is the type that a call chooses.
#include "spak/primitives.cuh"
using namespace spak;

struct Params {  // the `arguments` of the `implement`, in their order
  const DTYPE_gate* gate;
  const DTYPE_gate* up;
  DTYPE_gate* y;
  i64 elements;
};

SPAK_KERNEL(swiglu_by_hand, Params, 256) {
  const i64 step = static_cast<i64>(grid_size_x()) * 256;
  for (i64 i = static_cast<i64>(block_index_x()) * 256 + thread_index(); i < params.elements; i += step) {
    const f32 gate = to_f32(load_readonly(params.gate + i)), up = to_f32(load_readonly(params.up + i));
    const f32 silu = divide_f32(gate, 1.0f + exp_f32(-gate));
    store(params.y + i, from_f32<DTYPE_gate>(silu * up));
  }
}
