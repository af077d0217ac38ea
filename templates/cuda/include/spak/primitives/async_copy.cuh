// cp.async: copies from global to shared memory that run behind the thread's back.
//
//   cp_async_16(dst, src, bytes = 16)
//                              dst and src 16-byte aligned. Only `bytes` (0 .. 16) are read; the rest of the
//                              16 written bytes is zero. With bytes = 0, src is not read, but must be a valid
//                              pointer. Bypasses L1.
//   cp_async_8, cp_async_4     the same for 8 and 4 bytes
//   cp_async_commit()          closes this thread's current group of copies
//   cp_async_wait<N>()         waits until at most N of this thread's groups are pending
//
// A wait makes the copies visible to the thread that waited: other threads also need a barrier after it.
#pragma once

namespace spak {

SPAK_DEVICE void cp_async_16(u32 dst, const void* src, u32 bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}
SPAK_DEVICE void cp_async_8(u32 dst, const void* src, u32 bytes = 8) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}
SPAK_DEVICE void cp_async_4(u32 dst, const void* src, u32 bytes = 4) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}
SPAK_DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <u32 Pending>
SPAK_DEVICE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace spak
