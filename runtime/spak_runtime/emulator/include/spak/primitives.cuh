// The primitive layer on a CPU: the same interface as the device header of the same name (which documents
// it). Each call goes to the emulator's runtime with the source line it was made from, so reports name that
// line.
#pragma once

#include "spak/primitives/base.cuh"
#include "spak/primitives/index.cuh"
#include "spak/primitives/convert.cuh"
#include "spak/primitives/math.cuh"
#include "spak/primitives/memory.cuh"
#include "spak/primitives/async_copy.cuh"
#include "spak/primitives/sync.cuh"
#include "spak/primitives/matrix.cuh"
#include "spak/primitives/atomic.cuh"
#include "spak/primitives/mbarrier.cuh"
#include "spak/primitives/tma.cuh"
#include "spak/primitives/wgmma.cuh"
