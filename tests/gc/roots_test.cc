// Roots outside of threads: gc/roots.h, and the mappings that it asks for. Each test has a process of its own.
// Invariant: a library that comes or goes while its data is sought is neither missed nor touched.
#include "gc/roots.h"

#include "allocator/base/address.h"
#include "gc/mappings.h"
#include "tests/allocator/own_process.h"
#include "tests/gc/hidden.h"

#include <atomic>
#include <dlfcn.h>
#include <random>
#include <sys/mman.h>
#include <thread>
#include <utility>
#include <vector>

namespace warren::gc {
namespace {

using Ranges = std::vector<std::pair<uintptr_t, uintptr_t>>;

// What was added, as the collector sees it: of `within` only.
Ranges ranges_in(uintptr_t low, uintptr_t high) {
  static Ranges found;
  static uintptr_t from, to;
  found.clear();
  found.reserve(1000);
  from = low;
  to = high;
  if (!world::stop()) return {};
  roots::for_each_data_range(
      [](uintptr_t range_low, uintptr_t range_high, void *) {
        if (range_low >= from && range_high <= to && found.size() < 1000) found.emplace_back(range_low, range_high);
      },
      nullptr);
  world::start();
  return found;
}

char *map(size_t bytes, int protection = PROT_READ | PROT_WRITE) {
  return static_cast<char *>(mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

volatile uint64_t data_word = 1;
volatile uint64_t zero_word;

TEST(Roots, DataOfTheProgram) {
  in_own_process([] {
    const Hidden in_data(1), in_zero(2), nowhere(3);
    in_data.put(&data_word);
    in_zero.put(&zero_word);
    EXPECT_TRUE(found_in_data(in_data));
    EXPECT_TRUE(found_in_data(in_zero));
    EXPECT_FALSE(found_in_data(nowhere));
  });
}

struct Module {
  void *handle;
  volatile uint64_t *data, *zero;
};

Module open_module(bool apart = false) {
  const char *path = MODULE_DIRECTORY "/libroot_module.so";
  void *handle = apart ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW) : dlopen(path, RTLD_NOW);
  EXPECT_NE(handle, nullptr) << dlerror();
  const auto word = [handle](const char *function) {
    return reinterpret_cast<volatile uint64_t *(*)()>(dlsym(handle, function))();
  };
  return {handle, word("data_word_of_module"), word("zero_word_of_module")};
}

TEST(Roots, DataOfALibraryThatComesAndGoes) {
  in_own_process([] {
    ASSERT_TRUE(world::stop());
    world::start();
    for (uint64_t round = 0; round < 20; ++round) {
      const Hidden in_data(100 + round), in_zero(200 + round);
      const Module module = open_module();
      in_data.put(module.data);
      in_zero.put(module.zero);
      EXPECT_TRUE(found_in_data(in_data));
      EXPECT_TRUE(found_in_data(in_zero));
      dlclose(module.handle);
      EXPECT_FALSE(found_in_data(in_data));
    }
  });
}

// What is hidden in a library is found at any moment while other libraries come and go, and none that is gone is read.
TEST(Roots, WhileLibrariesComeAndGo) {
  in_own_process([] {
    std::atomic<bool> stop{false};
    std::atomic<int> opened{0};
    std::thread loader([&] {
      for (uint64_t round = 0; !stop; ++round) {
        const Hidden hidden(1000 + round);
        const Module module = open_module();
        hidden.put(module.zero);
        EXPECT_TRUE(found_in_data(hidden));
        dlclose(module.handle);
        opened++;
      }
    });
    std::thread other([&] {
      while (!stop) {
        void *handle = dlopen("libm.so.6", RTLD_NOW);
        if (handle != nullptr) dlclose(handle);
        handle = dlopen(MODULE_DIRECTORY "/libother_module.so", RTLD_NOW);
        EXPECT_NE(handle, nullptr);
        if (handle != nullptr) dlclose(handle);
      }
    });
    const Hidden nowhere(4);
    for (int round = 0; round < 300 || opened < 20; ++round) {
      EXPECT_FALSE(found_in_data(nowhere));
      EXPECT_FALSE(found_in_threads(nowhere));
    }
    stop = true;
    loader.join();
    other.join();
  });
}

TEST(Roots, AddedAndRemoved) {
  in_own_process([] {
    char *memory = map(1 << 16);
    const uintptr_t base = address_of(memory), end = base + (1 << 16);
    const auto at = [&](size_t offset) { return memory + offset; };
    EXPECT_EQ(ranges_in(base, end), Ranges());
    EXPECT_TRUE(roots::add(at(101), at(203)));
    EXPECT_EQ(ranges_in(base, end), (Ranges{{base + 104, base + 200}})) << "the words wholly inside";
    EXPECT_TRUE(roots::add(at(150), at(1000)));
    EXPECT_EQ(ranges_in(base, end), (Ranges{{base + 104, base + 1000}}));
    EXPECT_TRUE(roots::add(at(2000), at(3000)));
    EXPECT_TRUE(roots::add(at(0), at(8)));
    EXPECT_EQ(ranges_in(base, end), (Ranges{{base, base + 8}, {base + 104, base + 1000}, {base + 2000, base + 3000}}));
    roots::remove(at(500), at(2500));
    EXPECT_EQ(ranges_in(base, end), (Ranges{{base, base + 8}, {base + 104, base + 496}, {base + 2504, base + 3000}}));
    roots::remove(at(200), at(300));
    EXPECT_EQ(ranges_in(base, end), (Ranges{{base, base + 8},
                                            {base + 104, base + 200},
                                            {base + 304, base + 496},
                                            {base + 2504, base + 3000}}));
    roots::remove(at(0), at(1 << 16));
    EXPECT_EQ(ranges_in(base, end), Ranges());
    EXPECT_TRUE(roots::add(at(8), at(8)));
    EXPECT_TRUE(roots::add(at(16), at(8)));
    EXPECT_TRUE(roots::add(at(9), at(15))) << "holds no whole word";
    EXPECT_EQ(ranges_in(base, end), Ranges());
  });
}

TEST(Roots, AddedAgainstAModel) {
  in_own_process([] {
    constexpr size_t kWords = 512;
    char *memory = map(kWords * 8);
    std::vector<bool> model(kWords);
    std::mt19937_64 random(42);
    for (int round = 0; round < 2000; ++round) {
      size_t low = random() % (kWords + 1), high = random() % (kWords + 1);
      if (low > high) std::swap(low, high);
      if (random() % 2 == 0) high = std::min(low + 8, high);
      const bool adds = random() % 2 == 0;
      if (adds) {
        ASSERT_TRUE(roots::add(memory + 8 * low, memory + 8 * high));
      } else {
        roots::remove(memory + 8 * low, memory + 8 * high);
      }
      for (size_t i = low; i < high; ++i) model[i] = adds;
      if (round % 20 != 0) continue;
      std::vector<bool> seen(kWords);
      const uintptr_t base = address_of(memory);
      for (const auto &[from, to] : ranges_in(base, base + kWords * 8)) {
        for (size_t i = (from - base) / 8; i < (to - base) / 8; ++i) seen[i] = true;
      }
      ASSERT_EQ(seen, model) << "round " << round;
    }
  });
}

TEST(Roots, ChangedWhileTheWorldIsStoppedAgainAndAgain) {
  in_own_process([] {
    constexpr size_t kBytes = 1 << 16;
    char *memory = map(kBytes);
    std::atomic<bool> stop{false};
    std::vector<std::thread> changers;
    for (size_t id = 0; id < 3; ++id) {
      changers.emplace_back([&, id] {
        std::mt19937_64 random(id);
        while (!stop) {
          const size_t low = random() % kBytes, high = low + random() % 4096;
          if (random() % 2 == 0) {
            roots::add(memory + low, memory + std::min(high, kBytes));
          } else {
            roots::remove(memory + low, memory + std::min(high, kBytes));
          }
        }
      });
    }
    for (int round = 0; round < 300; ++round) {
      uintptr_t before = 0;
      for (const auto &[low, high] : ranges_in(address_of(memory), address_of(memory) + kBytes)) {
        ASSERT_LT(low, high);
        ASSERT_GE(low, before);
        before = high;
      }
    }
    stop = true;
    for (std::thread &one : changers) one.join();
  });
}

TEST(Roots, AddedRangesWithHolesAreNotTouchedThere) {
  in_own_process([] {
    char *memory = map(5 * 4096);
    ASSERT_EQ(mprotect(memory + 4096, 4096, PROT_NONE), 0);
    ASSERT_EQ(munmap(memory + 3 * 4096, 4096), 0);
    ASSERT_TRUE(roots::add(memory, memory + 5 * 4096));
    const Hidden one(5), two(6), three(7), nowhere(8);
    one.put(reinterpret_cast<uint64_t *>(memory));
    two.put(reinterpret_cast<uint64_t *>(memory + 2 * 4096));
    three.put(reinterpret_cast<uint64_t *>(memory + 5 * 4096 - 8));
    EXPECT_TRUE(found_in_data(one));
    EXPECT_TRUE(found_in_data(two));
    EXPECT_TRUE(found_in_data(three));
    EXPECT_FALSE(found_in_data(nowhere));
    munmap(memory, 5 * 4096);
    EXPECT_FALSE(found_in_data(one));
  });
}

alignas(4096) char pages_of_data[4 * 4096];

// A stack in the program's data, say, with a guard below.
TEST(Roots, DataWithGuardsIsNotTouchedThere) {
  in_own_process([] {
    ASSERT_EQ(mprotect(pages_of_data + 4096, 4096, PROT_NONE), 0);
    const Hidden below(5), above(6), nowhere(7);
    below.put(reinterpret_cast<uint64_t *>(pages_of_data));
    above.put(reinterpret_cast<uint64_t *>(pages_of_data + 2 * 4096));
    EXPECT_TRUE(found_in_data(below));
    EXPECT_TRUE(found_in_data(above));
    EXPECT_FALSE(found_in_data(nowhere));
  });
}

// Else all that only they hold would be marked in the second pause.
TEST(Roots, AddedAreSeenInARunningWorldToo) {
  in_own_process([] {
    ASSERT_TRUE(world::stop());
    world::start();
    char *memory = map(1 << 16);
    ASSERT_TRUE(roots::add(memory + 8, memory + 4096));
    ASSERT_TRUE(roots::add(memory + 8192, memory + 8200));
    static Ranges found;
    static uintptr_t base;
    base = address_of(memory);
    roots::for_each_data_range_running(
        [](uintptr_t low, uintptr_t high, void *) {
          if (low - base < 1 << 16) found.emplace_back(low - base, high - base);
        },
        nullptr);
    EXPECT_EQ(found, (Ranges{{8, 4096}, {8192, 8200}}));
  });
}

TEST(Mappings, AroundAnAddress) {
  char *memory = map(4 * 4096, PROT_NONE);
  ASSERT_EQ(mprotect(memory + 4096, 2 * 4096, PROT_READ | PROT_WRITE), 0);
  const uintptr_t base = address_of(memory);
  ASSERT_TRUE(mappings::prepare());
  mappings::Mapping found;
  EXPECT_FALSE(mappings::around(base, &found));
  ASSERT_TRUE(mappings::around(base + 2 * 4096 - 1, &found));
  EXPECT_EQ(found.low, base + 4096);
  EXPECT_EQ(found.high, base + 3 * 4096);
  EXPECT_FALSE(mappings::around(0, &found));
  EXPECT_FALSE(mappings::around(~uintptr_t{0}, &found));
  mappings::forget();
  EXPECT_FALSE(mappings::around(base + 4096, &found)) << "not prepared";
}

TEST(Mappings, CopyOfWhatMayBeGone) {
  char *memory = map(2 * 4096);
  ASSERT_EQ(mprotect(memory + 4096, 4096, PROT_NONE), 0);
  char copy[8192];
  memory[0] = 'x';
  EXPECT_EQ(mappings::copy(copy, address_of(memory), 4096), 4096u);
  EXPECT_EQ(copy[0], 'x');
  EXPECT_LE(mappings::copy(copy, address_of(memory), 8192), 4096u);
  EXPECT_EQ(mappings::copy(copy, address_of(memory) + 4096, 4096), 0u);
}

}  // namespace
}  // namespace warren::gc
