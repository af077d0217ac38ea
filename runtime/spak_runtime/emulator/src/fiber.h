// Contexts: one stack per emulated thread, switched by hand on x86-64 (20 ns) and by ucontext elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__) && !defined(SPAK_EMU_UCONTEXT)
#define SPAK_EMU_UCONTEXT
#endif

#ifdef SPAK_EMU_UCONTEXT
#include <ucontext.h>
#endif

namespace spak_emulator {

constexpr size_t STACK_BYTES = 64 * 1024;

#ifdef SPAK_EMU_UCONTEXT

struct Context {
  ucontext_t state;
};
inline char* top_of_stack(char* stack, unsigned) { return stack + STACK_BYTES; }
inline void prepare_context(Context& c, char* stack, unsigned, void (*entry)()) {
  getcontext(&c.state);
  c.state.uc_stack.ss_sp = stack + 64;
  c.state.uc_stack.ss_size = STACK_BYTES - 64;
  c.state.uc_link = nullptr;
  makecontext(&c.state, entry, 0);
}
inline void switch_context(Context& from, Context& to) { swapcontext(&from.state, &to.state); }

#else

struct Context {
  void* stack_pointer = nullptr;
};

// Saves the registers that a called function must preserve, changes stacks, restores them (fiber.cpp).
extern "C" void spak_emu_switch(void** save, void* load);

// `stagger` moves the top of the stack, so that the hot ends of 32 stacks do not fall into one set of the L1
// cache.
inline char* top_of_stack(char* stack, unsigned stagger) { return stack + STACK_BYTES - 128 - (stagger % 32) * 1088; }
inline void prepare_context(Context& c, char* stack, unsigned stagger, void (*entry)()) {
  auto** top = reinterpret_cast<void**>(top_of_stack(stack, stagger));
  *--top = nullptr;  // where a return address of `entry` would be: keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(entry);
  top -= 6;
  for (int i = 0; i < 6; i++) top[i] = nullptr;
  c.stack_pointer = top;
}
inline void switch_context(Context& from, Context& to) {
  spak_emu_switch(&from.stack_pointer, to.stack_pointer);
}

#endif

}  // namespace spak_emulator
