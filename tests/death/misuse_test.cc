// Plays every case of misuse in a child of its own and judges its end. Run by meson without the preload
// (the children get it).
// Invariant: a case passes only if the child died by SIGABRT, wrote nothing to stderr but the one line of
// the grammar, and that line names the right category, function and the very address that was misused.
// With WARREN_CONTROL=1 nothing is asserted; the count of stopped cases is printed for comparison.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <regex>
#include <set>

#include "child.h"
#include "misuse.h"

#ifndef MISUSE_VICTIM
#error "MISUSE_VICTIM must be the path of the victim program"
#endif

namespace misuse {
// How gtest shows the parameter of a failed test.
static void PrintTo(const MisuseCase &c, std::ostream *out) { *out << c.name(); }
}  // namespace misuse

namespace {

using misuse::MisuseCase;
using misuse::StderrState;
using victims::ChildOutcome;
using victims::ChildRequest;

struct Tally {
  int played = 0;
  int stopped = 0;   // SIGABRT and a line of the grammar
  int killed = 0;    // any other signal
  int unseen = 0;    // the child got away with it
  int skipped = 0;
};
Tally g_tally;

class TallyPrinter : public testing::Environment {
 public:
  void TearDown() override {
    std::cout << "misuse: " << g_tally.stopped << " of " << g_tally.played << " cases stopped with a diagnosis, "
              << g_tally.killed << " ended by another signal or without text, " << g_tally.unseen << " not noticed, "
              << g_tally.skipped << " skipped" << std::endl;
  }
};
const auto *g_printer = testing::AddGlobalTestEnvironment(new TallyPrinter);

ChildRequest::Stderr stderr_for(StderrState state) {
  switch (state) {
    case StderrState::kClosed: return ChildRequest::Stderr::kClosed;
    case StderrState::kBrokenPipe: return ChildRequest::Stderr::kBrokenPipe;
    case StderrState::kFullDevice: return ChildRequest::Stderr::kFullDevice;
    case StderrState::kCaptured: break;
  }
  return ChildRequest::Stderr::kCaptured;
}

unsigned category_named(const std::string &text) {
  static const std::map<std::string, unsigned> names = {{"double free", misuse::kDoubleFree},
                                                        {"invalid pointer", misuse::kInvalidPointer},
                                                        {"foreign pointer", misuse::kForeignPointer}};
  const auto found = names.find(text);
  return found == names.end() ? 0 : found->second;
}

// The line that ends the process, and the one of abort_on_error=0 that does not.
const std::regex kFatalLine(
    R"(warren: fatal error: (double free|invalid pointer|foreign pointer): )"
    R"((free|realloc|malloc_usable_size)\((0x[0-9a-f]+)\): [^\n]*; aborting\n)");
const std::regex kIgnoredLine(
    R"(warren: error: (double free|invalid pointer|foreign pointer): )"
    R"((free|realloc|malloc_usable_size)\((0x[0-9a-f]+)\): [^\n]*; ignored\n)");

// Empty when the text is what the case calls for.
std::string fault_in_text(const MisuseCase &c, const ChildOutcome &outcome, const std::regex &grammar) {
  if (c.row->stderr_state != StderrState::kCaptured) {
    return outcome.err.empty() ? "" : "text on a descriptor that should be lost";
  }
  std::smatch match;
  std::string text = outcome.err;
  if (c.row->several_lines_allowed) text = text.substr(0, text.find('\n') + 1);
  if (!std::regex_match(text, match, grammar)) return "stderr is not one line of the grammar";
  if ((category_named(match[1]) & c.row->categories) == 0) return "wrong category: " + match[1].str();
  if (match[2] != c.releaser->reported_as) return "wrong function: " + match[2].str();
  // Where several threads err, the text may be about either of them.
  const std::string address = match[3].str() + "\n";
  if (outcome.out.find(address) == std::string::npos) return "wrong address: " + match[3].str();
  if (!c.row->several_lines_allowed && outcome.out != address) return "stdout is not just the address";
  return "";
}

ChildRequest request_for(const MisuseCase &c) {
  ChildRequest request;
  request.argv = {MISUSE_VICTIM, c.row->name, std::to_string(c.size), c.releaser->name, c.origin->name};
  request.stderr_state = stderr_for(c.row->stderr_state);
  request.timeout_seconds = 30;
  return request;
}

class Misuse : public testing::TestWithParam<MisuseCase> {};

TEST_P(Misuse, IsStoppedWithOneLine) {
  const MisuseCase &c = GetParam();
  const ChildOutcome outcome = run_child(request_for(c));
  if (outcome.exit_status == victims::kVictimSkips) {
    ++g_tally.skipped;
    GTEST_SKIP() << "cannot be played here";
  }
  ASSERT_NE(outcome.exit_status, 3) << outcome.describe();  // the act itself failed
  ++g_tally.played;
  const std::string fault = fault_in_text(c, outcome, kFatalLine);
  if (outcome.exit_status == 0) ++g_tally.unseen;
  if (outcome.signal == SIGABRT && (fault.empty() || victims::control_run())) ++g_tally.stopped;
  if (outcome.signal != 0 && outcome.signal != SIGABRT) ++g_tally.killed;
  if (victims::control_run()) return;

  EXPECT_EQ(outcome.signal, SIGABRT) << outcome.describe();
  EXPECT_EQ(fault, "") << outcome.describe();
}

INSTANTIATE_TEST_SUITE_P(Case, Misuse, testing::ValuesIn(misuse::misuse_cases()),
                         [](const auto &made) { return made.param.name(); });

// With abort_on_error=0 the same misuse is reported by one line, changes nothing, and the program goes on.
class IgnoredMisuse : public testing::TestWithParam<MisuseCase> {};

TEST_P(IgnoredMisuse, IsReportedAndHarmless) {
  if (victims::control_run()) GTEST_SKIP() << "control run";
  const MisuseCase &c = GetParam();
  ChildRequest request = request_for(c);
  request.environment = {"WARREN_CONF=abort_on_error=0"};
  const ChildOutcome outcome = run_child(request);
  EXPECT_TRUE(outcome.clean()) << outcome.describe();
  EXPECT_EQ(fault_in_text(c, outcome, kIgnoredLine), "") << outcome.describe();
}

std::vector<MisuseCase> cases_to_ignore() {
  const std::set<std::string> acts = {"at_once", "a_b_a", "on_another_thread", "plus_1", "plus_16", "freed_plus_16",
                                      "stack",   "bss",   "deadbeef0",         "letters", "all_ones"};
  std::vector<MisuseCase> chosen;
  for (const MisuseCase &c : misuse::misuse_cases()) {
    if (acts.count(c.row->name) != 0) chosen.push_back(c);
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Case, IgnoredMisuse, testing::ValuesIn(cases_to_ignore()),
                         [](const auto &made) { return made.param.name(); });

TEST(MisuseTable, HasALibraryToTest) {
  if (victims::control_run()) GTEST_SKIP() << "control run";
  EXPECT_FALSE(victims::library_under_test().empty()) << "WARREN_LIB must name the library";
}

TEST(MisuseTable, CoversEverySpread) {
  EXPECT_GT(misuse::misuse_cases().size(), 500U);
  EXPECT_EQ(misuse::releasers().size(), 23U);
}

}  // namespace
