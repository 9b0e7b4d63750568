// A program with a known number of fibers that nothing can ever wake: stuck_victim CASE. stuck_test.py runs it and knows
// what each case has. Invariant: what a case waits for is made by a fiber that has ended when the search begins, so that
// the main fiber's stack knows of it only where the case says so.
#include "tests/faults/syscall_filter.h"

#include <warren/leaks.h>
#include <warren/scheduler.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using warren::chan;
using warren::go;
using warren::make_chan;

constexpr auto kLong = 1h;

// Fibers that wait, by the scheduler's own account.
int waiting() {
  const int fd = memfd_create("dump", 0);
  wr_dump_fibers(fd);
  std::string text(static_cast<size_t>(lseek(fd, 0, SEEK_END)), '\0');
  if (pread(fd, text.data(), text.size(), 0) < 0) abort();
  close(fd);
  int count = 0;
  for (size_t at = 0; (at = text.find("fiber ", at)) != std::string::npos; ++at) {
    if (at != 0 && text[at - 1] != '\n') continue;
    const size_t state = text.find('[', at);
    const bool waits = text.compare(state, 8, "[running") != 0 && text.compare(state, 9, "[runnable") != 0 &&
                       text.compare(state, 8, "[syscall") != 0;
    count += waits ? 1 : 0;
  }
  return count;
}

// What a fiber or a thread has left in registers and on dead parts of the main fiber's stack goes.
__attribute__((noinline)) void clear_stack() {
  char area[16384];
  memset(area, 0, sizeof area);
  asm volatile("" : : "r"(area) : "memory");
}

// Until so many wait; and all else that was started has ended.
__attribute__((noinline)) void settle(int count) {
  while (waiting() != count || wr_fiber_count() != static_cast<size_t>(count) + 1) warren::sleep_for(1ms);
  clear_stack();
}

__attribute__((noinline)) void receive_for_ever(const chan<int> &c) {
  c.recv();
  asm volatile("");
}

void receive_from_either(const chan<int> &a, const chan<int> &b) {
  warren::select(warren::on_recv(a, [](auto) {}), warren::on_recv(b, [](auto) {}));
}

void start_receiver(const chan<int> &c, const char *name = "") {
  go({.name = name}, [c] { receive_for_ever(c); });
}

int check() { return static_cast<int>(wr_stuck_check()); }

// A thread that is just about to sleep may still have old words at hand, which hide a fiber until they are gone: so it
// is looked for again until as many are found as there are. Where there are none, one look must find none.
int check_for(int stuck) {
  constexpr int kMost = 500;
  int found = 0;
  for (int i = 0; i < kMost; ++i) {
    found = check();
    if (found < 0 || found >= stuck) break;
    warren::sleep_for(2ms);
    clear_stack();
    // A thread that sleeps for longer keeps such words for as long: once in a while all have something to do.
    for (int k = 0; i % 50 == 49 && k < 16; ++k) go(clear_stack);
  }
  return found;
}

// Starts `make` on a fiber of its own and looks when it has ended and `count` fibers wait, of which so many are stuck.
int look(int count, int stuck, void (*make)()) {
  go(make);
  settle(count);
  return check_for(stuck);
}

// --- channels ---

int unreachable() {
  return look(1, 1, [] { start_receiver(make_chan<int>(), "orphan"); });
}

int many() {
  return look(30, 30, [] {
    for (int i = 0; i < 25; ++i) start_receiver(make_chan<int>());
    for (int i = 0; i < 5; ++i) go([c = make_chan<int>()] { c.send(1); });
  });
}

int nil() {
  return look(3, 3, [] {
    go([] { chan<int>().recv(); });
    go([] { chan<int>().send(1); });
    go([] { wr_select(nullptr, 0, 1); });
  });
}

int for_each_other() {
  return look(2, 2, [] {
    chan<int> one = make_chan<int>(), other = make_chan<int>();
    go([one, other] {
      one.recv();
      other.send(1);
    });
    go([one, other] {
      other.recv();
      one.send(1);
    });
  });
}

int select_lost() {
  return look(1, 1, [] {
    go([a = make_chan<int>(), b = make_chan<int>()] { receive_from_either(a, b); });
  });
}

// It has slept: the heap of timers once had its address.
int slept_before() {
  static std::atomic<bool> awake{false};
  go([] {
    go([c = make_chan<int>()] {
      for (int i = 0; i < 3; ++i) warren::sleep_for(1ms);
      awake = true;
      receive_for_ever(c);
    });
  });
  while (!awake) warren::sleep_for(1ms);
  settle(1);
  return check_for(1);
}

// --- channels that something alive leads to. Each is used in the end, and its fiber with it ---

chan<int> global;

int global_channel() {
  const int found = look(1, 0, [] {
    global = make_chan<int>();
    start_receiver(global);
  });
  global.send(1);
  settle(0);
  return found;
}

struct Node {
  Node *next;
  chan<int> channel;
};
Node *list = nullptr;

int heap_channel() {
  const int found = look(1, 0, [] {
    list = new Node{new Node{nullptr, make_chan<int>()}, {}};
    start_receiver(list->next->channel);
  });
  list->next->channel.close();
  settle(0);
  return found;
}

int on_stack() {
  chan<int> c = make_chan<int>();
  start_receiver(c);
  settle(1);
  const int found = check();
  c.close();
  settle(0);
  return found;
}

ucontext_t fibers_context, coroutines_context;
chan<int> *handed_over = nullptr;

void sleep_with_what_was_handed_over() {
  const chan<int> mine = std::move(*handed_over);
  warren::sleep_for(kLong);
}

// In another library's coroutine, on a stack that nobody knows.
int coroutine_holds() {
  return look(2, 0, [] {
    chan<int> c = make_chan<int>();
    start_receiver(c);
    go([c]() mutable {
      constexpr size_t kBytes = 128 << 10;
      handed_over = &c;
      getcontext(&coroutines_context);
      coroutines_context.uc_stack.ss_sp = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      coroutines_context.uc_stack.ss_size = kBytes;
      makecontext(&coroutines_context, sleep_with_what_was_handed_over, 0);
      swapcontext(&fibers_context, &coroutines_context);
    });
  });
}

int sleeper_holds() {
  return look(2, 0, [] {
    chan<int> c = make_chan<int>();
    start_receiver(c);
    go([c] {
      warren::sleep_for(kLong);
      c.send(1);
    });
  });
}

int descriptor_holds() {
  static int ends[2];
  if (pipe(ends) != 0) abort();
  return look(2, 0, [] {
    chan<int> c = make_chan<int>();
    start_receiver(c);
    go([c] {
      warren::wait_fd(ends[0], POLLIN);
      c.send(1);
    });
  });
}

int thread_holds() {
  static std::atomic<bool> ready{false};
  const int found = look(1, 0, [] {
    chan<int> c = make_chan<int>();
    start_receiver(c);
    std::thread([c] {
      ready = true;
      pause();
      c.send(1);
    }).detach();
    while (!ready) warren::sleep_for(1ms);
  });
  return found;
}

int timer_sends() {
  return look(2, 0, [] {
    chan<int> c = make_chan<int>();
    start_receiver(c);
    warren::after_func(kLong, [c] { c.send(1); });
    go([] { warren::after(kLong).recv(); });
  });
}

// The first is woken by main, and can wake the second, and that the third.
int chain() {
  return look(3, 0, [] {
    global = make_chan<int>();
    chan<int> second = make_chan<int>(), third = make_chan<int>();
    start_receiver(third);
    go([second, third] {
      second.recv();
      third.send(1);
    });
    go([first = global, second] {
      first.recv();
      second.send(1);
    });
  });
}

int select_half() {
  return look(1, 0, [] {
    global = make_chan<int>();
    go([a = global, b = make_chan<int>()] { receive_from_either(a, b); });
  });
}

// --- what else is waited for ---

struct Things {
  warren::mutex mutex, held;
  warren::cond cond{mutex};
  warren::rw_mutex read, written;
  warren::wait_group group;
  warren::semaphore semaphore{0};
  warren::once once;
};
std::shared_ptr<Things> things;

// One fiber for each; it waits for ever.
void wait_for_things(const std::shared_ptr<Things> &all) {
  all->held.lock();
  all->read.lock();
  all->written.lock_shared();
  all->group.add(1);
  go([all] { all->held.lock(); });
  go([all] {
    all->mutex.lock();
    all->cond.wait();
  });
  go([all] { all->read.lock_shared(); });
  go([all] { all->written.lock(); });
  go([all] { all->group.wait(); });
  go([all] { all->semaphore.acquire(); });
}

int things_lost() {
  return look(6, 6, [] { wait_for_things(std::make_shared<Things>()); });
}

int things_held() {
  return look(6, 0, [] {
    things = std::make_shared<Things>();
    wait_for_things(things);
  });
}

int once_lost() {
  return look(2, 2, [] {
    auto all = std::make_shared<Things>();
    go([all] {
      all->once.call([&all] {
        go([all] { all->once.call([] {}); });
        chan<int>().recv();
      });
    });
  });
}

// On the stack of the one that waits; nobody else knows of it, or one that sleeps does.
int own_group() {
  return look(3, 1, [] {
    go([] {
      warren::wait_group group;
      group.add(1);
      group.wait();
    });
    go([] {
      warren::wait_group group;
      group.go([] { warren::sleep_for(kLong); });
      group.wait();
    });
  });
}

// --- the world around ---

int untraceable() {
  if (!syscall_filter::deny("ptrace", EPERM, syscall_filter::Threads::kAll)) return 77;
  return look(2, 0, [] {
    start_receiver(make_chan<int>());
    global = make_chan<int>();
    start_receiver(global);
  });
}

// Asked by a thread; the main fiber itself waits for nobody.
int main_fiber() {
  std::thread([] {
    while (waiting() != 1) usleep(1000);
    printf("%d\n", check());
    exit(0);
  }).detach();
  chan<int>().recv();
  return -1;
}

// Others come and go meanwhile, and are made ready in every moment of a search.
int busy() {
  std::atomic<bool> over{false};
  warren::wait_group group;
  chan<int> ping = make_chan<int>(), pong = make_chan<int>();
  group.go([&] {
    for (int i : ping) pong.send(i);
    pong.close();
  });
  group.go([&] {
    while (!over) {
      ping.send(1);
      pong.recv();
    }
    ping.close();
  });
  for (int i = 0; i < 4; ++i) {
    group.go([&] {
      while (!over) {
        chan<int> c = make_chan<int>();
        go([c] { c.send(1); });
        c.recv();
      }
    });
  }
  int found = 0;
  for (int i = 0; i < 50; ++i) found += check();
  over = true;
  group.wait();
  return found;
}

// --- at the end ---

// Nothing but main's own variables led there.
int end_of_main() {
  chan<int> c = make_chan<int>();
  start_receiver(c, "worker");
  start_receiver(c, "worker");
  settle(2);
  return 0;
}

int tidy_end() {
  chan<int> jobs = make_chan<int>(), results = make_chan<int>(10);
  warren::wait_group workers;
  for (int i = 0; i < 4; ++i) {
    workers.go([&] {
      for (int job : jobs) results.send(job);
    });
  }
  go([&] {
    for (int i = 0; i < 100; ++i) jobs.send(1);
    jobs.close();
    workers.wait();
    results.close();
  });
  int sum = 0;
  for (int one : results) sum += one;
  settle(0);
  return sum == 100 ? 0 : -1;
}

int exit_inside() {
  go([] { start_receiver(make_chan<int>(), "orphan"); });
  settle(1);
  exit(5);
}

const struct {
  const char *name;
  int (*run)();
} kCases[] = {
    {"unreachable", unreachable},
    {"many", many},
    {"nil", nil},
    {"for_each_other", for_each_other},
    {"select_lost", select_lost},
    {"slept_before", slept_before},
    {"global_channel", global_channel},
    {"heap_channel", heap_channel},
    {"on_stack", on_stack},
    {"coroutine_holds", coroutine_holds},
    {"sleeper_holds", sleeper_holds},
    {"descriptor_holds", descriptor_holds},
    {"thread_holds", thread_holds},
    {"timer_sends", timer_sends},
    {"chain", chain},
    {"select_half", select_half},
    {"things_lost", things_lost},
    {"things_held", things_held},
    {"once_lost", once_lost},
    {"own_group", own_group},
    {"untraceable", untraceable},
    {"main_fiber", main_fiber},
    {"busy", busy},
    {"end_of_main", end_of_main},
    {"tidy_end", tidy_end},
    {"exit_inside", exit_inside},
};

}  // namespace

int main(int argc, char **argv) {
  for (const auto &known : kCases) {
    if (argc < 2 || strcmp(known.name, argv[1]) != 0) continue;
    const int found = warren::run(known.run);
    printf("%d\n", found);
    return 0;
  }
  fprintf(stderr, "no such case\n");
  return 99;
}
