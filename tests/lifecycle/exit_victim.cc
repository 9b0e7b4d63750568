// Uses the heap while the process ends: atexit, on_exit, quick_exit, destructors, thread_locals of main,
// and with other threads still allocating. Run by lifecycle_test, which checks exit status and stderr.
// Invariant: the heap works until the kernel takes the process away; the exit status is the program's.
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "victim.h"

namespace {

void *g_kept[64];
void *g_of_dead_thread;
std::atomic<int> g_handlers_run{0};

void keep_blocks() {
  for (std::size_t i = 0; i < 64; ++i) g_kept[i] = victim::make_cookie(i * i * 25, i);
}
void release_blocks() {
  for (auto *&block : g_kept) {
    victim::check_and_free(block);
    block = nullptr;
  }
}

void use_heap_at_exit() {
  release_blocks();
  keep_blocks();
  victim::exercise_heap(300, 7);
  g_handlers_run.fetch_add(1);
  if (write(STDOUT_FILENO, "handler ran\n", 12) < 0) _exit(9);
}
void use_heap_on_exit(int, void *argument) {
  victim::give_back(argument);
  use_heap_at_exit();
}

void in_atexit() {
  keep_blocks();
  for (int i = 0; i < 3; ++i) atexit(use_heap_at_exit);
}
void in_on_exit() {
  keep_blocks();
  on_exit(use_heap_on_exit, victim::take(1'000));
}
// A handler that registers further handlers, each of which allocates.
void in_nested_atexit() {
  keep_blocks();
  atexit([] {
    for (int i = 0; i < 100; ++i) atexit([] { victim::give_back(victim::take(100'000)); });
    atexit(use_heap_at_exit);
  });
}
void in_quick_exit() {
  keep_blocks();
  at_quick_exit(use_heap_at_exit);
  std::fflush(stdout);
  quick_exit(0);
}

// Static destructors with containers, one of them before all others are gone.
struct Registry {
  std::map<int, std::string> entries;
  ~Registry() {
    for (int i = 0; i < 2'000; ++i) entries[i] += "written by a destructor, long enough for the heap";
    if (g_handlers_run.load() < 0) std::puts("never");
  }
};
void in_static_destructor() {
  static Registry registry;
  for (int i = 0; i < 2'000; ++i) registry.entries[i * 3] = std::string(static_cast<std::size_t>(i % 300), 'r');
}
bool g_last_words_wanted;
void in_late_destructor() {
  keep_blocks();
  g_last_words_wanted = true;
}
__attribute__((destructor(101))) void last_words() {
  if (g_last_words_wanted) use_heap_at_exit();
}

void in_thread_local_of_main() {
  struct Holder {
    std::unique_ptr<std::string> text = std::make_unique<std::string>(5'000, 't');
    ~Holder() { text->append(100'000, 'u'); }
  };
  static thread_local Holder holder;
  VICTIM_CHECK(holder.text->size() == 5'000);
}

void *allocate_for_ever(void *raw) {
  const auto start = reinterpret_cast<std::uintptr_t>(raw);
  for (std::uint64_t i = 0;; ++i) victim::exercise_heap(50, start * 1'000'000 + i);
}
void start_allocating_threads(int count) {
  for (int i = 1; i <= count; ++i) {
    pthread_t thread;
    void *const number = reinterpret_cast<void *>(static_cast<std::uintptr_t>(i));
    VICTIM_CHECK(pthread_create(&thread, nullptr, allocate_for_ever, number) == 0);
    pthread_detach(thread);
  }
}
void while_threads_allocate() {
  keep_blocks();
  start_allocating_threads(4);
  victim::exercise_heap(500, 1);
  atexit(use_heap_at_exit);
}
void underscore_exit_while_threads_allocate() {
  start_allocating_threads(4);
  victim::exercise_heap(500, 1);
  std::fflush(stdout);
  _exit(0);
}
void *exit_process(void *) {
  victim::exercise_heap(100, 3);
  exit(0);
}
void exit_from_a_thread() {
  keep_blocks();
  atexit(use_heap_at_exit);
  start_allocating_threads(2);
  pthread_t thread;
  VICTIM_CHECK(pthread_create(&thread, nullptr, exit_process, nullptr) == 0);
  pthread_join(thread, nullptr);
  _exit(5);  // not reached
}

// Main ends before its detached threads; the last of them ends the process.
void *finish_later(void *) {
  victim::exercise_heap(2'000, 11);
  return nullptr;
}
void main_thread_leaves_first() {
  keep_blocks();
  atexit(use_heap_at_exit);
  for (int i = 0; i < 8; ++i) {
    pthread_t thread;
    VICTIM_CHECK(pthread_create(&thread, nullptr, finish_later, nullptr) == 0);
    pthread_detach(thread);
  }
  pthread_exit(nullptr);
}

void frees_blocks_of_dead_threads() {
  pthread_t thread;
  const auto make = [](void *) -> void * {
    g_of_dead_thread = victim::make_cookie(777, 3);
    return nullptr;
  };
  VICTIM_CHECK(pthread_create(&thread, nullptr, make, nullptr) == 0);
  pthread_join(thread, nullptr);
  atexit([] {
    victim::check_and_free(g_of_dead_thread);
    if (write(STDOUT_FILENO, "handler ran\n", 12) < 0) _exit(9);
  });
}

constexpr victim::Scenario kScenarios[] = {
    {"in_atexit", in_atexit},
    {"in_on_exit", in_on_exit},
    {"in_nested_atexit", in_nested_atexit},
    {"in_quick_exit", in_quick_exit},
    {"in_static_destructor", in_static_destructor},
    {"in_late_destructor", in_late_destructor},
    {"in_thread_local_of_main", in_thread_local_of_main},
    {"while_threads_allocate", while_threads_allocate},
    {"underscore_exit_while_threads_allocate", underscore_exit_while_threads_allocate},
    {"exit_from_a_thread", exit_from_a_thread},
    {"main_thread_leaves_first", main_thread_leaves_first},
    {"frees_blocks_of_dead_threads", frees_blocks_of_dead_threads},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
