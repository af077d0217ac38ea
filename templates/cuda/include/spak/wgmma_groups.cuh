// Groups of wgmma that are on their way (sm_90a).
#pragma once

#include "spak/primitives.cuh"

namespace spak {

// Waits for all groups but the one that was closed last: products before it have been computed, and their operands are free.
SPAK_DEVICE void wait_but_for_last() { wgmma_wait<1>(); }

}  // namespace spak
