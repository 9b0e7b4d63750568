// The signal that stops threads: which one, who handles it, and how the program's signal masks are kept open for it.
// Callers: threads.cc, last_thread.cc; preload/signal_masks.cc, waiting_calls.cc; scheduler/kernel_threads.cc (which signals).
// Invariant: a signal is taken only while its action is the default, and given up when the program installs a handler of its own.
#pragma once

#include "allocator/base/os_calls.h"

#include <csignal>
#include <cstdint>

namespace warren::gc::stop_signal {

// It is one of these, the highest that is free. Programs count from SIGRTMIN up, and some down from SIGRTMAX; valgrind
// keeps the last for itself, libc the first two.
inline constexpr int kHighest = 60, kLowest = 36;

constexpr uint64_t bit_of(int signal) { return uint64_t{1} << (signal - 1); }

// What no thread should block: libc's two, without which setuid waits for ever, and faults, which end the process when they are blocked.
inline constexpr uint64_t kNeverBlocked = uint64_t{3} << 31 | bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGFPE) | bit_of(SIGILL) |
  bit_of(SIGTRAP) | bit_of(SIGSYS);

// Installs `handler` for a free signal. False: there is none.
bool take(os_calls::SignalHandler handler);

// Whether the signal is still ours. If not, take() anew.
bool ours();

// 0 while the collector sleeps.
int number();

// Takes the signal out of what the thread blocks, by another one that libc lets no mask hold (the one by which setuid reaches all
// threads; its handler goes on to libc's). For masks from before take(), and those of handlers and calls that no wrapper has seen. False:
// libc does not use that signal yet, or the thread blocks it, too.
bool open_in(uint32_t thread, uint64_t blocked);

// Marks the siginfo of the signals that we send.
inline constexpr int kCode = -0x5747;

// The signal's bit in a kernel's signal set, 0 while the collector sleeps. For masks that would keep it out.
inline uint64_t bit() { return number() == 0 ? 0 : bit_of(number()); }

}  // namespace warren::gc::stop_signal
