// Global memory: bounds, alignment, read-only and write-once buffers, atomics, semaphores, device fences.
#include "emulator.h"

namespace spak_emulator {

Buffer& find_buffer(const void* p, u64 bytes, bool write, u32 site) {
  const u8* const first = static_cast<const u8*>(p);
  if (launch->overlaps && fiber && !fiber->predecessors_ended)
    report("touched-before-dependency", site, 0, "a thread touches memory before grid_dependency_wait: the kernel before "
           "this one may still use it");
  const auto holds = [&](const Buffer& b) { return first >= b.base && first + bytes <= b.base + b.bytes; };
  const auto found = [&](Buffer& b) -> Buffer& {
    if (write && !b.writable) report("write-to-readonly", site, 0, "%s is not an output", b.name.c_str());
    launch->last_found = &b;
    return b;
  };
  if (launch->last_found && holds(*launch->last_found)) return found(*launch->last_found);
  for (Buffer& b : launch->buffers)
    if (holds(b)) return found(b);
  const Buffer* nearest = nullptr;
  u64 distance = ~0ull;
  for (const Buffer& b : launch->buffers) {
    const u8* const end = b.base + b.bytes;
    const u64 d = static_cast<u64>(first < b.base ? b.base - first : first > end ? first - end : 0);
    if (d < distance) {
      distance = d;
      nearest = &b;
    }
  }
  if (nearest)
    report("global-out-of-bounds", site, 0, "%s of %llu bytes at %s%+lld; it has %llu bytes",
           write ? "write" : "read", static_cast<unsigned long long>(bytes), nearest->name.c_str(),
           static_cast<long long>(first - nearest->base), static_cast<unsigned long long>(nearest->bytes));
  else
    report("global-out-of-bounds", site, 0, "%s of %llu bytes; the launch has no buffers",
           write ? "write" : "read", static_cast<unsigned long long>(bytes));
  fail();
}

namespace {

void check_alignment(const void* p, u32 bytes, u32 site) {
  if (reinterpret_cast<uintptr_t>(p) % bytes == 0) return;
  report("misaligned-global", site, 0, "an access of %u bytes at an address that is no multiple of %u", bytes,
         bytes);
  fail();
}

// Of an input: its elements have values, and no race.
void load_input(const void* p, u32 bytes, void* out, u32 site, Buffer& b, SpakGlobalPlace& place, SPAK_AT) {
  const u32 loads = class_of(GLOBAL, bytes, site, true, &b);
  note_access(loads, reinterpret_cast<u64>(p));
  allow_here(place, file, line, b, loads);
  copy_access(out, p, bytes);
}

void load_written(const void* p, u32 bytes, void* out, u32 site, Buffer& b, bool readonly) {
  count(GLOBAL_ACCESSES);
  b.bytes_read += bytes;
  const u64 offset = static_cast<u64>(static_cast<const u8*>(p) - b.base);
  check_global_read(b, offset, bytes, fiber->id, fiber->epoch, false, false, site);
  if (readonly) check_global_constant(b, offset, bytes, site);
  log_access(GLOBAL, reinterpret_cast<u64>(p), bytes, site);
  copy_access(out, p, bytes);
}

template <class T>
void apply(T* p, char op, const void* operand, const void* expected, void* old) {
  T v, e;
  memcpy(&v, operand, sizeof(T));
  memcpy(&e, expected, sizeof(T));
  memcpy(old, p, sizeof(T));
  if (op == '+') *p = *p + v;
  else if (op == 'M') *p = *p < v ? v : *p;
  else if (op == 'X') *p = v;
  else if (*p == e) *p = v;
}

void acquire_from(const void* p) {
  const auto found = launch->releases.find(p);
  if (found != launch->releases.end()) learn(*fiber, found->second);
}

}  // namespace

extern "C" {

void spak_emu_global_load(const void* p, unsigned bytes, void* out, int readonly, SpakGlobalPlace* place, SPAK_AT) {
  const u32 site = here(file, line);
  Buffer& b = find_buffer(p, bytes, false, site);
  check_alignment(p, bytes, site);
  if (b.cells.empty()) load_input(p, bytes, out, site, b, *place, file, line);
  else load_written(p, bytes, out, site, b, readonly != 0);
}

void spak_emu_global_store(void* p, unsigned bytes, const void* value, SPAK_AT) {
  const u32 site = here(file, line);
  Buffer& b = find_buffer(p, bytes, true, site);
  check_alignment(p, bytes, site);
  count(GLOBAL_ACCESSES);
  b.bytes_written += bytes;
  check_global_write(b, static_cast<u64>(static_cast<u8*>(p) - b.base), bytes, fiber->id, fiber->epoch, false,
                     false, site);
  log_access(GLOBAL, reinterpret_cast<u64>(p), bytes, site);
  copy_access(p, value, bytes);
}

void spak_emu_global_atomic(void* p, char op, char type, const void* operand, const void* operand2, void* old,
                            int order, SPAK_AT) {
  const u32 site = here(file, line), bytes = type == 'l' ? 8 : 4;
  Buffer& b = find_buffer(p, bytes, true, site);
  check_alignment(p, bytes, site);
  count(ATOMICS);
  b.bytes_read += bytes;
  b.bytes_written += bytes;
  if (b.write_once)
    report("atomic-on-write-once", site, 0, "%s is to be written once, and not by atomics", b.name.c_str());
  const u64 offset = static_cast<u64>(static_cast<u8*>(p) - b.base);
  check_global_read(b, offset, bytes, fiber->id, fiber->epoch, false, true, site);
  check_global_write(b, offset, bytes, fiber->id, fiber->epoch, false, true, site);
  log_access(GLOBAL, reinterpret_cast<u64>(p), bytes, site);
  if (type == 'f') apply(static_cast<float*>(p), op, operand, operand2, old);
  else if (type == 'i') apply(static_cast<i32*>(p), op, operand, operand2, old);
  else if (type == 'u') apply(static_cast<u32*>(p), op, operand, operand2, old);
  else apply(static_cast<u64*>(p), op, operand, operand2, old);

  // An acquire takes over what earlier releases at this address knew; a release adds to it. A relaxed atomic
  // does both only together with fence_device() before and after it.
  const auto released = launch->releases.find(p);
  if (order) {
    acquire_from(p);
    merge_knowledge(launch->releases[p], knowledge_of(*fiber));
  } else {
    if (released != launch->releases.end()) merge_knowledge(fiber->fence_acquire, released->second);
    if (!fiber->fence_release.empty()) merge_knowledge(launch->releases[p], fiber->fence_release);
  }
}

void spak_emu_fence(int device_scope, SPAK_AT) {
  here(file, line);
  if (!device_scope) return;
  if (!fiber->fence_acquire.empty()) {
    learn(*fiber, fiber->fence_acquire);
    fiber->fence_acquire.clear();
  }
  fiber->fence_release = knowledge_of(*fiber);
}

void spak_emu_semaphore_wait(const void* p, unsigned value, SPAK_AT) {
  const u32 site = here(file, line);
  Buffer& b = find_buffer(p, 4, false, site);
  check_alignment(p, 4, site);
  count(SEMAPHORE_WAITS);
  const u32* const now = static_cast<const u32*>(p);
  while (*now != value) {
    fiber->semaphore = now;
    world->semaphore_waiters.push_back(fiber);
    block_fiber("semaphore_wait", site, static_cast<u32>(static_cast<const u8*>(p) - b.base), value);
  }
  acquire_from(p);
  check_global_read(b, static_cast<u64>(static_cast<const u8*>(p) - b.base), 4, fiber->id, fiber->epoch,
                    false, true, site);
}

void spak_emu_semaphore_release(void* p, unsigned value, SPAK_AT) {
  const u32 site = here(file, line);
  Buffer& b = find_buffer(p, 4, true, site);
  check_alignment(p, 4, site);
  check_global_write(b, static_cast<u64>(static_cast<u8*>(p) - b.base), 4, fiber->id, fiber->epoch, false,
                     true, site);
  launch->releases[p] = knowledge_of(*fiber);
  memcpy(p, &value, 4);
}

}  // extern "C"

}  // namespace spak_emulator
