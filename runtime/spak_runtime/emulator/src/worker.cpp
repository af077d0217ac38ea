// Isolation: launches run in a process of their own, so that a kernel that crashes, overruns its stack or never ends
// fails its case and nothing else. The process is a fork of this one and stays for the launches that follow; what it
// has touched once (stacks, shadows, clocks) costs nothing any more. After a launch with a mistake it ends, for then its
// state may be anything, and the next launch gets another.
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "launch.h"

namespace spak_emulator {

namespace {

constexpr u64 ARENA_BYTES = 256u << 20;  // of address space; a launch that needs more gets more
constexpr int LOOK_MILLISECONDS = 1000;

struct Worker {
  pid_t owner = 0, process = 0;  // of another owner: inherited by a fork, and not ours to use
  int channel = -1;
  Arena arena;
};
Worker worker;

// ---- in the worker ----

// Runs on its own stack and allocates nothing: the heap may be in any state.
void on_signal(int signal) {
  const Site where = fiber && launch ? launch->sites[last_site(*fiber)] : Site{"", 0};
  const unsigned block = fiber && world ? this_block().linear : 0, thread = fiber ? fiber->view.thread : 0;
  char message[160];
  if (signal == SIGALRM)
    snprintf(message, sizeof message, "not finished after %u s (the line is that of the last primitive)",
             launch ? launch->options.timeout_seconds : 0);
  else
    snprintf(message, sizeof message, "signal %d (the line is that of the thread's last primitive)", signal);
  snprintf(reinterpret_cast<char*>(worker.arena.base), REPORT_BYTES,
           "error\t%s\t%s\t%u\t\t0\t1\t%u\t%u\t\t%s\n", signal == SIGALRM ? "timeout" : "crash", where.file,
           where.line, block, thread, message);
  _exit(3);
}

void install_handlers() {
  static char stack[64 * 1024];
  stack_t alternate = {};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGALRM})
    sigaction(signal, &action, nullptr);
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Nothing of what the owner has open is held open: whoever reads its output must see it end.
void let_go_of_files(int keep) {
  const int nowhere = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(nowhere, fd);
  const long most = sysconf(_SC_OPEN_MAX);
  for (int fd = 3; fd < (most > 0 && most < 4096 ? most : 4096); fd++)
    if (fd != keep) close(fd);
}

// Whether all went well. The report's text stands at the beginning of the arena.
bool serve(LaunchSpec& s) {
  void* const library = dlopen(s.library, RTLD_NOW | RTLD_LOCAL);
  if (!library) return false;
  s.kernel = reinterpret_cast<void (*)(const void*)>(dlsym(library, s.entry));
  s.record = static_cast<const SpakLaunchRecord*>(
      dlsym(library, (std::string(s.entry) + "_launch_record").c_str()));
  if (!s.kernel || !s.record) return false;
  alarm(s.options.timeout_seconds);
  const std::string text = run_launch(s, true);
  alarm(0);
  const size_t n = std::min<size_t>(text.size(), REPORT_BYTES - 1);
  memcpy(worker.arena.base, text.data(), n);
  worker.arena.base[n] = 0;
  dlclose(library);
  return text.compare(0, 6, "error\t") != 0;
}

[[noreturn]] void work(int channel, pid_t owner) {
  let_go_of_files(channel);
  install_handlers();
  for (;;) {
    pollfd waiting{channel, POLLIN, 0};
    if (poll(&waiting, 1, LOOK_MILLISECONDS) <= 0) {
      if (getppid() != owner) _exit(0);
      continue;
    }
    LaunchSpec* asked = nullptr;
    if (read(channel, &asked, sizeof asked) != sizeof asked) _exit(0);
    const char fine = serve(*asked);
    if (write(channel, &fine, 1) != 1 || !fine) _exit(0);
  }
}

// ---- in its owner ----

void forget() {
  if (worker.channel >= 0) close(worker.channel);
  worker.arena.free();
  worker = Worker();
}

int end_worker() {
  int status = 0;
  close(worker.channel);
  worker.channel = -1;
  while (waitpid(worker.process, &status, 0) < 0 && errno == EINTR) {
  }
  forget();
  return status;
}

bool start(u64 bytes) {
  int ends[2];
  if (!worker.arena.allocate(bytes)) return false;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return false;
  const pid_t owner = getpid(), child = fork();
  if (child == 0) work(ends[1], owner);
  close(ends[1]);
  worker.channel = ends[0];
  worker.owner = owner;
  worker.process = child;
  return child > 0;
}

// A worker with an arena as large as that; false where the system has none.
bool have_worker(u64 bytes) {
  if (worker.owner != getpid()) forget();
  if (worker.process > 0 && worker.arena.bytes < bytes) end_worker();
  if (worker.process > 0) return true;
  if (start(std::max(bytes, ARENA_BYTES))) return true;
  forget();
  return false;
}

bool ask(const LaunchSpec* placed) {
  return send(worker.channel, &placed, sizeof placed, MSG_NOSIGNAL) == sizeof placed;
}

char answer() {
  char fine = 0;
  ssize_t n;
  while ((n = recv(worker.channel, &fine, 1, 0)) < 0 && errno == EINTR) {
  }
  return n == 1 && fine;
}

std::string failed(const std::string& why) { return "error\tcrash\t\t0\t\t0\t1\t-1\t-1\t\t" + why + "\n"; }

}  // namespace

std::string run_isolated(const LaunchSpec& s) {
  const u64 bytes = arena_bytes(s);
  if (!have_worker(bytes)) return failed("no memory or no process for the launch");
  LaunchSpec* placed = place(s, worker.arena);
  worker.arena.base[0] = 0;
  if (!ask(placed)) {  // somebody ended it meanwhile
    end_worker();
    if (!have_worker(bytes)) return failed("no memory or no process for the launch");
    placed = place(s, worker.arena);
    worker.arena.base[0] = 0;
    if (!ask(placed)) return failed("the emulator's process takes no launch");
  }
  const bool fine = answer();
  copy_back(s, *placed);
  std::string text(reinterpret_cast<const char*>(worker.arena.base));
  if (fine) return text;
  const int status = end_worker();
  return text.empty() ? failed("the emulator's process ended with status " + std::to_string(status)) : text;
}

}  // namespace spak_emulator
