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

// Zeros where they are not wanted. Loads of several vectors are under way at once, as behind a branch they would not be.
template <u32 Count, class T>
SPAK_DEVICE Reg<T, Count> read_vector_if(const T* p, bool wanted) {
  constexpr u32 piece = piece_elements<Count, T>;
  Reg<T, Count> all;
  SPAK_UNROLL
  for (u32 first = 0; first < Count; first += piece) {
    const Reg<T, piece> part = load_vector_if<piece>(p + first, wanted);
    SPAK_UNROLL
    for (u32 e = 0; e < piece; e++) all[first + e] = part[e];
  }
  return all;
}

// The elements as values of the mathematics.
template <u32 Count, class T>
SPAK_DEVICE auto one_by_one(const Reg<T, Count>& elements) {
  Reg<decltype(as_value(elements[0])), Count> values;
  SPAK_UNROLL
  for (u32 e = 0; e < Count; e++) values[e] = as_value(elements[e]);
  return values;
}
// Halves of words are converted where they lie: one instruction each.
template <u32 Count, class T>
SPAK_DEVICE Reg<f32, Count> two_by_two(const Reg<T, Count>& elements) {
  if constexpr (sizeof(elements) % sizeof(u32)) return one_by_one(elements);
  else {
    using Words = Reg<u32, sizeof(elements) / sizeof(u32)>;
    const Words words = bits_as<Words>(elements);
    Reg<f32, Count> values;
    SPAK_UNROLL
    for (u32 w = 0; w < Words::size; w++) {
      values[2 * w] = unpack_low<T>(words[w]);
      values[2 * w + 1] = unpack_high<T>(words[w]);
    }
    return values;
  }
}
template <u32 Count, class T>
SPAK_DEVICE auto as_values(const Reg<T, Count>& elements) {
  return one_by_one(elements);
}
template <u32 Count>
SPAK_DEVICE auto as_values(const Reg<bf16, Count>& elements) {
  return two_by_two(elements);
}
template <u32 Count>
SPAK_DEVICE auto as_values(const Reg<f16, Count>& elements) {
  return two_by_two(elements);
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
