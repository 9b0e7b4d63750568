// The local queue of a P: a ring of 256 and a slot for the one to run next. And the list that overflows into the global
// queue.
// Callers: P's owner (put, take), other Ps (steal). Item is G; tests use their own with a `next` of its own type.
//
//   next_   the one made ready last: runs next and shares the time slice of who made it ready, so that two fibers
//           that wake each other neither wait for the ring nor live for ever
//   ring    [head_, tail_): the owner puts at the tail and takes at the head; thieves take at the head
//
// Invariant: each item put in is taken out once: a slot is handed over by the exchange on head_, next_ by the one on
// next_. `alone`: no other P exists, which changes only while the world is stopped; then nobody steals, and the owner
// needs no atomic read-modify-write.
#pragma once

#include "allocator/base/annotations.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warren::scheduler {

// A list through `next`, for moving several at once. Owned by one thread.
template <class Item>
struct Batch {
  Item *first = nullptr;
  Item *last = nullptr;
  uint32_t count = 0;

  bool empty() const { return first == nullptr; }
  void push(Item *item) {
    item->next = nullptr;
    (first == nullptr ? first : last->next) = item;
    last = item;
    ++count;
  }
  void push_front(Item *item) {
    item->next = first;
    first = item;
    if (last == nullptr) last = item;
    ++count;
  }
  Item *pop() {
    Item *item = first;
    if (item == nullptr) return nullptr;
    first = item->next;
    if (first == nullptr) last = nullptr;
    --count;
    item->next = nullptr;
    return item;
  }
  void append(const Batch &more) {
    if (more.empty()) return;
    (first == nullptr ? first : last->next) = more.first;
    last = more.last;
    count += more.count;
  }
};

template <class Item>
class RunQueue {
 public:
  struct Layout;

  // Larger: a burst stays local for longer, and a thief copies more. A power of two.
  static constexpr uint32_t kSlots = 256;

  struct Taken {
    Item *item;
    bool inherits;  // the time slice of who ran before
  };

  // Owner. To the tail, if there is room.
  bool put_if_room(Item *item) {
    // acquire: pairs with the thieves' exchange: what they copied out is out.
    const uint32_t head = head_.load(std::memory_order_acquire);
    const uint32_t tail = tail_.load(std::memory_order_relaxed);  // the owner's own
    if (WARREN_UNLIKELY(tail - head >= kSlots)) return false;
    slot(tail).store(item, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);  // pairs with the acquire in grab(): the slot is filled
    return true;
  }

  // Owner. To the tail. What does not fit leaves by `overflow`: half the ring and the item.
  void put(Item *item, Batch<Item> &overflow) {
    while (!put_if_room(item) && !overflow_half(item, overflow)) {
    }
  }

  // Owner. To the slot that runs next; returns who was there, for the tail. With more than one P the exchange is the
  // store-load fence that must lie between making work visible and looking for somebody to wake.
  Item *exchange_next(Item *item, bool alone) {
    if (!alone) return next_.exchange(item, std::memory_order_seq_cst);  // release for thieves, fence for the waker
    Item *kicked = next_.load(std::memory_order_relaxed);
    next_.store(item, std::memory_order_relaxed);
    return kicked;
  }

  // Owner. The one to run next, if there is one.
  WARREN_ALWAYS_INLINE Item *take_next(bool alone) {
    Item *item = next_.load(std::memory_order_relaxed);  // the exchange decides
    if (item == nullptr) return nullptr;
    if (alone) {
      next_.store(nullptr, std::memory_order_relaxed);
      return item;
    }
    // Only thieves change it to nullptr, only the owner to something else.
    const bool mine =
        next_.compare_exchange_strong(item, nullptr, std::memory_order_acquire, std::memory_order_relaxed);
    return WARREN_LIKELY(mine) ? item : nullptr;
  }

  // Owner. From the head of the ring.
  WARREN_ALWAYS_INLINE Item *take_first(bool alone) {
    for (;;) {
      uint32_t head = head_.load(std::memory_order_acquire);  // as in put_if_room()
      const uint32_t tail = tail_.load(std::memory_order_relaxed);
      if (WARREN_UNLIKELY(tail == head)) return nullptr;
      Item *item = slot(head).load(std::memory_order_relaxed);
      if (alone) {
        head_.store(head + 1, std::memory_order_relaxed);
        return item;
      }
      // release: the slot has been read before it is free for put_if_room().
      const bool mine =
          head_.compare_exchange_strong(head, head + 1, std::memory_order_release, std::memory_order_relaxed);
      if (WARREN_LIKELY(mine)) return item;
    }
  }

  // Owner. Both in turn.
  Taken take(bool alone) {
    if (Item *item = take_next(alone)) return {item, true};
    return {take_first(alone), false};
  }

  // Owner of this queue, which is empty: takes half of the victim's ring, returns one of it. `may_take_next()` is
  // called before the victim's next_ is taken, and says whether to.
  template <class MayTakeNext>
  Item *steal_from(RunQueue &victim, MayTakeNext may_take_next) {
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    uint32_t count = victim.grab(*this, tail, may_take_next);
    if (count == 0) return nullptr;
    --count;
    Item *item = slot(tail + count).load(std::memory_order_relaxed);
    if (count != 0) tail_.store(tail + count, std::memory_order_release);  // as in put_if_room()
    return item;
  }

  // Anybody. A moment's truth: next_ may move to the ring between two looks, so look until the tail stands still.
  bool empty() const {
    for (;;) {
      const uint32_t head = head_.load(std::memory_order_acquire);
      const uint32_t tail = tail_.load(std::memory_order_acquire);
      const Item *next = next_.load(std::memory_order_acquire);
      if (tail == tail_.load(std::memory_order_acquire)) return head == tail && next == nullptr;
    }
  }

  // Anybody; a moment's truth, for traces.
  uint32_t size() const {
    const uint32_t head = head_.load(std::memory_order_relaxed);
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    return (tail - head) + (next_.load(std::memory_order_relaxed) != nullptr ? 1 : 0);
  }

 private:
  std::atomic<Item *> &slot(uint32_t index) { return slots_[index % kSlots]; }

  // False: there is room after all.
  WARREN_NOINLINE bool overflow_half(Item *item, Batch<Item> &overflow) {
    uint32_t head = head_.load(std::memory_order_acquire);  // as in put_if_room()
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head < kSlots) return false;
    const uint32_t half = (tail - head) / 2;
    Item *moved[kSlots / 2];
    for (uint32_t i = 0; i < half; ++i) moved[i] = slot(head + i).load(std::memory_order_relaxed);
    // release: as in take(). Failure: thieves were there, and there is room now.
    if (!head_.compare_exchange_strong(head, head + half, std::memory_order_release, std::memory_order_relaxed))
      return false;
    for (uint32_t i = 0; i < half; ++i) overflow.push(moved[i]);
    overflow.push(item);
    return true;
  }

  // A thief's: copies half of this ring to `thief`, from its slot `to` on.
  template <class MayTakeNext>
  uint32_t grab(RunQueue &thief, uint32_t to, MayTakeNext may_take_next) {
    for (;;) {
      uint32_t head = head_.load(std::memory_order_acquire);        // pairs with other thieves' exchange
      const uint32_t tail = tail_.load(std::memory_order_acquire);  // pairs with put_if_room()
      uint32_t count = tail - head;
      count -= count / 2;
      if (count == 0) {
        Item *next = next_.load(std::memory_order_relaxed);  // the exchange decides
        if (next == nullptr || !may_take_next()) return 0;
        // acquire: pairs with the owner's exchange in exchange_next().
        if (!next_.compare_exchange_strong(next, nullptr, std::memory_order_acquire, std::memory_order_relaxed))
          continue;
        thief.slot(to).store(next, std::memory_order_relaxed);
        return 1;
      }
      if (count > kSlots / 2) continue;  // head and tail were read at different times
      for (uint32_t i = 0; i < count; ++i) {
        thief.slot(to + i).store(slot(head + i).load(std::memory_order_relaxed), std::memory_order_relaxed);
      }
      if (head_.compare_exchange_strong(head, head + count, std::memory_order_acq_rel, std::memory_order_relaxed))
        return count;
    }
  }

  std::atomic<uint32_t> head_{0};
  std::atomic<uint32_t> tail_{0};
  std::atomic<Item *> next_{nullptr};
  std::atomic<Item *> slots_[kSlots] = {};
};

// For looks from outside (allocator/base/layout.h).
template <class Item>
struct RunQueue<Item>::Layout {
  static constexpr size_t kHead = offsetof(RunQueue, head_), kTail = offsetof(RunQueue, tail_), kNext = offsetof(RunQueue, next_);
};

}  // namespace warren::scheduler
