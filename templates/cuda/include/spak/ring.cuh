// A ring of slots in shared memory between one thread that fills them by TMA and warps that read them (sm_90).
//
// Each slot has two mbarriers: `full` completes when the bytes of a filling have landed, `empty` when every reader has
// left the slot. Readers may sit in several blocks of a cluster that receive the same multicast.
#pragma once

#include "spak/roles.cuh"

namespace spak {

// Bytes of the barriers of several rings or turns, and where they lie: from `base` on, if there is room in front of what begins at
// `aligned`, else behind it. Opaque, lest every step works out where that is.
template <class... Rings>
constexpr u32 barrier_bytes_of = (Rings::barrier_bytes + ...);

SPAK_DEVICE u32 place_of_barriers(u32 base, u32 aligned, u32 bytes, u32 behind) {
  return opaque(aligned - base >= bytes ? base : behind);
}

// How far a thread is on its way around the ring: the slot, and the parity of the round it is in.
template <u32 Slots>
struct RingPlace {
  u32 slot = 0, round = 0;

  // The place of filling number `step`.
  SPAK_DEVICE static RingPlace at(u32 step) { return {step % Slots, step / Slots & 1}; }
  SPAK_DEVICE void advance() {
    slot++;
    if (slot == Slots) {
      slot = 0;
      round ^= 1;
    }
  }
  SPAK_DEVICE void skip(u32 steps) {
    const u32 ahead = slot + steps;
    slot = ahead % Slots;
    round ^= ahead / Slots & 1;
  }
};

template <u32 Slots, u32 Cluster>
struct Ring {
  using Place = RingPlace<Slots>;
  static constexpr bool between_blocks = Cluster > 1;
  static constexpr u32 barrier_bytes = 2 * Slots * 8;

  u32 barriers;  // shared address of `full` of every slot, then `empty` of every slot

  // This block's number among those that receive the same multicast.
  SPAK_DEVICE static u32 rank() {
    if constexpr (between_blocks) return cluster_rank();
    else return 0;
  }

  // One thread, before a fence and a barrier. `readers` is the number of warps in one block that release each slot, `fillers` of
  // those that fill it.
  SPAK_DEVICE void init(u32 readers, u32 fillers = 1) const {
    static_assert(place_of_empty(Slots) == barrier_bytes, "behind the last one they end");
    for (u32 slot = 0; slot < Slots; slot++) {
      mbarrier_init(full(slot), fillers);
      mbarrier_init(empty(slot), readers * Cluster);
    }
  }
  SPAK_DEVICE u32 full(u32 slot) const { return barriers + slot * 8; }
  SPAK_DEVICE u32 barriers_end() const { return barriers + barrier_bytes; }

  // The filling thread: waits until the slot is free, and announces the bytes that this block will receive.
  SPAK_DEVICE void fill_begin(const Place& place, u32 bytes) const {
    mbarrier_wait(empty(place.slot), place.round ^ 1);
    mbarrier_arrive_expect(full(place.slot), bytes);
  }
  // The same of a warp that writes the slot itself: all lanes wait and write, then one reports for all.
  SPAK_DEVICE void fill_wait(const Place& place) const { mbarrier_wait(empty(place.slot), place.round ^ 1); }
  SPAK_DEVICE void filled(u32 slot) const {
    sync_warp();
    if (first_lane()) mbarrier_arrive(full(slot));
  }
  // A reader: waits until the slot holds what was asked for.
  SPAK_DEVICE void wait(const Place& place) const { mbarrier_wait(full(place.slot), place.round); }

  // A reading warp, all lanes: has left the slot. Each warp reports for itself, to every block whose filling thread
  // writes here.
  SPAK_DEVICE void release(u32 slot) const {
    if (lane_index() < Cluster) {
      if constexpr (between_blocks) mbarrier_arrive_remote(empty(slot), lane_index());
      else mbarrier_arrive(empty(slot));
    }
  }
  // The same where the lanes have read the slot themselves.
  SPAK_DEVICE void leave(u32 slot) const {
    sync_warp();
    release(slot);
  }

 private:
  SPAK_DEVICE static constexpr u32 place_of_empty(u32 slot) { return (Slots + slot) * 8; }
  SPAK_DEVICE u32 empty(u32 slot) const { return barriers + place_of_empty(slot); }
};

// All threads: rings are ready for `readers` warps once this returns.
template <class... Rings>
SPAK_DEVICE void ready_rings(u32 readers, const Rings&... rings) {
  if (first_thread()) {
    (rings.init(readers), ...);
    mbarrier_init_fence();
  }
  sync_threads();
}

// Two readers that take turns. Reader r waits until the other one has handed over; reader 0 begins.
struct Turns {
  static constexpr u32 barrier_bytes = 2 * 8;

  u32 barriers;

  SPAK_DEVICE static constexpr u32 place(u32 reader) { return reader * 8; }  // of the barrier that it waits at

  // One thread, before a fence and a barrier. `warps` is the number of warps of one reader.
  SPAK_DEVICE void init(u32 warps) const {
    static_assert(place(2) == barrier_bytes, "one for each");
    mbarrier_init(barriers + place(0), warps);
    mbarrier_init(barriers + place(1), warps);
  }
  // `count` is how many turns this reader has had.
  SPAK_DEVICE void wait(u32 reader, u32 count) const { mbarrier_wait(barriers + place(reader), (count + reader + 1) & 1); }
  SPAK_DEVICE void hand_over(u32 reader) const {
    if (first_lane()) mbarrier_arrive(barriers + place(1 - reader));
  }
};

}  // namespace spak
