// Waiting for descriptors: readiness, deadlines, cancelling, several who wait, and numbers that are used again.
#include "fibers.h"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <random>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace fibers;

constexpr uint64_t kMs = 1000000;

struct Pipe {
  int ends[2];
  Pipe() { EXPECT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends)); }
  ~Pipe() {
    for (const int fd : ends) {
      if (fd >= 0) close(fd);
    }
  }
  void write_byte(int side = 1) { EXPECT_EQ(1, write(ends[side], "x", 1)); }
};

void both(void (*test)()) {
  run_on(1, test);
  run_on(3, test);
}

// The first test: once a scheduler has run, its poll waits in the thread's place.
TEST(WaitFd, FromAPlainThreadBeforeTheFirstRun) {
  const auto fill = [](int fd) {
    char bytes[4096] = {};
    while (write(fd, bytes, sizeof bytes) > 0) {
    }
    EXPECT_EQ(errno, EAGAIN);
  };
  const auto await_room = [&](short events) {
    Pipe p;
    fill(p.ends[0]);
    EXPECT_EQ(wr_wait_fd(p.ends[0], events, wr_now_ns() + kMs), -ETIMEDOUT);
    std::thread reader([&] {
      char bytes[4096];
      usleep(5000);
      while (read(p.ends[1], bytes, sizeof bytes) > 0) {
      }
    });
    EXPECT_EQ(wr_wait_fd(p.ends[0], events, WR_NEVER), POLLOUT);
    reader.join();
  };
  await_room(POLLOUT);
  await_room(POLLOUT | POLLPRI);
  await_room(POLLIN | POLLOUT);

  Pipe p;
  fill(p.ends[0]);
  std::thread writer([&] {
    usleep(5000);
    p.write_byte();
  });
  EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, WR_NEVER), POLLIN);
  writer.join();
}

TEST(WaitFd, ReturnsAtOnceWhatIsReady) {
  const auto test = [] {
    Pipe p;
    EXPECT_EQ(wr_wait_fd(p.ends[0], POLLOUT, WR_NEVER), POLLOUT);
    EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, 0), -ETIMEDOUT);
    p.write_byte();
    EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, 0), POLLIN);
    EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN | POLLOUT, WR_NEVER), POLLIN | POLLOUT);
    EXPECT_EQ(wr_wait_fd(1000000, POLLIN, WR_NEVER), -EBADF);
    const int file = open("/proc/self/exe", O_RDONLY);
    EXPECT_EQ(wr_wait_fd(file, POLLIN, WR_NEVER), POLLIN);
    close(file);
  };
  test();
  both(test);
}

TEST(WaitFd, WakesWhenItBecomesReady) {
  both([] {
    Pipe p;
    std::atomic<int> done{0};
    go([&] {
      EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, WR_NEVER), POLLIN);
      ++done;
    });
    wr_sleep_ns(kMs);
    EXPECT_EQ(done, 0);
    p.write_byte();
    while (done == 0) wr_sleep_ns(kMs);
  });
}

TEST(WaitFd, HangUpIsReported) {
  both([] {
    Pipe p;
    std::atomic<int> done{0};
    go([&] {
      EXPECT_NE(wr_wait_fd(p.ends[0], POLLIN, WR_NEVER) & POLLHUP, 0);
      ++done;
    });
    wr_sleep_ns(kMs);
    close(p.ends[1]);
    p.ends[1] = -1;
    while (done == 0) wr_sleep_ns(kMs);
  });
}

TEST(WaitFd, TimesOutNoEarlierThanAsked) {
  const auto test = [] {
    Pipe p;
    const uint64_t deadline = wr_now_ns() + 5 * kMs;
    EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, deadline), -ETIMEDOUT);
    EXPECT_GE(wr_now_ns(), deadline);
  };
  test();
  both(test);
}

TEST(WaitFd, SeveralMayWaitForOneDescriptor) {
  both([] {
    Pipe p;
    std::atomic<int> done{0};
    for (int i = 0; i < 5; ++i) {
      go([&] {
        EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, WR_NEVER), POLLIN);
        ++done;
      });
    }
    wr_sleep_ns(kMs);
    p.write_byte();
    while (done != 5) wr_sleep_ns(kMs);
  });
}

TEST(WaitFd, ClosingWakesAllWhoWait) {
  both([] {
    Pipe p;
    std::atomic<int> done{0};
    for (int i = 0; i < 3; ++i) {
      go([&] {
        EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, WR_NEVER), -ECANCELED);
        ++done;
      });
    }
    while (count_in("IO wait") != 3) wr_yield();
    EXPECT_EQ(wr_close_fd(p.ends[0]), 0);
    // The number is used again at once: who waited for the old one must not take it for the new one.
    Pipe other;
    while (done != 3) wr_sleep_ns(kMs);
    std::atomic<int> again{0};
    go([&] {
      EXPECT_EQ(wr_wait_fd(other.ends[0], POLLIN, WR_NEVER), POLLIN);
      ++again;
    });
    wr_sleep_ns(kMs);
    other.write_byte();
    while (again == 0) wr_sleep_ns(kMs);
    p.ends[0] = -1;
  });
}

size_t open_descriptors() {
  size_t count = 0;
  DIR *all = opendir("/proc/self/fd");
  while (readdir(all) != nullptr) ++count;
  closedir(all);
  return count;
}

// The second to wait for one has a duplicate.
TEST(WaitFd, ARunLeavesNoDescriptorOpen) {
  int ends[2];
  ASSERT_EQ(0, pipe(ends));
  run_on(1, [] {});
  const size_t before = open_descriptors();
  for (int round = 0; round < 3; ++round) {
    run_on(1, [&] {
      for (int i = 0; i < 4; ++i) go([&] { wr_wait_fd(ends[0], POLLIN, WR_NEVER); });
      while (count_in("IO wait") != 4) wr_yield();
    });
  }
  EXPECT_EQ(open_descriptors(), before);
  run_on(1, [&] {
    go([&] { EXPECT_EQ(1, write(ends[1], "x", 1)); });
    EXPECT_EQ(wr_wait_fd(ends[0], POLLIN, WR_NEVER), POLLIN);
  });
  close(ends[0]);
  close(ends[1]);
}

TEST(WaitFd, FromAPlainThread) {
  Pipe p;
  std::thread writer([&] {
    usleep(5000);
    p.write_byte();
  });
  EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, WR_NEVER), POLLIN);
  writer.join();
}

int read_byte(wr_poll *poll, int fd) {
  if (const int error = wr_poll_prepare(poll, WR_POLL_READ)) return error;
  for (;;) {
    char c;
    const ssize_t n = read(fd, &c, 1);
    if (n >= 0) return static_cast<int>(n);
    if (errno != EAGAIN) return -errno;
    if (const int error = wr_poll_wait(poll, WR_POLL_READ)) return error;
  }
}

TEST(Poll, BytesPassBackAndForth) {
  both([] {
    Pipe p;
    wr_poll *polls[2];
    for (int side : {0, 1}) ASSERT_EQ(0, wr_poll_open(p.ends[side], &polls[side]));
    std::atomic<int> done{0};
    for (int side : {0, 1}) {
      go([&, side] {
        for (int i = 0; i < 2000; ++i) {
          if (side == 0) p.write_byte(0);
          ASSERT_EQ(1, read_byte(polls[side], p.ends[side]));
          if (side == 1) p.write_byte(1);
        }
        ++done;
      });
    }
    while (done != 2) wr_sleep_ns(kMs);
    for (wr_poll *poll : polls) {
      wr_poll_cancel(poll);
      wr_poll_close(poll);
    }
  });
}

TEST(Poll, DeadlinesWakeAndCanBeMoved) {
  both([] {
    Pipe p;
    wr_poll *poll;
    ASSERT_EQ(0, wr_poll_open(p.ends[0], &poll));
    wr_poll_set_deadline(poll, WR_POLL_BOTH, wr_now_ns() + 3 * kMs);
    EXPECT_EQ(read_byte(poll, p.ends[0]), -ETIMEDOUT);
    EXPECT_EQ(read_byte(poll, p.ends[0]), -ETIMEDOUT);
    EXPECT_EQ(wr_poll_prepare(poll, WR_POLL_WRITE), -ETIMEDOUT);
    wr_poll_set_deadline(poll, WR_POLL_READ, 1);
    EXPECT_EQ(read_byte(poll, p.ends[0]), -ETIMEDOUT);
    wr_poll_set_deadline(poll, WR_POLL_READ, WR_NEVER);
    EXPECT_EQ(wr_poll_prepare(poll, WR_POLL_READ), 0);
    std::atomic<int> done{0};
    go([&] {
      EXPECT_EQ(read_byte(poll, p.ends[0]), -ETIMEDOUT);
      ++done;
    });
    wr_sleep_ns(2 * kMs);
    EXPECT_EQ(done, 0);
    wr_poll_set_deadline(poll, WR_POLL_READ, wr_now_ns() - 1);  // from outside, into the past
    while (done == 0) wr_sleep_ns(kMs);
    wr_poll_set_deadline(poll, WR_POLL_BOTH, WR_NEVER);
    p.write_byte();
    EXPECT_EQ(read_byte(poll, p.ends[0]), 1);
    wr_poll_cancel(poll);
    EXPECT_EQ(read_byte(poll, p.ends[0]), -ECANCELED);
    wr_poll_close(poll);
  });
}

TEST(Poll, CancellingWakesWhoWaits) {
  both([] {
    for (int i = 0; i < 200; ++i) {
      Pipe p;
      wr_poll *poll;
      ASSERT_EQ(0, wr_poll_open(p.ends[0], &poll));
      std::atomic<int> done{0};
      go([&] {
        EXPECT_EQ(read_byte(poll, p.ends[0]), -ECANCELED);
        ++done;
      });
      if (i % 3 == 0) wr_yield();
      if (i % 3 == 1) wr_sleep_ns(10000);
      wr_poll_cancel(poll);
      await(done, 1);
      wr_poll_close(poll);
    }
  });
}

TEST(Poll, DeadlinesRaceWithBytes) {
  run_on(3, [] {
    const unsigned seed = std::random_device{}();
    std::printf("seed %u\n", seed);
    std::mt19937 random(seed);
    std::atomic<int> done{0};
    constexpr int kPairs = 20;
    for (int pair = 0; pair < kPairs; ++pair) {
      const unsigned mine = static_cast<unsigned>(random());
      go([&, mine] {
        std::mt19937 dice(mine);
        Pipe p;
        wr_poll *poll;
        ASSERT_EQ(0, wr_poll_open(p.ends[0], &poll));
        std::atomic<int> sent{0};
        std::atomic<bool> end{false};
        std::atomic<bool> ended{false};
        go([&] {
          while (!end) {
            // On a busy machine the reader may fall behind by all that the socket holds.
            if (write(p.ends[1], "x", 1) == 1) ++sent;
            wr_sleep_ns(30000);
          }
          ended = true;
        });
        int received = 0;
        for (int i = 0; i < 100; ++i) {
          wr_poll_set_deadline(poll, WR_POLL_READ, wr_now_ns() + dice() % 60000);
          const int result = read_byte(poll, p.ends[0]);
          EXPECT_TRUE(result == 1 || result == -ETIMEDOUT) << result;
          received += result == 1;
        }
        end = true;
        while (!ended) wr_yield();
        wr_poll_set_deadline(poll, WR_POLL_READ, WR_NEVER);
        while (received < sent) received += read_byte(poll, p.ends[0]);
        EXPECT_EQ(received, sent);
        wr_poll_cancel(poll);
        wr_poll_close(poll);
        ++done;
      });
    }
    while (done != kPairs) wr_sleep_ns(kMs);
  });
}

TEST(Poll, WhileTheOnlyPIsKeptBusy) {
  run_on(1, [] {
    Pipe p;
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    go([&] {
      EXPECT_EQ(wr_wait_fd(p.ends[0], POLLIN, WR_NEVER), POLLIN);
      end = true;
      ++done;
    });
    wr_yield();
    go([&] {
      while (!end.load(std::memory_order_relaxed)) {
      }
      ++done;
    });
    p.write_byte();
    await(done, 2);
  });
}

}  // namespace
