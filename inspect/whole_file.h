// A file that appears whole under its name, or not at all: until it is complete it is called FILE.writing.PID, so that two
// processes may have the same name in mind. What is there and no regular file (a pipe, /dev/full, a symbolic link such as
// /dev/stdout) is written to as it is.
// Callers: heap_dump.cc, pprof.cc. Invariant: what was at the path before is still there unless close() has returned 0.
#pragma once

#include <cstddef>

namespace warren::inspect {

class WholeFile {
 public:
  // 0 or errno. The path must stay until close().
  int open(const char *path);

  int fd() const { return fd_; }

  // After an open() that has returned 0. `error`: what went wrong meanwhile; 0 gives the file its name. Returns that error, or why
  // it cannot have its name.
  int close(int error);

 private:
  bool find_name();

  const char *path_ = nullptr;
  int fd_ = -1;
  bool in_place_ = false;
  char name_[4096];  // until it is complete
};

}  // namespace warren::inspect
