// The SIGSEGV handler of gc/mutation_protect.cc among a program's own.
// Invariant: stores into watched pages are noted, and every other fault is the program's.
#include "gc/mutation.h"

#include "tests/allocator/own_process.h"
#include "tests/gc/watched_memory.h"

#include <gtest/gtest.h>

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <sys/mman.h>
#include <unistd.h>

namespace warren::gc {
namespace {

class Protection : public MutationChoice {
 protected:
  static char *unreadable() {
    static char *page = static_cast<char *>(mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    return page;
  }
  static void install(void (*handler)(int, siginfo_t *, void *), int flags = 0) {
    struct sigaction action{};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigaction(SIGSEGV, &action, &before_);
  }
  static inline struct sigaction before_;
  static inline sigjmp_buf out_;
  static inline int calls_;
  static void leave(int, siginfo_t *information, void *) {
    ++calls_;
    if (information->si_addr == unreadable()) siglongjmp(out_, 1);
    _exit(9);
  }
  static void pass_back(int signal, siginfo_t *information, void *context) {
    ++calls_;
    before_.sa_sigaction(signal, information, context);
  }
  // Faults that are the program's and stores that are ours, in turns.
  static void mix(const Memory &memory) {
    calls_ = 0;
    for (int i = 0; i < 40; ++i) {
      memory.store(static_cast<size_t>(i));
      if (sigsetjmp(out_, 1) == 0) {
        *const_cast<volatile char *>(unreadable()) = 1;
        ADD_FAILURE() << "no fault";
      }
    }
    EXPECT_EQ(fetch(memory, true).pages, all(40));
  }
};
using ProtectionDeathTest = Protection;

TEST_F(Protection, AHandlerThatWasThereGetsTheRest) {
  in_own_process([] {
    install(leave);
    ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
    const Memory memory(64);
    ASSERT_TRUE(watch(memory));
    mix(memory);
    EXPECT_EQ(calls_, 40);
  });
}

TEST_F(Protection, AHandlerThatCameLaterGetsTheRestFromTheNextCycleOn) {
  in_own_process([] {
    ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
    install(leave);
    const Memory memory(64);
    ASSERT_TRUE(watch(memory));
    mix(memory);
    EXPECT_EQ(calls_, 40);
  });
}

TEST_F(Protection, AHandlerThatCallsOursDoesNotCallItself) {
  in_own_process([] {
    install(leave);
    ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
    install(pass_back);
    const Memory memory(64);
    memory.touch();
    ASSERT_TRUE(watch(memory));
    mix(memory);
    EXPECT_EQ(calls_, 80) << "each fault passes through both";
  });
}

TEST_F(Protection, AHandlerInFrontOfOursMayCallItDuringACycle) {
  in_own_process([] {
    ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
    const Memory memory(64);
    memory.touch();
    ASSERT_TRUE(watch(memory));
    install(pass_back);
    memory.store(3);
    EXPECT_EQ(fetch(memory, true).pages, Pages{3});
  });
}

TEST_F(ProtectionDeathTest, AFaultOfTheProgramsEndsIt) {
  mutation::set_up(Choice::kProtect);
  EXPECT_EXIT(*const_cast<volatile char *>(unreadable()) = 1, ::testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT(printf("%d", *const_cast<volatile char *>(unreadable())), ::testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT({ raise(SIGSEGV); _exit(0); }, ::testing::KilledBySignal(SIGSEGV), "");
}

TEST_F(Protection, AtTheLimitOfMappingsPagesAreOpenedTogether) {
  ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
  const Memory memory(256);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  faults.least_protected = 8 * kPage;
  memory.store(100);
  const Pages pages = fetch(memory, false).pages;
  EXPECT_TRUE(pages.contains(100));
  EXPECT_GE(pages.size(), 8u);
  memory.store(3);
  EXPECT_TRUE(fetch(memory, true).pages.contains(3));
  // What cannot be closed again stays dirty.
  EXPECT_TRUE(fetch(memory, true).pages.empty());
  memory.store(200);
  faults.least_protected = 16 * kPage;
  for (int pass = 0; pass < 3; ++pass) EXPECT_TRUE(fetch(memory, true).pages.contains(200));
}

}  // namespace
}  // namespace warren::gc
