// Transaction barriers: a phase completes when its arrivals and its bytes are all in.
#include "emulator.h"

namespace spak_emulator {

Mbarrier& find_mbarrier(Block& b, u32 address, u32 site) {
  const u32 index = (address - b.base) / 8 < b.mbarrier_at.size() && address >= b.base && address % 8 == 0
                        ? b.mbarrier_at[(address - b.base) / 8]
                        : 0;
  if (index == 0) {
    report("mbarrier-not-initialised", site, 0, "no mbarrier_init at shared memory %+lld",
           static_cast<long long>(address) - b.base);
    fail();
  }
  Mbarrier& m = b.mbarriers[index - 1];
  if (launch->options.checks && fiber && m.init_fiber != fiber->id &&
      fiber->clock->at[m.init_fiber] < m.init_epoch)
    report("mbarrier-init-not-visible", site, 0, "no barrier stands between mbarrier_init at +%u and its use",
           address - b.base);
  return m;
}

void complete_phase_if_due(Mbarrier& m) {
  if (m.pending != 0 || m.bytes != 0) return;
  count(MBARRIER_PHASES);
  m.phase++;
  m.pending = static_cast<i32>(m.count);
  drop(m.completed);
  m.completed = m.gathering;
  m.completed->at[m.actor] = m.phase;
  m.gathering = copy_clock(m.completed);
  drop(m.last_joined);
  for (Fiber* f : m.waiting) make_ready(*f);
  m.waiting.clear();
}

namespace {

// An arrival counts for the phase that is under way. Whoever arrives must know that those before are over, or it might have
// come in time to count for one of them: it waited for the last, or has heard of all its arrivals. In a cluster, bytes that
// another block's multicast brings tell it, too, which clocks of accesses do not hold: not looked at there.
void check_phase_is_known(const Mbarrier& m, u32 site) {
  const Clock& known = *fiber->clock;
  if (!launch->options.checks || world->blocks.size() > 1 || known.at[m.actor] >= m.phase) return;
  for (u32 actor = 0; actor < world->actors; actor++)
    if (actor != m.actor && m.completed->at[actor] > known.at[actor]) {
      report("mbarrier-arrival-ahead", site, 0,
             "nothing tells the thread that the phase before is complete: in another order its arrival counts for that one");
      return;
    }
}

}  // namespace

extern "C" {

void spak_emu_mbarrier_init(unsigned a, unsigned arrivals, SPAK_AT) {
  const u32 site = here(file, line);
  Block& b = this_block();
  if (a % 8) {
    report("misaligned-shared", site, 0, "an mbarrier at %u, no multiple of 8", a);
    fail();
  }
  check_shared_bounds(b, a, 8, "an mbarrier", site);
  if (arrivals == 0 || arrivals >= 1u << 20) {
    report("bad-mbarrier-count", site, 0, "an mbarrier of %u arrivals: 1 .. 1048575", arrivals);
    fail();
  }
  check_shared_write(b, a, 8, *fiber, fiber->id, fiber->epoch, false, site);
  b.mbarriers.emplace_back();
  b.mbarrier_at[(a - b.base) / 8] = static_cast<u32>(b.mbarriers.size());
  Mbarrier& m = b.mbarriers.back();
  m.count = arrivals;
  m.pending = static_cast<i32>(arrivals);
  m.gathering = copy_clock(world->zero);
  m.actor = new_actor("mbarriers");
  m.init_fiber = fiber->id;
  m.init_epoch = fiber->epoch;
}

void spak_emu_mbarrier_init_fence(SPAK_AT) {
  here(file, line);
  for (Mbarrier& m : this_block().mbarriers)
    if (m.init_fiber == fiber->id) m.fenced = true;
}

void spak_emu_mbarrier_arrive(unsigned a, int rank, unsigned arrivals, unsigned bytes, SPAK_AT) {
  const u32 site = here(file, line);
  const bool remote = rank >= 0 && static_cast<u32>(rank) != fiber->block;
  if (rank >= static_cast<int>(world->blocks.size())) {
    report("bad-cluster-rank", site, 0, "block %d of a cluster of %zu", rank, world->blocks.size());
    fail();
  }
  Block& b = remote ? world->blocks[static_cast<u32>(rank)] : this_block();
  if (remote) {
    if (b.alive == 0) {
      report("remote-access-to-exited-block", site, 0, "block %d of the cluster has ended", rank);
      fail();
    }
    b.remote.push_back({fiber->id, fiber->epoch, site});
  }
  if (rank >= 0 && fiber->last_shared_write == fiber->epoch)
    report("remote-arrive-after-write", site, 0,
           "a remote arrival does not publish the thread's writes to shared memory: a cluster barrier would");
  Mbarrier& m = find_mbarrier(b, a, site);
  m.bytes += bytes;
  if (arrivals == 0) return;
  if (m.pending <= 0) {
    report("mbarrier-over-arrival", site, 0, "more arrivals than the %u that mbarrier_init promised",
           m.count);
    fail();
  }
  check_phase_is_known(m, site);
  m.pending--;
  if (m.last_joined != fiber->clock) {  // threads that come from one barrier share their clock: join it once
    join_into(m.gathering, fiber->clock);
    drop(m.last_joined);
    m.last_joined = hold(fiber->clock);
  }
  publish(m.gathering, *fiber);
  complete_phase_if_due(m);
}

void spak_emu_mbarrier_wait(unsigned a, unsigned parity, SPAK_AT) {
  const u32 site = here(file, line);
  Mbarrier& m = find_mbarrier(this_block(), a, site);
  for (bool waited = false; (m.phase & 1) == (parity & 1); waited = true) {
    if (waited)
      report("mbarrier-phase-lapped", site, 0, "a whole further phase completed while a thread waited");
    m.waiting.push_back(fiber);
    block_fiber("mbarrier_wait", site, a - this_block().base, parity);
  }
  if (!m.completed) return;
  if (m.cached_in == fiber->clock && m.cached_phase == m.phase) {
    set_clock(*fiber, hold(m.cached_out));
    return;
  }
  Clock* joined = copy_clock(fiber->clock);
  join_into(joined, m.completed);
  drop(m.cached_in);
  drop(m.cached_out);
  m.cached_in = hold(fiber->clock);
  m.cached_out = hold(joined);
  m.cached_phase = m.phase;
  set_clock(*fiber, joined);
}

}  // extern "C"

}  // namespace spak_emulator
