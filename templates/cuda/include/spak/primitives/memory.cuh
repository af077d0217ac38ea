// Global and shared memory.
//
// Global pointers are ordinary typed pointers out of the parameter struct; shared addresses are u32 bytes.
// Every access must be aligned to its own size. 64- and 128-bit values are Reg<u32, 2> and Reg<u32, 4>.
//
//   load<T>(p)            store<T>(p, v)            one element, T of 1, 2, 4 or 8 bytes
//   load_vector<N>(p)     store_vector(p, r)        N elements as Reg<T, N>, one access of 2 .. 16 bytes
//   load_vector_if<N>(p, wanted)                    the same, or zeros without an access; not a branch, so that several
//                                                   may be under way at once
//   load_readonly<T>, load_vector_readonly<N>       the same through the read-only path: nobody may write the
//                                                   buffer while the kernel runs
//   load_global_16/32/64/128(p)   store_global_16/32/64/128(p, v)       untyped bits
//   load_shared<T>(a)     store_shared<T>(a, v)     load_shared_vector<T, N>(a)   store_shared_vector(a, r)
//   load_shared_16/32/64/128(a)   store_shared_16/32/64/128(a, v)
//
// store_streaming / store_vector_streaming mark written data as not to be kept in the cache.
#pragma once

namespace spak {

// ---- global, untyped ----

SPAK_DEVICE u16 load_global_16(const void* p) { return *static_cast<const u16*>(p); }
SPAK_DEVICE u32 load_global_32(const void* p) { return *static_cast<const u32*>(p); }
SPAK_DEVICE Reg<u32, 2> load_global_64(const void* p) {
  return bits_as<Reg<u32, 2>>(*static_cast<const uint2*>(p));
}
SPAK_DEVICE Reg<u32, 4> load_global_128(const void* p) {
  return bits_as<Reg<u32, 4>>(*static_cast<const uint4*>(p));
}
SPAK_DEVICE void store_global_16(void* p, u16 v) { *static_cast<u16*>(p) = v; }
SPAK_DEVICE void store_global_32(void* p, u32 v) { *static_cast<u32*>(p) = v; }
SPAK_DEVICE void store_global_64(void* p, const Reg<u32, 2>& v) {
  *static_cast<uint2*>(p) = bits_as<uint2>(v);
}
SPAK_DEVICE void store_global_128(void* p, const Reg<u32, 4>& v) {
  *static_cast<uint4*>(p) = bits_as<uint4>(v);
}

// ---- shared, untyped ----

SPAK_DEVICE u8 load_shared_8(u32 a) {
  u32 v;
  asm volatile("ld.shared.u8 %0, [%1];" : "=r"(v) : "r"(a) : "memory");
  return static_cast<u8>(v);
}
SPAK_DEVICE u16 load_shared_16(u32 a) {
  u16 v;
  asm volatile("ld.shared.b16 %0, [%1];" : "=h"(v) : "r"(a) : "memory");
  return v;
}
SPAK_DEVICE u32 load_shared_32(u32 a) {
  u32 v;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(v) : "r"(a) : "memory");
  return v;
}
SPAK_DEVICE Reg<u32, 2> load_shared_64(u32 a) {
  Reg<u32, 2> v;
  asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(v[0]), "=r"(v[1]) : "r"(a) : "memory");
  return v;
}
SPAK_DEVICE Reg<u32, 4> load_shared_128(u32 a) {
  Reg<u32, 4> v;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
               : "r"(a)
               : "memory");
  return v;
}
SPAK_DEVICE void store_shared_8(u32 a, u8 v) {
  asm volatile("st.shared.u8 [%0], %1;" ::"r"(a), "r"(static_cast<u32>(v)) : "memory");
}
SPAK_DEVICE void store_shared_16(u32 a, u16 v) {
  asm volatile("st.shared.b16 [%0], %1;" ::"r"(a), "h"(v) : "memory");
}
SPAK_DEVICE void store_shared_32(u32 a, u32 v) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(a), "r"(v) : "memory");
}
SPAK_DEVICE void store_shared_64(u32 a, const Reg<u32, 2>& v) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(a), "r"(v[0]), "r"(v[1]) : "memory");
}
SPAK_DEVICE void store_shared_128(u32 a, const Reg<u32, 4>& v) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(a), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
               : "memory");
}

// ---- typed: one element ----

template <class T>
SPAK_DEVICE T load(const T* p) {
  return *p;
}
template <class T>
SPAK_DEVICE void store(T* p, T v) {
  *p = v;
}
template <class T>
SPAK_DEVICE T load_shared(u32 a) {
  static_assert(sizeof(T) <= 4 || sizeof(T) == 8, "load_shared: 1, 2, 4 or 8 bytes");
  if constexpr (sizeof(T) == 1) return bits_as<T>(load_shared_8(a));
  else if constexpr (sizeof(T) == 2) return bits_as<T>(load_shared_16(a));
  else if constexpr (sizeof(T) == 4) return bits_as<T>(load_shared_32(a));
  else return bits_as<T>(load_shared_64(a));
}
template <class T>
SPAK_DEVICE void store_shared(u32 a, T v) {
  static_assert(sizeof(T) <= 4 || sizeof(T) == 8, "store_shared: 1, 2, 4 or 8 bytes");
  if constexpr (sizeof(T) == 1) store_shared_8(a, bits_as<u8>(v));
  else if constexpr (sizeof(T) == 2) store_shared_16(a, bits_as<u16>(v));
  else if constexpr (sizeof(T) == 4) store_shared_32(a, bits_as<u32>(v));
  else store_shared_64(a, bits_as<Reg<u32, 2>>(v));
}

// ---- typed: a vector in one access ----

template <u32 Bytes>
struct RawBits;
template <>
struct RawBits<1> {
  using type = u8;
};
template <>
struct RawBits<2> {
  using type = u16;
};
template <>
struct RawBits<4> {
  using type = u32;
};
template <>
struct RawBits<8> {
  using type = uint2;
};
template <>
struct RawBits<16> {
  using type = uint4;
};

template <u32 N, class T>
SPAK_DEVICE Reg<T, N> load_vector(const T* p) {
  using Raw = typename RawBits<N * sizeof(T)>::type;
  return bits_as<Reg<T, N>>(*reinterpret_cast<const Raw*>(p));
}
template <class T, u32 N>
SPAK_DEVICE void store_vector(T* p, const Reg<T, N>& r) {
  using Raw = typename RawBits<N * sizeof(T)>::type;
  *reinterpret_cast<Raw*>(p) = bits_as<Raw>(r);
}
SPAK_DEVICE void load_global_if(Reg<u32, 1>& v, const void* p, bool wanted) {
  asm volatile(
      "{ .reg .pred p; setp.ne.u32 p, %2, 0; mov.b32 %0, 0; @p ld.global.b32 %0, [%1]; }"
      : "=&r"(v[0])
      : "l"(p), "r"(static_cast<u32>(wanted)));
}
SPAK_DEVICE void load_global_if(Reg<u32, 2>& v, const void* p, bool wanted) {
  asm volatile(
      "{ .reg .pred p; setp.ne.u32 p, %3, 0; mov.b32 %0, 0; mov.b32 %1, 0; @p ld.global.v2.b32 {%0, %1}, [%2]; }"
      : "=&r"(v[0]), "=&r"(v[1])
      : "l"(p), "r"(static_cast<u32>(wanted)));
}
SPAK_DEVICE void load_global_if(Reg<u32, 4>& v, const void* p, bool wanted) {
  asm volatile(
      "{ .reg .pred p; setp.ne.u32 p, %5, 0; mov.b32 %0, 0; mov.b32 %1, 0; mov.b32 %2, 0; mov.b32 %3, 0; "
      "@p ld.global.v4.b32 {%0, %1, %2, %3}, [%4]; }"
      : "=&r"(v[0]), "=&r"(v[1]), "=&r"(v[2]), "=&r"(v[3])
      : "l"(p), "r"(static_cast<u32>(wanted)));
}
template <u32 N, class T>
SPAK_DEVICE Reg<T, N> load_vector_if(const T* p, bool wanted) {
  static_assert(N * sizeof(T) == 4 || N * sizeof(T) == 8 || N * sizeof(T) == 16, "load_vector_if: 4, 8 or 16 bytes");
  Reg<u32, N * sizeof(T) / 4> words;
  load_global_if(words, p, wanted);
  return bits_as<Reg<T, N>>(words);
}
template <u32 N, class T>
SPAK_DEVICE Reg<T, N> load_vector_readonly(const T* p) {
  using Raw = typename RawBits<N * sizeof(T)>::type;
  return bits_as<Reg<T, N>>(__ldg(reinterpret_cast<const Raw*>(p)));
}
template <class T>
SPAK_DEVICE T load_readonly(const T* p) {
  return load_vector_readonly<1>(p)[0];
}
template <class T, u32 N>
SPAK_DEVICE void store_vector_streaming(T* p, const Reg<T, N>& r) {
  using Raw = typename RawBits<N * sizeof(T)>::type;
  __stcs(reinterpret_cast<Raw*>(p), bits_as<Raw>(r));
}
template <class T>
SPAK_DEVICE void store_streaming(T* p, T v) {
  Reg<T, 1> r;
  r[0] = v;
  store_vector_streaming(p, r);
}

template <class T, u32 N>
SPAK_DEVICE Reg<T, N> load_shared_vector(u32 a) {
  constexpr u32 bytes = N * sizeof(T);
  static_assert(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16,
                "one access of 1 .. 16 bytes");
  if constexpr (bytes == 1) return bits_as<Reg<T, N>>(load_shared_8(a));
  else if constexpr (bytes == 2) return bits_as<Reg<T, N>>(load_shared_16(a));
  else if constexpr (bytes == 4) return bits_as<Reg<T, N>>(load_shared_32(a));
  else if constexpr (bytes == 8) return bits_as<Reg<T, N>>(load_shared_64(a));
  else return bits_as<Reg<T, N>>(load_shared_128(a));
}
template <class T, u32 N>
SPAK_DEVICE void store_shared_vector(u32 a, const Reg<T, N>& r) {
  constexpr u32 bytes = N * sizeof(T);
  static_assert(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16,
                "one access of 1 .. 16 bytes");
  if constexpr (bytes == 1) store_shared_8(a, bits_as<u8>(r));
  else if constexpr (bytes == 2) store_shared_16(a, bits_as<u16>(r));
  else if constexpr (bytes == 4) store_shared_32(a, bits_as<u32>(r));
  else if constexpr (bytes == 8) store_shared_64(a, bits_as<Reg<u32, 2>>(r));
  else store_shared_128(a, bits_as<Reg<u32, 4>>(r));
}

}  // namespace spak
