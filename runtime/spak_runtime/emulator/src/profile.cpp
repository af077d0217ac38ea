// What memory accesses cost by source line: 32-byte sectors of global memory, wavefronts of shared memory.
//
// The lanes of a warp run one after another here, so a request of the warp is put together from the i-th
// access that each lane makes at a line. Requests are closed when the warp meets in a collective, or ends.
#include "emulator.h"

namespace spak_emulator {

namespace {

void add(u32 site, AccessKind kind, u64 units, u64 ideal) {
  AccessCount& c = launch->accesses[site * ACCESS_KINDS + kind];
  c.requests++;
  c.units += units;
  c.ideal += ideal;
  c.excess += units > ideal;
}

// Sorts what mostly is sorted, and leaves one of equal numbers.
template <class T>
T* sort_apart(T* from, T* to) {
  if (!std::is_sorted(from, to)) std::sort(from, to);
  return std::unique(from, to);
}

u64 sectors_of(const AccessRow& r, u64& ideal) {
  u64 sectors[32 * 2];
  u32 n = 0;
  for (u32 lane = 0; lane < 32; lane++) {
    if (!(r.mask >> lane & 1)) continue;
    for (u64 s = r.address[lane] >> 5; s <= (r.address[lane] + r.bytes - 1) >> 5; s++) {
      if (n && sectors[n - 1] == s) continue;
      sectors[n++] = s;
    }
  }
  const u64 distinct = static_cast<u64>(sort_apart(sectors, sectors + n) - sectors);
  // The fewest sectors that could hold the bytes asked for, lanes that ask for the same bytes counted once.
  u64 addresses[32];
  u32 lanes = 0;
  for (u32 lane = 0; lane < 32; lane++)
    if (r.mask >> lane & 1) addresses[lanes++] = r.address[lane];
  const u64 different = static_cast<u64>(sort_apart(addresses, addresses + lanes) - addresses);
  ideal = (different * r.bytes + 31) / 32;
  return distinct;
}

// 32 banks of 4 bytes. Lanes that ask for one word share it. 8-byte accesses go by halves of a warp,
// 16-byte accesses by quarters.
u64 wavefronts_of(const u64* address, const u32* lanes, u32 n, u32 bytes) {
  u32 words[128], count = 0;
  for (u32 i = 0; i < n; i++)
    for (u32 k = 0; k < std::max(1u, bytes / 4); k++)
      words[count++] = static_cast<u32>(address[lanes[i]] >> 2) + k;
  count = static_cast<u32>(sort_apart(words, words + count) - words);
  u32 per_bank[32] = {}, worst = 0;
  for (u32 i = 0; i < count; i++) worst = std::max(worst, ++per_bank[words[i] & 31]);
  return worst;
}

void close_row(u32 site, AccessKind kind, const AccessRow& r) {
  u64 units = 0, ideal = 0;
  if (kind == GLOBAL) {
    units = sectors_of(r, ideal);
  } else {
    const u32 phase = r.bytes == 16 ? 8 : r.bytes == 8 ? 16 : 32;
    for (u32 first = 0; first < 32; first += phase) {
      u32 lanes[32], n = 0;
      for (u32 lane = first; lane < first + phase; lane++)
        if (r.mask >> lane & 1) lanes[n++] = lane;
      if (n == 0) continue;
      units += wavefronts_of(r.address, lanes, n, r.bytes);
      ideal++;
    }
  }
  add(site, kind, units, ideal);
}

}  // namespace

void log_access(AccessKind kind, u64 address, u32 bytes, u32 site) {
  Warp& warp = world->warp[fiber->warp];
  const u32 key = site * ACCESS_KINDS + kind;
  if (warp.logs.size() <= key) warp.logs.resize(launch->sites.size() * ACCESS_KINDS);
  AccessLog& log = warp.logs[key];
  if (!log.dirty) {
    log.dirty = true;
    warp.dirty.push_back(key);
  }
  const u32 i = log.count[fiber->lane]++;
  while (log.rows.size() <= i) log.rows.emplace_back();
  AccessRow& r = log.rows[i];
  r.address[fiber->lane] = address;
  r.bytes = bytes;
  r.mask |= 1u << fiber->lane;
}

void flush_logs(Warp& w) {
  for (const u32 key : w.dirty) {
    AccessLog& log = w.logs[key];
    for (const AccessRow& r : log.rows)
      close_row(key / ACCESS_KINDS, static_cast<AccessKind>(key % ACCESS_KINDS), r);
    log.rows.clear();
    memset(log.count, 0, sizeof log.count);
    log.dirty = false;
  }
  w.dirty.clear();
}

// ldmatrix, stmatrix and wgmma: rows of 16 bytes, eight to a wavefront when no two fall into the same banks.
void count_matrix_rows(const u32* addresses, u32 matrices, u32 site) {
  u64 units = 0;
  for (u32 m = 0; m < matrices; m++) {
    u32 in_column[8] = {}, worst = 0;
    for (u32 i = 0; i < 8; i++) {
      const u32 a = addresses[m * 8 + i];
      bool repeated = false;
      for (u32 j = 0; j < i; j++) repeated |= addresses[m * 8 + j] == a;
      if (!repeated) worst = std::max(worst, ++in_column[(a >> 4) & 7]);
    }
    units += worst;
  }
  add(site, SHARED, units, matrices);
}

// TMA: 16-byte chunks in the order the engine moves them.
void count_rows(const u32* addresses, u32 rows, u32 site) {
  const u32 whole = rows / 8;
  if (whole) count_matrix_rows(addresses, whole, site);
}

void count_global_run(u64 address, u64 bytes, u32 site) {
  if (bytes) add(site, GLOBAL, ((address + bytes - 1) >> 5) - (address >> 5) + 1, (bytes + 31) / 32);
}

}  // namespace spak_emulator
