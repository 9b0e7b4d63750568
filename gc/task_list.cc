// See task_list.h.
#include "gc/task_list.h"

#include "allocator/base/log.h"
#include "allocator/base/os_calls.h"

#include <cstring>
#include <fcntl.h>

namespace warren::gc {
namespace {

// PF_EXITING and PF_IO_WORKER of the kernel's task flags.
constexpr uint64_t kExiting = 0x4, kIoWorker = 0x10;

uint64_t number_at(const char *text) {
  uint64_t number = 0;
  for (; *text >= '0' && *text <= '9'; ++text) number = number * 10 + static_cast<uint64_t>(*text - '0');
  return number;
}

uint64_t hex_at(const char *text) {
  uint64_t number = 0;
  for (;; ++text) {
    if (*text >= '0' && *text <= '9') {
      number = number << 4 | static_cast<uint64_t>(*text - '0');
    } else if (*text >= 'a' && *text <= 'f') {
      number = number << 4 | static_cast<uint64_t>(*text - 'a' + 10);
    } else {
      return number;
    }
  }
}

long open_below(uint64_t process, const LogLine &rest, int flags) {
  LogLine path;
  if (process == kThisProcess) {
    path << "/proc/self/task";
  } else {
    path << "/proc/" << process << "/task";
  }
  path.text(rest.data(), rest.size());
  char text[96] = "";
  memcpy(text, path.data(), path.size() < sizeof text ? path.size() : sizeof text - 1);
  return os_calls::open(text, flags);
}

// The beginning of a file of a thread's, as a string. Its length, or a negative number.
template <size_t kSize>
long read_task_file(uint64_t process, uint32_t id, const char *name, char (&text)[kSize]) {
  LogLine path;
  path << "/" << uint64_t{id} << "/" << name;
  const long fd = open_below(process, path, O_RDONLY);
  if (os_calls::failed(fd)) return fd;
  const long length = os_calls::read(static_cast<int>(fd), text, kSize - 1);
  os_calls::close(static_cast<int>(fd));
  text[length > 0 ? length : 0] = '\0';
  return length;
}

}  // namespace

TaskList::TaskList(uint64_t process) : fd_(static_cast<int>(open_below(process, LogLine(), O_RDONLY | O_DIRECTORY))) {}

TaskList::~TaskList() {
  if (fd_ >= 0) os_calls::close(fd_);
}

size_t TaskList::count() const {
  const long links = os_calls::link_count(fd_);  // of the directory: two, and one for each thread
  return links < 2 ? 0 : static_cast<size_t>(links - 2);
}

void TaskList::rewind() {
  failed_ = os_calls::failed(os_calls::rewind(fd_));
  used_ = filled_ = 0;
}

uint32_t TaskList::next() {
  for (;;) {
    if (used_ == filled_) {
      const long bytes = os_calls::directory_entries(fd_, buffer_, sizeof buffer_);
      if (bytes < 0) failed_ = true;
      if (bytes <= 0) return 0;
      used_ = 0;
      filled_ = static_cast<size_t>(bytes);
    }
    const auto *entry = reinterpret_cast<const os_calls::DirectoryEntry *>(buffer_ + used_);
    used_ += entry->length;
    if (entry->name[0] != '.') return static_cast<uint32_t>(number_at(entry->name));
  }
}

TaskState task_state(uint32_t id, uint64_t process) {
  char text[512];
  if (read_task_file(process, id, "stat", text) <= 0) return TaskState::kGone;
  // "ID (NAME) STATE parent group session terminal foreground FLAGS …"; the name may hold anything.
  const char *at = strrchr(text, ')');
  if (at == nullptr || at[1] == '\0') return TaskState::kAlive;
  at += 2;
  if (*at == 'Z' || *at == 'X') return TaskState::kGone;
  for (int field = 0; field < 6; ++field) {
    at = strchr(at, ' ');
    if (at == nullptr) return TaskState::kAlive;
    ++at;
  }
  const uint64_t flags = number_at(at);
  if ((flags & kIoWorker) != 0) return TaskState::kKernel;
  return (flags & kExiting) != 0 ? TaskState::kGone : TaskState::kAlive;
}

bool is_zombie(uint32_t id) {
  char text[512];
  if (read_task_file(kThisProcess, id, "stat", text) <= 0) return false;
  const char *at = strrchr(text, ')');  // as above
  return at != nullptr && at[1] == ' ' && at[2] == 'Z';
}

uint64_t blocked_signals(uint32_t id) {
  char text[4096];
  if (read_task_file(kThisProcess, id, "status", text) <= 0) return 0;
  const char *line = strstr(text, "\nSigBlk:\t");
  return line == nullptr ? 0 : hex_at(line + strlen("\nSigBlk:\t"));
}

}  // namespace warren::gc
