// See sampled_objects.h.
#include "gc/sampled_objects.h"

#include "allocator/sampling.h"

namespace warren::gc::sampled_objects {
namespace {

// Whether the countdown runs. It begins when the thread first comes by while somebody samples.
bool is_counting(Cache *cache) {
  if (!sampling::is_on()) {
    cache->rate = 0;
    return false;
  }
  if (cache->rate == 0) cache->countdown = sampling::draw(cache->random, cache->rate);
  return cache->rate != 0;
}

}  // namespace

void count(Cache *cache, unsigned noscan, unsigned number) {
  if (!is_counting(cache)) return;
  Run &run = cache->runs[noscan][number];
  const size_t size = kSizeClasses[number].object_size;
  const auto bytes = static_cast<int64_t>(run.end - run.next);
  if (cache->countdown >= bytes) {
    cache->countdown -= bytes;
    return;
  }
  cache->cut[noscan][number] = run.end;
  run.end = run.next + static_cast<uint64_t>(cache->countdown) / size * size;
  // For other runs meanwhile, and for the rest of this one.
  cache->countdown = sampling::draw(cache->random, cache->rate);
}

bool is_due(Cache *cache, size_t bytes) {
  if (!is_counting(cache)) return false;
  cache->countdown -= static_cast<int64_t>(bytes);
  if (cache->countdown >= 0) return false;
  cache->countdown = sampling::draw(cache->random, cache->rate);
  return true;
}

void add(const Cache *cache, uintptr_t object, size_t bytes) {
  if (!sampling::is_on() || cache->rate == 0) return;
  const uint32_t stack = sampling::watcher.load(std::memory_order_relaxed)->stack();
  if (!sampling::add_unmarked(at_address<void>(object), bytes, cache->rate, stack)) return;
  Span *span = page_map::at(arena.page_of(object));
  __atomic_fetch_add(&span->sampled, 1, __ATOMIC_RELAXED);
}

void after() {
  if (sampling::is_on()) sampling::watcher.load(std::memory_order_relaxed)->after();
}

void forget(Span *span, uintptr_t object) {
  if (sampling::remove(at_address<void>(object)) == sampling::Removal::kDone) __atomic_fetch_sub(&span->sampled, 1, __ATOMIC_RELAXED);
}

void forget_dead(Span *span) {
  const BitPair *pairs = pairs_of(span);
  const bool large = span->size_class.is_large();
  const size_t objects = large ? 1 : info(span->size_class).objects;
  for (size_t word = 0; word * 64 < objects; ++word) {
    for (uint64_t dead = pairs[word].allocated & ~pairs[word].marked; dead != 0; dead &= dead - 1) {
      const size_t index = word * 64 + static_cast<size_t>(__builtin_ctzll(dead));
      forget(span, span->start() + (large ? 0 : index * info(span->size_class).object_size));
    }
  }
}

}  // namespace warren::gc::sampled_objects
