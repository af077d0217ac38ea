// 16-bit floating point on a host that may not have it: conversions as the device does them (nearest even,
// canonical NaN 0x7fff).
#pragma once

namespace spak_emulator {

inline unsigned f32_bits(float x) {
  unsigned u;
  __builtin_memcpy(&u, &x, 4);
  return u;
}
inline float f32_from_bits(unsigned u) {
  float x;
  __builtin_memcpy(&x, &u, 4);
  return x;
}

inline float bf16_to_f32(unsigned short bits) { return f32_from_bits(static_cast<unsigned>(bits) << 16); }
inline unsigned short f32_to_bf16(float x) {
  const unsigned u = f32_bits(x);
  if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return static_cast<unsigned short>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

inline float f16_to_f32(unsigned short bits) {
  const unsigned sign = static_cast<unsigned>(bits & 0x8000) << 16, rest = bits & 0x7fff;
  if (rest >= 0x7c00) return f32_from_bits(sign | 0x7f800000 | ((rest & 0x3ff) << 13));
  if (rest >= 0x0400) return f32_from_bits(sign | ((rest << 13) + (112u << 23)));
  // A subnormal is rest * 2^-24: exact in f32.
  const float magnitude = static_cast<float>(rest) * 5.9604644775390625e-8f;
  return sign ? -magnitude : magnitude;
}
inline unsigned short f32_to_f16(float x) {
  const unsigned u = f32_bits(x), sign = (u >> 16) & 0x8000, rest = u & 0x7fffffff;
  if (rest > 0x7f800000) return 0x7fff;
  if (rest >= 0x47800000) return static_cast<unsigned short>(sign | 0x7c00);
  if (rest < 0x38800000) {
    // Adding 0.5, whose unit in the last place is the smallest f16, rounds to a multiple of it.
    return static_cast<unsigned short>(sign | (f32_bits(f32_from_bits(rest) + 0.5f) - 0x3f000000));
  }
  return static_cast<unsigned short>(sign | ((rest - (112u << 23) + 0xfff + ((rest >> 13) & 1)) >> 13));
}

}  // namespace spak_emulator
