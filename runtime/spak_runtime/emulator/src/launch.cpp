// The entry from Python: lays out buffers, fills in parameters, runs all blocks, hands back a report.
//
// With `isolate` the launch runs in a forked child whose buffers are shared memory: a kernel that crashes,
// overruns its stack or never ends fails its own case and nothing else. Clusters run one after another; one
// whose threads all wait for a semaphore is set aside until the value comes, so blocks may wait for one
// another as on a device.
#include <csignal>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emulator.h"

SpakThread* spak_emu_thread = nullptr;

namespace spak_emulator {

namespace {

constexpr u64 REPORT_BYTES = 4 << 20, GAP = 4096;
constexpr size_t MAX_RESIDENT = 64;

struct BufferSpec {
  const char* name;
  void* data;
  u64 bytes;
  u32 granule, writable, write_once, uninitialised;
};
struct PointerPatch {
  u32 offset;
  i32 buffer;
  i64 byte_offset;
};
struct MapPatch {
  u32 offset;
  i32 buffer;
  i64 byte_offset;
  u32 rank, element_bytes, swizzle_shift, type;
  u64 stride[4];
  u32 dim[5], box[5];
};
struct LaunchSpec {
  void (*kernel)(const void*);
  const SpakLaunchRecord* record;
  const u8* params;
  u32 params_bytes, grid[3], threads, cluster[3], shared_bytes;
  Options options;
  u32 isolate, buffers, pointers, maps;
  const BufferSpec* buffer;
  const PointerPatch* pointer;
  const MapPatch* map;
};

struct Arena {  // the report, the parameters, then the buffers with gaps between
  u8* base = nullptr;
  u64 bytes = 0;
  std::vector<u64> offset;
  u64 params_offset = 0;
};

Arena make_arena(const LaunchSpec& s) {
  Arena a;
  u64 end = REPORT_BYTES;
  a.params_offset = end;
  end += (s.params_bytes + GAP - 1) / GAP * GAP;
  for (u32 i = 0; i < s.buffers; i++) {
    end += GAP;
    a.offset.push_back(end);
    end += (s.buffer[i].bytes + GAP - 1) / GAP * GAP;
  }
  a.bytes = end + GAP;
  void* p = mmap(nullptr, a.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p != MAP_FAILED) a.base = static_cast<u8*>(p);
  return a;
}

void fill_arena(const LaunchSpec& s, const Arena& a) {
  for (u32 i = 0; i < s.buffers; i++) {
    u8* const at = a.base + a.offset[i];
    if (s.buffer[i].uninitialised) memset(at, 0xff, s.buffer[i].bytes);
    else memcpy(at, s.buffer[i].data, s.buffer[i].bytes);
  }
  u8* const params = a.base + a.params_offset;
  memcpy(params, s.params, s.params_bytes);
  for (u32 i = 0; i < s.pointers; i++) {
    const PointerPatch& p = s.pointer[i];
    const u8* const value = a.base + a.offset[static_cast<u32>(p.buffer)] + p.byte_offset;
    memcpy(params + p.offset, &value, sizeof value);
  }
  for (u32 i = 0; i < s.maps; i++) {
    const MapPatch& p = s.map[i];
    TensorMapData m = {};
    m.base = a.base + a.offset[static_cast<u32>(p.buffer)] + p.byte_offset;
    for (u32 d = 0; d < 4; d++) m.stride[d] = p.stride[d];
    for (u32 d = 0; d < 5; d++) {
      m.dim[d] = p.dim[d];
      m.box[d] = static_cast<u16>(p.box[d]);
    }
    m.rank = static_cast<u8>(p.rank);
    m.element_bytes = static_cast<u8>(p.element_bytes);
    m.swizzle_shift = static_cast<u8>(p.swizzle_shift);
    m.type = static_cast<char>(p.type);
    m.magic = TENSOR_MAP_MAGIC;
    memcpy(params + p.offset, &m, sizeof m);
  }
}

void set_up_launch(Launch& l, const LaunchSpec& s, const Arena& a) {
  l.kernel = s.kernel;
  l.params = a.base + a.params_offset;
  l.params_bytes = s.params_bytes;
  for (u32 i = 0; i < 3; i++) {
    l.grid[i] = s.grid[i];
    l.cluster[i] = s.cluster[i];
  }
  l.threads = s.threads;
  l.min_blocks = s.record->min_blocks;
  l.shared_bytes = s.shared_bytes;
  l.options = s.options;
  l.random.seed(s.options.seed, ~0ull);
  l.sites.push_back({"", 0});
  l.accesses.resize(ACCESS_KINDS);
  l.site_table.assign(1 << 13, 0);
  for (u32 i = 0; i < s.buffers; i++) {
    const BufferSpec& b = s.buffer[i];
    l.buffers.push_back({b.name,
                         a.base + a.offset[i],
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

// A child that ends with the launch does not tidy up: its memory goes as a whole.
bool ends_with_launch = false;

void run_clusters() {
  const Launch& l = *launch;
  const u32 clusters = l.grid[0] / l.cluster[0] * (l.grid[1] / l.cluster[1]) * (l.grid[2] / l.cluster[2]);
  const std::vector<u32> order = start_order(clusters);
  std::vector<std::unique_ptr<World>> pool;
  std::vector<World*> idle, suspended;
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
  world = nullptr;
  fiber = nullptr;
  if (ends_with_launch)
    for (std::unique_ptr<World>& w : pool) w.release();
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

std::string run_launch(const LaunchSpec& s, const Arena& a) {
  auto l = std::make_unique<Launch>();
  launch = l.get();
  set_up_launch(*l, s, a);
  if (agrees_with_record(s)) {
    run_clusters();
    if (l->errors.empty()) check_outputs();
  }
  std::string text = serialise_report();
  launch = nullptr;
  if (ends_with_launch) l.release();
  return text;
}

// ---- isolation ----

u8* crash_report = nullptr;
u32 crash_timeout = 0;

// Runs on its own stack and allocates nothing: the heap may be in any state.
void on_signal(int signal) {
  const Site where = fiber && launch ? launch->sites[fiber->last_site] : Site{"", 0};
  const unsigned block = fiber && world ? this_block().linear : 0, thread = fiber ? fiber->view.thread : 0;
  char message[160];
  if (signal == SIGALRM)
    snprintf(message, sizeof message, "not finished after %u s (the line is that of the last primitive)",
             crash_timeout);
  else
    snprintf(message, sizeof message, "signal %d (the line is that of the thread's last primitive)", signal);
  snprintf(reinterpret_cast<char*>(crash_report), REPORT_BYTES, "error\t%s\t%s\t%u\t\t0\t1\t%u\t%u\t\t%s\n",
           signal == SIGALRM ? "timeout" : "crash", where.file, where.line, block, thread, message);
  _exit(3);
}

void install_handlers(const LaunchSpec& s, const Arena& a) {
  static char stack[64 * 1024];
  stack_t alternate = {};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  sigaltstack(&alternate, nullptr);
  crash_report = a.base;
  crash_timeout = s.options.timeout_seconds;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGALRM})
    sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  alarm(s.options.timeout_seconds);
}

void put_report(const Arena& a, const std::string& text) {
  const size_t n = std::min<size_t>(text.size(), REPORT_BYTES - 1);
  memcpy(a.base, text.data(), n);
  a.base[n] = 0;
}

std::string run_isolated(const LaunchSpec& s, const Arena& a) {
  a.base[0] = 0;
  const pid_t child = fork();
  if (child < 0) return "error\tcrash\t\t0\t\t0\t1\t-1\t-1\t\tfork failed\n";
  if (child == 0) {
    install_handlers(s, a);
    ends_with_launch = true;
    put_report(a, run_launch(s, a));
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (a.base[0] == 0)
    return "error\tcrash\t\t0\t\t0\t1\t-1\t-1\t\tthe emulator's process ended with status " +
           std::to_string(status) + "\n";
  return reinterpret_cast<const char*>(a.base);
}

}  // namespace

extern "C" {

// Runs one launch; the text stays valid until the next call. See serialise_report for its form.
const char* spak_emu_run(const LaunchSpec* s) {
  static std::string text;
  const Arena a = make_arena(*s);
  if (!a.base) return "error\tcrash\t\t0\t\t0\t1\t-1\t-1\t\tno memory for the buffers\n";
  fill_arena(*s, a);
  text = s->isolate ? run_isolated(*s, a) : run_launch(*s, a);
  for (u32 i = 0; i < s->buffers; i++)
    if (s->buffer[i].writable) memcpy(s->buffer[i].data, a.base + a.offset[i], s->buffer[i].bytes);
  munmap(a.base, a.bytes);
  return text.c_str();
}

}  // extern "C"

}  // namespace spak_emulator
