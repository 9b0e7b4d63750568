// How many CPUs this process may use. Caller: run.cc. Invariant: at least 1.
#pragma once

namespace warren::scheduler {

// CPUs of the affinity mask, but no more than the control group's quota, rounded up.
int usable_cpus();

}  // namespace warren::scheduler
