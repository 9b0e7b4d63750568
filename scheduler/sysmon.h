// The scheduler's watchman: a thread without a P. Caller: run.cc starts it once; report.cc asks it for dumps.
// Invariant: it sleeps from 20 us to 10 ms while anything runs, and does not wake at all while nothing does.
#pragma once

namespace warren::scheduler::sysmon {

bool start();

// From a signal handler: all stacks, then the process's end.
void request_quit();

}  // namespace warren::scheduler::sysmon
