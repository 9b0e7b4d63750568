// The acts of leaks_victim: they search by themselves, while something goes on or under some condition. See leaks_victim.h.
#include "leaks_victim.h"
#include "tests/faults/syscall_filter.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <pthread.h>
#include <semaphore.h>
#include <string>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

extern "C" {
int64_t wr_leak_check() __attribute__((weak));
void *wr_gc_malloc(size_t size) __attribute__((weak));
void wr_gc_collect() __attribute__((weak));
}

namespace cases {
namespace {

int64_t check() {
  if (wr_leak_check == nullptr) abort();
  return wr_leak_check();
}

int fail(const char *what, long value) {
  fprintf(stderr, "FAILED: %s: %ld\n", what, value);
  return 1;
}

// What threads wait for in the kernel is not cut short by a search.
int system_calls() {
  static std::atomic<long> cut{0};
  static int pipes[8][2], epoll, event;
  for (auto &ends : pipes) {
    if (pipe(ends) != 0) abort();
  }
  event = eventfd(0, 0);
  epoll = epoll_create1(0);
  epoll_event wanted{};
  wanted.events = EPOLLIN;
  epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0][0], &wanted);
  static sem_t never;
  sem_init(&never, 0, 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const auto expect = [](const char *name, bool good) {
    if (good) return;
    fprintf(stderr, "FAILED: %s: %s\n", name, strerror(errno));
    ++cut;
  };
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    epoll_event got;
    ++ready;
    expect("epoll_wait", epoll_wait(epoll, &got, 1, -1) == 1);
  });
  threads.emplace_back([&] {
    epoll_event got;
    ++ready;
    expect("epoll_wait with a limit", epoll_wait(epoll, &got, 1, 600000) == 1);
  });
  threads.emplace_back([&] {
    epoll_event got;
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);  // which sigtimedwait waits for, and would end the process here
    ++ready;
    expect("epoll_pwait", epoll_pwait(epoll, &got, 1, -1, &mask) == 1);
  });
  threads.emplace_back([&] {
    char byte;
    ++ready;
    expect("read", read(pipes[1][0], &byte, 1) == 1);
  });
  threads.emplace_back([&] {
    timespec time{0, 700'000'000};
    ++ready;
    expect("nanosleep", nanosleep(&time, nullptr) == 0);
  });
  threads.emplace_back([&] {
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    ++ready;
    const int result = sem_timedwait(&never, &until);
    expect("sem_timedwait", result == -1 && errno == ETIMEDOUT);
  });
  threads.emplace_back([&] {
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR1);
    timespec time{600, 0};
    ++ready;
    expect("sigtimedwait", sigtimedwait(&mine, nullptr, &time) == SIGUSR1);
  });
  threads.emplace_back([&] {
    eventfd_t value;
    ++ready;
    expect("eventfd_read", eventfd_read(event, &value) == 0);
  });
  while (ready < static_cast<int>(threads.size())) usleep(1000);
  usleep(20000);
  for (int i = 0; i < 10; ++i) {
    if (const int64_t lost = check(); lost != 0) return fail("lost blocks", lost);
  }
  if (write(pipes[0][1], "x", 1) != 1 || write(pipes[1][1], "x", 1) != 1) abort();
  eventfd_write(event, 1);
  kill(getpid(), SIGUSR1);
  for (std::thread &thread : threads) thread.join();
  return cut == 0 ? 0 : 1;
}

void make_unique_text() { opaque(std::make_unique<std::string>(200, 't').get()); }

// Searches while threads allocate, free, start and end, load and unload: none finds anything, and nothing breaks.
int busy() {
  static std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([seed] {
      std::vector<std::unique_ptr<Node>> held(1000);
      unsigned state = seed * 12345;
      while (!stop) {
        state = state * 1103515245 + 12345;
        auto &slot = held[state / 65536 % held.size()];
        slot = slot == nullptr ? std::make_unique<Node>() : nullptr;
        if (state % 8192 == 0) std::thread([] { make_unique_text(); }).join();
      }
    });
  }
  threads.emplace_back([] {
    while (!stop) {
      if (void *library = dlopen(module_path, RTLD_NOW)) dlclose(library);
    }
  });
  threads.emplace_back([] {
    while (!stop) {
      const pid_t child = fork();
      if (child == 0) _exit(0);
      waitpid(child, nullptr, 0);
      usleep(2000);
    }
  });
  int64_t lost = 0;
  for (int i = 0; i < 15 && lost == 0; ++i) lost = check();
  stop = true;
  for (std::thread &thread : threads) thread.join();
  return lost == 0 ? 0 : fail("lost blocks", lost);
}

// Blocks that are lost and found again: what is said of them follows.
int counts() {
  if (check() != 0) return fail("at first", check());
  std::thread(leak_indirect).join();
  if (const int64_t lost = check(); lost != 4) return fail("after a chain of four", lost);
  std::thread(leak_direct).join();
  if (const int64_t lost = check(); lost != 7) return fail("after three more", lost);
  return 0;
}

// Nobody's child: the program sees none of the search's processes, and no descriptor of theirs.
int children() {
  std::thread(leak_direct).join();
  const int before = dup(0);
  close(before);
  if (check() != 3) return fail("count", check());
  errno = 0;
  if (waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) return fail("a child", errno);
  const int after = dup(0);
  close(after);
  if (before != after) return fail("a descriptor", after);
  sigset_t waiting;
  sigpending(&waiting);
  if (sigismember(&waiting, SIGCHLD) == 1) return fail("SIGCHLD", 1);
  // A forked child does not look by itself, but may ask.
  const pid_t child = fork();
  if (child == 0) exit(check() == 3 ? 5 : 6);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 5 ? 0 : fail("status of the child", status);
}

bool forbid_tracing() { return syscall_filter::deny("ptrace", EPERM); }

// Where nobody may trace, the collector's signal stops the threads.
int untraceable() {
  if (!forbid_tracing()) return 77;
  keep_on_stack();
  keep_thread_local();
  std::thread(leak_direct).join();
  if (const int64_t lost = check(); lost != 3) return fail("lost blocks", lost);
  return 0;
}

// That signal leaves the collector's own threads and the scavenger alone: they change the heap while the search begins.
int untraceable_collecting() {
  if (!forbid_tracing()) return 77;
  std::thread(leak_direct).join();
  static std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.emplace_back([] {
    while (!stop) {
      for (int i = 0; i < 100; ++i) wr_gc_malloc(static_cast<size_t>(i) * 1000);
      wr_gc_collect();
    }
  });
  threads.emplace_back([] {
    for (unsigned state = 1; !stop;) {
      std::unique_ptr<char[]> blocks[64];
      for (auto &block : blocks) {
        state = state * 1103515245 + 12345;
        block = std::make_unique<char[]>(state / 65536 % 300000 + 1);
      }
    }
  });
  int64_t lost = 3;
  for (int i = 0; i < 30 && lost == 3; ++i) lost = check();
  stop = true;
  for (std::thread &thread : threads) thread.join();
  return lost == 3 ? 0 : fail("lost blocks", lost);
}

int by_signal() {
  std::thread(leak_direct).join();
  for (int i = 0; i < 3; ++i) {
    raise(SIGUSR2);
    usleep(1000);
  }
  return 4;
}

// The program's own handler stays.
int own_handler() {
  static std::atomic<int> handled{0};
  struct sigaction action{};
  action.sa_handler = [](int) { ++handled; };
  sigaction(SIGUSR2, &action, nullptr);
  raise(SIGUSR2);
  return handled == 1 ? 0 : 1;
}

// Lost on the first thread, whose stack is searched; an old word may hide one.
int on_first_thread() {
  for (int i = 0; i < 100; ++i) make_block(48);
  clear_stack();
  return 0;
}

int by_exit_in_thread() {
  std::thread(leak_direct).join();
  std::thread([] { exit(9); }).join();
  return 0;
}

int ends_at_once() {
  std::thread(leak_direct).join();
  printf("unflushed");
  return 7;
}

// Ends that run no destructors.
int by_exit_call() {
  std::thread(leak_direct).join();
  _exit(4);
}
int by_quick_exit() {
  std::thread(leak_direct).join();
  quick_exit(4);
}
int by_clean_exit_call() { _exit(4); }

// The child of a vfork ends so in its parent's memory, and that is no end of the program's.
int after_vfork() {
  std::thread(leak_direct).join();
  for (int i = 0; i < 3; ++i) {
    const pid_t child = vfork();
    if (child == 0) _exit(3);
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 3) return fail("status of the child", status);
  }
  _exit(4);
}

// A handler that ends the program wherever it was: in malloc, between two calls of it, in a search of its own.
void end_after(long microseconds) {
  struct sigaction action{};
  action.sa_handler = [](int) { _exit(4); };
  sigaction(SIGALRM, &action, nullptr);
  const itimerval once{{0, 0}, {0, microseconds}};
  setitimer(ITIMER_REAL, &once, nullptr);
}
int by_handler_in_heap() {
  end_after(1 + getpid() % 50 * 100);
  for (size_t size = 1;; size = size * 7 % 60013) free(opaque(malloc(size)));
}
int by_handler_in_search() {
  end_after(1 + getpid() % 50 * 100);
  for (;;) check();
}

// Two threads end the program at once: it is looked once.
int by_two_threads() {
  std::thread(leak_direct).join();
  std::thread other([] { _exit(4); });
  _exit(4);
}

// Children that leak and end either way. What they say is in the report; what they return is their own.
int forked_children() {
  for (const bool at_once : {false, true}) {
    const pid_t child = fork();
    if (child == 0) {
      std::thread(leak_direct).join();
      if (at_once) _exit(8);
      exit(7);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != (at_once ? 8 : 7)) return fail("status of the child", status);
  }
  return 0;
}

constexpr Act kActs[] = {
    {"by_exit_call", by_exit_call}, {"by_quick_exit", by_quick_exit}, {"by_clean_exit_call", by_clean_exit_call},
    {"after_vfork", after_vfork}, {"by_handler_in_heap", by_handler_in_heap}, {"by_handler_in_search", by_handler_in_search},
    {"by_two_threads", by_two_threads}, {"forked_children", forked_children},
    {"system_calls", system_calls}, {"busy", busy}, {"counts", counts}, {"children", children},
    {"by_signal", by_signal}, {"own_handler", own_handler}, {"on_first_thread", on_first_thread},
    {"exit_in_thread", by_exit_in_thread}, {"unflushed", ends_at_once}, {"untraceable", untraceable},
    {"untraceable_collecting", untraceable_collecting},
};

}  // namespace

int run_act(const char *name) {
  for (const Act &known : kActs) {
    if (strcmp(known.name, name) == 0) return known.run();
  }
  return -1;
}

}  // namespace cases
