// Atomics, and waits between blocks.
//
//   atomic_add(p, v), atomic_max(p, v), atomic_exchange(p, v), atomic_compare_exchange(p, expected, v)
//                               return the old value and order nothing else (relaxed, device scope).
//                               add: f32, i32, u32, u64; max: i32, u32; the others u32
//   atomic_add_acq_rel(p, v)    u32; also orders what this thread did before against what it does after: the
//                               "last block to arrive" pattern
//   shared_atomic_add(a, v)     f32, i32 or u32 in shared memory
//   semaphore_wait(p, value)    this thread waits until *p == value (acquire, device scope)
//   semaphore_release(p, value) *p = value (release, device scope)
//
// A block may wait only for blocks that are certain to run: ones with a smaller linear block index. For a
// whole block, one thread waits, then sync_threads(); before a release, sync_threads(), then one thread
// releases.
#pragma once

namespace spak {

SPAK_DEVICE f32 atomic_add(f32* p, f32 v) { return atomicAdd(p, v); }
SPAK_DEVICE i32 atomic_add(i32* p, i32 v) { return atomicAdd(p, v); }
SPAK_DEVICE u32 atomic_add(u32* p, u32 v) { return atomicAdd(p, v); }
SPAK_DEVICE u64 atomic_add(u64* p, u64 v) { return atomicAdd(p, v); }
SPAK_DEVICE i32 atomic_max(i32* p, i32 v) { return atomicMax(p, v); }
SPAK_DEVICE u32 atomic_max(u32* p, u32 v) { return atomicMax(p, v); }
SPAK_DEVICE u32 atomic_exchange(u32* p, u32 v) { return atomicExch(p, v); }
SPAK_DEVICE u32 atomic_compare_exchange(u32* p, u32 expected, u32 v) { return atomicCAS(p, expected, v); }

SPAK_DEVICE u32 atomic_add_acq_rel(u32* p, u32 v) {
  u32 old;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(v) : "memory");
  return old;
}

SPAK_DEVICE f32 shared_atomic_add(u32 a, f32 v) {
  f32 old;
  asm volatile("atom.shared.add.f32 %0, [%1], %2;" : "=f"(old) : "r"(a), "f"(v) : "memory");
  return old;
}
SPAK_DEVICE u32 shared_atomic_add(u32 a, u32 v) {
  u32 old;
  asm volatile("atom.shared.add.u32 %0, [%1], %2;" : "=r"(old) : "r"(a), "r"(v) : "memory");
  return old;
}
SPAK_DEVICE i32 shared_atomic_add(u32 a, i32 v) {
  return static_cast<i32>(shared_atomic_add(a, static_cast<u32>(v)));
}

SPAK_DEVICE void semaphore_wait(const u32* p, u32 value) {
  u32 now;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(p) : "memory");
  } while (now != value);
}
SPAK_DEVICE void semaphore_release(u32* p, u32 value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}

}  // namespace spak
