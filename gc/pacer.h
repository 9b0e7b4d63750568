// When a collection begins and how fast it goes on: Go's pacer (mgcpacer.go), for a heap that kernel threads share.
//
// The heap may grow by `percent` of what a full cycle has reached, up to the goal; in Go also of what was allocated meanwhile. A minor
// cycle (generations.h) makes room below that goal, and how much it scans is learnt apart. Marking begins
// at the trigger, so much before the goal as the program is expected to allocate while workers on a quarter of the processors mark.
// What these leave, the allocating threads do: for each byte taken they scan so much that marking ends when the heap reaches the goal.
//
//   bytes    0 ------- marked ------------ trigger --------- goal ---- hard goal
//                      live at the end     marking           marking   the goal of a heap that
//                      of the last cycle   begins            ends      grows while it is marked
//
// Nothing but arithmetic: no clock, no lock, no system call; times are nanoseconds, and the caller's.
// Caller: pacing.cc, one thread at a time; what allocating threads read of the results, it publishes.
// Invariant: marked <= trigger <= goal whenever marked <= goal, and every result is finite for every input.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warren::gc {

inline constexpr uint64_t kNever = ~uint64_t{0};  // a limit, goal or trigger that is not there

// A quarter of the processors, as in Go. More: cycles are shorter, and the program slower in them. Less: more of the
// marking is done by threads that wanted to allocate.
inline constexpr double kBackgroundShare = 0.25;

// Bytes that hold words to be looked at.
struct ScanBytes {
  uint64_t heap = 0;     // objects that may hold pointers
  uint64_t stacks = 0;
  uint64_t globals = 0;  // data segments, added roots
  uint64_t again = 0;    // objects scanned once more because their page was written to; unknown before it is done
  uint64_t total() const;
};

// What the memory limit is held against.
struct Footprint {
  uint64_t mapped = 0;      // all memory of this library that the kernel backs
  uint64_t free = 0;        // of it: free pages that have not been given back
  uint64_t heap_bytes = 0;  // of it: objects, swept or not
};

struct Targets {
  uint64_t trigger;
  uint64_t goal;
};

// Who marks in the background.
struct Workers {
  unsigned dedicated;  // threads that mark until the end
  double fractional;   // the share of one processor that Go gives to one more; 0: none. Here such a thread has no limit: cycle.cc
  unsigned idle;       // at most so many threads may mark where nothing else runs
};

// What a byte costs while marking is on.
struct Pace {
  double work_per_byte = 0;  // 0: nobody pays
  double bytes_per_work = 0;
  uint64_t goal = kNever;    // where the heap is to be when marking ends

  // So much is scanned at a time at least, so that not each small allocation pays: the rest is paid in advance.
  static constexpr uint64_t kLeastWork = 64 << 10;

  uint64_t work_for(uint64_t bytes) const;  // for a debt of so many bytes, rounded up; 0 when nobody pays
  uint64_t bytes_for(uint64_t work) const;  // what so much work pays for
};

class Pacer {
 public:
  explicit constexpr Pacer(int percent = 100, uint64_t limit = kNever) : percent_(percent < 0 ? -1 : percent), limit_(limit) {}

  // Both at any time, also while marking: then ask for targets(), and revise(), again. Negative: off.
  void set_percent(int percent) { percent_ = percent < 0 ? -1 : percent; }
  void set_limit(uint64_t limit) { limit_ = limit; }
  int percent() const { return percent_; }
  uint64_t limit() const { return limit_; }

  // Both move with the footprint when there is a limit. trigger <= goal.
  Targets targets(const Footprint &footprint) const;

  struct Start {
    uint64_t now = 0;
    uint64_t heap_live = 0;
    unsigned procs = 1;
    uint64_t globals = 0;  // bytes to be scanned there
    bool minor = false;
  };
  Workers start_cycle(const Start &start);

  // While marking: at its start, and then as the heap grows and work gets done.
  struct Progress {
    uint64_t heap_live = 0;
    ScanBytes scannable;     // at most so much is left and done; `again` is not asked
    ScanBytes done;
    bool is_limited = false; // CpuLimiter: nobody pays
  };
  Pace revise(const Progress &progress, const Footprint &footprint) const;

  struct End {
    uint64_t now = 0;
    uint64_t heap_live = 0;      // before dead objects are taken off
    uint64_t heap_marked = 0;    // what is left: marked, or allocated since marking began
    uint64_t heap_new = 0;       // of it: allocated since, and not known to be reachable
    ScanBytes done;
    uint64_t assist_time = 0;
    uint64_t background_time = 0;  // of dedicated and fractional workers; 0: not known, a quarter is assumed
    uint64_t idle_time = 0;
    bool minor = false;
    bool next_is_minor = false;  // or so it is meant
  };
  struct Summary {
    double utilization;  // share of the processors that marking took, without what was idle
    double cons_mark;    // of this cycle: bytes allocated for each byte scanned, with equal processor time
  };
  Summary end_cycle(const End &end);

  uint64_t heap_marked() const { return heap_marked_; }
  double cons_mark() const { return history().cons_mark; }
  bool is_marking() const { return triggered_ != kNever; }

 private:
  uint64_t percent_goal() const;
  uint64_t limit_goal(const Footprint &footprint) const;
  uint64_t heap_goal(const Footprint &footprint) const;
  uint64_t runway() const;

  static constexpr unsigned kHistory = 4;

  // Of the cycles of one kind.
  struct History {
    bool known = false;    // one has ended
    ScanBytes scan;        // done in the last one; globals are those of the current cycle
    double cons_mark = 0;  // the greatest of the last ones
    double past_cons_mark[kHistory] = {};
  };
  // What to go by for the cycle that comes, or goes on. Before the first minor one, it is taken to be half of a full one.
  const History &history() const { return minor_ && minor_history_.known ? minor_history_ : full_history_; }
  uint64_t expected_scan() const;

  int percent_;
  uint64_t limit_;
  uint64_t heap_marked_ = 0;
  uint64_t full_marked_ = 0;        // by the last full cycle, or the least since
  uint64_t full_new_ = 0;
  History full_history_, minor_history_;
  bool minor_ = false;              // the cycle that comes, or goes on
  uint64_t triggered_ = kNever;     // live heap when marking began; kNever: not marking
  uint64_t started_ = 0;
  unsigned procs_ = 1;
};

// Work that background workers have done and that nobody has paid for with an allocation yet.
// Any thread, at any time. Invariant: never less than nothing.
class ScanCredit {
 public:
  // All relaxed: a sum that no other memory hangs on.
  void add(uint64_t work) { work_.fetch_add(work, std::memory_order_relaxed); }
  uint64_t take(uint64_t wanted);  // up to `wanted`
  void reset() { work_.store(0, std::memory_order_relaxed); }
  uint64_t load() const { return work_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> work_{0};
};

// Keeps the collector from taking more than half of the processors for long, which is what happens when the live heap
// comes near to the memory limit: then the limit gives way. A bucket of one second for each processor, filled by
// collector time and drained by program time. A thread that pays looks at it between portions of work, and leaves the
// rest when it limits.
// Caller: pacing.cc, which hands is_limiting() to the pacer. Invariant: limits while the bucket is full. (Go's forgets what does
// not fit; ours holds an eighth more, or intervals of very different shares would come to more than a half.)
class CpuLimiter {
 public:
  explicit constexpr CpuLimiter(unsigned procs) : procs_(procs == 0 ? 1 : procs), capacity_(procs_ * kSecond) {}
  void resize(unsigned procs);

  // Processor time that the process has had so far, and what the collector had of it since the last call. What passes between
  // cycles is the program's.
  void note(uint64_t process_time, uint64_t collector_time);
  bool is_limiting() const { return fill_ >= capacity_; }
  uint64_t overflow() const { return overflow_; }  // collector time that the bucket did not hold

 private:
  static constexpr uint64_t kSecond = 1'000'000'000;
  uint64_t most_fill() const { return capacity_ + capacity_ / 8; }

  unsigned procs_ = 1;
  uint64_t capacity_ = kSecond;
  uint64_t noted_ = 0;
  uint64_t fill_ = 0;
  uint64_t overflow_ = 0;
};

}  // namespace warren::gc
