// See awaited.h. What park() was given is the object itself, but for select: what its waiters share.
#include "scheduler/awaited.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"
#include "scheduler/channel.h"
#include "scheduler/stacks.h"
#include "scheduler/wait_list.h"

#include <warren/sync.h>

namespace warren::scheduler {

void for_each_awaited(const G *g, void (*visit)(uintptr_t object, void *context), void *context) {
  if (g->awaited == nullptr) return;
  if (g->reason != WaitReason::kSelect) return visit(address_of(g->awaited), context);
  const auto *wait = static_cast<const SelectWait *>(g->awaited);
  for (size_t i = 0; i < wait->count; ++i) {
    if (wait->cases[i].chan != nullptr) visit(address_of(wait->cases[i].chan), context);
  }
}

WokenBy woken_by(const G *g) {
  switch (g->reason) {
    case WaitReason::kChanReceiveNil:
    case WaitReason::kChanSendNil:
    case WaitReason::kSelectNoCases: return WokenBy::kNobody;
    default: break;
  }
  if (g->awaited == nullptr) return WokenBy::kOthers;
  bool any = false;
  for_each_awaited(g, [](uintptr_t, void *found) { *static_cast<bool *>(found) = true; }, &any);
  return any ? WokenBy::kObject : WokenBy::kNobody;
}

namespace {

const wr_chan *channel_of(const G *g) { return static_cast<const wr_chan *>(g->awaited); }

// Where the list begins that the waiting fiber is in.
uintptr_t head_of(const G *g) {
  switch (g->reason) {
    case WaitReason::kMutexLock:
    case WaitReason::kOnce: return address_of(&static_cast<const wr_mutex *>(g->awaited)->first);
    case WaitReason::kRwMutexRLock: return address_of(&static_cast<const wr_rw_mutex *>(g->awaited)->room[0]);
    case WaitReason::kRwMutexLock: return address_of(&static_cast<const wr_rw_mutex *>(g->awaited)->room[2]);
    case WaitReason::kWaitGroupWait: return address_of(&static_cast<const wr_wait_group *>(g->awaited)->room[0]);
    case WaitReason::kCondWait: return address_of(&static_cast<const wr_cond *>(g->awaited)->room[0]);
    case WaitReason::kSemaphore: return address_of(&static_cast<const wr_semaphore *>(g->awaited)->room[0]);
    default: return 0;
  }
}

template <class Waiting>
bool list_holds(uintptr_t head, const G *g) {
  Waiting *at = nullptr;
  if (os_calls::copy_memory(os_calls::process_id(), &at, head, sizeof at) != sizeof at) return true;
  // All lie on fibers' stacks: a thread that waited would lead to the object.
  for (; at != nullptr && stack_bounds_of(at).low != nullptr; at = at->next) {
    if (at->g == g) return true;
  }
  return false;
}

}  // namespace

bool is_queued(const G *g) {
  switch (g->reason) {
    // relaxed: the threads are stopped
    case WaitReason::kSelect:
      return static_cast<const SelectWait *>(g->awaited)->claimed.load(std::memory_order_relaxed) == 0;
    case WaitReason::kChanReceive: return list_holds<Waiter>(channel_of(g)->receivers.head(), g);
    case WaitReason::kChanSend: return list_holds<Waiter>(channel_of(g)->senders.head(), g);
    default: break;
  }
  const uintptr_t head = head_of(g);
  return head == 0 || list_holds<Place>(head, g);
}

}  // namespace warren::scheduler
