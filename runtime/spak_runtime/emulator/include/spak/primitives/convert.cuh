// Conversions (emulator).
#pragma once

namespace spak {

inline f32 to_f32(f32 x) { return x; }
inline f32 to_f32(bf16 x) { return spak_emulator::bf16_to_f32(x.bits); }
inline f32 to_f32(f16 x) { return spak_emulator::f16_to_f32(x.bits); }

template <class T>
inline T from_f32(f32 x) {
  static_assert(same_type<T, f32> || same_type<T, bf16> || same_type<T, f16>, "from_f32: f32, bf16 or f16");
  if constexpr (same_type<T, bf16>) return bf16{spak_emulator::f32_to_bf16(x)};
  else if constexpr (same_type<T, f16>) return f16{spak_emulator::f32_to_f16(x)};
  else return x;
}

template <class T>
inline u32 pack_bits(T low, T high) {
  return static_cast<u32>(low.bits) | (static_cast<u32>(high.bits) << 16);
}
template <class T>
inline u32 pack(f32 low, f32 high) {
  static_assert(same_type<T, bf16> || same_type<T, f16>, "pack: bf16 or f16");
  return pack_bits(from_f32<T>(low), from_f32<T>(high));
}
template <class T>
inline f32 unpack_low(u32 word) {
  return to_f32(T{static_cast<u16>(word & 0xffff)});
}
template <class T>
inline f32 unpack_high(u32 word) {
  return to_f32(T{static_cast<u16>(word >> 16)});
}

}  // namespace spak
