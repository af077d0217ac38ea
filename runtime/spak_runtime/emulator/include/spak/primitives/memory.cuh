// Global and shared memory (emulator).
#pragma once

#include "spak/emulator_loads.h"

namespace spak {

// ---- typed; the untyped forms below are spelt with them ----

template <class T>
SPAK_INLINE T load(const T* p, SPAK_HERE) {
  return load_global_as<T>(p, false, SPAK_PASS);
}
template <class T>
inline void store(T* p, T v, SPAK_HERE) {
  spak_emu_global_store(p, sizeof(T), &v, SPAK_PASS);
}
template <class T>
SPAK_INLINE T load_readonly(const T* p, SPAK_HERE) {
  return load_global_as<T>(p, true, SPAK_PASS);
}
template <class T>
inline void store_streaming(T* p, T v, SPAK_HERE) {
  store(p, v, SPAK_PASS);
}
template <class T>
SPAK_INLINE T load_shared(u32 a, SPAK_HERE) {
  static_assert(sizeof(T) <= 4 || sizeof(T) == 8, "load_shared: 1, 2, 4 or 8 bytes");
  return load_shared_as<T>(a, SPAK_PASS);
}
template <class T>
inline void store_shared(u32 a, T v, SPAK_HERE) {
  static_assert(sizeof(T) <= 4 || sizeof(T) == 8, "store_shared: 1, 2, 4 or 8 bytes");
  spak_emu_shared_store(a, sizeof(T), &v, SPAK_PASS);
}

template <u32 Bytes>
constexpr bool one_access = Bytes == 1 || Bytes == 2 || Bytes == 4 || Bytes == 8 || Bytes == 16;

template <u32 N, class T>
SPAK_INLINE Reg<T, N> load_vector(const T* p, SPAK_HERE) {
  static_assert(one_access<N * sizeof(T)>, "one access of 1 .. 16 bytes");
  return load_global_as<Reg<T, N>>(p, false, SPAK_PASS);
}
template <u32 N, class T>
SPAK_INLINE Reg<T, N> load_vector_if(const T* p, bool wanted, SPAK_HERE) {
  static_assert(N * sizeof(T) == 4 || N * sizeof(T) == 8 || N * sizeof(T) == 16, "load_vector_if: 4, 8 or 16 bytes");
  if (wanted) return load_global_as<Reg<T, N>>(p, false, SPAK_PASS);
  Reg<T, N> r;
  for (u32 i = 0; i < N; i++) r[i] = T{};
  return r;
}
template <u32 N, class T>
SPAK_INLINE Reg<T, N> load_vector_readonly(const T* p, SPAK_HERE) {
  static_assert(one_access<N * sizeof(T)>, "one access of 1 .. 16 bytes");
  return load_global_as<Reg<T, N>>(p, true, SPAK_PASS);
}
template <class T, u32 N>
inline void store_vector(T* p, const Reg<T, N>& r, SPAK_HERE) {
  static_assert(one_access<N * sizeof(T)>, "one access of 1 .. 16 bytes");
  spak_emu_global_store(p, N * sizeof(T), r.value, SPAK_PASS);
}
template <class T, u32 N>
inline void store_vector_streaming(T* p, const Reg<T, N>& r, SPAK_HERE) {
  store_vector(p, r, SPAK_PASS);
}
template <class T, u32 N>
SPAK_INLINE Reg<T, N> load_shared_vector(u32 a, SPAK_HERE) {
  static_assert(one_access<N * sizeof(T)>, "one access of 1 .. 16 bytes");
  return load_shared_as<Reg<T, N>>(a, SPAK_PASS);
}
template <class T, u32 N>
inline void store_shared_vector(u32 a, const Reg<T, N>& r, SPAK_HERE) {
  static_assert(one_access<N * sizeof(T)>, "one access of 1 .. 16 bytes");
  spak_emu_shared_store(a, N * sizeof(T), r.value, SPAK_PASS);
}

// ---- untyped ----

SPAK_INLINE u16 load_global_16(const void* p, SPAK_HERE) { return load(static_cast<const u16*>(p), SPAK_PASS); }
SPAK_INLINE u32 load_global_32(const void* p, SPAK_HERE) { return load(static_cast<const u32*>(p), SPAK_PASS); }
SPAK_INLINE Reg<u32, 2> load_global_64(const void* p, SPAK_HERE) {
  return load_vector<2>(static_cast<const u32*>(p), SPAK_PASS);
}
SPAK_INLINE Reg<u32, 4> load_global_128(const void* p, SPAK_HERE) {
  return load_vector<4>(static_cast<const u32*>(p), SPAK_PASS);
}
inline void store_global_16(void* p, u16 v, SPAK_HERE) { store(static_cast<u16*>(p), v, SPAK_PASS); }
inline void store_global_32(void* p, u32 v, SPAK_HERE) { store(static_cast<u32*>(p), v, SPAK_PASS); }
inline void store_global_64(void* p, const Reg<u32, 2>& v, SPAK_HERE) {
  store_vector(static_cast<u32*>(p), v, SPAK_PASS);
}
inline void store_global_128(void* p, const Reg<u32, 4>& v, SPAK_HERE) {
  store_vector(static_cast<u32*>(p), v, SPAK_PASS);
}
SPAK_INLINE u8 load_shared_8(u32 a, SPAK_HERE) { return load_shared<u8>(a, SPAK_PASS); }
SPAK_INLINE u16 load_shared_16(u32 a, SPAK_HERE) { return load_shared<u16>(a, SPAK_PASS); }
SPAK_INLINE u32 load_shared_32(u32 a, SPAK_HERE) { return load_shared<u32>(a, SPAK_PASS); }
SPAK_INLINE Reg<u32, 2> load_shared_64(u32 a, SPAK_HERE) { return load_shared_vector<u32, 2>(a, SPAK_PASS); }
SPAK_INLINE Reg<u32, 4> load_shared_128(u32 a, SPAK_HERE) { return load_shared_vector<u32, 4>(a, SPAK_PASS); }
inline void store_shared_8(u32 a, u8 v, SPAK_HERE) { store_shared<u8>(a, v, SPAK_PASS); }
inline void store_shared_16(u32 a, u16 v, SPAK_HERE) { store_shared<u16>(a, v, SPAK_PASS); }
inline void store_shared_32(u32 a, u32 v, SPAK_HERE) { store_shared<u32>(a, v, SPAK_PASS); }
inline void store_shared_64(u32 a, const Reg<u32, 2>& v, SPAK_HERE) { store_shared_vector(a, v, SPAK_PASS); }
inline void store_shared_128(u32 a, const Reg<u32, 4>& v, SPAK_HERE) { store_shared_vector(a, v, SPAK_PASS); }

}  // namespace spak
