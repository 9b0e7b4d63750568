// See timer_heap.h.
#include "scheduler/timer_heap.h"

#include "allocator/base/check.h"

#include <cstdlib>

namespace warren::scheduler {
namespace {

constexpr uint32_t kArity = 4;  // half the height of a binary heap, and four neighbours share a cache line
constexpr uint32_t kFirstCapacity = 64;

// heap is read without the lock by who wants to know which lock to take.
void set_heap(Timer *timer, TimerHeap *heap) { __atomic_store_n(&timer->heap, heap, __ATOMIC_RELEASE); }

}  // namespace

void TimerHeap::publish_next() {
  next_.store(count_ != 0 ? timers_[0]->when : kNever, std::memory_order_relaxed);
}

void TimerHeap::sift_up(uint32_t index) {
  Timer *timer = timers_[index];
  while (index != 0) {
    const uint32_t parent = (index - 1) / kArity;
    if (timers_[parent]->when <= timer->when) break;
    timers_[index] = timers_[parent];
    timers_[index]->index = index;
    index = parent;
  }
  timers_[index] = timer;
  timer->index = index;
}

void TimerHeap::sift_down(uint32_t index) {
  Timer *timer = timers_[index];
  for (;;) {
    const uint64_t first = uint64_t{index} * kArity + 1;
    if (first >= count_) break;
    auto least = static_cast<uint32_t>(first);
    const uint64_t end = first + kArity < count_ ? first + kArity : count_;
    for (auto child = least + 1; child < end; ++child) {
      if (timers_[child]->when < timers_[least]->when) least = child;
    }
    if (timers_[least]->when >= timer->when) break;
    timers_[index] = timers_[least];
    timers_[index]->index = index;
    index = least;
  }
  timers_[index] = timer;
  timer->index = index;
}

bool TimerHeap::insert(Timer *timer) {
  if (count_ == capacity_) {
    capacity_ = capacity_ != 0 ? capacity_ * 2 : kFirstCapacity;
    timers_ = static_cast<Timer **>(realloc(timers_, capacity_ * sizeof(Timer *)));
    CHECK(timers_ != nullptr);
  }
  timers_[count_] = timer;
  sift_up(count_++);
  set_heap(timer, this);
  publish_next();
  return timer->index == 0;
}

TimerHeap *TimerHeap::moving() {
  static char mark;
  return reinterpret_cast<TimerHeap *>(&mark);
}

void TimerHeap::erase(uint32_t index, TimerHeap *next_heap) {
  Timer *timer = timers_[index];
  Timer *last = timers_[--count_];
  if (last != timer) {
    timers_[index] = last;
    last->index = index;
    sift_up(index);
    sift_down(last->index);
  }
  timers_[count_] = nullptr;  // who searches memory for pointers is to find pending ones only
  set_heap(timer, next_heap);
  publish_next();
}

bool TimerHeap::add(Timer *timer) {
  MutexLock hold(lock_);
  DCHECK(timer->heap == nullptr || timer->heap == moving());
  return insert(timer);
}

bool TimerHeap::remove(Timer *timer) {
  MutexLock hold(lock_);
  if (timer->heap != this) return false;
  erase(timer->index);
  return true;
}

uint64_t TimerHeap::run(uint64_t now) NO_THREAD_SAFETY_ANALYSIS {
  if (next() > now) return next();
  lock_.lock();
  while (count_ != 0 && timers_[0]->when <= now) {
    Timer *timer = timers_[0];
    auto *fire = timer->fire;
    if (timer->period != 0) {
      // Ticks that were missed are left out.
      timer->when += timer->period * (1 + (now - timer->when) / timer->period);
      sift_down(0);
      publish_next();
    } else {
      erase(0);
    }
    // Unlocked: it may add and remove timers. The timer may be gone when it returns.
    lock_.unlock();
    fire(timer, now);
    lock_.lock();
  }
  const uint64_t next = count_ != 0 ? timers_[0]->when : kNever;
  lock_.unlock();
  return next;
}

void TimerHeap::move_to(TimerHeap &other, bool (*forget)(const Timer *timer)) {
  for (;;) {
    Timer *timer;
    bool forgotten;
    {
      MutexLock hold(lock_);
      if (count_ == 0) return;
      timer = timers_[count_ - 1];
      forgotten = forget != nullptr && forget(timer);
      erase(count_ - 1, forgotten ? nullptr : moving());
    }
    if (forgotten) continue;
    // Without this heap's lock: both are of one rank.
    other.add(timer);
  }
}

}  // namespace warren::scheduler
