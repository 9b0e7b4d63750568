// See whole_file.h.
#include "inspect/whole_file.h"

#include "allocator/base/log.h"
#include "allocator/base/os_calls.h"

#include <cerrno>
#include <cstring>

namespace warren::inspect {

// False: the path is too long.
bool WholeFile::find_name() {
  LogLine suffix;
  suffix << ".writing." << uint64_t{os_calls::process_id()};
  const size_t length = strlen(path_);
  if (length + suffix.size() >= sizeof name_) return false;
  memcpy(name_, path_, length);
  memcpy(name_ + length, suffix.data(), suffix.size());
  name_[length + suffix.size()] = '\0';
  return true;
}

int WholeFile::open(const char *path) {
  path_ = path;
  in_place_ = os_calls::is_special(path);
  if (!find_name()) return ENAMETOOLONG;
  const long fd = os_calls::create(in_place_ ? path : name_);
  if (os_calls::failed(fd)) return static_cast<int>(-fd);
  fd_ = static_cast<int>(fd);
  return 0;
}

int WholeFile::close(int error) {
  os_calls::close(fd_);
  if (in_place_) return error;
  if (error == 0) {
    const long renamed = os_calls::rename(name_, path_);
    if (os_calls::failed(renamed)) error = static_cast<int>(-renamed);
  }
  if (error != 0) os_calls::unlink(name_);
  return error;
}

}  // namespace warren::inspect
