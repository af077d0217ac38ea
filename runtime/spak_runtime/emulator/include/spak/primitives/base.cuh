// Kernel declaration and register arrays (emulator).
//
// A kernel is an extern "C" function of one reference, beside a record of its launch facts that the emulator
// compares with the launch it is asked for. Reg is bounds-checked, and filled with ones (NaN) when it comes
// to life.
#pragma once

#include "spak/emulator_abi.h"
#include "spak/emulator_float.h"

#define SPAK_DEVICE inline
#define SPAK_UNROLL
#define SPAK_NO_UNROLL

#define SPAK_KERNEL(...)                                                                        \
  SPAK_KERNEL_PICK(__VA_ARGS__, SPAK_KERNEL_7, SPAK_KERNEL_BAD, SPAK_KERNEL_BAD, SPAK_KERNEL_4, \
                   SPAK_KERNEL_3, SPAK_KERNEL_BAD, SPAK_KERNEL_BAD)(__VA_ARGS__)
#define SPAK_KERNEL_PICK(a, b, c, d, e, f, g, chosen, ...) chosen
#define SPAK_KERNEL_3(name, Params, threads) SPAK_KERNEL_7(name, Params, threads, 0, 1, 1, 1)
#define SPAK_KERNEL_4(name, Params, threads, min_blocks) \
  SPAK_KERNEL_7(name, Params, threads, min_blocks, 1, 1, 1)
#define SPAK_KERNEL_7(name, Params, threads, min_blocks, cx, cy, cz) \
  extern "C" {                                                       \
  extern const SpakLaunchRecord name##_launch_record;                \
  const SpakLaunchRecord name##_launch_record = {                    \
      sizeof(Params), (threads), (min_blocks), {(cx), (cy), (cz)}};  \
  }                                                                  \
  extern "C" void name(const Params& params)

#include "spak/primitives/types.cuh"

namespace spak {

template <class T, u32 Size, u32... Rest>
struct Reg {
  Reg<T, Rest...> row[Size];
  Reg<T, Rest...>& operator[](u32 i) {
    if (i >= Size) spak_emu_register_fault(i, Size);
    return row[i];
  }
  const Reg<T, Rest...>& operator[](u32 i) const {
    if (i >= Size) spak_emu_register_fault(i, Size);
    return row[i];
  }
  static constexpr u32 size = Size;
};

template <class T, u32 Size>
struct Reg<T, Size> {
  T value[Size];
  Reg() { __builtin_memset(value, 0xff, sizeof(value)); }
  T& operator[](u32 i) {
    if (i >= Size) spak_emu_register_fault(i, Size);
    return value[i];
  }
  const T& operator[](u32 i) const {
    if (i >= Size) spak_emu_register_fault(i, Size);
    return value[i];
  }
  static constexpr u32 size = Size;
};

template <class T, u32 Size>
inline void fill(Reg<T, Size>& r, T value) {
  for (u32 i = 0; i < Size; i++) r.value[i] = value;
}
template <class T, u32 Size, u32... Rest>
inline void fill(Reg<T, Size, Rest...>& r, T value) {
  for (u32 i = 0; i < Size; i++) fill(r.row[i], value);
}

template <class To, class From>
inline To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bits_as needs types of one size");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

template <class T>
inline T opaque(T x) {
  static_assert(sizeof(T) == 4, "opaque numbers are words");
  return x;
}

}  // namespace spak
