// Neighbouring elements of any number, moved in pieces of at most 16 bytes.
#pragma once

#include "spak/element.cuh"

namespace spak {

template <u32 Count, class T>
constexpr u32 piece_elements = Count * sizeof(T) <= 16 ? Count : 16 / sizeof(T);

template <u32 Count, class T>
SPAK_DEVICE Reg<T, Count> read_vector(const T* p) {
  constexpr u32 piece = piece_elements<Count, T>;
  Reg<T, Count> all;
  SPAK_UNROLL
  for (u32 first = 0; first < Count; first += piece) {
    const Reg<T, piece> part = load_vector<piece>(p + first);
    SPAK_UNROLL
    for (u32 e = 0; e < piece; e++) all[first + e] = part[e];
  }
  return all;
}

template <u32 Count, class T>
SPAK_DEVICE void write_vector(T* p, const Reg<T, Count>& all) {
  constexpr u32 piece = piece_elements<Count, T>;
  SPAK_UNROLL
  for (u32 first = 0; first < Count; first += piece) {
    Reg<T, piece> part;
    SPAK_UNROLL
    for (u32 e = 0; e < piece; e++) part[e] = all[first + e];
    store_vector(p + first, part);
  }
}

}  // namespace spak
