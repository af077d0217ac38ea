// Barriers, fences, shuffles and votes.
//
//   sync_threads()                    all threads of the block
//   named_barrier_sync(id, n)         n threads (a multiple of 32), id 1 .. 15; id 0 is sync_threads
//   named_barrier_arrive(id, n)       counts this thread's warp in without waiting
//   sync_warp(mask)                   the named lanes; orders their shared-memory accesses
//   shuffle(v, lane), shuffle_xor(v, mask), shuffle_up(v, n), shuffle_down(v, n)
//                                     values of 4 or 8 bytes. up and down return the lane's own value where
//                                     the source lane does not exist
//   vote_any(p), vote_all(p), vote_ballot(p)
//   fence_block(), fence_device()     memory fences for hand-made synchronisation (see atomic.cuh)
//
//   grid_dependency_wait()            waits until the launches before this one have ended, and what they wrote is visible:
//                                     each thread, before it touches global memory, in a launch that may overlap with them
//   grid_dependency_launch()          from here on the next launch may begin, if it may overlap
//                                     (devices before sm_90 overlap no launches: there both do nothing)
//
// All 32 lanes take part in shuffles and votes, which order no memory accesses.
#pragma once

namespace spak {

SPAK_DEVICE void sync_threads() { __syncthreads(); }
SPAK_DEVICE void sync_warp(u32 mask = 0xffffffffu) { __syncwarp(mask); }
SPAK_DEVICE void named_barrier_sync(u32 id, u32 threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
SPAK_DEVICE void named_barrier_arrive(u32 id, u32 threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
SPAK_DEVICE void fence_block() { __threadfence_block(); }
SPAK_DEVICE void fence_device() { __threadfence(); }

#if __CUDA_ARCH__ >= 900
SPAK_DEVICE void grid_dependency_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
SPAK_DEVICE void grid_dependency_launch() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#else
SPAK_DEVICE void grid_dependency_wait() {}
SPAK_DEVICE void grid_dependency_launch() {}
#endif

template <class T>
SPAK_DEVICE T shuffle(T v, u32 lane) {
  return __shfl_sync(0xffffffffu, v, static_cast<int>(lane));
}
template <class T>
SPAK_DEVICE T shuffle_xor(T v, u32 mask) {
  return __shfl_xor_sync(0xffffffffu, v, static_cast<int>(mask));
}
template <class T>
SPAK_DEVICE T shuffle_up(T v, u32 distance) {
  return __shfl_up_sync(0xffffffffu, v, distance);
}
template <class T>
SPAK_DEVICE T shuffle_down(T v, u32 distance) {
  return __shfl_down_sync(0xffffffffu, v, distance);
}
SPAK_DEVICE bool vote_any(bool p) { return __any_sync(0xffffffffu, p) != 0; }
SPAK_DEVICE bool vote_all(bool p) { return __all_sync(0xffffffffu, p) != 0; }
SPAK_DEVICE u32 vote_ballot(bool p) { return __ballot_sync(0xffffffffu, p); }

}  // namespace spak
