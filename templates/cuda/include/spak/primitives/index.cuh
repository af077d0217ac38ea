// Who am I. Threads of a block are numbered along x only; grids have three dimensions.
//
//   thread_index()  0 .. threads-1          lane_index()  0 .. 31
//   warp_index()    thread / 32, made uniform over the warp (so that branches on it are uniform) by a shuffle: all
//                   lanes call it together. Within a branch that lanes take apart it waits for ever
//   block_index_x/y/z(), grid_size_x/y/z()  in blocks
//   shared_base()   shared-memory address of the dynamic shared memory. Only 16-byte alignment is promised:
//                   a kernel that needs more asks for slack and rounds up with align_up.
#pragma once

extern __shared__ __align__(1024) unsigned char spak_dynamic_shared[];

namespace spak {

SPAK_DEVICE u32 thread_index() { return threadIdx.x; }
SPAK_DEVICE u32 lane_index() { return threadIdx.x & 31; }
SPAK_DEVICE u32 warp_index() { return __shfl_sync(0xffffffffu, threadIdx.x >> 5, 0); }
SPAK_DEVICE u32 block_threads() { return blockDim.x; }
SPAK_DEVICE u32 block_index_x() { return blockIdx.x; }
SPAK_DEVICE u32 block_index_y() { return blockIdx.y; }
SPAK_DEVICE u32 block_index_z() { return blockIdx.z; }
SPAK_DEVICE u32 grid_size_x() { return gridDim.x; }
SPAK_DEVICE u32 grid_size_y() { return gridDim.y; }
SPAK_DEVICE u32 grid_size_z() { return gridDim.z; }
SPAK_DEVICE u32 shared_base() { return static_cast<u32>(__cvta_generic_to_shared(spak_dynamic_shared)); }

}  // namespace spak
