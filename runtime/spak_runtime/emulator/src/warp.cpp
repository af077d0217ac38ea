// What a warp does together: shuffles, votes, ldmatrix, stmatrix, mma. Each lane parks with its arguments;
// the last to arrive checks that all 32 are at the same call, computes for all, and wakes the others. Meeting
// orders no memory accesses: only barriers do.
#include "emulator.h"

namespace spak_emulator {

// Returns true in the lane that arrived last and has to do the work; the others return false afterwards.
bool meet(const char* op, u32 site, void* pointer, const void* pointer2, u64 value, u32 a, u32 b) {
  Warp& warp = world->warp[fiber->warp];
  if (warp.exited) {
    report("collective-misses-exited-thread", site, 0, "%s needs all 32 lanes, but lane %d has ended", op,
           __builtin_ctz(warp.exited));
    fail();
  }
  warp.argument[fiber->lane] = {op, site, pointer, pointer2, value, a, b};
  warp.site = site;
  if (++warp.arrived < 32) {
    block_fiber(op, site, a, b);
    return false;
  }
  warp.arrived = 0;
  for (u32 lane = 0; lane < 32; lane++) {
    const Rendezvous& r = warp.argument[lane];
    if (r.op == op && r.site == site) continue;
    report("divergent-warp-collective", site, r.site, "lanes of one warp meet in %s and in %s", op, r.op);
    fail();
  }
  count(WARP_COLLECTIVES);
  flush_logs(warp);
  for (u32 lane = 0; lane < 32; lane++)
    if (lane != fiber->lane) make_ready(world->fibers[fiber->warp * 32 + lane]);
  return true;
}

const float* f16_values() {
  static const std::vector<float> table = [] {
    std::vector<float> t(65536);
    for (u32 i = 0; i < 65536; i++) t[i] = f16_to_f32(static_cast<u16>(i));
    return t;
  }();
  return table.data();
}

float to_float(char type, u16 bits) { return type == 'b' ? bf16_to_f32(bits) : f16_values()[bits]; }

void widen(char type, const u16* elements, u32 count, float* out) {
  if (type == 'b') {
    for (u32 i = 0; i < count; i++) out[i] = bf16_to_f32(elements[i]);
    return;
  }
  const float* const value = f16_values();
  for (u32 i = 0; i < count; i++) out[i] = value[elements[i]];
}

namespace {

constexpr const char* SHUFFLE = "shuffle";
constexpr const char* VOTE = "vote";
constexpr const char* ELECT = "elect_one";
constexpr const char* WARP_INDEX = "warp_index";
constexpr const char* LDMATRIX_OP = "ldmatrix";
constexpr const char* LDMATRIX_TRANS_OP = "ldmatrix_trans";
constexpr const char* STMATRIX_OP = "stmatrix";
constexpr const char* STMATRIX_TRANS_OP = "stmatrix_trans";
constexpr const char* MMA_OP = "mma_m16n8k16";

u32 source_lane(char mode, u32 lane, u32 operand) {
  if (mode == 'x') return (lane ^ operand) & 31;
  if (mode == 'u') return operand <= lane ? lane - operand : lane;
  if (mode == 'd') return lane + operand < 32 ? lane + operand : lane;
  return operand & 31;
}

// The rows of a matrix load or store: alignment and bounds, on behalf of the lane that named each.
void check_rows(u32* address, u32 rows, const char* op, u32 site) {
  Block& b = this_block();
  const Warp& warp = world->warp[fiber->warp];
  for (u32 i = 0; i < rows; i++) {
    address[i] = warp.argument[i].a;
    if (address[i] % 16) {
      report("misaligned-shared", site, 0, "%s: the row of lane %u starts at %u, no multiple of 16", op, i,
             address[i]);
      fail();
    }
    check_shared_bounds(b, address[i], 16, op, site);
  }
}

}  // namespace

extern "C" {

unsigned long long spak_emu_shuffle(unsigned long long value, unsigned operand, char mode, SPAK_AT) {
  const u32 site = here(file, line);
  u64 result = 0;
  if (meet(SHUFFLE, site, &result, nullptr, value, operand, static_cast<u32>(mode))) {
    const Warp& warp = world->warp[fiber->warp];
    for (u32 lane = 0; lane < 32; lane++) {
      const Rendezvous& r = warp.argument[lane];
      *static_cast<u64*>(r.pointer) = warp.argument[source_lane(static_cast<char>(r.b), lane, r.a)].value;
    }
  }
  return result;
}

unsigned spak_emu_ballot(int predicate, SPAK_AT) {
  const u32 site = here(file, line);
  u32 result = 0;
  if (meet(VOTE, site, &result, nullptr, predicate != 0)) {
    const Warp& warp = world->warp[fiber->warp];
    u32 all = 0;
    for (u32 lane = 0; lane < 32; lane++) all |= static_cast<u32>(warp.argument[lane].value) << lane;
    for (u32 lane = 0; lane < 32; lane++) *static_cast<u32*>(warp.argument[lane].pointer) = all;
  }
  return result;
}

unsigned spak_emu_warp_index(SPAK_AT) {
  meet(WARP_INDEX, here(file, line));
  return fiber->view.warp;
}

int spak_emu_elect(SPAK_AT) {
  meet(ELECT, here(file, line));
  return fiber->lane == 0;
}

void spak_emu_ldmatrix(unsigned* r, unsigned address, unsigned matrices, int transposed, SPAK_AT) {
  const u32 site = here(file, line);
  const char* const op = transposed ? LDMATRIX_TRANS_OP : LDMATRIX_OP;
  if (!meet(op, site, r, nullptr, 0, address)) return;
  Block& b = this_block();
  const Warp& warp = world->warp[fiber->warp];
  const Fiber* const lanes = &world->fibers[fiber->warp * 32];
  u32 rows[32];
  count(LDMATRIX);
  check_rows(rows, matrices * 8, op, site);
  for (u32 i = 0; i < matrices * 8; i++)
    check_shared_read(b, rows[i], 16, lanes[i], lanes[i].id, lanes[i].epoch, warp_slot(lanes[i]), false,
                      site);
  count_matrix_rows(rows, matrices, site);
  for (u32 m = 0; m < matrices; m++) {
    u16 element[8][8];
    for (u32 i = 0; i < 8; i++) memcpy(element[i], b.at(rows[m * 8 + i]), 16);
    for (u32 lane = 0; lane < 32; lane++) {
      const u32 row = lane >> 2, column = (lane & 3) * 2;
      const u32 low = transposed ? element[column][row] : element[row][column];
      const u32 high = transposed ? element[column + 1][row] : element[row][column + 1];
      static_cast<u32*>(warp.argument[lane].pointer)[m] = low | high << 16;
    }
  }
}

void spak_emu_stmatrix(unsigned address, const unsigned* r, unsigned matrices, int transposed, SPAK_AT) {
  const u32 site = here(file, line);
  const char* const op = transposed ? STMATRIX_TRANS_OP : STMATRIX_OP;
  if (!meet(op, site, nullptr, r, 0, address)) return;
  Block& b = this_block();
  const Warp& warp = world->warp[fiber->warp];
  const Fiber* const lanes = &world->fibers[fiber->warp * 32];
  u32 rows[32];
  count(STMATRIX);
  check_rows(rows, matrices * 8, op, site);
  for (u32 i = 0; i < matrices * 8; i++)
    check_shared_write(b, rows[i], 16, lanes[i], lanes[i].id, lanes[i].epoch, false, site);
  count_matrix_rows(rows, matrices, site);
  for (u32 m = 0; m < matrices; m++) {
    u16 element[8][8];
    for (u32 lane = 0; lane < 32; lane++) {
      const u32 word = static_cast<const u32*>(warp.argument[lane].pointer2)[m];
      const u32 row = lane >> 2, column = (lane & 3) * 2;
      (transposed ? element[column][row] : element[row][column]) = static_cast<u16>(word);
      (transposed ? element[column + 1][row] : element[row][column + 1]) = static_cast<u16>(word >> 16);
    }
    for (u32 i = 0; i < 8; i++) memcpy(b.at(rows[m * 8 + i]), element[i], 16);
  }
}

void spak_emu_mma(float* d, const unsigned* a, unsigned b0, unsigned b1, char type, SPAK_AT) {
  const u32 site = here(file, line);
  if (!meet(MMA_OP, site, d, a, static_cast<u64>(b1) << 32 | b0)) return;
  const Warp& warp = world->warp[fiber->warp];
  count(MMA);
  alignas(64) u16 left_bits[16][16], right_bits[16][8];
  alignas(64) float left[16][16], right[16][8], start[16][8];
  for (u32 lane = 0; lane < 32; lane++) {  // two elements of a row lie in one register
    const Rendezvous& r = warp.argument[lane];
    const u32 g = lane >> 2, t = (lane & 3) * 2;
    const u32* const x = static_cast<const u32*>(r.pointer2);
    const float* const c = static_cast<const float*>(r.pointer);
    for (u32 half = 0; half < 2; half++) {
      memcpy(&left_bits[g + half * 8][t], &x[half], 4);
      memcpy(&left_bits[g + half * 8][t + 8], &x[half + 2], 4);
      memcpy(&start[g + half * 8][t], &c[half * 2], 8);
      for (u32 i = 0; i < 2; i++) right_bits[t + half * 8 + i][g] = static_cast<u16>(r.value >> (32 * half + 16 * i));
    }
  }
  widen(type, left_bits[0], 256, left[0]);
  widen(type, right_bits[0], 128, right[0]);
  for (u32 i = 0; i < 16; i++) {
    alignas(64) double sum[8];
    for (u32 j = 0; j < 8; j++) sum[j] = start[i][j];
    for (u32 k = 0; k < 16; k++)
      for (u32 j = 0; j < 8; j++) sum[j] += static_cast<double>(left[i][k]) * right[k][j];
    for (u32 j = 0; j < 8; j++) start[i][j] = toward_zero(sum[j]);
  }
  for (u32 lane = 0; lane < 32; lane++) {
    float* const c = static_cast<float*>(warp.argument[lane].pointer);
    for (u32 half = 0; half < 2; half++) memcpy(&c[half * 2], &start[(lane >> 2) + half * 8][(lane & 3) * 2], 8);
  }
}

}  // extern "C"

}  // namespace spak_emulator
