// The emulator's state. One process runs one launch at a time on one OS thread, so the current launch, world
// and fiber are plain globals.
//
//   Launch  one kernel launch: buffers, options, errors, counters, and the worlds that are resident
//   World   one cluster (or one block without clusters): its fibers, shared memory, barriers, clocks
//   Block   one thread block of a world
//   Warp    32 fibers that meet in collectives
//   Fiber   one thread
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fiber.h"
#include "spak/emulator_abi.h"
#include "spak/emulator_float.h"

#pragma GCC visibility push(hidden)  // so that calls between these files go straight there

namespace spak_emulator {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using i32 = int32_t;
using u64 = uint64_t;
using i64 = int64_t;

constexpr u32 NONE = ~0u;

enum AsyncMode : u32 { EAGER = 0, LATE = 1, RANDOM = 2 };

struct Options {
  u32 seed, async_mode, checks, timeout_seconds;
};

struct Random {
  u64 state = 1;
  void seed(u64 a, u64 b) { state = (a + 1) * 0x9E3779B97F4A7C15ull ^ (b * 0xD1B54A32D192ED03ull + 77); }
  u32 next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<u32>(state >> 20);
  }
  u32 below(u32 n) { return next() % n; }
};

// ---- clocks (happens_before.cpp) ----

// A vector clock over the actors of a world, shared by all threads that left one barrier together.
struct Clock {
  u32 references;
  u32 at[1];
};

// What a release tells about each world: that world's clock as it was.
using Snapshot = std::shared_ptr<const std::vector<u32>>;
using Knowledge = std::map<u32, Snapshot>;

// Zeros, as the system gives them: a page that nobody touches costs nothing.
template <class T>
struct Zeros {
  struct Free {
    size_t bytes = 0;
    void operator()(T* p) const { munmap(p, bytes); }
  };
  std::unique_ptr<T[], Free> values;

  void allocate(size_t n) {
    const size_t bytes = std::max<size_t>(1, n) * sizeof(T);
    void* const p =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) abort();
    values = std::unique_ptr<T[], Free>(static_cast<T*>(p), Free{bytes});
  }
  void clear(size_t first, size_t last) { memset(&values[first], 0, (last - first) * sizeof(T)); }
  T& operator[](size_t i) { return values[i]; }
  const T& operator[](size_t i) const { return values[i]; }
};

// The last accesses to each granule of a block's shared memory: 2 bytes, and single bytes where those are
// used. (A kernel's own loads look at it, too: emulator_loads.h.)
struct Shadow {
  u32 granules = 0, slots = 0;
  // (actor + 1) << 48 | site << 32 | epoch. Actor + 1 is 0: never written; SPLIT: see the block's shadow of single bytes.
  // The site's top bit: an atomic.
  Zeros<u64> written;
  Zeros<u64> readers;  // mask over slots
  // At slot * granules + granule, and valid where `readers` has the slot: actor << 48 | site << 32 | epoch.
  Zeros<u64> reads;

  void allocate(u32 granules, u32 slots);
  void clear(u32 first, u32 last);
  void copy(u32 to, const Shadow& other, u32 from);
  u32 writer(u32 g) const { return static_cast<u32>(written[g] >> 48); }
  u32 write_epoch(u32 g) const { return static_cast<u32>(written[g]); }
  u32 write_site(u32 g) const { return static_cast<u32>(written[g] >> 32) & 0xffff; }
};

// The last write and the last read of one element of a writable global buffer.
struct GlobalCell {
  u32 write_world = 0, write_epoch = 0, read_world = 0, read_epoch = 0;
  u16 write_actor = 0, write_site = 0, read_actor = 0, read_site = 0;
  bool atomic = false, constant = false;  // constant: read through the read-only path
};

struct Buffer {
  std::string name;
  u8* base;
  u64 bytes;
  u32 granule;
  bool writable, write_once, uninitialised;
  u64 bytes_read = 0, bytes_written = 0;
  std::vector<GlobalCell> cells;
};

// ---- asynchronous operations ----

struct TensorMapData {  // what a TensorMap holds here; fits its 128 bytes
  u8* base;
  u64 stride[4];
  u32 dim[5];
  u16 box[5];
  u8 rank, element_bytes, swizzle_shift;  // swizzle: 0 none, 1 32B, 2 64B, 3 128B
  char type;                              // for reduce-add: 'f', 'b', 'h'; anything else cannot be added
  u32 magic;
};
constexpr u32 TENSOR_MAP_MAGIC = 0x5350414b;
static_assert(sizeof(TensorMapData) <= 128, "a tensor map has 128 bytes");

struct CopyAsync {  // one cp.async
  u32 dst, size, bytes, epoch;
  const u8* src;
};

struct BulkCopy {  // one TMA or bulk copy, either way
  TensorMapData map;
  i32 c[5];
  u32 shared_address, barrier, mask, block, epoch, site;
  u8* linear;  // a bulk copy without a tensor map: its global address; then `bytes` counts
  u32 bytes;
  bool add, read_done;
  std::vector<u8> staged;  // a store's data once shared memory has been read
};

// First in, first out. What nobody uses costs nothing: every thread of every block has two.
template <class T>
struct Queue {
  std::vector<T> items;
  size_t taken = 0;

  bool empty() const { return taken == items.size(); }
  T& front() { return items[taken]; }
  T* begin() { return items.data() + taken; }
  T* end() { return items.data() + items.size(); }
  void push_back(const T& item) { items.push_back(item); }
  void pop_front() {
    if (++taken * 2 < items.size()) return;
    items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(taken));
    taken = 0;
  }
};

struct CopyArrival {  // cp.async.mbarrier.arrive: an arrival owed once the copies have landed
  u32 fiber, epoch, barrier;
};

// ---- threads ----

struct Fiber {
  Context context;
  SpakThread view = {};
  u32 id, block, warp, lane;  // id and warp count over the world
  char* deepest = nullptr;    // how far down its stack a primitive was called
  bool done = false;

  // Happens-before. `epoch` stamps this thread's own accesses and grows at each release; `copied` is the last
  // epoch of its cp.async that it has waited for; the fenced_ pair is what its last proxy fence covered of
  // each.
  Clock* clock = nullptr;
  u32 epoch = 1, copied = 0, fenced_epoch = 0, fenced_copied = 0;
  mutable u32 last_shared_write = 0;       // the epoch of its last plain write to shared memory
  Knowledge fence_release, fence_acquire;  // fence_device() with relaxed atomics

  Queue<CopyAsync> copies;
  std::vector<u32> copy_groups;
  u32 copy_epoch = 1, last_copy = 0, copies_handed_over = 0;  // handed over: an mbarrier answers for them
  Queue<BulkCopy> stores;
  u32 store_epoch = 1, last_store = 0, stores_read = 0;
  u32 read_engine = NONE, write_engine = NONE;  // actors: this thread's bulk stores as readers and as writers

  bool wgmma_fenced = false;
  std::vector<std::pair<const float*, u64>> fenced_registers;  // accumulators as its last wgmma_fence saw them
  bool predecessors_ended = false;  // grid_dependency_wait
  u32 cluster_arrivals = 0;  // the phase of the cluster barrier that its last arrival belongs to, + 1
  Clock* cluster_clock = nullptr;

  // Where it waits, for the scheduler and for deadlock reports.
  const char* waiting = nullptr;
  u32 wait_site = 0, wait_a = 0, wait_b = 0;
  const u32* semaphore = nullptr;

  // What it has noted of its accesses lies between `notes` and view.next (trace.cpp).
  u64 *notes = nullptr, *notes_end = nullptr;
  u32 called_site = 0;           // where it last called a primitive of the library,
  u64* called_notes = nullptr;   // and view.next then: what it notes itself comes after
};

// Requests of a warp of one class, where its lanes went different ways: the i-th is what they asked for when each came by
// for the i-th time. Most differ by where they begin alone, so what a request keeps is that, and the log how far each lane is from
// there. The addresses of one that lies otherwise are kept lane by lane.
struct AccessRow {
  u64 base;
  u32 mask;
  u32 scattered;  // 0, or 1 + the place of its addresses in the log
};
struct AccessLog {
  u32 count[32] = {};
  u64 distance[32];  // of a lane's address from the base of a request, where `known` has the lane
  u32 known = 0;
  bool dirty = false;
  std::vector<AccessRow> rows;
  std::vector<std::array<u64, 32>> scattered;
  // What requests of such distances have cost, by the lanes and where among sectors or banks they begin.
  struct Cost {
    u32 mask = 0, base, units, ideal;
  } costs[16];
};

// Accesses of one kind and size at one place of the source, and for loads of an input of one buffer; by this number a
// thread notes them.
struct AccessClass {
  // How the lanes of a request lay, and what requests of that kind cost by where among sectors or banks they begin.
  struct Pattern {
    u32 mask = 0;
    alignas(64) u64 distance[32];
    struct {
      u32 base = NONE, units, ideal;
    } costs[16];
  };
  u32 site, kind, bytes, next;
  bool counted;    // accesses that nobody has counted when they are noted
  Buffer* buffer;  // that they read, if they are counted
  u64 accesses = 0;
  std::vector<Pattern> patterns;
  u32 likely = 0;
};

struct Rendezvous {
  const char* op;
  u32 site;
  void* pointer;
  const void* pointer2;
  u64 value;
  u32 a, b;
};
struct Warp {
  u32 ready = 0, arrived = 0, exited = 0, registers = 0, site = 0;
  Rendezvous argument[32];
  std::map<u32, u32> partial;   // sync_warp with a partial mask: mask -> lanes that have arrived
  std::vector<std::unique_ptr<AccessLog>> logs;  // by class of accesses
  std::vector<u32> dirty;
};

// ---- blocks ----

struct Barrier {  // named barriers and the cluster barrier
  std::vector<Fiber*> participants, waiting;
  u32 expected = 0, phase = 0, site = 0;
  Clock* gathering = nullptr;  // what arrivals that did not wait have published
  Clock* last_joined = nullptr;  // the last of them: threads that share a clock join it once
  Clock* completed = nullptr;  // the last phase's clock
};

struct Mbarrier {
  u32 count, phase = 0, actor, init_fiber, init_epoch;
  i32 pending;
  i64 bytes = 0;
  bool fenced = false;
  Clock *gathering = nullptr, *completed = nullptr, *last_joined = nullptr;
  Clock *cached_in = nullptr, *cached_out = nullptr;
  u32 cached_phase = 0;
  std::vector<Fiber*> waiting;
};

struct WgmmaOperation {
  u64 descriptor_a, descriptor_b;
  u32 columns, epoch, accumulator;
  bool accumulate, from_registers, a_mn, b_mn, executed;
  char type;
  std::vector<u32> a_registers;  // 128 x 4
};
struct WgmmaAccumulator {
  float* registers[128];
  u32 columns, last_epoch, remaining;  // remaining: threads that have not yet waited
  bool live;
  std::array<bool, 128> written_back;
  std::vector<float> values;  // 64 x columns
};
struct WgmmaArgument {
  float* d;
  const u32* a;
  u64 descriptor_a, descriptor_b;
  u32 registers, site;
  bool accumulate, a_mn, b_mn;
  char type;
};
struct Warpgroup {
  u32 arrived = 0, first_actor = NONE, epoch = 1, done = 0;
  WgmmaArgument argument[128];
  std::vector<Fiber*> waiting;
  std::deque<WgmmaOperation> operations;
  std::vector<WgmmaAccumulator> accumulators;
  // What a wait has made of a warp's clock. Two of each warp: a thread may wait for two epochs before the next thread runs.
  struct Waited {
    Clock *in = nullptr, *out = nullptr;
    u32 epoch = 0;
  } waited[4][2];
};

struct Block {
  u32 index[3], linear, base, size, alive, registers_free;
  u32 registers_given = NONE;  // where a warp gave registers back that nobody has taken any of
  bool registers_taken = false;
  u32 touched_from = NONE, touched_to = 0;  // the shared memory that has been accessed, from `base` on
  std::vector<u8> memory;
  Shadow shadow, byte_shadow;
  Barrier barriers[16];
  std::vector<u32> mbarrier_at;  // (address - base) / 8 -> index + 1 into mbarriers
  std::deque<Mbarrier> mbarriers;
  std::vector<Warpgroup> warpgroups;
  std::vector<Fiber*> register_waiters;
  struct RemoteAccess {
    u32 fiber, epoch, site;
  };
  std::vector<RemoteAccess> remote;
  Clock *exit_clock = nullptr, *last_exit = nullptr;

  u8* at(u32 address) { return memory.data() + (address - base); }
};

// What is known about another world: whoever has epoch n of `actor` knows snapshots[n - 1].
struct ForeignWorld {
  u32 actor;
  std::vector<Snapshot> snapshots;
};

struct World {
  u32 id = 0;  // 1 + linear index of the cluster in the grid
  u32 threads = 0, warps = 0, actors = 0, next_actor = 0, live = 0;
  std::vector<Fiber> fibers;
  std::vector<Warp> warp;
  std::vector<Block> blocks;
  std::vector<u64> ready;  // mask over warps with a ready lane
  u32 current_warp = 0;
  char* stacks = nullptr;
  std::vector<std::vector<u64>> notes;  // by thread
  Context main;
  Random random;

  std::deque<BulkCopy> loads;
  std::deque<CopyArrival> arrivals;
  std::vector<Fiber*> semaphore_waiters;
  Barrier cluster_barrier;

  std::vector<Clock*> free_clocks;
  Clock *zero = nullptr, *fence_in = nullptr, *fence_out = nullptr;
  std::map<u32, ForeignWorld> foreign;

  ~World();
};

// ---- reports ----

struct Site {
  const char* file;
  u32 line;
  u64 visits = 0;  // how many threads came by, each as often as it did
};
struct Error {
  std::string kind, message;
  u32 site, other_site, count, block, thread;
  std::vector<u64> frames;  // return addresses within the kernel's shared object, innermost first
};
enum AccessKind : u32 { SHARED = 0, GLOBAL = 1, ACCESS_KINDS = 2 };
struct AccessCount {
  u64 requests = 0, units = 0, ideal = 0, excess = 0;  // units: shared-memory wavefronts or 32-byte sectors
};

enum Counter : u32 {
  SWITCHES,
  CLUSTERS,
  SHARED_ACCESSES,
  GLOBAL_ACCESSES,
  MMA,
  LDMATRIX,
  STMATRIX,
  WGMMA,
  CP_ASYNC,
  TMA_LOADS,
  TMA_STORES,
  BARRIERS,
  MBARRIER_PHASES,
  WARP_COLLECTIVES,
  ATOMICS,
  SEMAPHORE_WAITS,
  GRANULES_CHECKED,
  COUNTERS
};

struct Launch {
  void (*kernel)(const void*);
  const u8* params;
  u32 params_bytes;
  u32 grid[3], cluster[3], threads, min_blocks, shared_bytes;
  bool overlaps = false;  // may begin before the kernel before it has ended
  Options options;
  std::vector<Buffer> buffers;
  Buffer* last_found = nullptr;  // most often the next access is of the same
  std::vector<Site> sites;
  std::vector<u32> site_table;
  std::vector<Error> errors;
  std::map<std::string, size_t> error_index;
  std::vector<AccessCount> accesses;  // site * ACCESS_KINDS + kind
  std::deque<AccessClass> classes{1};  // by number; 0 is none
  std::vector<u32> class_at;           // by site * ACCESS_KINDS + kind: the first, AccessClass::next goes on
  std::vector<SpakGlobalPlace*> global_places;  // of the kernel: what they were given ends with the launch
  std::vector<SpakSharedPlace*> shared_places;
  u64 counters[COUNTERS] = {};
  std::map<const void*, Knowledge> releases;
  Random random;
  bool aborted = false;
};

inline Launch* launch = nullptr;
inline World* world = nullptr;
inline Fiber* fiber = nullptr;

// The shared address that a swizzle of 16 << shift bytes sends `address` to.
inline u32 swizzled(u32 address, u32 shift) {
  return address ^ (((address >> 7) & ((1u << shift) - 1)) << 4);
}

inline Block& this_block() { return world->blocks[fiber->block]; }
inline u32 warps_per_block() { return launch->threads / 32; }
inline u32 warp_in_block(const Fiber& f) { return f.warp - f.block * warps_per_block(); }

// report.cpp
u32 new_site(const char* file, u32 line, u32 place);
// Positions get small numbers, found again by the address of the file name and the line.
inline u32 site_of(const char* file, u32 line) {
  const u64 mixed = (reinterpret_cast<uintptr_t>(file) ^ line * 0x9E3779B97F4A7C15ull) * 0xD1B54A32D192ED03ull;
  const u32 size = static_cast<u32>(launch->site_table.size());
  for (u32 i = static_cast<u32>(mixed >> 40) & (size - 1);; i = (i + 1) & (size - 1)) {
    const u32 known = launch->site_table[i];
    if (known == 0) return new_site(file, line, i);
    const Site& s = launch->sites[known];
    if (s.file == file && s.line == line) return known;
  }
}
// Where the running thread is, in a primitive that its kernel has called.
inline u32 here(const char* file, u32 line) {
  fiber->deepest = std::min(fiber->deepest, static_cast<char*>(__builtin_frame_address(0)));
  fiber->called_notes = fiber->view.next;
  const u32 site = fiber->called_site = site_of(file, line);
  launch->sites[site].visits++;
  return site;
}
// The place of a thread's last primitive.
inline u32 last_site(const Fiber& f) {
  if (f.view.next == f.called_notes) return f.called_site;
  return launch->classes[f.view.next[-1] >> 48].site;
}
// Copies of an access's size, which are one instruction each.
inline void copy_access(void* to, const void* from, u32 bytes) {
  switch (bytes) {
    case 1: memcpy(to, from, 1); break;
    case 2: memcpy(to, from, 2); break;
    case 4: memcpy(to, from, 4); break;
    case 8: memcpy(to, from, 8); break;
    case 16: memcpy(to, from, 16); break;
    default: memcpy(to, from, bytes);
  }
}
void report(const char* kind, u32 site, u32 other_site, const char* format, ...)
    __attribute__((format(printf, 4, 5)));
[[noreturn]] void fail();  // ends the launch after a report
inline void count(Counter c, u64 n = 1) { launch->counters[c] += n; }
std::string serialise_report();

// scheduler.cpp
void make_ready(Fiber& f);
void block_fiber(const char* why, u32 site, u32 a = 0, u32 b = 0);
enum class Outcome { FINISHED, SUSPENDED, ABORTED };
Outcome run_world(World& w);
void begin_world(World& w, u32 linear);
void report_deadlock(const std::vector<World*>& stuck);

// happens_before.cpp
Clock* new_clock();
Clock* copy_clock(const Clock* c);
Clock* hold(Clock* c);
void drop(Clock*& c);
void set_clock(Fiber& f, Clock* c);
void next_epoch(Fiber& f);
void join_into(Clock* into, const Clock* from);
void publish(Clock* into, Fiber& f);  // the thread's own components; begins its next epoch
u32 new_actor(const char* what);
bool ordered(const Fiber& f, u32 actor, u32 epoch, bool async_access);
void check_shared_write(Block& b, u32 address, u32 bytes, const Fiber& f, u32 actor, u32 epoch,
                        bool async_access, u32 site, bool atomic = false);
void check_shared_read(Block& b, u32 address, u32 bytes, const Fiber& f, u32 actor, u32 epoch, u32 slot,
                       bool async_access, u32 site);
// 16 bytes at each address, read for several threads at once: all of them must come after whoever wrote there.
void check_shared_rows(Block& b, const std::vector<u32>& addresses, const std::vector<const Fiber*>& threads, u32 actor,
                       u32 epoch, u32 slot, u32 site);
void check_global_write(Buffer& b, u64 offset, u64 bytes, u32 actor, u32 epoch, bool async_access,
                        bool atomic, u32 site);
void check_global_constant(Buffer& b, u64 offset, u64 bytes, u32 site);
void check_global_read(Buffer& b, u64 offset, u64 bytes, u32 actor, u32 epoch, bool async_access, bool atomic,
                       u32 site);
Knowledge knowledge_of(Fiber& f);
void merge_knowledge(Knowledge& into, const Knowledge& from);
void learn(Fiber& f, const Knowledge& k);

// shared_memory.cpp
void check_shared_bounds(Block& b, u32 address, u32 bytes, const char* what, u32 site);
u32 warp_slot(const Fiber& f);
u32 warpgroup_slot(u32 warpgroup);
u32 store_slot();
u32 remote_slot();

// profile.cpp
u64 cost_of(AccessKind kind, const u64* address, u32 mask, u32 bytes, u64& ideal);
void add_request(u32 site, AccessKind kind, u64 units, u64 ideal);
void log_of_lane(Warp& w, u32 lane, u32 access_class, u64 address);
void close_logs(Warp& w);
void forget_logs(Warp& w);  // what an aborted launch has left
void count_matrix_rows(const u32* addresses, u32 matrices, u32 site);
void count_rows(const u32* addresses, u32 rows, u32 site);
void count_global_run(u64 address, u64 bytes, u32 site);

// trace.cpp
void give_room(Fiber& f);  // at the start of its life
// The number of a class of accesses. `counted`: loads that nobody counts before their notes are judged, of global memory
// those of this buffer.
u32 class_of(AccessKind kind, u32 bytes, u32 site, bool counted = false, Buffer* buffer = nullptr);
void note_access(u32 access_class, u64 address);
inline void log_access(AccessKind kind, u64 address, u32 bytes, u32 site) {
  note_access(class_of(kind, bytes, site), address);
}
void allow_here(SpakGlobalPlace& place, const char* file, u32 line, Buffer& buffer, u32 access_class);
void allow_here(SpakSharedPlace& place, const char* file, u32 line, u32 access_class);
void flush_logs(Warp& w);   // its lanes have met: what they have noted becomes requests
void flush_alike(Warp& w);  // the same where it makes no difference when
void count_notes(World& w);  // of threads that an aborted launch has left
void end_notes();           // of the launch: adds up what was counted, takes back what places were given

// global_memory.cpp
Buffer& find_buffer(const void* p, u64 bytes, bool write, u32 site);

// warp.cpp
bool meet(const char* op, u32 site, void* pointer = nullptr, const void* pointer2 = nullptr, u64 value = 0,
          u32 a = 0, u32 b = 0);
// Elements of 16 bits as floats: 'b' bf16, 'h' f16.
float to_float(char type, u16 bits);
void widen(char type, const u16* elements, u32 count, float* out);

// A matrix unit adds a step's products exactly and rounds their sum toward zero, not to the nearest. (The last
// bits of a device may still be others: it drops what lies far below the largest product.)
inline float toward_zero(double exact) {
  const float nearest = static_cast<float>(exact);
  u32 bits;
  memcpy(&bits, &nearest, 4);
  bits -= __builtin_fabs(static_cast<double>(nearest)) > __builtin_fabs(exact);
  float result;
  memcpy(&result, &bits, 4);
  return result;
}

// barrier.cpp
void order_together(Fiber* const* fibers, size_t n);
void release_barrier(Barrier& b);
void complete_cluster_barrier_if_due();

// async_copy.cpp, mbarrier.cpp, tma.cpp
void run_copies(Fiber& f, u32 up_to_epoch);
void run_arrival(size_t index);
void run_load(size_t index);
Mbarrier& find_mbarrier(Block& b, u32 address, u32 site);
void complete_phase_if_due(Mbarrier& m);
void finish_stores(Fiber& f, u32 up_to_epoch, bool read_only);

}  // namespace spak_emulator

#pragma GCC visibility pop
