// Who runs next. Seeded: the same seed gives the same run. A fiber runs until it has to wait; then the next
// is most often one of the same warp, sometimes one of a random warp. Asynchronous copies run when nobody
// else can (LATE), at once (EAGER) or at random points (RANDOM).
#include <sys/mman.h>

#include "emulator.h"

namespace spak_emulator {

namespace {

constexpr u32 STAY_OF_256 = 224;  // chance to stay with the warp

// Whether the stack of one of `n` threads from `first` on has reached its last page. No stack needs so much; the page stays
// away until it does. The system is asked once for all of them.
Fiber* overrun(World& w, u32 first, u32 n) {
  constexpr size_t PAGES = STACK_BYTES / 4096;
  unsigned char resident[32 * PAGES];
  if (mincore(w.stacks + STACK_BYTES * first, STACK_BYTES * n, resident) != 0) return nullptr;
  for (u32 i = 0; i < n; i++)
    if (resident[i * PAGES] & 1) return &w.fibers[first + i];
  return nullptr;
}

// Threads that have called a primitive far down are looked at when they end, all others with the last of their warp.
void check_stacks(Fiber& f) {
  const bool last = (world->warp[f.warp].exited | 1u << f.lane) == ~0u;
  if (!last && f.deepest > world->stacks + STACK_BYTES * f.id + 2 * 4096) return;
  Fiber* const found = last ? overrun(*world, f.warp * 32, 32) : overrun(*world, f.id, 1);
  if (!found) return;
  fiber = found;
  report("stack-overflow", last_site(*found), 0, "a thread used more than %zu bytes of local memory",
         STACK_BYTES - 4096);
  fail();
}

bool run_some_async() {
  World& w = *world;
  const size_t n = w.loads.size() + w.arrivals.size();
  if (n == 0) return false;
  const size_t i = w.random.below(static_cast<u32>(n));
  if (i < w.loads.size()) run_load(i);
  else run_arrival(i - w.loads.size());
  return true;
}

// Makes the threads ready whose semaphore has the value they wait for.
bool poll_semaphores() {
  World& w = *world;
  bool any = false;
  for (size_t i = 0; i < w.semaphore_waiters.size();) {
    Fiber* f = w.semaphore_waiters[i];
    if (*f->semaphore == f->wait_b) {
      w.semaphore_waiters.erase(w.semaphore_waiters.begin() + static_cast<std::ptrdiff_t>(i));
      make_ready(*f);
      any = true;
    } else {
      i++;
    }
  }
  return any;
}

u32 ready_warp_from(u32 start) {
  const std::vector<u64>& ready = world->ready;
  const u32 words = static_cast<u32>(ready.size());
  u32 word = start >> 6;
  u64 m = ready[word] & (~0ull << (start & 63));
  for (u32 i = 0; i <= words; i++) {
    if (m) return word * 64 + static_cast<u32>(__builtin_ctzll(m));
    word = word + 1 == words ? 0 : word + 1;
    m = ready[word];
  }
  return NONE;
}

Fiber* next_fiber() {
  World& w = *world;
  const u32 mode = launch->options.async_mode;
  for (;;) {
    if (mode != LATE && (mode == EAGER || (w.random.next() & 15) == 0) && run_some_async()) continue;
    if (!w.semaphore_waiters.empty() && (w.random.next() & 15) == 0) poll_semaphores();
    const bool current = w.ready[w.current_warp >> 6] >> (w.current_warp & 63) & 1;
    if (!current || (w.random.next() & 255) >= STAY_OF_256) {
      const u32 found = ready_warp_from(w.random.below(w.warps));
      if (found == NONE) {
        if (run_some_async() || poll_semaphores()) continue;
        return nullptr;
      }
      w.current_warp = found;
    }
    Warp& warp = w.warp[w.current_warp];
    const u32 rotation = launch->options.seed ? w.random.next() & 31 : 0;
    const u32 high = (warp.ready >> rotation) << rotation;
    const u32 lane = static_cast<u32>(__builtin_ctz(high ? high : warp.ready));
    warp.ready &= ~(1u << lane);
    if (!warp.ready) w.ready[w.current_warp >> 6] &= ~(1ull << (w.current_warp & 63));
    return &w.fibers[w.current_warp * 32 + lane];
  }
}

void enter(Fiber& f) {
  fiber = &f;
  spak_emu_thread = &f.view;
}

// Leaves the running fiber for the next one, or for the world's caller when nobody can run.
void reschedule() {
  Fiber* const me = fiber;
  Fiber* const next = launch->aborted ? nullptr : next_fiber();
  if (next == me) return;
  launch->counters[SWITCHES]++;
  Context* to = &world->main;
  if (next) {
    enter(*next);
    to = &next->context;
  } else {
    fiber = nullptr;
  }
  switch_context(me->context, *to);
  enter(*me);
}

// A thread has returned from the kernel.
void leave_block(Fiber& f) {
  Block& b = world->blocks[f.block];
  Warp& warp = world->warp[f.warp];
  if (f.last_copy > std::max(f.copied, f.copies_handed_over))
    report("exit-with-pending-cp-async", last_site(f), 0,
           "a thread ends without having waited for its last cp.async");
  if (f.last_store > f.stores_read)
    report(
        "exit-with-pending-store", last_site(f), 0,
        "a thread ends without having waited for its last bulk store: its shared memory may still be read");
  finish_stores(f, f.store_epoch, false);
  if (warp.arrived) {
    report("collective-misses-exited-thread", warp.site, last_site(f),
           "a thread ends while others of its warp wait for it in a collective");
    fail();
  }
  f.done = true;
  warp.exited |= 1u << f.lane;
  if (warp.exited == ~0u) flush_logs(warp);
  world->live--;
  b.alive--;
  if (world->blocks.size() > 1) {
    if (!b.exit_clock) b.exit_clock = copy_clock(world->zero);
    if (b.last_exit != f.clock) join_into(b.exit_clock, f.clock);
    drop(b.last_exit);
    b.last_exit = hold(f.clock);
    if (b.alive == 0)
      for (const Block::RemoteAccess& r : b.remote)
        if (b.exit_clock->at[r.fiber] < r.epoch)
          report("exit-races-remote-access", r.site, 0,
                 "a block of the cluster may have ended before this access to its shared memory");
  }
  if (b.alive == 0 && b.registers_given != NONE)
    report("bad-register-budget", b.registers_given, 0,
           "registers are given back, and no warp of the block takes any");
  if (b.alive == 0)
    for (u32 id = 1; id < 16; id++)
      if (!b.barriers[id].participants.empty())
        report("barrier-left-incomplete", b.barriers[id].site, 0,
               "the block ends while %zu threads have arrived at barrier %u, where nobody waits for them",
               b.barriers[id].participants.size(), id);
  Barrier& whole = b.barriers[0];
  if (whole.expected > b.alive && b.alive > 0) {
    whole.expected = b.alive;
    if (whole.participants.size() == whole.expected) release_barrier(whole);
  }
  if (f.cluster_arrivals > world->cluster_barrier.phase) world->cluster_barrier.expected++;
  complete_cluster_barrier_if_due();
}

void fiber_main() {
  launch->kernel(launch->params);
  check_stacks(*fiber);
  leave_block(*fiber);
  fiber->waiting = "exited";
  reschedule();
  __builtin_trap();
}

void reset_barrier(Barrier& b) {
  drop(b.gathering);
  drop(b.last_joined);
  drop(b.completed);
  b = Barrier();
}

void reset_block(Block& b, u32 rank, u32 linear_world) {
  const Launch& l = *launch;
  const u32 clusters_x = l.grid[0] / l.cluster[0], clusters_y = l.grid[1] / l.cluster[1];
  const u32 first[3] = {linear_world % clusters_x * l.cluster[0],
                        linear_world / clusters_x % clusters_y * l.cluster[1],
                        linear_world / clusters_x / clusters_y * l.cluster[2]};
  b.index[0] = first[0] + rank % l.cluster[0];
  b.index[1] = first[1] + rank / l.cluster[0] % l.cluster[1];
  b.index[2] = first[2] + rank / l.cluster[0] / l.cluster[1];
  b.linear = (b.index[2] * l.grid[1] + b.index[1]) * l.grid[0] + b.index[0];
  b.alive = l.threads;
  b.registers_free = 0;
  b.registers_given = NONE;
  b.registers_taken = false;
  if (b.touched_from < b.touched_to) {
    memset(&b.memory[b.touched_from], 0xff, b.touched_to - b.touched_from);
    if (b.shadow.granules) b.shadow.clear(b.touched_from / 2, (b.touched_to + 1) / 2);
  }
  b.touched_from = NONE;
  b.touched_to = 0;
  b.byte_shadow = Shadow();
  for (Barrier& x : b.barriers) reset_barrier(x);
  std::fill(b.mbarrier_at.begin(), b.mbarrier_at.end(), 0);
  for (Mbarrier& m : b.mbarriers)
    for (Clock** c : {&m.gathering, &m.completed, &m.last_joined, &m.cached_in, &m.cached_out}) drop(*c);
  b.mbarriers.clear();
  for (Warpgroup& g : b.warpgroups)
    for (auto& warp : g.waited)
      for (Warpgroup::Waited& w : warp) {
        drop(w.in);
        drop(w.out);
      }
  b.warpgroups.assign((l.threads + 127) / 128, Warpgroup());
  b.register_waiters.clear();
  b.remote.clear();
  drop(b.exit_clock);
  drop(b.last_exit);
}

void reset_fiber(World& w, u32 id) {
  const Launch& l = *launch;
  Fiber& f = w.fibers[id];
  drop(f.clock);
  drop(f.cluster_clock);
  // What another thread has left on the stack must not decide anything: not its own variables, nor those of the
  // primitives that it called last.
  char *const stack = w.stacks + STACK_BYTES * id, *const top = top_of_stack(stack, id % 32);
  if (f.deepest) {
    char* const from = std::max(stack + 4096, f.deepest - 1024);
    memset(from, 0, static_cast<size_t>(top - from));
  }
  f.~Fiber();
  new (&f) Fiber();
  f.id = id;
  f.deepest = top;
  f.block = id / l.threads;
  f.warp = id / 32;
  f.lane = id % 32;
  Block& b = w.blocks[f.block];
  f.view = {id % l.threads, f.lane, (id % l.threads) / 32, f.block, l.threads, b.base, {}, {}};
  for (u32 i = 0; i < 3; i++) {
    f.view.block[i] = b.index[i];
    f.view.grid[i] = l.grid[i];
  }
  give_room(f);
  set_clock(f, hold(w.zero));
  if (l.options.checks) {
    f.view.shared = b.memory.data();
    f.view.shared_bytes = b.size;
    f.view.written = &b.shadow.written[0];
    f.view.readers = &b.shadow.readers[0];
    f.view.reads = &b.shadow.reads[static_cast<size_t>(warp_slot(f)) * b.shadow.granules];
    f.view.warp_bit = 1ull << warp_slot(f);
    f.view.stamp = static_cast<u64>(id) << 48 | f.epoch;
  }
  prepare_context(f.context, stack, f.lane, fiber_main);
}

void allocate_world(World& w) {
  const Launch& l = *launch;
  const u32 blocks = l.cluster[0] * l.cluster[1] * l.cluster[2];
  w.threads = l.threads * blocks;
  w.warps = w.threads / 32;
  w.actors = 4 * w.threads + 192 + 128 * blocks;
  w.fibers.resize(w.threads);
  w.notes.resize(w.threads);
  w.warp.resize(w.warps);
  w.blocks.resize(blocks);
  w.ready.assign((w.warps + 63) / 64, 0);
  w.stacks = static_cast<char*>(mmap(nullptr, STACK_BYTES * w.threads, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  const u32 groups = (l.threads + 127) / 128;
  for (Block& b : w.blocks) {
    b.size = l.shared_bytes;
    b.memory.assign(b.size + 16, 0xff);
    b.mbarrier_at.assign(b.size / 8 + 2, 0);
    if (!l.options.checks) continue;
    b.shadow.allocate(b.size / 2 + 1, l.threads / 32 + groups + 2);
  }
  w.zero = new_clock();
  memset(w.zero->at, 0, sizeof(u32) * w.actors);
}

}  // namespace

World::~World() {
  if (!stacks) return;
  World* const previous = world;
  world = this;
  for (Fiber& f : fibers) {
    drop(f.clock);
    drop(f.cluster_clock);
  }
  for (Block& b : blocks) reset_block(b, 0, 0);
  reset_barrier(cluster_barrier);
  drop(fence_in);
  drop(fence_out);
  drop(zero);
  for (Clock* c : free_clocks) free(c);
  munmap(stacks, STACK_BYTES * threads);
  world = previous;
}

void make_ready(Fiber& f) {
  Warp& warp = world->warp[f.warp];
  warp.ready |= 1u << f.lane;
  world->ready[f.warp >> 6] |= 1ull << (f.warp & 63);
  f.waiting = nullptr;
}

void block_fiber(const char* why, u32 site, u32 a, u32 b) {
  fiber->waiting = why;
  fiber->wait_site = site;
  fiber->wait_a = a;
  fiber->wait_b = b;
  reschedule();
}

void fail() {
  launch->aborted = true;
  fiber->waiting = "aborted";
  reschedule();
  __builtin_trap();
}

// Sets a world to the start of cluster `linear`. Shared memory gets a random base, a multiple of 16.
void begin_world(World& w, u32 linear) {
  world = &w;
  fiber = nullptr;
  if (!w.stacks) allocate_world(w);
  w.id = linear + 1;
  w.next_actor = 4 * w.threads;
  w.live = w.threads;
  w.random.seed(launch->options.seed, linear);
  w.current_warp = 0;
  w.loads.clear();
  w.arrivals.clear();
  w.semaphore_waiters.clear();
  reset_barrier(w.cluster_barrier);
  w.foreign.clear();
  drop(w.fence_in);
  drop(w.fence_out);
  const u32 base = 1024 + 16 * w.random.below(64);
  for (u32 rank = 0; rank < w.blocks.size(); rank++) {
    w.blocks[rank].base = base;
    reset_block(w.blocks[rank], rank, linear);
  }
  const u32 per_warp =
      launch->min_blocks ? std::min(248u, 65536 / launch->threads / launch->min_blocks / 8 * 8) : 0;
  for (Warp& x : w.warp) {
    x.ready = x.arrived = x.exited = 0;
    x.registers = per_warp;
    x.partial.clear();
    forget_logs(x);
  }
  for (u32 i = 0; i < w.threads; i++) {
    reset_fiber(w, i);
    make_ready(w.fibers[i]);
  }
  count(CLUSTERS);
}

Outcome run_world(World& w) {
  world = &w;
  Fiber* const next = next_fiber();
  if (next) {
    enter(*next);
    switch_context(w.main, next->context);
  }
  fiber = nullptr;
  if (launch->aborted) return Outcome::ABORTED;
  if (w.live) return Outcome::SUSPENDED;
  for (Warp& x : w.warp) flush_logs(x);
  return Outcome::FINISHED;
}

// Says who waits where, the same waits counted together.
void report_deadlock(const std::vector<World*>& stuck) {
  std::map<std::string, u32> waits;
  u32 threads = 0, site = 0;
  for (const World* w : stuck)
    for (const Fiber& f : w->fibers) {
      if (f.done) continue;
      const Site& s = launch->sites[f.wait_site];
      char text[256];
      snprintf(text, sizeof text, "%s(0x%x, %u) at %s:%u", f.waiting ? f.waiting : "?", f.wait_a, f.wait_b,
               s.file, s.line);
      waits[text]++;
      threads++;
      site = f.wait_site;
    }
  std::string all;
  for (const auto& [text, n] : waits) all += (all.empty() ? "" : "; ") + text + " x " + std::to_string(n);
  report("deadlock", site, 0, "%u threads wait for ever: %s", threads, all.substr(0, 400).c_str());
}

}  // namespace spak_emulator
