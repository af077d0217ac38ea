// Transaction barriers, clusters, async-proxy fences, register budgets (emulator).
#pragma once

namespace spak {

inline void mbarrier_init(u32 a, u32 count, SPAK_HERE) { spak_emu_mbarrier_init(a, count, SPAK_PASS); }
inline void mbarrier_init_fence(SPAK_HERE) { spak_emu_mbarrier_init_fence(SPAK_PASS); }
inline void mbarrier_arrive(u32 a, SPAK_HERE) { spak_emu_mbarrier_arrive(a, -1, 1, 0, SPAK_PASS); }
inline void mbarrier_arrive_expect(u32 a, u32 bytes, SPAK_HERE) {
  spak_emu_mbarrier_arrive(a, -1, 1, bytes, SPAK_PASS);
}
inline void mbarrier_expect(u32 a, u32 bytes, SPAK_HERE) {
  spak_emu_mbarrier_arrive(a, -1, 0, bytes, SPAK_PASS);
}
inline void mbarrier_arrive_remote(u32 a, u32 rank, SPAK_HERE) {
  spak_emu_mbarrier_arrive(a, static_cast<i32>(rank), 1, 0, SPAK_PASS);
}
inline void mbarrier_wait(u32 a, u32 parity, SPAK_HERE) { spak_emu_mbarrier_wait(a, parity, SPAK_PASS); }
inline void cp_async_mbarrier_arrive(u32 a, SPAK_HERE) { spak_emu_cp_async_mbarrier_arrive(a, SPAK_PASS); }

inline u32 cluster_rank() { return spak_emu_thread->rank; }
inline void cluster_arrive(SPAK_HERE) { spak_emu_cluster_arrive(SPAK_PASS); }
inline void cluster_wait(SPAK_HERE) { spak_emu_cluster_wait(SPAK_PASS); }
inline void cluster_sync(SPAK_HERE) {
  spak_emu_cluster_arrive(SPAK_PASS);
  spak_emu_cluster_wait(SPAK_PASS);
}
template <class T>
inline T load_shared_remote(u32 a, u32 rank, SPAK_HERE) {
  static_assert(sizeof(T) == 4, "load_shared_remote: 4 bytes");
  T v;
  spak_emu_remote_load(a, rank, 4, &v, SPAK_PASS);
  return v;
}
template <class T>
inline void store_shared_remote(u32 a, u32 rank, T v, SPAK_HERE) {
  static_assert(sizeof(T) == 4, "store_shared_remote: 4 bytes");
  spak_emu_remote_store(a, rank, 4, &v, SPAK_PASS);
}

inline void fence_proxy_async_shared(SPAK_HERE) { spak_emu_fence_proxy_async(1, SPAK_PASS); }
inline void fence_proxy_async(SPAK_HERE) { spak_emu_fence_proxy_async(0, SPAK_PASS); }
inline bool elect_one(SPAK_HERE) { return spak_emu_elect(SPAK_PASS) != 0; }

template <u32 Count>
inline void register_increase(SPAK_HERE) {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg: a multiple of 8 in 24 .. 256");
  spak_emu_register_budget(Count, 1, SPAK_PASS);
}
template <u32 Count>
inline void register_decrease(SPAK_HERE) {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg: a multiple of 8 in 24 .. 256");
  spak_emu_register_budget(Count, 0, SPAK_PASS);
}

}  // namespace spak
