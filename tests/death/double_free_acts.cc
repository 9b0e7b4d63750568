// Acts that free a block twice, or use it in another call after it was freed. Played by misuse_victim.
// Invariant: when finish() runs, the pointer it gets was handed out once, is free, and was not handed out
// again; only stale_then_new leaves that to the allocator, and there the second of two frees must be caught.
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "misuse.h"

namespace misuse {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// How many blocks of this size an act may hold at once without asking for much memory.
int crowd(std::size_t size, int wanted) {
  const auto affordable = static_cast<int>(std::max<std::size_t>(8, 64 * kMiB / size));
  return std::min(wanted, affordable);
}

// Room for block addresses that is not heap memory.
char **address_table(int count) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(char *);
  void *table = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (table == MAP_FAILED) act_failed("mmap");
  return static_cast<char **>(table);
}

void at_once(const Deed &deed) {
  char *p = deed.make_block();
  deed.free_rightly(p);
  deed.finish(p);
}

void after_32_other_frees(const Deed &deed) {
  char *others[32];
  char *p = deed.make_block();
  for (auto &other : others) other = deed.make_block();
  deed.free_rightly(p);
  for (auto *other : others) deed.free_rightly(other);
  deed.finish(p);
}

void after_100000_pairs(const Deed &deed) {
  char *p = deed.make_block();
  deed.free_rightly(p);
  for (int i = 0; i < 100'000; ++i) deed.free_rightly(deed.make_block());
  deed.finish(p);
}

// As above, but blocks live for a while, so that free blocks wander between caches and spans.
void after_100000_overlapping(const Deed &deed) {
  const int live = crowd(deed.size, 300);
  char **ring = address_table(live);
  char *p = deed.make_block();
  for (int i = 0; i < live; ++i) ring[i] = deed.make_block();
  deed.free_rightly(p);
  const int steps = deed.size > kMiB ? 10'000 : 100'000;
  for (int i = 0; i < steps; ++i) {
    char *&slot = ring[(i * 7) % live];
    deed.free_rightly(slot);
    slot = deed.make_block();
  }
  for (int i = 0; i < live; ++i) deed.free_rightly(ring[i]);
  deed.finish(p);
}

void whole_crowd_freed(const Deed &deed) {
  const int count = crowd(deed.size, 20'000);
  char **blocks = address_table(count);
  for (int i = 0; i < count; ++i) blocks[i] = deed.make_block();
  for (int i = 0; i < count; ++i) deed.free_rightly(blocks[i]);
  deed.finish(blocks[count / 2]);
}

void after_malloc_trim(const Deed &deed) {
  const int count = crowd(deed.size, 2'000);
  char **blocks = address_table(count);
  for (int i = 0; i < count; ++i) blocks[i] = deed.make_block();
  for (int i = 0; i < count; ++i) deed.free_rightly(blocks[i]);
  malloc_trim(0);
  deed.finish(blocks[count / 3]);
}

// The pages of the block serve another size by now, so its address may lie inside a live block.
void after_pages_were_reused(const Deed &deed) {
  const int count = crowd(deed.size, 4'000);
  char **old_blocks = address_table(count);
  for (int i = 0; i < count; ++i) old_blocks[i] = deed.make_block();
  for (int i = 0; i < count; ++i) deed.free_rightly(old_blocks[i]);
  const std::size_t other_size = deed.size < 30'000 ? deed.size * 3 + 40 : 48;
  const int other_count = crowd(other_size, 8'000);
  char **new_blocks = address_table(other_count);
  for (int i = 0; i < other_count; ++i) new_blocks[i] = deed.make_block(other_size);
  std::sort(new_blocks, new_blocks + other_count);
  for (int i = 0; i < count; ++i) {
    if (!std::binary_search(new_blocks, new_blocks + other_count, old_blocks[i])) deed.finish(old_blocks[i]);
  }
}

// The other thread exists before the free: starting one allocates, and might be given the block.
void on_another_thread(const Deed &deed) {
  struct Scene {
    const Deed *deed;
    char *p;
    pthread_barrier_t freed;
  } scene{&deed, deed.make_block(), {}};
  pthread_barrier_init(&scene.freed, nullptr, 2);
  const auto body = [](void *raw) -> void * {
    auto *s = static_cast<Scene *>(raw);
    s->deed->free_rightly(s->deed->make_block());  // this thread has a cache
    pthread_barrier_wait(&s->freed);
    pthread_barrier_wait(&s->freed);
    s->deed->finish(s->p);
    return nullptr;
  };
  pthread_t thread;
  if (pthread_create(&thread, nullptr, body, &scene) != 0) act_failed("pthread_create");
  pthread_barrier_wait(&scene.freed);
  deed.free_rightly(scene.p);
  pthread_barrier_wait(&scene.freed);
  pthread_join(thread, nullptr);
}

void after_freeing_thread_exited(const Deed &deed) {
  struct Scene {
    const Deed *deed;
    char *p;
  } scene{&deed, deed.make_block()};
  run_on_thread([](void *raw) { static_cast<Scene *>(raw)->deed->free_rightly(static_cast<Scene *>(raw)->p); },
                &scene);
  deed.finish(scene.p);
}

void after_allocating_thread_exited(const Deed &deed) {
  struct Scene {
    const Deed *deed;
    char *p;
  } scene{&deed, nullptr};
  run_on_thread([](void *raw) { static_cast<Scene *>(raw)->p = static_cast<Scene *>(raw)->deed->make_block(); },
                &scene);
  deed.free_rightly(scene.p);
  deed.finish(scene.p);
}

// The block sits in the cache of a thread that lives on and does nothing.
void while_freeing_thread_idles(const Deed &deed) {
  struct Scene {
    const Deed *deed;
    char *p;
    pthread_barrier_t freed;
  } scene{&deed, deed.make_block(), {}};
  pthread_barrier_init(&scene.freed, nullptr, 2);
  const auto body = [](void *raw) -> void * {
    auto *s = static_cast<Scene *>(raw);
    s->deed->free_rightly(s->p);
    pthread_barrier_wait(&s->freed);
    pthread_barrier_wait(&s->freed);  // nobody comes
    return nullptr;
  };
  pthread_t thread;
  if (pthread_create(&thread, nullptr, body, &scene) != 0) act_failed("pthread_create");
  pthread_barrier_wait(&scene.freed);
  deed.finish(scene.p);
}

void after_realloc_moved(const Deed &deed) {
  char *p = deed.make_block();
  char *volatile neighbour = deed.make_block();  // in the way of growing in place
  void *(*volatile resize)(void *, std::size_t) = &realloc;
  // Grow; a block that insists on its place is then shrunk to another class.
  for (const std::size_t target : {deed.size * 2 + 4096, deed.size * 4 + 4096, std::size_t{1}}) {
    const auto before = reinterpret_cast<std::uintptr_t>(p);
    p = static_cast<char *>(resize(p, target));
    if (p == nullptr) act_failed("realloc");
    if (reinterpret_cast<std::uintptr_t>(p) != before) {
      char *volatile kept = neighbour;
      if (kept == nullptr) return;
      deed.finish(reinterpret_cast<void *>(before));
      return;
    }
  }
  skip_case();
}

void after_realloc_to_zero(const Deed &deed) {
  char *p = deed.make_block();
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  void *(*volatile resize)(void *, std::size_t) = &realloc;
  if (resize(p, 0) != nullptr) skip_case();
  deed.finish(reinterpret_cast<void *>(address));
}

void a_b_a(const Deed &deed) {
  char *a = deed.make_block();
  char *b = deed.make_block();
  deed.free_rightly(a);
  deed.free_rightly(b);
  deed.finish(a);
}

// free(p); q = malloc(); free(p); free(q). When q is p the first of the last two is right and the second
// wrong; otherwise the first is wrong. Either way the text must name p.
void stale_then_new(const Deed &deed) {
  char *p = deed.make_block();
  deed.free_rightly(p);
  char *q = deed.make_block();
  if (q == p) deed.free_rightly(p);
  deed.finish(p);
}

void scribbled_over(const Deed &deed, int byte) {
  char *p = deed.make_block();
  char *neighbour = deed.make_block();
  deed.free_rightly(neighbour);
  deed.free_rightly(p);
  std::memset(p, byte, deed.size);
  deed.finish(p);
}
void scribbled_with_letters(const Deed &deed) { scribbled_over(deed, 'A'); }
void scribbled_with_zeros(const Deed &deed) { scribbled_over(deed, 0); }
void scribbled_with_ones(const Deed &deed) { scribbled_over(deed, 0xff); }

}  // namespace

std::span<const ActRow> double_free_rows() {
  using S = ActRow::Spread;
  constexpr unsigned kReused = kDoubleFree | kInvalidPointer;
  static constexpr ActRow rows[] = {
      {"at_once", at_once, kDoubleFree, S::kSizesAndReleasers},
      {"at_once_from", at_once, kDoubleFree, S::kSizesAndOrigins},
      {"after_32_other_frees", after_32_other_frees, kDoubleFree, S::kSizes},
      {"after_100000_pairs", after_100000_pairs, kDoubleFree, S::kSizes},
      {"after_100000_overlapping", after_100000_overlapping, kDoubleFree, S::kSizes},
      {"whole_crowd_freed", whole_crowd_freed, kDoubleFree, S::kSizes},
      {"after_malloc_trim", after_malloc_trim, kDoubleFree, S::kSizes},
      {"after_pages_were_reused", after_pages_were_reused, kReused, S::kSizes},
      {"on_another_thread", on_another_thread, kDoubleFree, S::kSizesAndReleasers},
      {"after_freeing_thread_exited", after_freeing_thread_exited, kDoubleFree, S::kSizes},
      {"after_allocating_thread_exited", after_allocating_thread_exited, kDoubleFree, S::kSizes},
      {"while_freeing_thread_idles", while_freeing_thread_idles, kDoubleFree, S::kSizes},
      {"after_realloc_moved", after_realloc_moved, kDoubleFree, S::kSizes},
      {"after_realloc_to_zero", after_realloc_to_zero, kDoubleFree, S::kSizes},
      {"a_b_a", a_b_a, kDoubleFree, S::kSizes},
      {"stale_then_new", stale_then_new, kDoubleFree, S::kSizes},
      {"scribbled_with_letters", scribbled_with_letters, kDoubleFree, S::kSizes},
      {"scribbled_with_zeros", scribbled_with_zeros, kDoubleFree, S::kSizes},
      {"scribbled_with_ones", scribbled_with_ones, kDoubleFree, S::kSizes},
  };
  return rows;
}

}  // namespace misuse
