// See fatal.h. Works with any lock held, in a signal handler, with stderr closed.
#include "allocator/base/fatal.h"

#include "allocator/base/annotations.h"
#include "allocator/base/log.h"

#include <atomic>
#include <csignal>
#include <cstdlib>

namespace warren::fatal {
namespace {

std::atomic<bool> aborts{true};  // relaxed: written while options are read, before misuse is likely

std::atomic<void *> dying{nullptr};  // relaxed: only compared with the reader's own identity

// Ends the process. A handler of SIGABRT may fall over the same block again: the second time the signal is not
// handled any more, and nothing is said.
[[noreturn]] void die(LogLine &text) {
  void *self = __builtin_thread_pointer();
  if (dying.exchange(self, std::memory_order_relaxed) == self) {
    signal(SIGABRT, SIG_DFL);
  } else {
    text.write_to(2);
  }
  std::abort();
}

// A user's error: prints, and returns only with abort_on_error=0.
class Misuse {
 public:
  Misuse(const char *fault, const char *function, const void *pointer) {
    line_ << (fatal_ ? "warren: fatal error: " : "warren: error: ") << fault << ": " << function << "(" << pointer << "): ";
  }
  ~Misuse() {
    line_ << (fatal_ ? "; aborting" : "; ignored");
    if (fatal_) die(line_);
    line_.write_to(2);
  }
  Misuse(const Misuse &) = delete;
  Misuse &operator=(const Misuse &) = delete;
  LogLine &why() { return line_; }

 private:
  LogLine line_;
  bool fatal_ = aborts.load(std::memory_order_relaxed);
};

}  // namespace

WARREN_COLD void double_free_block(const char *function, const void *pointer, size_t block_size) {
  Misuse("double free", function, pointer).why() << "this block of " << block_size << " bytes is already free";
}

WARREN_COLD void double_free_pages(const char *function, const void *pointer) {
  Misuse("double free", function, pointer).why() << "the pages it points into are already free";
}

WARREN_COLD void double_free_raced(const void *pointer, size_t block_size) {
  Misuse("double free", "free", pointer).why()
      << "two threads freed this block of " << block_size << " bytes at the same time and it is in use again";
}

WARREN_COLD void interior_pointer(const char *function, const void *pointer, size_t offset, size_t block_size) {
  Misuse("invalid pointer", function, pointer).why()
      << "it points " << offset << " bytes into a block of " << block_size << " bytes";
}

WARREN_COLD void misaligned_pointer(const char *function, const void *pointer) {
  Misuse("invalid pointer", function, pointer).why() << "no block of this heap starts at such an address";
}

WARREN_COLD void collected_object(const char *function, const void *pointer) {
  Misuse("invalid pointer", function, pointer).why() << "the collector's heap has this address: wr_gc_free() releases its objects";
}

WARREN_COLD void not_collected(const char *function, const void *pointer) {
  Misuse("invalid pointer", function, pointer).why() << "no live object of the collector's heap starts there";
}

WARREN_COLD void unused_pages(const char *function, const void *pointer) {
  Misuse("invalid pointer", function, pointer).why() << "the heap has never handed out this page";
}

WARREN_COLD void foreign_pointer(const char *function, const void *pointer) {
  Misuse("foreign pointer", function, pointer).why() << "this address is not in warren's heap";
}

WARREN_COLD void write_after_free(const void *object, size_t size, size_t offset) {
  Misuse("write after free", "gc_poison", object).why()
      << "byte " << offset << " of this free object of " << size << " bytes was written to";
}

WARREN_COLD void missed_mark(const void *object, size_t size, const void *reached_from) {
  LogLine text;
  text << "warren: fatal error: gc_verify: the word at " << reached_from << " reaches the object " << object << " of " << size
       << " bytes, which the cycle has not marked; aborting";
  die(text);
}

WARREN_COLD void check_failed(const char *condition, const char *file, int line) {
  LogLine text;
  text << "warren: fatal error: check failed: " << condition << " at " << file << ":" << uint64_t(line) << "; aborting";
  die(text);
}

WARREN_COLD void lock_order(const char *taking, uint64_t held_ranks) {
  LogLine text;
  text << "warren: fatal error: lock order: taking " << taking << " while holding " << held_ranks << "; aborting";
  die(text);
}

WARREN_COLD void no_bad_alloc(const char *why) {
  LogLine text;
  text << "warren: fatal error: no std::bad_alloc: " << why << "; aborting";
  die(text);
}

WARREN_COLD void no_next_function(const char *name) {
  LogLine text;
  text << "warren: fatal error: no next malloc: the process has no other " << name << " to pass the call on to; aborting";
  die(text);
}

void set_abort_on_error(bool abort_on_error) { aborts.store(abort_on_error, std::memory_order_relaxed); }

}  // namespace warren::fatal
