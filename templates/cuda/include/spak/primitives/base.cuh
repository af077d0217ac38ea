// Kernel declaration, loop pragmas and register arrays (device implementation).
//
//   SPAK_KERNEL(name, Params, threads)                           { body }
//   SPAK_KERNEL(name, Params, threads, min_blocks)               { body }
//   SPAK_KERNEL(name, Params, threads, min_blocks, cx, cy, cz)   { body }
//
// declares the entry `name`. The body sees one `const Params& params` (a struct passed by value, tensor maps
// included) and returns nothing. `min_blocks` is the second launch bound: kernels that move registers between
// warps (setmaxnreg) must give it. cx, cy, cz are the cluster dimensions.
//
// Reg<T, A, B, ...> is a register array: r[a][b]. It is NOT initialised, and the emulator fills it with NaN
// (all bits set), so use fill(r, value). Index it with compile-time constants (unrolled loops) or it will
// live in local memory.
#pragma once

#define SPAK_DEVICE __device__ __forceinline__
#define SPAK_UNROLL _Pragma("unroll")
#define SPAK_NO_UNROLL _Pragma("unroll 1")

#define SPAK_KERNEL(...)                                                                        \
  SPAK_KERNEL_PICK(__VA_ARGS__, SPAK_KERNEL_7, SPAK_KERNEL_BAD, SPAK_KERNEL_BAD, SPAK_KERNEL_4, \
                   SPAK_KERNEL_3, SPAK_KERNEL_BAD, SPAK_KERNEL_BAD)(__VA_ARGS__)
#define SPAK_KERNEL_PICK(a, b, c, d, e, f, g, chosen, ...) chosen
#define SPAK_KERNEL_3(name, Params, threads) \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Params params)
#define SPAK_KERNEL_4(name, Params, threads, min_blocks)            \
  extern "C" __global__ void __launch_bounds__(threads, min_blocks) \
      name(const __grid_constant__ Params params)
#define SPAK_KERNEL_7(name, Params, threads, min_blocks, cx, cy, cz)                             \
  extern "C" __global__ void __cluster_dims__(cx, cy, cz) __launch_bounds__(threads, min_blocks) \
      name(const __grid_constant__ Params params)

#include "spak/primitives/types.cuh"

namespace spak {

template <class T, u32 Size, u32... Rest>
struct Reg {
  Reg<T, Rest...> row[Size];
  SPAK_DEVICE Reg() {}
  SPAK_DEVICE Reg<T, Rest...>& operator[](u32 i) { return row[i]; }
  SPAK_DEVICE const Reg<T, Rest...>& operator[](u32 i) const { return row[i]; }
  static constexpr u32 size = Size;
};

template <class T, u32 Size>
struct Reg<T, Size> {
  T value[Size];
  SPAK_DEVICE Reg() {}
  SPAK_DEVICE T& operator[](u32 i) { return value[i]; }
  SPAK_DEVICE const T& operator[](u32 i) const { return value[i]; }
  static constexpr u32 size = Size;
};

// Sets every element of a register array of any rank.
template <class T, u32 Size>
SPAK_DEVICE void fill(Reg<T, Size>& r, T value) {
  SPAK_UNROLL
  for (u32 i = 0; i < Size; i++) r[i] = value;
}
template <class T, u32 Size, u32... Rest>
SPAK_DEVICE void fill(Reg<T, Size, Rest...>& r, T value) {
  SPAK_UNROLL
  for (u32 i = 0; i < Size; i++) fill(r[i], value);
}

// The same bits as another type of the same size. `from` comes by value: copied out of a reference, memory is read byte by
// byte, because the copy knows nothing of its alignment.
template <class To, class From>
SPAK_DEVICE To bits_as(const From from) {
  static_assert(sizeof(To) == sizeof(From), "bits_as needs types of one size");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

// The same number, of which the compiler knows nothing: what depends on it is not computed before other
// primitives that come first in the source, and so does not occupy registers for as long.
template <class T>
SPAK_DEVICE T opaque(T x) {
  static_assert(sizeof(T) == 4, "opaque numbers are words");
  asm volatile("" : "+r"(x));
  return x;
}

}  // namespace spak
