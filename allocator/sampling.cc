// See sampling.h.
#include "allocator/sampling.h"

#include "allocator/base/os_process.h"
#include "allocator/block.h"
#include "allocator/thread.h"

#include <bit>
#include <cstring>

namespace warren::sampling {

std::atomic<bool> counting{false}, counted_once{false};
std::atomic<const Watcher *> watcher{nullptr};
std::atomic<void (*)(void *block, size_t size)> each_block{nullptr};

namespace {

// While nobody samples (each block is noted, say): the countdown comes by now and then to see whether somebody does.
constexpr int64_t kLookAgain = int64_t{1} << 30;

std::atomic<bool> sampling_on{false};  // relaxed: as `counting`
bool for_ever = false;  // set before there are threads

uint64_t mixed(uint64_t word) {
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9;
  word = (word ^ word >> 27) * 0x94d049bb133111eb;
  return word ^ word >> 31;
}

// Natural logarithm of a number in (0, 1], to nine digits.
double logarithm(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  auto exponent = static_cast<int>(bits >> 52) - 1023;
  auto mantissa = std::bit_cast<double>((bits & ((uint64_t{1} << 52) - 1)) | uint64_t{1023} << 52);
  if (mantissa > 1.4142135623730951) {
    mantissa /= 2;
    ++exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1), s2 = s * s;
  return exponent * 0.6931471805599453 + 2 * s * (1 + s2 * (1.0 / 3 + s2 * (1.0 / 5 + s2 * (1.0 / 7 + s2 / 9))));
}

int64_t draw_for(Cache *cache) { return draw(cache->random, cache->rate); }

// The tables from small sizes to classes, of one cache or of the threads that have none.
void set_table(CacheHead &head, bool counted, bool noted) {
  for (size_t size = 0; size <= kMaxSmallSize; ++size) {
    const uint8_t size_class = quick_class_of(size).value;
    __atomic_store_n(&head.counted_class_of[size], counted && !noted ? size_class : uint8_t{0}, __ATOMIC_RELAXED);
    __atomic_store_n(&head.class_of[size], counted ? uint8_t{kSampledBin} : size_class, __ATOMIC_RELAXED);
  }
}

void set_tables() {
  bool noted = each_block.load(std::memory_order_relaxed) != nullptr;
  const bool counted = noted || for_ever || sampling_on.load(std::memory_order_relaxed);
  if (counted) counted_once.store(true, std::memory_order_relaxed);
  counting.store(counted, std::memory_order_relaxed);
  set_table(hot.empty, counted, noted);
  threads::for_each_cache([](Cache &cache, void *each_is_noted) {
    // Its thread may be counting just then and write the old value back: any countdown is as good as another.
    __atomic_store_n(&cache.countdown, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&cache.rate, 0, __ATOMIC_RELAXED);
    set_table(cache, hot.empty.class_of[0] == kSampledBin, *static_cast<bool *>(each_is_noted));
  }, &noted);
}

}  // namespace

bool is_on() { return sampling_on.load(std::memory_order_relaxed); }

// Exponentially distributed, so that each byte allocated is as likely as any other to be the one that samples its block, whatever
// came before.
int64_t draw(uint64_t &random, uint64_t &rate) {
  const Watcher *who = watcher.load(std::memory_order_relaxed);
  rate = 0;
  if (who == nullptr || !is_on()) return kLookAgain;
  if (random == 0) {
    static std::atomic<uint64_t> sown{0};  // relaxed: only to differ
    random = os_process::layout_seed() + mixed(sown.fetch_add(1, std::memory_order_relaxed) + 1);
  }
  random += 0x9e3779b97f4a7c15;
  const double uniform = static_cast<double>((mixed(random) >> 11) + 1) * 0x1p-53;
  rate = who->rate();
  return static_cast<int64_t>(-logarithm(uniform) * static_cast<double>(rate));
}

bool add_unmarked(const void *object, size_t size, uint64_t rate, uint32_t stack) {
  const CacheAccess access;
  return !access.reentered() && watcher.load(std::memory_order_relaxed)->add(object, size, rate, stack);
}

void watch(const Watcher *who) {
  if (who != nullptr) watcher.store(who, std::memory_order_relaxed);
  sampling_on.store(who != nullptr, std::memory_order_relaxed);
  set_tables();
}

void count_for_ever() {
  for_ever = true;
  set_tables();
}

void watch_each(void (*note)(void *block, size_t size)) {
  each_block.store(note, std::memory_order_relaxed);
  set_tables();
}

WARREN_NOINLINE bool is_due_slow(size_t size) {
  CacheAccess access;  // makes the cache of a thread that begins
  Cache *cache = access.cache();
  if (cache == nullptr) return false;  // a thread that ends, or a signal handler
  if (cache->rate == 0) {
    // Nothing was drawn yet: what has been counted is counted now.
    size += static_cast<size_t>(-cache->countdown);
    cache->countdown = draw_for(cache);
  }
  cache->countdown -= static_cast<int64_t>(size);
  return cache->countdown < 0 && cache->rate != 0;
}

void begin_slow() {
  CacheAccess access;
  if (access.cache() != nullptr) access.cache()->countdown = kNever;
}

void add_and_end(void *block, size_t size, uint32_t stack) {
  CacheAccess access;
  Cache *cache = access.cache();
  if (cache == nullptr) {
    // A signal handler came when the thread was about to enter the heap and still had its cache: begin() has stopped that one's countdown.
    if (CacheHead *head = current_cache(); head != &hot.empty) head->countdown = draw_for(static_cast<Cache *>(head));
    return;
  }
  // rate 0: meanwhile somebody has begun or ended to watch.
  if (const uint64_t rate = cache->rate; block != nullptr && rate != 0) {
    const Watcher *who = watcher.load(std::memory_order_relaxed);
    const Block found = find_block(address_of(block));
    const bool is_here = found.kind != Block::Kind::kNone;  // not of the emergency pool
    if (is_here && who->add(block, size, rate, stack)) __atomic_store_n(found.mark, object_map::kSampledMark, __ATOMIC_RELAXED);
  }
  cache->countdown = draw_for(cache);
}

Removal remove(const void *block) {
  CacheAccess access;
  if (access.reentered()) return Removal::kBusy;
  return watcher.load(std::memory_order_relaxed)->remove(block) ? Removal::kDone : Removal::kRaced;
}

void remove_deferred(const void *block) {
  if (const Watcher *who = watcher.load(std::memory_order_relaxed)) who->remove(block);
}

}  // namespace warren::sampling
