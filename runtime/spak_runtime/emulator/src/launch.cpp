// What runs one launch: checks its shape, runs all blocks, looks at the outputs, writes the report. Clusters run one
// after another; one whose threads all wait for a semaphore is set aside until the value comes, so blocks may wait for
// one another as on a device.
#include "launch.h"

SpakThread* spak_emu_thread = nullptr;

namespace spak_emulator {

namespace {

constexpr size_t MAX_RESIDENT = 64, MAX_KEPT = 8;

void set_up_launch(Launch& l, const LaunchSpec& s) {
  l.kernel = s.kernel;
  l.params = s.params;
  l.params_bytes = s.params_bytes;
  for (u32 i = 0; i < 3; i++) {
    l.grid[i] = s.grid[i];
    l.cluster[i] = s.cluster[i];
  }
  l.threads = s.threads;
  l.min_blocks = s.record->min_blocks;
  l.shared_bytes = s.shared_bytes;
  l.overlaps = s.overlaps != 0;
  l.options = s.options;
  l.random.seed(s.options.seed, ~0ull);
  l.sites.push_back({"", 0});
  l.accesses.resize(ACCESS_KINDS);
  l.site_table.assign(1 << 13, 0);
  for (u32 i = 0; i < s.buffers; i++) {
    const BufferSpec& b = s.buffer[i];
    l.buffers.push_back({b.name,
                         static_cast<u8*>(b.data),
                         b.bytes,
                         b.granule,
                         b.writable != 0,
                         b.write_once != 0,
                         b.uninitialised != 0,
                         0,
                         0,
                         {}});
    if (b.writable) l.buffers.back().cells.resize((b.bytes + b.granule - 1) / b.granule);
  }
}

// The launch must be the one that the kernel was declared for.
bool agrees_with_record(const LaunchSpec& s) {
  const SpakLaunchRecord& r = *s.record;
  const size_t before = launch->errors.size();
  if (s.params_bytes != r.params_bytes)
    report("launch-mismatch", 0, 0, "%u bytes of parameters; the kernel takes %u", s.params_bytes,
           r.params_bytes);
  if (s.threads != r.threads)
    report("launch-mismatch", 0, 0, "%u threads a block; the kernel is declared for %u", s.threads,
           r.threads);
  if (s.threads % 32 || s.threads == 0 || s.threads > 1024)
    report("launch-mismatch", 0, 0, "%u threads a block: a multiple of 32 up to 1024", s.threads);
  u64 blocks = 1;
  for (u32 i = 0; i < 3; i++) {
    blocks *= s.cluster[i];
    if (s.cluster[i] != r.cluster[i])
      report("launch-mismatch", 0, 0, "cluster dimension %u is %u; the kernel is declared with %u", i,
             s.cluster[i], r.cluster[i]);
    else if (s.grid[i] == 0 || s.grid[i] % s.cluster[i])
      report("launch-mismatch", 0, 0, "grid dimension %u is %u, no multiple of the cluster's %u", i,
             s.grid[i], s.cluster[i]);
  }
  if (blocks > 16)
    report("launch-mismatch", 0, 0, "a cluster of %llu blocks: at most 16",
           static_cast<unsigned long long>(blocks));
  return launch->errors.size() == before;
}

bool can_go_on(const World& w) {
  for (const Fiber* f : w.semaphore_waiters)
    if (*f->semaphore == f->wait_b) return true;
  return false;
}

// Nearly in order, as a device starts them, but not quite.
std::vector<u32> start_order(u32 clusters) {
  std::vector<u32> order(clusters);
  for (u32 i = 0; i < clusters; i++) order[i] = i;
  if (launch->options.seed)
    for (u32 i = 0; i + 1 < clusters; i++)
      std::swap(order[i], order[i + launch->random.below(std::min(4u, clusters - i))]);
  return order;
}

// Worlds of launches before, all of one shape: their memory need not be asked for again.
struct Kept {
  u32 threads = 0, blocks = 0, shared_bytes = 0, checks = 0;
  std::vector<std::unique_ptr<World>> worlds;
};
Kept kept;

std::vector<std::unique_ptr<World>> worlds_of_this_shape() {
  const Launch& l = *launch;
  const u32 blocks = l.cluster[0] * l.cluster[1] * l.cluster[2];
  Kept found = std::move(kept);
  kept = {l.threads, blocks, l.shared_bytes, l.options.checks, {}};
  const bool same = found.threads == l.threads && found.blocks == blocks &&
                    found.shared_bytes == l.shared_bytes && found.checks == l.options.checks;
  if (!same) return {};
  for (const std::unique_ptr<World>& w : found.worlds)
    for (Warp& warp : w->warp) warp.logs.clear();  // classes of accesses are numbered anew
  return std::move(found.worlds);
}

void run_clusters(bool keep_worlds) {
  const Launch& l = *launch;
  const u32 clusters = l.grid[0] / l.cluster[0] * (l.grid[1] / l.cluster[1]) * (l.grid[2] / l.cluster[2]);
  const std::vector<u32> order = start_order(clusters);
  std::vector<std::unique_ptr<World>> pool;
  if (keep_worlds) pool = worlds_of_this_shape();
  std::vector<World*> idle, suspended;
  for (const std::unique_ptr<World>& w : pool) idle.push_back(w.get());
  u32 next = 0;
  while (!launch->aborted && (next < clusters || !suspended.empty())) {
    std::vector<World*> able;
    for (World* w : suspended)
      if (can_go_on(*w)) able.push_back(w);
    World* chosen = nullptr;
    const bool may_start = next < clusters && suspended.size() < MAX_RESIDENT;
    if (!able.empty() && (!may_start || launch->random.next() & 1)) {
      chosen = able[launch->random.below(static_cast<u32>(able.size()))];
      suspended.erase(std::find(suspended.begin(), suspended.end(), chosen));
    } else if (may_start) {
      if (idle.empty()) {
        pool.push_back(std::make_unique<World>());
        idle.push_back(pool.back().get());
      }
      chosen = idle.back();
      idle.pop_back();
      begin_world(*chosen, order[next++]);
    } else {
      report_deadlock(suspended);
      break;
    }
    const Outcome outcome = run_world(*chosen);
    if (outcome == Outcome::FINISHED) {
      idle.push_back(chosen);
    } else if (outcome == Outcome::SUSPENDED) {
      suspended.push_back(chosen);
      if (chosen->semaphore_waiters.empty()) {
        report_deadlock({chosen});
        break;
      }
    }
  }
  for (const std::unique_ptr<World>& w : pool) count_notes(*w);
  world = nullptr;
  fiber = nullptr;
  if (!keep_worlds) return;
  if (pool.size() > MAX_KEPT) pool.resize(MAX_KEPT);
  kept.worlds = std::move(pool);
}

// Of the bytes of every input. A store past the primitives is seen by nobody else.
std::vector<u64> digests_of_inputs() {
  std::vector<u64> found;
  for (const Buffer& b : launch->buffers) {
    u64 digest = 0x9e3779b97f4a7c15ull;
    for (u64 i = 0; !b.writable && i < b.bytes; i += 8) {
      u64 word = 0;
      memcpy(&word, b.base + i, std::min<u64>(8, b.bytes - i));
      digest = (digest ^ word) * 0xff51afd7ed558ccdull;
      digest ^= digest >> 32;
    }
    found.push_back(digest);
  }
  return found;
}

void check_inputs(const std::vector<u64>& before) {
  const std::vector<u64> after = digests_of_inputs();
  for (size_t i = 0; i < after.size(); i++)
    if (before[i] != after[i])
      report("write-to-readonly", 0, 0, "%s is not an output, and was changed past the primitives",
             launch->buffers[i].name.c_str());
}

void check_outputs() {
  for (const Buffer& b : launch->buffers) {
    if (!b.write_once) continue;
    u64 missing = 0, first = 0;
    for (u64 i = b.cells.size(); i-- > 0;)
      if (b.cells[i].write_world == 0) {
        missing++;
        first = i;
      }
    if (missing)
      report("unwritten-output", 0, 0,
             "%s: %llu of %zu elements were never written, the first is element %llu", b.name.c_str(),
             static_cast<unsigned long long>(missing), b.cells.size(),
             static_cast<unsigned long long>(first));
  }
}

}  // namespace

std::string run_launch(const LaunchSpec& s, bool keep_worlds) {
  const auto l = std::make_unique<Launch>();
  launch = l.get();
  set_up_launch(*l, s);
  if (agrees_with_record(s)) {
    const std::vector<u64> inputs = digests_of_inputs();
    run_clusters(keep_worlds);
    if (l->errors.empty()) check_inputs(inputs);
    if (l->errors.empty()) check_outputs();
  }
  end_notes();
  std::string text = serialise_report();
  launch = nullptr;
  return text;
}

}  // namespace spak_emulator
