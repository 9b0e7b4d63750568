// See process_map.h.
#include "inspect/process_map.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"

#include <fcntl.h>

namespace warren::inspect::process_map {
namespace {

gc::PagedArray<Mapping> list;
gc::PagedArray<char> names;

bool add_name(const char *text, size_t length, uint32_t *at) {
  *at = static_cast<uint32_t>(names.size());
  for (size_t i = 0; i < length; ++i) {
    if (!names.push_back(text[i])) return false;
  }
  return names.push_back('\0');
}

struct Cursor {
  const char *at;

  uint64_t number(unsigned base) {
    uint64_t value = 0;
    for (;; ++at) {
      unsigned digit;
      if (*at >= '0' && *at <= '9') {
        digit = static_cast<unsigned>(*at - '0');
      } else if (base == 16 && *at >= 'a' && *at <= 'f') {
        digit = static_cast<unsigned>(*at - 'a' + 10);
      } else {
        return value;
      }
      value = value * base + digit;
    }
  }
  void past(char c) {
    while (*at != c && *at != '\0') ++at;
    if (*at == c) ++at;
  }
};

// "LOW-HIGH rwxp OFFSET MAJOR:MINOR INODE    NAME"
bool add_line(const char *line, size_t length) {
  Mapping mapping{};
  Cursor cursor{line};
  mapping.low = cursor.number(16);
  cursor.past('-');
  mapping.high = cursor.number(16);
  cursor.past(' ');
  const char *flags = cursor.at;
  if (static_cast<size_t>(flags - line) + 4 > length) return true;
  mapping.readable = flags[0] == 'r';
  mapping.writable = flags[1] == 'w';
  mapping.executable = flags[2] == 'x';
  mapping.shared = flags[3] == 's';
  cursor.past(' ');
  mapping.offset = cursor.number(16);
  cursor.past(' ');
  cursor.past(' ');
  mapping.inode = cursor.number(10);
  while (*cursor.at == ' ') ++cursor.at;
  if (!add_name(cursor.at, length - static_cast<size_t>(cursor.at - line), &mapping.name_at)) return false;
  return list.push_back(mapping);
}

}  // namespace

bool read() {
  // Room at once, so that the list does not change while it is read.
  list.clear();
  names.clear();
  if (!list.reserve(4096) || !names.reserve(size_t{1} << 19)) return false;
  const long fd = os_calls::open("/proc/self/maps", O_RDONLY);
  if (os_calls::failed(fd)) return false;
  static char buffer[16384];
  size_t filled = 0;
  bool complete = true;
  for (;;) {
    const long bytes = os_calls::read(static_cast<int>(fd), buffer + filled, sizeof buffer - 1 - filled);
    if (bytes <= 0) break;
    filled += static_cast<size_t>(bytes);
    size_t start = 0;
    for (size_t i = 0; i < filled; ++i) {
      if (buffer[i] != '\n') continue;
      buffer[i] = '\0';
      complete &= add_line(buffer + start, i - start);
      start = i + 1;
    }
    for (size_t i = start; i < filled; ++i) buffer[i - start] = buffer[i];
    filled -= start;
  }
  os_calls::close(static_cast<int>(fd));
  return complete && list.size() != 0;
}

const gc::PagedArray<Mapping> &mappings() { return list; }
const char *name_of(const Mapping &mapping) { return &names[mapping.name_at]; }

void for_each_own_range(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context) {
  visit(address_of(list.begin()), address_of(list.begin()) + list.capacity_bytes(), context);
  visit(address_of(names.begin()), address_of(names.begin()) + names.capacity_bytes(), context);
}

const Mapping *around(uintptr_t address) {
  size_t low = 0, high = list.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (list[middle].high <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < list.size() && list[low].low <= address ? &list[low] : nullptr;
}

}  // namespace warren::inspect::process_map
