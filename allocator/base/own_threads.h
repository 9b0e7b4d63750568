// The runtime's threads that libc counts: those of pthread_create. libc ends a process whose main thread has called pthread_exit when
// the last of its threads goes; ours never go. So whoever has one says so, and says when it rests; gc/last_thread.cc ends the process
// in libc's place when the program has no thread any more. The scavenger's thread is none of these: libc does not know it.
//
// Callers: whoever makes such a thread; allocator/thread.cc tells of the main thread's end. Invariant: what is not known to be at rest
// counts as a thread of the program's, also in the child of a fork that no handler has seen.
#pragma once

#include <atomic>
#include <cstdint>

namespace warren {

// One thread of ours, or one after the other. It stays for good: who looks may have it in hand at any time.
class OwnThread {
 public:
  constexpr OwnThread() = default;
  OwnThread(const OwnThread &) = delete;
  OwnThread &operator=(const OwnThread &) = delete;

  // By the thread itself, before anything else. It works.
  void begin();

  // By the thread itself: from rest() to work() it runs nothing of the program's, and has nothing of its to do. With call(), by whoever
  // gives it something to do, it works from there to the end of that round: it says work(), looks for what there is to do, and rests.
  void rest() {
    uint64_t working = kWorks;
    // relaxed: this thread wrote it.
    resting_.compare_exchange_strong(working, self_.load(std::memory_order_relaxed), std::memory_order_seq_cst);  // fails: it was called
  }
  void work() { resting_.exchange(kWorks, std::memory_order_seq_cst); }  // after call(): sees what was given
  void call() { resting_.store(kCalled, std::memory_order_seq_cst); }

  // By the thread itself, where it may end. It is none of ours from here on: its number may be another's.
  void end() { self_.store(0, std::memory_order_relaxed); }  // relaxed: its thread is in no list of the process's afterwards

 private:
  friend class OwnThreads;
  static constexpr uint64_t kWorks = 0, kCalled = 1;

  std::atomic<uint64_t> resting_{kWorks};  // or who it is that rests: the process's id and the thread's
  std::atomic<uint64_t> self_{0};          // what that is
  OwnThread *next_ = nullptr;
  bool listed_ = false;
};

class OwnThreads {
 public:
  // Before one is made.
  static void announce();

  // The main thread is about to end. On it, in the last of its code.
  static void main_ends();

  // What to call, once in a process, when its main thread has ended and there is a thread of ours, whichever comes second; on the
  // thread by which it does. It returns false if it could not do its part. Set before the first is announced.
  static std::atomic<bool (*)()> watch;

  // Whether thread `id` of `process` is one of ours and rests.
  static bool is_resting(uint64_t process, uint32_t id);

  // Whether it is one of ours. One that has just begun may not be listed yet.
  static bool is_one(uint64_t process, uint32_t id);

  // Whether a filter of system calls has been set since the first was announced: it may have made clone a capital offence.
  static bool filtered_since();
};

}  // namespace warren
