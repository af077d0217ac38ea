// Reductions by a group of threads, and the groups: a warp, a block, or the lanes of equal number of a block's warps.
//
// A reducer is what one thread has seen so far: add(x) takes one more value, merge(other) another thread's part. Parts
// are merged in one fixed order, so that equal inputs give equal bits.
#pragma once

#include "spak/roles.cuh"

namespace spak {

struct Sum {
  f32 total = 0.0f;
  SPAK_DEVICE void add(f32 x) { total += x; }
  SPAK_DEVICE void merge(const Sum& other) { total += other.total; }
  SPAK_DEVICE f32 value() const { return total; }
};

struct Max {
  f32 largest = -infinity_f32();
  SPAK_DEVICE void add(f32 x) { largest = max_nan_f32(largest, x); }
  SPAK_DEVICE void merge(const Max& other) { add(other.largest); }
  SPAK_DEVICE f32 value() const { return largest; }
};

struct Min {
  f32 negated = -infinity_f32();
  SPAK_DEVICE void add(f32 x) { negated = max_nan_f32(negated, -x); }
  SPAK_DEVICE void merge(const Min& other) { negated = max_nan_f32(negated, other.negated); }
  SPAK_DEVICE f32 value() const { return -negated; }
};

// log(sum(exp(x))) in one pass: the sum is kept relative to the largest value so far. Nothing, or only -inf: -inf. There are
// no branches: where the largest is infinite, the sum is relative to 0, and the largest is the value.
struct LogSumExp {
  f32 largest, scaled;
  SPAK_DEVICE LogSumExp() : largest(-infinity_f32()), scaled(0.0f) {}
  SPAK_DEVICE LogSumExp(f32 largest_, f32 scaled_) : largest(largest_), scaled(scaled_) {}
  SPAK_DEVICE void add(f32 x) { merge(LogSumExp(x, 1.0f)); }
  SPAK_DEVICE void merge(const LogSumExp& other) {
    const f32 top = max_nan_f32(largest, other.largest), from = base(top);
    scaled = scaled * exp_approx(largest - from) + other.scaled * exp_approx(other.largest - from);
    largest = top;
  }
  SPAK_DEVICE f32 value() const { return is_finite(largest) ? largest + log_f32(scaled) : largest; }

  SPAK_DEVICE static bool is_finite(f32 x) { return abs_f32(x) < infinity_f32(); }  // false for NaN
  // What a sum is relative to whose largest value is this.
  SPAK_DEVICE static f32 base(f32 largest) { return is_finite(largest) ? largest : 0.0f; }
};

// Several values at once.
template <class Reducer, u32 N>
SPAK_DEVICE void add_each(Reducer& part, const Reg<f32, N>& values) {
  SPAK_UNROLL
  for (u32 i = 0; i < N; i++) part.add(values[i]);
}
// Relative to the largest of them: one exponential each, and two to join what was seen before.
template <u32 N>
SPAK_DEVICE void add_each(LogSumExp& part, const Reg<f32, N>& values) {
  LogSumExp all(values[0], 0.0f);
  SPAK_UNROLL
  for (u32 i = 1; i < N; i++) all.largest = max_nan_f32(all.largest, values[i]);
  const f32 from = LogSumExp::base(all.largest);
  SPAK_UNROLL
  for (u32 i = 0; i < N; i++) all.scaled += exp_approx(values[i] - from);
  part.merge(all);
}

constexpr u32 REDUCER_BYTES = 8;  // of shared memory per part

// The part of the lane whose number differs in the bits of `mask`.
template <class Reducer>
SPAK_DEVICE Reducer exchanged(const Reducer& mine, u32 mask) {
  Reducer other;
  if constexpr (sizeof(Reducer) == 4) {
    other = bits_as<Reducer>(shuffle_xor(bits_as<u32>(mine), mask));
  } else {
    static_assert(sizeof(Reducer) == REDUCER_BYTES, "a reducer is one or two f32");
    other = bits_as<Reducer>(shuffle_xor(bits_as<u64>(mine), mask));
  }
  return other;
}

// Several parts side by side, so that one does not wait for another's exchanges.
template <u32 Lanes = 32, class... Reducers>
SPAK_DEVICE void warp_reduce(Reducers&... parts) {
  SPAK_UNROLL
  for (u32 mask = Lanes / 2; mask > 0; mask /= 2) (parts.merge(exchanged(parts, mask)), ...);
}
template <class Reducer>
SPAK_DEVICE Reducer warp_reduced(Reducer part) {
  warp_reduce(part);
  return part;
}

// ---- groups: `size` threads of which this is number rank(); reduced(part) gives every thread the whole, and a warp or a
// block may reduce(parts...) in place, several at once ----

struct WarpGroup {
  static constexpr u32 size = 32;
  SPAK_DEVICE explicit WarpGroup(u32) {}
  SPAK_DEVICE u32 rank() const { return lane_index(); }
  template <class Reducer>
  SPAK_DEVICE Reducer reduced(const Reducer& part) const {
    return warp_reduced(part);
  }
  template <class... Reducers>
  SPAK_DEVICE void reduce(Reducers&... parts) const {
    warp_reduce(parts...);
  }
};

// `Lanes` neighbours of a warp, which reduces for each such group at once.
template <u32 Lanes>
struct LanesOfWarp {
  static constexpr u32 size = Lanes;
  SPAK_DEVICE u32 rank() const { return lane_index() % Lanes; }
  template <class Reducer>
  SPAK_DEVICE Reducer reduced(Reducer part) const {
    warp_reduce<Lanes>(part);
    return part;
  }
  template <class... Reducers>
  SPAK_DEVICE void reduce(Reducers&... parts) const {
    warp_reduce<Lanes>(parts...);
  }
};

// All threads of the block. `scratch` has REDUCER_BYTES for each warp and each part that is reduced at once.
template <u32 Threads>
struct BlockGroup {
  static constexpr u32 size = Threads, warps = Threads / 32;
  u32 scratch;
  SPAK_DEVICE explicit BlockGroup(u32 scratch_) : scratch(scratch_) {}
  SPAK_DEVICE u32 rank() const { return thread_index(); }
  template <class Reducer>
  SPAK_DEVICE Reducer reduced(const Reducer& part) const {
    Reducer whole = part;
    reduce(whole);
    return whole;
  }
  template <class... Reducers>
  SPAK_DEVICE void reduce(Reducers&... parts) const {
    warp_reduce(parts...);
    if constexpr (warps > 1) {
      sync_threads();  // the parts of the reduction before this one have been read
      u32 place = scratch;
      if (first_lane()) (hand_over(place, parts), ...);
      sync_threads();
      place = scratch;
      (collect(place, parts), ...);
    }
  }

 private:
  template <class Reducer>
  SPAK_DEVICE void hand_over(u32& place, const Reducer& part) const {
    store_shared<Reducer>(place + thread_index() / 32 * REDUCER_BYTES, part);
    place += warps * REDUCER_BYTES;
  }
  template <class Reducer>
  SPAK_DEVICE void collect(u32& place, Reducer& part) const {
    part = load_shared<Reducer>(place);
    SPAK_UNROLL
    for (u32 w = 1; w < warps; w++) part.merge(load_shared<Reducer>(place + w * REDUCER_BYTES));
    place += warps * REDUCER_BYTES;
  }
};

// The threads of one row: a part of a warp, a warp, or all of the block.
template <u32 Threads>
struct RowGroup : BlockGroup<Threads> {
  using BlockGroup<Threads>::BlockGroup;
};
template <>
struct RowGroup<32> : WarpGroup {
  using WarpGroup::WarpGroup;
};
template <>
struct RowGroup<16> : LanesOfWarp<16> {
  SPAK_DEVICE explicit RowGroup(u32) {}
};
template <>
struct RowGroup<8> : LanesOfWarp<8> {
  SPAK_DEVICE explicit RowGroup(u32) {}
};

// The threads of one lane number: 32 such groups in a block. `scratch` has REDUCER_BYTES for each thread.
template <u32 Warps>
struct LaneGroup {
  static constexpr u32 size = Warps;
  u32 scratch;
  SPAK_DEVICE explicit LaneGroup(u32 scratch_) : scratch(scratch_ + lane_index() * REDUCER_BYTES) {}
  SPAK_DEVICE u32 rank() const { return thread_index() / 32; }
  template <class Reducer>
  SPAK_DEVICE Reducer reduced(const Reducer& part) const {
    sync_threads();
    store_shared<Reducer>(scratch + rank() * 32 * REDUCER_BYTES, part);
    sync_threads();
    Reducer whole = load_shared<Reducer>(scratch);
    SPAK_UNROLL
    for (u32 w = 1; w < Warps; w++) whole.merge(load_shared<Reducer>(scratch + w * 32 * REDUCER_BYTES));
    return whole;
  }
};

}  // namespace spak
