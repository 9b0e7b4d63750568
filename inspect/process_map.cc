// See process_map.h.
#include "inspect/process_map.h"

#include "allocator/base/address.h"

namespace warren::inspect::process_map {
namespace {

gc::PagedArray<Mapping> list;
gc::PagedArray<char> text;

}  // namespace

bool read() {
  // Room at once, so that the list does not change while it is read.
  list.clear();
  text.clear();
  if (!list.reserve(4096) || !text.reserve(size_t{1} << 19)) return false;
  const auto add = [](const Mapping &mapping, void *) { return list.push_back(mapping); };
  return read_maps("/proc/self/maps", text, add, nullptr) && list.size() != 0;
}

const gc::PagedArray<Mapping> &mappings() { return list; }
const char *name_of(const Mapping &mapping) { return &text[mapping.name_at]; }

void for_each_own_range(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context) {
  visit(address_of(list.begin()), address_of(list.begin()) + list.capacity_bytes(), context);
  visit(address_of(text.begin()), address_of(text.begin()) + text.capacity_bytes(), context);
}

}  // namespace warren::inspect::process_map
