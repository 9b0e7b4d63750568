// See mappings.h. Since Linux 6.11 the kernel answers for one address (PROCMAP_QUERY, 1 us); before that the whole of
// /proc/self/maps is read, once in each stop that asks.
#include "gc/mappings.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "gc/paged_array.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/ioctl.h>

namespace warren::gc::mappings {
namespace {

struct Query {  // the kernel's procmap_query, up to what is used of it
  uint64_t size, flags, address;
  uint64_t start, end, mapping_flags, page_size, offset, inode;
  uint32_t device_major, device_minor, name_size, build_id_size;
  uint64_t name, build_id;
};
constexpr unsigned long kQuery = _IOWR('f', 17, Query);
constexpr uint64_t kReadable = 1, kCoveringOrNext = 0x10;

// A page's entry of /proc/self/pagemap.
constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62;

int fd = -1;
bool queried = true;  // the kernel answers queries; false once it has said that it does not
bool listed = false;  // `list` is of this stop
PagedArray<Mapping> list;

// Reads all of /proc/self/maps: "LOW-HIGH rwxp …\n".
void read_list() {
  WARREN_LARGE_TABLE static char buffer[16384];
  listed = true;
  list.clear();
  os_calls::rewind(fd);
  Mapping now{};
  enum class Field : uint8_t { kLow, kHigh, kFlag, kRest } field = Field::kLow;
  for (long bytes; (bytes = os_calls::read(fd, buffer, sizeof buffer)) > 0;) {
    for (long i = 0; i < bytes; ++i) {
      const char c = buffer[i];
      const auto digit = static_cast<uintptr_t>(c <= '9' ? c - '0' : c - 'a' + 10);
      switch (field) {
        case Field::kLow:
          if (c == '-') {
            field = Field::kHigh;
          } else {
            now.low = now.low << 4 | digit;
          }
          break;
        case Field::kHigh:
          if (c == ' ') {
            field = Field::kFlag;
          } else {
            now.high = now.high << 4 | digit;
          }
          break;
        case Field::kFlag:
          now.readable = c == 'r';
          list.push_back(now);
          field = Field::kRest;
          break;
        case Field::kRest:
          if (c == '\n') {
            now = {};
            field = Field::kLow;
          }
      }
    }
  }
}

bool find_in_list(uintptr_t address, Mapping *found) {
  if (!listed) read_list();
  size_t low = 0, high = list.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (list[middle].high <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == list.size()) return false;
  *found = list[low];
  return true;
}

bool page_readable(uintptr_t page) {
  char byte;
  return os_calls::copy_memory(os_process::id(), &byte, page, 1) != -EFAULT;
}

}  // namespace

bool prepare() {
  listed = false;
  fd = static_cast<int>(os_calls::open("/proc/self/maps", O_RDONLY));
  return fd >= 0;
}

void forget() {
  if (fd >= 0) os_calls::close(fd);
  fd = -1;
}

bool at_or_above(uintptr_t address, Mapping *found) {
  if (fd < 0) return false;
  if (queried) {
    Query query{};
    query.size = sizeof query;
    query.flags = kCoveringOrNext;
    query.address = address;
    const long result = os_calls::ioctl(fd, kQuery, &query);
    if (!os_calls::failed(result)) {
      *found = {query.start, query.end, (query.mapping_flags & kReadable) != 0};
      return true;
    }
    if (result == -ENOENT) return false;
    queried = false;
  }
  return find_in_list(address, found);
}

bool around(uintptr_t address, Mapping *found) {
  return at_or_above(address, found) && found->low <= address && found->readable;
}

void for_each_readable(uintptr_t low, uintptr_t high, void (*visit)(uintptr_t, uintptr_t, void *), void *context) {
  Mapping mapping;
  while (low < high && at_or_above(low, &mapping) && mapping.low < high) {
    const uintptr_t from = mapping.low > low ? mapping.low : low;
    const uintptr_t to = mapping.high < high ? mapping.high : high;
    if (mapping.readable) visit(from, to, context);
    low = to;
  }
}

void for_each_touched(uintptr_t low, uintptr_t high, void (*visit)(uintptr_t, uintptr_t, void *), void *context) {
  const long pagemap = os_calls::open("/proc/self/pagemap", O_RDONLY);
  uint64_t entries[512];
  uintptr_t run = 0;  // where the touched pages began that end at `page`
  uintptr_t page = align_down(low, kOsPageSize);
  while (page < high) {
    size_t pages = (align_up(high, kOsPageSize) - page) / kOsPageSize;
    if (pages > 512) pages = 512;
    const size_t bytes = pages * sizeof *entries;
    const bool known = !os_calls::failed(pagemap) &&
                       os_calls::read_at(static_cast<int>(pagemap), entries, bytes,
                                         page / kOsPageSize * sizeof *entries) == static_cast<long>(bytes);
    for (size_t i = 0; i < pages; ++i, page += kOsPageSize) {
      // A guard page looks like a swapped one; without the list each page is tried.
      const bool touched = known && ((entries[i] & kPresent) != 0 || (entries[i] & kSwapped) == 0)
                               ? (entries[i] & kPresent) != 0
                               : page_readable(page);
      if (touched && run == 0) run = page;
      if (!touched && run != 0) {
        visit(run > low ? run : low, page, context);
        run = 0;
      }
    }
  }
  if (run != 0) visit(run > low ? run : low, high, context);
  if (!os_calls::failed(pagemap)) os_calls::close(static_cast<int>(pagemap));
}

size_t copy(void *to, uintptr_t from, size_t bytes) {
  const long copied = os_calls::copy_memory(os_process::id(), to, from, bytes);
  return copied < 0 ? 0 : static_cast<size_t>(copied);
}

}  // namespace warren::gc::mappings
