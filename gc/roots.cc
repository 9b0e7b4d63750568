// See roots.h.
#include "gc/roots.h"

#include "allocator/base/address.h"
#include "gc/mappings.h"
#include "gc/paged_array.h"

#include <link.h>

namespace warren::gc::roots {
namespace {

struct Range {
  uintptr_t low, high;
};

// Written by whoever stops the world.
PagedArray<Range> segments;
PagedArray<Range> own_segments;
PagedArray<TlsModule> modules;
uint64_t fingerprint = 0;  // of the loader's list at the last walk; 0: none yet, or it did not come to its end

// Written under a NoStopLock, so that a stopped world finds them whole.
PagedArray<Range> added;  // sorted, disjoint, not even touching

// Held for the few instructions of a change, by a thread that cannot be stopped: who waits for it does not wait for
// long.
class NoStopLock {
 public:
  NoStopLock() {
    for (;;) {
      world::enter_no_stop();
      if (!__atomic_exchange_n(&held_, true, __ATOMIC_ACQUIRE)) return;  // pairs with the release below
      world::leave_no_stop();
      __builtin_ia32_pause();
    }
  }
  ~NoStopLock() {
    __atomic_store_n(&held_, false, __ATOMIC_RELEASE);  // pairs with the acquire above
    world::leave_no_stop();
  }
  NoStopLock(const NoStopLock &) = delete;
  NoStopLock &operator=(const NoStopLock &) = delete;

 private:
  static bool held_;
};
bool NoStopLock::held_ = false;

// --- the loader's list ---

// What is public of a namespace's list since glibc 2.35; before, there is the first namespace only.
struct Namespace {
  r_debug base;
  Namespace *next;
};

uint64_t mix(uint64_t hash, uint64_t value) { return (hash ^ value) * 0x9e3779b97f4a7c15 + (hash >> 29); }

// Of every object in every namespace. *changing: some thread is in the middle of a dlopen or dlclose.
uint64_t read_list(bool *changing) {
  uint64_t hash = 1;
  *changing = false;
  const auto *space = reinterpret_cast<const Namespace *>(&_r_debug);
  while (space != nullptr) {
    if (space->base.r_state != r_debug::RT_CONSISTENT) *changing = true;
    for (const link_map *map = space->base.r_map; map != nullptr; map = map->l_next) {
      hash = mix(mix(mix(hash, address_of(map)), map->l_addr), address_of(map->l_ld));
    }
    space = space->base.r_version >= 2 ? space->next : nullptr;
  }
  return hash | 1;
}

// --- the walk ---

struct Walk {
  bool (*stop_world)(void *context);
  void *context;
  bool begun = false;
  bool complete = true;
};

bool is_ours(const dl_phdr_info &object) {
  if (object.dlpi_name == nullptr || object.dlpi_name[0] == '\0') return false;  // the program itself
  const uintptr_t here = address_of(&segments);
  for (unsigned i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr) &part = object.dlpi_phdr[i];
    if (part.p_type == PT_LOAD && here - (object.dlpi_addr + part.p_vaddr) < part.p_memsz) return true;
  }
  return false;
}

void note(const dl_phdr_info &object, Walk &walk) {
  const bool ours = is_ours(object);
  for (unsigned i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr) &part = object.dlpi_phdr[i];
    const uintptr_t low = object.dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_LOAD && (part.p_flags & PF_W) != 0) {
      walk.complete &= (ours ? own_segments : segments).push_back({low, low + part.p_memsz});
    } else if (part.p_type == PT_TLS && part.p_memsz != 0 && object.dlpi_tls_modid != 0) {
      walk.complete &= modules.push_back({object.dlpi_tls_modid, part.p_memsz});
    }
  }
}

int visit_object(dl_phdr_info *object, size_t, void *context) {
  auto &walk = *static_cast<Walk *>(context);
  if (!walk.begun) {
    walk.begun = true;
    walk.complete = walk.stop_world(walk.context);
    if (walk.complete) {
      segments.clear();
      own_segments.clear();
      modules.clear();
    }
  }
  if (walk.complete) note(*object, walk);
  return walk.complete ? 0 : 1;
}

void visit_words(uintptr_t low, uintptr_t high, VisitRange visit, void *context) {
  low = align_up(low, sizeof(void *));
  high = align_down(high, sizeof(void *));
  if (low < high) visit(low, high, context);
}

struct Visitor {
  VisitRange visit;
  void *context;
};

// What was unmapped since it was added is left out, and pages without access: guards that a program has put below stacks in its
// own data are such.
void visit_readable(const Range &range, Visitor visitor) {
  mappings::for_each_readable(
      range.low, range.high,
      [](uintptr_t low, uintptr_t high, void *context) {
        const auto *each = static_cast<Visitor *>(context);
        visit_words(low, high, each->visit, each->context);
      },
      &visitor);
}

// First of the added ranges that ends at or above `address`.
size_t first_reaching(uintptr_t address) {
  size_t low = 0, high = added.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (added[middle].high < address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// What is added from `address` upwards, as far as it is in one piece. In a running world, where it may change at any time.
bool next_added(uintptr_t address, Range *found) {
  const NoStopLock lock;
  size_t i = first_reaching(address);
  if (i < added.size() && added[i].high == address) ++i;
  if (i == added.size()) return false;
  *found = added[i];
  if (found->low < address) found->low = address;
  return true;
}

}  // namespace

bool add(const void *low_bound, const void *high_bound) {
  Range fresh{address_of(low_bound), address_of(high_bound)};
  if (fresh.low >= fresh.high) return true;
  const NoStopLock lock;
  const size_t first = first_reaching(fresh.low);
  size_t last = first;
  for (; last < added.size() && added[last].low <= fresh.high; ++last) {
    if (added[last].low < fresh.low) fresh.low = added[last].low;
    if (added[last].high > fresh.high) fresh.high = added[last].high;
  }
  if (first == last) return added.insert(first, fresh);
  added[first] = fresh;
  added.erase(first + 1, last);
  return true;
}

void remove(const void *low_bound, const void *high_bound) {
  const uintptr_t low = address_of(low_bound), high = address_of(high_bound);
  if (low >= high) return;
  const NoStopLock lock;
  size_t i = first_reaching(low);
  while (i < added.size() && added[i].low < high) {
    const Range old = added[i];
    if (old.low < low && old.high > high) {
      // Without memory for the second half the whole stays: roots too many keep objects alive, roots too few lose them.
      if (added.insert(i + 1, {high, old.high})) added[i].high = low;
      return;
    }
    if (old.low < low) {
      if (old.high > low) added[i].high = low;
      ++i;
    } else if (old.high > high) {
      added[i++].low = high;
    } else {
      added.erase(i, i + 1);
    }
  }
}

void for_each_data_range(VisitRange visit, void *context) {
  for (const Range &range : segments) visit_readable(range, {visit, context});
  for (const Range &range : added) visit_readable(range, {visit, context});
}

void for_each_data_range_running(VisitRange visit, void *context) {
  for (const Range &range : segments) visit_words(range.low, range.high, visit, context);
  for (Range range{0, 0}; next_added(range.high, &range);) visit_words(range.low, range.high, visit, context);
}

uint64_t data_bytes() {
  uint64_t sum = 0;
  const auto add_length = [](uintptr_t low, uintptr_t high, void *context) { *static_cast<uint64_t *>(context) += high - low; };
  for (const Range &range : segments) sum += range.high - range.low;
  for (const Range &range : added) visit_readable(range, {add_length, &sum});
  return sum;
}

void for_each_own_range(VisitRange visit, void *context) {
  for (const Range &range : own_segments) visit_words(range.low, range.high, visit, context);
}

bool walk(bool (*stop_world)(void *context), void *context) {
  fingerprint = 0;
  Walk now{stop_world, context};
  dl_iterate_phdr(visit_object, &now);
  bool changing;
  if (now.complete) fingerprint = read_list(&changing);  // still stopped: the list is what the walk has seen
  return now.complete;
}

bool still_valid() {
  bool changing;
  const uint64_t now = read_list(&changing);
  return !changing && now == fingerprint;
}

void for_each_tls_module(void (*visit)(TlsModule module, void *context), void *context) {
  for (const TlsModule &module : modules) visit(module, context);
}

}  // namespace warren::gc::roots
