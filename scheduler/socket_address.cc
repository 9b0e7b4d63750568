// See socket_address.h.
#include "scheduler/socket_address.h"

#include "scheduler/name_lookup.h"

#include <warren/scheduler_core.h>

#include <arpa/inet.h>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>

namespace warren::scheduler {
namespace {

constexpr size_t kLongestHost = 256;  // of the name system's
constexpr size_t kLongestPort = 32;   // a service's name

// A number of 16 bits or a name. getaddrinfo cuts longer numbers, and takes signs and spaces before them.
bool is_port(const char *port) {
  if (port[strspn(port, "0123456789")] == '\0') return *port != '\0' && strtoul(port, nullptr, 10) <= UINT16_MAX;
  return isalnum(static_cast<unsigned char>(*port)) != 0;
}

// Cuts at the last colon; brackets around the host are taken off.
bool split(const char *address, char (&host)[kLongestHost], char (&port)[kLongestPort]) {
  const char *colon = strrchr(address, ':');
  if (colon == nullptr) return false;
  const char *first = address, *last = colon;
  if (*first == '[') {
    if (last == first || last[-1] != ']') return false;
    ++first;
    --last;
  } else if (memchr(first, ':', static_cast<size_t>(last - first)) != nullptr) {
    return false;  // an IPv6 address without brackets
  }
  const auto host_length = static_cast<size_t>(last - first);
  const size_t port_length = strlen(colon + 1);
  if (host_length >= sizeof host || port_length >= sizeof port ) return false;
  memcpy(host, first, host_length);
  host[host_length] = '\0';
  memcpy(port, colon + 1, port_length + 1);
  return is_port(port);
}

int errno_of(int result, int error) {
  switch (result) {
    case 0: return 0;
    case EAI_SYSTEM: return -error;
    case EAI_MEMORY: return -ENOMEM;
    case EAI_AGAIN: return -EAGAIN;
    case EAI_SERVICE: return -EINVAL;
    default: return -ENOENT;
  }
}

void write_address(const sockaddr_storage &address, AddressText &out) {
  char host[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET6) {
    const auto &in6 = reinterpret_cast<const sockaddr_in6 &>(address);
    inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
    snprintf(out.text, sizeof out.text, "[%s]:%u", host, unsigned{ntohs(in6.sin6_port)});
  } else if (address.ss_family == AF_INET) {
    const auto &in = reinterpret_cast<const sockaddr_in &>(address);
    inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
    snprintf(out.text, sizeof out.text, "%s:%u", host, unsigned{ntohs(in.sin_port)});
  }
}

}  // namespace

int resolve(const char *address, bool passive, uint64_t deadline, Resolved &out) {
  char host[kLongestHost], port[kLongestPort];
  if (!split(address, host, port)) return -EINVAL;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
  const char *name = host[0] == '\0' ? nullptr : host;
  int result = getaddrinfo(name, port, &hints, out.place());
  if (result != EAI_NONAME && result != EAI_SERVICE) return errno_of(result, errno);
  hints.ai_flags &= ~(AI_NUMERICHOST | AI_NUMERICSERV);
  int error = 0;
  if (deadline != WR_NEVER) {
    result = look_up(name, port, hints, deadline, out.place(), &error);
  } else {
    wr_enter_blocking();
    result = getaddrinfo(name, port, &hints, out.place());
    wr_exit_blocking();
    error = errno;
  }
  return errno_of(result, error);
}

void write_local_address(int fd, AddressText &out) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr *>(&address), &size) == 0) write_address(address, out);
}

void write_remote_address(int fd, AddressText &out) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(fd, reinterpret_cast<sockaddr *>(&address), &size) == 0) write_address(address, out);
}

}  // namespace warren::scheduler
