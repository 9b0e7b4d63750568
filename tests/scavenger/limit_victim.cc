// limit_victim: memlimit=64MiB, given at the start or set while the program runs. Run by scavenger_test.py with
// scavenge_delay=off, so that nothing but the limit gives memory back:
//   start   the limit comes from WARREN_CONF
//   live    wr_conf_set sets it once 200 MiB lie warm, and takes it back later
// Invariant: what is resident stays near the greater of the limit and what is in use, and no block is ever refused.
#include "observe.h"

#include <new>

using namespace observe;

namespace {

constexpr size_t kLimitMiB = 64;
constexpr size_t kSlackMiB = 24;  // maps, what thread caches and centrals hold, runs handed out whole

// 200 MiB in sizes of all kinds, of which some stay; the free runs are too short for what comes next.
class Fragments {
 public:
  Fragments() {
    static const size_t kSizes[] = {48, 3000, 20000, 100000, 300000};
    size_t bytes = 0;
    while (bytes < 200 * kMiB) {
      REQUIRE(count_ < kMost);
      const size_t size = kSizes[mix(count_) % 5];
      blocks_[count_] = {v_malloc(size), size};
      REQUIRE(blocks_[count_].block != nullptr);
      fill_pattern(blocks_[count_].block, size, count_);
      bytes += size;
      ++count_;
    }
  }

  // One in eight of the long ones stays.
  void free_most() {
    for (size_t i = 0; i < count_; ++i) {
      if (i % 8 == 0 && blocks_[i].size >= 20000) continue;
      v_free(blocks_[i].block);
      blocks_[i].block = nullptr;
    }
  }

  void check_and_free() {
    for (size_t i = 0; i < count_; ++i) {
      if (blocks_[i].block == nullptr) continue;
      if (!holds_pattern(blocks_[i].block, blocks_[i].size, i)) BROKEN("fragment %zu has lost its pattern", i);
      v_free(blocks_[i].block);
    }
  }

 private:
  static constexpr size_t kMost = 100000;
  struct {
    void *block;
    size_t size;
  } blocks_[kMost] = {};
  size_t count_ = 0;
};

Fragments *fragments() {
  alignas(Fragments) static char room[sizeof(Fragments)];
  return new (room) Fragments;
}

// Blocks that no free run is long enough for, each written to, up to `total`.
struct Fresh {
  static constexpr size_t kMost = 20, kSize = 12 * kMiB;
  void *blocks[kMost];
  size_t count = 0;

  void grow_to(size_t total) {
    while (count * kSize < total) {
      void *block = v_calloc(1, kSize);
      REQUIRE(block != nullptr);
      if (!all_zero(block, kSize)) BROKEN("calloc is not zero");
      memset(block, 0x77, kSize);
      blocks[count++] = block;
    }
  }
  void free_all() {
    while (count != 0) v_free(blocks[--count]);
  }
};

size_t allowed_mib() {
  const size_t used = statistics().heap_inuse / kMiB;
  return (used > kLimitMiB ? used : kLimitMiB) + kSlackMiB;
}

void require_near_limit(const char *when) {
  const size_t resident = resident_mib();
  SAY("%s: resident=%zu allowed=%zu\n", when, resident, allowed_mib());
  if (resident > allowed_mib()) BROKEN("%s: %zu MiB are resident, %zu allowed", when, resident, allowed_mib());
}

void use_fresh_pages() {
  Fresh fresh;
  fresh.grow_to(12 * kMiB);
  require_near_limit("the first fresh block");
  fresh.grow_to(24 * kMiB);
  require_near_limit("below the limit");
  fresh.grow_to(160 * kMiB);
  require_near_limit("above the limit, all of it in use");
  fresh.free_all();
  fresh.grow_to(40 * kMiB);
  Hoard small(24, 8 * kMiB);
  small.free_all();
  fresh.free_all();
}

void start(int, char **) {
  Fragments *most = fragments();
  REQUIRE(resident_mib() >= 200);
  most->free_most();
  use_fresh_pages();
  REQUIRE(statistics().scavenged_bytes >= 80 * kMiB);
  REQUIRE(tasks() == 1);
  most->check_and_free();
}

void live(int, char **) {
  Fragments *most = fragments();
  most->free_most();
  Fresh fresh;
  fresh.grow_to(12 * kMiB);
  REQUIRE(statistics().scavenged_bytes == 0);
  REQUIRE(resident_mib() >= 200);
  configure("memlimit", "64MiB");
  use_fresh_pages();
  REQUIRE(statistics().scavenged_bytes >= 80 * kMiB);
  configure("memlimit", "off");
  const uint64_t before = statistics().scavenged_bytes;
  fresh.grow_to(180 * kMiB);
  fresh.free_all();
  REQUIRE(statistics().scavenged_bytes == before);
  most->check_and_free();
}

constexpr Scenario kScenarios[] = {{"start", start}, {"live", live}};

}  // namespace

int main(int argc, char **argv) { return play(argc, argv, kScenarios); }
