// Stores the accumulators of a warpgroup by TMA, through slabs of shared memory (sm_90).
//
// A slab holds 64 rows of `span` bytes, swizzled as the tensor map says. While TMA reads one slab, the warpgroup fills
// the next; what lies outside of the output is clipped by TMA.
#pragma once

#include "spak/element.cuh"
#include "spak/operand_tile.cuh"
#include "spak/roles.cuh"

namespace spak {

// Bytes of a row of a slab: the widest that divides a row of the tile.
SPAK_DEVICE constexpr u32 slab_span(u32 row_bytes) {
  return row_bytes % 128 == 0 ? 128 : row_bytes % 64 == 0 ? 64 : 32;
}

// The thread that hands slabs to TMA waits until all but Pending of them have been read, or until all have been stored: before
// their memory is used for something else, and before it leaves.
template <u32 Pending>
SPAK_DEVICE void slabs_read() {
  if (!first_of_warpgroup()) return;
  tma_wait_read<Pending>();
}
SPAK_DEVICE void slabs_stored() {
  if (!first_of_warpgroup()) return;
  tma_wait<0>();
}

// Whether results are stored through slabs of the same columns: then those of one may follow those of another.
template <class First, class... Others>
constexpr bool have_slabs_alike = ((First::columns == Others::columns && First::slab_bytes == Others::slab_bytes) && ...);

// Where a warpgroup is among its slabs.
struct SlabPlace {
  u32 next = 0;
};

// Reads an element of a row that has the same place as the one to store: `paired` with its neighbour, in one access that serves
// both (`second` says which it is; pairs begin at even columns), or alone.
struct Beside {
  bool paired;
  u32 second;
  template <class T>
  SPAK_DEVICE auto read(const T* row, i32 column) const {
    return paired ? as_value(load_vector<2>(row + (column - static_cast<i32>(second)))[second]) : spak::read(row + column);
  }
};

// `Bytes` of shared memory from a multiple of 1024 on belong to this warpgroup; `Blocks` 64-row blocks of TileN columns
// are stored.
template <class T, u32 Blocks, u32 TileN, u32 Bytes, bool Own = false, bool Pairs = false>
struct SlabStore {
  static constexpr u32 span = slab_span(TileN * sizeof(T));
  static_assert(TileN * sizeof(T) % span == 0 && Bytes >= 64 * span, "slabs of whole rows");
  static constexpr u32 slab_bytes = 64 * span;
  static constexpr u32 slabs = Bytes / slab_bytes;
  static constexpr u32 columns = span / sizeof(T), chunks = span / 16;

  // value(accumulator, m, n) is the element to store; it is asked only about places inside m_size x n_size, where all of
  // the tile lies if `Whole`: a place outside becomes the nearest one inside, and TMA does not store it. With `Own`, it is
  // asked about each place once, by the thread that stores it. With `Pairs`, it is also given what reads beside it.
  // (m0, n0) is the first element of the warpgroup's rows. All its 128 threads take part; `barrier` is a named barrier of theirs.
  template <bool Whole, class Accumulators, class Value, class... Batch>
  SPAK_DEVICE static void store(const Accumulators& acc, u32 memory, SlabPlace& place, u32 barrier, const TensorMap* map,
                                i32 m0, i32 n0, i32 m_size, i32 n_size, const Value& value, Batch... batch) {
    for_each_slab(n0, [&](u32 panel, u32 block, i32 n) {
      store_slab<Whole>(acc, panel, block, memory, place, barrier, map, m0, n, m_size, n_size, value, batch...);
    });
  }

  // slab(panel, block, n) for every slab of the tile, whose first column is n: all blocks of rows of a panel of columns, then
  // the next panel. What is read for one panel serves all its blocks: hence the order, which saves registers.
  template <class Slab>
  SPAK_DEVICE static void for_each_slab(i32 n0, const Slab& slab) {
    SPAK_UNROLL
    for (u32 panel = 0; panel < TileN / columns; panel++) {
      const i32 n = opaque(n0 + static_cast<i32>(panel * columns));
      SPAK_UNROLL
      for (u32 block = 0; block < Blocks; block++) slab(panel, block, n);
    }
  }

  // One of these slabs, with what `store` says.
  template <bool Whole, class Accumulators, class Value, class... Batch>
  SPAK_DEVICE static void store_slab(const Accumulators& acc, u32 panel, u32 block, u32 memory, SlabPlace& place, u32 barrier,
                                     const TensorMap* map, i32 m0, i32 n, i32 m_size, i32 n_size, const Value& value,
                                     Batch... batch) {
    const i32 m = m0 + static_cast<i32>(block * 64);
    // A branch, which the compiler does not compute beyond: without it, values of all slabs would occupy registers before the first is
    // stored. TMA would store none of a slab behind the last row.
    if (!is_inside(m, m_size)) return;
    const u32 slab = memory + place.next * slab_bytes;
    slabs_read<slabs - 1>();
    named_barrier_sync(barrier, WARPGROUP);  // TMA has read what this slab held
    const auto element = [&](u32 index, u32 half, i32 column) {
      const i32 row = m + static_cast<i32>(thread_row() + half * 8);
      if (Own && !Whole && !is_inside(row, m_size, column, n_size)) return 0.0f;
      const i32 m = Whole ? row : minimum(row, m_size - 1), n = Whole ? column : minimum(column, n_size - 1);
      if constexpr (Pairs) return static_cast<f32>(value(acc[block][index], m, n, Beside{Whole, index % 2}));
      else return static_cast<f32>(value(acc[block][index], m, n));
    };
    fill_slab(slab, panel, n, element);
    fence_proxy_async_shared();
    named_barrier_sync(barrier, WARPGROUP);  // the slab is complete
    if (first_of_warpgroup()) {
      send(map, slab, n, m, batch...);
      tma_commit();
    }
    place.next = place.next + 1 == slabs ? 0 : place.next + 1;
  }

  // Before other stores use the same memory: their slabs lie elsewhere.
  SPAK_DEVICE static void drain(SlabPlace& place) {
    slabs_read<0>();
    place = {};
  }

 private:
  // The row of a 64-row block that this thread's first accumulators belong to; the others are 8 further.
  SPAK_DEVICE static u32 thread_row() { return thread_index() % WARPGROUP / 32 * 16 + lane_index() / 4; }

  // element(i, half, column) is accumulator i of a block, in its row half; column is the element's in the output.
  template <class Element>
  SPAK_DEVICE static void fill_slab(u32 slab, u32 panel, i32 n, const Element& element) {
    const u32 thread = opaque(thread_index());  // lest addresses occupy registers between two tiles
    const u32 lane = thread % 32, warp_row = thread % WARPGROUP / 32 * 16;
    if constexpr (sizeof(T) == 2) {
      SPAK_UNROLL
      for (u32 pair = 0; pair < columns / 16; pair++) {
        Reg<u32, 4> words;
        SPAK_UNROLL
        for (u32 w = 0; w < 4; w++) {
          const u32 index = panel * columns / 2 + pair * 8 + w * 2;
          const i32 column = n + static_cast<i32>(pair * 16 + w / 2 * 8 + lane % 4 * 2);
          words[w] = pack<T>(element(index, w % 2, column), element(index + 1, w % 2, column + 1));
        }
        const u32 row = warp_row + lane % 16, chunk = pair * 2 + lane / 16;
        stmatrix_x4(slab + row * span + swizzled_chunk<chunks>(row, chunk) * 16, words);
      }
    } else {
      SPAK_UNROLL
      for (u32 group = 0; group < columns / 8; group++) {
        SPAK_UNROLL
        for (u32 half = 0; half < 2; half++) {
          const u32 index = panel * columns / 2 + group * 4 + half * 2, inner = lane % 4 * 2;
          const i32 column = n + static_cast<i32>(group * 8 + inner);
          Reg<f32, 2> both;
          both[0] = element(index, half, column);
          both[1] = element(index + 1, half, column + 1);
          const u32 row = thread_row() + half * 8, chunk = group * 2 + inner / 4;
          store_shared_vector(slab + row * span + swizzled_chunk<chunks>(row, chunk) * 16 + inner % 4 * 4, both);
        }
      }
    }
  }

  template <class... Batch>
  SPAK_DEVICE static void send(const TensorMap* map, u32 slab, i32 n, i32 m, Batch... batch) {
    constexpr u32 rank = 2 + sizeof...(batch);
    static_assert(rank <= 4, "a matrix with at most two batch axes");
    if constexpr (rank == 2) tma_store_2d(map, slab, n, m);
    else if constexpr (rank == 3) tma_store_3d(map, slab, n, m, batch...);
    else tma_store_4d(map, slab, n, m, batch...);
  }
};

}  // namespace spak
