// See suppressions.h.
#include "inspect/suppressions.h"

#include "allocator/base/os_calls.h"
#include "gc/paged_array.h"

#include <cstring>
#include <fcntl.h>

namespace warren::inspect::suppressions {
namespace {

struct Pattern {
  const char *text;
  uint32_t length;
};

gc::PagedArray<char> text;
gc::PagedArray<Pattern> patterns;

// Whether the name has the pattern at its start; `to_the_end`: and nothing behind it.
bool begins(const char *pattern, uint32_t length, const char *name, bool to_the_end) {
  // The last `*` and where it may go on: everything before it fits for good.
  const char *star = nullptr, *retry = nullptr;
  const char *end = pattern + length;
  for (;;) {
    if (pattern != end && *pattern == '*') {
      star = ++pattern;
      retry = name;
    } else if (pattern == end && (!to_the_end || *name == '\0')) {
      return true;
    } else if (pattern != end && *name != '\0' && *pattern == *name) {
      ++pattern;
      ++name;
    } else if (star != nullptr && *retry != '\0') {
      pattern = star;
      name = ++retry;
    } else {
      return false;
    }
  }
}

// A pattern with its anchors.
bool fits(const char *pattern, uint32_t length, const char *name) {
  const bool from_start = length != 0 && pattern[0] == '^';
  if (from_start) {
    ++pattern;
    --length;
  }
  const bool to_the_end = length != 0 && pattern[length - 1] == '$';
  if (to_the_end) --length;
  if (from_start) return begins(pattern, length, name, to_the_end);
  for (;; ++name) {
    if (begins(pattern, length, name, to_the_end)) return true;
    if (*name == '\0') return false;
  }
}

void add_line(const char *line, size_t length) {
  constexpr char kKind[] = "leak:";
  constexpr size_t kKindLength = sizeof kKind - 1;
  while (length != 0 && (line[length - 1] == ' ' || line[length - 1] == '\r' || line[length - 1] == '\t')) --length;
  if (length <= kKindLength || memcmp(line, kKind, kKindLength) != 0) return;
  patterns.push_back({line + kKindLength, static_cast<uint32_t>(length - kKindLength)});
}

}  // namespace

bool read(const char *path) {
  const long fd = os_calls::open(path, O_RDONLY);
  if (os_calls::failed(fd)) return false;
  long bytes = 0;
  do {
    if (!text.reserve(text.size() + 4096)) break;
    bytes = os_calls::read(static_cast<int>(fd), text.end(), 4096);
    if (bytes > 0) text.grow(static_cast<size_t>(bytes));
  } while (bytes > 0);
  os_calls::close(static_cast<int>(fd));
  for (size_t start = 0; start < text.size();) {
    size_t end = start;
    while (end < text.size() && text[end] != '\n') ++end;
    add_line(&text[start], end - start);
    start = end + 1;
  }
  return bytes == 0;
}

bool matches(const char *name) {
  for (const Pattern &pattern : patterns) {
    if (fits(pattern.text, pattern.length, name)) return true;
  }
  return false;
}

}  // namespace warren::inspect::suppressions
