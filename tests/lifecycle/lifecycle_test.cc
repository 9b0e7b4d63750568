// Runs every scenario of the victim programs beside it and judges exit status and stderr. Run by meson, one
// test per program, without the preload (the victims get it).
// Invariant: a scenario passes only if its program exits with 0 by itself and writes nothing to stderr.
// WARREN_CONTROL=1 runs the same on whatever malloc there is; rows beyond glibc's promises are then skipped.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <regex>
#include <string>
#include <vector>

#include "../death/child.h"

#ifndef VICTIM_DIRECTORY
#error "VICTIM_DIRECTORY must be the folder of the victim programs and modules"
#endif

namespace {

using victims::ChildOutcome;
using victims::ChildRequest;

constexpr int kTimeoutSeconds = 100;  // generous: a hang is the failure, not slowness
const std::string kDirectory = VICTIM_DIRECTORY;

enum class Surroundings {
  kUsual,
  kDescriptorsClosed,
  kHugeEnvironment,
  kHugeCommandLine,
  kPreloadedTwice,
  kBeforeJemalloc,
  kBeforeHooks,
  kAfterHooks,
  kForwardingForeign,
  kAudited,
  kNotPreloaded,
  kMallocCollected,
};

struct Row {
  const char *program;
  const char *scenario;
  Surroundings surroundings = Surroundings::kUsual;
  int handler_runs = 0;         // how often stdout must say that a handler ran
  bool beyond_glibc = false;    // wanted of warren, not promised by the C library's malloc
  bool may_be_foreign = false;  // ending with the text about a foreign pointer is as good

  std::string name() const {
    static const char *const kSuffix[] = {"",
                                          "_descriptors_closed",
                                          "_huge_environment",
                                          "_huge_command_line",
                                          "_preloaded_twice",
                                          "_before_jemalloc",
                                          "_before_hooks",
                                          "_after_hooks",
                                          "_forwarding_foreign",
                                          "_audited",
                                          "_not_preloaded",
                                          "_malloc_collected"};
    return std::string(scenario) + kSuffix[static_cast<int>(surroundings)];
  }
};
void PrintTo(const Row &row, std::ostream *out) { *out << row.program << " " << row.name(); }

using S = Surroundings;

const std::vector<Row> kStartup = {
    {"startup_victim", "early_library"},
    {"startup_victim", "ifunc_resolver"},
    {"startup_victim", "preinit_array"},
    {"startup_victim", "constructor"},
    {"startup_victim", "few_threads_and_no_handler"},
    {"startup_victim", "closed_descriptors", S::kDescriptorsClosed},
    {"startup_victim", "plain_work", S::kHugeEnvironment},
    {"startup_victim", "plain_work", S::kHugeCommandLine},
    {"own_malloc_full_victim", ""},
    {"own_malloc_partial_victim", ""},
};

const std::vector<Row> kExit = {
    {"exit_victim", "in_atexit", S::kUsual, 3},
    {"exit_victim", "in_on_exit", S::kUsual, 1},
    {"exit_victim", "in_nested_atexit", S::kUsual, 1},
    {"exit_victim", "in_quick_exit", S::kUsual, 1},
    {"exit_victim", "in_static_destructor"},
    {"exit_victim", "in_late_destructor", S::kUsual, 1},
    {"exit_victim", "in_thread_local_of_main"},
    {"exit_victim", "while_threads_allocate", S::kUsual, 1},
    {"exit_victim", "underscore_exit_while_threads_allocate"},
    {"exit_victim", "exit_from_a_thread", S::kUsual, 1},
    {"exit_victim", "main_thread_leaves_first", S::kUsual, 1},
    {"exit_victim", "frees_blocks_of_dead_threads", S::kUsual, 1},
};

const std::vector<Row> kLastThread = {
    {"last_thread_victim", "without_threads_of_ours", S::kUsual, 1},
    {"last_thread_victim", "without_threads_of_ours", S::kMallocCollected, 1},
    {"last_thread_victim", "alone", S::kUsual, 1},
    {"last_thread_victim", "alone", S::kMallocCollected, 1},
    {"last_thread_victim", "collector_used_before", S::kUsual, 1},
    {"last_thread_victim", "collector_used_alone", S::kUsual, 1},
    {"last_thread_victim", "collector_used_after", S::kUsual, 1},
    {"last_thread_victim", "after_a_run", S::kUsual, 1},
    {"last_thread_victim", "a_fiber_is_left_behind", S::kUsual, 1},
    {"last_thread_victim", "threads_work_on", S::kUsual, 1},
    {"last_thread_victim", "a_finalizer_runs_on", S::kUsual, 1},
    {"last_thread_victim", "in_a_child", S::kUsual, 1},
    {"last_thread_victim", "in_a_child", S::kMallocCollected, 1},
};

const std::vector<Row> kThreads = {
    {"thread_victim", "waves_of_threads"},
    {"thread_victim", "waves_of_freeing_threads"},
    {"thread_victim", "busy_last_moments"},
    {"thread_victim", "first_use_in_destructor"},
    {"thread_victim", "thousands_at_once"},
    {"thread_victim", "deferred_cancel"},
    {"stack_victim", "smallest_stack"},
    {"stack_victim", "smallest_stack_first"},
    {"stack_victim", "painted_stack"},
    {"stack_victim", "small_alternate_stack"},
};

const std::vector<Row> kFork = {
    {"fork_victim", "storm"},
    {"fork_victim", "storm_from_several_threads"},
    {"fork_victim", "while_caches_overflow"},
    {"handler_fork_victim", "child_ends_at_once"},
    {"handler_fork_victim", "child_goes_on"},
    {"fork_victim", "atfork_handlers_allocate"},
    {"fork_victim", "with_getline_and_fflush"},
    {"fork_victim", "five_generations"},
    {"fork_victim", "without_handlers_then_exec"},
    {"fork_victim", "without_handlers_one_thread"},
};

const std::vector<Row> kSpawn = {
    {"spawn_victim", "posix_spawn_storm"},
    {"spawn_victim", "system_storm"},
    {"spawn_victim", "popen_storm"},
    {"spawn_victim", "vfork_child_allocates"},
    {"spawn_victim", "vfork_child_allocates_under_load"},
    {"spawn_victim", "huge_arguments"},
};

const std::vector<Row> kSignals = {
    {"signal_victim", "interrupting_one_thread", S::kUsual, 0, true},
    {"signal_victim", "interrupting_several_threads", S::kUsual, 0, true},
    {"signal_victim", "ticking_clock"},
    {"signal_victim", "stopped_and_continued"},
};

const std::vector<Row> kExchange = {
    {"exchange_victim", "one_to_one"},
    {"exchange_victim", "one_to_many"},
    {"exchange_victim", "many_to_one"},
    {"exchange_victim", "many_to_many"},
    {"exchange_victim", "ring"},
    {"exchange_victim", "owner_exited"},
    {"exchange_victim", "owner_idles"},
    {"exchange_victim", "survivors_over_generations"},
    {"exchange_victim", "fixed_live_set"},
    {"exchange_victim", "on_one_processor"},
    {"exchange_victim", "moving_between_processors"},
    {"context_victim", "coroutines_change_threads"},
};

const std::vector<Row> kLoader = {
    {"loader_victim", "thread_data_loop"},
    {"loader_victim", "thread_data_loop_under_load"},
    {"loader_victim", "deep_bound_library_keeps_to_itself"},
    {"loader_victim", "deep_bound_library_hands_over", S::kUsual, 0, false, true},
    {"loader_victim", "deep_bound_library_hands_over", S::kForwardingForeign},
    {"loader_victim", "second_namespace"},
    {"loader_victim", "closing_the_allocator_is_a_no_op"},
    {"loader_victim", "opened_late", S::kNotPreloaded},
    {"loader_victim", "plain_work", S::kPreloadedTwice},
    {"loader_victim", "plain_work", S::kBeforeJemalloc},
    {"loader_victim", "plain_work", S::kBeforeHooks},
    {"loader_victim", "plain_work", S::kAfterHooks},
    {"loader_victim", "plain_work", S::kAudited},
};

const char *const kJemalloc = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";

// Empty when this machine cannot provide the surroundings.
std::string arrange(const Row &row, ChildRequest &request) {
  const std::string library = victims::library_under_test();
  const std::string hooks = kDirectory + "/libhook_module.so";
  switch (row.surroundings) {
    case S::kUsual:
      break;
    case S::kDescriptorsClosed:
      request.closed_fds = {0, 1, 2};
      break;
    case S::kHugeEnvironment:
      for (int i = 0; i < 1'000; ++i) {
        request.environment.push_back("FILLER_" + std::to_string(i) + "=" + std::string(1'000, 'e'));
      }
      break;
    case S::kHugeCommandLine:
      for (int i = 0; i < 10'000; ++i) request.argv.push_back(std::string(100, 'a'));
      break;
    case S::kPreloadedTwice:
      request.environment.push_back("LD_PRELOAD=" + library + ":" + library);
      break;
    case S::kBeforeJemalloc:
      if (access(kJemalloc, R_OK) != 0) return "jemalloc is not installed";
      request.environment.push_back("LD_PRELOAD=" + library + ":" + kJemalloc);
      break;
    case S::kBeforeHooks:
      request.environment.push_back("LD_PRELOAD=" + library + ":" + hooks);
      break;
    case S::kAfterHooks:
      request.environment.push_back("LD_PRELOAD=" + hooks + ":" + library);
      break;
    case S::kForwardingForeign:
      request.environment.push_back("WARREN_CONF=foreign=forward");
      break;
    case S::kAudited:
      request.environment.push_back("LD_AUDIT=" + kDirectory + "/libaudit_module.so");
      break;
    case S::kNotPreloaded:
      request.environment.push_back("LD_PRELOAD=");
      request.environment.push_back("WARREN_CONTROL=1");
      break;
    case S::kMallocCollected:
      request.environment.push_back("WARREN_CONF=gc=collect");
      break;
  }
  return "";
}

int count_of(const std::string &text, const std::string &what) {
  int count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++count;
  return count;
}

bool refused_as_foreign(const ChildOutcome &outcome) {
  static const std::regex line(R"(warren: fatal error: foreign pointer: free\(0x[0-9a-f]+\): [^\n]*; aborting\n)");
  return outcome.signal == SIGABRT && std::regex_match(outcome.err, line);
}

class Lifecycle : public testing::TestWithParam<Row> {};

TEST_P(Lifecycle, RunsToItsEnd) {
  const Row &row = GetParam();
  if (row.beyond_glibc && victims::control_run()) GTEST_SKIP() << "not promised by the C library";
  if (!victims::control_run()) {
    ASSERT_FALSE(victims::library_under_test().empty()) << "WARREN_LIB must name the library";
  }
  ChildRequest request;
  request.argv = {kDirectory + "/" + row.program, row.scenario};
  request.environment = {"TLS_MODULE=" + kDirectory + "/libtls_module.so",
                         "DEEPBIND_MODULE=" + kDirectory + "/libdeepbind_module.so"};
  request.timeout_seconds = kTimeoutSeconds * victims::soak_factor();
  if (const std::string obstacle = arrange(row, request); !obstacle.empty()) GTEST_SKIP() << obstacle;

  const ChildOutcome outcome = run_child(request);
  std::cout << outcome.out;
  if (outcome.exit_status == victims::kVictimSkips) GTEST_SKIP() << outcome.out;
  if (row.may_be_foreign && refused_as_foreign(outcome)) return;
  EXPECT_TRUE(outcome.clean()) << outcome.describe();
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(count_of(outcome.out, "handler ran\n"), row.handler_runs);
}

std::string row_name(const testing::TestParamInfo<Row> &made) {
  const std::string name = made.param.name();
  return name.empty() ? made.param.program : name;
}

INSTANTIATE_TEST_SUITE_P(Startup, Lifecycle, testing::ValuesIn(kStartup), row_name);
INSTANTIATE_TEST_SUITE_P(Exit, Lifecycle, testing::ValuesIn(kExit), row_name);
INSTANTIATE_TEST_SUITE_P(LastThread, Lifecycle, testing::ValuesIn(kLastThread), row_name);
INSTANTIATE_TEST_SUITE_P(Threads, Lifecycle, testing::ValuesIn(kThreads), row_name);
INSTANTIATE_TEST_SUITE_P(Fork, Lifecycle, testing::ValuesIn(kFork), row_name);
INSTANTIATE_TEST_SUITE_P(Spawn, Lifecycle, testing::ValuesIn(kSpawn), row_name);
INSTANTIATE_TEST_SUITE_P(Signals, Lifecycle, testing::ValuesIn(kSignals), row_name);
INSTANTIATE_TEST_SUITE_P(Exchange, Lifecycle, testing::ValuesIn(kExchange), row_name);
INSTANTIATE_TEST_SUITE_P(Loader, Lifecycle, testing::ValuesIn(kLoader), row_name);

}  // namespace
