// sm_90 and later: transaction barriers in shared memory, clusters, async-proxy fences, register budgets.
//
//   mbarrier_init(a, count)          one thread; a is 8-byte aligned. Then mbarrier_init_fence() by that
//                                    thread and a barrier (sync_threads, or cluster_sync in a cluster) before
//                                    anyone uses it
//   mbarrier_arrive(a)               one arrival (release)
//   mbarrier_arrive_expect(a, n)     one arrival, and n more bytes to come in this phase
//   mbarrier_expect(a, n)            n more bytes to come, no arrival
//   mbarrier_arrive_remote(a, rank)  one arrival at the same address in block `rank` of the cluster. It
//                                    carries no release fence (that form costs a full memory barrier): it may
//                                    only report that shared memory was READ, by wgmma that has been waited
//                                    for or by plain loads
//   mbarrier_wait(a, parity)         blocks until the phase of that parity is complete (acquire). A fresh
//                                    barrier counts as having completed parity 1
//   cp_async_mbarrier_arrive(a)      one arrival when this thread's earlier cp.async copies have landed; the
//                                    count given to mbarrier_init includes it
//
//   cluster_rank()                   this block's number in its cluster
//   cluster_sync()                   barrier over all threads of the cluster: cluster_arrive() and then
//                                    cluster_wait()
//   load_shared_remote<T>(a, rank), store_shared_remote<T>(a, rank, v)
//                                    32-bit accesses to a peer's shared memory
//
//   fence_proxy_async_shared()       makes this thread's view of shared memory visible to the async proxy
//                                    (TMA, wgmma). Between plain stores and the barrier that precedes the TMA
//                                    store
//   fence_proxy_async()              the same for global memory too; costs a full memory barrier
//   register_increase<N>(), register_decrease<N>()
//                                    setmaxnreg: all warps of a warpgroup, N a multiple of 8 in 24 .. 256, in
//                                    a kernel that was declared with min_blocks
//   elect_one()                      true in one lane of a converged warp
#pragma once

#if __CUDA_ARCH__ >= 900
namespace spak {

SPAK_DEVICE void mbarrier_init(u32 a, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(a), "r"(count) : "memory");
}
SPAK_DEVICE void mbarrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
SPAK_DEVICE void mbarrier_arrive(u32 a) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(a) : "memory");
}
SPAK_DEVICE void mbarrier_arrive_expect(u32 a, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(a), "r"(bytes) : "memory");
}
SPAK_DEVICE void mbarrier_expect(u32 a, u32 bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(a), "r"(bytes) : "memory");
}
SPAK_DEVICE void mbarrier_arrive_remote(u32 a, u32 rank) {
  asm volatile(
      "{\n"
      ".reg .b32 peer;\n"
      "mapa.shared::cluster.u32 peer, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [peer];\n"
      "}" ::"r"(a),
      "r"(rank)
      : "memory");
}
SPAK_DEVICE void mbarrier_wait(u32 a, u32 parity) {
  asm volatile(
      "{\n"
      ".reg .pred complete;\n"
      "AGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 complete, [%0], %1;\n"
      "@complete bra DONE;\n"
      "bra AGAIN;\n"
      "DONE:\n"
      "}" ::"r"(a),
      "r"(parity)
      : "memory");
}
SPAK_DEVICE void cp_async_mbarrier_arrive(u32 a) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(a) : "memory");
}

SPAK_DEVICE u32 cluster_rank() {
  u32 r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
SPAK_DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
SPAK_DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
SPAK_DEVICE void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}
template <class T>
SPAK_DEVICE T load_shared_remote(u32 a, u32 rank) {
  u32 v;
  asm volatile(
      "{\n"
      ".reg .b32 peer;\n"
      "mapa.shared::cluster.u32 peer, %1, %2;\n"
      "ld.shared::cluster.b32 %0, [peer];\n"
      "}"
      : "=r"(v)
      : "r"(a), "r"(rank)
      : "memory");
  return bits_as<T>(v);
}
template <class T>
SPAK_DEVICE void store_shared_remote(u32 a, u32 rank, T v) {
  asm volatile(
      "{\n"
      ".reg .b32 peer;\n"
      "mapa.shared::cluster.u32 peer, %0, %1;\n"
      "st.shared::cluster.b32 [peer], %2;\n"
      "}" ::"r"(a),
      "r"(rank), "r"(bits_as<u32>(v))
      : "memory");
}

SPAK_DEVICE void fence_proxy_async_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
SPAK_DEVICE void fence_proxy_async() { asm volatile("fence.proxy.async;" ::: "memory"); }

SPAK_DEVICE bool elect_one() {
  u32 elected;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(elected));
  return elected != 0;
}

template <u32 Count>
SPAK_DEVICE void register_increase() {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg: a multiple of 8 in 24 .. 256");
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}
template <u32 Count>
SPAK_DEVICE void register_decrease() {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg: a multiple of 8 in 24 .. 256");
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}

}  // namespace spak
#endif
