// Atomics, and waits between blocks (emulator).
#pragma once

namespace spak {

inline constexpr char scalar_letter(const f32*) { return 'f'; }
inline constexpr char scalar_letter(const i32*) { return 'i'; }
inline constexpr char scalar_letter(const u32*) { return 'u'; }
inline constexpr char scalar_letter(const u64*) { return 'l'; }

template <class T>
inline T global_atomic(T* p, char op, T v, T expected, int order, SPAK_AT) {
  T old;
  spak_emu_global_atomic(p, op, scalar_letter(p), &v, &expected, &old, order, SPAK_PASS);
  return old;
}
inline f32 atomic_add(f32* p, f32 v, SPAK_HERE) { return global_atomic(p, '+', v, v, 0, SPAK_PASS); }
inline i32 atomic_add(i32* p, i32 v, SPAK_HERE) { return global_atomic(p, '+', v, v, 0, SPAK_PASS); }
inline u32 atomic_add(u32* p, u32 v, SPAK_HERE) { return global_atomic(p, '+', v, v, 0, SPAK_PASS); }
inline u64 atomic_add(u64* p, u64 v, SPAK_HERE) { return global_atomic(p, '+', v, v, 0, SPAK_PASS); }
inline i32 atomic_max(i32* p, i32 v, SPAK_HERE) { return global_atomic(p, 'M', v, v, 0, SPAK_PASS); }
inline u32 atomic_max(u32* p, u32 v, SPAK_HERE) { return global_atomic(p, 'M', v, v, 0, SPAK_PASS); }
inline u32 atomic_exchange(u32* p, u32 v, SPAK_HERE) { return global_atomic(p, 'X', v, v, 0, SPAK_PASS); }
inline u32 atomic_compare_exchange(u32* p, u32 expected, u32 v, SPAK_HERE) {
  return global_atomic(p, 'C', v, expected, 0, SPAK_PASS);
}
inline u32 atomic_add_acq_rel(u32* p, u32 v, SPAK_HERE) { return global_atomic(p, '+', v, v, 1, SPAK_PASS); }

template <class T>
inline T shared_atomic(u32 a, T v, SPAK_AT) {
  T old;
  spak_emu_shared_atomic_add(a, scalar_letter(&v), &v, &old, SPAK_PASS);
  return old;
}
inline f32 shared_atomic_add(u32 a, f32 v, SPAK_HERE) { return shared_atomic(a, v, SPAK_PASS); }
inline u32 shared_atomic_add(u32 a, u32 v, SPAK_HERE) { return shared_atomic(a, v, SPAK_PASS); }
inline i32 shared_atomic_add(u32 a, i32 v, SPAK_HERE) { return shared_atomic(a, v, SPAK_PASS); }

inline void semaphore_wait(const u32* p, u32 value, SPAK_HERE) {
  spak_emu_semaphore_wait(p, value, SPAK_PASS);
}
inline void semaphore_release(u32* p, u32 value, SPAK_HERE) {
  spak_emu_semaphore_release(p, value, SPAK_PASS);
}

}  // namespace spak
