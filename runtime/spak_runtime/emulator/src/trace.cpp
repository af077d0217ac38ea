// What threads note of their accesses, and the requests of warps that are made of it.
//
// A note is the number of a class of accesses (the place, the kind, the size) above an address. Most often the lanes of
// a warp have noted the same classes one after the other by the time that they meet: then the i-th notes of all are one
// request. Lanes that went different ways, and notes that fill their room, go to the logs by place (profile.cpp), which
// find the same requests at a higher price: the i-th accesses of the lanes at one place.
#include "emulator.h"

namespace spak_emulator {

namespace {

constexpr u32 ADDRESS_BITS = 48;
constexpr u64 ADDRESS = (1ull << ADDRESS_BITS) - 1;
constexpr size_t FIRST_NOTES = 64, MOST_NOTES = 1024;  // of one thread
constexpr size_t MOST_PATTERNS = 4;

u64 granules_of(const AccessClass& c) {
  return c.kind == SHARED && launch->options.checks ? (c.bytes + 1) / 2 : 0;
}

AccessClass& class_of_note(u64 note) { return launch->classes[note >> ADDRESS_BITS]; }

void point_at(Fiber& f, size_t noted) {
  std::vector<u64>& room = world->notes[f.id];
  f.notes = room.data();
  f.notes_end = f.notes + room.size();
  f.view.next = f.notes + noted;
  f.view.end = launch->overlaps && !f.predecessors_ended ? f.notes : f.notes_end;
}

void forget_notes(Fiber& f) {
  f.called_site = last_site(f);
  f.view.next = f.called_notes = f.notes;
}

void log_notes(Warp& w, Fiber& f) {
  for (const u64* note = f.notes; note < f.view.next; note++) {
    class_of_note(*note).accesses++;
    log_of_lane(w, f.lane, static_cast<u32>(*note >> ADDRESS_BITS), *note & ADDRESS);
  }
  forget_notes(f);
}

void more_room(Fiber& f) {
  const size_t noted = static_cast<size_t>(f.view.next - f.notes);
  if (noted >= MOST_NOTES) return log_notes(world->warp[f.warp], f);
  const bool mine = f.called_notes == f.view.next;
  const size_t called = static_cast<size_t>(f.called_notes - f.notes);
  world->notes[f.id].resize(noted * 2);
  point_at(f, noted);
  f.called_notes = mine ? f.view.next : f.notes + called;
}

// ---- requests of lanes that have all done the same ----

u64 patterns_made = 0;  // one that was found before is still there while this stays the same

// `row`: what the lanes have noted, those that take no part as the first that does.
AccessClass::Pattern& pattern_of(AccessClass& c, const u64* row, u32 mask, u64 first) {
  for (size_t i = 0; i < c.patterns.size(); i++) {
    // Kinds of requests at one place mostly follow one another in turn.
    if (++c.likely >= c.patterns.size()) c.likely = 0;
    AccessClass::Pattern& p = c.patterns[c.likely];
    u64 other = p.mask ^ mask;
    for (u32 lane = 0; lane < 32; lane++) other |= (row[lane] - first) ^ p.distance[lane];
    if (!other) return p;
  }
  patterns_made++;
  if (c.patterns.size() < MOST_PATTERNS) c.patterns.emplace_back();
  if (++c.likely >= c.patterns.size()) c.likely = 0;
  AccessClass::Pattern& p = c.patterns[c.likely] = AccessClass::Pattern();
  p.mask = mask;
  for (u32 lane = 0; lane < 32; lane++) p.distance[lane] = row[lane] - first;
  return p;
}

// Says which of the class's patterns the row has.
u32 add_row(AccessClass& c, const u64* row, u32 mask, u32 lanes, u64 first) {
  const AccessKind kind = static_cast<AccessKind>(c.kind);
  AccessClass::Pattern& p = pattern_of(c, row, mask, first);
  // What equal distances cost is the same from one sector to the next, and from one bank to the next.
  const u32 base = static_cast<u32>(first) % (kind == GLOBAL ? 32 : 4);
  auto& known = p.costs[base / 2];
  if (known.base != base) {  // of two odd and even neighbours there is one at a time
    u64 address[32], ideal;
    for (u32 lane = 0; lane < 32; lane++) address[lane] = row[lane] & ADDRESS;
    const u64 units = cost_of(kind, address, mask, c.bytes, ideal);
    known = {base, static_cast<u32>(units), static_cast<u32>(ideal)};
  }
  c.accesses += lanes;
  add_request(c.site, kind, known.units, known.ideal);
  return static_cast<u32>(&p - c.patterns.data());
}

// Rows that are looked at together: a cache line of each lane.
constexpr size_t STEP = 8;
typedef u64 Step __attribute__((vector_size(STEP * sizeof(u64))));

Step notes_at(const u64* notes) {
  Step step;
  memcpy(&step, notes, sizeof step);
  return step;
}

// Whether the rows of a step lie as those of the step before, row by row: then row i is of the same class and has the
// same distances as row i had. Keeps how they lie.
bool lie_as_before(const u64* const* notes, size_t start, u32 leader, Step* distance, Step& before) {
  const Step first = notes_at(notes[leader] + start);
  Step different = (first ^ before) >> ADDRESS_BITS;
  before = first;
  for (u32 lane = 0; lane < 32; lane++) {
    const Step now = notes_at(notes[lane] + start) - first;
    different |= now ^ distance[lane];
    distance[lane] = now;
  }
  u64 any = 0;
  for (size_t i = 0; i < STEP; i++) any |= different[i];
  return any == 0;
}

// What a row costs that lies as another did, where that is known.
bool add_alike(AccessClass& c, const u32 pattern, u32 lanes, u64 first) {
  const AccessKind kind = static_cast<AccessKind>(c.kind);
  const u32 base = static_cast<u32>(first) % (kind == GLOBAL ? 32 : 4);
  const auto& known = c.patterns[pattern].costs[base / 2];
  if (known.base != base) return false;
  c.accesses += lanes;
  add_request(c.site, kind, known.units, known.ideal);
  return true;
}

// The lanes' notes, `n` of each. Lanes that take no part are given those of one that does. A loop makes rows that lie as
// the same number of rows before, mostly: their patterns need not be looked for again, unless one was given up since.
void add_rows(const u64* const* notes, size_t n, u32 mask) {
  const u32 lanes = static_cast<u32>(__builtin_popcount(mask));
  const u32 leader = static_cast<u32>(__builtin_ctz(mask));
  Step distance[32] = {}, before = {};  // class 0 is none, so no row lies as these
  AccessClass* of[STEP];                // classes do not move
  u32 pattern[STEP];
  u64 made = 0;  // when the patterns of the step before were looked for
  for (size_t start = 0; start < n; start += STEP) {
    const size_t count = std::min(STEP, n - start);
    const bool alike = count == STEP && lie_as_before(notes, start, leader, distance, before) && made == patterns_made;
    if (!alike) made = patterns_made;
    for (size_t i = 0; i < count; i++) {
      const u64 first = notes[leader][start + i];
      if (alike && add_alike(*of[i], pattern[i], lanes, first)) continue;
      u64 row[32];
      for (u32 lane = 0; lane < 32; lane++) row[lane] = notes[lane][start + i];
      of[i] = &class_of_note(first);
      pattern[i] = add_row(*of[i], row, mask, lanes, first);
    }
  }
}

bool same_classes(const u64* const* notes, size_t n, u32 leader) {
  u64 different = 0;
  for (u32 lane = 0; lane < 32; lane++)
    for (size_t i = 0; i < n; i++) different |= notes[lane][i] ^ notes[leader][i];
  return different >> ADDRESS_BITS == 0;
}

Fiber* lanes_of(const Warp& w) { return &world->fibers[static_cast<size_t>(&w - &world->warp[0]) * 32]; }

// Makes requests of what the lanes of a warp have noted; false where they have not all done the same, or where the logs
// have a part of it. At least the lanes of `needed` must have noted something.
bool add_notes_of(Warp& w, u32 needed = 0) {
  Fiber* const lanes = lanes_of(w);
  const u64* notes[32];
  size_t n = 0;
  u32 mask = 0;
  bool same = w.dirty.empty();
  for (u32 lane = 0; lane < 32; lane++) {
    const size_t noted = static_cast<size_t>(lanes[lane].view.next - lanes[lane].notes);
    if (!noted) continue;
    same &= mask == 0 || noted == n;
    n = noted;
    mask |= 1u << lane;
  }
  if (!same || (needed & ~mask)) return false;
  if (!mask) return true;
  const u32 leader = static_cast<u32>(__builtin_ctz(mask));
  for (u32 lane = 0; lane < 32; lane++) notes[lane] = lanes[mask >> lane & 1 ? lane : leader].notes;
  if (!same_classes(notes, n, leader)) return false;
  add_rows(notes, n, mask);
  for (u32 lane = 0; lane < 32; lane++) forget_notes(lanes[lane]);
  return true;
}

}  // namespace

u32 class_of(AccessKind kind, u32 bytes, u32 site, bool counted, Buffer* buffer) {
  const u32 key = site * ACCESS_KINDS + kind;
  if (launch->class_at.size() <= key) launch->class_at.resize(launch->sites.size() * ACCESS_KINDS);
  u32* link = &launch->class_at[key];
  for (; *link; link = &launch->classes[*link].next) {
    const AccessClass& c = launch->classes[*link];
    if (c.bytes == bytes && c.counted == counted && c.buffer == buffer) return *link;
  }
  const size_t made = launch->classes.size();
  if (made >> (64 - ADDRESS_BITS)) {
    report("emulator-limit", site, 0, "more than %zu kinds of accesses", made);
    fail();
  }
  *link = static_cast<u32>(made);
  launch->classes.push_back({site, kind, bytes, 0, counted, buffer});
  return static_cast<u32>(made);
}

void note_access(u32 access_class, u64 address) {
  Fiber& f = *fiber;
  const AccessClass& c = launch->classes[access_class];
  if (c.counted) {  // and counted it is: as a visit when it came here, and its granules when they were looked at
    launch->sites[c.site].visits--;
    launch->counters[GRANULES_CHECKED] -= granules_of(c);
  }
  if (f.view.next == f.notes_end) more_room(f);
  *f.view.next++ = static_cast<u64>(access_class) << ADDRESS_BITS | address;
}

void allow_here(SpakGlobalPlace& place, const char* file, u32 line, Buffer& buffer, u32 access_class) {
  if (!place.file) launch->global_places.push_back(&place);
  if (place.file != file || place.line != line) place = {file, line, 0, {}};
  const u64 bytes = launch->classes[access_class].bytes;
  const u64 base = reinterpret_cast<u64>(buffer.base), first = (base + bytes - 1) / bytes * bytes;
  const u64 end = (base + buffer.bytes) / bytes * bytes;  // one access at least lies inside: there has just been one
  place.regions[place.taken++ % 3] = {first, (end - first) / bytes, static_cast<u64>(access_class) << ADDRESS_BITS};
}

void allow_here(SpakSharedPlace& place, const char* file, u32 line, u32 access_class) {
  if (!place.file) launch->shared_places.push_back(&place);
  place = {file, line, static_cast<u64>(access_class) << ADDRESS_BITS,
           static_cast<u64>(launch->classes[access_class].site & 0xffff) << 32};
}

void give_room(Fiber& f) {
  std::vector<u64>& room = world->notes[f.id];
  if (room.empty()) room.resize(FIRST_NOTES);
  point_at(f, 0);
  f.called_notes = f.view.next;
}

void flush_logs(Warp& w) {
  if (add_notes_of(w)) return;
  Fiber* const lanes = lanes_of(w);
  for (u32 lane = 0; lane < 32; lane++) log_notes(w, lanes[lane]);
  close_logs(w);
}

void flush_alike(Warp& w) { add_notes_of(w, ~w.exited); }

void count_notes(World& w) {
  for (Fiber& f : w.fibers) {
    for (const u64* note = f.notes; note < f.view.next; note++) class_of_note(*note).accesses++;
    f.view.next = f.notes;
  }
}

void end_notes() {
  for (const AccessClass& c : launch->classes) {
    if (!c.counted) continue;
    launch->sites[c.site].visits += c.accesses;
    count(GRANULES_CHECKED, c.accesses * granules_of(c));
    if (c.kind == SHARED) {
      count(SHARED_ACCESSES, c.accesses);
    } else {
      count(GLOBAL_ACCESSES, c.accesses);
      c.buffer->bytes_read += c.accesses * c.bytes;
    }
  }
  for (SpakGlobalPlace* place : launch->global_places) *place = {};
  for (SpakSharedPlace* place : launch->shared_places) *place = {};
}

}  // namespace spak_emulator
