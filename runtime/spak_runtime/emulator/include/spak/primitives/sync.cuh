// Barriers, fences, shuffles and votes (emulator).
#pragma once

namespace spak {

inline void sync_threads(SPAK_HERE) { spak_emu_barrier(0, 0, 1, SPAK_PASS); }
inline void sync_warp(u32 mask = 0xffffffffu, SPAK_HERE) { spak_emu_sync_warp(mask, SPAK_PASS); }
inline void named_barrier_sync(u32 id, u32 threads, SPAK_HERE) {
  spak_emu_barrier(id, threads, 1, SPAK_PASS);
}
inline void named_barrier_arrive(u32 id, u32 threads, SPAK_HERE) {
  spak_emu_barrier(id, threads, 0, SPAK_PASS);
}
inline void fence_block(SPAK_HERE) { spak_emu_fence(0, SPAK_PASS); }
inline void fence_device(SPAK_HERE) { spak_emu_fence(1, SPAK_PASS); }

// One kernel runs at a time here, so its predecessors have always finished; but a launch that may overlap with them waits
// before it touches memory.
inline void grid_dependency_wait(SPAK_HERE) { spak_emu_grid_dependency_wait(SPAK_PASS); }
inline void grid_dependency_launch() {}

template <class T>
inline T shuffle_bits(T v, u32 operand, char mode, SPAK_AT) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffle: 4 or 8 bytes");
  u64 wide = 0;
  __builtin_memcpy(&wide, &v, sizeof(T));
  wide = spak_emu_shuffle(wide, operand, mode, SPAK_PASS);
  __builtin_memcpy(&v, &wide, sizeof(T));
  return v;
}
template <class T>
inline T shuffle(T v, u32 lane, SPAK_HERE) {
  return shuffle_bits(v, lane, 'i', SPAK_PASS);
}
template <class T>
inline T shuffle_xor(T v, u32 mask, SPAK_HERE) {
  return shuffle_bits(v, mask, 'x', SPAK_PASS);
}
template <class T>
inline T shuffle_up(T v, u32 distance, SPAK_HERE) {
  return shuffle_bits(v, distance, 'u', SPAK_PASS);
}
template <class T>
inline T shuffle_down(T v, u32 distance, SPAK_HERE) {
  return shuffle_bits(v, distance, 'd', SPAK_PASS);
}
inline u32 vote_ballot(bool p, SPAK_HERE) { return spak_emu_ballot(p, SPAK_PASS); }
inline bool vote_any(bool p, SPAK_HERE) { return spak_emu_ballot(p, SPAK_PASS) != 0; }
inline bool vote_all(bool p, SPAK_HERE) { return spak_emu_ballot(p, SPAK_PASS) == 0xffffffffu; }

}  // namespace spak
