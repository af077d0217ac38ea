// Conversions, all round-to-nearest-even.
//
//   to_f32(x)                 bf16, f16 or f32 -> f32 (exact)
//   from_f32<T>(x)            f32 -> bf16, f16 or f32
//   pack<T>(lo, hi)           two f32 -> two T in one u32 (lo in the low half), T = bf16 or f16
//   pack_bits(lo, hi)         two 16-bit values -> u32
//   unpack_low<T>(w), unpack_high<T>(w)   the two halves of a u32 as f32
#pragma once

namespace spak {

SPAK_DEVICE f32 to_f32(f32 x) { return x; }
SPAK_DEVICE f32 to_f32(bf16 x) { return __uint_as_float(static_cast<u32>(x.bits) << 16); }
SPAK_DEVICE f32 to_f32(f16 x) {
  f32 r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits));
  return r;
}

template <class T>
SPAK_DEVICE T from_f32(f32 x) {
  static_assert(same_type<T, f32> || same_type<T, bf16> || same_type<T, f16>, "from_f32: f32, bf16 or f16");
  if constexpr (same_type<T, bf16>) {
    bf16 r;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
    return r;
  } else if constexpr (same_type<T, f16>) {
    f16 r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
    return r;
  } else {
    return x;
  }
}

template <class T>
SPAK_DEVICE u32 pack(f32 low, f32 high) {
  static_assert(same_type<T, bf16> || same_type<T, f16>, "pack: bf16 or f16");
  u32 r;
  if constexpr (same_type<T, bf16>) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
template <class T>
SPAK_DEVICE u32 pack_bits(T low, T high) {
  return static_cast<u32>(low.bits) | (static_cast<u32>(high.bits) << 16);
}

template <class T>
SPAK_DEVICE f32 unpack_low(u32 word) {
  if constexpr (same_type<T, bf16>) return __uint_as_float(word << 16);
  else return to_f32(T{static_cast<u16>(word & 0xffff)});
}
template <class T>
SPAK_DEVICE f32 unpack_high(u32 word) {
  if constexpr (same_type<T, bf16>) return __uint_as_float(word & 0xffff0000u);
  else return to_f32(T{static_cast<u16>(word >> 16)});
}

}  // namespace spak
