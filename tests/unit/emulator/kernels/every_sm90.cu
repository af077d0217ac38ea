// Calls every primitive that exists from sm_90 on, and (WGMMA) those of sm_90a. Not meant to run.
#include "spak/primitives.cuh"
using namespace spak;

struct Params {
  TensorMap map;
  f32* f;
  bf16* x;
};

SPAK_DEVICE void every_copy(const Params& p, u32 bar, u32 box) {
  mbarrier_expect(bar, 16);
  mbarrier_arrive_expect(bar, 16);
  tma_prefetch(&p.map);
  tma_load_2d(box, &p.map, bar, 0, 0);
  tma_load_3d(box, &p.map, bar, 0, 0, 0);
  tma_load_4d(box, &p.map, bar, 0, 0, 0, 0);
  tma_load_2d_multicast(box, &p.map, bar, 0, 0, 3);
  tma_load_3d_multicast(box, &p.map, bar, 0, 0, 0, 3);
  tma_load_4d_multicast(box, &p.map, bar, 0, 0, 0, 0, 3);
  tma_store_2d(&p.map, box, 0, 0);
  tma_store_3d(&p.map, box, 0, 0, 0);
  tma_store_4d(&p.map, box, 0, 0, 0, 0);
  tma_reduce_add_2d(&p.map, box, 0, 0);
  tma_reduce_add_3d(&p.map, box, 0, 0, 0);
  tma_reduce_add_4d(&p.map, box, 0, 0, 0, 0);
  bulk_load(box, p.x, 64, bar);
  bulk_store(p.x, box, 64);
  bulk_reduce_add_f32(p.f, box, 64);
  tma_commit();
  tma_wait_read<1>();
  tma_wait<0>();
}

#ifdef WGMMA
template <u32 N>
SPAK_DEVICE f32 every_wgmma(u32 a) {
  Reg<f32, N / 2> d, e;
  Reg<u32, 4> r;
  fill(d, 0.0f);
  fill(r, a);
  const u64 k_major = wgmma_descriptor(a, 16, 1024, Swizzle::b128),
            mn_major = wgmma_descriptor(a, 8192, 1024, Swizzle::b64);
  wgmma_fence();
  wgmma_ss<bf16, Major::k, Major::k>(d, k_major, k_major, true);
  wgmma_ss<f16, Major::mn, Major::mn>(d, mn_major, mn_major, true);
  wgmma_rs<bf16, Major::mn>(e, r, mn_major, false);
  wgmma_rs<f16, Major::k>(e, r, k_major, true);
  wgmma_commit();
  wgmma_wait<0>();
  register_pin(d);
  register_pin(e);
  order_before_wait(d[0]);
  return d[N / 2 - 1] + e[0];
}
#endif

SPAK_KERNEL(every, Params, 256, 1, 2, 1, 1) {
  const u32 bar = align_up(shared_base(), 1024u), t = thread_index();
  if (t == 0) {
    mbarrier_init(bar, 1);
    mbarrier_init_fence();
  }
  cluster_sync();
  cluster_arrive();
  cluster_wait();
  grid_dependency_wait();
  grid_dependency_launch();
  if (elect_one()) every_copy(params, bar, bar + 1024);
  cp_async_mbarrier_arrive(bar);
  mbarrier_arrive(bar);
  mbarrier_arrive_remote(bar, cluster_rank() ^ 1);
  mbarrier_wait(bar, 0);
  store_shared_remote<f32>(bar + 64, 1, 2.0f);
  f32 s = load_shared_remote<f32>(bar + 64, 1);
  Reg<u32, 1> r1;
  Reg<u32, 2> r2;
  Reg<u32, 4> r4;
  fill(r1, t);
  fill(r2, t);
  fill(r4, t);
  stmatrix_x1(bar, r1);
  stmatrix_x1_trans(bar, r1);
  stmatrix_x2(bar, r2);
  stmatrix_x2_trans(bar, r2);
  stmatrix_x4(bar, r4);
  stmatrix_x4_trans(bar, r4);
  fence_proxy_async();
  fence_proxy_async_shared();
#ifdef WGMMA
  if (t < 128) register_decrease<40>();
  else register_increase<232>();
  s += every_wgmma<8>(bar) + every_wgmma<72>(bar) + every_wgmma<256>(bar);
#endif
  store(params.f + t, s);
}
