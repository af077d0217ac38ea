// cp.async. A copy is issued now and lands later: until its thread waits, the destination holds NaN.
#include "emulator.h"

namespace spak_emulator {

namespace {

void land(const CopyAsync& c, Block& b) {
  if (c.bytes) memcpy(b.at(c.dst), c.src, c.bytes);
  if (c.bytes < c.size) memset(b.at(c.dst) + c.bytes, 0, c.size - c.bytes);
}

}  // namespace

// Lands the copies of a fiber up to an epoch, in order.
void run_copies(Fiber& f, u32 up_to_epoch) {
  Block& b = world->blocks[f.block];
  while (!f.copies.empty() && f.copies.front().epoch <= up_to_epoch) {
    land(f.copies.front(), b);
    f.copies.pop_front();
  }
}

// An mbarrier arrival that was owed until the copies before it had landed.
void run_arrival(size_t index) {
  const CopyArrival owed = world->arrivals[index];
  world->arrivals.erase(world->arrivals.begin() + static_cast<std::ptrdiff_t>(index));
  Fiber& f = world->fibers[owed.fiber];
  run_copies(f, owed.epoch);
  Mbarrier& m = find_mbarrier(world->blocks[f.block], owed.barrier, last_site(f));
  u32& known = m.gathering->at[world->threads + f.id];
  known = std::max(known, owed.epoch);
  m.pending--;
  complete_phase_if_due(m);
}

extern "C" {

void spak_emu_cp_async(unsigned dst, const void* src, unsigned size, unsigned bytes, SPAK_AT) {
  const u32 site = here(file, line);
  Block& b = this_block();
  if (dst % size || (bytes && reinterpret_cast<uintptr_t>(src) % size)) {
    report("misaligned-cp-async", site, 0, "cp.async of %u bytes: both addresses must be multiples of %u",
           size, size);
    fail();
  }
  if (bytes > size) {
    report("bad-cp-async-size", site, 0, "cp.async of %u bytes is asked to read %u", size, bytes);
    fail();
  }
  check_shared_bounds(b, dst, size, "a cp.async", site);
  if (bytes) {
    Buffer& buffer = find_buffer(src, bytes, false, site);
    buffer.bytes_read += bytes;
    check_global_read(buffer, static_cast<u64>(static_cast<const u8*>(src) - buffer.base), bytes, fiber->id,
                      fiber->epoch, false, false, site);
    log_access(GLOBAL, reinterpret_cast<u64>(src), bytes, site);
  }
  count(CP_ASYNC);
  log_access(SHARED, dst, size, site);
  check_shared_write(b, dst, size, *fiber, world->threads + fiber->id, fiber->copy_epoch, false, site);
  fiber->last_copy = fiber->copy_epoch;
  const CopyAsync c{dst, size, bytes, fiber->copy_epoch, static_cast<const u8*>(src)};
  const u32 mode = launch->options.async_mode;
  if (mode == EAGER || (mode == RANDOM && (world->random.next() & 1))) {
    land(c, b);
  } else {
    memset(b.at(dst), 0xff, size);
    fiber->copies.push_back(c);
  }
}

void spak_emu_cp_async_commit(SPAK_AT) {
  here(file, line);
  fiber->copy_groups.push_back(fiber->copy_epoch++);
}

void spak_emu_cp_async_wait(unsigned pending, SPAK_AT) {
  here(file, line);
  const size_t groups = fiber->copy_groups.size();
  if (groups <= pending) return;
  const u32 epoch = fiber->copy_groups[groups - 1 - pending];
  run_copies(*fiber, epoch);
  fiber->copied = std::max(fiber->copied, epoch);
}

void spak_emu_cp_async_mbarrier_arrive(unsigned a, SPAK_AT) {
  const u32 site = here(file, line);
  find_mbarrier(this_block(), a, site);
  fiber->copies_handed_over = fiber->copy_epoch;
  world->arrivals.push_back({fiber->id, fiber->copy_epoch++, a});
  if (launch->options.async_mode == EAGER) run_arrival(world->arrivals.size() - 1);
}

}  // extern "C"

}  // namespace spak_emulator
