// What a condition over indices is for a whole tile, by interval arithmetic: never, sometimes or always true.
//
// The answer is conservative: `may` is false only if the condition is false everywhere in the tile, `must` true only if it
// is true everywhere. So a tile that may not be is skipped, and one that must be needs no test of its elements.
#pragma once

#include "spak/functions.cuh"

namespace spak {

// The integers first .. last, both ends included.
struct Range {
  i32 first, last;
  SPAK_DEVICE Range(i32 first_, i32 last_) : first(first_), last(last_) {}
  SPAK_DEVICE explicit Range(i32 only) : first(only), last(only) {}
};

// All of `count`.
SPAK_DEVICE Range all_of(i32 count) { return Range(0, count - 1); }

// The part of a tile from `first` on that lies before `end`, and whether that is all of it.
SPAK_DEVICE Range part_of_tile(i32 first, i32 tile, i32 end) { return Range(first, minimum(first + tile, end) - 1); }
SPAK_DEVICE bool is_whole(i32 first, i32 tile, i32 end) { return first + tile <= end; }

SPAK_DEVICE Range operator+(Range a, Range b) { return Range(a.first + b.first, a.last + b.last); }
SPAK_DEVICE Range operator-(Range a, Range b) { return Range(a.first - b.last, a.last - b.first); }
SPAK_DEVICE Range operator-(Range a) { return Range(-a.last, -a.first); }
SPAK_DEVICE Range operator*(Range a, i32 factor) {
  return factor >= 0 ? Range(a.first * factor, a.last * factor) : Range(a.last * factor, a.first * factor);
}
SPAK_DEVICE Range minimum(Range a, Range b) { return Range(minimum(a.first, b.first), minimum(a.last, b.last)); }
SPAK_DEVICE Range maximum(Range a, Range b) { return Range(maximum(a.first, b.first), maximum(a.last, b.last)); }
SPAK_DEVICE Range floor_divide(Range a, i32 divisor) {
  const i32 one = floor_divide(a.first, divisor), other = floor_divide(a.last, divisor);
  return Range(minimum(one, other), maximum(one, other));
}
// The remainders lie between those of the ends where no multiple of the divisor lies between the ends.
SPAK_DEVICE Range floor_modulo(Range a, i32 divisor) {
  if (floor_divide(a.first, divisor) == floor_divide(a.last, divisor))
    return Range(floor_modulo(a.first, divisor), floor_modulo(a.last, divisor));
  return divisor > 0 ? Range(0, divisor - 1) : Range(divisor + 1, 0);
}

struct Truth {
  bool may, must;
  SPAK_DEVICE Truth(bool may_, bool must_) : may(may_), must(must_) {}
  SPAK_DEVICE explicit Truth(bool known) : may(known), must(known) {}
};

SPAK_DEVICE Truth operator!(Truth a) { return Truth(!a.must, !a.may); }
SPAK_DEVICE Truth both(Truth a, Truth b) { return Truth(a.may && b.may, a.must && b.must); }
SPAK_DEVICE Truth either(Truth a, Truth b) { return !both(!a, !b); }
SPAK_DEVICE Truth operator<=(Range a, Range b) { return Truth(a.first <= b.last, a.last <= b.first); }
SPAK_DEVICE Truth operator<(Range a, Range b) { return !(b <= a); }
SPAK_DEVICE Truth operator==(Range a, Range b) {
  return Truth(a.first <= b.last && b.first <= a.last, a.first == b.last && b.first == a.last);
}
SPAK_DEVICE Truth operator!=(Range a, Range b) { return !(a == b); }

// Tiles along an axis, one after the other but for those without an element that counts; `counts(tile)` is what is known of one.
template <class Counts>
struct TilesThatCount {
  const Counts& counts;
  i32 tiles, tile;

  SPAK_DEVICE TilesThatCount(i32 tiles_, const Counts& counts_) : counts(counts_), tiles(tiles_), tile(0) { skip(); }
  SPAK_DEVICE bool left() const { return tile != tiles; }
  SPAK_DEVICE void next() {
    tile++;
    skip();
  }

 private:
  SPAK_DEVICE void skip() {
    while (left() && !counts(tile).may) tile++;
  }
};

SPAK_DEVICE Truth sometimes() { return Truth(true, false); }

}  // namespace spak
