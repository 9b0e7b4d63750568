// "host:port" to addresses of the kernel's and back. Caller: net.cc.
// Invariant: numbers are read at once; a name is looked up as a blocking call, or on a thread of its own where that must come
// to an end.
#pragma once

#include <cstdint>
#include <netdb.h>
#include <netinet/in.h>

namespace warren::scheduler {

// "[" address "]:65535"
struct AddressText {
  char text[INET6_ADDRSTRLEN + 10] = "";
};

class Resolved {
 public:
  Resolved() = default;
  ~Resolved() {
    if (list_ != nullptr) freeaddrinfo(list_);
  }
  Resolved(const Resolved &) = delete;
  Resolved &operator=(const Resolved &) = delete;
  const addrinfo *first() const { return list_; }
  addrinfo **place() { return &list_; }

 private:
  addrinfo *list_ = nullptr;
};

// 0, -EINVAL (no port, a name that is too long), -ENOENT (no such name), -EAGAIN, -ENOMEM, -ETIMEDOUT.
int resolve(const char *address, bool passive, uint64_t deadline, Resolved &out);

void write_local_address(int fd, AddressText &out);
void write_remote_address(int fd, AddressText &out);

}  // namespace warren::scheduler
