// See leak_report.h.
#include "inspect/leak_report.h"

#include "allocator/base/address.h"
#include "allocator/base/log.h"
#include "allocator/base/os_calls.h"
#include "inspect/frame_names.h"
#include "inspect/leak_groups.h"
#include "inspect/snapshot.h"
#include "inspect/stack_table.h"
#include "inspect/suppressions.h"

#include <cstring>

namespace warren::inspect::leak_report {
namespace {

using leak_groups::Amount;
using leak_groups::Group;

constexpr size_t kLongestName = 300;  // leaves room for the rest of a line

// Not LogLine::write_to(), which asks libc for the signals that wait: here all are blocked, and libc's locks may be held.
void put(LogLine &line, int fd) {
  line << "\n";
  size_t done = 0;
  while (done < line.size()) {
    const long written = os_calls::write(fd, line.data() + done, line.size() - done);
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
}

LogLine &operator<<(LogLine &line, const Amount &amount) {
  return line << amount.bytes << (amount.bytes == 1 ? " byte in " : " bytes in ") << amount.blocks
              << (amount.blocks == 1 ? " block" : " blocks");
}

void write_frame(int fd, uintptr_t address) {
  const frame_names::Frame symbol = frame_names::at(address);
  LogLine line;
  line << "    ";
  const char *file = symbol.file;
  if (file != nullptr && strrchr(file, '/') != nullptr) file = strrchr(file, '/') + 1;
  const size_t file_length = file == nullptr ? 0 : strlen(file) < 100 ? strlen(file) : 100;
  if (symbol.function != nullptr) {
    const char *name = frame_names::demangled(symbol.function);
    const size_t length = strlen(name);
    line.text(name, length < kLongestName ? length : kLongestName) << "+" << at_address<const void>(symbol.offset) << " (";
    line.text(file, file_length) << ")";
  } else if (file != nullptr) {
    line << at_address<const void>(address) << " (";
    line.text(file, file_length) << "+" << at_address<const void>(symbol.offset) << ")";
  } else {
    line << at_address<const void>(address) << " (not mapped any more)";
  }
  put(line, fd);
}

void write_stack(int fd, uint32_t stack) {
  const stack_table::Frames frames = stack_table::frames_of(stack);
  for (unsigned i = 0; i < frames.count; ++i) write_frame(fd, address_of(frames.address[i]));
  if (frames.count != 0) return;
  LogLine line;
  line << "    (unknown: before the first stack could be noted)";
  put(line, fd);
}

uint64_t weight(const Group &group) { return group.direct.bytes + group.held.bytes; }

// The heaviest that was not written yet; direct ones first, and each kind by itself.
const Group *next_group(bool direct, uint64_t last_weight, size_t last_at, size_t *found_at) {
  const gc::PagedArray<Group> &groups = leak_groups::groups();
  const Group *found = nullptr;
  for (size_t i = 0; i < groups.size(); ++i) {
    const Group &group = groups[i];
    if (direct ? group.direct.blocks == 0 || group.suppressed : group.indirect.blocks == 0) continue;
    const uint64_t now = direct ? weight(group) : group.indirect.bytes;
    if (now > last_weight || (now == last_weight && i <= last_at)) continue;
    if (found != nullptr && now <= (direct ? weight(*found) : found->indirect.bytes)) continue;
    found = &group;
    *found_at = i;
  }
  return found;
}

void write_groups(int fd, bool direct) {
  constexpr int kMost = 1000;
  uint64_t last_weight = ~uint64_t{0};
  size_t last_at = 0;
  for (int i = 0; i < kMost; ++i) {
    size_t at = 0;
    const Group *group = next_group(direct, last_weight, last_at, &at);
    if (group == nullptr) return;
    LogLine line;
    if (direct) {
      line << "warren: leaked " << group->direct << " (direct)";
      if (group->held.blocks != 0) line << ", " << group->held << " held by them";
    } else {
      line << "warren: held by leaks " << group->indirect << " (indirect)";
    }
    line << ", allocated at";
    put(line, fd);
    write_stack(fd, group->stack);
    last_weight = direct ? weight(*group) : group->indirect.bytes;
    last_at = at;
  }
}

// "0.21"
void put_milliseconds(LogLine &line, uint64_t nanoseconds) {
  const uint64_t hundredths = nanoseconds / 10'000;
  line << hundredths / 100 << "." << hundredths / 10 % 10 << hundredths % 10;
}

}  // namespace

bool is_suppressed(uint32_t stack) {
  const stack_table::Frames frames = stack_table::frames_of(stack);
  for (unsigned i = 0; i < frames.count; ++i) {
    const frame_names::Frame symbol = frame_names::at(address_of(frames.address[i]));
    if (symbol.file != nullptr && suppressions::matches(symbol.file)) return true;
    if (symbol.function == nullptr) continue;
    if (suppressions::matches(symbol.function) || suppressions::matches(frame_names::demangled(symbol.function))) return true;
  }
  return false;
}

uint64_t write(int fd) {
  const uint64_t stopped = snapshot::stopped_so_far();
  Amount direct{}, indirect{}, suppressed{};
  for (const Group &group : leak_groups::groups()) {
    Amount &leaks = group.suppressed ? suppressed : direct;
    leaks.blocks += group.direct.blocks;
    leaks.bytes += group.direct.bytes;
    Amount &held = group.suppressed ? suppressed : indirect;
    held.blocks += group.held.blocks;
    held.bytes += group.held.bytes;
  }
  write_groups(fd, true);
  write_groups(fd, false);
  LogLine line;
  line << "warren: leaks: ";
  if (direct.blocks == 0) {
    line << "none";
  } else {
    line << direct << " (direct), " << indirect << " (indirect)";
  }
  if (suppressed.blocks != 0) line << "; suppressed " << suppressed;
  line << "; of " << leak_groups::live_blocks() << " live blocks; looked for with the program stopped for ";
  put_milliseconds(line, stopped);
  line << " ms";
  put(line, fd);
  return direct.blocks + indirect.blocks;
}

}  // namespace warren::inspect::leak_report
