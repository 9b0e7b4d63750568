// Choosing a mechanism and trying it out; noticing that the process is another one. See mutation.h.
#include "gc/mutation.h"

#include "allocator/base/address.h"
#include "allocator/base/log.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_memory.h"
#include "gc/mutation_mechanism.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>

namespace warren::gc::mutation {
namespace {

// Written by set_up() and reset_in_child(); the workers of a cycle are started after.
const Operations *chosen = nullptr;
Mechanism chosen_mechanism = Mechanism::kNone;
bool is_set_up = false;
bool watching = false;
bool filtered_at_set_up = false;

// One page that a forked child finds zero: a fork past libc's (and its handlers) is noticed, and the descriptors, which
// there still mean the parent's memory, are not used.
volatile uint32_t *same_memory = nullptr;

const Operations *operations_of(Mechanism mechanism) {
  switch (mechanism) {
    case Mechanism::kUserfault: return &userfault::operations;
    case Mechanism::kSoftDirty: return &soft_dirty::operations;
    case Mechanism::kProtect: return &protect::operations;
    case Mechanism::kNone: break;
  }
  return nullptr;
}

bool in_another_process() { return same_memory != nullptr && *same_memory == 0; }

void mark_memory() {
  if (same_memory == nullptr) {
    void *page = os_memory::reserve(kOsPageSize, kOsPageSize);
    if (page == nullptr) return;
    if (os_memory::prepare(page, kOsPageSize, true) != os_memory::PrepareResult::kOk ||
        !os_memory::wipe_in_children(page, kOsPageSize)) {
      os_memory::unreserve(page, kOsPageSize);
      return;
    }
    same_memory = static_cast<volatile uint32_t *>(page);
  }
  *same_memory = 1;
}

// --- the self-test: what the collector relies on, done on eight pages ---

constexpr size_t kTrialPages = 8;

struct Trial {
  uintptr_t start;
  uint32_t dirty = 0;  // a bit a page
  void note(Range range) {
    for (uintptr_t page = range.start; page < range.end; page += kOsPageSize) {
      if (page >= start && page < start + kTrialPages * kOsPageSize) dirty |= 1u << ((page - start) / kOsPageSize);
    }
  }
};

bool works_on(const Operations &operations, uintptr_t start) {
  const Range all{start, start + kTrialPages * kOsPageSize};
  const auto store = [start](unsigned page) {
    auto *byte = at_address<volatile char>(start + page * kOsPageSize);
    *byte = static_cast<char>(*byte + 1);
  };
  const auto dirty = [&](bool clear) -> uint32_t {
    Trial trial{start};
    const bool seen = operations.for_each_dirty(
        all, clear, [](Range range, void *to) { static_cast<Trial *>(to)->note(range); }, &trial);
    return seen ? trial.dirty : ~0u;
  };
  for (unsigned page = 0; page < 6; ++page) store(page);  // the last two stay untouched
  if (!operations.watch(all) || dirty(false) != 0) return false;
  store(1);
  store(6);
  uint32_t stored = 1u << 1 | 1u << 6;
  if (operations.store_by_system_call != nullptr) {
    if (!operations.store_by_system_call(at_address<void>(start + 3 * kOsPageSize))) return false;
    stored |= 1u << 3;
  }
  if (dirty(false) != stored || dirty(true) != stored) return false;
  if (dirty(false) != (operations.clears ? 0 : stored)) return false;
  store(1);
  store(4);
  if (dirty(false) != (1u << 1 | 1u << 4 | (operations.clears ? 0 : stored))) return false;
  operations.unwatch();
  store(2);
  return true;
}

// The thread that tries may be one that blocks all signals; a fault whose signal is blocked ends the process.
class FaultsAllowed {
 public:
  FaultsAllowed() : before_(os_calls::block_all_signals()) {
    os_calls::set_signal_mask(before_ & ~(uint64_t{1} << (SIGSEGV - 1)));
  }
  ~FaultsAllowed() { os_calls::set_signal_mask(before_); }
  FaultsAllowed(const FaultsAllowed &) = delete;
  FaultsAllowed &operator=(const FaultsAllowed &) = delete;

 private:
  uint64_t before_;
};

bool works(const Operations &operations) {
  const FaultsAllowed faults;
  constexpr size_t kBytes = kTrialPages * kOsPageSize;
  void *pages = os_memory::reserve(kBytes, kOsPageSize);
  if (pages == nullptr) return false;
  const bool good = os_memory::prepare(pages, kBytes, true) == os_memory::PrepareResult::kOk &&
                    works_on(operations, address_of(pages));
  if (!good) operations.unwatch();
  os_memory::unreserve(pages, kBytes);
  return good;
}

bool take(Mechanism mechanism) {
  const Operations *operations = operations_of(mechanism);
  if (!operations->open()) return false;
  if (!works(*operations)) {
    operations->close();
    return false;
  }
  chosen = operations;
  chosen_mechanism = mechanism;
  return true;
}

// Whether the process is at its limit just now. Nothing is asked in a sandbox.
bool lacks_descriptors() {
  if (os_calls::filtered()) return false;
  const long fd = os_calls::open(kPagemapPath, O_RDONLY);
  if (!os_calls::failed(fd)) os_calls::close(static_cast<int>(fd));
  return fd == -EMFILE || fd == -ENFILE;
}

void complain(Mechanism mechanism) {
  LogLine line;
  line << "warren: gc_tracking=" << name(mechanism)
       << ": not to be had from this kernel or in this sandbox; stopping the threads";
  line.write_to(2);
}

// A sandbox that came up since may end the process for a call that was fine until then. (mprotect is every program's.) Leaves the
// descriptors open: to close them is a call more.
bool give_up_in_new_sandbox() {
  if (chosen == nullptr || chosen_mechanism == Mechanism::kProtect || filtered_at_set_up || !os_calls::filtered()) return false;
  chosen = nullptr;
  chosen_mechanism = Mechanism::kNone;
  watching = false;
  return true;
}

}  // namespace

Mechanism set_up(Choice choice) {
  if (in_another_process()) reset_in_child();
  if (is_set_up) {
    give_up_in_new_sandbox();  // what stays watched is asked for before anything is watched anew
    return chosen_mechanism;
  }
  is_set_up = true;
  filtered_at_set_up = os_calls::filtered();
  mark_memory();
  switch (choice) {
    case Choice::kAuto:
      if (!take(Mechanism::kUserfault)) take(Mechanism::kSoftDirty);
      break;
    case Choice::kUserfault:
    case Choice::kSoftDirty:
    case Choice::kProtect: take(static_cast<Mechanism>(choice)); break;
    case Choice::kStop: return chosen_mechanism;
  }
  if (chosen != nullptr) return chosen_mechanism;
  if (lacks_descriptors()) {
    is_set_up = false;  // the next cycle tries again
  } else if (choice != Choice::kAuto) {
    complain(static_cast<Mechanism>(choice));
  }
  return chosen_mechanism;
}
static_assert(static_cast<int>(Choice::kUserfault) == static_cast<int>(Mechanism::kUserfault) &&
              static_cast<int>(Choice::kSoftDirty) == static_cast<int>(Mechanism::kSoftDirty) &&
              static_cast<int>(Choice::kProtect) == static_cast<int>(Mechanism::kProtect));

bool cover(Range range) {
  if (in_another_process()) reset_in_child();
  return chosen != nullptr && range.start < range.end && chosen->cover(range);
}

bool watch(const Range *ranges, size_t count) {
  if (in_another_process()) reset_in_child();
  if (chosen == nullptr || give_up_in_new_sandbox()) return false;
  watching = true;
  for (size_t i = 0; i < count; ++i) {
    if (ranges[i].start < ranges[i].end && !chosen->watch(ranges[i])) return false;
  }
  return true;
}

bool for_each_dirty(Range in, bool clear, Visit visit, void *context) {
  if (in.start >= in.end) return true;
  if (chosen == nullptr || !watching || in_another_process()) {
    visit(in, context);
    return false;
  }
  return chosen->for_each_dirty(in, clear, visit, context);
}

void unwatch() {
  if (in_another_process()) reset_in_child();
  if (chosen != nullptr && watching) chosen->unwatch();
  watching = false;
}

bool can_stay() { return chosen != nullptr && chosen->lift != nullptr; }

void lift(Range range) {
  if (chosen != nullptr && watching && !in_another_process()) chosen->lift(range);
}

void lifted_all() {
  if (chosen != nullptr && watching) chosen->lifted_all();
  watching = false;
}

void reset_in_child() {
  if (chosen != nullptr) chosen->reset_in_child();
  chosen = nullptr;
  chosen_mechanism = Mechanism::kNone;
  is_set_up = watching = false;
}

bool clears() { return chosen != nullptr && chosen->clears; }

Mechanism mechanism() { return chosen_mechanism; }

const char *name(Mechanism mechanism) {
  switch (mechanism) {
    case Mechanism::kNone: return "stop";
    case Mechanism::kUserfault: return "userfault";
    case Mechanism::kSoftDirty: return "soft_dirty";
    case Mechanism::kProtect: return "mprotect";
  }
  return "unknown";
}

// --- descriptors ---

bool KeptDescriptor::keep(long fd) {
  if (os_calls::failed(fd)) return false;
  // Shells move descriptors of theirs to 255 and below; a limit of 256 descriptors is common. The low number, if no
  // other is to be had, works as well.
  constexpr int kLeast[] = {300, 200, 100, 20};
  for (const int least : kLeast) {
    const long high = os_calls::duplicate_from(static_cast<int>(fd), least);
    if (os_calls::failed(high)) continue;
    os_calls::close(static_cast<int>(fd));
    fd = high;
    break;
  }
  number_ = static_cast<int>(fd);
  identity_ = os_calls::file_identity(number_);
  return true;
}

void KeptDescriptor::close() {
  if (is_open()) os_calls::close(number_);
  number_ = -1;
}

bool KeptDescriptor::is_open() const { return number_ >= 0 && os_calls::file_identity(number_) == identity_; }

}  // namespace warren::gc::mutation
