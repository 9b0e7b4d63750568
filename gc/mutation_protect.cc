// Stores are noted by us: watched pages are read-only, and the fault of the first store notes the page and opens it.
// Works on every kernel, and is taken only when the program's user asks for it:
//   - a system call that stores into a watched page (read, recv, …) fails with EFAULT, and the program sees that;
//   - a thread that has SIGSEGV blocked ends the process with its first store;
//   - each page opened between closed ones is a mapping more, of which a process may have 65530.
//
// A program's own handler of SIGSEGV is found and called for every fault that is not ours. One that it installs while
// pages are watched takes ours away, unless sigaction is interposed: watch() looks each time and puts ours in front
// again.
//
//   state of a page      watched   dirty    its protection
//   not ours             0         0        the program's
//   closed               1         0        read-only
//   open                 1         1        writable
//
// Invariant: under the lock `protection` the table above holds, but that an open page may be read-only (then its next
// store opens it again). All signals are blocked while a thread holds the lock, so that no stopped thread holds it.
#include "gc/mutation_mechanism.h"

#include "allocator/base/address.h"
#include "allocator/base/check.h"
#include "allocator/base/mutex.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_memory.h"
#include "allocator/base/stop_gate.h"
#include "gc/registers_x86_64.h"

#include <algorithm>
#include <atomic>
#include <csignal>

namespace warren::gc::mutation::protect {
namespace {

// Two bits for each OS page of user space, in leaves of 1 GiB that are made when something in them is watched.
constexpr unsigned kLeafShift = 30;
constexpr size_t kLeafSize = size_t{1} << kLeafShift;
constexpr size_t kLeafPages = kLeafSize / kOsPageSize;
constexpr size_t kLeaves = size_t{1} << (47 - kLeafShift);
struct Leaf {
  // Both written under the lock. relaxed: read without it only while no thread of the program runs.
  std::atomic<uint64_t> watched[kLeafPages / 64];
  std::atomic<uint64_t> dirty[kLeafPages / 64];
};
constexpr size_t kWordBytes = 64 * kOsPageSize;  // of memory, for one word of a leaf

std::atomic<Leaf *> *leaves = nullptr;  // kLeaves of them; set once, before the handler is there
constinit Mutex protection(LockRank::kProtection);

class HeldProtection {
 public:
  HeldProtection() NO_THREAD_SAFETY_ANALYSIS : mask_(os_calls::block_all_signals()) { protection.lock(); }
  ~HeldProtection() NO_THREAD_SAFETY_ANALYSIS {
    protection.unlock();
    os_calls::restore_signals(mask_);
  }
  HeldProtection(const HeldProtection &) = delete;
  HeldProtection &operator=(const HeldProtection &) = delete;

 private:
  uint64_t mask_;
};

Leaf *leaf_of(uintptr_t address) {
  const size_t index = address >> kLeafShift;
  // acquire: pairs with the release in watch(); the leaf's pages are mapped.
  return index < kLeaves ? leaves[index].load(std::memory_order_acquire) : nullptr;
}

uint64_t load(const std::atomic<uint64_t> &bits) { return bits.load(std::memory_order_relaxed); }
void store(std::atomic<uint64_t> &bits, uint64_t value) { bits.store(value, std::memory_order_relaxed); }

size_t page_in_leaf(uintptr_t address) { return (address % kLeafSize) / kOsPageSize; }

// The bits of a word that belong to pages in [from, end).
uint64_t mask_of(uintptr_t word_start, Range range) {
  const size_t first = range.start > word_start ? (range.start - word_start) / kOsPageSize : 0;
  const size_t last = std::min<size_t>(64, (range.end - word_start) / kOsPageSize);
  const uint64_t below_last = last == 64 ? ~uint64_t{0} : (uint64_t{1} << last) - 1;
  return below_last & ~((uint64_t{1} << first) - 1);
}

// Calls body(start, mask, watched, dirty) for each word of each leaf that the range touches.
template <class Body>
void for_each_word(Range range, Body body) {
  for (uintptr_t word = align_down(range.start, kWordBytes); word < range.end; word += kWordBytes) {
    Leaf *leaf = leaf_of(word);
    if (leaf == nullptr) {
      word = align_down(word, kLeafSize) + kLeafSize - kWordBytes;
      continue;
    }
    const size_t index = page_in_leaf(word) / 64;
    body(word, mask_of(word, range), leaf->watched[index], leaf->dirty[index]);
  }
}

// Calls body(range) for each run of set bits.
template <class Body>
void for_each_run(uintptr_t word_start, uint64_t bits, Body body) {
  while (bits != 0) {
    const auto first = static_cast<unsigned>(__builtin_ctzll(bits));
    const uint64_t shifted = ~(bits >> first);
    const unsigned length =
        shifted == 0 ? 64 - first : std::min(64 - first, static_cast<unsigned>(__builtin_ctzll(shifted)));
    body(Range{word_start + first * kOsPageSize, word_start + (first + length) * kOsPageSize});
    bits &= length == 64 ? 0 : ~(((uint64_t{1} << length) - 1) << first);
  }
}

bool allow_stores(Range range, bool allow) {
  return os_memory::allow_stores(at_address<void>(range.start), range.end - range.start, allow);
}

// --- the handler ---

// What handled SIGSEGV when ours was put in front of it, latest first. A handler of the program's that was itself put
// in front of ours calls ours for what it does not want: then it is the next one's turn.
constexpr unsigned kMaxBefore = 4;
os_calls::SignalAction before[kMaxBefore];
std::atomic<unsigned> before_count{0};  // release and acquire: the entries below it are written

// How many calls of handlers a thread is in: its id << 8 | depth, in any slot. (A word of thread-local storage would
// be one of every thread of every program.) A thread without a slot counts as in none.
// relaxed: a thread looks for its own id only, which nobody else writes.
constexpr unsigned kDepths = 64;
std::atomic<uint64_t> depths[kDepths];

std::atomic<uint64_t> *depth_of_this_thread() {
  const uint64_t mine = uint64_t{os_calls::thread_id()} << 8;
  for (auto &depth : depths) {
    if ((depth.load(std::memory_order_relaxed) & ~uint64_t{0xff}) == mine) return &depth;
  }
  for (auto &depth : depths) {
    uint64_t none = 0;
    if (depth.compare_exchange_strong(none, mine, std::memory_order_relaxed, std::memory_order_relaxed)) return &depth;
  }
  return nullptr;
}

bool open_page(uintptr_t address) {
  if (leaves == nullptr) return false;
  const HeldProtection held;
  Leaf *leaf = leaf_of(address);
  if (leaf == nullptr) return false;
  const size_t page = page_in_leaf(address);
  const uint64_t bit = uint64_t{1} << page % 64;
  if ((load(leaf->watched[page / 64]) & bit) == 0) return false;
  const uintptr_t start = align_down(address, kOsPageSize);
  // At the limit of mappings one page cannot be opened between closed ones: a run of closed pages, or of all
  // that is watched about it, can.
  for (size_t reach = kOsPageSize; reach <= kLeafSize; reach *= 8) {
    Range run{start, start + kOsPageSize};
    const Range bounds{align_down(start, reach), align_down(start, reach) + reach};
    const auto is_watched = [leaf](uintptr_t at) {
      const size_t number = page_in_leaf(at);
      return (load(leaf->watched[number / 64]) >> number % 64 & 1) != 0;
    };
    while (run.start > bounds.start && is_watched(run.start - kOsPageSize)) run.start -= kOsPageSize;
    while (run.end < bounds.end && is_watched(run.end)) run.end += kOsPageSize;
    if (!allow_stores(run, true)) continue;
    for_each_word(run, [](uintptr_t, uint64_t mask, auto &, auto &dirty) { store(dirty, load(dirty) | mask); });
    return true;
  }
  return false;
}

// A store may fault on a closed page, and its handler run when the cycle is over and the page open and not ours any more: the
// store has to be tried again, but only once, since the page may be one that the program has made read-only.
std::atomic<uint64_t> ends{0};  // of watching; relaxed: written before the pages are opened, under the lock

constexpr size_t kRetries = 256;
std::atomic<uint64_t> retried[kRetries];  // by thread: which store, after which end. relaxed: each thread's own, or a retry more

bool try_again(uintptr_t address) {
  if (leaves == nullptr || leaf_of(address) == nullptr) return false;
  const uint64_t thread = os_calls::thread_id();
  uint64_t key = address / kOsPageSize;
  key = (key * 0x9e3779b97f4a7c15 ^ thread) * 0x9e3779b97f4a7c15 ^ ends.load(std::memory_order_relaxed);
  return retried[thread % kRetries].exchange(key, std::memory_order_relaxed) != key;
}

void take_default_action(siginfo_t *information) {
  const os_calls::SignalAction ordinary{};
  os_calls::signal_action(SIGSEGV, &ordinary, nullptr);
  // The instruction faults again when it is resumed. A signal that somebody sent has to be sent once more.
  if (information->si_code <= 0) os_calls::send_signal(os_calls::process_id(), os_calls::thread_id(), SIGSEGV);
}

void pass_on(int signal, siginfo_t *information, void *context, bool called_by_kernel) {
  std::atomic<uint64_t> *slot = depth_of_this_thread();
  // When the kernel calls, nothing is being passed on: a handler of the program's may have been left by siglongjmp.
  const uint64_t passing_on = slot == nullptr || called_by_kernel ? 0 : slot->load(std::memory_order_relaxed) & 0xff;
  // acquire: pairs with the release in put_in_front().
  const unsigned count = before_count.load(std::memory_order_acquire);
  if (passing_on >= count) return take_default_action(information);
  const os_calls::SignalAction &action = before[count - 1 - passing_on];
  const auto disposition = reinterpret_cast<uintptr_t>(action.handler);
  if (disposition == reinterpret_cast<uintptr_t>(SIG_IGN)) {
    return information->si_code > 0 ? take_default_action(information) : void();
  }
  if (disposition == reinterpret_cast<uintptr_t>(SIG_DFL)) return take_default_action(information);
  uint64_t interrupted;
  __builtin_memcpy(&interrupted, &static_cast<ucontext_t *>(context)->uc_sigmask, sizeof interrupted);
  const uint64_t own = (action.flags & SA_NODEFER) != 0 ? 0 : uint64_t{1} << (SIGSEGV - 1);
  const uint64_t mine = uint64_t{os_calls::thread_id()} << 8;
  if (slot != nullptr) slot->store(mine + passing_on + 1, std::memory_order_relaxed);
  const uint64_t ours = os_calls::set_signal_mask(interrupted | action.mask | own);
  if ((action.flags & SA_SIGINFO) != 0) {
    action.handler(signal, information, context);
  } else {
    reinterpret_cast<void (*)(int)>(reinterpret_cast<void *>(action.handler))(signal);
  }
  os_calls::set_signal_mask(ours);
  if (slot != nullptr) slot->store(passing_on == 0 ? 0 : mine + passing_on, std::memory_order_relaxed);
}

void handle_fault(int signal, void *information, void *context) {
  auto *fault = static_cast<siginfo_t *>(information);
  const bool store = is_store(*static_cast<const ucontext_t *>(context));
  const uintptr_t address = address_of(fault->si_addr);
  if (fault->si_code == SEGV_ACCERR && store && (open_page(address) || try_again(address))) return;
  pass_on(signal, fault, context, os_calls::returns_from_signal(__builtin_return_address(0)));
}

// False: the kernel refuses.
bool put_in_front() {
  os_calls::SignalAction found{};
  if (os_calls::signal_action(SIGSEGV, nullptr, &found) != 0) return false;
  if (found.handler == handle_fault) return true;
  const unsigned count = before_count.load(std::memory_order_relaxed);  // written by this thread only
  if (count == kMaxBefore) return false;
  before[count] = found;
  before_count.store(count + 1, std::memory_order_release);  // release: pairs with pass_on()
  return os_calls::handle_signal(SIGSEGV, handle_fault) == 0;
}

// --- the mechanism ---

bool prepare_zeros(void *&pages, size_t bytes) {
  pages = os_memory::reserve(bytes, kOsPageSize);
  if (pages == nullptr) return false;
  if (os_memory::prepare(pages, bytes, true) == os_memory::PrepareResult::kOk) return true;
  os_memory::unreserve(pages, bytes);
  return false;
}

bool open() {
  if (leaves == nullptr) {
    void *table;
    if (!prepare_zeros(table, kLeaves * sizeof leaves[0])) return false;
    leaves = static_cast<std::atomic<Leaf *> *>(table);
  }
  return put_in_front();
}

bool cover(Range) { return true; }

bool close_pages(uintptr_t word, uint64_t bits) {
  bool good = true;
  for_each_run(word, bits, [&good](Range run) { good &= allow_stores(run, false); });
  return good;
}

bool watch(Range range) {
  if (range.end > kLeaves << kLeafShift || !put_in_front()) return false;
  for (uintptr_t at = align_down(range.start, kLeafSize); at < range.end; at += kLeafSize) {
    if (leaf_of(at) != nullptr) continue;
    void *leaf;
    if (!prepare_zeros(leaf, sizeof(Leaf))) return false;
    // release: pairs with the acquire in leaf_of().
    leaves[at >> kLeafShift].store(static_cast<Leaf *>(leaf), std::memory_order_release);
  }
  const HeldProtection held;
  for_each_word(range, [](uintptr_t, uint64_t mask, auto &watched, auto &dirty) {
    store(watched, load(watched) | mask);
    store(dirty, load(dirty) & ~mask);
  });
  if (allow_stores(range, false)) return true;
  // Some may be closed: as open pages they are opened by their next store.
  for_each_word(range, [](uintptr_t, uint64_t mask, auto &, auto &dirty) { store(dirty, load(dirty) | mask); });
  return false;
}

bool for_each_dirty(Range in, bool clear, Visit visit, void *context) {
  const auto take = [clear](uintptr_t word, uint64_t mask, auto &watched, auto &dirty) -> uint64_t {
    if (!clear) return (load(dirty) | ~load(watched)) & mask;
    const HeldProtection held;
    const uint64_t open = load(dirty) & mask;
    const uint64_t foreign = ~load(watched) & mask;
    // Dirty again if the kernel will not close them.
    if (open != 0 && close_pages(word, open)) store(dirty, load(dirty) & ~open);
    return open | foreign;
  };
  for (uintptr_t word = align_down(in.start, kWordBytes); word < in.end; word += kWordBytes) {
    Leaf *leaf = leaf_of(word);
    const size_t index = page_in_leaf(word) / 64;
    const uint64_t mask = mask_of(word, in);
    const uint64_t bits = leaf == nullptr ? mask : take(word, mask, leaf->watched[index], leaf->dirty[index]);
    for_each_run(word, bits, [=](Range run) { visit(run, context); });
  }
  return true;
}

void unwatch() {
  if (leaves == nullptr) return;
  ends.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < kLeaves; ++i) {
    Leaf *leaf = leaves[i].load(std::memory_order_acquire);  // acquire: as in leaf_of()
    if (leaf == nullptr) continue;
    for (size_t word = 0; word < kLeafPages / 64; ++word) {
      if (load(leaf->watched[word]) == 0) continue;
      const HeldProtection held;
      bool good = true;
      for_each_run(i * kLeafSize + word * kWordBytes, load(leaf->watched[word]), [&good](Range run) {
        good &= allow_stores(run, true);
      });
      store(leaf->dirty[word], good ? 0 : load(leaf->watched[word]));
      if (good) store(leaf->watched[word], 0);  // else: their next stores open them
    }
  }
}

// The handler stays: a program's that was put in front of it may call it.
void close() { unwatch(); }

void reset_in_child() {
  if (protection.held_by_me()) return unwatch();
  // As if it had been taken for fork: a reset leaves the gate, and a count below zero would keep the child from ever stopping.
  stop_gate::enter();
  if constexpr (kDebug) lock_rank::note_acquired(LockRank::kProtection);
  protection.unlock_after_fork(true);
  unwatch();
}

}  // namespace

const Operations operations = {open, close, cover, watch, for_each_dirty, unwatch, reset_in_child, nullptr, true, nullptr, nullptr};

}  // namespace warren::gc::mutation::protect
