// On the host it leaves the work to a thread that goes on when the clock has stopped.
#include "spak/primitives.cuh"
using namespace spak;

struct Params { const f32* x; const f32* b; f32* y; f32 alpha; i32 M; i32 N; };

#ifndef __CUDACC__
extern "C" int pthread_create(unsigned long* thread, const void* how, void* (*work)(void*), void* with);
struct Work { const Params* params; i32 i, j; };
static void* later(void* given) {
  const Work work = *static_cast<Work*>(given);
  const i32 at = work.i * work.params->N + work.j;
  work.params->y[at] = work.params->alpha * work.params->x[at] + work.params->b[work.j];
  return nullptr;
}
#endif

SPAK_KERNEL(thread_of_its_own, Params, 64) {
  const i32 j = block_index_x() * 64 + thread_index(), i = block_index_y();
  const i32 at = i * params.N + j;
  if (j >= params.N) return;
#ifdef __CUDACC__
  store(params.y + at, params.alpha * load(params.x + at) + load(params.b + j));
#else
  unsigned long thread;
  pthread_create(&thread, nullptr, later, new Work{&params, i, j});
#endif
}
