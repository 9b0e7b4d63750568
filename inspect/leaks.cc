// See leaks.h.
#include "inspect/leaks.h"

#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/sampling.h"
#include "inspect/block_origins.h"
#include "inspect/frame_names.h"
#include "inspect/leak_groups.h"
#include "inspect/leak_report.h"
#include "inspect/leak_roots.h"
#include "inspect/reach.h"
#include "inspect/snapshot.h"
#include "inspect/suppressions.h"

#include <csignal>

namespace warren::inspect::leaks {
namespace {

bool on = false;
uint64_t process = 0;  // that looks; a forked child does not

void complain(const char *what, const char *more = "") {
  LogLine line;
  line << "warren: leaks: " << what << more;
  line.write_to(2);
}

// --- in the copy ---

enum Value : unsigned { kLostBlocks, kError };
enum Error : uint64_t { kNone, kNoMemory, kNoMappings, kNoSuppressions };

int open_report() {
  const long fd = options.leaks[0] == '\0' ? -1 : os_calls::open_for_append(options.leaks);
  return os_calls::failed(fd) ? os_process::keep_stderr() : static_cast<int>(fd);
}

void search_copy(uint64_t (&values)[4]) {
  leak_roots::note_kernel_words();
  // What the program closes must be closed: a peer waits for it.
  os_calls::close_all_but(os_process::keep_stderr(), -1);
  values[kError] = kNoMemory;
  if (options.leak_suppressions[0] != '\0' && !suppressions::read(options.leak_suppressions)) {
    values[kError] = kNoSuppressions;
    return;
  }
  if (!frame_names::read() || !reach::prepare(reach::EndPointers::kFew)) return;
  if (!leak_roots::scan()) {
    values[kError] = kNoMappings;
    return;
  }
  if (reach::ran_out_of_memory() || !leak_groups::find(leak_report::is_suppressed)) return;
  values[kLostBlocks] = leak_report::write(open_report());
  values[kError] = kNone;
}

// --- in the program ---

void on_signal(int, void *, void *) {
  if (os_process::id() == process) snapshot::take_and_forget(search_copy);
}

}  // namespace

void set_up() {
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
}

int64_t check() {
  if (!on) return -1;
  frame_names::find_demangler();  // by now there may be one
  const snapshot::Outcome outcome = snapshot::take(search_copy);
  if (const char *why = snapshot::failure(outcome)) {
    complain(why);
    return -1;
  }
  switch (outcome.values[kError]) {
    case kNone: return static_cast<int64_t>(outcome.values[kLostBlocks]);
    case kNoSuppressions: complain("cannot read ", options.leak_suppressions); break;
    case kNoMappings: complain("/proc/self/maps cannot be read"); break;
    default: complain("no memory for the search"); break;
  }
  return -1;
}

bool leaked_at_exit() {
  if (!on || os_process::id() != process) return false;
  return check() > 0;
}

}  // namespace warren::inspect::leaks
