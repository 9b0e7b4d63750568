// Environment and auxiliary vector straight from the initial stack: allocator/base/os_process.h. Run by base_test.
// Invariant: answers are compared with libc's, and do not change when libc's do.
#include "allocator/base/os_process.h"

#include "tests/allocator/own_process.h"

#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <string>
#include <sys/auxv.h>
#include <sys/personality.h>

extern char **environ;

namespace warren {
namespace {

TEST(OsProcess, EveryVariableIsFound) {
  ASSERT_NE(environ, nullptr);
  unsigned seen = 0;
  for (char **entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    const char *value = os_process::environment(name.c_str());
    ASSERT_NE(value, nullptr) << name;
    EXPECT_STREQ(value, getenv(name.c_str()));
    ++seen;
  }
  EXPECT_GT(seen, 0u);
}

TEST(OsProcess, OnlyWholeNamesMatch) {
  EXPECT_EQ(os_process::environment("WARREN_NO_SUCH_VARIABLE"), nullptr);
  EXPECT_EQ(os_process::environment(""), nullptr);
  for (char **entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t length = text.find('=');
    if (length < 2) continue;
    const std::string part = text.substr(0, length - 1);
    if (getenv(part.c_str()) == nullptr) {
      EXPECT_EQ(os_process::environment(part.c_str()), nullptr) << part;
    }
    EXPECT_EQ(os_process::environment(text.c_str()), nullptr) << "name=value is no name";
  }
}

TEST(OsProcess, TheEnvironmentIsTheOneAtExec) {
  setenv("WARREN_SET_LATER", "1", 1);
  EXPECT_EQ(os_process::environment("WARREN_SET_LATER"), nullptr);
  unsetenv("WARREN_SET_LATER");
}

TEST(OsProcess, AuxiliaryVector) {
  constexpr uint64_t kTypes[] = {AT_PAGESZ, AT_PHDR, AT_PHNUM,    AT_ENTRY,       AT_SECURE,
                                 AT_RANDOM, AT_UID,  AT_PLATFORM, AT_SYSINFO_EHDR};
  for (const uint64_t type : kTypes) {  // not AT_HWCAP: libc edits it
    EXPECT_EQ(os_process::auxiliary(type), getauxval(type)) << type;
  }
  EXPECT_EQ(os_process::auxiliary(AT_PAGESZ), 4096u);
  EXPECT_EQ(os_process::auxiliary(99999), 0u) << "absent";
}

TEST(OsProcess, TheSeedIsTheSameForTheWholeProcess) {
  const uint64_t seed = os_process::layout_seed();
  EXPECT_EQ(os_process::layout_seed(), seed);
  in_own_process([seed] { EXPECT_EQ(os_process::layout_seed(), seed) << "a fork shares the layout"; });
}

TEST(OsProcess, TheSeedIsFixedWithoutRandomisation) {
  in_own_process([] {
    ASSERT_NE(personality(ADDR_NO_RANDOMIZE), -1);
    EXPECT_EQ(os_process::layout_seed(), 0u);
  });
}

TEST(OsProcess, TheSeedIsRandomOtherwise) {
  if ((personality(0xffffffff) & ADDR_NO_RANDOMIZE) != 0) GTEST_SKIP() << "randomisation is off here";
  uint64_t raw;
  memcpy(&raw, reinterpret_cast<const void *>(getauxval(AT_RANDOM)), sizeof raw);
  EXPECT_NE(os_process::layout_seed(), 0u);
  EXPECT_NE(os_process::layout_seed(), raw) << "those bytes are the stack protector's";
}

}  // namespace
}  // namespace warren
