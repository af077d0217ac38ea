// Warpgroup matrix multiply. Operands are read from shared memory some time between the issue and the wait;
// the accumulators live in the operation between the two, and in their registers stands NaN.
#include "emulator.h"

namespace spak_emulator {

namespace {

struct Operand {                        // a descriptor, taken apart
  u32 address, leading, stride, shift;  // shift: 0 none, 1 32B, 2 64B, 3 128B
};

Operand take_apart(u64 descriptor) {
  const u32 mode = static_cast<u32>(descriptor >> 62);
  return {static_cast<u32>(descriptor & 0x3fff) << 4, static_cast<u32>(descriptor >> 16 & 0x3fff) << 4,
          static_cast<u32>(descriptor >> 32 & 0x3fff) << 4, mode == 0 ? 0 : 4 - mode};
}

// K-major: the 8 elements k = 8 half .. of row r are 16 contiguous bytes.
u32 k_major_place(const Operand& o, u32 row, u32 half) {
  const u32 pitch = o.shift ? 16u << o.shift : 16;
  return swizzled(
      o.address + (row >> 3) * o.stride + (row & 7) * pitch + (o.shift ? half * 16 : half * o.leading),
      o.shift);
}
// MN-major: the 8 rows r .. r + 7 (r a multiple of 8) of column k are 16 contiguous bytes.
u32 mn_major_place(const Operand& o, u32 row, u32 k) {
  if (o.shift == 0) return o.address + (row >> 3) * o.stride + (k >> 3) * o.leading + (k & 7) * 16;
  const u32 width = 8u << o.shift;
  return swizzled(o.address + row / width * o.leading + row % width * 2 + (k >> 3) * o.stride +
                      (k & 7) * (16u << o.shift),
                  o.shift);
}

// Calls visit(shared address of 16 bytes) in groups of eight, as the hardware reads 8 x 8 matrices.
template <class Visit>
void for_each_chunk(u64 descriptor, bool mn_major, u32 rows, Visit visit) {
  const Operand o = take_apart(descriptor);
  for (u32 first = 0; first < rows; first += 8)
    for (u32 half = 0; half < 2; half++)
      for (u32 i = 0; i < 8; i++)
        visit(mn_major ? mn_major_place(o, first, half * 8 + i) : k_major_place(o, first + i, half), first,
              half, i);
}

// rows x 16 elements as floats; out[row * 16 + k].
void read_operand(Block& b, u64 descriptor, bool mn_major, u32 rows, char type, float* out) {
  for_each_chunk(descriptor, mn_major, rows, [&](u32 address, u32 first, u32 half, u32 i) {
    u16 bits[8];
    float e[8];
    memcpy(bits, b.at(address), 16);
    widen(type, bits, 8, e);
    for (u32 j = 0; j < 8; j++) {
      const u32 row = mn_major ? first + j : first + i, k = half * 8 + (mn_major ? i : j);
      out[row * 16 + k] = e[j];
    }
  });
}

u32 accumulator_row(u32 thread, u32 i) {
  return (thread >> 5) * 16 + ((thread & 31) >> 2) + ((i >> 1) & 1) * 8;
}
u32 accumulator_column(u32 thread, u32 i) { return (i >> 2) * 8 + (thread & 3) * 2 + (i & 1); }

void execute(Warpgroup& g, Block& b, WgmmaOperation& op) {
  count(WGMMA);
  const u32 columns = op.columns;
  static std::vector<float> left(64 * 16), right(256 * 16);
  static std::vector<double> right_by_k(16 * 256), exact(256);
  if (op.from_registers) {
    for (u32 t = 0; t < 128; t++)
      for (u32 i = 0; i < 4; i++) {
        const u32 row = (t >> 5) * 16 + ((t & 31) >> 2) + (i & 1) * 8, k = (t & 3) * 2 + (i >> 1) * 8;
        u16 two[2];
        memcpy(two, &op.a_registers[t * 4 + i], 4);
        widen(op.type, two, 2, &left[row * 16 + k]);
      }
  } else {
    read_operand(b, op.descriptor_a, op.a_mn, 64, op.type, left.data());
  }
  read_operand(b, op.descriptor_b, op.b_mn, columns, op.type, right.data());
  for (u32 n = 0; n < columns; n++)
    for (u32 k = 0; k < 16; k++) right_by_k[k * columns + n] = right[n * 16 + k];
  float* const sum = g.accumulators[op.accumulator].values.data();
  if (!op.accumulate) memset(sum, 0, sizeof(float) * 64 * columns);
  for (u32 row = 0; row < 64; row++) {
    float* const z = sum + row * columns;
    double* const wide = exact.data();
    for (u32 n = 0; n < columns; n++) wide[n] = z[n];
    for (u32 k = 0; k < 16; k++) {
      const double x = left[row * 16 + k];
      const double* const y = &right_by_k[k * columns];
      for (u32 n = 0; n < columns; n++) wide[n] += x * y[n];
    }
    for (u32 n = 0; n < columns; n++) z[n] = toward_zero(wide[n]);
  }
  op.executed = true;
}

// All 128 threads, in the block's order, wait for the last. Returns true in the last.
bool meet_warpgroup(Warpgroup& g, const char* op, u32 site) {
  if (++g.arrived < 128) {
    g.waiting.push_back(fiber);
    block_fiber(op, site);
    return false;
  }
  g.arrived = 0;
  for (Fiber* f : g.waiting) make_ready(*f);
  g.waiting.clear();
  for (u32 w = fiber->warp & ~3u, i = 0; i < 4; i++) flush_logs(world->warp[w + i]);
  return true;
}

Warpgroup& this_warpgroup(u32 site) {
  Block& b = this_block();
  const u32 index = warp_in_block(*fiber) >> 2;
  if ((index + 1) * 128 > launch->threads) {
    report("wgmma-incomplete-warpgroup", site, 0, "wgmma needs 4 whole warps; the block has %u threads",
           launch->threads);
    fail();
  }
  Warpgroup& g = b.warpgroups[index];
  if (g.first_actor == NONE) {
    g.first_actor = new_actor("wgmma");
    for (u32 q = 1; q < 4; q++) new_actor("wgmma");
  }
  return g;
}
u32 thread_in_group() { return (warp_in_block(*fiber) & 3) * 32 + fiber->lane; }

// Bounds, alignment, races and bank conflicts of one operand, once for each warp's past.
void check_operand(Block& b, const Warpgroup& g, u64 descriptor, bool mn_major, u32 rows, u32 site) {
  const Operand o = take_apart(descriptor);
  const u32 repeat = o.shift ? 128u << o.shift : 16;
  if (o.shift && o.address % repeat >= 16u << o.shift) {
    report("wgmma-not-swizzle-aligned", site, 0,
           "an operand starts at %u: its tile must start where the swizzle begins (%u)", o.address, repeat);
    fail();
  }
  std::vector<u32> chunks;
  for_each_chunk(descriptor, mn_major, rows, [&](u32 address, u32, u32, u32) { chunks.push_back(address); });
  for (const u32 a : chunks) check_shared_bounds(b, a, 16, "wgmma", site);
  count_matrix_rows(chunks.data(), static_cast<u32>(chunks.size() / 8), site);
  const Fiber* const first = &world->fibers[(fiber->warp & ~3u) * 32];
  const u32 slot = warpgroup_slot(warp_in_block(*fiber) >> 2);
  std::vector<const Fiber*> warps;  // one of each past
  for (u32 q = 0; q < 4; q++) {
    const Fiber& f = first[q * 32];
    if (std::none_of(warps.begin(), warps.end(), [&](const Fiber* other) { return other->clock == f.clock; }))
      warps.push_back(&f);
  }
  check_shared_rows(b, chunks, warps, g.first_actor, g.epoch, slot, site);
}

u32 find_accumulator(Warpgroup& g, const WgmmaArgument& first) {
  const u32 columns = first.registers * 2;
  for (u32 i = 0; i < g.accumulators.size(); i++)
    if (g.accumulators[i].live && g.accumulators[i].registers[0] == g.argument[0].d) return i;
  u32 index = 0;
  while (index < g.accumulators.size() && g.accumulators[index].live) index++;
  if (index == g.accumulators.size()) g.accumulators.emplace_back();
  WgmmaAccumulator& acc = g.accumulators[index];
  acc.columns = columns;
  acc.live = true;
  acc.remaining = 128;
  acc.written_back.fill(false);
  acc.values.resize(64 * columns);
  for (u32 t = 0; t < 128; t++) {
    acc.registers[t] = g.argument[t].d;
    for (u32 i = 0; i < columns / 2; i++)
      acc.values[accumulator_row(t, i) * columns + accumulator_column(t, i)] = acc.registers[t][i];
    if (launch->options.async_mode != EAGER) memset(acc.registers[t], 0xff, sizeof(float) * columns / 2);
  }
  return index;
}

// A thread finds its part of the result at its own wait, whoever ran the operation.
void write_back(WgmmaAccumulator& acc, u32 thread) {
  for (u32 i = 0; i < acc.columns / 2; i++)
    acc.registers[thread][i] =
        acc.values[accumulator_row(thread, i) * acc.columns + accumulator_column(thread, i)];
  acc.written_back[thread] = true;
  acc.live = --acc.remaining > 0;
}

u64 digest_of_registers(const float* registers, u32 count) {
  u64 digest = count;
  for (u32 i = 0; i < count; i++) {
    u32 bits;
    memcpy(&bits, &registers[i], 4);
    digest = (digest ^ bits) * 0x9E3779B97F4A7C15ull;
    digest ^= digest >> 29;
  }
  return digest;
}

// Accumulators that plain code has changed since the fence: wgmma may add to what was there before, and where it does not
// add, the old write may land behind its result. Those of an operation on its way are none of plain code.
void check_fenced(const Warpgroup& g, const float* registers, u32 count, u32 site) {
  for (const WgmmaAccumulator& acc : g.accumulators)
    if (acc.live && acc.registers[thread_in_group()] == registers) return;
  for (const auto& [known, digest] : fiber->fenced_registers)
    if (known == registers && digest != digest_of_registers(registers, count))
      report("wgmma-without-fence", site, 0, "accumulators were written after the last wgmma_fence");
}

void check_agreement(const Warpgroup& g, u32 site) {
  const WgmmaArgument& first = g.argument[0];
  for (u32 t = 1; t < 128; t++) {
    const WgmmaArgument& x = g.argument[t];
    if (x.site == first.site && x.descriptor_a == first.descriptor_a &&
        x.descriptor_b == first.descriptor_b && x.registers == first.registers &&
        x.accumulate == first.accumulate)
      continue;
    report("divergent-wgmma", site, x.site, "thread %u of the warpgroup issues another wgmma than thread 0",
           t);
    fail();
  }
}

}  // namespace

extern "C" {

// A pin reads and writes its registers: it stands behind the wait for whatever computes them.
void spak_emu_register_pin(const float* d, SPAK_AT) {
  const u32 index = warp_in_block(*fiber) >> 2, thread = thread_in_group();
  if (!launch->options.checks || (index + 1) * 128 > launch->threads) return;
  for (const WgmmaAccumulator& acc : this_block().warpgroups[index].accumulators)
    if (acc.live && acc.registers[thread] == d && !acc.written_back[thread])
      report("wgmma-without-wait", here(file, line), 0,
             "registers are pinned that a wgmma on its way still writes");
}

void spak_emu_wgmma_fence(SPAK_AT) {
  const u32 site = here(file, line);
  fiber->wgmma_fenced = true;
  fiber->fenced_registers.clear();
  if (!launch->options.checks) return;
  const u32 thread = thread_in_group();
  for (const WgmmaAccumulator& acc : this_warpgroup(site).accumulators)
    if (acc.written_back[thread])
      fiber->fenced_registers.emplace_back(acc.registers[thread],
                                           digest_of_registers(acc.registers[thread], acc.columns / 2));
}

void spak_emu_wgmma(float* d, unsigned registers, const unsigned* a, unsigned long long descriptor_a,
                    unsigned long long descriptor_b, int accumulate, char type, int a_mn, int b_mn, SPAK_AT) {
  const u32 site = here(file, line);
  Warpgroup& g = this_warpgroup(site);
  if (!fiber->wgmma_fenced)
    report("wgmma-without-fence", site, 0,
           "no wgmma_fence since the last wgmma_wait: registers may not be ready");
  check_fenced(g, d, registers, site);
  g.argument[thread_in_group()] = {
      d, a, descriptor_a, descriptor_b, registers, site, accumulate != 0, a_mn != 0, b_mn != 0, type};
  if (!meet_warpgroup(g, "wgmma", site)) return;
  check_agreement(g, site);
  Block& b = this_block();
  if (!a) check_operand(b, g, descriptor_a, a_mn, 64, site);
  check_operand(b, g, descriptor_b, b_mn, registers * 2, site);
  WgmmaOperation op{descriptor_a,
                    descriptor_b,
                    registers * 2,
                    g.epoch,
                    find_accumulator(g, g.argument[0]),
                    accumulate != 0,
                    a != nullptr,
                    a_mn != 0,
                    b_mn != 0,
                    false,
                    type,
                    {}};
  g.accumulators[op.accumulator].last_epoch = g.epoch;
  if (a) {
    op.a_registers.resize(128 * 4);
    for (u32 t = 0; t < 128; t++) memcpy(&op.a_registers[t * 4], g.argument[t].a, 16);
  }
  const u32 mode = launch->options.async_mode;
  g.operations.push_back(std::move(op));
  // In order: an operation may run early only if all before it have.
  const bool in_order = g.operations.size() < 2 || g.operations[g.operations.size() - 2].executed;
  if (in_order && (mode == EAGER || (mode == RANDOM && (world->random.next() & 1))))
    execute(g, b, g.operations.back());
}

void spak_emu_wgmma_commit(SPAK_AT) {
  const u32 site = here(file, line);
  Warpgroup& g = this_warpgroup(site);
  if (meet_warpgroup(g, "wgmma_commit", site)) g.epoch++;
}

// The first thread to wait runs the operations; each thread learns of its own warp's part only, so a release
// of the operands needs an arrival from every warp.
void spak_emu_wgmma_wait(unsigned pending, SPAK_AT) {
  const u32 site = here(file, line);
  Warpgroup& g = this_warpgroup(site);
  fiber->wgmma_fenced = false;
  if (g.epoch <= pending + 1) return;
  const u32 epoch = g.epoch - 1 - pending;
  if (epoch > g.done) {
    while (!g.operations.empty() && g.operations.front().epoch <= epoch) {
      if (!g.operations.front().executed) execute(g, this_block(), g.operations.front());
      g.operations.pop_front();
    }
    g.done = epoch;
  }
  for (WgmmaAccumulator& acc : g.accumulators)
    if (acc.live && acc.last_epoch <= epoch && !acc.written_back[thread_in_group()])
      write_back(acc, thread_in_group());
  const u32 quarter = warp_in_block(*fiber) & 3;
  Warpgroup::Waited& waited = g.waited[quarter][epoch & 1];
  if (waited.in == fiber->clock && waited.epoch == epoch) {
    set_clock(*fiber, hold(waited.out));
    return;
  }
  Clock* after = copy_clock(fiber->clock);
  u32& known = after->at[g.first_actor + quarter];
  known = std::max(known, epoch);
  drop(waited.in);
  drop(waited.out);
  waited = {hold(fiber->clock), hold(after), epoch};
  set_clock(*fiber, after);
}

}  // extern "C"

}  // namespace spak_emulator
