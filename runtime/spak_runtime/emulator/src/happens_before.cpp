// Race detection by happens-before.
//
// Every access is stamped with an actor and that actor's epoch. A clock says, for each actor, up to which
// epoch its holder comes after. With T threads in a world the actors are
//   0 .. T-1     the threads themselves
//   T .. 2T-1    their cp.async copies: an epoch is known once the thread has waited for it
//   2T .. 4T-1   the same two, as far as a proxy fence has covered them: an access by the async proxy
//                (TMA, wgmma) to what plain code wrote is ordered only if a fence stood between
//   4T ..        mbarriers (epoch = phase), wgmma of each warp, bulk stores, other worlds
// An access that nothing has ordered is a race whatever the schedule was: the check does not depend on luck.
#include "emulator.h"

namespace spak_emulator {

// ---- clocks: counted, pooled per world ----

Clock* new_clock() {
  Clock* c;
  if (!world->free_clocks.empty()) {
    c = world->free_clocks.back();
    world->free_clocks.pop_back();
  } else {
    const size_t bytes = (sizeof(Clock) + sizeof(u32) * world->actors + 63) / 64 * 64;
    c = static_cast<Clock*>(aligned_alloc(64, bytes));
  }
  c->references = 1;
  return c;
}
Clock* copy_clock(const Clock* from) {
  Clock* c = new_clock();
  memcpy(c->at, from->at, sizeof(u32) * world->actors);
  return c;
}
Clock* hold(Clock* c) {
  if (c) c->references++;
  return c;
}
void drop(Clock*& c) {
  if (c && --c->references == 0) world->free_clocks.push_back(c);
  c = nullptr;
}
void set_clock(Fiber& f, Clock* c) {
  drop(f.clock);
  f.clock = c;
  f.view.known = c->at;
}
void next_epoch(Fiber& f) {
  f.epoch++;
  f.view.stamp = static_cast<u64>(f.id) << 48 | f.epoch;
}
void join_into(Clock* into, const Clock* from) {
  u32* x = into->at;
  const u32* y = from->at;
  const u32 n = world->actors;
  for (u32 i = 0; i < n; i++) x[i] = x[i] > y[i] ? x[i] : y[i];
}
void publish(Clock* into, Fiber& f) {
  const u32 t = world->threads;
  u32* x = into->at;
  x[f.id] = std::max(x[f.id], f.epoch);
  x[t + f.id] = std::max(x[t + f.id], f.copied);
  x[2 * t + f.id] = std::max(x[2 * t + f.id], f.fenced_epoch);
  x[3 * t + f.id] = std::max(x[3 * t + f.id], f.fenced_copied);
  next_epoch(f);
}
u32 new_actor(const char* what) {
  if (world->next_actor >= world->actors) {
    report("emulator-limit", fiber ? last_site(*fiber) : 0, 0,
           "too many asynchronous actors in one cluster (%s)", what);
    fail();
  }
  return world->next_actor++;
}

bool ordered(const Fiber& f, u32 actor, u32 epoch, bool async_access) {
  const u32 t = world->threads;
  const u32* known = f.clock->at;
  if (!async_access) {
    if (actor == f.id) return true;
    if (actor == t + f.id) return f.copied >= epoch || known[actor] >= epoch;
    return known[actor] >= epoch;
  }
  if (actor == f.id) return f.fenced_epoch >= epoch;
  if (actor == t + f.id) return f.fenced_copied >= epoch || known[2 * t + actor] >= epoch;
  if (actor < 2 * t) return known[2 * t + actor] >= epoch;
  return known[actor] >= epoch;
}

// ---- shared memory ----

void Shadow::allocate(u32 granule_count, u32 slot_count) {
  granules = granule_count;
  slots = slot_count;
  written.allocate(granules);
  readers.allocate(granules);
  reads.allocate(static_cast<size_t>(granules) * slots);
}
void Shadow::clear(u32 first, u32 last) {
  written.clear(first, last);
  readers.clear(first, last);
}
void Shadow::copy(u32 to, const Shadow& other, u32 from) {
  written[to] = other.written[from];
  readers[to] = other.readers[from];
  for (u32 i = 0; i < slots; i++)
    reads[static_cast<size_t>(i) * granules + to] = other.reads[static_cast<size_t>(i) * other.granules + from];
}

namespace {

constexpr u16 ATOMIC = 0x8000, SPLIT = 0xffff;
constexpr u64 WHO_AND_WHEN = 0xffff0000ffffffffull;  // of what is kept of a write: its actor and epoch

struct Access {
  const Fiber& f;
  u32 actor, epoch, site, slot;
  bool async, atomic;
};

// A wgmma read is stamped with the first of its warpgroup's four actors: it ends when all four have waited.
bool read_is_ordered(const Fiber& f, u32 actor, u32 epoch, u32 slot) {
  if (slot < warpgroup_slot(0) || slot >= store_slot()) return ordered(f, actor, epoch, false);
  for (u32 q = 0; q < 4; q++)
    if (!ordered(f, actor + q, epoch, false)) return false;
  return true;
}

void report_readers(const Shadow& s, u32 g, u32 offset, const Access& a) {
  for (u64 m = s.readers[g]; m; m &= m - 1) {
    const u32 slot = static_cast<u32>(__builtin_ctzll(m));
    const u64 r = s.reads[static_cast<u64>(slot) * s.granules + g];
    if (!read_is_ordered(a.f, static_cast<u32>(r >> 48), static_cast<u32>(r), slot))
      report("race-write-after-read", a.site, static_cast<u32>((r >> 32) & 0xffff),
             "shared memory +%u is overwritten while another thread may still read it", offset);
  }
}

void report_unordered(const Shadow& s, u32 g, u32 offset, const Access& a, bool write) {
  const bool only_fence = a.async && ordered(a.f, s.writer(g) - 1u, s.write_epoch(g), false);
  const char* const kind = only_fence ? "missing-proxy-fence"
                           : write    ? "race-write-after-write"
                                      : "race-read-after-write";
  const char* const done = write ? "overwritten" : "read";
  if (only_fence)
    report(kind, a.site, s.write_site(g) & ~ATOMIC,
           "shared memory +%u was written by plain code and is %s by the async proxy without "
           "fence_proxy_async_shared between",
           offset, done);
  else
    report(kind, a.site, s.write_site(g) & ~ATOMIC,
           "shared memory +%u is %s without an order after its write", offset, done);
}

inline void write_cell(Shadow& s, u32 g, u32 offset, const Access& a) {
  const u32 w = s.writer(g);
  const bool both_atomic = a.atomic && (s.write_site(g) & ATOMIC);
  if (w && !both_atomic && !ordered(a.f, w - 1, s.write_epoch(g), a.async))
    report_unordered(s, g, offset, a, true);
  if (s.readers[g]) report_readers(s, g, offset, a);
  s.readers[g] = 0;
  const u64 site = static_cast<u16>(a.site | (a.atomic ? ATOMIC : 0));
  s.written[g] = static_cast<u64>(a.actor + 1) << 48 | site << 32 | a.epoch;
}

// `good`: a writer and its epoch that the previous granule was found to be ordered after.
struct Good {
  u32 writer = 0, epoch = 0;
};
inline void read_cell(Shadow& s, u32 g, u32 offset, const Access& a, Good& good) {
  const u32 w = s.writer(g), e = s.write_epoch(g);
  if (w == 0) {
    report("uninitialised-shared-read", a.site, 0, "shared memory +%u is read and was never written", offset);
  } else if (w != good.writer || e != good.epoch) {
    if (ordered(a.f, w - 1, e, a.async)) good = {w, e};
    else report_unordered(s, g, offset, a, false);
  }
  s.readers[g] |= 1ull << a.slot;
  s.reads[static_cast<u64>(a.slot) * s.granules + g] =
      static_cast<u64>(a.actor) << 48 | static_cast<u64>(a.site & 0xffff) << 32 | a.epoch;
}

// A granule of which only one byte is accessed: from now on its two bytes are kept apart.
void split(Block& b, u32 g) {
  if (b.shadow.writer(g) == SPLIT) return;
  if (b.byte_shadow.granules == 0) b.byte_shadow.allocate(b.shadow.granules * 2, b.shadow.slots);
  b.byte_shadow.copy(2 * g, b.shadow, g);
  b.byte_shadow.copy(2 * g + 1, b.shadow, g);
  b.shadow.written[g] = static_cast<u64>(SPLIT) << 48;
  b.shadow.readers[g] = 0;
}

// Calls visit(shadow, granule, offset) for each granule of an access.
template <class Visit>
inline void for_each_granule(Block& b, u32 address, u32 bytes, Visit visit) {
  const u32 first = address - b.base, last = first + bytes;
  launch->counters[GRANULES_CHECKED] += (bytes + 1) / 2;
  if (bytes == 1) {
    split(b, first / 2);
    visit(b.byte_shadow, first, first);
    return;
  }
  for (u32 g = first / 2; g < last / 2; g++) {
    if (b.shadow.writer(g) != SPLIT) {
      visit(b.shadow, g, g * 2);
    } else {
      visit(b.byte_shadow, 2 * g, 2 * g);
      visit(b.byte_shadow, 2 * g + 1, 2 * g + 1);
    }
  }
}

}  // namespace

void check_shared_write(Block& b, u32 address, u32 bytes, const Fiber& f, u32 actor, u32 epoch,
                        bool async_access, u32 site, bool atomic) {
  if (!launch->options.checks) return;
  if (actor == f.id) f.last_shared_write = f.epoch;
  const Access a{f, actor, epoch, site, 0, async_access, atomic};
  for_each_granule(b, address, bytes, [&](Shadow& s, u32 g, u32 offset) { write_cell(s, g, offset, a); });
}

void check_shared_read(Block& b, u32 address, u32 bytes, const Fiber& f, u32 actor, u32 epoch, u32 slot,
                       bool async_access, u32 site) {
  if (!launch->options.checks) return;
  const Access a{f, actor, epoch, site, slot, async_access, false};
  Good good;
  for_each_granule(b, address, bytes,
                   [&](Shadow& s, u32 g, u32 offset) { read_cell(s, g, offset, a, good); });
}

void check_shared_rows(Block& b, const std::vector<u32>& addresses, const std::vector<const Fiber*>& threads, u32 actor,
                       u32 epoch, u32 slot, u32 site) {
  if (!launch->options.checks) return;
  Shadow& s = b.shadow;
  const u64 mine = 1ull << slot, stamp = static_cast<u64>(actor) << 48 | static_cast<u64>(site & 0xffff) << 32 | epoch;
  Good good;  // of every thread
  launch->counters[GRANULES_CHECKED] += addresses.size() * 8;
  for (const u32 address : addresses) {
    const u32 first = (address - b.base) / 2;
    const u64 known = static_cast<u64>(good.writer) << 48 | good.epoch;
    bool same = good.writer != 0;
    for (u32 g = first; g < first + 8; g++) same &= (s.written[g] & WHO_AND_WHEN) == known;
    if (same) {
      u64* const reads = &s.reads[static_cast<u64>(slot) * s.granules];
      for (u32 g = first; g < first + 8; g++) s.readers[g] |= mine;
      for (u32 g = first; g < first + 8; g++) reads[g] = stamp;
      continue;
    }
    const Access one{*threads[0], actor, epoch, site, slot, true, false};
    for_each_granule(b, address, 16, [&](Shadow& shadow, u32 g, u32 offset) {
      const u32 w = shadow.writer(g), e = shadow.write_epoch(g);
      const Good before = good;
      read_cell(shadow, g, offset, one, good);
      if (w == 0 || (w == before.writer && e == before.epoch)) return;
      for (size_t i = 1; i < threads.size(); i++) {
        if (ordered(*threads[i], w - 1, e, true)) continue;
        report_unordered(shadow, g, offset, {*threads[i], actor, epoch, site, slot, true, false}, false);
        good = Good();
      }
    });
    launch->counters[GRANULES_CHECKED] -= 8;
  }
}

// ---- global memory: within a world by its clocks, between worlds by what was released and acquired ----

namespace {

bool globally_ordered(u32 in_world, u32 actor, u32 epoch, bool async_access) {
  if (in_world == world->id) return ordered(*fiber, actor, epoch, async_access);
  const auto known = world->foreign.find(in_world);
  if (known == world->foreign.end()) return false;
  const u32 n = fiber->clock->at[known->second.actor];
  if (n == 0) return false;
  const u32 t = world->threads;
  const u32 component = async_access && actor < 2 * t ? 2 * t + actor : actor;
  const std::vector<u32>& snapshot = *known->second.snapshots[n - 1];
  return component < snapshot.size() && snapshot[component] >= epoch;
}

}  // namespace

void check_global_write(Buffer& b, u64 offset, u64 bytes, u32 actor, u32 epoch, bool async_access,
                        bool atomic, u32 site) {
  if (b.cells.empty()) return;
  for (u64 g = offset / b.granule; g < (offset + bytes + b.granule - 1) / b.granule; g++) {
    GlobalCell& c = b.cells[g];
    if (c.constant)
      report("readonly-load-of-written", site, c.read_site,
             "element %llu of %s is written, and was read through the read-only path in the same launch",
             static_cast<unsigned long long>(g), b.name.c_str());
    if (b.write_once && c.write_world) {
      report(c.write_world == world->id ? "double-write" : "double-write-between-blocks", site, c.write_site,
             "element %llu of %s is written more than once", static_cast<unsigned long long>(g),
             b.name.c_str());
    } else if (launch->options.checks && !b.write_once) {
      if (c.write_world && !(atomic && c.atomic) &&
          !globally_ordered(c.write_world, c.write_actor, c.write_epoch, async_access))
        report("global-race-write-after-write", site, c.write_site,
               "element %llu of %s is written twice without an order", static_cast<unsigned long long>(g),
               b.name.c_str());
      if (c.read_world && !globally_ordered(c.read_world, c.read_actor, c.read_epoch, false))
        report("global-race-write-after-read", site, c.read_site,
               "element %llu of %s is overwritten without an order after a read",
               static_cast<unsigned long long>(g), b.name.c_str());
    }
    c.write_world = world->id;
    c.write_actor = static_cast<u16>(actor);
    c.write_epoch = epoch;
    c.write_site = static_cast<u16>(site);
    c.read_world = 0;
    c.atomic = atomic;
  }
}

// A read through the read-only path: nobody may write the element during the launch, before or after.
void check_global_constant(Buffer& b, u64 offset, u64 bytes, u32 site) {
  if (b.cells.empty()) return;
  for (u64 g = offset / b.granule; g < (offset + bytes + b.granule - 1) / b.granule; g++) {
    GlobalCell& c = b.cells[g];
    if (c.write_world)
      report("readonly-load-of-written", site, c.write_site,
             "element %llu of %s is read through the read-only path and written in the same launch",
             static_cast<unsigned long long>(g), b.name.c_str());
    c.constant = true;
  }
}

void check_global_read(Buffer& b, u64 offset, u64 bytes, u32 actor, u32 epoch, bool async_access, bool atomic,
                       u32 site) {
  if (b.cells.empty() || !launch->options.checks) return;
  for (u64 g = offset / b.granule; g < (offset + bytes + b.granule - 1) / b.granule; g++) {
    GlobalCell& c = b.cells[g];
    if (c.write_world == 0 && b.uninitialised)
      report("uninitialised-global-read", site, 0, "element %llu of %s is read and was never written",
             static_cast<unsigned long long>(g), b.name.c_str());
    if (c.write_world && !(atomic && c.atomic) &&
        !globally_ordered(c.write_world, c.write_actor, c.write_epoch, async_access))
      report("global-race-read-after-write", site, c.write_site,
             "element %llu of %s is read without an order after its write",
             static_cast<unsigned long long>(g), b.name.c_str());
    if (atomic) continue;
    c.read_world = world->id;
    c.read_actor = static_cast<u16>(actor);
    c.read_epoch = epoch;
    c.read_site = static_cast<u16>(site);
  }
}

// All that the thread comes after, its own past included; a release.
Knowledge knowledge_of(Fiber& f) {
  Clock* c = copy_clock(f.clock);
  publish(c, f);
  Knowledge k;
  k[world->id] = std::make_shared<const std::vector<u32>>(c->at, c->at + world->actors);
  for (const auto& [id, other] : world->foreign)
    if (const u32 n = c->at[other.actor]) k[id] = other.snapshots[n - 1];
  drop(c);
  return k;
}

void merge_knowledge(Knowledge& into, const Knowledge& from) {
  for (const auto& [id, snapshot] : from) {
    Snapshot& mine = into[id];
    if (!mine) {
      mine = snapshot;
      continue;
    }
    std::vector<u32> joined(*mine);
    for (size_t i = 0; i < joined.size() && i < snapshot->size(); i++)
      joined[i] = std::max(joined[i], (*snapshot)[i]);
    mine = std::make_shared<const std::vector<u32>>(std::move(joined));
  }
}

void learn(Fiber& f, const Knowledge& k) {
  Clock* c = copy_clock(f.clock);
  for (const auto& [id, snapshot] : k) {
    if (id == world->id) {
      for (u32 i = 0; i < world->actors; i++) c->at[i] = std::max(c->at[i], (*snapshot)[i]);
      continue;
    }
    auto found = world->foreign.find(id);
    if (found == world->foreign.end())
      found = world->foreign.emplace(id, ForeignWorld{new_actor("other blocks"), {}}).first;
    ForeignWorld& other = found->second;
    Knowledge joined{{id, snapshot}};
    if (!other.snapshots.empty()) merge_knowledge(joined, {{id, other.snapshots.back()}});
    other.snapshots.push_back(joined[id]);
    c->at[other.actor] = static_cast<u32>(other.snapshots.size());
  }
  set_clock(f, c);
}

}  // namespace spak_emulator
