// A socket is closed while a plain thread is inside an operation on it. The thread may come to the operation's end, end, and its G be
// freed while the socket is being closed, so whoever closes may not look at it at all. Run as a test of its own, in which looks are counted.
#include "scheduler/g.h"
#include "warren/net.h"
#include "warren/scheduler_core.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <poll.h>
#include <thread>
#include <unistd.h>

namespace {

using warren::scheduler::G;

std::atomic<int> looks{0};
std::atomic<bool> waits{false};

extern "C" uint32_t real_run_of(const G *g) __asm__("__real__ZN6warren9scheduler6run_ofEPKNS0_1GE");
extern "C" uint32_t counted_run_of(const G *g) __asm__("__wrap__ZN6warren9scheduler6run_ofEPKNS0_1GE");
uint32_t counted_run_of(const G *g) {
  looks += g->on_thread;
  return real_run_of(g);
}

extern "C" int __real_poll(pollfd *descriptors, nfds_t count, int timeout);
extern "C" int __wrap_poll(pollfd *descriptors, nfds_t count, int timeout) {
  waits = true;
  return __real_poll(descriptors, count, timeout);
}

TEST(NetClose, LooksAtNoThreadThatMayHaveEnded) {
  wr_socket *listener, *one, *other;
  ASSERT_EQ(wr_net_listen("127.0.0.1:0", &listener), 0);
  ASSERT_EQ(wr_net_dial(wr_net_local_address(listener), WR_NEVER, &one), 0);
  ASSERT_EQ(wr_net_accept(listener, &other), 0);
  waits = false;
  std::thread reader([one] {
    char byte;
    EXPECT_EQ(wr_net_read(one, &byte, 1), -ECANCELED);
  });
  while (!waits) usleep(1000);
  wr_net_close(one);
  EXPECT_EQ(looks, 0);
  reader.join();
  for (wr_socket *s : {one, other, listener}) wr_net_unref(s);
}

}  // namespace
