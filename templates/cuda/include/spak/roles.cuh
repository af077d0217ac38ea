// Who does what one thread has to do, and the barriers where some of a block's threads meet.
#pragma once

#include "spak/primitives.cuh"

namespace spak {

constexpr u32 WARPGROUP = 128;  // threads

// One thread of the block, of each warp, of each warpgroup, and of the four lanes that hold a row of accumulators.
SPAK_DEVICE bool first_thread() { return thread_index() == 0; }
SPAK_DEVICE bool first_lane() { return lane_index() == 0; }
SPAK_DEVICE bool first_of_warpgroup() { return thread_index() % WARPGROUP == 0; }
SPAK_DEVICE bool first_of_row() { return lane_index() % 4 == 0; }

// Named barriers are numbered from FIRST_BARRIER on; the one before is that of the whole block. Groups of threads that compute
// have one each, by their number, and what they have together comes behind.
enum Barrier : u32 { BLOCK_BARRIER, FIRST_BARRIER };

}  // namespace spak
