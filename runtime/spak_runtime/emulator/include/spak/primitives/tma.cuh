// Copies by the tensor memory accelerator (emulator).
#pragma once

namespace spak {

template <u32 Rank>
inline void tma_load(u32 dst, const TensorMap* map, u32 barrier, const i32 (&c)[Rank], u32 mask, SPAK_AT) {
  spak_emu_tma_load(dst, map, barrier, c, Rank, mask, SPAK_PASS);
}
inline void tma_load_2d(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, SPAK_HERE) {
  tma_load(dst, map, barrier, {c0, c1}, 0, SPAK_PASS);
}
inline void tma_load_3d(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, i32 c2, SPAK_HERE) {
  tma_load(dst, map, barrier, {c0, c1, c2}, 0, SPAK_PASS);
}
inline void tma_load_4d(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, i32 c2, i32 c3,
                        SPAK_HERE) {
  tma_load(dst, map, barrier, {c0, c1, c2, c3}, 0, SPAK_PASS);
}
inline void tma_load_2d_multicast(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, u16 mask,
                                  SPAK_HERE) {
  tma_load(dst, map, barrier, {c0, c1}, mask, SPAK_PASS);
}
inline void tma_load_3d_multicast(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, i32 c2,
                                  u16 mask, SPAK_HERE) {
  tma_load(dst, map, barrier, {c0, c1, c2}, mask, SPAK_PASS);
}
inline void tma_load_4d_multicast(u32 dst, const TensorMap* map, u32 barrier, i32 c0, i32 c1, i32 c2, i32 c3,
                                  u16 mask, SPAK_HERE) {
  tma_load(dst, map, barrier, {c0, c1, c2, c3}, mask, SPAK_PASS);
}

template <u32 Rank>
inline void tma_out(const TensorMap* map, u32 src, const i32 (&c)[Rank], int reduce_add, SPAK_AT) {
  spak_emu_tma_store(map, src, c, Rank, reduce_add, SPAK_PASS);
}
inline void tma_store_2d(const TensorMap* map, u32 src, i32 c0, i32 c1, SPAK_HERE) {
  tma_out(map, src, {c0, c1}, 0, SPAK_PASS);
}
inline void tma_store_3d(const TensorMap* map, u32 src, i32 c0, i32 c1, i32 c2, SPAK_HERE) {
  tma_out(map, src, {c0, c1, c2}, 0, SPAK_PASS);
}
inline void tma_store_4d(const TensorMap* map, u32 src, i32 c0, i32 c1, i32 c2, i32 c3, SPAK_HERE) {
  tma_out(map, src, {c0, c1, c2, c3}, 0, SPAK_PASS);
}
inline void tma_reduce_add_2d(const TensorMap* map, u32 src, i32 c0, i32 c1, SPAK_HERE) {
  tma_out(map, src, {c0, c1}, 1, SPAK_PASS);
}
inline void tma_reduce_add_3d(const TensorMap* map, u32 src, i32 c0, i32 c1, i32 c2, SPAK_HERE) {
  tma_out(map, src, {c0, c1, c2}, 1, SPAK_PASS);
}
inline void tma_reduce_add_4d(const TensorMap* map, u32 src, i32 c0, i32 c1, i32 c2, i32 c3, SPAK_HERE) {
  tma_out(map, src, {c0, c1, c2, c3}, 1, SPAK_PASS);
}
inline void tma_prefetch(const TensorMap*) {}

inline void bulk_load(u32 dst, const void* src, u32 bytes, u32 barrier, SPAK_HERE) {
  spak_emu_bulk_load(dst, src, bytes, barrier, SPAK_PASS);
}
inline void bulk_store(void* dst, u32 src, u32 bytes, SPAK_HERE) {
  spak_emu_bulk_store(dst, src, bytes, 0, SPAK_PASS);
}
inline void bulk_reduce_add_f32(f32* dst, u32 src, u32 bytes, SPAK_HERE) {
  spak_emu_bulk_store(dst, src, bytes, 1, SPAK_PASS);
}

inline void tma_commit(SPAK_HERE) { spak_emu_tma_commit(SPAK_PASS); }
template <u32 Pending>
inline void tma_wait(SPAK_HERE) {
  spak_emu_tma_wait(Pending, 0, SPAK_PASS);
}
template <u32 Pending>
inline void tma_wait_read(SPAK_HERE) {
  spak_emu_tma_wait(Pending, 1, SPAK_PASS);
}

}  // namespace spak
