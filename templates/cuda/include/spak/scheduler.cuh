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

// Where a tile of rows of one of many problems begins.
struct RowsOfProblem {
  i32 row, problem;
};

// Tile number `index` of `tiles` tiles of `tile` rows each of `problems`. Problems are walked together in groups, and within a group
// from the last tile to the first: under a causal mask the last rows take longest, and what takes longest begins first. A group
// that fills the device once asks for the operands of few problems at a time, evenly.
SPAK_DEVICE RowsOfProblem last_rows_first(u32 index, u32 tiles, u32 tile, u32 problems, u32 group) {
  const u32 first = index / (group * tiles) * group, within = index % (group * tiles);
  const u32 together = minimum(group, problems - first);
  return {static_cast<i32>((tiles - 1 - within / together) * tile), static_cast<i32>(first + within % together)};
}

// How many problems of `tiles` tiles are about one tile for each multiprocessor.
SPAK_DEVICE u32 problems_at_once(i32 multiprocessors, u32 tiles) {
  return maximum((static_cast<u32>(multiprocessors) + tiles / 2) / tiles, 1u);
}

// The number of the tile that this block computes in a round; every other round runs the other way, so that a block whose tile
// was short has a long one next.
SPAK_DEVICE u32 tile_in_turn(u32 round) {
  const u32 blocks = grid_size_x(), block = block_index_x();
  return round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
}

}  // namespace spak
