// C = A * B, f32 accumulators, T in and out: TMA, mbarrier ring, wgmma, stmatrix, TMA store. One producer
// warpgroup and two consumers; tile 128 x 128 x 64; cluster of CLUSTER blocks along m that share B by
// multicast. A_MN: A is stored [k, m], else [m, k]. B_MN: B is stored [k, n], else [n, k]. FROM_REGISTERS: A
// goes through ldmatrix.
#include "spak/primitives.cuh"
using namespace spak;

#ifndef PLANT
#define PLANT 0
#endif
#ifndef CLUSTER
#define CLUSTER 1
#endif
#ifndef ELEMENT
#define ELEMENT bf16
#endif
#ifndef A_MN
#define A_MN 0
#endif
#ifndef B_MN
#define B_MN 0
#endif

struct Params {
  TensorMap a, b, c;
  i32 m, n, k;
};

constexpr i32 BLOCK_M = 128, BLOCK_N = 128, BLOCK_K = 64;
constexpr u32 STAGES = 4, A_BYTES = BLOCK_M * BLOCK_K * 2, B_BYTES = BLOCK_N * BLOCK_K * 2;
constexpr Major MAJOR_A = A_MN ? Major::mn : Major::k, MAJOR_B = B_MN ? Major::mn : Major::k;

SPAK_KERNEL(gemm, Params, 384, 1, 1, CLUSTER, 1) {
  const u32 base = align_up(shared_base(), 1024u);
  const u32 a_tiles = base, b_tiles = a_tiles + STAGES * A_BYTES, staging = b_tiles + STAGES * B_BYTES;
  const u32 full = staging + BLOCK_M * BLOCK_N * 2, empty = full + STAGES * 8;
  const u32 t = thread_index(), warp = warp_index(), group = warp >> 2, rank = cluster_rank();
  const i32 m0 = block_index_y() * BLOCK_M, n0 = block_index_x() * BLOCK_N;
  const i32 steps = ceil_div(params.k, BLOCK_K);
  if (t == 0) {
    for (u32 s = 0; s < STAGES; s++) {
      mbarrier_init(full + s * 8, 1);
      mbarrier_init(empty + s * 8, PLANT == 15 ? 1 : 8 * CLUSTER);
    }
    if (PLANT != 17) mbarrier_init_fence();
  }
  if (PLANT != 7) {
    if (CLUSTER > 1) cluster_sync();
    else sync_threads();
  }
  if (group == 0) {
    register_decrease<40>();
    if (t == 0) {
      for (i32 step = 0; step < steps; step++) {
        const u32 s = step % STAGES, phase = (step / STAGES) & 1;
        if (PLANT != 11 || step < (i32)STAGES) mbarrier_wait(empty + s * 8, PLANT == 3 ? phase : phase ^ 1);
        mbarrier_arrive_expect(full + s * 8, PLANT == 4 ? A_BYTES + B_BYTES / 2 : A_BYTES + B_BYTES);
        const i32 k0 = step * BLOCK_K;
        if (A_MN) {
          tma_load_2d(a_tiles + s * A_BYTES, &params.a, full + s * 8, m0, k0);
          tma_load_2d(a_tiles + s * A_BYTES + 8192, &params.a, full + s * 8, m0 + 64, k0);
        } else {
          tma_load_2d(a_tiles + s * A_BYTES, &params.a, full + s * 8, k0, m0);
        }
        if (B_MN) {
          tma_load_2d(b_tiles + s * B_BYTES, &params.b, full + s * 8, n0, k0);
          tma_load_2d(b_tiles + s * B_BYTES + 8192, &params.b, full + s * 8, n0 + 64, k0);
        } else if (CLUSTER > 1) {
          tma_load_2d_multicast(b_tiles + s * B_BYTES + rank * (B_BYTES / CLUSTER), &params.b, full + s * 8,
                                k0, n0 + rank * (BLOCK_N / CLUSTER), (1 << CLUSTER) - 1);
        } else {
          tma_load_2d(b_tiles + s * B_BYTES, &params.b, full + s * 8, k0, n0);
        }
      }
    }
    sync_warp();
  } else {
    register_increase<232>();
    const u32 consumer = group - 1, lane = lane_index(), quarter = warp & 3;
    Reg<f32, 64> d;
    for (i32 step = 0; step < steps; step++) {
      u32 s = step % STAGES;
      const u32 phase = (step / STAGES) & 1;
      if (PLANT != 1) mbarrier_wait(full + s * 8, phase);
      if (PLANT == 8) s = (step + 1) % STAGES;
      if (PLANT != 9) wgmma_fence();
      const u32 a = a_tiles + s * A_BYTES + consumer * 8192, b = b_tiles + s * B_BYTES;
      constexpr Swizzle swizzle = PLANT == 5 ? Swizzle::b64 : Swizzle::b128;
      SPAK_UNROLL
      for (u32 kk = 0; kk < 4; kk++) {
        const u32 a_step = A_MN ? 2048 : PLANT == 12 ? 16 : 32, b_step = B_MN ? 2048 : 32;
        wgmma_ss<ELEMENT, MAJOR_A, MAJOR_B>(d, wgmma_descriptor(a + kk * a_step, 8192, 1024, swizzle),
                                            wgmma_descriptor(b + kk * b_step, 8192, 1024, swizzle),
                                            step + kk != 0);
      }
      wgmma_commit();
      if (PLANT == 2) wgmma_wait<1>();
      else wgmma_wait<0>();
      register_pin(d);
      if (lane < CLUSTER) {
        if (CLUSTER > 1) mbarrier_arrive_remote(empty + s * 8, lane);
        else mbarrier_arrive(empty + s * 8);
      }
    }
    if (PLANT == 2) {
      wgmma_wait<0>();
      register_pin(d);
    }
    const u32 slab = staging + consumer * 64 * BLOCK_N * 2;
    SPAK_UNROLL
    for (u32 j = 0; j < 8; j++) {
      const u32 row = quarter * 16 + (lane & 15), chunk = j * 2 + (lane >> 4);
      const u32 swizzled = PLANT == 16 ? chunk & 7 : (chunk & 7) ^ (row & 7);
      Reg<u32, 4> packed;
      SPAK_UNROLL
      for (u32 i = 0; i < 4; i++) packed[i] = pack<ELEMENT>(d[j * 8 + i * 2], d[j * 8 + i * 2 + 1]);
      stmatrix_x4(slab + (chunk >> 3) * 8192 + row * 128 + swizzled * 16, packed);
    }
    if (PLANT != 6) fence_proxy_async_shared();
    if (PLANT != 14) named_barrier_sync(1 + consumer, 128);
    if ((t & 127) == 0) {
      tma_store_2d(&params.c, slab, n0, m0 + consumer * 64);
      tma_store_2d(&params.c, slab + 8192, n0 + 64, m0 + consumer * 64);
      tma_commit();
      if (PLANT != 13) tma_wait<0>();
    }
    sync_warp();
  }
  if (CLUSTER > 1 && PLANT != 18) cluster_sync();
}
