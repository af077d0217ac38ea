// The memory of a launch: parameters with their pointers filled in, tensor maps, copies of the buffers.
#include <sys/mman.h>

#include "launch.h"

namespace spak_emulator {

namespace {

constexpr u64 PAGE = 4096;

u64 pages(u64 bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

// Takes memory from an arena, piece by piece. Without an arena it only counts.
struct Taker {
  u8* base;
  u64 end = REPORT_BYTES;

  u8* take(u64 bytes, u64 alignment) {
    end = (end + alignment - 1) / alignment * alignment;
    u8* const at = base ? base + end : nullptr;
    end += bytes;
    return at;
  }
  const char* text(const char* s) {
    const u64 bytes = strlen(s) + 1;
    u8* const at = take(bytes, 1);
    if (at) memcpy(at, s, bytes);
    return reinterpret_cast<const char*>(at);
  }
};

void fill_parameters(const LaunchSpec& s, const BufferSpec* buffer, u8* params) {
  memcpy(params, s.params, s.params_bytes);
  for (u32 i = 0; i < s.pointers; i++) {
    const PointerPatch& p = s.pointer[i];
    const u8* const value = static_cast<u8*>(buffer[p.buffer].data) + p.byte_offset;
    memcpy(params + p.offset, &value, sizeof value);
  }
  for (u32 i = 0; i < s.maps; i++) {
    const MapPatch& p = s.map[i];
    TensorMapData m = {};
    m.base = static_cast<u8*>(buffer[p.buffer].data) + p.byte_offset;
    for (u32 d = 0; d < 4; d++) m.stride[d] = p.stride[d];
    for (u32 d = 0; d < 5; d++) {
      m.dim[d] = p.dim[d];
      m.box[d] = static_cast<u16>(p.box[d]);
    }
    m.rank = static_cast<u8>(p.rank);
    m.element_bytes = static_cast<u8>(p.element_bytes);
    m.swizzle_shift = static_cast<u8>(p.swizzle_shift);
    m.type = static_cast<char>(p.type);
    m.magic = TENSOR_MAP_MAGIC;
    memcpy(params + p.offset, &m, sizeof m);
  }
}

LaunchSpec* lay_out(const LaunchSpec& s, Taker& taker) {
  auto* const spec = reinterpret_cast<LaunchSpec*>(taker.take(sizeof(LaunchSpec), PAGE));
  auto* const buffer = reinterpret_cast<BufferSpec*>(taker.take(sizeof(BufferSpec) * s.buffers, 64));
  u8* const params = taker.take(s.params_bytes, PAGE);
  LaunchSpec placed = s;
  placed.library = taker.text(s.library);
  placed.entry = taker.text(s.entry);
  placed.params = params;
  placed.buffer = buffer;
  for (u32 i = 0; i < s.buffers; i++) {
    BufferSpec b = s.buffer[i];
    b.name = taker.text(b.name);
    taker.take(PAGE, PAGE);
    b.data = taker.take(pages(b.bytes), PAGE);
    if (!buffer) continue;
    if (b.uninitialised) memset(b.data, 0xff, b.bytes);
    else memcpy(b.data, s.buffer[i].data, b.bytes);
    buffer[i] = b;
  }
  taker.take(PAGE, PAGE);
  if (!spec) return nullptr;
  fill_parameters(s, buffer, params);
  *spec = placed;
  return spec;
}

}  // namespace

bool Arena::allocate(u64 size) {
  void* const p =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  base = static_cast<u8*>(p);
  bytes = size;
  return true;
}
void Arena::free() {
  if (base) munmap(base, bytes);
  base = nullptr;
  bytes = 0;
}

u64 arena_bytes(const LaunchSpec& s) {
  Taker counting{nullptr};
  lay_out(s, counting);
  return counting.end;
}

LaunchSpec* place(const LaunchSpec& s, const Arena& a) {
  Taker taker{a.base};
  return lay_out(s, taker);
}

void copy_back(const LaunchSpec& s, const LaunchSpec& placed) {
  for (u32 i = 0; i < s.buffers; i++)
    if (s.buffer[i].writable) memcpy(s.buffer[i].data, placed.buffer[i].data, s.buffer[i].bytes);
}

extern "C" {

// Runs one launch; the text stays valid until the next call. See serialise_report for its form.
const char* spak_emu_run(const LaunchSpec* s) {
  static std::string text;
  if (s->isolate) {
    text = run_isolated(*s);
    return text.c_str();
  }
  Arena a;
  if (!a.allocate(arena_bytes(*s))) return "error\tcrash\t\t0\t\t0\t1\t-1\t-1\t\tno memory for the buffers\n";
  const LaunchSpec* const placed = place(*s, a);
  text = run_launch(*placed, false);
  copy_back(*s, *placed);
  a.free();
  return text.c_str();
}

}  // extern "C"

}  // namespace spak_emulator
