// A ring of slots in shared memory that the threads of a block fill by cp.async while they read the oldest one.
#pragma once

#include "spak/primitives.cuh"

namespace spak {

// Begins to copy a number of four bytes, or zero where there is none `inside`.
template <class T>
SPAK_DEVICE void copy_number(u32 target, const T* numbers, i64 place, bool inside) {
  cp_async_4(target, inside ? numbers + place : numbers, static_cast<u32>(inside) * 4);
}

template <u32 Slots>
struct CopyRing {
  u32 oldest = 0, spare = Slots - 1;

  // Begins to fill all slots but one. `copy(slot)` issues the copies of what comes next, none where nothing does.
  template <class Copy>
  SPAK_DEVICE void begin(const Copy& copy) const {
    SPAK_UNROLL
    for (u32 slot = 0; slot < Slots - 1; slot++) {
      copy(slot);
      cp_async_commit();
    }
  }
  // The oldest slot has been filled, and the one that was read last is filled again.
  template <class Copy>
  SPAK_DEVICE void wait(const Copy& copy) const {
    cp_async_wait<Slots - 2>();
    sync_threads();  // everyone's copies have landed, and everyone has left the slot that is filled next
    copy(spare);
    cp_async_commit();
  }
  // The oldest slot has been read.
  SPAK_DEVICE void advance() {
    spare = oldest;
    oldest = oldest + 1 == Slots ? 0 : oldest + 1;
  }
};

}  // namespace spak
