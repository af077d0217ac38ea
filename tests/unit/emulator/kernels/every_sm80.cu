// Calls every primitive that exists from sm_80 on. Compiled for devices and for the emulator; not meant to
// run.
#include "spak/primitives.cuh"
using namespace spak;

struct Params {
  const bf16* x;
  bf16* y;
  const f16* h;
  f32* f;
  u32* semaphore;
  u64* wide;
  i32* integer;
};

SPAK_DEVICE f32 every_function(f32 s) {
  s += exp_f32(s) + exp2_f32(s) + expm1_f32(s) + log_f32(s) + log2_f32(s) + log1p_f32(s) + sin_f32(s) +
       cos_f32(s);
  s += tanh_f32(s) + erf_f32(s) + pow_f32(s, 2.0f) + sqrt_f32(s) + rsqrt_f32(s) + reciprocal_f32(s) +
       divide_f32(s, 3.0f);
  s += floor_f32(s) + ceil_f32(s) + round_f32(s) + abs_f32(s) + fma_f32(s, s, s) + infinity_f32();
  s += max_f32(s, 1.0f) + min_f32(s, 1.0f) + max_nan_f32(s, 1.0f);
  s += exp2_approx(s) + exp_approx(s) + log2_approx(s) + reciprocal_approx(s) + rsqrt_approx(s) +
       tanh_approx(s);
  s += static_cast<f32>(quotient(static_cast<i64>(s), 3));
  return s + exp2_polynomial(s);
}

SPAK_DEVICE f32 every_shared_access(u32 a, f32 s) {
  store_shared<f32>(a, s);
  store_shared<bf16>(a, from_f32<bf16>(s));
  store_shared_8(a, 1);
  store_shared_16(a, 1);
  store_shared_32(a, 1);
  store_shared_64(a, load_shared_64(a));
  store_shared_128(a, load_shared_128(a));
  store_shared_vector(a, load_shared_vector<bf16, 8>(a));
  store_shared_vector(a, load_shared_vector<f32, 1>(a));
  store_shared<i64>(a, load_shared<i64>(a));
  store_shared<u8>(a, load_shared<u8>(a));
  s += shared_atomic_add(a, 1.0f) + shared_atomic_add(a, 1u) + shared_atomic_add(a, 1);
  return s + load_shared<f32>(a) + to_f32(load_shared<f16>(a)) + load_shared_8(a) + load_shared_16(a) +
         load_shared_32(a);
}

SPAK_DEVICE f32 every_global_access(const Params& p, u32 t) {
  f32 s = to_f32(load(p.h + t)) + to_f32(load_readonly(p.x)) + load(p.f + t);
  Reg<bf16, 8> v = load_vector<8>(p.x + t * 8), w = load_vector_readonly<8>(p.x + t * 8);
  SPAK_UNROLL
  for (u32 i = 0; i < Reg<bf16, 8>::size; i++) s += to_f32(v[i]) * to_f32(w[i]);
  v = load_vector_if<8>(p.x + t * 8, t != 0);
  store_vector(p.y + t * 8, v);
  store_vector_streaming(p.y + t * 8, w);
  store_streaming(p.y, v[0]);
  store(p.f + t, s);
  store_global_16(p.y, load_global_16(p.x));
  store_global_32(p.y, load_global_32(p.x));
  store_global_64(p.y, load_global_64(p.x));
  store_global_128(p.y, load_global_128(p.x));
  s += atomic_add(p.f, s) + atomic_add(p.integer, 1) + atomic_add(p.semaphore, 1u) +
       atomic_add(p.wide, u64(1));
  s += atomic_max(p.integer, 1) + atomic_max(p.semaphore, 1u) + atomic_exchange(p.semaphore, 1u);
  s += atomic_compare_exchange(p.semaphore, 0u, 1u) + atomic_add_acq_rel(p.semaphore, 1u);
  semaphore_wait(p.semaphore, 0);
  semaphore_release(p.semaphore, 1);
  return s;
}

SPAK_DEVICE f32 every_warp_operation(f32 s, u32 a) {
  s = shuffle_xor(s, 1u) + shuffle(s, 0) + shuffle_up(s, 1) + shuffle_down(s, 1) + shuffle(u64(1), 2);
  if (vote_any(s > 0) && vote_all(s > 1)) s += vote_ballot(s > 2);
  Reg<u32, 1> r1;
  Reg<u32, 2> r2;
  Reg<u32, 4> r4;
  ldmatrix_x1(r1, a);
  ldmatrix_x1_trans(r1, a);
  ldmatrix_x2(r2, a);
  ldmatrix_x2_trans(r2, a);
  ldmatrix_x4(r4, a);
  ldmatrix_x4_trans(r4, a);
  Reg<f32, 2, 4> d;
  fill(d, 0.0f);
  mma_m16n8k16<bf16>(d[0], r4, r2);
  mma_m16n8k16<f16>(d[1], r4, r2[0], r1[0]);
  s += unpack_low<f16>(pack<f16>(s, s)) + unpack_high<bf16>(pack<bf16>(s, s));
  return s + d[0][0] + d[1][3] + pack_bits(from_f32<f16>(s), from_f32<f16>(s)) + from_f32<f32>(s);
}

SPAK_KERNEL(every, Params, 128, 2) {
  const u32 t = thread_index(), a = align_up(shared_base(), 128u) + t * 16;
  f32 s = every_function(f32(t)) + every_global_access(params, t);
  cp_async_4(a, params.x, 2);
  cp_async_8(a, params.x);
  cp_async_16(a, params.x, 8);
  cp_async_commit();
  cp_async_wait<0>();
  sync_threads();
  sync_warp();
  named_barrier_sync(1, 128);
  named_barrier_arrive(2, 128);
  fence_block();
  fence_device();
  s += every_shared_access(a, s) + every_warp_operation(s, a);
  s += block_index_x() + block_index_y() + block_index_z() + grid_size_x() + grid_size_y() + grid_size_z();
  s += lane_index() + warp_index() + block_threads() + ceil_div(t, 3u) + align_down(t, 2u) + minimum(t, 3u) +
       maximum(t, 4u);
  store(params.f + t, s + bits_as<f32>(t) + opaque(static_cast<i32>(t)));
}
