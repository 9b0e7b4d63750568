// The main thread ends by pthread_exit while the runtime has threads of its own, which are no reason to stay and none to leave early.
// Run by lifecycle_test. Invariant: the process ends by itself, with status 0, when the last thread of the program's has done all its
// work: the handler of atexit says so only then.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "victim.h"

namespace {

std::atomic<int> g_to_do{0};  // what must be done before the end
std::atomic<int> g_handlers{0};

void at_end() {
  VICTIM_CHECK(g_to_do.load() == 0);
  VICTIM_CHECK(g_handlers.fetch_add(1) == 0);
  victim::exercise_heap(10, 1);
  if (write(STDOUT_FILENO, "handler ran\n", 12) < 0) _exit(9);
}

void sleep_ms(long ms) {
  timespec rest{ms / 1000, ms % 1000 * 1'000'000};
  while (nanosleep(&rest, &rest) != 0) {
  }
}

// The library is preloaded, not linked.
template <class Function>
Function *named(const char *name) {
  void *found = dlsym(RTLD_DEFAULT, name);
  if (found == nullptr) victim::skip("this malloc has no such function");
  return reinterpret_cast<Function *>(found);
}

void collect() { named<void()>("wr_gc_collect")(); }
void *collected(std::size_t size) { return named<void *(std::size_t)>("wr_gc_malloc")(size); }

void await_end_of_main() {
  char path[64], text[256];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
  for (;;) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    VICTIM_CHECK(fd >= 0);
    const ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    VICTIM_CHECK(length > 0);
    text[length] = 0;
    const char *name_end = std::strrchr(text, ')');
    if (name_end != nullptr && name_end[2] == 'Z') return;
    sched_yield();
  }
}

void start(void *(*body)(void *), void *argument = nullptr) {
  g_to_do.fetch_add(1);
  pthread_t thread;
  VICTIM_CHECK(pthread_create(&thread, nullptr, body, argument) == 0);
  pthread_detach(thread);
}

void *work_a_little(void *) {
  victim::exercise_heap(500, 2);
  sleep_ms(50);
  g_to_do.fetch_sub(1);
  return nullptr;
}

[[noreturn]] void leave() { pthread_exit(nullptr); }

void without_threads_of_ours() {
  atexit(at_end);
  start(work_a_little);
  leave();
}

void alone() {
  atexit(at_end);
  victim::exercise_heap(500, 2);
  leave();
}

void collector_used_before() {
  atexit(at_end);
  collect();
  start(work_a_little);
  leave();
}

void collector_used_alone() {
  atexit(at_end);
  collect();
  leave();
}

void collector_used_after() {
  atexit(at_end);
  named<void()>("wr_gc_collect");
  start([](void *) -> void * {
    await_end_of_main();
    for (int i = 0; i < 1000; ++i) std::memset(collected(1000), 1, 1000);
    collect();
    return work_a_little(nullptr);
  });
  leave();
}

void after_a_run() {
  atexit(at_end);
  using Main = int(void *);
  const auto result = named<int(Main *, void *)>("wr_run")(
      [](void *) {
        for (int i = 0; i < 100; ++i) named<int(void (*)(void *), void *, const void *)>("wr_go")([](void *) {}, nullptr, nullptr);
        named<void()>("wr_yield")();
        return 7;
      },
      nullptr);
  VICTIM_CHECK(result == 7);
  start(work_a_little);
  leave();
}

// A fiber is in a call that blocks when its run ends, and its thread in the program's code for as long.
void a_fiber_is_left_behind() {
  atexit(at_end);
  g_to_do.fetch_add(1);
  static std::atomic<bool> begun{false};
  using Main = int(void *);
  named<int(Main *, void *)>("wr_run")(
      [](void *) {
        named<int(void (*)(void *), void *, const void *)>("wr_go")(
            [](void *) {
              begun = true;
              sleep_ms(400);
              g_to_do.fetch_sub(1);
            },
            nullptr, nullptr);
        while (!begun) named<void()>("wr_yield")();
        return 0;
      },
      nullptr);
  leave();
}

// Each thread makes the next and ends, so that there is never more than one or two, and none for long.
void *run_relay(void *raw) {
  const auto left = reinterpret_cast<std::uintptr_t>(raw);
  if (left == 0) {
    sleep_ms(200);
  } else {
    if (left % 500 == 0) sleep_ms(60);
    start(run_relay, reinterpret_cast<void *>(left - 1));
  }
  g_to_do.fetch_sub(1);
  return nullptr;
}

void threads_work_on() {
  atexit(at_end);
  collect();
  start([](void *) -> void * {
    await_end_of_main();
    return run_relay(reinterpret_cast<void *>(static_cast<std::uintptr_t>(victim::scaled(3'000))));
  });
  leave();
}

// Work for threads of ours is the program's as long as it lasts.
void a_finalizer_runs_on() {
  atexit(at_end);
  g_to_do.fetch_add(1);
  using Finalizer = void(void *, void *);
  const auto set = named<int(void *, Finalizer *, void *)>("wr_gc_set_finalizer");
  static std::atomic<bool> begun{false};
  // On a thread of its own, whose stack goes with what it has left there.
  start([](void *raw) -> void * {
    for (int i = 0; i < 8; ++i) {
      reinterpret_cast<int (*)(void *, Finalizer *, void *)>(raw)(
          collected(64),
          [](void *, void *) {
            if (begun.exchange(true)) return;
            await_end_of_main();
            sleep_ms(400);
            g_to_do.fetch_sub(1);
          },
          nullptr);
    }
    g_to_do.fetch_sub(1);
    return nullptr;
  }, reinterpret_cast<void *>(set));
  while (g_to_do.load() != 1) sched_yield();
  while (!begun) collect();
  leave();
}

void in_a_child() {
  collect();
  start(work_a_little);
  const int child = fork();
  if (child == 0) {
    g_to_do = 0;
    alarm(60);
    collect();
    start(work_a_little);
    leave();
  }
  victim::expect_child_succeeds(child);
  atexit(at_end);
  leave();
}

constexpr victim::Scenario kScenarios[] = {
    {"without_threads_of_ours", without_threads_of_ours},
    {"alone", alone},
    {"collector_used_before", collector_used_before},
    {"collector_used_alone", collector_used_alone},
    {"collector_used_after", collector_used_after},
    {"after_a_run", after_a_run},
    {"a_fiber_is_left_behind", a_fiber_is_left_behind},
    {"threads_work_on", threads_work_on},
    {"a_finalizer_runs_on", a_finalizer_runs_on},
    {"in_a_child", in_a_child},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
