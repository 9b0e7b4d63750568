// How many CPUs this process may use. Callers: the scheduler (run.cc), the collector (cycle.cc). Invariant: at least 1.
#pragma once

namespace warren {

// CPUs of the affinity mask, but no more than the control group's quota, rounded up. Opens some files.
int usable_cpus();

}  // namespace warren
