// What the two halves of leaks_victim share: the cases (leaks_victim.cc), each of which leaks a known set of blocks or none, and
// the acts (leaks_acts.cc), which search by themselves and judge what was found.
#pragma once

#include <atomic>
#include <cstddef>

namespace cases {

extern const char *module_path;

struct Node {
  Node *volatile next = nullptr;
  void *volatile other = nullptr;
  char rest[32] = {};
};

// Seen by the compiler as an escape, so that no store is left out.
template <class T>
T *opaque(T *pointer) {
  asm volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

Node *make_node();
void *make_block(size_t size);
void clear_stack();

extern std::atomic<int> ready;  // threads that wait for ever

void leak_direct();    // 3 blocks
void leak_indirect();  // 1 block that holds 3
void keep_on_stack();
void keep_thread_local();

struct Act {
  const char *name;
  int (*run)();
};
int run_act(const char *name);  // its exit status; -1: there is none of that name

}  // namespace cases
