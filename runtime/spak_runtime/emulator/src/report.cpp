// Source positions, errors, counters, and the text that goes back to Python.
#include <dlfcn.h>

#include <cstdarg>

#include "emulator.h"

namespace spak_emulator {

u32 new_site(const char* file, u32 line, u32 place) {
  const size_t size = launch->site_table.size();
  launch->sites.push_back({file, line});
  if (launch->sites.size() * 2 > size || launch->sites.size() > 0x7000) {
    report("emulator-limit", 0, 0, "more than %zu source positions call primitives", size / 2);
    fail();
  }
  launch->accesses.resize(launch->sites.size() * ACCESS_KINDS);
  return launch->site_table[place] = static_cast<u32>(launch->sites.size() - 1);
}

namespace {

// Walks the frame pointers of the running fiber. A primitive called by a helper of a shared header is
// reported at the helper's line; these addresses say who called the helper.
std::vector<u64> kernel_frames() {
  std::vector<u64> found;
  if (!world || !fiber) return found;
  Dl_info kernel, here;
  if (!dladdr(reinterpret_cast<void*>(launch->kernel), &kernel)) return found;
  const char* const bottom = world->stacks + STACK_BYTES * fiber->id;
  void** frame = static_cast<void**>(__builtin_frame_address(0));
  while (reinterpret_cast<char*>(frame) >= bottom &&
         reinterpret_cast<char*>(frame) < bottom + STACK_BYTES - 64 && found.size() < 8) {
    void* const address = frame[1];
    if (address && dladdr(address, &here) && here.dli_fbase == kernel.dli_fbase)
      found.push_back(reinterpret_cast<u64>(address) - reinterpret_cast<u64>(kernel.dli_fbase));
    void** const next = static_cast<void**>(frame[0]);
    if (next <= frame) break;
    frame = next;
  }
  return found;
}

}  // namespace

void report(const char* kind, u32 site, u32 other_site, const char* format, ...) {
  // Met again at the same places, a mistake is only counted; without a place its text tells it from others.
  char key[96], text[512];
  text[0] = 0;
  va_list arguments;
  if (site == 0) {
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
  }
  snprintf(key, sizeof key, "%s %u %u %.40s", kind, site, other_site, text);
  const auto found = launch->error_index.find(key);
  if (found != launch->error_index.end()) {
    launch->errors[found->second].count++;
    return;
  }
  if (launch->errors.size() >= 200) return;
  if (site != 0) {
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
  }
  launch->error_index[key] = launch->errors.size();
  const bool inside = world && fiber;
  launch->errors.push_back({kind, text, site, other_site, 1, inside ? this_block().linear : NONE,
                            inside ? fiber->view.thread : NONE, kernel_frames()});
}

namespace {

const char* const COUNTER_NAMES[COUNTERS] = {
    "switches",        "clusters",        "shared_accesses", "global_accesses",  "mma",
    "ldmatrix",        "stmatrix",        "wgmma",           "cp_async",         "tma_loads",
    "tma_stores",      "barriers",        "mbarrier_phases", "warp_collectives", "atomics",
    "semaphore_waits", "granules_checked"};

std::string clean(const std::string& s) {
  std::string r = s;
  for (char& c : r)
    if (c == '\t' || c == '\n') c = ' ';
  return r;
}

std::string place(u32 site) {
  if (site == 0 || site >= launch->sites.size()) return "\t0";
  return clean(launch->sites[site].file) + "\t" + std::to_string(launch->sites[site].line);
}

std::string frames(const Error& e) {
  std::string s;
  for (const u64 address : e.frames) s += (s.empty() ? "" : " ") + std::to_string(address);
  return s;
}

std::string optional(u32 n) { return n == NONE ? "-1" : std::to_string(n); }

}  // namespace

// One record a line, fields separated by tabs: error, buffer, access, visit, counter.
std::string serialise_report() {
  std::string out;
  for (const Error& e : launch->errors)
    out += "error\t" + e.kind + "\t" + place(e.site) + "\t" + place(e.other_site) + "\t" +
           std::to_string(e.count) + "\t" + optional(e.block) + "\t" + optional(e.thread) + "\t" + frames(e) +
           "\t" + clean(e.message) + "\n";
  for (const Buffer& b : launch->buffers)
    out += "buffer\t" + clean(b.name) + "\t" + std::to_string(b.bytes_read) + "\t" +
           std::to_string(b.bytes_written) + "\n";
  for (u32 i = 0; i < launch->accesses.size(); i++) {
    const AccessCount& a = launch->accesses[i];
    if (a.requests == 0) continue;
    out += std::string("access\t") + (i % ACCESS_KINDS == SHARED ? "shared" : "global") + "\t" +
           place(i / ACCESS_KINDS) + "\t" + std::to_string(a.requests) + "\t" + std::to_string(a.units) +
           "\t" + std::to_string(a.ideal) + "\t" + std::to_string(a.excess) + "\n";
  }
  for (u32 i = 1; i < launch->sites.size(); i++)
    if (launch->sites[i].visits) out += "visit\t" + place(i) + "\t" + std::to_string(launch->sites[i].visits) + "\n";
  for (u32 i = 0; i < COUNTERS; i++)
    out += std::string("counter\t") + COUNTER_NAMES[i] + "\t" + std::to_string(launch->counters[i]) + "\n";
  return out;
}

}  // namespace spak_emulator
