// See page_states.h.
#include "gc/page_states.h"

#include "allocator/base/os_memory.h"
#include "gc/page_tags.h"

#include <cstring>

namespace warren::gc::page_states {
namespace {

State *states = nullptr;
size_t page_count = 0;  // a byte each, that many bytes in all

size_t index_of(uintptr_t page) { return (page - tables.start) / kOsPageSize; }

}  // namespace

bool prepare() {
  const size_t wanted = __atomic_load_n(&tables.bytes, __ATOMIC_ACQUIRE);
  if (page_count * kOsPageSize >= wanted) return true;
  // More than is needed: the heap grows.
  const size_t bytes = align_up((wanted + wanted / 2) / kOsPageSize, kOsPageSize);
  auto *fresh = static_cast<State *>(os_memory::reserve(bytes, kOsPageSize));
  if (fresh == nullptr) return false;
  if (os_memory::prepare(fresh, bytes, true) != os_memory::PrepareResult::kOk) {
    os_memory::unreserve(fresh, bytes);
    return false;
  }
  if (states != nullptr) {
    memcpy(fresh, states, page_count);
    os_memory::unreserve(states, page_count);
  }
  states = fresh;
  page_count = bytes;
  return true;
}

void add(mutation::Range range, State state) {
  const size_t end = index_of(range.end) < page_count ? index_of(range.end) : page_count;
  for (size_t i = index_of(range.start); i < end; ++i) states[i] |= state;
}

void take_away(State state) {
  for (size_t i = 0; i < page_count; ++i) {
    if (states[i] != 0) states[i] &= static_cast<State>(~state);
  }
}

bool is_covered(uintptr_t page) { return index_of(page) < page_count; }

size_t count(mutation::Range range, State state) {
  size_t found = 0;
  const size_t end = index_of(range.end) < page_count ? index_of(range.end) : page_count;
  for (size_t i = index_of(range.start); i < end; ++i) found += (states[i] & state) != 0;
  return found;
}

void take_runs(State state, bool (*wanted)(uintptr_t page), mutation::Visit visit, void *context) {
  const auto page_at = [](size_t i) { return tables.start + i * kOsPageSize; };
  for (size_t i = 0; i < page_count;) {
    const size_t first = i;
    for (; i < page_count && (states[i] & state) != 0 && wanted(page_at(i)); ++i) states[i] &= static_cast<State>(~state);
    if (i != first) {
      visit({page_at(first), page_at(i)}, context);
    } else {
      ++i;
    }
  }
}

}  // namespace warren::gc::page_states
