// See stuck_report.h.
#include "inspect/stuck_report.h"

#include "allocator/base/address.h"
#include "allocator/base/log.h"
#include "inspect/frame_names.h"
#include "inspect/report_lines.h"
#include "inspect/snapshot.h"
#include "inspect/stack_table.h"
#include "inspect/stack_trace.h"
#include "scheduler/context.h"
#include "scheduler/report.h"

#include <algorithm>
#include <cstring>

namespace warren::inspect::stuck_report {
namespace {

using report_lines::put;
using scheduler::G;

// Of one group; the others are counted.
constexpr size_t kMostShown = 20;

struct Group {
  size_t first, count;  // of the fibers, sorted by stack
};

struct Frames {
  void *address[kMostFrames];
  unsigned count;
};

uint32_t stack_of(const G *g) {
  static Frames frames;
  scheduler::warren_call_on_saved(
      g->sp,
      [](void *argument) {
        auto *to = static_cast<Frames *>(argument);
        to->count = capture(to->address, kMostFrames);
      },
      &frames);
  return stack_table::record(frames.address, frames.count);
}

// How one got to the switch, and what lies below a fiber's first function.
bool is_plumbing(uintptr_t address) {
  const char *name = frame_names::at(address).function;
  if (name == nullptr) return false;
  for (const char *prefix : {"_ZN6warren9scheduler", "_ZN6warren7inspect", "warren_fiber_", "warren_switch",
                             "warren_call_on_saved"}) {
    if (strncmp(name, prefix, strlen(prefix)) == 0) return true;
  }
  return false;
}

void write_stack(int fd, uint32_t stack) {
  const stack_table::Frames frames = stack_table::frames_of(stack);
  bool any = false;
  for (unsigned i = 0; i < frames.count; ++i) {
    const uintptr_t address = address_of(frames.address[i]);
    if (is_plumbing(address)) continue;
    report_lines::write_frame(fd, address);
    any = true;
  }
  if (any) return;
  LogLine line;
  line << "    (unknown)";
  put(line, fd);
}

void write_fiber(int fd, const G *g) {
  LogLine line;
  line << "  fiber " << g->id << " [" << scheduler::state_name(g);
  if (g->since != 0) scheduler::print_duration(line, g->since);
  line << "]";
  if (g->name[0] != '\0') line << " " << g->name;
  put(line, fd);
}

void write_group(int fd, const Fibers &stuck, const Group &group) {
  LogLine head;
  head << "warren: stuck: " << group.count << (group.count == 1 ? " fiber at" : " fibers at");
  put(head, fd);
  write_stack(fd, stuck[group.first].stack);
  const size_t shown = std::min(group.count, kMostShown);
  for (size_t i = 0; i < shown; ++i) write_fiber(fd, stuck[group.first + i].g);
  if (shown == group.count) return;
  LogLine rest;
  rest << "  and " << group.count - shown << " more";
  put(rest, fd);
}

void write_summary(int fd, size_t stuck, size_t live) {
  LogLine line;
  line << "warren: stuck: ";
  if (stuck == 0) {
    line << "none of " << live << (live == 1 ? " fiber" : " fibers");
  } else {
    line << stuck << " of " << live << (live == 1 ? " fiber" : " fibers") << " can never be woken";
  }
  line << "; looked for with the program stopped for ";
  report_lines::put_milliseconds(line, snapshot::stopped_so_far());
  line << " ms";
  put(line, fd);
}

}  // namespace

bool write(int fd, Fibers &stuck, size_t live) {
  write_summary(fd, stuck.size(), live);
  for (Fiber &fiber : stuck) fiber.stack = stack_of(fiber.g);
  std::sort(stuck.begin(), stuck.end(), [](const Fiber &a, const Fiber &b) {
    return a.stack != b.stack ? a.stack < b.stack : a.g->id < b.g->id;
  });
  gc::PagedArray<Group> groups;
  for (size_t i = 0; i < stuck.size(); ++i) {
    if (i == 0 || stuck[i].stack != stuck[i - 1].stack) {
      if (!groups.push_back({i, 0})) return false;
    }
    ++groups[groups.size() - 1].count;
  }
  std::sort(groups.begin(), groups.end(), [&stuck](const Group &a, const Group &b) {
    return a.count != b.count ? a.count > b.count : stuck[a.first].g->id < stuck[b.first].g->id;
  });
  for (const Group &group : groups) write_group(fd, stuck, group);
  return true;
}

}  // namespace warren::inspect::stuck_report
