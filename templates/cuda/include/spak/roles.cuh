// Who does what one thread has to do, and the barriers where some of a block's threads meet.
#pragma once

#include "spak/primitives.cuh"

namespace spak {

constexpr u32 WARPGROUP = 128;  // threads

// Of those that are numbered, the one that does what one has to do.
SPAK_DEVICE bool is_first(u32 number) { return !number; }

// One thread of the block, of each warp, of each warpgroup, and of the four lanes that hold a row of accumulators.
SPAK_DEVICE bool first_thread() { return is_first(thread_index()); }
SPAK_DEVICE bool first_lane() { return is_first(lane_index()); }
SPAK_DEVICE bool first_of_warpgroup() { return is_first(thread_index() % WARPGROUP); }
SPAK_DEVICE bool first_of_row() { return is_first(lane_index() % 4); }

// Named barriers are numbered from FIRST_BARRIER on; the one before is that of the whole block. Groups of threads that compute
// have one each, by their number, and what they have together comes behind.
enum Barrier : u32 { BLOCK_BARRIER, FIRST_BARRIER };

}  // namespace spak
