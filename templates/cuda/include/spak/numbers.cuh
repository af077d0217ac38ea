// Numbers for loops that say what they go over, shares of them, and whether an index is one of them.
//
//   for (const u32 chunk : upto(CHUNKS))                  0 .. CHUNKS - 1
//   for (const i32 head : between(first, heads))          first .. heads - 1
//   for (const u32 row : spaced(first, rows, apart))      first, first + apart, … below rows
//   for (const i32 head : chosen(heads, sees))            those of 0 .. heads - 1 that `sees` says yes to
#pragma once

#include "spak/primitives.cuh"

namespace spak {

template <class Int>
struct Numbers {
  struct Place {
    Int at, apart;
    SPAK_DEVICE Int operator*() const { return at; }
    SPAK_DEVICE void operator++() { at += apart; }
    SPAK_DEVICE bool operator!=(Int end) const { return at < end; }
  };
  Int first, last, apart;
  SPAK_DEVICE Place begin() const { return {first, apart}; }
  SPAK_DEVICE Int end() const { return last; }
};

template <class Int>
SPAK_DEVICE Numbers<Int> spaced(Int first, Int end, Int apart) {
  return {first, end, apart};
}
template <class Int>
SPAK_DEVICE Numbers<Int> between(Int first, Int end) {
  return {first, end, 1};
}
template <class Int>
SPAK_DEVICE Numbers<Int> upto(Int end) {
  return {0, end, 1};
}

template <class Int, class Wanted>
struct ChosenNumbers {
  struct Place {
    Int at, last;
    const Wanted& wanted;
    SPAK_DEVICE Int operator*() const { return at; }
    SPAK_DEVICE void operator++() { settle(at + 1); }
    SPAK_DEVICE bool operator!=(Int end) const { return at != end; }
    // The first from `from` on that is wanted.
    SPAK_DEVICE void settle(Int from) {
      SPAK_NO_UNROLL
      for (at = from; at != last; at++)
        if (wanted(at)) return;
    }
  };
  Int last;
  const Wanted& wanted;
  SPAK_DEVICE Place begin() const {
    Place place{{}, last, wanted};
    place.settle(place.at);
    return place;
  }
  SPAK_DEVICE Int end() const { return last; }
};

template <class Int, class Wanted>
SPAK_DEVICE ChosenNumbers<Int, Wanted> chosen(Int end, const Wanted& wanted) {
  return {end, wanted};
}

// Whether an index lies before the end of its axis, or both of two do.
SPAK_DEVICE bool is_inside(i32 index, i32 size) { return index < size; }
SPAK_DEVICE bool is_inside(i32 row, i32 rows, i32 column, i32 columns) { return is_inside(row, rows) && is_inside(column, columns); }

// function(number) for each of `Count` that falls to one of `Threads` threads, all of which take one at a time: as often as there is
// one for every thread, and once more where some are left.
template <u32 Count, u32 Threads, class Function>
SPAK_DEVICE void for_own_share(u32 thread, const Function& function) {
  SPAK_UNROLL
  for (const u32 turn : upto(Count / Threads)) function(turn * Threads + thread);
  if (thread < Count % Threads) function(Count / Threads * Threads + thread);
}

}  // namespace spak
