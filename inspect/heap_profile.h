// The heap profile: which stacks allocate, and which of that is still there, from samples that stand for all bytes.
// An allocation of `size` bytes is sampled with the chance p = 1 - exp(-size / rate) (each byte as likely as any other), and
// counts for 1 / p allocations. So sums over many samples are right for every size, however rarely it is sampled.
//
// Callers: preload/ starts it and asks for files; allocator/sampling.h tells it of blocks.
// Invariant: what a stack has in use is the sum over the samples in the table of live ones.
#pragma once

#include <cstdint>

namespace warren::inspect::heap_profile {

// Sampling begins: with the options prof and heap_dump, or when the program asks. 0 leaves the option prof_rate as it is.
void start(uint64_t rate);
void stop();
bool has_started();

// Which of a file's sums are shown first: what is in use, or all that was ever allocated, which is what is left to look at when
// a program ends.
enum class View : uint8_t { kInUse, kAllocated };

// Writes all that is known. 0 or errno; ENODATA when it was never started. Waits for another thread's dump.
int dump(const char *path, View view);

// What the options ask for: files when the program ends, by a signal, from time to time; and for heap dumps, which say where some
// of the objects were allocated, samples alone.
void set_up_from_options();
void dump_at_exit();

// Nanoseconds of a clock that does not stand still, to some milliseconds: reading it is as cheap as can be. Page runs are stamped
// with it in kStampUnits (page_heap.h), as it was at the last sample.
uint64_t now();
inline constexpr uint64_t kStampUnit = 10'000'000;

// The samples that live, while nothing changes: in a copy of the process that was made while it stood still. Takes no lock.
struct LiveSample {
  uintptr_t block;
  uint64_t size;
  uint64_t born;  // now(), then
  uint32_t stack;
  float weight;  // allocations that it stands for
};
void for_each_live(void (*visit)(const LiveSample &sample, void *context), void *context);

void lock_for_fork();
void unlock_after_fork(bool in_child);

}  // namespace warren::inspect::heap_profile
