// What every victim program of this directory shares: a scenario table with its main, checks that print
// and exit, cookies in blocks, and readings of /proc. Victims are run by lifecycle_test in a process each.
// Invariant: a victim exits 0 only after its scenario ran to its end; a hang becomes SIGALRM.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace victim {

struct Scenario {
  const char *name;
  void (*run)();
};

// main of a victim: plays the scenario named by argv[1] under a watchdog.
int play(int argc, char **argv, std::span<const Scenario> scenarios);

// The exit status of fail(); children of victims use it as well.
inline constexpr int kFailed = 1;
inline constexpr int kSkipped = 77;

[[noreturn]] void fail(const char *what, const char *file, int line);
[[noreturn]] void skip(const char *why);
#define VICTIM_CHECK(condition) ((condition) ? (void)0 : ::victim::fail(#condition, __FILE__, __LINE__))

// Calls the compiler cannot remove or pair up.
extern void *(*volatile take)(std::size_t);
extern void *(*volatile take_zeroed)(std::size_t, std::size_t);
extern void *(*volatile resize)(void *, std::size_t);
extern void (*volatile give_back)(void *);

// A block that remembers its size and a cookie at both ends (16 bytes at least).
void *make_cookie(std::size_t size, std::uint64_t cookie);
bool cookie_intact(const void *block);
std::size_t cookie_size(const void *block);
void check_and_free(void *block);

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15U + 1) {}
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(next() % bound); }
  // Mostly small, sometimes medium, rarely large.
  std::size_t block_size();

 private:
  std::uint64_t state_;
};

std::uint64_t seed();                // WARREN_SEED, or a fixed one; play() prints it
int scaled(int usual);               // more when WARREN_SOAK is set
bool control_run();                  // WARREN_CONTROL=1
std::size_t resident_kib();          // RSS now
int mapping_count();                 // lines of /proc/self/maps
double seconds_since_start();        // for loops bounded by time, never for assertions
std::size_t physical_block(void *);  // malloc_usable_size, opaque to the compiler

// A short burst of the whole family on the calling thread, all sizes, nothing left behind.
void exercise_heap(int rounds, std::uint64_t seed);

// Raises a signal again and again by a timer; the watchdog's SIGALRM stays out of it. Children of fork do
// not inherit the timer.
inline constexpr int kTick = 10;  // SIGUSR1
void tick_every(int microseconds, void (*handler)(int));
void stop_ticking();

// Waits for a child and fails unless it exited with 0.
void expect_child_succeeds(int pid);

}  // namespace victim
