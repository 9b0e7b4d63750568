// The contract of the malloc family: each case cold and warm, on the main and on a second thread, and
// each observation compared with glibc's. Run by meson under the suite 'contract'.
// Environment: WARREN_LIB, the library under test. Arguments of the build: the victims' paths.
// Invariant: every case of both victims runs in all four modes.
#include "differences.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <vector>

namespace {

struct Outcome {
  int status;
  std::string output;
};

std::string library() {
  const char *path = getenv("WARREN_LIB");
  return path != nullptr ? path : "";
}

Outcome run(const std::string &command) {
  Outcome outcome{-1, ""};
  FILE *pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  while (size_t got = fread(buffer, 1, sizeof buffer, pipe)) outcome.output.append(buffer, got);
  outcome.status = pclose(pipe);
  return outcome;
}

std::vector<std::string> lines_of(const std::string &text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

struct CaseName {
  std::string victim, name;
};

std::vector<CaseName> all_cases() {
  std::vector<CaseName> cases;
  for (const char *victim : {CONTRACT_VICTIM, CONTRACT_CXX_VICTIM}) {
    for (const std::string &name : lines_of(run(std::string(victim) + " --list").output)) cases.push_back({victim, name});
  }
  return cases;
}

std::ostream &operator<<(std::ostream &out, const CaseName &each) { return out << each.name; }

class Contract : public testing::TestWithParam<CaseName> {};

TEST_P(Contract, HoldsColdAndWarmOnBothThreads) {
  ASSERT_FALSE(library().empty()) << "WARREN_LIB is not set";
  for (const char *mode : {"cold main", "cold thread", "warm main", "warm thread"}) {
    const Outcome outcome = run("LD_PRELOAD=" + library() + " " + GetParam().victim + " " + GetParam().name + " " + mode);
    EXPECT_EQ(outcome.status, 0) << mode << "\n" << outcome.output;
  }
}

// The values of each observation, in order, by name.
std::map<std::string, std::vector<std::string>> observations(const std::string &output) {
  std::map<std::string, std::vector<std::string>> values;
  for (const std::string &line : lines_of(output)) {
    const size_t equals = line.find('=');
    if (line.rfind("FAIL", 0) != 0 && equals != std::string::npos) values[line.substr(0, equals)].push_back(line.substr(equals + 1));
  }
  return values;
}

TEST_P(Contract, DiffersFromGlibcOnlyAsListed) {
  const std::string command = GetParam().victim + " " + GetParam().name + " cold main";
  const Outcome glibc = run("env -u LD_PRELOAD " + command);
  const Outcome ours = run("LD_PRELOAD=" + library() + " " + command);
  ASSERT_TRUE(WIFEXITED(glibc.status)) << "the control run died: " << glibc.output;
  std::set<std::string> listed;
  for (const contract::Difference &row : contract::kDifferences) {
    if (GetParam().name == row.case_name) listed.insert(row.observation);
  }
  const auto theirs = observations(glibc.output), mine = observations(ours.output);
  EXPECT_EQ(theirs.size(), mine.size()) << glibc.output << "\n--\n" << ours.output;
  for (const auto &[name, values] : theirs) {
    const auto found = mine.find(name);
    ASSERT_NE(found, mine.end()) << name;
    if (listed.count(name) != 0) {
      EXPECT_NE(values, found->second) << name << " is listed as a difference and is none";
    } else {
      EXPECT_EQ(values, found->second) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Contract, testing::ValuesIn(all_cases()),
                         [](const testing::TestParamInfo<CaseName> &each) { return each.param.name; });

TEST(ContractTable, NamesOnlyCasesThatExist) {
  std::set<std::string> names;
  for (const CaseName &each : all_cases()) names.insert(each.name);
  EXPECT_GE(names.size(), 39u);
  for (const contract::Difference &row : contract::kDifferences) EXPECT_EQ(names.count(row.case_name), 1u) << row.case_name;
}

}  // namespace
