// A launch as Python asks for it, and the memory that it runs in.
#pragma once

#include "emulator.h"

namespace spak_emulator {

struct BufferSpec {
  const char* name;
  void* data;
  u64 bytes;
  u32 granule, writable, write_once, uninitialised;
};
struct PointerPatch {
  u32 offset;
  i32 buffer;
  i64 byte_offset;
};
struct MapPatch {
  u32 offset;
  i32 buffer;
  i64 byte_offset;
  u32 rank, element_bytes, swizzle_shift, type;
  u64 stride[4];
  u32 dim[5], box[5];
};
struct LaunchSpec {
  void (*kernel)(const void*);
  const SpakLaunchRecord* record;
  const char *library, *entry;  // where a process that has not loaded the kernel finds it
  const u8* params;
  u32 params_bytes, grid[3], threads, cluster[3], shared_bytes, overlaps;
  Options options;
  u32 isolate, buffers, pointers, maps;
  const BufferSpec* buffer;
  const PointerPatch* pointer;
  const MapPatch* map;
};

constexpr u64 REPORT_BYTES = 4 << 20;

// Memory that can be shared with another process at the same address: the report's text first, then what a launch
// needs, its buffers with gaps between.
struct Arena {
  u8* base = nullptr;
  u64 bytes = 0;

  bool allocate(u64 size);
  void free();
};
u64 arena_bytes(const LaunchSpec& s);

// Copies a launch into the arena. Returns it there: all that it points to lies in the arena, too.
LaunchSpec* place(const LaunchSpec& s, const Arena& a);
// Copies what the launch may have written back to the buffers of `s`.
void copy_back(const LaunchSpec& s, const LaunchSpec& placed);

// The report's text. `keep_worlds`: the memory of threads and blocks stays for the next launch of this shape.
std::string run_launch(const LaunchSpec& placed, bool keep_worlds);

// worker.cpp: the same in another process.
std::string run_isolated(const LaunchSpec& s);

}  // namespace spak_emulator
