// Warpgroup matrix multiply (emulator). The accumulator stays where it is between issue and wait: the runtime
// keeps its address, fills it with NaN at the issue and writes the result at the wait.
#pragma once

namespace spak {

inline void wgmma_fence(SPAK_HERE) { spak_emu_wgmma_fence(SPAK_PASS); }
inline void wgmma_commit(SPAK_HERE) { spak_emu_wgmma_commit(SPAK_PASS); }
template <u32 Pending>
inline void wgmma_wait(SPAK_HERE) {
  spak_emu_wgmma_wait(Pending, SPAK_PASS);
}
template <u32 N>
inline void register_pin(Reg<f32, N>& d, SPAK_HERE) {
  spak_emu_register_pin(d.value, SPAK_PASS);
}
inline void order_before_wait(f32) {}
template <u32 N>
inline void order_before_wait(const Reg<f32, N>&) {}

template <class T, Major MajorA, Major MajorB, u32 Registers>
inline void wgmma_ss(Reg<f32, Registers>& d, u64 a, u64 b, bool accumulate, SPAK_HERE) {
  static_assert(Registers % 4 == 0 && Registers <= 128, "wgmma: N = 8 .. 256 in steps of 8");
  spak_emu_wgmma(d.value, Registers, nullptr, a, b, accumulate, element_letter<T>(), MajorA == Major::mn,
                 MajorB == Major::mn, SPAK_PASS);
}
template <class T, Major MajorB, u32 Registers>
inline void wgmma_rs(Reg<f32, Registers>& d, const Reg<u32, 4>& a, u64 b, bool accumulate, SPAK_HERE) {
  static_assert(Registers % 4 == 0 && Registers <= 128, "wgmma: N = 8 .. 256 in steps of 8");
  spak_emu_wgmma(d.value, Registers, a.value, 0, b, accumulate, element_letter<T>(), 0, MajorB == Major::mn,
                 SPAK_PASS);
}

}  // namespace spak
