// See leaks.h.
#include "inspect/leaks.h"

#include "allocator/base/annotations.h"
#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/base/stop_gate.h"
#include "allocator/sampling.h"
#include "allocator/thread.h"
#include "inspect/block_origins.h"
#include "inspect/frame_names.h"
#include "inspect/leak_groups.h"
#include "inspect/leak_report.h"
#include "inspect/leak_roots.h"
#include "inspect/reach.h"
#include "inspect/report_lines.h"
#include "inspect/snapshot.h"
#include "inspect/suppressions.h"

#include <atomic>
#include <csignal>
#include <pthread.h>

namespace warren::inspect::leaks {
namespace {

bool on = false;
uint64_t process = 0;  // that looks
bool is_forked = false;  // and keeps its status

// The thread that looks for the last time, or has. relaxed: the process ends, and nothing else hangs on it.
std::atomic<uint32_t> last_look{0};

void complain(const char *what) {
  LogLine line;
  line << "warren: leaks: " << what;
  line.write_to(2);
}

// --- in the copy ---

enum Value : unsigned { kLostBlocks, kError };
enum Error : uint64_t { kNone, kNoMemory, kNoMappings };

int open_report() {
  const long fd = options.leaks[0] == '\0' ? -1 : os_calls::open_for_append(options.leaks);
  return os_calls::failed(fd) ? os_process::keep_stderr() : static_cast<int>(fd);
}

void search_copy(uint64_t (&values)[4]) {
  leak_roots::note_kernel_words();
  // What the program closes must be closed: a peer waits for it.
  os_calls::close_all_but(os_process::keep_stderr(), -1);
  values[kError] = kNoMemory;
  const int report = open_report();
  if (options.leak_suppressions[0] != '\0' && !suppressions::read(options.leak_suppressions)) {
    LogLine line;
    line << "warren: leaks: cannot read " << options.leak_suppressions << ": all leaks are reported that it might name";
    report_lines::put(line, report);
  }
  if (!frame_names::read() || !reach::prepare(reach::EndPointers::kFew)) return;
  if (!leak_roots::scan()) {
    values[kError] = kNoMappings;
    return;
  }
  if (reach::ran_out_of_memory() || !leak_groups::find(leak_report::is_suppressed)) return;
  values[kLostBlocks] = leak_report::write(report);
  values[kError] = kNone;
}

// --- in the program ---

void on_signal(int, void *, void *) {
  if (os_process::id() == process) snapshot::take_and_forget(search_copy);
}

}  // namespace

WARREN_AT_START void set_up() {
  if (options.gc.load(std::memory_order_relaxed) != kGcLeaks) return;
  const uint64_t wanted = options.leaks_process.load(std::memory_order_relaxed);
  process = os_process::id();
  if (wanted != 0 && wanted != process) return;
  os_process::keep_stderr();
  if (!snapshot::set_up()) return complain("no memory to look for leaks");
  on = true;
  leak_roots::set_up();
  if (block_origins::set_up()) sampling::watch_each(block_origins::note);
  frame_names::find_demangler();
  if (os_calls::handler_of(SIGUSR2) == nullptr) os_calls::handle_signal(SIGUSR2, on_signal);
  if (options.leak_forks.load(std::memory_order_relaxed) != 0) {
    pthread_atfork(nullptr, nullptr, [] {
      if (!on) return;
      snapshot::reset_in_child();
      process = os_process::id();
      is_forked = true;
      last_look.store(0, std::memory_order_relaxed);
    });
  }
}

namespace {

int64_t look() {
  const snapshot::Outcome outcome = snapshot::take(search_copy);
  if (const char *why = snapshot::failure(outcome)) {
    complain(why);
    return -1;
  }
  switch (outcome.values[kError]) {
    case kNone: return static_cast<int64_t>(outcome.values[kLostBlocks]);
    case kNoMappings: complain("/proc/self/maps cannot be read"); break;
    default: complain("no memory for the search"); break;
  }
  return -1;
}

// Once. Who comes second waits for the first, whose end takes it along; but for a handler that interrupted it.
WARREN_AT_START bool begin_last_look() {
  if (!on || os_process::id() != process) return false;
  uint32_t looks = 0;
  const uint32_t self = os_calls::thread_id();
  if (last_look.compare_exchange_strong(looks, self, std::memory_order_relaxed)) return true;
  while (looks != self) os_calls::sleep(10'000'000);
  return false;
}

}  // namespace

int64_t check() {
  if (!on) return -1;
  frame_names::find_demangler();  // by now there may be one
  return look();
}

WARREN_AT_START bool is_on() { return on; }

WARREN_AT_START bool leaked_at_exit() { return begin_last_look() && check() > 0 && !is_forked; }

bool leaked_at_sudden_end() {
  if (!begin_last_look()) return false;
  // Inside of the heap nobody waits for this thread to come out of it; and a search that it interrupted does not end.
  const CacheAccess access;
  if (access.reentered() || stop_gate::inside != 0 || snapshot::is_taken_by_me()) {
    complain("the program ended in a signal handler that had interrupted the heap: not looked for");
    return false;
  }
  return look() > 0 && !is_forked;
}

}  // namespace warren::inspect::leaks
