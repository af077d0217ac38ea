// Who am I (emulator).
#pragma once

namespace spak {

inline u32 thread_index() { return spak_emu_thread->thread; }
inline u32 lane_index() { return spak_emu_thread->lane; }
inline u32 warp_index(SPAK_HERE) { return spak_emu_warp_index(SPAK_PASS); }
inline u32 block_threads() { return spak_emu_thread->threads; }
inline u32 block_index_x() { return spak_emu_thread->block[0]; }
inline u32 block_index_y() { return spak_emu_thread->block[1]; }
inline u32 block_index_z() { return spak_emu_thread->block[2]; }
inline u32 grid_size_x() { return spak_emu_thread->grid[0]; }
inline u32 grid_size_y() { return spak_emu_thread->grid[1]; }
inline u32 grid_size_z() { return spak_emu_thread->grid[2]; }
inline u32 shared_base() { return spak_emu_thread->shared_base; }

}  // namespace spak
