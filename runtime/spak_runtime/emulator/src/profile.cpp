// What memory accesses cost by source line: 32-byte sectors of global memory, wavefronts of shared memory.
//
// The lanes of a warp run one after another here, so a request of the warp is put together from the i-th
// access of one kind and size that each lane makes at a line. Requests are closed when the warp meets in a collective, or ends. (Where
// the lanes have all done the same, trace.cpp finds their requests without these logs.)
#include "emulator.h"

namespace spak_emulator {

void add_request(u32 site, AccessKind kind, u64 units, u64 ideal) {
  AccessCount& c = launch->accesses[site * ACCESS_KINDS + kind];
  c.requests++;
  c.units += units;
  c.ideal += ideal;
  c.excess += units > ideal;
}

namespace {

// Sorts what mostly is sorted, and leaves one of equal numbers.
template <class T>
T* sort_apart(T* from, T* to) {
  if (!std::is_sorted(from, to)) std::sort(from, to);
  return std::unique(from, to);
}

u64 sectors_of(const u64* address, u32 mask, u32 bytes, u64& ideal) {
  u64 sectors[32 * 2], addresses[32];
  u32 n = 0, lanes = 0;
  for (u32 m = mask; m; m &= m - 1) {
    const u64 first = address[__builtin_ctz(m)];
    addresses[lanes++] = first;
    for (u64 s = first >> 5; s <= (first + bytes - 1) >> 5; s++) {
      if (n && sectors[n - 1] == s) continue;
      sectors[n++] = s;
    }
  }
  const u64 distinct = static_cast<u64>(sort_apart(sectors, sectors + n) - sectors);
  // The fewest sectors that could hold the bytes asked for, lanes that ask for the same bytes counted once.
  const u64 different = static_cast<u64>(sort_apart(addresses, addresses + lanes) - addresses);
  ideal = (different * bytes + 31) / 32;
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

}  // namespace

u64 cost_of(AccessKind kind, const u64* address, u32 mask, u32 bytes, u64& ideal) {
  if (kind == GLOBAL) return sectors_of(address, mask, bytes, ideal);
  u64 units = 0;
  ideal = 0;
  const u32 phase = bytes == 16 ? 8 : bytes == 8 ? 16 : 32;
  for (u32 first = 0; first < 32; first += phase) {
    u32 lanes[32], n = 0;
    for (u32 lane = first; lane < first + phase; lane++)
      if (mask >> lane & 1) lanes[n++] = lane;
    if (n == 0) continue;
    units += wavefronts_of(address, lanes, n, bytes);
    ideal++;
  }
  return units;
}

namespace {

void spread(const AccessLog& log, const AccessRow& r, u64* address) {
  for (u32 m = r.mask; m; m &= m - 1) {
    const u32 lane = static_cast<u32>(__builtin_ctz(m));
    address[lane] = r.base + log.distance[lane];
  }
}

// Sectors and banks come round every 32 and every 128 bytes, and with them what equal distances cost.
void close_row(AccessLog& log, const AccessClass& c, const AccessRow& r) {
  const AccessKind kind = static_cast<AccessKind>(c.kind);
  if (r.scattered) {
    u64 ideal;
    const u64 units = cost_of(kind, log.scattered[r.scattered - 1].data(), r.mask, c.bytes, ideal);
    add_request(c.site, kind, units, ideal);
    return;
  }
  const u32 base = static_cast<u32>(r.base) % (kind == GLOBAL ? 32 : 128);
  AccessLog::Cost& known = log.costs[base / 2 % 16];
  if (known.mask != r.mask || known.base != base) {
    u64 address[32];
    spread(log, r, address);
    u64 ideal;
    const u64 units = cost_of(kind, address, r.mask, c.bytes, ideal);
    known = {r.mask, base, static_cast<u32>(units), static_cast<u32>(ideal)};
  }
  add_request(c.site, kind, known.units, known.ideal);
}

// Whether a lane's address is where the lane lies in other requests. The first lane of a request says where it begins.
bool fits(AccessLog& log, AccessRow& r, u32 lane, u64 address) {
  const u32 bit = 1u << lane;
  if (!(log.known & bit)) {
    if (r.mask == 0) r.base = address;
    log.distance[lane] = address - r.base;
    log.known |= bit;
    return true;
  }
  if (r.mask == 0) r.base = address - log.distance[lane];
  return r.base + log.distance[lane] == address;
}

AccessLog& log_of(Warp& warp, u32 access_class) {
  if (warp.logs.size() <= access_class) warp.logs.resize(launch->classes.size());
  if (!warp.logs[access_class]) warp.logs[access_class] = std::make_unique<AccessLog>();
  AccessLog& log = *warp.logs[access_class];
  if (!log.dirty) {
    log.dirty = true;
    warp.dirty.push_back(access_class);
  }
  return log;
}

// Where requests lay otherwise, distances are learnt anew.
void empty(AccessLog& log) {
  if (!log.scattered.empty()) {
    log.known = 0;
    for (AccessLog::Cost& c : log.costs) c.mask = 0;
  }
  log.scattered.clear();
  log.rows.clear();
  memset(log.count, 0, sizeof log.count);
  log.dirty = false;
}

}  // namespace

void log_of_lane(Warp& warp, u32 lane, u32 access_class, u64 address) {
  AccessLog& log = log_of(warp, access_class);
  const u32 i = log.count[lane]++;
  if (log.rows.size() <= i) log.rows.push_back({0, 0, 0});
  AccessRow& r = log.rows[i];
  if (!r.scattered && !fits(log, r, lane, address)) {
    log.scattered.emplace_back();
    spread(log, r, log.scattered.back().data());
    r.scattered = static_cast<u32>(log.scattered.size());
  }
  if (r.scattered) log.scattered[r.scattered - 1][lane] = address;
  r.mask |= 1u << lane;
}

void close_logs(Warp& w) {
  for (const u32 access_class : w.dirty) {
    AccessLog& log = *w.logs[access_class];
    for (const AccessRow& r : log.rows) close_row(log, launch->classes[access_class], r);
    empty(log);
  }
  w.dirty.clear();
}

void forget_logs(Warp& w) {
  for (const u32 key : w.dirty) empty(*w.logs[key]);
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
  add_request(site, SHARED, units, matrices);
}

// TMA: 16-byte chunks in the order the engine moves them.
void count_rows(const u32* addresses, u32 rows, u32 site) {
  const u32 whole = rows / 8;
  if (whole) count_matrix_rows(addresses, whole, site);
}

void count_global_run(u64 address, u64 bytes, u32 site) {
  if (bytes) add_request(site, GLOBAL, ((address + bytes - 1) >> 5) - (address >> 5) + 1, (bytes + 31) / 32);
}

}  // namespace spak_emulator
