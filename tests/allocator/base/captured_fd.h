// Catches what is written to a file descriptor while it lives. Run by the tests of texts on stderr.
// Invariant: the descriptor is as before when the object is gone, and nothing written in between is lost.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace warren {

class CapturedFd {
 public:
  explicit CapturedFd(int fd = STDERR_FILENO) : fd_(fd), before_(dup(fd)), file_(memfd_create("captured", 0)) {
    EXPECT_NE(file_, -1);
    EXPECT_NE(dup2(file_, fd_), -1);
  }
  ~CapturedFd() {
    restore();
    close(file_);
  }
  CapturedFd(const CapturedFd &) = delete;
  CapturedFd &operator=(const CapturedFd &) = delete;

  // Ends the capture.
  std::string text() {
    restore();
    std::string all;
    char part[4096];
    lseek(file_, 0, SEEK_SET);
    for (ssize_t got; (got = read(file_, part, sizeof part)) > 0;) all.append(part, static_cast<size_t>(got));
    return all;
  }

 private:
  void restore() {
    if (before_ == -1) return;
    dup2(before_, fd_);
    close(before_);
    before_ = -1;
  }

  int fd_;
  int before_;
  int file_;
};

}  // namespace warren
