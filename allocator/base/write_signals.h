// Holds back the signals that a write can raise, while it lives: a pipe without a reader, or a limit of the size of files, must not
// end a program that has not written by itself, nor take the place of the signal that does.
// Callers: log, pprof. Invariant: a signal of the kind that waited before waits afterwards, no other does; errno stays.
#pragma once

#include <csignal>

namespace warren {

class WriteSignalsHeld {
 public:
  WriteSignalsHeld();
  ~WriteSignalsHeld();
  WriteSignalsHeld(const WriteSignalsHeld &) = delete;
  WriteSignalsHeld &operator=(const WriteSignalsHeld &) = delete;

 private:
  sigset_t raised_, before_;  // those that did not wait before; what was blocked
};

}  // namespace warren
