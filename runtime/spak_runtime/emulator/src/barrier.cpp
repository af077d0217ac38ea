// Barriers of a block, a warp and a cluster; the proxy fence; the register budgets of warps.
#include "emulator.h"

namespace spak_emulator {

namespace {

constexpr const char* SETMAXNREG = "register_budget";

// Hardware counts barriers in whole warps: a part of a warp is a mistake that the sum of threads can hide, and so is a warp
// that arrives again in the place of another.
void check_whole_warps(const Barrier& b) {
  std::map<u32, std::array<u32, 32>> arrivals;
  for (const Fiber* f : b.participants) arrivals[f->warp][f->lane]++;
  for (const auto& [warp, lanes] : arrivals) {
    if (std::any_of(lanes.begin(), lanes.end(), [&](u32 n) { return n != lanes[0]; }))
      report("barrier-partial-warp", b.site, 0, "only a part of warp %u takes part in a barrier of the block",
             warp % warps_per_block());
    else if (lanes[0] > 1)
      report("barrier-arrived-twice", b.site, 0, "warp %u arrives %u times before the barrier is complete",
             warp % warps_per_block(), lanes[0]);
  }
}

// What an arrival that does not wait publishes, it publishes now: later accesses are not covered.
void gather(Barrier& b, Fiber& f) {
  if (!b.gathering) b.gathering = copy_clock(f.clock);
  else if (b.last_joined != f.clock) join_into(b.gathering, f.clock);
  drop(b.last_joined);
  b.last_joined = hold(f.clock);
  publish(b.gathering, f);
}

}  // namespace

// Joins the waiting threads and gives them all one clock.
void release_barrier(Barrier& b) {
  count(BARRIERS);
  if (launch->options.checks) check_whole_warps(b);
  Clock* joined = b.gathering ? b.gathering : copy_clock(world->zero);
  b.gathering = nullptr;
  drop(b.last_joined);
  const Clock* last = nullptr;
  for (Fiber* f : b.waiting) {
    if (f->clock != last) join_into(joined, f->clock);
    last = f->clock;
  }
  for (Fiber* f : b.waiting) {
    publish(joined, *f);
    if (f->lane == 0) flush_alike(world->warp[f->warp]);
  }
  for (Fiber* f : b.waiting) {
    set_clock(*f, hold(joined));
    if (f != fiber && !f->done) make_ready(*f);
  }
  drop(joined);
  b.participants.clear();
  b.waiting.clear();
  b.expected = 0;
  b.phase++;
}

void order_together(Fiber* const* fibers, size_t n) {
  Clock* joined = copy_clock(fibers[0]->clock);
  for (size_t i = 1; i < n; i++)
    if (fibers[i]->clock != fibers[i - 1]->clock) join_into(joined, fibers[i]->clock);
  for (size_t i = 0; i < n; i++) publish(joined, *fibers[i]);
  for (size_t i = 0; i < n; i++) set_clock(*fibers[i], hold(joined));
  drop(joined);
}

// `expected` counts the threads that ended after their arrival; ended threads are not waited for.
void complete_cluster_barrier_if_due() {
  Barrier& b = world->cluster_barrier;
  if (b.participants.empty() || b.participants.size() < world->live + b.expected) return;
  count(BARRIERS);
  drop(b.completed);
  b.completed = b.gathering;
  b.gathering = nullptr;
  drop(b.last_joined);
  b.participants.clear();
  b.expected = 0;
  b.phase++;
  for (Fiber* f : b.waiting) make_ready(*f);
  b.waiting.clear();
}

extern "C" {

void spak_emu_barrier(unsigned id, unsigned threads, int wait, SPAK_AT) {
  const u32 site = here(file, line);
  Block& block = this_block();
  if (id > 15 || (id == 0 && threads)) {
    report("bad-barrier-id", site, 0, "barrier %u: named ones are 1 .. 15, and 0 is sync_threads", id);
    fail();
  }
  Barrier& b = block.barriers[id];
  const u32 expected = threads ? threads : block.alive;
  if (expected % 32 || expected > launch->threads) {
    report("bad-barrier-count", site, 0, "%u threads: a multiple of 32 up to the block's %u", expected,
           launch->threads);
    fail();
  }
  if (b.expected && b.expected != expected) {
    report("barrier-count-mismatch", site, b.site, "barrier %u is used with %u and with %u threads", id,
           expected, b.expected);
    fail();
  }
  b.expected = expected;
  b.site = site;
  b.participants.push_back(fiber);
  if (wait) b.waiting.push_back(fiber);
  else gather(b, *fiber);
  if (b.participants.size() == expected) release_barrier(b);
  else if (wait) block_fiber(id ? "named_barrier_sync" : "sync_threads", site, id, expected);
}

void spak_emu_sync_warp(unsigned mask, SPAK_AT) {
  const u32 site = here(file, line);
  Fiber* const lanes = &world->fibers[fiber->warp * 32];
  Fiber* taking_part[32];
  u32 n = 0;
  if (mask == 0xffffffffu) {
    if (!meet("sync_warp", site)) return;
  } else {
    if (!(mask >> fiber->lane & 1)) {
      report("sync-warp-without-self", site, 0, "lane %u calls sync_warp with mask 0x%x", fiber->lane, mask);
      fail();
    }
    u32& arrived = world->warp[fiber->warp].partial[mask];
    arrived |= 1u << fiber->lane;
    if (arrived != mask) return block_fiber("sync_warp", site, mask);
    arrived = 0;
    for (u32 lane = 0; lane < 32; lane++)
      if (mask >> lane & 1 && lane != fiber->lane) make_ready(lanes[lane]);
  }
  for (u32 lane = 0; lane < 32; lane++)
    if (mask >> lane & 1) taking_part[n++] = &lanes[lane];
  order_together(taking_part, n);
}

void spak_emu_cluster_arrive(SPAK_AT) {
  const u32 site = here(file, line);
  Barrier& b = world->cluster_barrier;
  if (fiber->cluster_arrivals > b.phase) {
    report("cluster-arrive-twice", site, 0, "a thread arrives at the cluster barrier twice in one phase");
    fail();
  }
  fiber->cluster_arrivals = b.phase + 1;
  drop(fiber->cluster_clock);
  fiber->cluster_clock = hold(fiber->clock);
  b.participants.push_back(fiber);
  gather(b, *fiber);
  complete_cluster_barrier_if_due();
}

void spak_emu_cluster_wait(SPAK_AT) {
  const u32 site = here(file, line);
  Barrier& b = world->cluster_barrier;
  if (fiber->cluster_arrivals == 0) {
    report("cluster-wait-without-arrive", site, 0, "cluster_wait before any cluster_arrive");
    fail();
  }
  while (b.phase < fiber->cluster_arrivals) {
    b.waiting.push_back(fiber);
    block_fiber("cluster_wait", site, b.phase);
  }
  // A thread that has learned nothing since its arrival leaves with the clock that all share.
  Clock* after = fiber->cluster_clock == fiber->clock ? hold(b.completed) : copy_clock(b.completed);
  if (after != b.completed) join_into(after, fiber->clock);
  set_clock(*fiber, after);
}

void spak_emu_fence_proxy_async(int, SPAK_AT) {
  here(file, line);
  World& w = *world;
  Fiber& f = *fiber;
  Clock* covered;
  if (w.fence_in == f.clock) {  // another thread with the same past has just fenced: share the result
    covered = hold(w.fence_out);
  } else {
    covered = copy_clock(f.clock);
    for (u32 i = 0; i < 2 * w.threads; i++)
      covered->at[2 * w.threads + i] = std::max(covered->at[2 * w.threads + i], covered->at[i]);
    drop(w.fence_in);
    drop(w.fence_out);
    w.fence_in = hold(f.clock);
    w.fence_out = hold(covered);
  }
  set_clock(f, covered);
  f.fenced_epoch = f.epoch;
  f.fenced_copied = f.copied;
  next_epoch(f);
}

void spak_emu_grid_dependency_wait(SPAK_AT) {
  here(file, line);
  fiber->predecessors_ended = true;
  fiber->view.end = fiber->notes_end;
}

// setmaxnreg: a warp gives registers back to the block's pool or waits until the pool has enough.
void spak_emu_register_budget(unsigned registers, int increase, SPAK_AT) {
  const u32 site = here(file, line);
  if (launch->min_blocks == 0) {
    report("bad-register-budget", site, 0,
           "the kernel is declared without min_blocks, so setmaxnreg would be ignored");
    fail();
  }
  if (!meet(SETMAXNREG, site, nullptr, nullptr, registers)) return;
  Block& b = this_block();
  Warp& warp = world->warp[fiber->warp];
  if (increase ? registers < warp.registers : registers > warp.registers) {
    report("bad-register-budget", site, 0, "%s from %u to %u registers", increase ? "increase" : "decrease",
           warp.registers, registers);
    fail();
  }
  if (!increase) {
    b.registers_free += warp.registers - registers;
    if (!b.registers_taken && b.registers_given == NONE) b.registers_given = site;
    for (Fiber* f : b.register_waiters) make_ready(*f);
    b.register_waiters.clear();
  } else {
    while (b.registers_free < registers - warp.registers) {
      b.register_waiters.push_back(fiber);
      block_fiber("register_increase", site, registers, b.registers_free);
    }
    b.registers_free -= registers - warp.registers;
    b.registers_taken = true;
    b.registers_given = NONE;
  }
  warp.registers = registers;
}

}  // extern "C"

}  // namespace spak_emulator
