// wr_net: TCP over poll descriptors. See warren/net.h; Go's net and internal/poll.
//
// A socket may be closed while others use it. Each operation counts itself in `uses`; close sets a bit there, wakes
// all who wait, and the descriptor itself is closed by whoever is last out: the kernel cannot give its number to
// another file while somebody is about to read from it. Invariant: at most one G waits in each direction, as poll
// descriptors ask for: it holds the mutex of that direction.
#include "allocator/base/annotations.h"
#include "scheduler/poll_descriptor.h"
#include "scheduler/socket_address.h"

#include <warren/net.h>
#include <warren/scheduler_core.h>
#include <warren/sync.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <initializer_list>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <new>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

using namespace warren::scheduler;

// Reading, or writing.
struct Direction {
  wr_mutex mutex = WR_INIT;
  // The fiber that has the mutex; nullptr while a plain thread has it, and for a moment after it is locked and before it is unlocked.
  std::atomic<G *> holder{nullptr};
};

struct wr_socket {
  std::atomic<uint32_t> references{1};
  std::atomic<uint32_t> uses{0};  // operations under way, and kClosed
  int fd = -1;
  wr_poll *poll = nullptr;
  Direction reading;
  bool drained = false;  // under `reading`: the last read took all there was, so the next may wait for an event first
  Direction writing;
  AddressText local;
  AddressText remote;
};

namespace {

constexpr uint32_t kClosed = 1u << 31;

void close_descriptor(wr_socket *s) {
  wr_poll_close(s->poll);
  close(s->fd);
}

bool begin(wr_socket *s) {
  uint32_t seen = s->uses.load(std::memory_order_relaxed);  // the exchange decides
  do {
    if ((seen & kClosed) != 0) return false;
    // acquire: pairs with the release of other operations, for what they did to the descriptor.
  } while (!s->uses.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed));
  return true;
}

void end(wr_socket *s) {
  // release: this operation comes before the closing; acquire: the others do, if it is this one that closes.
  if (s->uses.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) close_descriptor(s);
}

// The caller, if it may be left behind in an operation. A plain thread comes to its operation's end; its G may be gone then, at once, and
// nobody is to look at it.
G *who_may_be_left() {
  G *g = current();
  return g->on_thread ? nullptr : g;
}

// Ends the operation of a fiber that its run has left behind in it: the mutex is `heir`'s. One that runs still is not meant, for it
// may come to the operation's end.
bool take_over(wr_socket *s, Direction &of, G *heir) {
  G *holder = of.holder.load(std::memory_order_acquire);  // pairs with the store of who locked, for its status
  if (holder == nullptr || !is_abandoned(holder)) return false;
  const GStatus status = holder->status.load(std::memory_order_acquire);  // pairs with set_status()
  if (status != GStatus::kWaiting && status != GStatus::kRunnable) return false;
  if (!of.holder.compare_exchange_strong(holder, heir, std::memory_order_acq_rel)) return false;
  end(s);
  return true;
}

void give_up(Direction &direction) {
  direction.holder.store(nullptr, std::memory_order_release);  // as in take_over()
  wr_mutex_unlock(&direction.mutex);
}

// One operation in one direction.
class Use {
 public:
  Use(wr_socket *s, wr_poll_direction direction)
      : socket_(s), direction_(direction), mine_(direction == WR_POLL_READ ? s->reading : s->writing) {
    // Counted when it is its turn: who is left behind before that is in nobody's way.
    G *g = who_may_be_left();
    if (wr_mutex_try_lock(&mine_.mutex) == 0 && !take_over(s, mine_, g)) wr_mutex_lock(&mine_.mutex);
    mine_.holder.store(g, std::memory_order_release);  // as in take_over()
    begun_ = begin(s);
    if (!begun_) give_up(mine_);
  }
  ~Use() {
    if (!begun_) return;
    give_up(mine_);
    end(socket_);
  }
  Use(const Use &) = delete;
  Use &operator=(const Use &) = delete;

  bool begun() const { return begun_; }
  // 0, or why the operation cannot go on: -ECANCELED, -ETIMEDOUT.
  int prepare() const { return begun_ ? wr_poll_prepare(socket_->poll, direction_) : -ECANCELED; }
  int wait() const { return wr_poll_wait(socket_->poll, direction_); }

 private:
  wr_socket *socket_;
  wr_poll_direction direction_;
  Direction &mine_;
  bool begun_ = false;
};

bool not_now(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

// Takes over the descriptor, also where it fails.
int make_socket(int fd, wr_socket **out) {
  void *memory = calloc(1, sizeof(wr_socket));
  int error = memory == nullptr ? -ENOMEM : 0;
  wr_poll *poll = nullptr;
  if (error == 0) error = wr_poll_open(fd, &poll);
  if (error != 0) {
    free(memory);
    close(fd);
    return error;
  }
  wr_socket *s = new (memory) wr_socket;
  s->fd = fd;
  s->poll = poll;
  *out = s;
  return 0;
}

void set_addresses(wr_socket *s, bool connected) {
  write_local_address(s->fd, s->local);
  if (connected) write_remote_address(s->fd, s->remote);
}

// As Go's connections: small writes go out at once, and a peer that is gone is found out.
void set_connection_options(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

int open_socket(const addrinfo *address) {
  const int fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
  return fd >= 0 ? fd : -errno;
}

int listen_on(const addrinfo *address, wr_socket **out) {
  const int fd = open_socket(address);
  if (fd < 0) return fd;
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
    const int error = -errno;
    close(fd);
    return error;
  }
  const int error = make_socket(fd, out);
  if (error == 0) set_addresses(*out, false);
  return error;
}

int connect_to(const addrinfo *address, uint64_t deadline, wr_socket **out) {
  const int fd = open_socket(address);
  if (fd < 0) return fd;
  const bool connected = connect(fd, address->ai_addr, address->ai_addrlen) == 0;
  int error = connected || errno == EINPROGRESS || errno == EINTR ? 0 : -errno;
  if (error != 0) {
    close(fd);
    return error;
  }
  wr_socket *s = nullptr;
  error = make_socket(fd, &s);
  if (error != 0) return error;
  if (!connected) {
    wr_poll_set_deadline(s->poll, WR_POLL_BOTH, deadline);
    // A late event of the time before the connection means nothing: only one that finds a peer, or an error, does.
    for (;;) {
      error = wr_poll_wait(s->poll, WR_POLL_WRITE);
      if (error != 0) break;
      int result = 0;
      socklen_t size = sizeof result;
      sockaddr_storage peer;
      socklen_t peer_size = sizeof peer;
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &size);
      if (result != 0 && result != EINPROGRESS && result != EALREADY && result != EINTR) {
        error = -result;
        break;
      }
      if (getpeername(fd, reinterpret_cast<sockaddr *>(&peer), &peer_size) == 0) break;
    }
    wr_poll_set_deadline(s->poll, WR_POLL_BOTH, WR_NEVER);
  }
  if (error != 0) {
    wr_net_unref(s);
    return error;
  }
  set_connection_options(fd);
  set_addresses(s, true);
  *out = s;
  return 0;
}

}  // namespace

extern "C" {

int wr_net_listen(const char *address, wr_socket **out) {
  Resolved resolved;
  int error = resolve(address, true, WR_NEVER, resolved);
  if (error != 0) return error;
  // IPv6 first: where no host is given, it is the socket for both. Some machines have none.
  for (const bool ipv6 : {true, false}) {
    for (const addrinfo *a = resolved.first(); a != nullptr; a = a->ai_next) {
      if ((a->ai_family == AF_INET6) != ipv6) continue;
      error = listen_on(a, out);
      if (error == 0) return 0;
    }
  }
  return error;
}

int wr_net_dial(const char *address, uint64_t deadline, wr_socket **out) {
  if (deadline != WR_NEVER && deadline <= wr_now_ns()) return -ETIMEDOUT;
  Resolved resolved;
  int error = resolve(address, false, deadline, resolved);
  if (error != 0) return error;
  for (const addrinfo *a = resolved.first(); a != nullptr; a = a->ai_next) {
    error = connect_to(a, deadline, out);
    if (error == 0 || error == -ETIMEDOUT) break;
  }
  return error;
}

int wr_net_accept(wr_socket *listener, wr_socket **out) {
  int fd = -1;
  {
    const Use use(listener, WR_POLL_READ);
    int error = use.prepare();
    while (error == 0) {
      fd = accept4(listener->fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) break;
      if (not_now(errno)) {
        error = use.wait();
      } else if (errno != EINTR && errno != ECONNABORTED) {
        error = -errno;
      }
    }
    if (error != 0) return error;
  }
  const int error = make_socket(fd, out);
  if (error != 0) return error;
  set_connection_options(fd);
  set_addresses(*out, true);
  return 0;
}

// A read that gives less than it was asked for has taken all there was, and whatever comes later is a new event: so the next
// one waits without asking the kernel in vain. Not where a mark has come: an end of the stream that came with the last bytes is
// no new event, and a read stops at urgent data.
int64_t wr_net_read(wr_socket *s, void *to, size_t size) {
  const Use use(s, WR_POLL_READ);
  const bool wait_first = use.begun() && std::exchange(s->drained, false) && !poll_marked(s->poll);
  int error = wait_first ? use.wait() : use.prepare();
  while (error == 0) {
    const ssize_t n = recv(s->fd, to, size, 0);
    if (n >= 0) {
      s->drained = n != 0 && static_cast<size_t>(n) < size;
      return n;
    }
    if (not_now(errno)) {
      error = use.wait();
    } else if (errno != EINTR) {
      error = -errno;
    }
  }
  return error;
}

int wr_net_write(wr_socket *s, const void *from, size_t size) {
  const Use use(s, WR_POLL_WRITE);
  int error = use.prepare();
  for (size_t sent = 0; error == 0 && sent < size;) {
    const ssize_t n = send(s->fd, static_cast<const char *>(from) + sent, size - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<size_t>(n);
    } else if (not_now(errno)) {
      error = use.wait();
    } else if (errno != EINTR) {
      error = -errno;
    }
  }
  return error;
}

int wr_net_shutdown_write(wr_socket *s) {
  if (!begin(s)) return -ECANCELED;
  const int error = shutdown(s->fd, SHUT_WR) == 0 ? 0 : -errno;
  end(s);
  return error;
}

void wr_net_set_deadline(wr_socket *s, uint64_t deadline) {
  if (!begin(s)) return;
  wr_poll_set_deadline(s->poll, WR_POLL_BOTH, deadline);
  end(s);
}

void wr_net_close(wr_socket *s) {
  // One use of our own, so that the descriptor is there while those who wait are woken.
  if (!begin(s)) return;
  // acq_rel: as in end(). Of two who close at once, one is told so here.
  if ((s->uses.fetch_or(kClosed, std::memory_order_acq_rel) & kClosed) == 0) {
    wr_poll_cancel(s->poll);
    for (Direction *direction : {&s->reading, &s->writing}) {
      if (take_over(s, *direction, who_may_be_left())) give_up(*direction);
    }
  }
  end(s);
}

const char *wr_net_local_address(const wr_socket *s) { return s->local.text; }
const char *wr_net_remote_address(const wr_socket *s) { return s->remote.text; }

// relaxed: who copies a handle has one.
void wr_net_ref(wr_socket *s) { s->references.fetch_add(1, std::memory_order_relaxed); }

void wr_net_unref(wr_socket *s) {
  // release and acquire: what was done through any handle comes before the end.
  if (s->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  wr_net_close(s);
  s->~wr_socket();
  free(s);
}

}  // extern "C"
