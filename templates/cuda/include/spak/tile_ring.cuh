// Tiles of one operand that pass through a ring (sm_90): filling number `step` lies in slot step % Slots, and slots lie one
// behind the other from `tiles` on.
#pragma once

#include "spak/ring.cuh"

namespace spak {

template <class TileOfRing, u32 Slots>
struct TileRing {
  using Tile = TileOfRing;
  using Place = RingPlace<Slots>;

  Ring<Slots, 1> ring;
  u32 tiles;

  static constexpr u32 barrier_bytes = decltype(ring)::barrier_bytes, bytes = Slots * Tile::bytes;

  SPAK_DEVICE void init(u32 readers) const { ring.init(readers); }
  SPAK_DEVICE u32 barriers_end() const { return ring.barriers_end(); }

  // The filling thread: waits until the slot of a tile is free and announces its bytes; where they go, and the barrier they arrive at.
  SPAK_DEVICE void fill_begin(u32 step) const { ring.fill_begin(Place::at(step), Tile::bytes); }
  SPAK_DEVICE u32 tile(u32 step) const { return tiles + Place::at(step).slot * Tile::bytes; }
  SPAK_DEVICE u32 full(u32 step) const { return ring.full(Place::at(step).slot); }
  // A reader: waits until the tile is there; and a reading warp has left it, after what is asynchronous or with its own lanes.
  SPAK_DEVICE void wait(u32 step) const { ring.wait(Place::at(step)); }
  SPAK_DEVICE void release(u32 step) const { ring.release(Place::at(step).slot); }
  SPAK_DEVICE void leave(u32 step) const { ring.leave(Place::at(step).slot); }
  // The same once the products of a tile have been computed and waited for.
  template <u32 N>
  SPAK_DEVICE void release(u32 step, Reg<f32, N>& products) const {
    register_pin(products);
    release(step);
  }
  // Of a tile that this reader has no use for.
  SPAK_DEVICE void pass(u32 step) const {
    wait(step);
    leave(step);
  }

  // What the lower word of a descriptor of the first slot grows by.
  SPAK_DEVICE static u32 words(u32 step) { return Place::at(step).slot * (Tile::bytes / 16); }
};

}  // namespace spak
