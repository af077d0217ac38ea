// Shared memory, this block's and its cluster peers': bounds, alignment, races, atomics.
#include "emulator.h"

namespace spak_emulator {

// Reader slots of a block's shadow: one a warp, one a warpgroup (wgmma), one for bulk stores, one for peers.
u32 warp_slot(const Fiber& f) { return warp_in_block(f); }
u32 warpgroup_slot(u32 warpgroup) { return launch->threads / 32 + warpgroup; }
u32 store_slot() { return launch->threads / 32 + (launch->threads + 127) / 128; }
u32 remote_slot() { return store_slot() + 1; }

void check_shared_bounds(Block& b, u32 address, u32 bytes, const char* what, u32 site) {
  if (address >= b.base && static_cast<u64>(address) + bytes <= static_cast<u64>(b.base) + b.size) {
    b.touched_from = std::min(b.touched_from, address - b.base);
    b.touched_to = std::max(b.touched_to, address - b.base + bytes);
    return;
  }
  report("shared-out-of-bounds", site, 0, "%s of %u bytes at %+lld of %u bytes of shared memory", what, bytes,
         static_cast<long long>(address) - b.base, b.size);
  fail();
}

namespace {

void check_alignment(u32 address, u32 bytes, u32 site) {
  if (address % bytes == 0) return;
  report("misaligned-shared", site, 0, "an access of %u bytes at address %u, no multiple of %u", bytes,
         address, bytes);
  fail();
}

Block& peer(u32 rank, u32 site) {
  if (rank >= world->blocks.size()) {
    report("bad-cluster-rank", site, 0, "block %u of a cluster of %zu", rank, world->blocks.size());
    fail();
  }
  Block& b = world->blocks[rank];
  if (b.alive == 0) {
    report("remote-access-to-exited-block", site, 0, "block %u of the cluster has ended", rank);
    fail();
  }
  if (rank != fiber->block) b.remote.push_back({fiber->id, fiber->epoch, site});
  return b;
}

}  // namespace

extern "C" {

void spak_emu_shared_load(unsigned a, unsigned bytes, void* out, SpakSharedPlace* place, SPAK_AT) {
  const u32 site = here(file, line);
  Block& b = this_block();
  check_shared_bounds(b, a, bytes, "a load", site);
  check_alignment(a, bytes, site);
  check_shared_read(b, a, bytes, *fiber, fiber->id, fiber->epoch, warp_slot(*fiber), false, site);
  const u32 loads = class_of(SHARED, bytes, site, true);
  note_access(loads, a);
  allow_here(*place, file, line, loads);
  copy_access(out, b.at(a), bytes);
}

void spak_emu_shared_store(unsigned a, unsigned bytes, const void* value, SPAK_AT) {
  const u32 site = here(file, line);
  Block& b = this_block();
  check_shared_bounds(b, a, bytes, "a store", site);
  check_alignment(a, bytes, site);
  count(SHARED_ACCESSES);
  check_shared_write(b, a, bytes, *fiber, fiber->id, fiber->epoch, false, site);
  log_access(SHARED, a, bytes, site);
  copy_access(b.at(a), value, bytes);
}

void spak_emu_shared_atomic_add(unsigned a, char type, const void* operand, void* old, SPAK_AT) {
  const u32 site = here(file, line);
  Block& b = this_block();
  check_shared_bounds(b, a, 4, "an atomic", site);
  check_alignment(a, 4, site);
  count(ATOMICS);
  if (launch->options.checks && b.shadow.writer((a - b.base) >> 1) == 0)
    report("uninitialised-shared-read", site, 0, "shared memory +%u is added to and was never written",
           a - b.base);
  check_shared_write(b, a, 4, *fiber, fiber->id, fiber->epoch, false, site, true);
  memcpy(old, b.at(a), 4);
  if (type == 'f') {
    float x, y;
    memcpy(&x, b.at(a), 4);
    memcpy(&y, operand, 4);
    x += y;
    memcpy(b.at(a), &x, 4);
  } else {
    u32 x, y;
    memcpy(&x, b.at(a), 4);
    memcpy(&y, operand, 4);
    x += y;
    memcpy(b.at(a), &x, 4);
  }
}

void spak_emu_remote_load(unsigned a, unsigned rank, unsigned bytes, void* out, SPAK_AT) {
  const u32 site = here(file, line);
  Block& b = peer(rank, site);
  check_shared_bounds(b, a, bytes, "a remote load", site);
  check_alignment(a, bytes, site);
  const bool own = rank == fiber->block;
  check_shared_read(b, a, bytes, *fiber, fiber->id, fiber->epoch, own ? warp_slot(*fiber) : remote_slot(),
                    false, site);
  copy_access(out, b.at(a), bytes);
}

void spak_emu_remote_store(unsigned a, unsigned rank, unsigned bytes, const void* value, SPAK_AT) {
  const u32 site = here(file, line);
  Block& b = peer(rank, site);
  check_shared_bounds(b, a, bytes, "a remote store", site);
  check_alignment(a, bytes, site);
  check_shared_write(b, a, bytes, *fiber, fiber->id, fiber->epoch, false, site);
  copy_access(b.at(a), value, bytes);
}

void spak_emu_register_fault(unsigned index, unsigned size) {
  report("register-out-of-bounds", last_site(*fiber), 0,
         "element %u of a register array of %u (the line is that of the thread's last primitive)", index,
         size);
  fail();
}

}  // extern "C"

}  // namespace spak_emulator
