// Warp-level matrix operations on 16-bit elements; all 32 lanes take part.
//
//   ldmatrix_x1/x2/x4[_trans](r, address)
//       loads 8x8 matrices of 16-bit elements. Lane 8m + i gives the address of row i of matrix m (16 bytes,
//       16-byte aligned). Lane l receives in r[m] row l/4, columns 2(l%4) and +1; with _trans it receives the
//       transposed matrix so.
//   stmatrix_x1/x2/x4[_trans](address, r)
//       the inverse (sm_90 and later)
//
//   mma_m16n8k16<T>(d, a, b0, b1)
//       d += a * b with f32 accumulators, T = bf16 or f16. With g = lane/4, t = 2(lane%4):
//       d[0..3]  rows g, g, g+8, g+8; columns t, t+1, t, t+1
//       a[0..3]  (row g, k t..t+1), (g+8, t..), (g, t+8..), (g+8, t+8..): the order that ldmatrix_x4 gives
//                for a 16x16 row-major tile when lane l addresses row l%16, column 8(l/16)
//       b0, b1   (k t..t+1, column g), (k t+8..t+9, column g)
#pragma once

namespace spak {

#define SPAK_LDMATRIX(suffix, modifier)                                                         \
  SPAK_DEVICE void ldmatrix_x1##suffix(Reg<u32, 1>& r, u32 address) {                           \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" modifier ".shared.b16 {%0}, [%1];"             \
                 : "=r"(r[0])                                                                   \
                 : "r"(address)                                                                 \
                 : "memory");                                                                   \
  }                                                                                             \
  SPAK_DEVICE void ldmatrix_x2##suffix(Reg<u32, 2>& r, u32 address) {                           \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" modifier ".shared.b16 {%0, %1}, [%2];"         \
                 : "=r"(r[0]), "=r"(r[1])                                                       \
                 : "r"(address)                                                                 \
                 : "memory");                                                                   \
  }                                                                                             \
  SPAK_DEVICE void ldmatrix_x4##suffix(Reg<u32, 4>& r, u32 address) {                           \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" modifier ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                               \
                 : "r"(address)                                                                 \
                 : "memory");                                                                   \
  }
SPAK_LDMATRIX(, "")
SPAK_LDMATRIX(_trans, ".trans")
#undef SPAK_LDMATRIX

template <class T>
SPAK_DEVICE void mma_m16n8k16(Reg<f32, 4>& d, const Reg<u32, 4>& a, u32 b0, u32 b1) {
  static_assert(same_type<T, bf16> || same_type<T, f16>, "mma_m16n8k16: bf16 or f16");
  if constexpr (same_type<T, bf16>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <class T>
SPAK_DEVICE void mma_m16n8k16(Reg<f32, 4>& d, const Reg<u32, 4>& a, const Reg<u32, 2>& b) {
  mma_m16n8k16<T>(d, a, b[0], b[1]);
}

#if __CUDA_ARCH__ >= 900
#define SPAK_STMATRIX(suffix, modifier)                                                                 \
  SPAK_DEVICE void stmatrix_x1##suffix(u32 address, const Reg<u32, 1>& r) {                             \
    asm volatile("stmatrix.sync.aligned.m8n8.x1" modifier ".shared.b16 [%0], {%1};" ::"r"(address),     \
                 "r"(r[0])                                                                              \
                 : "memory");                                                                           \
  }                                                                                                     \
  SPAK_DEVICE void stmatrix_x2##suffix(u32 address, const Reg<u32, 2>& r) {                             \
    asm volatile("stmatrix.sync.aligned.m8n8.x2" modifier ".shared.b16 [%0], {%1, %2};" ::"r"(address), \
                 "r"(r[0]), "r"(r[1])                                                                   \
                 : "memory");                                                                           \
  }                                                                                                     \
  SPAK_DEVICE void stmatrix_x4##suffix(u32 address, const Reg<u32, 4>& r) {                             \
    asm volatile("stmatrix.sync.aligned.m8n8.x4" modifier                                               \
                 ".shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),                                  \
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])                                             \
                 : "memory");                                                                           \
  }
SPAK_STMATRIX(, "")
SPAK_STMATRIX(_trans, ".trans")
#undef SPAK_STMATRIX
#endif

}  // namespace spak
