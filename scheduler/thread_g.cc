// See thread_g.h.
#include "scheduler/thread_g.h"

#include "allocator/base/check.h"
#include "scheduler/m.h"
#include "scheduler/note.h"

#include <cstdlib>
#include <new>
#include <pthread.h>

namespace warren::scheduler {
namespace {

pthread_key_t key;
pthread_once_t key_once = PTHREAD_ONCE_INIT;

void destroy(void *g) {
  warren_thread_words.thread_g = nullptr;
  free(g);
}

void make_key() { CHECK(pthread_key_create(&key, destroy) == 0); }

__attribute__((noinline)) G *make() {
  void *memory = aligned_alloc(alignof(G), sizeof(G));
  CHECK(memory != nullptr);
  G *g = new (memory) G{};
  g->on_thread = true;
  pthread_once(&key_once, make_key);
  pthread_setspecific(key, g);
  warren_thread_words.thread_g = g;
  return g;
}

}  // namespace

__attribute__((noinline)) G *thread_g() {
  G *mine = warren_thread_words.thread_g;
  return mine != nullptr ? mine : make();
}

void park_thread(bool (*unlock)(G *g, void *argument), void *argument, WaitReason reason) {
  G *g = thread_g();
  g->reason = reason;
  if (unlock != nullptr && !unlock(g, argument)) return;
  note_sleep(g->word);
  note_clear(g->word);
}

void ready_thread(G *g) { note_wake(g->word); }

}  // namespace warren::scheduler
