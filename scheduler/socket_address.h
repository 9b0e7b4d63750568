// "host:port" to addresses of the kernel's and back. Caller: net.cc.
// Invariant: a name is looked up as a blocking call, numbers are read at once.
#pragma once

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

// 0, -EINVAL (no port, a name that is too long), -ENOENT (no such name), -EAGAIN, -ENOMEM.
int resolve(const char *address, bool passive, Resolved &out);

void write_local_address(int fd, AddressText &out);
void write_remote_address(int fd, AddressText &out);

}  // namespace warren::scheduler
