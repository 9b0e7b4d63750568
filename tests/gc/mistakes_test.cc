// The ends that the collector's heap makes of a program with a mistake, each by way of the public functions and in a child. Runs
// with gc_poison=1; and once more with abort_on_error=0, where mistakes are reported and ignored.
// Invariant: a child without the mistake writes nothing and exits with 0, which the tests of what is allowed check.
#include "herd.h"

#include <gtest/gtest.h>

#include <csignal>
#include <malloc.h>
#include <unistd.h>

namespace warren::gc_tests {
namespace {

bool ends_the_process() {
  const char *conf = getenv("WARREN_CONF");
  return conf == nullptr || strstr(conf, "abort_on_error=0") == nullptr;
}

// Plays the act, goes on for a while, exits with 0 if it can.
template <class Act>
[[noreturn]] void play(Act act) {
  act();
  for (int i = 0; i < 2; ++i) {
    wr_gc_collect();
    for (int made = 0; made < 2'000; ++made) {
      for (const size_t size : {16, 96, 3000}) {
        auto *fresh = static_cast<volatile unsigned char *>(wr_gc_malloc(size));
        if (fresh[0] != 0 || fresh[size - 1] != 0) _exit(1);
        fresh[0] = 1;
        fresh[size - 1] = 1;
      }
    }
  }
  _exit(0);
}

template <class Act>
void expect_mistake(Act act, const std::string &fault) {
  if (ends_the_process()) {
    EXPECT_EXIT(play(act), testing::KilledBySignal(SIGABRT), "^warren: fatal error: " + fault + "; aborting");
  } else {
    EXPECT_EXIT(play(act), testing::ExitedWithCode(0), "^warren: error: " + fault + "; ignored");
  }
}

template <class Act>
void expect_nothing(Act act) {
  EXPECT_EXIT(play(act), testing::ExitedWithCode(0), "^$");
}

std::string invalid(const char *function, const char *why) {
  return std::string("invalid pointer: ") + function + "\\(0x[0-9a-f]+\\): " + why;
}
constexpr char kOfTheCollectors[] = "the collector's heap has this address: wr_gc_free\\(\\) releases its objects";
constexpr char kNoObject[] = "no live object of the collector's heap starts there";

std::string written(size_t byte, size_t size) {
  return "write after free: gc_poison\\(0x[0-9a-f]+\\): byte " + std::to_string(byte) + " of this free object of " +
         std::to_string(size) + " bytes was written to";
}

class MistakesDeathTest : public testing::Test {
 protected:
  MistakesDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(MistakesDeathTest, ACollectedObjectIsGivenToFree) {
  for (const size_t size : {16, 96, 3000, 100'000}) {
    expect_mistake([=] { free(wr_gc_malloc(size)); }, invalid("free", kOfTheCollectors));
    expect_mistake([=] { free(static_cast<char *>(wr_gc_malloc(size)) + 8); }, invalid("free", kOfTheCollectors));
  }
}

TEST_F(MistakesDeathTest, ACollectedObjectIsGivenToRealloc) {
  expect_mistake([] { (void)!realloc(wr_gc_malloc(96), 200); }, invalid("realloc", kOfTheCollectors));
}

TEST_F(MistakesDeathTest, ABlockOfMallocsIsReleasedAsAnObject) {
  for (const size_t size : {16, 96, 3000, 100'000}) {
    expect_mistake([=] { wr_gc_free(malloc(size)); }, invalid("wr_gc_free", kNoObject));
    expect_mistake([=] { wr_gc_realloc(malloc(size), 200); }, invalid("wr_gc_realloc", kNoObject));
  }
}

TEST_F(MistakesDeathTest, TheInsideOfAnObjectIsReleased) {
  expect_mistake([] { wr_gc_free(static_cast<char *>(wr_gc_malloc(96)) + 8); }, invalid("wr_gc_free", kNoObject));
  expect_mistake([] { wr_gc_realloc(static_cast<char *>(wr_gc_malloc(96)) + 8, 200); }, invalid("wr_gc_realloc", kNoObject));
  expect_mistake([] { wr_gc_free(static_cast<char *>(wr_gc_malloc(100'000)) + 4096); }, invalid("wr_gc_free", kNoObject));
}

TEST_F(MistakesDeathTest, WhatIsNoPointerIsReleased) {
  static char global[64];
  expect_mistake([] { wr_gc_free(global + 16); }, invalid("wr_gc_free", kNoObject));
  expect_mistake([] { wr_gc_free(reinterpret_cast<void *>(16)); }, invalid("wr_gc_free", kNoObject));
}

TEST_F(MistakesDeathTest, AnObjectIsReleasedTwice) {
  for (const size_t size : {16, 96, 3000, 100'000}) {
    expect_mistake(
        [=] {
          void *volatile object = wr_gc_malloc(size);
          wr_gc_free(object);
          wr_gc_free(object);
        },
        invalid("wr_gc_free", kNoObject));
  }
}

TEST_F(MistakesDeathTest, AReleasedObjectIsWrittenTo) {
  for (const size_t byte : {0, 16, 95}) {
    expect_mistake(
        [=] {
          auto *volatile object = static_cast<volatile char *>(wr_gc_malloc(96));
          wr_gc_free(const_cast<char *>(object));
          object[byte] = 1;
        },
        written(byte, 96));
  }
}

// Some may live on by accident; not all do. Their neighbours live, or the pages would leave the collector.
TEST_F(MistakesDeathTest, ACollectedObjectIsWrittenTo) {
  expect_mistake(
      [] {
        static uintptr_t hidden[1000];
        static void *volatile neighbours[1000];
        apart([] {
          for (size_t i = 0; i < 1000; ++i) {
            hidden[i] = ~reinterpret_cast<uintptr_t>(wr_gc_malloc(96));
            neighbours[i] = wr_gc_malloc(96);
          }
        });
        wr_gc_collect();
        (void)neighbours[0];
        apart([] {
          for (const uintptr_t place : hidden) {
            if (wr_gc_is_object(reinterpret_cast<void *>(~place)) == 0) reinterpret_cast<volatile char *>(~place)[40] = 1;
          }
        });
      },
      written(40, 96));
}

TEST_F(MistakesDeathTest, ProperUseIsNone) {
  expect_nothing([] {
    for (int i = 0; i < 20'000; ++i) {
      for (const size_t size : {1, 8, 16, 96, 3000}) {
        void *object = i % 2 == 0 ? wr_gc_malloc(size) : wr_gc_malloc_noscan(size);
        memset(object, 0xff, size);
        object = wr_gc_realloc(object, size + static_cast<size_t>(i) % 50);
        if (i % 3 != 0) wr_gc_free(object);
      }
    }
    wr_gc_free(nullptr);
    wr_gc_free(wr_gc_malloc(0));
    wr_gc_free(wr_gc_malloc(1'000'000));
  });
}

TEST(Poison, AReleasedObjectIsNoPointer) {
  auto *volatile object = static_cast<volatile unsigned char *>(wr_gc_malloc(96));
  wr_gc_free(const_cast<unsigned char *>(object));
  for (size_t i = 0; i < 96; ++i) ASSERT_EQ(object[i], 0xdb);
}

}  // namespace
}  // namespace warren::gc_tests
