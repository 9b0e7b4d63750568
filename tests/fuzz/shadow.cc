// See shadow.h.
#include "tests/fuzz/shadow.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace fuzz {
namespace {

std::string text_of(uintptr_t start, uintptr_t end) {
  char text[64];
  snprintf(text, sizeof text, "[%#zx, %#zx)", start, end);
  return text;
}

std::atomic<uint64_t> next_stamp{1};

}  // namespace

Complain complain = [](const std::string &text) {
  fprintf(stderr, "operations: %s\n", text.c_str());
  abort();
};

void Shadow::add(Record &record, size_t align) {
  const auto start = reinterpret_cast<uintptr_t>(record.start);
  // Two blocks of no bytes must differ as well.
  const uintptr_t end = start + (record.usable == 0 ? 1 : record.usable);
  if (start % align != 0) complain("block " + text_of(start, end) + " is not aligned to " + std::to_string(align));
  if (record.usable < record.size) {
    complain("block " + text_of(start, end) + " of " + std::to_string(record.size) + " bytes has only " +
             std::to_string(record.usable));
  }
  {
    const std::lock_guard guard(lock_);
    const auto after = live_.lower_bound(start);
    if (after != live_.end() && after->first < end) {
      complain("block " + text_of(start, end) + " overlaps " + text_of(after->first, after->second.end));
    }
    if (after != live_.begin() && std::prev(after)->second.end > start) {
      complain("block " + text_of(start, end) + " overlaps " +
               text_of(std::prev(after)->first, std::prev(after)->second.end));
    }
    live_[start] = {end};
  }
  stamp(record);
}

void Shadow::remove(const Record &record) {
  check_contents(record, record.usable);
  const std::lock_guard guard(lock_);
  if (live_.erase(reinterpret_cast<uintptr_t>(record.start)) != 1) complain("a block was lost from the map");
}

void Shadow::stamp(Record &record) {
  record.stamp = next_stamp.fetch_add(0x9e3779b97f4a7c15);
  for_each_stamped(record.usable, [&record](size_t i) { record.start[i] = byte_of(record.stamp, i); });
}

void Shadow::check_contents(const Record &record, size_t size) {
  size_t wrong = SIZE_MAX;
  for_each_stamped(record.usable, [&](size_t i) {
    if (i < size && wrong == SIZE_MAX && record.start[i] != byte_of(record.stamp, i)) wrong = i;
  });
  if (wrong == SIZE_MAX) return;
  const auto start = reinterpret_cast<uintptr_t>(record.start);
  complain("block " + text_of(start, start + record.usable) + " of " + std::to_string(record.size) +
           " bytes was overwritten at offset " + std::to_string(wrong));
}

size_t Shadow::blocks() {
  const std::lock_guard guard(lock_);
  return live_.size();
}

}  // namespace fuzz
