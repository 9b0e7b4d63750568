// See cpu_count.h. Reads the quotas of control groups, versions 1 and 2, as they appear from inside a container.
#include "allocator/base/cpu_count.h"

#include "allocator/base/bitmap.h"
#include "allocator/base/os_calls.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>

namespace warren {
namespace {

bool read_text(const char *path, char *out, size_t size) {
  const long fd = os_calls::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const long length = os_calls::read_at(static_cast<int>(fd), out, size - 1, 0);
  os_calls::close(static_cast<int>(fd));
  if (length <= 0) return false;
  out[length] = '\0';
  return true;
}

int rounded_up(long quota, long period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>((quota + period - 1) / period);
}

// 0: no quota.
int quota_of(const char *folder) {
  char path[512];
  char text[64];
  if (strlen(folder) > 256) return 0;
  strcpy(path, "/sys/fs/cgroup");
  strcat(strcat(path, folder), "/cpu.max");
  if (!read_text(path, text, sizeof text)) return 0;
  char *rest;
  const long quota = strtol(text, &rest, 10);  // "max" reads as 0
  return rounded_up(quota, strtol(rest, nullptr, 10));
}

int least(int a, int b) { return a == 0 || (b != 0 && b < a) ? b : a; }

// Version 2: this process's group and all above it.
int quota_of_groups() {
  char text[512];
  int cpus = quota_of("");
  if (!read_text("/proc/self/cgroup", text, sizeof text)) return cpus;
  char *group = strstr(text, "0::/");
  if (group == nullptr) return cpus;
  group += 3;
  group[strcspn(group, "\n")] = '\0';
  while (group[0] != '\0' && group[1] != '\0') {
    cpus = least(cpus, quota_of(group));
    *strrchr(group, '/') = '\0';
  }
  return cpus;
}

int quota_of_version_1() {
  char quota[64];
  char period[64];
  if (!read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota)) return 0;
  if (!read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period)) return 0;
  return rounded_up(strtol(quota, nullptr, 10), strtol(period, nullptr, 10));
}

int cpus_of_mask() {
  // Larger than the kernel's mask on any machine; a smaller one makes the call fail.
  unsigned long mask[128] = {};
  const int bytes = sched_getaffinity(0, sizeof mask, reinterpret_cast<cpu_set_t *>(mask));
  if (bytes < 0) return 1;
  int count = 0;
  for (unsigned long word : mask) {
    count += static_cast<int>(bits::count(word));
  }
  return count != 0 ? count : 1;
}

}  // namespace

int usable_cpus() {
  const int quota = least(quota_of_groups(), quota_of_version_1());
  const int cpus = cpus_of_mask();
  return quota != 0 && quota < cpus ? quota : cpus;
}

}  // namespace warren
