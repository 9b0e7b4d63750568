// Every fatal text, letter by letter, and how the process ends: allocator/base/fatal.h, check.h.
// Run by base_test. Invariant: stderr of the dying process is compared whole; the signal is SIGABRT.
#include "allocator/base/check.h"
#include "allocator/base/fatal.h"
#include "tests/allocator/base/captured_fd.h"

#include <csignal>
#include <string>

namespace warren {
namespace {

using ::testing::Eq;
using ::testing::KilledBySignal;

const void *at(uintptr_t address) { return reinterpret_cast<const void *>(address); }

#define EXPECT_FATAL(statement, text) \
  EXPECT_EXIT(statement, KilledBySignal(SIGABRT), Eq(std::string("warren: fatal error: ") + (text) + "; aborting\n"))

TEST(FatalDeathTest, DoubleFrees) {
  EXPECT_FATAL(fatal::double_free_block("free", at(0x55d0c0ffee00), 48),
               "double free: free(0x55d0c0ffee00): this block of 48 bytes is already free");
  EXPECT_FATAL(fatal::double_free_pages("realloc", at(0x1000)),
               "double free: realloc(0x1000): the pages it points into are already free");
  EXPECT_FATAL(
      fatal::double_free_raced(at(0x1010), 16),
      "double free: free(0x1010): two threads freed this block of 16 bytes at the same time and it is in use again");
}

TEST(FatalDeathTest, InvalidPointers) {
  EXPECT_FATAL(fatal::interior_pointer("free", at(0x1238), 8, 4096),
               "invalid pointer: free(0x1238): it points 8 bytes into a block of 4096 bytes");
  EXPECT_FATAL(fatal::misaligned_pointer("malloc_usable_size", at(0x1)),
               "invalid pointer: malloc_usable_size(0x1): no block of this heap starts at such an address");
  EXPECT_FATAL(fatal::collected_object("free", at(0x2000)),
               "invalid pointer: free(0x2000): the collector's heap has this address: wr_gc_free() releases its objects");
  EXPECT_FATAL(fatal::not_collected("wr_gc_free", at(0x2000)),
               "invalid pointer: wr_gc_free(0x2000): no live object of the collector's heap starts there");
  EXPECT_FATAL(fatal::unused_pages("free", at(0x2000)),
               "invalid pointer: free(0x2000): the heap has never handed out this page");
}

TEST(FatalDeathTest, OfTheCollector) {
  EXPECT_FATAL(fatal::write_after_free(at(0x1000), 48, 16),
               "write after free: gc_poison(0x1000): byte 16 of this free object of 48 bytes was written to");
  EXPECT_FATAL(fatal::missed_mark(at(0x1000), 48, at(0x2008)),
               "gc_verify: the word at 0x2008 reaches the object 0x1000 of 48 bytes, which the cycle has not marked");
}

TEST(FatalDeathTest, ForeignPointers) {
  EXPECT_FATAL(fatal::foreign_pointer("free", at(0x7ffc12345678)),
               "foreign pointer: free(0x7ffc12345678): this address is not in warren's heap");
  EXPECT_FATAL(fatal::foreign_pointer("free", at(~uintptr_t{0})),
               "foreign pointer: free(0xffffffffffffffff): this address is not in warren's heap");
}

TEST(FatalDeathTest, OurOwnErrors) {
  EXPECT_FATAL(fatal::check_failed("a == b", "some/file.cc", 12), "check failed: a == b at some/file.cc:12");
  EXPECT_FATAL(fatal::lock_order("central", 4096), "lock order: taking central while holding 4096");
  EXPECT_FATAL(fatal::no_bad_alloc("there is no C++"), "no std::bad_alloc: there is no C++");
  EXPECT_FATAL(fatal::no_next_function("memalign"),
               "no next malloc: the process has no other memalign to pass the call on to");
}

TEST(FatalDeathTest, ALongConditionIsCutAndStillEndsTheProcess) {
  const std::string condition(2000, 'c');
  const std::string whole = "warren: fatal error: check failed: " + condition;
  EXPECT_EXIT(fatal::check_failed(condition.c_str(), "f", 1), KilledBySignal(SIGABRT), Eq(whole.substr(0, 511) + "\n"));
}

TEST(FatalDeathTest, StderrMayBeClosed) {
  EXPECT_EXIT(
      {
        close(STDERR_FILENO);
        fatal::foreign_pointer("free", at(0x10));
      },
      KilledBySignal(SIGABRT), Eq(std::string()));
}

TEST(FatalDeathTest, AHandlerThatErrsAgainEndsTheProcessWithoutASecondLine) {
  EXPECT_EXIT(
      {
        signal(SIGABRT, [](int) { fatal::double_free_pages("free", at(0x20)); });
        fatal::foreign_pointer("free", at(0x10));
      },
      KilledBySignal(SIGABRT),
      Eq(std::string(
          "warren: fatal error: foreign pointer: free(0x10): this address is not in warren's heap; aborting\n")));
}

TEST(FatalDeathTest, CheckNamesTheConditionAndThePlace) {
  const int one = 1;
  const int line = __LINE__ + 1;
  EXPECT_FATAL(CHECK(one == 2), "check failed: one == 2 at " __FILE__ ":" + std::to_string(line));
}

TEST(FatalDeathTest, DebugChecksAreForDebugBuilds) {
  const int line = __LINE__ + 2;
  if (kDebug) {
    EXPECT_FATAL(DCHECK(false), "check failed: false at " __FILE__ ":" + std::to_string(line));
  } else {
    int asked = 0;
    DCHECK(++asked == 2);
    EXPECT_EQ(asked, 0) << "not even evaluated";
  }
}

TEST(Fatal, AChecksConditionIsEvaluatedOnce) {
  int asked = 0;
  CHECK(++asked == 1);
  EXPECT_EQ(asked, 1);
}

TEST(Fatal, WithAbortOnErrorOffTheUsersErrorsReturn) {
  fatal::set_abort_on_error(false);
  CapturedFd captured;
  fatal::double_free_block("free", at(0x10), 16);
  fatal::double_free_pages("free", at(0x20));
  fatal::double_free_raced(at(0x30), 32);
  fatal::interior_pointer("realloc", at(0x41), 1, 64);
  fatal::misaligned_pointer("free", at(0x51));
  fatal::unused_pages("free", at(0x60));
  fatal::foreign_pointer("malloc_usable_size", at(0x70));
  const std::string text = captured.text();
  fatal::set_abort_on_error(true);
  EXPECT_EQ(
      text,
      "warren: error: double free: free(0x10): this block of 16 bytes is already free; ignored\n"
      "warren: error: double free: free(0x20): the pages it points into are already free; ignored\n"
      "warren: error: double free: free(0x30): two threads freed this block of 32 bytes at the same time and it is in use again; ignored\n"
      "warren: error: invalid pointer: realloc(0x41): it points 1 bytes into a block of 64 bytes; ignored\n"
      "warren: error: invalid pointer: free(0x51): no block of this heap starts at such an address; ignored\n"
      "warren: error: invalid pointer: free(0x60): the heap has never handed out this page; ignored\n"
      "warren: error: foreign pointer: malloc_usable_size(0x70): this address is not in warren's heap; ignored\n");
}

TEST(FatalDeathTest, OurOwnErrorsEndTheProcessAllTheSame) {
  EXPECT_EXIT(
      {
        fatal::set_abort_on_error(false);
        fatal::check_failed("c", "f", 1);
      },
      KilledBySignal(SIGABRT), Eq(std::string("warren: fatal error: check failed: c at f:1; aborting\n")));
}

}  // namespace
}  // namespace warren
