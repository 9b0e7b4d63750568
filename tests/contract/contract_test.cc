// The contract of the malloc family: each case cold and warm, on the main and on a second thread, and each
// observation compared with glibc's. Run by meson under the suite 'contract'.
// Environment: WARREN_LIB, the library under test; WARREN_CONTROL=1 runs the cases on glibc alone.
// Arguments of the build: the victims' paths. Invariant: every case of both victims runs in all four modes.
#include "differences.h"
#include "victim_run.h"

#include <cstdlib>
#include <gnu/libc-version.h>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <vector>

namespace {

using contract::Outcome;

constexpr int kListedCases = 36;
const std::string kSeen = "seen ";  // what report.h puts before an observation
constexpr const char *kReference = "2.36";  // the glibc whose differences are in the table

bool is_control() { return getenv("WARREN_CONTROL") != nullptr; }

std::string library() {
  const char *path = getenv("WARREN_LIB");
  return path != nullptr ? path : "";
}

std::vector<std::string> lines_of(const std::string &text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

struct CaseName {
  std::string victim;
  int number;
  std::string name;
};

struct Mode {
  const char *temper, *thread;
};

std::ostream &operator<<(std::ostream &out, const CaseName &each) { return out << each.number << " " << each.name; }
std::ostream &operator<<(std::ostream &out, const Mode &mode) { return out << mode.temper << " " << mode.thread; }

std::vector<CaseName> all_cases() {
  std::vector<CaseName> cases;
  for (const char *victim : {CONTRACT_VICTIM, CONTRACT_CXX_VICTIM}) {
    for (const std::string &line : lines_of(contract::run_victim({victim, "--list"}, "").output)) {
      const size_t space = line.find(' ');
      cases.push_back({victim, std::stoi(line), line.substr(space + 1)});
    }
  }
  return cases;
}

// The values of each observation, joined in order, by name.
std::map<std::string, std::string> observations(const std::string &output) {
  std::map<std::string, std::string> values;
  for (const std::string &line : lines_of(output)) {
    const size_t equals = line.find('=');
    if (line.rfind(kSeen, 0) != 0 || equals == std::string::npos) continue;
    std::string &value = values[line.substr(kSeen.size(), equals - kSeen.size())];
    value += (value.empty() ? "" : "; ") + line.substr(equals + 1);
  }
  return values;
}

class Contract : public testing::TestWithParam<std::tuple<CaseName, Mode>> {
 protected:
  Outcome run_on(const std::string &preload) {
    const auto &[each, mode] = GetParam();
    return contract::run_victim({each.victim, each.name, mode.temper, mode.thread}, preload);
  }
};

// What a case that ended badly left to say.
std::string story(const char *where, const Outcome &outcome) {
  std::ostringstream text;
  text << where << ": ";
  if (WIFSIGNALED(outcome.status)) text << "killed by signal " << WTERMSIG(outcome.status);
  else text << "exit status " << WEXITSTATUS(outcome.status);
  text << "\n" << outcome.output;
  return text.str();
}

void compare(const std::string &case_name, const Outcome &glibc, const Outcome &ours) {
  const auto theirs = observations(glibc.output), mine = observations(ours.output);
  std::set<std::string> listed;
  for (const contract::Difference &row : contract::kDifferences) {
    if (case_name != row.case_name) continue;
    listed.insert(row.observation);
    const auto their = theirs.find(row.observation), own = mine.find(row.observation);
    EXPECT_TRUE(their != theirs.end() && their->second == row.glibc) << "glibc, as listed: " << row.observation << "=" << row.glibc << "\n" << glibc.output;
    EXPECT_TRUE(own != mine.end() && own->second == row.warren) << "warren, as listed: " << row.observation << "=" << row.warren << "\n" << ours.output;
  }
  for (const auto &[name, value] : theirs) {
    if (listed.count(name) != 0) continue;
    const auto own = mine.find(name);
    EXPECT_TRUE(own != mine.end() && own->second == value)
        << "a difference that is not listed: " << name << "\n  glibc  " << value << "\n  warren " << (own == mine.end() ? "(none)" : own->second);
  }
  for (const auto &[name, value] : mine) EXPECT_EQ(theirs.count(name), 1u) << "only warren says " << name << "=" << value;
}

TEST_P(Contract, HoldsAndDiffersOnlyAsListed) {
  const Outcome glibc = run_on("");
  EXPECT_EQ(glibc.status, 0) << story("the control run on glibc", glibc);
  if (is_control()) return;
  ASSERT_FALSE(library().empty()) << "WARREN_LIB is not set";
  const Outcome ours = run_on(library());
  EXPECT_EQ(ours.status, 0) << story("the library under test", ours);
  const bool comparable = WIFEXITED(ours.status) && WIFEXITED(glibc.status) && gnu_get_libc_version() == std::string(kReference);
  if (comparable) compare(std::get<CaseName>(GetParam()).name, glibc, ours);
}

std::string test_name(const testing::TestParamInfo<std::tuple<CaseName, Mode>> &info) {
  const auto &[each, mode] = info.param;
  return each.name + "_" + mode.temper + "_" + mode.thread;
}

const auto every_mode = testing::Values(Mode{"cold", "main"}, Mode{"cold", "thread"}, Mode{"warm", "main"}, Mode{"warm", "thread"});

INSTANTIATE_TEST_SUITE_P(All, Contract, testing::Combine(testing::ValuesIn(all_cases()), every_mode), test_name);

TEST(ContractTable, CoversEveryNumberOnce) {
  std::set<int> numbers;
  std::set<std::string> names;
  for (const CaseName &each : all_cases()) {
    numbers.insert(each.number);
    EXPECT_TRUE(names.insert(each.name).second) << each.name << " twice";
  }
  for (int number = 1; number <= kListedCases; ++number) EXPECT_EQ(numbers.count(number), 1u) << "no case for " << number;
}

TEST(ContractTable, DifferencesNameCasesThatExist) {
  std::set<std::string> names, rows;
  for (const CaseName &each : all_cases()) names.insert(each.name);
  for (const contract::Difference &row : contract::kDifferences) {
    EXPECT_EQ(names.count(row.case_name), 1u) << row.case_name;
    EXPECT_TRUE(rows.insert(std::string(row.case_name) + " " + row.observation).second) << row.case_name << " " << row.observation << " twice";
    EXPECT_STRNE(row.glibc, row.warren) << row.case_name << " " << row.observation;
    EXPECT_STRNE(row.reason, "") << row.case_name << " " << row.observation;
  }
}

}  // namespace
