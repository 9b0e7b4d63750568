// See rooted_memory.h.
#include "gc/rooted_memory.h"

#include "allocator/base/address.h"
#include "allocator/base/intrusive_list.h"
#include "allocator/base/mutex.h"
#include "warren/gc.h"

#include <cerrno>
#include <cstdlib>

namespace warren::gc::rooted_memory {
namespace {

struct alignas(16) Header {
  Header *next;
  Header *prev;
  size_t bytes;
};

// Several lists, so that threads that make channels at once seldom meet.
constexpr size_t kLists = 16;
struct alignas(64) List {
  Mutex lock{LockRank::kRootedMemory};
  IntrusiveList<Header> blocks GUARDED_BY(lock);
};
constinit List lists[kLists];

List &list_of(const Header *header) { return lists[(address_of(header) >> 8) % kLists]; }

bool locked[kLists];  // by a fork that is under way: not if its thread had it already, in a handler of a signal

}  // namespace

void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS {
  for (size_t i = 0; i < kLists; ++i) locked[i] = lists[i].lock.lock_for_fork();
}

void unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  for (size_t i = 0; i < kLists; ++i) {
    if (locked[i]) lists[i].lock.unlock_after_fork(in_child);
  }
}

void *allocate(size_t bytes) {
  if (bytes > size_t{PTRDIFF_MAX} - sizeof(Header)) return nullptr;
  auto *header = static_cast<Header *>(calloc(1, sizeof(Header) + bytes));
  if (header == nullptr) return nullptr;
  header->bytes = bytes;
  List &list = list_of(header);
  MutexLock guard(list.lock);
  list.blocks.push_front(header);
  return header + 1;
}

void free(void *memory) {
  if (memory == nullptr) return;
  Header *header = static_cast<Header *>(memory) - 1;
  {
    List &list = list_of(header);
    MutexLock guard(list.lock);
    list.blocks.remove(header);
  }
  ::free(header);
}

void for_each(VisitRange visit, void *context) {
  for (List &list : lists) {
    MutexLock guard(list.lock);
    for (const Header *header = list.blocks.front(); header != nullptr; header = header->next) {
      const uintptr_t low = address_of(header + 1);
      visit(low, low + header->bytes, context);
    }
  }
}

void forget_all() NO_THREAD_SAFETY_ANALYSIS {
  for (List &list : lists) {
    while (Header *header = list.blocks.front()) list.blocks.remove(header);
  }
}

}  // namespace warren::gc::rooted_memory

// Of warren/gc.h. Here and not in preload/, since the scheduler's C++ face needs them wherever the scheduler is.
extern "C" {
__attribute__((visibility("default"))) void *wr_gc_malloc_rooted(size_t size) {
  void *memory = warren::gc::rooted_memory::allocate(size);
  if (memory == nullptr) errno = ENOMEM;
  return memory;
}
__attribute__((visibility("default"))) void wr_gc_free_rooted(void *memory) { warren::gc::rooted_memory::free(memory); }
}
