// The name system asked on a thread of its own, so that who waits can give up: getaddrinfo cannot be interrupted. Caller:
// socket_address.cc. Invariant: an answer that nobody waits for any more is freed by the thread that got it.
#pragma once

#include <cstdint>
#include <netdb.h>

namespace warren::scheduler {

// getaddrinfo's result; *error is errno where that is EAI_SYSTEM. EAI_SYSTEM with ETIMEDOUT: the deadline came first; with
// EAGAIN: no thread to be had.
int look_up(const char *host, const char *port, const addrinfo &hints, uint64_t deadline, addrinfo **out, int *error);

}  // namespace warren::scheduler
