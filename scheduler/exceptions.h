// The C++ runtime's words on exceptions of a thread, which fibers take along. Caller: kernel_threads.cc.
// The library needs no C++ runtime; where the program brings one, it is found when a thread starts.
#pragma once

#include "scheduler/g.h"

namespace warren::scheduler {

// Of the calling thread; nullptr: the program has no C++ runtime.
ExceptionState *thread_exceptions();

}  // namespace warren::scheduler
