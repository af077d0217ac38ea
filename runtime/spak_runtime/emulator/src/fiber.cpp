// The switch between two stacks on x86-64. It keeps neither a signal mask nor floating-point control words:
// kernels change neither, and saving them is what makes ucontext thirty times slower.
#include "fiber.h"

#ifndef SPAK_EMU_UCONTEXT
asm(R"(
.text
.globl spak_emu_switch
.type spak_emu_switch,@function
spak_emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size spak_emu_switch,.-spak_emu_switch
)");
#endif
