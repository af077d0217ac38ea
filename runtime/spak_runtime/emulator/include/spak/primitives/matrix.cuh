// Warp-level matrix operations (emulator).
#pragma once

namespace spak {

inline void ldmatrix_x1(Reg<u32, 1>& r, u32 a, SPAK_HERE) { spak_emu_ldmatrix(r.value, a, 1, 0, SPAK_PASS); }
inline void ldmatrix_x2(Reg<u32, 2>& r, u32 a, SPAK_HERE) { spak_emu_ldmatrix(r.value, a, 2, 0, SPAK_PASS); }
inline void ldmatrix_x4(Reg<u32, 4>& r, u32 a, SPAK_HERE) { spak_emu_ldmatrix(r.value, a, 4, 0, SPAK_PASS); }
inline void ldmatrix_x1_trans(Reg<u32, 1>& r, u32 a, SPAK_HERE) {
  spak_emu_ldmatrix(r.value, a, 1, 1, SPAK_PASS);
}
inline void ldmatrix_x2_trans(Reg<u32, 2>& r, u32 a, SPAK_HERE) {
  spak_emu_ldmatrix(r.value, a, 2, 1, SPAK_PASS);
}
inline void ldmatrix_x4_trans(Reg<u32, 4>& r, u32 a, SPAK_HERE) {
  spak_emu_ldmatrix(r.value, a, 4, 1, SPAK_PASS);
}
inline void stmatrix_x1(u32 a, const Reg<u32, 1>& r, SPAK_HERE) {
  spak_emu_stmatrix(a, r.value, 1, 0, SPAK_PASS);
}
inline void stmatrix_x2(u32 a, const Reg<u32, 2>& r, SPAK_HERE) {
  spak_emu_stmatrix(a, r.value, 2, 0, SPAK_PASS);
}
inline void stmatrix_x4(u32 a, const Reg<u32, 4>& r, SPAK_HERE) {
  spak_emu_stmatrix(a, r.value, 4, 0, SPAK_PASS);
}
inline void stmatrix_x1_trans(u32 a, const Reg<u32, 1>& r, SPAK_HERE) {
  spak_emu_stmatrix(a, r.value, 1, 1, SPAK_PASS);
}
inline void stmatrix_x2_trans(u32 a, const Reg<u32, 2>& r, SPAK_HERE) {
  spak_emu_stmatrix(a, r.value, 2, 1, SPAK_PASS);
}
inline void stmatrix_x4_trans(u32 a, const Reg<u32, 4>& r, SPAK_HERE) {
  spak_emu_stmatrix(a, r.value, 4, 1, SPAK_PASS);
}

template <class T>
constexpr char element_letter() {
  static_assert(same_type<T, bf16> || same_type<T, f16>, "matrix elements: bf16 or f16");
  return same_type<T, bf16> ? 'b' : 'h';
}
template <class T>
inline void mma_m16n8k16(Reg<f32, 4>& d, const Reg<u32, 4>& a, u32 b0, u32 b1, SPAK_HERE) {
  spak_emu_mma(d.value, a.value, b0, b1, element_letter<T>(), SPAK_PASS);
}
template <class T>
inline void mma_m16n8k16(Reg<f32, 4>& d, const Reg<u32, 4>& a, const Reg<u32, 2>& b, SPAK_HERE) {
  spak_emu_mma(d.value, a.value, b.value[0], b.value[1], element_letter<T>(), SPAK_PASS);
}

}  // namespace spak
