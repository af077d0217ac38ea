// Which output tile a block computes.
#pragma once

#include "spak/primitives.cuh"

namespace spak {

constexpr u32 TILE_BAND = 8;  // rows of tiles that are walked together, where no knob says how many

struct TileIndex {
  i32 m, n;
};

// Tile number `index` of a grid of tiles_m x tiles_n, walked in bands of `band` rows, each band column by column:
// blocks that run at the same time then share rows of A and columns of B in the second-level cache.
SPAK_DEVICE TileIndex band_order(u32 index, u32 tiles_m, u32 tiles_n, u32 band) {
  const u32 band_tiles = band * tiles_n;
  const u32 first = index / band_tiles * band;
  const u32 rows = minimum(band, tiles_m - first);
  const u32 within = index % band_tiles;
  return {static_cast<i32>(first + within % rows), static_cast<i32>(within / rows)};
}

}  // namespace spak
