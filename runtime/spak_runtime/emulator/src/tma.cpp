// TMA and bulk copies. A load lands at some later point and then completes its bytes at an mbarrier; a store
// reads shared memory and writes global memory no later than its thread waits for each. Until a load lands
// its destination holds NaN.
#include "emulator.h"

namespace spak_emulator {

namespace {

u32 row_bytes(const BulkCopy& copy) {
  return copy.linear ? copy.bytes : static_cast<u32>(copy.map.box[0]) * copy.map.element_bytes;
}
u32 total_bytes(const BulkCopy& copy) {
  u32 n = row_bytes(copy);
  if (!copy.linear)
    for (u32 i = 1; i < copy.map.rank; i++) n *= copy.map.box[i];
  return n;
}

// Calls visit(row, global address of the row's first byte, low, high): bytes low .. high of the row are
// inside of the tensor.
template <class Visit>
void for_each_row(const BulkCopy& copy, Visit visit) {
  if (copy.linear) {
    visit(0, copy.linear, 0, static_cast<i64>(copy.bytes));
    return;
  }
  const TensorMapData& m = copy.map;
  u32 rows = 1;
  for (u32 i = 1; i < m.rank; i++) rows *= m.box[i];
  const i64 first = copy.c[0], bytes = m.element_bytes;
  for (u32 row = 0; row < rows; row++) {
    bool inside = true;
    u8* p = m.base + first * bytes;
    for (u32 i = 1, rest = row; i < m.rank; i++) {
      const i64 x = copy.c[i] + static_cast<i64>(rest % m.box[i]);
      rest /= m.box[i];
      inside &= x >= 0 && x < static_cast<i64>(m.dim[i]);
      p += x * static_cast<i64>(m.stride[i - 1]);
    }
    i64 low = std::max<i64>(0, -first) * bytes;
    i64 high = std::min<i64>(m.box[0], static_cast<i64>(m.dim[0]) - first) * bytes;
    if (!inside || high <= low) low = high = 0;
    visit(row, p, low, high);
  }
}

// The shared address of byte `offset` of a row, an offset that is a multiple of 16.
u32 shared_place(const BulkCopy& copy, u32 row, u32 offset) {
  const u32 plain = copy.shared_address + row * row_bytes(copy) + offset;
  return copy.linear ? plain : swizzled(plain, copy.map.swizzle_shift);
}

TensorMapData read_map(const void* map, u32 rank, u32 site) {
  const u8* const p = static_cast<const u8*>(map);
  TensorMapData m;
  if (p < launch->params || p + 128 > launch->params + launch->params_bytes) {
    report("bad-tensor-map", site, 0, "a tensor map must lie in the kernel's parameters");
    fail();
  }
  memcpy(&m, p, sizeof m);
  if (m.magic != TENSOR_MAP_MAGIC || m.rank != rank) {
    report("bad-tensor-map", site, 0,
           m.magic == TENSOR_MAP_MAGIC ? "the map has rank %u, the copy %u"
                                       : "not filled in (magic %u, rank %u)",
           m.magic == TENSOR_MAP_MAGIC ? m.rank : m.magic, rank);
    fail();
  }
  return m;
}

void check_shared_address(const BulkCopy& copy, const char* what) {
  const u32 need = copy.linear ? 16 : 128u << copy.map.swizzle_shift;
  if (copy.shared_address % (copy.linear ? 16 : 128))
    report("misaligned-tma", copy.site, 0, "%s: shared address %u is no multiple of %u", what,
           copy.shared_address, copy.linear ? 16 : 128);
  else if (copy.shared_address % need)
    report("tma-not-swizzle-aligned", copy.site, 0,
           "%s: shared address %u is no multiple of %u, where the swizzle begins", what, copy.shared_address,
           need);
  else return;
  fail();
}

// Checks and counts the global side at the issue.
void check_global_side(BulkCopy& copy, bool write, u32 actor, u32 epoch) {
  for_each_row(copy, [&](u32, u8* p, i64 low, i64 high) {
    if (low == high) return;
    const u64 n = static_cast<u64>(high - low);
    Buffer& b = find_buffer(p + low, n, write, copy.site);
    const u64 offset = static_cast<u64>(p + low - b.base);
    (write ? b.bytes_written : b.bytes_read) += n;
    if (write) check_global_write(b, offset, n, actor, epoch, true, copy.add, copy.site);
    else check_global_read(b, offset, n, actor, epoch, true, false, copy.site);
    count_global_run(reinterpret_cast<u64>(p + low), n, copy.site);
  });
}

void count_shared_side(const BulkCopy& copy) {
  std::vector<u32> chunks;
  const u32 inner = row_bytes(copy), rows = total_bytes(copy) / inner;
  for (u32 row = 0; row < rows; row++)
    for (u32 x = 0; x < inner; x += 16) chunks.push_back(shared_place(copy, row, x));
  count_rows(chunks.data(), static_cast<u32>(chunks.size()), copy.site);
}

void issue_load(BulkCopy copy) {
  check_shared_address(copy, "a TMA load");
  count(TMA_LOADS);
  const u32 n = total_bytes(copy);
  for (u32 rank = 0; rank < 32; rank++) {
    if (!(copy.mask >> rank & 1)) continue;
    if (rank >= world->blocks.size()) {
      report("bad-cluster-rank", copy.site, 0, "a multicast to block %u of a cluster of %zu", rank,
             world->blocks.size());
      fail();
    }
    Block& b = world->blocks[rank];
    check_shared_bounds(b, copy.shared_address, n, "a TMA load", copy.site);
    Mbarrier& m = find_mbarrier(b, copy.barrier, copy.site);
    if (!m.fenced && launch->options.checks)
      report("mbarrier-init-not-fenced", copy.site, 0,
             "mbarrier_init_fence is missing: TMA may not see the mbarrier");
    check_shared_write(b, copy.shared_address, n, *fiber, m.actor, m.phase + 1, true, copy.site);
    if (launch->options.async_mode != EAGER) memset(b.at(copy.shared_address), 0xff, n);
  }
  check_global_side(copy, false, fiber->id, fiber->epoch);
  count_shared_side(copy);
  world->loads.push_back(copy);
  if (launch->options.async_mode == EAGER) run_load(world->loads.size() - 1);
}

void issue_store(BulkCopy copy) {
  check_shared_address(copy, "a TMA store");
  count(TMA_STORES);
  Block& b = this_block();
  const u32 n = total_bytes(copy);
  check_shared_bounds(b, copy.shared_address, n, "a TMA store", copy.site);
  if (fiber->read_engine == NONE) {
    fiber->read_engine = new_actor("bulk stores");
    fiber->write_engine = new_actor("bulk stores");
  }
  if (!copy.linear) {
    // Seen on a device: a load leaves out single elements beyond the extent, a store writes its last 16 bytes whole.
    const TensorMapData& m = copy.map;
    for (u32 i = 0; i < m.rank; i++) {
      if (copy.c[i] >= 0) continue;
      report("tma-negative-store", copy.site, 0, "a store begins at %d along dimension %u: a device stops there",
             copy.c[i], i);
      fail();
    }
    const i64 extent = m.dim[0], first = copy.c[0];
    if (m.dim[0] * static_cast<u64>(m.element_bytes) % 16 && first < extent && first + m.box[0] > extent)
      report("tma-ragged-store", copy.site, 0,
             "rows of %u bytes are no whole pieces of 16: the store writes behind them as well",
             m.dim[0] * m.element_bytes);
  }
  copy.epoch = fiber->last_store = fiber->store_epoch;
  check_shared_read(b, copy.shared_address, n, *fiber, fiber->read_engine, copy.epoch, store_slot(), true,
                    copy.site);
  check_global_side(copy, true, fiber->write_engine, copy.epoch);
  count_shared_side(copy);
  fiber->stores.push_back(copy);
}

void read_shared_side(BulkCopy& copy) {
  Block& b = world->blocks[copy.block];
  const u32 inner = row_bytes(copy), rows = total_bytes(copy) / inner;
  copy.staged.resize(total_bytes(copy));
  for (u32 row = 0; row < rows; row++)
    for (u32 x = 0; x < inner; x += 16)
      memcpy(&copy.staged[row * inner + x], b.at(shared_place(copy, row, x)), 16);
  copy.read_done = true;
}

void add_elements(char type, u8* to, const u8* from, u64 bytes) {
  for (u64 i = 0; i < bytes; i += type == 'f' ? 4 : 2) {
    if (type == 'f') {
      float x, y;
      memcpy(&x, to + i, 4);
      memcpy(&y, from + i, 4);
      x += y;
      memcpy(to + i, &x, 4);
    } else {
      u16 x, y;
      memcpy(&x, to + i, 2);
      memcpy(&y, from + i, 2);
      const float sum = to_float(type, x) + to_float(type, y);
      x = type == 'b' ? f32_to_bf16(sum) : f32_to_f16(sum);
      memcpy(to + i, &x, 2);
    }
  }
}

void write_global_side(const BulkCopy& copy) {
  const u32 inner = row_bytes(copy);
  for_each_row(copy, [&](u32 row, u8* p, i64 low, i64 high) {
    if (low == high) return;
    const u8* const from = &copy.staged[row * inner] + low;
    if (copy.add) add_elements(copy.map.type, p + low, from, static_cast<u64>(high - low));
    else memcpy(p + low, from, static_cast<u64>(high - low));
  });
}

BulkCopy make_copy(u32 shared_address, u32 site) {
  BulkCopy copy = {};
  copy.shared_address = shared_address;
  copy.site = site;
  copy.block = fiber->block;
  return copy;
}

BulkCopy tensor_copy(const void* map, u32 shared_address, const int* c, u32 rank, u32 site) {
  BulkCopy copy = make_copy(shared_address, site);
  copy.map = read_map(map, rank, site);
  for (u32 i = 0; i < rank; i++) copy.c[i] = c[i];
  return copy;
}

BulkCopy linear_copy(const void* global, u32 shared_address, u32 bytes, u32 site) {
  BulkCopy copy = make_copy(shared_address, site);
  copy.linear = static_cast<u8*>(const_cast<void*>(global));
  copy.bytes = bytes;
  if (bytes == 0 || bytes % 16 || reinterpret_cast<uintptr_t>(global) % 16) {
    report("misaligned-tma", site, 0, "a bulk copy of %u bytes: size and address must be multiples of 16",
           bytes);
    fail();
  }
  return copy;
}

}  // namespace

// A load lands: data first, then its bytes at the mbarrier of each target block.
void run_load(size_t index) {
  const BulkCopy copy = world->loads[index];
  world->loads.erase(world->loads.begin() + static_cast<std::ptrdiff_t>(index));
  const u32 inner = row_bytes(copy);
  std::vector<u8> row_data(inner);
  for_each_row(copy, [&](u32 row, u8* p, i64 low, i64 high) {
    std::fill(row_data.begin(), row_data.end(), 0);
    if (high > low) memcpy(row_data.data() + low, p + low, static_cast<size_t>(high - low));
    for (u32 rank = 0; rank < world->blocks.size(); rank++)
      if (copy.mask >> rank & 1)
        for (u32 x = 0; x < inner; x += 16)
          memcpy(world->blocks[rank].at(shared_place(copy, row, x)), row_data.data() + x, 16);
  });
  Fiber* const running = fiber;
  fiber = nullptr;  // the engine, not a thread, completes the bytes
  for (u32 rank = 0; rank < world->blocks.size(); rank++) {
    if (!(copy.mask >> rank & 1)) continue;
    Mbarrier& m = find_mbarrier(world->blocks[rank], copy.barrier, copy.site);
    m.bytes -= total_bytes(copy);
    complete_phase_if_due(m);
  }
  fiber = running;
}

void finish_stores(Fiber& f, u32 up_to_epoch, bool read_only) {
  for (BulkCopy& copy : f.stores)
    if (copy.epoch <= up_to_epoch && !copy.read_done) read_shared_side(copy);
  if (read_only) return;
  while (!f.stores.empty() && f.stores.front().epoch <= up_to_epoch) {
    write_global_side(f.stores.front());
    f.stores.pop_front();
  }
}

extern "C" {

void spak_emu_tma_load(unsigned dst, const void* map, unsigned barrier, const int* c, unsigned rank,
                       unsigned mask, SPAK_AT) {
  const u32 site = here(file, line);
  BulkCopy copy = tensor_copy(map, dst, c, rank, site);
  copy.barrier = barrier;
  copy.mask = mask ? mask : 1u << fiber->block;
  issue_load(copy);
}

void spak_emu_bulk_load(unsigned dst, const void* src, unsigned bytes, unsigned barrier, SPAK_AT) {
  const u32 site = here(file, line);
  BulkCopy copy = linear_copy(src, dst, bytes, site);
  copy.barrier = barrier;
  copy.mask = 1u << fiber->block;
  issue_load(copy);
}

void spak_emu_tma_store(const void* map, unsigned src, const int* c, unsigned rank, int reduce_add, SPAK_AT) {
  const u32 site = here(file, line);
  BulkCopy copy = tensor_copy(map, src, c, rank, site);
  copy.add = reduce_add != 0;
  if (copy.add && copy.map.type != 'f' && copy.map.type != 'b' && copy.map.type != 'h') {
    report("bad-tensor-map", site, 0, "a reduce-add needs f32, f16 or bf16 elements");
    fail();
  }
  issue_store(copy);
}

void spak_emu_bulk_store(void* dst, unsigned src, unsigned bytes, int reduce_add_f32, SPAK_AT) {
  const u32 site = here(file, line);
  BulkCopy copy = linear_copy(dst, src, bytes, site);
  copy.add = reduce_add_f32 != 0;
  copy.map.type = 'f';
  issue_store(copy);
}

void spak_emu_tma_commit(SPAK_AT) {
  here(file, line);
  const u32 mode = launch->options.async_mode;
  if (mode == EAGER || (mode == RANDOM && (world->random.next() & 1)))
    finish_stores(*fiber, fiber->store_epoch, world->random.next() & 1);
  fiber->store_epoch++;
}

void spak_emu_tma_wait(unsigned pending, int read_only, SPAK_AT) {
  here(file, line);
  if (fiber->store_epoch - 1 <= pending || fiber->read_engine == NONE) return;
  const u32 epoch = fiber->store_epoch - 1 - pending;
  finish_stores(*fiber, epoch, read_only != 0);
  fiber->stores_read = std::max(fiber->stores_read, epoch);
  Clock* after = copy_clock(fiber->clock);
  u32& read = after->at[fiber->read_engine];
  read = std::max(read, epoch);
  if (!read_only) {
    u32& written = after->at[fiber->write_engine];
    written = std::max(written, epoch);
  }
  set_clock(*fiber, after);
}

}  // extern "C"

}  // namespace spak_emulator
