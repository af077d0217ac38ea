// sm_90 and later: copies by the tensor memory accelerator. One thread issues each.
//
//   tma_load_2d(dst, &params.map, barrier, c0, c1), tma_load_3d(..., c2), tma_load_4d(..., c3)
//       a box of the tensor to shared memory; `barrier` (an mbarrier of this block) receives the box's bytes.
//       c0 counts elements along the contiguous dimension. What lies outside of the tensor is written as zero
//       and counts in full.
//   tma_load_2d_multicast(..., mask), tma_load_3d_multicast, tma_load_4d_multicast
//       the box to the same address in every block of the mask, and its bytes to the same barrier address
//       there
//   tma_store_2d(&params.map, src, c0, c1), tma_store_3d, tma_store_4d
//       shared memory to the tensor; what lies outside is not written
//   tma_reduce_add_2d(&params.map, src, c0, c1), tma_reduce_add_3d, tma_reduce_add_4d
//       the same, adding (f32, f16 or bf16 as the map says)
//   tma_prefetch(&params.map)
//       fetches the map itself
//   bulk_load(dst, src, bytes, barrier), bulk_store(dst, src, bytes), bulk_reduce_add_f32(dst, src, bytes)
//       contiguous bytes, a multiple of 16, 16-byte aligned
//
//   tma_commit()            closes this thread's group of stores
//   tma_wait<N>()           waits until at most N of its groups are pending
//   tma_wait_read<N>()      the same, but only until their shared memory has been read
//
// Shared addresses: 128-byte aligned; with a 32-, 64- or 128-byte swizzle 256-, 512- or 1024-byte aligned.
// Swizzling XORs bits 4.. of the address: 128B: bits 7-9 into 4-6; 64B: bits 7-8 into 4-5; 32B: bit 7 into 4.
#pragma once

#if __CUDA_ARCH__ >= 900
namespace spak {

#define SPAK_TMA_LOAD "cp.async.bulk.tensor."
#define SPAK_TMA_LOAD_TO ".shared::cta.global.tile.mbarrier::complete_tx::bytes"
#define SPAK_TMA_MULTICAST_TO ".shared::cluster.global.tile.mbarrier::complete_tx::bytes"

SPAK_DEVICE void tma_load_2d(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1) {
  asm volatile(SPAK_TMA_LOAD "2d" SPAK_TMA_LOAD_TO " [%0], [%1, {%3, %4}], [%2];" ::"r"(dst), "l"(map),
               "r"(barrier), "r"(c0), "r"(c1)
               : "memory");
}
SPAK_DEVICE void tma_load_3d(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, i32 c2) {
  asm volatile(SPAK_TMA_LOAD "3d" SPAK_TMA_LOAD_TO " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(dst), "l"(map),
               "r"(barrier), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}
SPAK_DEVICE void tma_load_4d(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, i32 c2, i32 c3) {
  asm volatile(SPAK_TMA_LOAD "4d" SPAK_TMA_LOAD_TO " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(dst),
               "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}
SPAK_DEVICE void tma_load_2d_multicast(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, u16 mask) {
  asm volatile(SPAK_TMA_LOAD "2d" SPAK_TMA_MULTICAST_TO
                             ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(dst),
               "l"(map), "r"(barrier), "r"(c0), "r"(c1), "h"(mask)
               : "memory");
}
SPAK_DEVICE void tma_load_3d_multicast(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, i32 c2,
                                       u16 mask) {
  asm volatile(SPAK_TMA_LOAD "3d" SPAK_TMA_MULTICAST_TO
                             ".multicast::cluster [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(dst),
               "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "h"(mask)
               : "memory");
}
SPAK_DEVICE void tma_load_4d_multicast(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, i32 c2,
                                       i32 c3, u16 mask) {
  asm volatile(SPAK_TMA_LOAD "4d" SPAK_TMA_MULTICAST_TO
                             ".multicast::cluster [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(dst),
               "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "h"(mask)
               : "memory");
}
#undef SPAK_TMA_LOAD
#undef SPAK_TMA_LOAD_TO
#undef SPAK_TMA_MULTICAST_TO

#define SPAK_TMA_OUT(name, head, tail)                                                                       \
  SPAK_DEVICE void name##_2d(const TensorMap* map, u32 src, i32 c0, i32 c1) {                                \
    asm volatile(head "2d" tail " [%0, {%2, %3}], [%1];" ::"l"(map), "r"(src), "r"(c0), "r"(c1) : "memory"); \
  }                                                                                                          \
  SPAK_DEVICE void name##_3d(const TensorMap* map, u32 src, i32 c0, i32 c1, i32 c2) {                        \
    asm volatile(head "3d" tail " [%0, {%2, %3, %4}], [%1];" ::"l"(map), "r"(src), "r"(c0), "r"(c1), "r"(c2) \
                 : "memory");                                                                                \
  }                                                                                                          \
  SPAK_DEVICE void name##_4d(const TensorMap* map, u32 src, i32 c0, i32 c1, i32 c2, i32 c3) {                \
    asm volatile(head "4d" tail " [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map), "r"(src), "r"(c0), "r"(c1),     \
                 "r"(c2), "r"(c3)                                                                            \
                 : "memory");                                                                                \
  }
SPAK_TMA_OUT(tma_store, "cp.async.bulk.tensor.", ".global.shared::cta.tile.bulk_group")
SPAK_TMA_OUT(tma_reduce_add, "cp.reduce.async.bulk.tensor.", ".global.shared::cta.add.tile.bulk_group")
#undef SPAK_TMA_OUT

SPAK_DEVICE void tma_prefetch(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

SPAK_DEVICE void bulk_load(u32 dst, const void* src, u32 bytes, u32 barrier) {
  asm volatile(
      "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst),
      "l"(src), "r"(bytes), "r"(barrier)
      : "memory");
}
SPAK_DEVICE void bulk_store(void* dst, u32 src, u32 bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(dst), "r"(src), "r"(bytes)
               : "memory");
}
SPAK_DEVICE void bulk_reduce_add_f32(f32* dst, u32 src, u32 bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(dst),
               "r"(src), "r"(bytes)
               : "memory");
}

SPAK_DEVICE void tma_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <u32 Pending>
SPAK_DEVICE void tma_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Pending) : "memory");
}
template <u32 Pending>
SPAK_DEVICE void tma_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
}

}  // namespace spak
#endif
