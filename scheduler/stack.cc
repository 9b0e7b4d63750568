// See stack.h and stacks.h.
#include "scheduler/stack.h"

#include "allocator/base/address.h"
#include "allocator/base/layout.h"
#include "allocator/base/mutex.h"
#include "allocator/base/os_calls.h"
#include "scheduler/stacks.h"

#include <new>
#include <sys/mman.h>

namespace warren::scheduler {
namespace stacks {
namespace {

constexpr size_t kColours = 16;
constexpr size_t kMostAtOnce = 4096;  // stacks in a slab
constexpr size_t kMostSlabBytes = size_t{1} << 30;
constexpr unsigned kFirstStacks = 16;
constexpr uint32_t kMostSlabs = 4096;

// Guards made by mprotect cost two mappings each, of 65530 that a process may have.
constexpr uint32_t kMostProtected = 8192;

// Free stacks of an order that stay warm however long nobody needs them.
constexpr uint32_t kKeptFree = 256;
// Given back in one call of scavenge(), some ten milliseconds of work, and while the lock is held once.
constexpr uint32_t kReleasedAtOnce = 8192;
constexpr uint32_t kReleasedPerHold = 64;

struct Slab {
  char *first;  // stack 0; the header page lies before it
  uint32_t capacity;
  unsigned order;
  uint32_t guarded;                // under `lock`
  std::atomic<uint32_t> carved;    // release: their Gs exist; pairs with the acquire in for_each()
  uint32_t released_count;         // under `lock`
  uint64_t released[kMostAtOnce / 64];  // under `lock`; by index

  size_t stack_bytes() const { return bytes_of(order); }
  char *low(uint32_t index) const { return first + index * stack_bytes(); }
  G *g(uint32_t index) const {
    return at_address<G>(address_of(low(index)) + stack_bytes() - sizeof(G) - index % kColours * kColourBytes);
  }
  static constexpr size_t kColourBytes = 64;
};
static_assert(sizeof(Slab) <= kOsPageSize);
static_assert(sizeof(G) % 64 == 0 && sizeof(G) + kColours * 64 + 1024 <= kOsPageSize,
              "G, colour and a parked frame share a page");

// Each slot is written once, under `lock`. The count is stored with release, so that readers without the lock find them
// whole.
WARREN_LARGE_TABLE Slab *slabs[kMostSlabs];
std::atomic<uint32_t> slab_count{0};

WARREN_SHOW_ADDRESS("slabs", &slabs);
WARREN_SHOW_ADDRESS("slab_count", &slab_count);
WARREN_SHOW_NUMBER("Slab.first", offsetof(Slab, first));
WARREN_SHOW_NUMBER("Slab.order", offsetof(Slab, order));
WARREN_SHOW_NUMBER("Slab.carved", offsetof(Slab, carved));
WARREN_SHOW_NUMBER("stack.least_bytes", kLeastBytes);
WARREN_SHOW_NUMBER("stack.colours", kColours);
WARREN_SHOW_NUMBER("stack.colour_bytes", Slab::kColourBytes);

constinit Mutex lock{LockRank::kStacks};
struct Order {
  Batch<G> free;
  uint32_t least_free = 0;  // since the last scavenge()
  uint32_t released = 0;
  uint32_t next_capacity = 0;
  Slab *carving = nullptr;
};
constinit Order orders[kOrders];
uint32_t protected_count = 0;
bool kernel_has_guards = true;

size_t guard_bytes(unsigned order) { return order < kDefaultOrder ? kOsPageSize : 4 * kOsPageSize; }

void guard(Slab *slab, uint32_t from, uint32_t count) {
  const size_t bytes = guard_bytes(slab->order);
  if (kernel_has_guards && os_calls::install_guards(slab->low(from), slab->stack_bytes(), bytes, count)) return;
  kernel_has_guards = false;
  for (uint32_t i = 0; i < count && protected_count < kMostProtected; ++i, ++protected_count) {
    mprotect(slab->low(from + i), bytes, PROT_NONE);
  }
}

Slab *new_slab(unsigned order) {
  Order &o = orders[order];
  const uint32_t number = slab_count.load(std::memory_order_relaxed);  // under `lock`
  if (number == kMostSlabs) return nullptr;
  if (o.next_capacity == 0) o.next_capacity = kFirstStacks;
  size_t capacity = kMostSlabBytes / bytes_of(order);
  if (capacity > o.next_capacity) capacity = o.next_capacity;
  if (capacity == 0) capacity = 1;
  void *area;
  for (;; capacity /= 2) {
    const size_t bytes = kOsPageSize + capacity * bytes_of(order);
    area = at_address<void>(static_cast<uintptr_t>(
        os_calls::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)));
    if (!os_calls::failed(static_cast<long>(address_of(area)))) {
      // One touched byte must not cost two megabytes.
      os_calls::madvise(area, bytes, MADV_NOHUGEPAGE);
      break;
    }
    if (capacity == 1) return nullptr;
  }
  if (o.next_capacity < kMostAtOnce) o.next_capacity *= 2;
  auto *slab = static_cast<Slab *>(area);
  slab->first = static_cast<char *>(area) + kOsPageSize;
  slab->capacity = static_cast<uint32_t>(capacity);
  slab->order = order;
  slabs[number] = slab;
  slab_count.store(number + 1, std::memory_order_release);  // pairs with the acquire in readers without the lock
  return slab;
}

G *make(Slab *slab, uint32_t index) {
  G *g = new (slab->g(index)) G{};
  g->low = slab->low(index);
  g->stack_order = static_cast<uint8_t>(slab->order);
  stack_tools::stack_made(g->low, reinterpret_cast<char *>(g));
  return g;
}

G *take_released(Order &order, unsigned number) {
  const uint32_t count = slab_count.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < count; ++i) {
    Slab *slab = slabs[i];
    if (slab->order != number || slab->released_count == 0) continue;
    for (uint32_t w = 0;; ++w) {
      if (slab->released[w] == 0) continue;
      const auto bit = static_cast<uint32_t>(__builtin_ctzll(slab->released[w]));
      slab->released[w] &= slab->released[w] - 1;
      --slab->released_count;
      --order.released;
      return make(slab, w * 64 + bit);
    }
  }
  return nullptr;
}

G *carve(Order &order, unsigned number) {
  Slab *slab = order.carving;
  if (slab == nullptr || slab->carved.load(std::memory_order_relaxed) == slab->capacity) {
    slab = order.carving = new_slab(number);
    if (slab == nullptr) return nullptr;
  }
  const uint32_t index = slab->carved.load(std::memory_order_relaxed);
  if (index == slab->guarded) {
    constexpr uint32_t kGuardedAtOnce = 64;
    const uint32_t left = slab->capacity - index;
    const uint32_t count = left < kGuardedAtOnce ? left : kGuardedAtOnce;
    guard(slab, index, count);
    slab->guarded += count;
  }
  G *g = make(slab, index);
  slab->carved.store(index + 1, std::memory_order_release);
  return g;
}

G *allocate_locked(unsigned number) {
  Order &order = orders[number];
  if (G *g = order.free.pop()) {
    if (order.free.count < order.least_free) order.least_free = order.free.count;
    return g;
  }
  order.least_free = 0;
  if (order.released != 0) return take_released(order, number);
  return carve(order, number);
}

// The slab an address lies in.
Slab *slab_of(const void *address, uint32_t &index) {
  const uint32_t count = slab_count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count; ++i) {
    Slab *slab = slabs[i];
    const uintptr_t distance = address_of(address) - address_of(slab->first);  // huge when it lies before
    if (distance >= slab->capacity * slab->stack_bytes()) continue;
    index = static_cast<uint32_t>(distance / slab->stack_bytes());
    return slab;
  }
  return nullptr;
}

// Under `lock`: the memory of a dead fiber's stack, its G included.
void give_back(Order &order, G *g) {
  uint32_t index;
  Slab *slab = slab_of(g, index);
  char *low = slab->low(index);
  stack_tools::stack_given_back(g->tool_stack);
  os_calls::madvise(low, slab->stack_bytes(), MADV_DONTNEED);  // guard markers stay
  slab->released[index / 64] |= uint64_t{1} << index % 64;
  ++slab->released_count;
  ++order.released;
}

}  // namespace

G *allocate(unsigned order) {
  MutexLock hold(lock);
  return allocate_locked(order);
}

Batch<G> allocate_some(unsigned order, uint32_t count) {
  Batch<G> batch;
  MutexLock hold(lock);
  do {
    G *g = allocate_locked(order);
    if (g == nullptr) break;
    batch.push(g);
  } while (batch.count < count && !orders[order].free.empty());  // only the first may be a fresh one
  return batch;
}

void free(const Batch<G> &batch, unsigned order) {
  MutexLock hold(lock);
  // To the front: warm ones are used first.
  Batch<G> list = batch;
  list.append(orders[order].free);
  orders[order].free = list;
}

void reset_in_child() {
  if (!lock.take_from_the_gone()) return;
  for (Order &order : orders) order = {};
}

Scavenged scavenge() {
  Scavenged result = Scavenged::kNothingLeft;
  for (Order &order : orders) {
    uint32_t budget = kReleasedAtOnce;
    for (;;) {
      // The lock is let go now and then: who needs a stack does not wait for a hundred others to be given back.
      MutexLock hold(lock);
      uint32_t some = order.least_free > kKeptFree ? order.least_free - kKeptFree : 0;
      if (some > kReleasedPerHold) some = kReleasedPerHold;
      if (some > budget) some = budget;
      for (uint32_t i = 0; i < some; ++i) give_back(order, order.free.pop());
      order.least_free -= some;
      budget -= some;
      if (some == 0) {
        if (budget == 0) {
          result = Scavenged::kUnfinished;
        } else {
          if (order.free.count > kKeptFree && result == Scavenged::kNothingLeft) result = Scavenged::kMoreLater;
          order.least_free = order.free.count;
        }
        break;
      }
    }
  }
  return result;
}

namespace {

struct Unused {
  uintptr_t low, high;
};

Unused unused_of(const G *g) {
  const uintptr_t low = address_of(g->low) + guard_bytes(g->stack_order);
  const uintptr_t sp = __atomic_load_n(reinterpret_cast<const uintptr_t *>(&g->sp), __ATOMIC_RELAXED);
  const uintptr_t high = align_down(sp, kOsPageSize);
  return {low, high > low && high <= address_of(g) ? high : low};
}

}  // namespace

bool may_have_unused(const G *g) {
  // What was used deep down was used up here as well.
  constexpr size_t kPages = 8;
  unsigned char present[kPages] = {};
  const Unused unused = unused_of(g);
  size_t bytes = unused.high - unused.low;
  if (bytes > kPages * kOsPageSize) bytes = kPages * kOsPageSize;
  if (bytes == 0 || mincore(at_address<void>(unused.high - bytes), bytes, present) != 0) return false;
  bool any = false;
  for (const unsigned char page : present) any |= (page & 1) != 0;
  return any;
}

void give_back_unused(const G *g) {
  const Unused unused = unused_of(g);
  const size_t bytes = unused.high - unused.low;
  if (bytes != 0) os_calls::madvise(at_address<void>(unused.low), bytes, MADV_DONTNEED);
}

uintptr_t in_use_from(const G *g) {
  const uintptr_t low = address_of(g->low) + guard_bytes(g->stack_order);
  const uintptr_t sp = __atomic_load_n(reinterpret_cast<const uintptr_t *>(&g->sp), __ATOMIC_RELAXED);
  return sp >= low && sp < address_of(g) ? sp : low;
}

bool in_guard(const void *address) {
  uint32_t index;
  const Slab *slab = slab_of(address, index);
  return slab != nullptr && address_of(address) - address_of(slab->low(index)) < guard_bytes(slab->order);
}

Position for_some(Position from, size_t most, void (*visit)(G *g, void *context), void *context) {
  const uint32_t count = slab_count.load(std::memory_order_acquire);
  for (; from.slab < count; from = {from.slab + 1, 0}) {
    const uint32_t carved = slabs[from.slab]->carved.load(std::memory_order_acquire);  // pairs with carve()
    for (; from.index < carved; ++from.index) {
      if (most-- == 0) return from;
      visit(slabs[from.slab]->g(from.index), context);
    }
  }
  return {};
}

void for_each(void (*visit)(G *g, void *context), void *context) { for_some({}, SIZE_MAX, visit, context); }

void for_each_slab(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context) {
  const uint32_t count = slab_count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count; ++i) {
    const uintptr_t low = address_of(slabs[i]);
    visit(low, low + kOsPageSize + slabs[i]->capacity * slabs[i]->stack_bytes(), context);
  }
}

size_t mapped_bytes() {
  size_t bytes = 0;
  for_each_slab([](uintptr_t low, uintptr_t high, void *sum) { *static_cast<size_t *>(sum) += high - low; }, &bytes);
  return bytes;
}

}  // namespace stacks

StackBounds stack_bounds_of(const void *sp) {
  uint32_t index;
  const stacks::Slab *slab = stacks::slab_of(sp, index);
  if (slab == nullptr) return {};
  return {slab->low(index) + stacks::guard_bytes(slab->order), slab->low(index) + slab->stack_bytes()};
}

namespace {

// Calls visit for each G, whose first words the processor has been fetching for some turns: each lies in a page of its own, and with
// many of them neither the caches nor the tables of the address translation hold any. 10,000 parked fibers: 2.2 times as fast.
template <class Visit>
void for_each_fetched(Visit visit) {
  constexpr uint32_t kAhead = 8;
  const uint32_t count = stacks::slab_count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count; ++i) {
    const stacks::Slab *slab = stacks::slabs[i];
    const uint32_t carved = slab->carved.load(std::memory_order_acquire);  // pairs with carve()
    for (uint32_t k = 0; k < carved; ++k) {
      if (k + kAhead < carved) {
        const char *next = reinterpret_cast<const char *>(slab->g(k + kAhead));
        for (ptrdiff_t line = -6; line < 3; ++line) __builtin_prefetch(next + line * 64);
      }
      visit(slab->g(k));
    }
  }
}

}  // namespace

void for_each_parked_stack(void (*visit)(char *low, char *high, void *context),
                           void (*visit_argument)(void *argument, void *context),
                           void (*visit_elsewhere)(char *sp, void *context), void *context) {
  for_each_fetched([=](const G *g) {
    // relaxed: the threads are stopped, or any answer will do
    if (g->status.load(std::memory_order_relaxed) == GStatus::kDead) return;
    const uintptr_t sp = __atomic_load_n(reinterpret_cast<const uintptr_t *>(&g->sp), __ATOMIC_RELAXED);
    if (sp == 0) return;
    const uintptr_t low = stacks::in_use_from(g);
    // To the end of the G: behind it there is only the colour.
    visit(at_address<char>(low), at_address<char>(address_of(g + 1)), context);
    if (sp != low && visit_elsewhere != nullptr) visit_elsewhere(at_address<char>(sp), context);
    const bool on_stack = address_of(g->argument) - address_of(g->low) < stacks::bytes_of(g->stack_order);
    if (visit_argument != nullptr && g->argument != nullptr && !on_stack) visit_argument(g->argument, context);
  });
}

}  // namespace warren::scheduler
