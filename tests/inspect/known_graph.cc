// A program with a heap of known shape, for the tests of heap dumps and of what looks at a process from outside. Prints what it made
// as "name address bytes", and then, by its first argument:
//
//   dump FILE      writes a dump to FILE and ends
//   wait           prints its figures, and ends at the end of its input
//   many FILE      makes a million objects more, then as dump
//   pipe FILE      likewise, and sees while the file is written whether a pipe has nobody's end but its own
//   churn FILE     dumps to FILE ten times while threads allocate and free, and collections run
//   fibers FILE    holds a block on the stack of a fiber that waits and one on that of the fiber that runs, then as dump
//   ages FILE      makes blocks of 100 bytes and of 1 MiB one after the other, tells when, then as dump
//   unforked FILE  holds a block in memory that no forked child gets, then as dump, and sees that it still gets none
//   forks FILE     makes nothing, but children that dump to FILE while threads of their parent do
//   crash          as fibers, and aborts
//
// What there is:
//
//   list_head -> 1000 nodes of 48 bytes, each with a payload of 200 bytes; all nodes point to `shared`, doubly linked
//   left, right -> both to `diamond`, diamond -> 4096 bytes
//   a ring of three blocks that nobody holds
//   a collected object on the stack of main, holding a malloc block and a noscan object
//   a collected object with a finalizer, whose argument nothing else holds
//   a block that only the stack of a waiting thread holds
//   a large block of 1 MiB with a pointer in its middle
#include "warren/allocator.h"
#include "warren/gc.h"
#include "warren/scheduler.h"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct Node {
  Node *next, *prev;
  void *payload;
  void *shared;
  uint64_t padding[2];
};
struct Pair {
  void *to;
  uint64_t padding[7];
};

Node *list_head;
Pair *left_pair, *right_pair;
void **large_block;

namespace {

sem_t ready, finish;

void tell(const char *name, const void *address, size_t bytes) {
  printf("%s %#lx %zu\n", name, static_cast<unsigned long>(reinterpret_cast<uintptr_t>(address)), bytes);
}

void *zeroed(size_t bytes) { return calloc(1, bytes); }

__attribute__((noinline)) void make_list() {
  void *shared = zeroed(3000);
  Node *last = nullptr;
  for (int i = 0; i < 1000; ++i) {
    auto *node = static_cast<Node *>(zeroed(sizeof(Node)));
    node->payload = zeroed(200);
    node->shared = shared;
    node->prev = last;
    if (last != nullptr) {
      last->next = node;
    } else {
      list_head = node;
    }
    last = node;
  }
  tell("list_head", list_head, sizeof(Node));
  tell("list_last", last, sizeof(Node));
  tell("list_shared", shared, 3000);
}

__attribute__((noinline)) void make_diamond() {
  left_pair = static_cast<Pair *>(zeroed(sizeof(Pair)));
  right_pair = static_cast<Pair *>(zeroed(sizeof(Pair)));
  auto *bottom = static_cast<Pair *>(zeroed(sizeof(Pair)));
  left_pair->to = right_pair->to = bottom;
  bottom->to = zeroed(4000);
  tell("left", left_pair, sizeof(Pair));
  tell("right", right_pair, sizeof(Pair));
  tell("bottom", bottom, sizeof(Pair));
  tell("bottom_block", bottom->to, 4000);
}

__attribute__((noinline)) void make_ring() {
  Pair *ring[3];
  for (Pair *&part : ring) part = static_cast<Pair *>(zeroed(sizeof(Pair)));
  for (int i = 0; i < 3; ++i) ring[i]->to = reinterpret_cast<char *>(ring[(i + 1) % 3]) + 8;  // into it
  tell("ring", ring[0], sizeof(Pair));
  explicit_bzero(ring, sizeof ring);
}

__attribute__((noinline)) void make_large() {
  large_block = static_cast<void **>(zeroed(1 << 20));
  large_block[70000] = zeroed(500);
  tell("large", large_block, 1 << 20);
  tell("in_large", large_block[70000], 500);
}

__attribute__((noinline)) void make_finalizer(void *collected) {
  void *argument = zeroed(1800);
  tell("finalizer_block", argument, 1800);
  wr_gc_set_finalizer(collected, [](void *, void *) {}, argument);
}

void *hold(void *) {
  void *volatile held = zeroed(777);
  tell("thread_block", held, 777);
  pthread_setname_np(pthread_self(), "holder");
  sem_post(&ready);
  sem_wait(&finish);
  free(held);
  return nullptr;
}

// What earlier calls left on the stack must not hold anything.
__attribute__((noinline)) void wipe_stack() {
  volatile char area[16384];
  for (volatile char &byte : area) byte = 0;
}

int dump(const char *path) {
  const int error = wr_heap_dump(path);
  printf("error %#x 0\n", error);
  return error;
}

// A tree of a million blocks below one variable.
void **many;
int make_many(const char *path) {
  constexpr int kRows = 1000;
  many = static_cast<void **>(zeroed(kRows * sizeof(void *)));
  for (int i = 0; i < kRows; ++i) {
    auto **row = static_cast<void **>(zeroed(kRows * sizeof(void *)));
    for (int k = 0; k < kRows; ++k) row[k] = zeroed(32);
    many[i] = row;
  }
  tell("many", many, kRows * sizeof(void *));
  return dump(path);
}

std::atomic<bool> over{false};

// Once the file grows, closes one end of the pipe: the other then is told so, unless the dump's copy has that end as well.
void *close_pipe(void *argument) {
  const std::string written = static_cast<const char *>(argument) + (".writing." + std::to_string(getpid()));
  int ends[2];
  if (pipe(ends) != 0) abort();
  sem_post(&ready);
  struct stat file {};
  while (!over && (stat(written.c_str(), &file) != 0 || file.st_size == 0)) usleep(100);
  close(ends[1]);
  pollfd end{ends[0], POLLIN, 0};
  const int seen = poll(&end, 1, 0);
  printf("pipe_closed %#x 0\n", seen == 1 && (end.revents & POLLHUP) != 0);
  close(ends[0]);
  return nullptr;
}

int dump_and_close_pipe(char *path) {
  pthread_t thread;
  pthread_create(&thread, nullptr, close_pipe, path);
  sem_wait(&ready);
  const int error = make_many(path);
  over = true;
  pthread_join(thread, nullptr);
  return error;
}

void *churn(void *) {
  constexpr int kSlots = 512;
  void *mine[kSlots] = {};
  void *volatile collected = nullptr;
  for (unsigned step = 1; !over.load(); ++step) {
    void *&slot = mine[step * 2654435761u % kSlots];
    free(slot);
    slot = zeroed(step % 5000 + 1);
    auto **fresh = static_cast<void **>(wr_gc_malloc(16 + step % 400));
    fresh[0] = step % 100 != 0 ? collected : nullptr;
    collected = fresh;
  }
  for (void *block : mine) free(block);
  return nullptr;
}

int churn_and_dump(const char *path) {
  pthread_t threads[3];
  for (pthread_t &thread : threads) pthread_create(&thread, nullptr, churn, nullptr);
  int error = 0;
  for (int i = 0; i < 10 && error == 0; ++i) {
    if (i % 3 == 0) wr_gc_collect();
    error = dump(path);
  }
  over = true;
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
  return error;
}

int on_fibers(const char *path) {
  return warren::run([path] {
    warren::go(warren::fiber_options{.name = "keeper"}, [] {
      void *volatile held = zeroed(1500);
      tell("fiber_block", held, 1500);
      warren::sleep_for(std::chrono::hours(1));
      free(held);
    });
    void *volatile held = zeroed(1700);
    tell("running_block", held, 1700);
    warren::sleep_for(std::chrono::milliseconds(20));
    if (path == nullptr) abort();
    const int error = dump(path);
    free(held);
    return error;
  });
}

uint64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// "before" and "after": the time on both sides of each allocation, and of the dump. Between two of them passes more than the
// unit of any clock.
void *volatile aged[8];
int age_and_dump(const char *path) {
  for (int i = 0; i < 8; ++i) {
    const uint64_t before = now();
    aged[i] = zeroed(i % 2 == 0 ? 100 : 1 << 20);
    printf("before%d %#lx 0\nafter%d %#lx 0\nblock%d %p 0\n", i, before, i, now(), i, aged[i]);
    usleep(50000);
  }
  const uint64_t before = now();
  const int error = dump(path);
  printf("before_dump %#lx 0\nafter_dump %#lx 0\n", before, now());
  return error;
}

void **unforked;
int hide_and_dump(const char *path) {
  constexpr size_t kBytes = 1 << 20;
  unforked = static_cast<void **>(aligned_alloc(4096, kBytes));
  memset(unforked, 0, kBytes);
  unforked[5000] = zeroed(500);
  madvise(unforked, kBytes, MADV_DONTFORK);
  tell("unforked", unforked, kBytes);
  tell("in_unforked", unforked[5000], 500);
  const int error = dump(path);
  const pid_t child = fork();
  if (child == 0) {
    char seen;  // read by the kernel, so that nothing dies of it
    const iovec to{&seen, 1}, from{unforked, 1};
    _exit(process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1 ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status != 0 ? 99 : error;
}

// Without a collector.
int fork_and_dump(const char *path) {
  static std::atomic<bool> enough{false};
  static std::string beside[2];
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) {
    beside[i] = std::string(path) + "." + std::to_string(i);
    const auto run = [](void *name) -> void * {
      while (!enough) wr_heap_dump(static_cast<std::string *>(name)->c_str());
      return nullptr;
    };
    pthread_create(&threads[i], nullptr, run, &beside[i]);
  }
  int failures = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      _exit(wr_heap_dump(path));
    }
    int status = 0;
    waitpid(child, &status, 0);
    failures += status != 0;
    if (failures != 0) break;
  }
  enough = true;
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  return failures;
}

int wait_for_end() {
  wr_mem_stats stats;
  wr_read_mem_stats(&stats);
  printf("alloc_bytes %#lx 0\nheap_sys %#lx 0\nheap_objects %#lx 0\nnum_gc %#lx 0\nfree_bytes %#lx 0\n", stats.alloc_bytes,
         stats.heap_sys, stats.heap_objects, stats.num_gc, stats.heap_idle);
  printf("waiting 0 0\n");
  char byte;
  while (fread(&byte, 1, 1, stdin) == 1) {
  }
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  setvbuf(stdout, nullptr, _IONBF, 0);
  setvbuf(stdin, nullptr, _IONBF, 0);
  sem_init(&ready, 0, 0);
  sem_init(&finish, 0, 0);
  const char *what = argc > 1 ? argv[1] : "wait";
  char *path = argc > 2 ? argv[2] : nullptr;
  if (strcmp(what, "forks") == 0) return fork_and_dump(path);
  pthread_t thread;
  pthread_create(&thread, nullptr, hold, nullptr);
  sem_wait(&ready);
  make_list();
  make_diamond();
  make_ring();
  make_large();
  auto *volatile collected = static_cast<void **>(wr_gc_malloc(64));
  collected[0] = zeroed(300);
  collected[1] = wr_gc_malloc_noscan(2000);
  tell("collected", collected, 64);
  tell("collected_block", collected[0], 300);
  tell("collected_noscan", collected[1], 2000);
  memcpy(collected[1], &list_head, sizeof list_head);  // not looked at
  make_finalizer(collected);
  wipe_stack();
  int error = 0;
  if (strcmp(what, "dump") == 0) error = dump(path);
  if (strcmp(what, "many") == 0) error = make_many(path);
  if (strcmp(what, "pipe") == 0) error = dump_and_close_pipe(path);
  if (strcmp(what, "churn") == 0) error = churn_and_dump(path);
  if (strcmp(what, "fibers") == 0) error = on_fibers(path);
  if (strcmp(what, "unforked") == 0) error = hide_and_dump(path);
  if (strcmp(what, "ages") == 0) error = age_and_dump(path);
  if (strcmp(what, "crash") == 0) error = on_fibers(nullptr);
  if (strcmp(what, "wait") == 0) error = wait_for_end();
  sem_post(&finish);
  pthread_join(thread, nullptr);
  return error;
}
