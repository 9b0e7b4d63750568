// See fork.h. Locks are taken in rank order. A lock that this very thread holds (fork in a signal handler
// that interrupted the heap) is passed over on both sides: the interrupted operation goes on in both
// processes when the handler returns. A handler that interrupts the fork itself is served as one inside the heap, by the emergency pool.
#include "allocator/fork.h"

#include "allocator/central.h"
#include "allocator/heap.h"
#include "allocator/metadata.h"
#include "allocator/page_heap.h"
#include "allocator/scavenger.h"
#include "allocator/thread.h"

#include <pthread.h>

// glibc's lock on the list of streams, which it takes itself in fork, after all handlers: recursive, and exported since ever.
extern "C" {
__attribute__((weak)) void _IO_list_lock();
__attribute__((weak)) void _IO_list_unlock();
__attribute__((weak)) void _IO_list_resetlock();
}

namespace warren::fork_handlers {
namespace {

// Which locks prepare() took. Guarded by those locks themselves: one thread at a time gets past the first.
bool registry_locked;
bool central_locked[kClassCount];
bool page_heap_locked;
bool metadata_locked;

void prepare() NO_THREAD_SAFETY_ANALYSIS {
  threads::enter_fork();
  if (threads::forks() != 1) return;  // all is the outer one's
  registry_locked = threads::lock_registry_for_fork();
  for (unsigned number = 0; number < kClassCount; ++number) central_locked[number] = centrals[number].lock().lock_for_fork();
  page_heap_locked = page_heap::lock.lock_for_fork();
  metadata_locked = metadata::lock.lock_for_fork();
}

void release(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  if (metadata_locked) metadata::lock.unlock_after_fork(in_child);
  if (page_heap_locked) page_heap::lock.unlock_after_fork(in_child);
  for (unsigned number = kClassCount; number-- > 0;) {
    if (central_locked[number]) centrals[number].lock().unlock_after_fork(in_child);
  }
  if (registry_locked) threads::unlock_registry_after_fork(in_child);
}

void in_parent() {
  if (threads::forks() == 1) release(false);
  threads::leave_fork();
}

void in_child() {
  const bool is_outermost = threads::forks() == 1;
  if (is_outermost) release(true);
  threads::leave_fork();
  if (!is_outermost) return;
  if (page_heap_locked) page_heap::reset_in_child();
  scavenger::reset_in_child();
  threads::adopt_caches_in_child();
}

}  // namespace

void install() { pthread_atfork(prepare, in_parent, in_child); }

void install_last() {
  if (_IO_list_lock == nullptr || _IO_list_unlock == nullptr || _IO_list_resetlock == nullptr) return;
  // In the child glibc has reset it only if the process had several threads.
  pthread_atfork([] { _IO_list_lock(); }, [] { _IO_list_unlock(); }, [] { _IO_list_resetlock(); });
}

}  // namespace warren::fork_handlers
