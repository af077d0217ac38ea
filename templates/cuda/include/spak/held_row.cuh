// A row in pieces that its threads hold in registers: each thread `Chunks` vectors of `Vector` neighbours. With 0 chunks
// nothing is held, and every pass reads the row again, a panel of vectors at a time.
#pragma once

#include "spak/numbers.cuh"
#include "spak/vector.cuh"

namespace spak {

// Vectors that a thread reads together, and how many times a pass over a row does so, where all threads together move
// `together` elements. A row that is held is one panel, so that its registers can be numbered.
template <u32 Chunks>
constexpr u32 row_panel = Chunks > 0 ? Chunks : 4;

template <u32 Chunks>
SPAK_DEVICE u32 row_panels(i32 elements, u32 together) {
  if constexpr (Chunks) return Chunks / row_panel<Chunks>;
  else return ceil_div(static_cast<u32>(elements), together * row_panel<Chunks>);
}

template <class T, u32 Vector, u32 Chunks>
struct HeldRow {
  Reg<T, Chunks, Vector> piece;
  SPAK_DEVICE void read(u32 chunk, const T* p, bool inside) { piece[chunk] = read_vector_if<Vector>(p, inside); }
  SPAK_DEVICE Reg<T, Vector> again(u32 chunk, const T*, bool) const { return piece[chunk]; }
};

template <class T, u32 Vector>
struct HeldRow<T, Vector, 0> {
  SPAK_DEVICE void read(u32, const T*, bool) {}
  SPAK_DEVICE Reg<T, Vector> again(u32, const T* p, bool inside) const { return read_vector_if<Vector>(p, inside); }
};

// What the threads of one row have summed down the columns that they hold, over all of their rows.
template <u32 Vector, u32 Chunks>
struct ColumnSums {
  static constexpr u32 bytes = Chunks * Vector * 32 * 4;  // of what a warp leaves
  Reg<f32, Chunks, Vector> total;
  SPAK_DEVICE ColumnSums() { fill(total, 0.0f); }
  SPAK_DEVICE void add(u32 chunk, const Reg<f32, Vector>& values) {
    SPAK_UNROLL
    for (u32 e = 0; e < Vector; e++) total[chunk][e] += values[e];
  }
  // Where each of a block's warps has its own rows: what this one has, for others to add. `scratch` has `bytes` for each.
  SPAK_DEVICE void leave(u32 scratch) {
    const u32 mine = scratch + warp_index() * bytes + lane_index() * 4;
    for_each([&](u32 place, f32& sum) { store_shared<f32>(mine + place, sum); });
  }
  // The whole of what `Warps` warps have left, added up in their order.
  template <u32 Warps>
  SPAK_DEVICE void gather(u32 scratch) {
    for_each([&](u32 place, f32& sum) {
      const u32 first = scratch + lane_index() * 4 + place;
      sum = load_shared<f32>(first);
      SPAK_UNROLL
      for (const u32 warp : between(1u, Warps)) sum += load_shared<f32>(first + warp * bytes);
    });
  }

 private:
  // function(place, sum) for every sum of this thread; places are those of a warp's first lane.
  template <class Function>
  SPAK_DEVICE void for_each(const Function& function) {
    SPAK_UNROLL
    for (u32 chunk = 0; chunk < Chunks; chunk++) {
      SPAK_UNROLL
      for (u32 e = 0; e < Vector; e++) function((chunk * Vector + e) * 32 * 4, total[chunk][e]);
    }
  }
};

}  // namespace spak
