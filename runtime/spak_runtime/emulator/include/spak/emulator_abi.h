// The C interface between a kernel built for the CPU and the emulator's runtime library.
// Every call that can fail ends with the source position it was written at (SPAK_AT).
#pragma once

#define SPAK_AT const char *file, unsigned line

extern "C" {

using SpakWord = __UINT64_TYPE__;

// What the running thread knows about itself. The scheduler points it at the current thread.
struct SpakThread {
  unsigned thread, lane, warp, rank, threads, shared_base;
  unsigned block[3], grid[3];
  // For loads that are judged where they stand (emulator_loads.h).
  SpakWord *next, *end;          // where the thread notes its next access, and where its room ends
  unsigned char* shared;                   // its block's shared memory, from shared_base on
  unsigned shared_bytes;                   // how much of it may be judged so: nothing where no race is looked for
  const unsigned* known;                   // its clock: up to which epoch of each actor it comes after
  SpakWord *written, *readers;   // the shadow of shared memory: by granules of 2 bytes
  SpakWord *reads, warp_bit;     // what its warp has read there, and its warp among readers
  SpakWord stamp;                // actor << 48 | epoch, as its reads are stamped
};
extern SpakThread* spak_emu_thread;

// What SPAK_KERNEL says about a launch; exported by the kernel as <name>_launch_record.
struct SpakLaunchRecord {
  unsigned params_bytes, threads, min_blocks, cluster[3];
};

// What the library lets a place of the source judge by itself, until the launch ends. A note is a number of 16 bits above
// the 48 of an address: what kind of access at which place.
struct SpakRegion {
  SpakWord first, room, note;  // `first` is a multiple of the access's size, and so many may follow one another there
};
struct SpakGlobalPlace {
  const char* file;
  unsigned line, taken;  // taken: how often a region has been given to it
  SpakRegion regions[3];  // A product and its addend are often read by one line of a helper
};
struct SpakSharedPlace {
  const char* file;
  unsigned line;
  SpakWord note, stamp;  // stamp: the place << 32
};

void spak_emu_register_fault(unsigned index, unsigned size);

void spak_emu_global_load(const void* p, unsigned bytes, void* out, int readonly, SpakGlobalPlace* place, SPAK_AT);
void spak_emu_global_store(void* p, unsigned bytes, const void* value, SPAK_AT);
void spak_emu_shared_load(unsigned a, unsigned bytes, void* out, SpakSharedPlace* place, SPAK_AT);
void spak_emu_shared_store(unsigned a, unsigned bytes, const void* value, SPAK_AT);
void spak_emu_remote_load(unsigned a, unsigned rank, unsigned bytes, void* out, SPAK_AT);
void spak_emu_remote_store(unsigned a, unsigned rank, unsigned bytes, const void* value, SPAK_AT);

// Atomics. `op` is one of the letters below; `type` one of f (f32), i (i32), u (u32), l (u64). `old` receives
// the value before. order: 0 relaxed, 1 acquire and release.
//   '+' add, 'M' max, 'X' exchange, 'C' compare and exchange (operand2 = expected)
void spak_emu_global_atomic(void* p, char op, char type, const void* operand, const void* operand2, void* old,
                            int order, SPAK_AT);
void spak_emu_shared_atomic_add(unsigned a, char type, const void* operand, void* old, SPAK_AT);
void spak_emu_semaphore_wait(const void* p, unsigned value, SPAK_AT);
void spak_emu_semaphore_release(void* p, unsigned value, SPAK_AT);
void spak_emu_fence(int device_scope, SPAK_AT);

void spak_emu_cp_async(unsigned dst, const void* src, unsigned size, unsigned bytes, SPAK_AT);
void spak_emu_cp_async_commit(SPAK_AT);
void spak_emu_cp_async_wait(unsigned pending, SPAK_AT);
void spak_emu_cp_async_mbarrier_arrive(unsigned a, SPAK_AT);

void spak_emu_barrier(unsigned id, unsigned threads, int wait, SPAK_AT);
void spak_emu_sync_warp(unsigned mask, SPAK_AT);
// mode: 'i' lane, 'x' xor, 'u' up, 'd' down. The value has 4 or 8 bytes.
unsigned long long spak_emu_shuffle(unsigned long long value, unsigned operand, char mode, SPAK_AT);
unsigned spak_emu_ballot(int predicate, SPAK_AT);
int spak_emu_elect(SPAK_AT);
unsigned spak_emu_warp_index(SPAK_AT);
void spak_emu_cluster_arrive(SPAK_AT);
void spak_emu_cluster_wait(SPAK_AT);
void spak_emu_grid_dependency_wait(SPAK_AT);

void spak_emu_ldmatrix(unsigned* r, unsigned address, unsigned count, int transposed, SPAK_AT);
void spak_emu_stmatrix(unsigned address, const unsigned* r, unsigned count, int transposed, SPAK_AT);
// type: 'b' bf16, 'h' f16.
void spak_emu_mma(float* d, const unsigned* a, unsigned b0, unsigned b1, char type, SPAK_AT);

void spak_emu_mbarrier_init(unsigned a, unsigned count, SPAK_AT);
void spak_emu_mbarrier_init_fence(SPAK_AT);
// rank < 0: this block. arrivals is 0 or 1; bytes are added to the phase's expectation first.
void spak_emu_mbarrier_arrive(unsigned a, int rank, unsigned arrivals, unsigned bytes, SPAK_AT);
void spak_emu_mbarrier_wait(unsigned a, unsigned parity, SPAK_AT);
void spak_emu_fence_proxy_async(int shared_only, SPAK_AT);
void spak_emu_register_budget(unsigned count, int increase, SPAK_AT);

// mask 0: this block only.
void spak_emu_tma_load(unsigned dst, const void* map, unsigned barrier, const int* c, unsigned rank,
                       unsigned mask, SPAK_AT);
void spak_emu_tma_store(const void* map, unsigned src, const int* c, unsigned rank, int reduce_add, SPAK_AT);
void spak_emu_bulk_load(unsigned dst, const void* src, unsigned bytes, unsigned barrier, SPAK_AT);
void spak_emu_bulk_store(void* dst, unsigned src, unsigned bytes, int reduce_add_f32, SPAK_AT);
void spak_emu_tma_commit(SPAK_AT);
void spak_emu_tma_wait(unsigned pending, int read_only, SPAK_AT);

void spak_emu_register_pin(const float* d, SPAK_AT);
void spak_emu_wgmma_fence(SPAK_AT);
// registers = N / 2. a is null for an A operand in shared memory.
void spak_emu_wgmma(float* d, unsigned registers, const unsigned* a, unsigned long long descriptor_a,
                    unsigned long long descriptor_b, int accumulate, char type, int a_mn, int b_mn, SPAK_AT);
void spak_emu_wgmma_commit(SPAK_AT);
void spak_emu_wgmma_wait(unsigned pending, SPAK_AT);

}  // extern "C"

// The two spellings of SPAK_AT in the primitives: the defaulted parameters, and passing them on.
#define SPAK_HERE const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()
#define SPAK_PASS file, line
