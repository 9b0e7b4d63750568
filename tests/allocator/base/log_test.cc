// Lines for stderr built in a stack buffer: allocator/base/log.h. Run by base_test.
// Invariant: texts are compared whole, as they come out of a file descriptor.
#include "allocator/base/log.h"

#include "tests/allocator/base/captured_fd.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <string>
#include <sys/resource.h>

namespace warren {
namespace {

constexpr size_t kLongestLine = 512;  // with its newline

std::string written(LogLine &line) {
  CapturedFd captured(STDERR_FILENO);
  line.write_to(STDERR_FILENO);
  return captured.text();
}

std::string so_far(const LogLine &line) { return std::string(line.data(), line.size()); }

TEST(Log, NothingIsAnEmptyLine) {
  LogLine line;
  EXPECT_EQ(line.size(), 0u);
  EXPECT_EQ(written(line), "\n");
}

TEST(Log, TextAndNumbers) {
  LogLine line;
  line << "a" << uint64_t{0} << " " << uint64_t{42} << " " << ~uint64_t{0} << " ";
  line.text("slice and more", 5);
  EXPECT_EQ(so_far(line), "a0 42 18446744073709551615 slice");
  EXPECT_EQ(written(line), "a0 42 18446744073709551615 slice\n");
}

TEST(Log, AddressesAreHexadecimal) {
  LogLine line;
  line << static_cast<const void *>(nullptr) << " " << reinterpret_cast<const void *>(0x7f00dead'beefull) << " "
       << reinterpret_cast<const void *>(~uintptr_t{0});
  EXPECT_EQ(so_far(line), "0x0 0x7f00deadbeef 0xffffffffffffffff");
}

TEST(Log, PaddingAlignsToTheRightAndNeverCuts) {
  LogLine line;
  line.padded(7, 3) << "|";
  line.padded(1234, 3) << "|";
  line.padded(0, 1) << "|";
  line.padded(5, 0) << "|";
  line.padded(9, 25);
  EXPECT_EQ(so_far(line), "  7|1234|0|5|                        9");
}

TEST(Log, WhatDoesNotFitIsCut) {
  for (size_t length : {kLongestLine - 2, kLongestLine - 1, kLongestLine, 5 * kLongestLine}) {
    const std::string text(length, 'x');
    LogLine line;
    line << text.c_str();
    line << uint64_t{12345};  // nothing after the cut spills either
    const std::string whole = text + "12345";
    EXPECT_EQ(written(line), whole.substr(0, kLongestLine - 1) + "\n") << length;
  }
}

TEST(Log, AClosedDescriptorLosesTheLine) {
  LogLine line;
  line << "nobody reads this";
  errno = 1789;
  line.write_to(-1);
  EXPECT_EQ(errno, 1789);
}

TEST(Log, ABrokenPipeDoesNotEndTheProcess) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  LogLine line;
  line << "the reader is gone";
  errno = 1789;
  line.write_to(ends[1]);
  EXPECT_EQ(errno, 1789);
  close(ends[1]);
  sigset_t now;
  sigpending(&now);
  EXPECT_FALSE(sigismember(&now, SIGPIPE)) << "left pending";
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT_FALSE(sigismember(&now, SIGPIPE)) << "left blocked";
}

TEST(Log, ALimitOfTheSizeOfFilesDoesNotEndTheProcess) {
  FILE *file = tmpfile();
  ASSERT_NE(file, nullptr);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &none);
  LogLine line;
  line << "there is no room for it";
  line.write_to(fileno(file));
  setrlimit(RLIMIT_FSIZE, &before);
  fclose(file);
  sigset_t now;
  sigpending(&now);
  EXPECT_FALSE(sigismember(&now, SIGXFSZ)) << "left pending";
}

TEST(Log, APendingSigpipeOfTheProgramStays) {
  sigset_t pipe_only, before, now;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
  raise(SIGPIPE);
  LogLine line;
  line << "a line";
  line.write_to(-1);
  sigpending(&now);
  EXPECT_TRUE(sigismember(&now, SIGPIPE));
  const timespec at_once{};
  EXPECT_EQ(sigtimedwait(&pipe_only, nullptr, &at_once), SIGPIPE);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(Log, AFullPipeLosesTheRestOnly) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  const std::string block(4096, '.');
  while (write(ends[1], block.data(), block.size()) > 0) {
  }
  LogLine line;
  line << "no room";
  line.write_to(ends[1]);  // returns
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace warren
