// A compare and store without a locked instruction, which another thread can end from outside: restartable sequences (Linux 4.18;
// libc registers each thread for them) and their membarrier (5.10). The kernel ends the sequence, before its store, of a thread
// that loses its CPU in it, takes a signal, or runs when another asks for a fence.
// A forked child has what its parent had. The child of a vfork must not unlock: it has its parent's words, and no sequences.
// Callers: mutex.cc; run.cc, for open(). Invariant: while `area` is 0 no sequence begins; once set it stays.
#pragma once

#include "scheduler/stack_tools.h"

#include "allocator/base/os_calls.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <sys/rseq.h>

namespace warren::scheduler::restartable {

// Beside 2 to this power of locked instructions in place of sequences a fence is little: here it takes as long as 200 of them,
// more where the program has more processors at work. More: who has waited once pays for longer.
inline constexpr int kFenceWorthBits = 12;

// From the thread pointer to what a thread shares with the kernel, in bytes. 0: not to be had.
inline std::atomic<ptrdiff_t> area{0};

// Once a process, after os_calls::register_remote_fences(). Not under valgrind, where libc is refused.
inline void open() {
  // relaxed: see fence().
  if (stack_tools::kMayHideStores && __rseq_size != 0 && os_calls::fences_end_sequences())
    area.store(__rseq_offset, std::memory_order_relaxed);
}

// Stores `next` with release if the word holds `expected`. False, too, where the sequence was ended or cannot be had.
// What the kernel is told of the sequence stays when it is over: it looks at where the thread is as well.
[[gnu::always_inline]] inline bool compare_and_store(uint32_t &word, uint32_t expected, uint32_t next) {
  const ptrdiff_t to_area = area.load(std::memory_order_acquire);  // acquire: before the look at the word, see fence()
  if (__builtin_expect(to_area == 0, 0)) return false;
  asm goto(
      ".pushsection .data.rel.ro.rseq, \"aw\", @progbits\n\t"
      ".balign 32\n"
      "3:\t"
      ".long 0, 0\n\t"                 // version, flags
      ".quad 1f, 2f - 1f, 4f\n\t"      // start, length, where an ended sequence goes on
      ".popsection\n\t"
      ".pushsection .text.unlikely, \"ax\", @progbits\n\t"
      ".byte 0x0f, 0xb9, 0x3d\n\t"     // ud1: the signature is its operand
      ".long %c[signature]\n"
      "4:\t"
      "jmp %l[not_done]\n\t"
      ".popsection\n\t"
      "leaq 3b(%%rip), %%rax\n\t"
      "movq %%rax, %%fs:%c[sequence](%[to_area])\n"
      "1:\t"
      "cmpl %[expected], %[word]\n\t"
      "jne %l[not_done]\n\t"
      "movl %[next], %[word]\n"
      "2:"
      :
      : [to_area] "r"(to_area), [word] "m"(word), [expected] "ri"(expected), [next] "ri"(next),
        [sequence] "i"(offsetof(struct ::rseq, rseq_cs)), [signature] "i"(RSEQ_SIG)
      : "rax", "cc", "memory"
      : not_done);
  return true;
not_done:
  return false;
}

// The caller has changed a word by a locked instruction, with acquire. True: whoever had read it before in a sequence has stored,
// which the caller sees now, or never will. False: the kernel refuses what it has promised.
// `area` read as 0 after the change says as much: who reads the word in a sequence has read `area` before that, and not 0.
inline bool fence() {
  return area.load(std::memory_order_relaxed) == 0 || os_calls::fence_all_threads();
}

}  // namespace warren::scheduler::restartable
