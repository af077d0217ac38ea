// The primitive layer: everything a generated kernel may call.
//
// A kernel body uses only `spak::` functions, `Reg<T, ...>` register arrays and `u32` shared-memory
// addresses. Shared memory is never a C++ pointer, so each access is a call that the CPU emulator can check.
// This header implements the calls with PTX; the emulator has a header of the same name that implements them
// on a CPU, and the same kernel source compiles against either. No CUDA header is included: NVRTC needs
// nothing else.
//
//   primitives/types.cuh        scalar types and integer helpers (one file for both implementations)
//   primitives/base.cuh         SPAK_KERNEL, SPAK_DEVICE, SPAK_UNROLL, Reg
//   primitives/index.cuh        who am I: thread, lane, warp, block, cluster
//   primitives/convert.cuh      f32 <-> bf16, f16; packing of pairs
//   primitives/math.cuh         f32 functions, exact and approximate
//   primitives/memory.cuh       global and shared loads and stores
//   primitives/async_copy.cuh   cp.async
//   primitives/sync.cuh         barriers, fences, shuffles, votes
//   primitives/matrix.cuh       ldmatrix, stmatrix, mma
//   primitives/atomic.cuh       atomics, and waits between blocks
//   primitives/mbarrier.cuh     sm_90: transaction barriers, clusters, async-proxy fences, register budgets
//   primitives/tma.cuh          sm_90: tensor and bulk copies
//   primitives/wgmma.cuh        sm_90a: warpgroup matrix multiply
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
