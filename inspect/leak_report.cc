// See leak_report.h.
#include "inspect/leak_report.h"

#include "allocator/base/address.h"
#include "allocator/base/log.h"
#include "inspect/frame_names.h"
#include "inspect/leak_groups.h"
#include "inspect/report_lines.h"
#include "inspect/snapshot.h"
#include "inspect/stack_table.h"
#include "inspect/suppressions.h"

namespace warren::inspect::leak_report {
namespace {

using leak_groups::Amount;
using leak_groups::Group;
using report_lines::put;
using report_lines::put_milliseconds;
using report_lines::write_frame;

LogLine &operator<<(LogLine &line, const Amount &amount) {
  return line << amount.bytes << (amount.bytes == 1 ? " byte in " : " bytes in ") << amount.blocks
              << (amount.blocks == 1 ? " block" : " blocks");
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

}  // namespace

bool is_suppressed(uint32_t stack) {
  const stack_table::Frames frames = stack_table::frames_of(stack);
  for (unsigned i = 0; i < frames.count; ++i) {
    const frame_names::Frame symbol = frame_names::at(address_of(frames.address[i]));
    if (symbol.file != nullptr && suppressions::matches(symbol.file)) return true;
    if (symbol.function == nullptr) continue;
    if (suppressions::matches(symbol.function)) return true;
    if (suppressions::matches(frame_names::demangled(symbol.function))) return true;
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
