// Scalar types and integer helpers. This file is the same on the device and in the emulator.
//
// bf16 and f16 are bit patterns with a type: they are loaded, stored, converted and packed, never added.
#pragma once

namespace spak {

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i8 = signed char;
using i16 = short;
using i32 = int;
using i64 = long long;
using f32 = float;

struct bf16 {
  u16 bits;
};
struct f16 {
  u16 bits;
};

// A tensor map for TMA: opaque, filled by the host, passed by value inside the kernel's parameter struct.
struct alignas(64) TensorMap {
  u64 opaque[16];
};

// The two facts of a wgmma operand in shared memory, and its descriptor (see wgmma.cuh).
enum class Swizzle : u32 { none = 0, b128 = 1, b64 = 2, b32 = 3 };
enum class Major : u32 { k = 0, mn = 1 };

SPAK_DEVICE u64 wgmma_descriptor(u32 address, u32 leading, u32 stride, Swizzle swizzle) {
  return static_cast<u64>((address & 0x3ffff) >> 4) | (static_cast<u64>((leading & 0x3ffff) >> 4) << 16) |
         (static_cast<u64>((stride & 0x3ffff) >> 4) << 32) | (static_cast<u64>(swizzle) << 62);
}

template <class A, class B>
struct SameType {
  static constexpr bool value = false;
};
template <class A>
struct SameType<A, A> {
  static constexpr bool value = true;
};
template <class A, class B>
constexpr bool same_type = SameType<A, B>::value;

// ceil(a / b) for a >= 0, b > 0; the smallest multiple of `unit` that is >= a; the largest that is <= a.
template <class Int>
SPAK_DEVICE constexpr Int ceil_div(Int a, Int b) {
  return (a + b - 1) / b;
}
template <class Int>
SPAK_DEVICE constexpr Int align_up(Int a, Int unit) {
  return (a + unit - 1) / unit * unit;
}
template <class Int>
SPAK_DEVICE constexpr Int align_down(Int a, Int unit) {
  return a / unit * unit;
}
template <class T>
SPAK_DEVICE constexpr T minimum(T a, T b) {
  return b < a ? b : a;
}
template <class T>
SPAK_DEVICE constexpr T maximum(T a, T b) {
  return a < b ? b : a;
}

}  // namespace spak
