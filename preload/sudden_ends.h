// Ends of the program that run no destructors: _exit and _Exit, and quick_exit, which comes to them. With gc=leaks it is looked for
// leaks there as well. Caller: start.cc, in the constructor. Invariant: the process ends, with the status that was asked for or the one
// that says that something leaked.
#pragma once

namespace warren::sudden_ends {

// From now on libc's _exit leads here. Where that cannot be had, or the program has an _exit of its own, nothing changes.
void watch();

}  // namespace warren::sudden_ends
