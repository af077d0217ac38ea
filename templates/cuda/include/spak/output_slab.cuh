// Stores the accumulators of a warp: through a slab of shared memory, so that rows leave in 16-byte pieces.
#pragma once

#include "spak/element.cuh"
#include "spak/warp_product.cuh"

namespace spak {

// Where an output lies: element (m, n) at `data + m * stride_m + n * stride_n`.
template <class T>
struct Output {
  T* data;
  i64 stride_m, stride_n;
};

// One slab holds `height` rows of a warp's tile. Rows are 16 bytes further apart than their length: writing fragments and
// reading rows then both spread over the banks.
template <class T, class Core>
struct OutputSlab {
  static constexpr u32 height = 16, pitch = Core::N * sizeof(T) + 16;
  static constexpr u32 bytes = height * pitch;
  static constexpr u32 per_piece = 16 / sizeof(T);
  static constexpr u32 pieces = Core::N / per_piece;

  // value(acc, m, n) is the element to store; it is asked only for elements inside m_size x n_size.
  // (m0, n0) is the first element of the block's tile. `slab` belongs to this warp alone.
  // Slabs behind the last row are left out by a branch, which the compiler does not compute beyond: without it, the values of all
  // slabs would occupy registers before the first is stored.
  template <class Value>
  SPAK_DEVICE static void store(const typename Core::Accumulators& acc, u32 slab, const Output<T>& out, i32 m0, i32 n0,
                                i32 m_size, i32 n_size, const Value& value) {
    const u32 lane = lane_index();
    const i32 row0 = m0 + static_cast<i32>(Core::warp_row()), column0 = n0 + static_cast<i32>(Core::warp_column());
    const bool pieces_fit = contiguous(out.stride_n) && vector_aligned<per_piece>(out.data, out.stride_m);
    const i32 slabs = ceil_div(m_size - row0, static_cast<i32>(height));
    SPAK_UNROLL
    for (u32 i = 0; i < Core::blocks_m; i++) {
      if (i && static_cast<i32>(i) == slabs) return;
      SPAK_UNROLL
      for (u32 half = 0; half < 2; half++) {
        const u32 r = lane / 4 + half * 8;
        const i32 m = row0 + static_cast<i32>(i * height + r);
        SPAK_UNROLL
        for (u32 j = 0; j < Core::blocks_n; j++) {
          const u32 c = j * 8 + lane % 4 * 2;
          const i32 n = column0 + static_cast<i32>(c);
          Reg<T, 2> pair;
          SPAK_UNROLL
          for (u32 e = 0; e < 2; e++) {
            const bool inside = m < m_size && n + static_cast<i32>(e) < n_size;
            pair[e] = as_element<T>(inside ? value(acc[i][j][half * 2 + e], m, n + static_cast<i32>(e)) : 0.0f);
          }
          store_shared_vector(slab + r * pitch + c * sizeof(T), pair);
        }
      }
      sync_warp();
      for_own_share<height * pieces, 32>(lane, [&](u32 index) {
        const u32 r = index / pieces, c = index % pieces * per_piece;
        const i32 m = row0 + static_cast<i32>(i * height + r), n = column0 + static_cast<i32>(c);
        if (m >= m_size) return;
        const Reg<T, per_piece> piece = load_shared_vector<T, per_piece>(slab + r * pitch + c * sizeof(T));
        T* target = out.data + m * out.stride_m + n * out.stride_n;
        if (pieces_fit && n + static_cast<i32>(per_piece) <= n_size) {
          store_vector(target, piece);
        } else {
          SPAK_UNROLL
          for (u32 e = 0; e < per_piece; e++)
            if (n + static_cast<i32>(e) < n_size) spak::store(target + e * out.stride_n, piece[e]);
        }
      });
      sync_warp();
    }
  }
};

// Bytes of a warp's slab that serves outputs of all these types one after the other: a warp that is ahead with the next
// one must not reach into the slab of its neighbour.
template <class Core, class First, class... Others>
SPAK_DEVICE constexpr u32 slab_of_a_warp() {
  if constexpr (sizeof...(Others) == 0) return OutputSlab<First, Core>::bytes;
  else return maximum(OutputSlab<First, Core>::bytes, slab_of_a_warp<Core, Others...>());
}

}  // namespace spak
