// Elements of tensors as values of the mathematics, and back.
//
// The mathematics is computed in f32 (integers and bools stay what they are), whatever the tensors store:
//   read(p)          f32 for bf16, f16, f32; i32 for i32; i64 for i64; bool for bool
//   read_constant(p) the same for a tensor that nobody writes while the kernel runs
//   write(p, v)      rounds to the element type
//   rounded<T>(x)    x as a tensor of T would hold it
#pragma once

#include "spak/primitives.cuh"

namespace spak {

template <class T>
SPAK_DEVICE auto as_value(T x) {
  if constexpr (same_type<T, bf16> || same_type<T, f16>) return to_f32(x);
  else return x;
}
template <class T, class Value>
SPAK_DEVICE T as_element(Value v) {
  if constexpr (same_type<T, bf16> || same_type<T, f16>) return from_f32<T>(static_cast<f32>(v));
  else return static_cast<T>(v);
}
template <class T>
SPAK_DEVICE auto read(const T* p) {
  return as_value(load(p));
}
template <class T>
SPAK_DEVICE auto read_constant(const T* p) {
  return as_value(load_readonly(p));
}
template <class T, class Value>
SPAK_DEVICE void write(T* p, Value v) {
  store(p, as_element<T>(v));
}
template <class T, class Value>
SPAK_DEVICE auto rounded(Value v) {
  return as_value(as_element<T>(v));
}

// Whether elements so far apart are neighbours.
SPAK_DEVICE bool contiguous(i64 stride) { return stride == 1; }

// Whether `count` elements from p on, and every row `stride` elements further, may be read or written as one vector.
template <u32 Count, class T>
SPAK_DEVICE bool vector_aligned(const T* p, i64 stride) {
  constexpr u64 bytes = Count * sizeof(T);
  return !((reinterpret_cast<u64>(p) | (static_cast<u64>(stride) * sizeof(T))) % bytes);
}

}  // namespace spak
