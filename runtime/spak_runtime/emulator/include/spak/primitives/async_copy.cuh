// cp.async (emulator).
#pragma once

namespace spak {

inline void cp_async_16(u32 dst, const void* src, u32 bytes = 16, SPAK_HERE) {
  spak_emu_cp_async(dst, src, 16, bytes, SPAK_PASS);
}
inline void cp_async_8(u32 dst, const void* src, u32 bytes = 8, SPAK_HERE) {
  spak_emu_cp_async(dst, src, 8, bytes, SPAK_PASS);
}
inline void cp_async_4(u32 dst, const void* src, u32 bytes = 4, SPAK_HERE) {
  spak_emu_cp_async(dst, src, 4, bytes, SPAK_PASS);
}
inline void cp_async_commit(SPAK_HERE) { spak_emu_cp_async_commit(SPAK_PASS); }
template <u32 Pending>
inline void cp_async_wait(SPAK_HERE) {
  spak_emu_cp_async_wait(Pending, SPAK_PASS);
}

}  // namespace spak
