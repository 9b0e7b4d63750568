// A program with a heap of known shape, for the tests of heap dumps. Prints what it made as "name address bytes", writes a dump to
// its first argument and ends.
//
//   list_head -> 1000 nodes of 48 bytes, each with a payload of 200 bytes; all nodes point to `shared`, doubly linked
//   left, right -> both to `diamond`, diamond -> 4096 bytes
//   a ring of three blocks that nobody holds
//   a collected object on the stack of main, holding a malloc block and a noscan object
//   a block that only the stack of a waiting thread holds
//   a large block of 1 MiB with a pointer in its middle
#include "warren/allocator.h"
#include "warren/gc.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <semaphore.h>

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

}  // namespace

int main(int argc, char **argv) {
  setvbuf(stdout, nullptr, _IONBF, 0);
  sem_init(&ready, 0, 0);
  sem_init(&finish, 0, 0);
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
  wipe_stack();
  const int error = argc > 1 ? wr_heap_dump(argv[1]) : 0;
  printf("error %#x 0\n", error);
  sem_post(&finish);
  pthread_join(thread, nullptr);
  return error;
}
