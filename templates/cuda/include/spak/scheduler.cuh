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

// The number of the tile that this block computes in a round.
SPAK_DEVICE u32 tile_in_turn(u32 round) { return round * grid_size_x() + block_index_x(); }

// Opaque, lest the way to a block's tiles occupies registers for as long as tiles last.
template <u32 Tile>
SPAK_DEVICE u32 tiles_of(i32 rows) {
  return ceil_div<u32>(opaque(rows), Tile);
}

// How many problems of `tiles` tiles are about one tile for each multiprocessor.
SPAK_DEVICE u32 problems_at_once(i32 multiprocessors, u32 tiles) {
  return maximum((static_cast<u32>(multiprocessors) + tiles / 2) / tiles, 1u);
}

// The rows that this block computes in a round, of `problems` problems of `tiles` tiles of `tile` rows each. Problems are walked
// together in groups, and within a group from the last tile to the first: under a causal mask the last rows take longest, and
// what takes longest begins first. A group that fills the device once asks for the operands of few problems at a time, evenly.
// Where tiles are `uneven` and blocks stay, the longest tile of a group and the shortest, the second longest and the second
// shortest, and so on are pairs, and each two rounds give a block the tiles of one pair: all blocks then have the same to do,
// wherever groups begin. Where the last two rounds are not full, blocks that have one tile more have shorter ones.
SPAK_DEVICE RowsOfProblem rows_in_turn(u32 round, u32 tiles, u32 tile, u32 problems, i32 multiprocessors, bool uneven) {
  const u32 blocks = grid_size_x(), count = tiles * problems, index = tile_in_turn(round);
  const bool pairs = uneven && blocks < count;
  u32 group = problems_at_once(multiprocessors, tiles), number = index, numbers = group * tiles;
  bool second = false;
  if (pairs) {
    const u32 begin = round / 2 * 2 * blocks, here = minimum(2 * blocks, count - begin), once = minimum(blocks, here);
    const u32 place = index - begin, by_length = place < once ? once - 1 - place : place;
    second = by_length >= here / 2;
    number = begin / 2 + (second ? here - 1 - by_length : by_length);
    group += group % 2;  // as many tiles in the first half of a group as in the second
    numbers = group * tiles / 2;
  }
  const u32 first = number / numbers * group, within = number % numbers, together = minimum(group, problems - first);
  const u32 at = second ? together * tiles - 1 - within : within;
  return {static_cast<i32>((tiles - 1 - at / together) * tile), static_cast<i32>(first + at % together)};
}

}  // namespace spak
