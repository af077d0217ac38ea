// Loads that a kernel judges where it makes them, without a call into the library.
//
// A load is judged here only where nothing but its bounds, its alignment and an order could be wrong, and these are
// looked at on the spot. Everything else, and every mistake, is left to the library, which looks again from the start.
//
//   global   The library lets a place of the source have the buffers that it reads and that nobody may write while the
//            launch runs. Their elements have values from the start and no race, so what is left is whether the
//            access lies inside, whole and aligned.
//   shared   Each granule must have been written by somebody whom this thread comes after by its clock: then it is
//            neither uninitialised nor a race. That the thread has read it is kept as the library keeps it, so that a
//            write that comes too early still finds its reader. Single bytes and the thread's own writes are left to
//            the library.
//
// What the load costs is worked out later: the thread notes its address, and the library makes requests of the warp of
// what its lanes have noted (trace.cpp). A thread without room for a note is sent to the library, and so is one that
// may not touch memory yet. SPAK_LOADS_BY_CALL leaves every load to the library: reports must be the same.
#pragma once

#include "spak/emulator_abi.h"

#define SPAK_INLINE inline __attribute__((always_inline))

namespace spak {

#ifdef SPAK_LOADS_BY_CALL
constexpr bool SPAK_JUDGES_HERE = false;
#else
constexpr bool SPAK_JUDGES_HERE = true;
#endif

// One table for each size of access. Each of a file's first lines has a place that no other line of it uses, so the
// place's file says whether it is of this line. Lines beyond share the rest, and what falls together takes turns.
constexpr unsigned SPAK_OWN_PLACES = 1024, SPAK_SHARED_PLACES = 32, SPAK_PLACES = SPAK_OWN_PLACES + SPAK_SHARED_PLACES;
template <unsigned Bytes>
static SpakGlobalPlace spak_global_places[SPAK_PLACES];
template <unsigned Bytes>
static SpakSharedPlace spak_shared_places[SPAK_PLACES];

SPAK_INLINE constexpr unsigned place_of(unsigned line) {
  return line < SPAK_OWN_PLACES ? line : SPAK_OWN_PLACES + line % SPAK_SHARED_PLACES;
}
template <class Place>
SPAK_INLINE bool is_at(const Place& place, SPAK_AT) {
  return place.file == file && (line < SPAK_OWN_PLACES || place.line == line);
}

// Bounds and alignment by one comparison: an offset is turned until it counts accesses, and what is no multiple of
// their size has bits that come out on top, above any room.
template <unsigned Bytes>
SPAK_INLINE bool noted_in(const SpakRegion& region, SpakWord address, SpakThread& thread) {
  constexpr unsigned bits = __builtin_ctz(Bytes);
  static_assert(Bytes == 1u << bits, "accesses are of a power of two of bytes");
  const SpakWord offset = address - region.first;
  if ((offset >> bits | offset << (64 - bits) % 64) >= region.room) return false;
  *thread.next++ = address | region.note;
  return true;
}

template <unsigned Bytes>
SPAK_INLINE bool judged_here(const void* p, const SpakGlobalPlace& place, SPAK_AT) {
  SpakThread& thread = *spak_emu_thread;
  const SpakWord address = reinterpret_cast<SpakWord>(p);
  if (!is_at(place, file, line) || thread.next >= thread.end) return false;
  return noted_in<Bytes>(place.regions[0], address, thread) || noted_in<Bytes>(place.regions[1], address, thread) ||
         noted_in<Bytes>(place.regions[2], address, thread);
}

template <unsigned Bytes>
SPAK_INLINE bool judged_here(unsigned a, const SpakSharedPlace& place, SPAK_AT) {
  SpakThread& thread = *spak_emu_thread;
  const unsigned offset = a - thread.shared_base, first = offset / 2;
  if (Bytes < 2 || !is_at(place, file, line) || thread.next >= thread.end || a % Bytes ||
      static_cast<SpakWord>(offset) + Bytes > thread.shared_bytes)
    return false;
  for (unsigned g = first; g < first + Bytes / 2; g++) {
    const SpakWord written = thread.written[g];
    const unsigned writer = static_cast<unsigned>(written >> 48) - 1;  // nobody and SPLIT are the largest numbers
    if (writer >= 0xfffe || thread.known[writer] < static_cast<unsigned>(written)) return false;
  }
  for (unsigned g = first; g < first + Bytes / 2; g++) {
    thread.readers[g] |= thread.warp_bit;
    thread.reads[g] = thread.stamp | place.stamp;
  }
  *thread.next++ = a | place.note;
  return true;
}

// T is a value of so many bytes, or a register array of them.
template <class T>
SPAK_INLINE T load_global_as(const void* p, bool readonly, SPAK_AT) {
  SpakGlobalPlace& place = spak_global_places<sizeof(T)>[place_of(line)];
  if (SPAK_JUDGES_HERE && __builtin_expect(judged_here<sizeof(T)>(p, place, file, line), 1)) {
    T v;
    __builtin_memcpy(&v, p, sizeof(T));
    return v;
  }
  T v;
  spak_emu_global_load(p, sizeof(T), &v, readonly, &place, file, line);
  return v;
}

template <class T>
SPAK_INLINE T load_shared_as(unsigned a, SPAK_AT) {
  SpakSharedPlace& place = spak_shared_places<sizeof(T)>[place_of(line)];
  if (SPAK_JUDGES_HERE && __builtin_expect(judged_here<sizeof(T)>(a, place, file, line), 1)) {
    T v;
    __builtin_memcpy(&v, spak_emu_thread->shared + (a - spak_emu_thread->shared_base), sizeof(T));
    return v;
  }
  T v;
  spak_emu_shared_load(a, sizeof(T), &v, &place, file, line);
  return v;
}

}  // namespace spak
