// See report.h.
#include "scheduler/report.h"

#include "allocator/base/address.h"
#include "allocator/base/layout.h"
#include "allocator/base/log.h"
#include "allocator/base/mutex.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "gc/registers_x86_64.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/clock.h"
#include "scheduler/frames.h"
#include "scheduler/note.h"
#include "scheduler/stack.h"
#include "scheduler/stacks.h"
#include "scheduler/state.h"
#include "scheduler/symbol.h"
#include "scheduler/sysmon.h"
#include "scheduler/world.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace warren::scheduler {
namespace {

constexpr int kStatus = 2;  // of a process that ends here, as in Go

// A world that does not stop must not keep a report from being printed.
constexpr uint64_t kLongestStop = kSecond;
// For a running thread to answer with its stack.
constexpr uint64_t kLongestAnswer = 200 * kMillisecond;

// By WaitReason.
constexpr const char *kWaitReasons[] = {
    "waiting",
    "chan receive",
    "chan send",
    "chan receive (nil chan)",
    "chan send (nil chan)",
    "select",
    "select (no cases)",
    "sleep",
    "IO wait",
    "sync.Mutex.Lock",
    "sync.RWMutex.RLock",
    "sync.RWMutex.Lock",
    "sync.WaitGroup.Wait",
    "sync.Cond.Wait",
    "semacquire",
    "sync.Once.Do",
};
static_assert(sizeof kWaitReasons / sizeof kWaitReasons[0] == static_cast<size_t>(WaitReason::kOnce) + 1);
WARREN_SHOW_ADDRESS("wait_reasons", &kWaitReasons);
WARREN_SHOW_NUMBER("wait_reasons.count", sizeof kWaitReasons / sizeof kWaitReasons[0]);

// What a thread that runs a fiber is asked to fill in by SIGURG.
struct Question {
  std::atomic<M *> whom{nullptr};
  Frames frames{};
  std::atomic<uint32_t> answered{0};  // note
};
constinit Question question;

struct sigaction before_segv;
struct sigaction before_urg;

// In frames that are not worth showing: how one got to the switch, to the watch for exceptions that nobody catches, or to the report.
bool is_plumbing(uintptr_t address) {
  const char *name = symbol_name(address);
  for (const char *plumbing : {"warren_switch", "warren_call_on_saved", "warren_fiber_start", "warren_fiber_main", "wr_stack_here",
                               "wr_call_watched", "warren_watch_throw", "_Unwind_RaiseException",
                               "_Unwind_Resume_or_Rethrow", "__cxa_throw", "__cxa_rethrow", "wr_report_terminate",
                               "__gxx_personality_v0"}) {
    if (strcmp(name, plumbing) == 0) return true;
  }
  for (const char *face : {"_ZN6warren6detail14tell_exception", "_ZN6warren6detail16terminate_report"}) {
    if (strncmp(name, face, strlen(face)) == 0) return true;
  }
  return strstr(name, "warren9scheduler") != nullptr && strncmp(name, "_ZN6warren9scheduler", 20) == 0;
}

void print_frames(int fd, const G *g, const Frames &frames) {
  bool shown = false;
  for (int i = 0; i < frames.count; ++i) {
    if (is_plumbing(frames.address[i])) continue;
    LogLine line;
    line << "    ";
    print_symbol(line, frames.address[i]);
    line.write_to(fd);
    shown = true;
  }
  LogLine line;
  line << "    ";
  if (frames.more) {
    line << "... more frames";
  } else if (shown) {
    return;
  } else if (frames.count != 0) {
    // Nothing but plumbing: it has not begun yet.
    print_symbol(line, reinterpret_cast<uintptr_t>(g->entry));
  } else {
    line << "(no frames: its thread does not answer, or there is no unwinder)";
  }
  line.write_to(fd);
}

void print_head(int fd, const G *g, GStatus status) {
  LogLine line;
  line << "fiber " << g->id << " [" << state_name(g);
  if (status == GStatus::kWaiting && g->since != 0) print_duration(line, g->since);
  if (g->locked_m != nullptr) line << ", locked to thread";
  line << "]";
  if (g->name[0] != '\0') line << " " << g->name;
  line << ":";
  line.write_to(fd);
}

void blank_line(int fd) {
  LogLine line;
  line.write_to(fd);
}

void answer_signal(int, siginfo_t *info, void *context) {
  const int saved_errno = errno;
  M *m = this_m();
  M *whom = m;
  if (m != nullptr && question.whom.compare_exchange_strong(whom, nullptr, std::memory_order_acq_rel)) {
    frames_here(question.frames);
    note_wake(question.answered);
  } else if (before_urg.sa_handler != SIG_IGN && before_urg.sa_handler != SIG_DFL) {
    if ((before_urg.sa_flags & SA_SIGINFO) != 0) {
      before_urg.sa_sigaction(SIGURG, info, context);
    } else {
      before_urg.sa_handler(SIGURG);
    }
  }
  errno = saved_errno;
}

// The stack of a fiber that another thread runs. The frames stay empty where it does not answer in time.
void ask_for_frames(G *g) {
  M *m = g->m.load(std::memory_order_relaxed);
  question.frames.count = 0;
  question.frames.more = false;
  if (m == nullptr || m->current != g || m->thread_id == 0) return;
  note_clear(question.answered);
  question.whom.store(m, std::memory_order_release);
  os_calls::signal_thread(m->thread_id, SIGURG);
  if (!note_sleep_for(question.answered, kLongestAnswer)) {
    M *whom = m;
    // It may be about to answer: then it is worth the wait.
    if (!question.whom.compare_exchange_strong(whom, nullptr, std::memory_order_acq_rel)) note_sleep(question.answered);
  }
}

struct Printing {
  int fd;
  const G *skipped;
  bool first;
};

void print_block(G *g, void *argument) {
  auto *printing = static_cast<Printing *>(argument);
  const GStatus status = g->status.load(std::memory_order_acquire);  // pairs with the release of who parked it
  if (status == GStatus::kDead || g == printing->skipped ||
      g->generation != sched.generation.load(std::memory_order_relaxed))
    return;
  if (!printing->first) blank_line(printing->fd);
  printing->first = false;
  print_head(printing->fd, g, status);
  if (status == GStatus::kWaiting || status == GStatus::kRunnable) {
    Frames frames;
    frames_of_saved(g, frames);
    print_frames(printing->fd, g, frames);
  } else {
    ask_for_frames(g);
    print_frames(printing->fd, g, question.frames);
  }
}

G *calling_fiber() {
  const M *m = this_m();
  return m != nullptr ? m->current : nullptr;
}

void print_own_block(int fd, G *g, const Frames *frames) {
  print_head(fd, g, GStatus::kRunning);
  Frames here;
  if (frames == nullptr) {
    frames_here(here);
    frames = &here;
  }
  print_frames(fd, g, *frames);
}

// `frames`: the calling fiber's, where it has left them since.
void print_all(int fd, const Frames *frames) {
  G *own = calling_fiber();
  Printing printing{fd, own, true};
  if (own != nullptr) {
    print_own_block(fd, own, frames);
    printing.first = false;
  }
  stacks::for_each(print_block, &printing);
}

// One thread reports; others that come here wait for the end. False: it is this thread's second report.
bool claim_report() {
  static std::atomic<uint32_t> claimed{0};  // relaxed: decides who prints, and publishes nothing
  static std::atomic<uint32_t> never{0};
  uint32_t claimant = 0;
  const uint32_t me = os_calls::thread_id();
  if (claimed.compare_exchange_strong(claimant, me, std::memory_order_relaxed)) return true;
  while (claimant != me) note_sleep(never);
  return false;
}

void print_title(const char *kind, const char *text) {
  LogLine line;
  line << kind;
  const size_t length = strlen(text);
  os_calls::write(2, line.data(), line.size());
  for (size_t done = 0; done < length;) {
    const long written = os_calls::write(2, text + done, length - done);
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
  blank_line(2);
  blank_line(2);
}

// False: the world has not come to a stop in time.
bool report(const char *kind, const char *text, const Frames *frames) {
  print_title(kind, text);
  M *m = this_m();
  if (m != nullptr) enter_runtime(m);
  const bool stopped = stop_world(kLongestStop);
  print_all(2, frames);
  return stopped;
}

[[noreturn]] void report_and_exit(const char *kind, const char *text, const Frames *frames = nullptr) {
  claim_report();
  report(kind, text, frames);
  _exit(kStatus);
}

Frames frames_of(void *const *frames, int count) {
  Frames given;
  while (given.count < count && given.count < Frames::kMost) {
    given.address[given.count] = reinterpret_cast<uintptr_t>(frames[given.count]);
    ++given.count;
  }
  return given;
}

// A large array may reach beyond the guard: then the address lies between the stack pointer and the stack.
bool is_below_stack(const G *g, const void *address, const void *context) {
  const uintptr_t sp = gc::stack_pointer(*static_cast<const ucontext_t *>(context));
  const uintptr_t at = address_of(address), low = address_of(g->low);
  constexpr uintptr_t kRedZone = 128;
  return sp < low && at < low && at >= sp - kRedZone;
}

// Overflow of a fiber's stack. Anything else is left to whoever handled it before.
void segv(int signal, siginfo_t *info, void *context) {
  G *g = calling_fiber();
  const bool sent = info->si_code <= 0;  // by kill or raise: no instruction will fault again
  if (!sent && g != nullptr && (stacks::in_guard(info->si_addr) || is_below_stack(g, info->si_addr, context))) {
    claim_report();
    LogLine line;
    line << "fatal error: stack overflow";
    line.write_to(2);
    line = {};
    line << "fiber " << g->id << " has used its stack of " << (stacks::bytes_of(g->stack_order) >> 10) << " KiB";
    line.write_to(2);
    blank_line(2);
    print_own_block(2, g, nullptr);
    std::signal(SIGABRT, SIG_DFL);
    std::abort();
  }
  if ((before_segv.sa_flags & SA_SIGINFO) != 0) return before_segv.sa_sigaction(signal, info, context);
  if (before_segv.sa_handler != SIG_DFL && before_segv.sa_handler != SIG_IGN) return before_segv.sa_handler(signal);
  if (sent && before_segv.sa_handler == SIG_IGN) return;
  // The instruction faults again, or the signal comes again, and the process ends as it would have without us.
  std::signal(signal, SIG_DFL);
  if (sent) os_calls::send_signal(os_calls::process_id(), os_calls::thread_id(), signal);
}

void quit(int) { sysmon::request_quit(); }

void handle(int signal, void (*handler)(int, siginfo_t *, void *), struct sigaction *before) {
  struct sigaction action{};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, before);
}

}  // namespace

void print_duration(LogLine &line, uint64_t since) {
  const uint64_t time = now();
  const uint64_t waited = time > since ? time - since : 0;
  if (waited >= 120 * kSecond) {
    line << ", " << waited / (60 * kSecond) << " minutes";
  } else if (waited >= 10 * kSecond) {
    line << ", " << waited / kSecond << " s";
  } else {
    line << ", " << waited / kMillisecond << " ms";
  }
}

void report_set_up() {
  find_unwinder();
  static bool handled = false;  // a child of fork has the handlers
  if (!handled) {
    handled = true;
    handle(SIGSEGV, segv, &before_segv);
    handle(SIGURG, answer_signal, &before_urg);
  }
  struct sigaction now_quit;
  if (sigaction(SIGQUIT, nullptr, &now_quit) == 0 && now_quit.sa_handler == SIG_DFL) {
    struct sigaction action{};
    action.sa_handler = quit;
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGQUIT, &action, nullptr);
  }
}

void report_reset_in_child() {
  struct sigaction now_quit;
  if (sigaction(SIGQUIT, nullptr, &now_quit) == 0 && now_quit.sa_handler == quit) std::signal(SIGQUIT, SIG_DFL);
}

void report_quit() {
  if (options.sigquit.load(std::memory_order_relaxed) == 0) report_and_exit("SIGQUIT: quit", "");
  print_title("SIGQUIT", "");
  wr_dump_fibers(2);
  blank_line(2);
}

const char *state_name(const G *g) {
  switch (g->status.load(std::memory_order_relaxed)) {
    case GStatus::kDead: return "dead";
    case GStatus::kRunnable: return "runnable";
    case GStatus::kRunning:
    case GStatus::kReadied: {
      const M *m = g->m.load(std::memory_order_relaxed);
      return m != nullptr && m->current == g && is_blocking(m) ? "syscall" : "running";
    }
    case GStatus::kWaiting: break;
  }
  const auto reason = static_cast<size_t>(g->reason);
  return reason < sizeof kWaitReasons / sizeof kWaitReasons[0] ? kWaitReasons[reason] : kWaitReasons[0];
}

}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

void wr_fatal_panic(const char *text) { report_and_exit("panic: ", text); }

void wr_fatal_panic_at(const char *text, void *const *frames, int count) {
  const Frames given = frames_of(frames, count);
  const G *g = calling_fiber();
  const Frames *thrown_at = g != nullptr ? g->thrown_at : nullptr;
  report_and_exit("panic: ", text, given.count != 0 ? &given : thrown_at);
}

void wr_report_terminate(const char *text, void *const *frames, int count) {
  if (!claim_report()) return;
  const Frames given = frames_of(frames, count);
  const bool stopped = report("fatal error: std::terminate: ", text, given.count != 0 ? &given : nullptr);
  if (stopped) start_world(sched.p_count.load(std::memory_order_relaxed));
  if (M *m = this_m()) leave_runtime_quietly(m);
}

int wr_stack_here(void **frames, int most) {
  find_unwinder();
  Frames here;
  frames_here(here);
  int count = 0;
  for (; count < here.count && count < most; ++count) frames[count] = reinterpret_cast<void *>(here.address[count]);
  return count;
}

void wr_fatal_error(const char *text) { report_and_exit("fatal error: ", text); }

void wr_dump_fibers(int fd) {
  M *m = this_m();
  if (m != nullptr) enter_runtime(m);
  stop_world();
  print_all(fd, nullptr);
  start_world(sched.p_count.load(std::memory_order_relaxed));
  if (m != nullptr) leave_runtime(m);
}

}  // extern "C"
