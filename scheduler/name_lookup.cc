// See name_lookup.h.
#include "scheduler/name_lookup.h"

#include "scheduler/kernel_threads.h"

#include <warren/channel.h>
#include <warren/scheduler_core.h>
#include <warren/timer.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

namespace warren::scheduler {
namespace {

// Shared by the thread that asks and the one that waits; whoever is last to let go frees it.
struct Lookup {
  std::atomic<int> holders{2};
  wr_chan *answered = nullptr;  // closed once there is an answer
  addrinfo hints{};
  const char *host = nullptr;  // these lie behind it
  const char *port = nullptr;
  // The thread's until `answered` is closed.
  int result = 0;
  int error = 0;
  addrinfo *list = nullptr;
};

void let_go(Lookup *lookup) {
  // release and acquire: what either has done comes before the end.
  if (lookup->holders.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (lookup->list != nullptr) freeaddrinfo(lookup->list);
  wr_chan_unref(lookup->answered);
  free(lookup);
}

void *ask(void *argument) {
  auto *lookup = static_cast<Lookup *>(argument);
  lookup->result = getaddrinfo(lookup->host, lookup->port, &lookup->hints, &lookup->list);
  lookup->error = errno;
  wr_chan_close(lookup->answered);
  let_go(lookup);
  return nullptr;
}

Lookup *make(const char *host, const char *port, const addrinfo &hints) {
  const size_t host_size = host != nullptr ? strlen(host) + 1 : 0, port_size = strlen(port) + 1;
  void *memory = malloc(sizeof(Lookup) + host_size + port_size);
  if (memory == nullptr) return nullptr;
  auto *lookup = new (memory) Lookup;
  lookup->answered = wr_chan_make(0, 0);
  if (lookup->answered == nullptr) {
    free(memory);
    return nullptr;
  }
  char *text = static_cast<char *>(memory) + sizeof(Lookup);
  if (host != nullptr) lookup->host = static_cast<const char *>(memcpy(text, host, host_size));
  lookup->port = static_cast<const char *>(memcpy(text + host_size, port, port_size));
  lookup->hints = hints;
  return lookup;
}

// Whether the answer came before the deadline.
bool wait_for(const Lookup *lookup, wr_timer *timer) {
  wr_select_case cases[2] = {{lookup->answered, nullptr, 0, 0, {}}, {wr_timer_chan(timer), nullptr, 0, 0, {}}};
  return wr_select(cases, 2, 1) == 0;
}

}  // namespace

int look_up(const char *host, const char *port, const addrinfo &hints, uint64_t deadline, addrinfo **out, int *error) {
  const uint64_t now = wr_now_ns();
  const uint64_t left = deadline > now ? deadline - now : 0;
  wr_timer *timer = wr_timer_make(left < INT64_MAX ? static_cast<int64_t>(left) : INT64_MAX);
  Lookup *lookup = timer != nullptr ? make(host, port, hints) : nullptr;
  if (lookup == nullptr) {
    if (timer != nullptr) wr_timer_unref(timer);
    return EAI_MEMORY;
  }
  int result = EAI_SYSTEM;
  if (!threads::start_plain(ask, lookup, "warren-names")) {
    *error = EAGAIN;
    let_go(lookup);  // for the thread
  } else if (!wait_for(lookup, timer)) {
    *error = ETIMEDOUT;
  } else {
    result = lookup->result;
    *error = lookup->error;
    *out = lookup->list;
    lookup->list = nullptr;
  }
  let_go(lookup);
  wr_timer_stop(timer);
  wr_timer_unref(timer);
  return result;
}

}  // namespace warren::scheduler
