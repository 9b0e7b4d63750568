// Fibers: that they start, take turns, keep their registers, errno and exceptions, and end.
#include "fibers.h"

#include <algorithm>
#include <cerrno>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <execinfo.h>
#include <exception>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>
#include <xmmintrin.h>

namespace {

using namespace fibers;

constexpr int kProcs[] = {1, 2, 8};

TEST(Fiber, RunReturnsWhatMainReturns) {
  EXPECT_EQ(run([] { return 42; }), 42);
  EXPECT_EQ(run([] { return -7; }), -7);
}

TEST(Fiber, NothingRunsOutsideOfARun) {
  EXPECT_EQ(wr_go([](void *) {}, nullptr, nullptr), -EPERM);
  EXPECT_EQ(wr_fiber_id(), 0u);
  wr_yield();
  wr_preempt_point();
  wr_enter_blocking();
  wr_exit_blocking();
  wr_lock_os_thread();
  wr_unlock_os_thread();
}

TEST(Fiber, ARunInsideARunIsRefused) {
  run_on(2, [] { EXPECT_EQ(wr_run([](void *) { return 0; }, nullptr), -EBUSY); });
}

TEST(Fiber, MainIsFiberOneAndIdsAreNeverUsedTwice) {
  for (const int procs : kProcs) {
    run_on(procs, [] {
      EXPECT_EQ(wr_fiber_id(), 1u);
      std::mutex lock;
      std::set<uint64_t> ids;
      std::atomic<int> done{0};
      for (int i = 0; i < 1000; ++i) {
        ASSERT_EQ(0, go([&] {
                    {
                      std::lock_guard hold(lock);
                      ids.insert(wr_fiber_id());
                    }
                    ++done;
                  }));
      }
      await(done, 1000);
      EXPECT_EQ(ids.size(), 1000u);
      EXPECT_EQ(ids.count(1), 0u);
    });
  }
}

TEST(Fiber, CountFollowsThem) {
  run_on(2, [] {
    EXPECT_EQ(wr_fiber_count(), 1u);
    std::atomic<bool> end{false};
    for (int i = 0; i < 50; ++i) {
      go([&] {
        while (!end) wr_yield();
      });
    }
    EXPECT_EQ(wr_fiber_count(), 51u);
    end = true;
    while (wr_fiber_count() != 1) wr_yield();
  });
}

TEST(Fiber, YieldLetsTheOthersHaveTheirTurn) {
  run_on(1, [] {
    std::string order;
    std::atomic<int> done{0};
    for (const char name : {'a', 'b', 'c'}) {
      go([&, name] {
        for (int i = 0; i < 3; ++i) {
          order += name;
          wr_yield();
        }
        ++done;
      });
    }
    await(done, 3);
    for (const char name : {'a', 'b', 'c'}) EXPECT_EQ(std::count(order.begin(), order.end(), name), 3);
    // Nobody has two turns before everybody has had one.
    EXPECT_EQ(std::set<char>(order.begin(), order.begin() + 3).size(), 3u) << order;
  });
}

TEST(Fiber, AHundredThousandShortOnes) {
  constexpr int kFibers = kSanitized ? 2000 : 100000;
  for (const int procs : kProcs) {
    run_on(procs, [] {
      std::atomic<int> done{0};
      for (int i = 0; i < kFibers; ++i) {
        ASSERT_EQ(0, wr_go([](void *counter) { ++*static_cast<std::atomic<int> *>(counter); }, &done, nullptr));
      }
      await(done, kFibers);
    });
  }
}

TEST(Fiber, FibersStartFibers) {
  for (const int procs : kProcs) {
    run_on(procs, [] {
      std::atomic<int> leaves{0};
      std::function<void(int)> grow = [&](int depth) {
        if (depth == 0) {
          ++leaves;
          return;
        }
        go([&, depth] { grow(depth - 1); });
        go([&, depth] { grow(depth - 1); });
      };
      constexpr int kDepth = kSanitized ? 9 : 13;
      grow(kDepth);
      await(leaves, 1 << kDepth);
    });
  }
}

TEST(Fiber, PlainThreadsMayStartThem) {
  run_on(2, [] {
    std::atomic<int> done{0};
    std::atomic<bool> joined{false};
    std::thread other([&] {
      for (int i = 0; i < 1000; ++i) EXPECT_EQ(0, go([&] { ++done; }));
      joined = true;
    });
    await(done, 1000);
    while (!joined) wr_yield();
    other.join();
  });
}

// In a function that switches: of glibc's errno it might go on using the old thread's.
TEST(Fiber, ErrnoStaysWithItsFiber) {
  run_on(4, [] {
    std::atomic<int> done{0};
    std::atomic<int> wrong{0};
    for (int f = 1; f <= 50; ++f) {
      go([&, f] {
        for (int i = 0; i < 200; ++i) {
          errno = f;
          wr_yield();
          if (errno != f) ++wrong;
        }
        ++done;
      });
    }
    await(done, 50);
    EXPECT_EQ(wrong, 0);
  });
}

TEST(Fiber, RoundingModeStaysWithItsFiber) {
  run_on(1, [] {
    std::atomic<int> done{0};
    int wrong = 0;
    for (const int mode : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      go([&, mode] {
        wrong += fegetround() != FE_TONEAREST;
        fesetround(mode);
        for (int i = 0; i < 100; ++i) {
          wr_yield();
          wrong += fegetround() != mode;
        }
        ++done;
      });
    }
    await(done, 4);
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(fegetround(), FE_TONEAREST);
  });
}

TEST(Fiber, RegistersSurviveASwitch) {
  run_on(2, [] {
    std::atomic<int> done{0};
    std::atomic<int> wrong{0};
    for (int f = 0; f < 20; ++f) {
      go([&, f] {
        // More live values than there are registers, of both kinds.
        long a = f, b = f * 3, c = f * 5, d = f * 7, e = f * 11, g = f * 13, h = f * 17;
        double x = f * 0.5, y = f * 0.25, z = std::sqrt(f);
        for (int i = 0; i < 500; ++i) {
          wr_yield();
          a += b, b += c, c += d, d += e, e += g, g += h, h += 1;
          x += y, y += z;
        }
        long a2 = f, b2 = f * 3, c2 = f * 5, d2 = f * 7, e2 = f * 11, g2 = f * 13, h2 = f * 17;
        double x2 = f * 0.5, y2 = f * 0.25, z2 = std::sqrt(f);
        for (int i = 0; i < 500; ++i) {
          a2 += b2, b2 += c2, c2 += d2, d2 += e2, e2 += g2, g2 += h2, h2 += 1;
          x2 += y2, y2 += z2;
        }
        if (a != a2 || h != h2 || x != x2 || y != y2) ++wrong;
        ++done;
      });
    }
    await(done, 20);
    EXPECT_EQ(wrong, 0);
  });
}

TEST(Fiber, ExceptionsStayWithTheirFiber) {
  for (const int procs : kProcs) {
    run_on(procs, [] {
      std::atomic<int> done{0};
      std::atomic<int> wrong{0};
      for (int f = 0; f < 20; ++f) {
        go([&, f] {
          for (int i = 0; i < 50; ++i) {
            const std::string text = std::to_string(f) + "." + std::to_string(i);
            try {
              throw std::runtime_error(text);
            } catch (const std::exception &outer) {
              wr_yield();
              try {
                throw std::logic_error(text + "!");
              } catch (const std::exception &inner) {
                wr_yield();
                if (inner.what() != text + "!") ++wrong;
              }
              wr_yield();
              if (outer.what() != text) ++wrong;
              try {
                std::rethrow_exception(std::current_exception());
              } catch (const std::runtime_error &again) {
                if (again.what() != text) ++wrong;
              }
            }
          }
          ++done;
        });
      }
      await(done, 20);
      EXPECT_EQ(wrong, 0);
      EXPECT_EQ(std::uncaught_exceptions(), 0);
    });
  }
}

struct YieldsInDestructor {
  std::atomic<int> &wrong;
  ~YieldsInDestructor() {
    const int before = std::uncaught_exceptions();
    for (int i = 0; i < 10; ++i) wr_yield();
    if (std::uncaught_exceptions() != before || before != 1) ++wrong;
  }
};

TEST(Fiber, ParkingWhileUnwinding) {
  run_on(2, [] {
    std::atomic<int> done{0};
    std::atomic<int> wrong{0};
    for (int f = 0; f < 20; ++f) {
      go([&] {
        for (int i = 0; i < 20; ++i) {
          try {
            YieldsInDestructor guard{wrong};
            throw 1;
          } catch (int) {
          }
          if (std::uncaught_exceptions() != 0) ++wrong;
        }
        ++done;
      });
    }
    await(done, 20);
    EXPECT_EQ(wrong, 0);
  });
}

__attribute__((noinline)) size_t use_stack(size_t bytes) {
  volatile char area[4096];
  area[0] = 1;
  return bytes > 4096 ? use_stack(bytes - 4096) + static_cast<size_t>(area[0]) : 1;
}

TEST(Fiber, StacksAreAsLargeAsAskedFor) {
  run_on(2, [] {
    std::atomic<int> done{0};
    go([&] {
      EXPECT_GT(use_stack(190 << 10), 1u);
      ++done;
    });
    for (const size_t size : {size_t{64} << 10, size_t{1} << 20, size_t{16} << 20, size_t{1} << 30}) {
      const wr_fiber_options options{size, "large"};
      ASSERT_EQ(0, go(
                       [&done, size] {
                         EXPECT_GT(use_stack((size < (16u << 20) ? size : 16u << 20) / 4 * 3 - 4096), 1u);
                         ++done;
                       },
                       &options));
    }
    await(done, 5);
    const wr_fiber_options too_large{(size_t{1} << 30) + 1, nullptr};
    EXPECT_EQ(wr_go([](void *) {}, nullptr, &too_large), -EINVAL);
  });
}

TEST(Fiber, ABacktraceEndsAtTheFibersBeginning) {
  run_on(1, [] {
    std::atomic<int> frames{0};
    go([&] {
      void *addresses[100];
      frames = backtrace(addresses, 100);
    });
    while (frames == 0) wr_yield();
    EXPECT_LT(frames, 15);
    EXPECT_GT(frames, 2);
  });
}

TEST(Fiber, EndFiberEndsIt) {
  run_on(2, [] {
    std::atomic<int> before{0};
    std::atomic<int> after{0};
    for (int i = 0; i < 100; ++i) {
      go([&] {
        ++before;
        wr_end_fiber();
        ++after;
      });
    }
    while (wr_fiber_count() != 1) wr_yield();
    EXPECT_EQ(before, 100);
    EXPECT_EQ(after, 0);
  });
}

// An end goes straight to the next fiber: to one that is new, and to one that has its own of all this.
TEST(Fiber, AnEndLeavesNothingBehind) {
  constexpr unsigned kFlushToZero = 0x8000, kControl = 0xffc0;  // of the MXCSR, which fesetround() does not set alone
  for (const int procs : kProcs) {
    run_on(procs, [] {
      std::atomic<int> done{0};
      std::atomic<int> wrong{0};
      const unsigned usual = _mm_getcsr() & kControl;
      errno = 7;
      for (int f = 0; f < 300; ++f) {
        go([&, f] {
          if (std::current_exception() != nullptr || std::uncaught_exceptions() != 0) ++wrong;
          if (fegetround() != FE_TONEAREST || (_mm_getcsr() & kControl) != usual || errno != 0) ++wrong;
          ++done;
          errno = f + 8;
          if (f % 2 == 0) fesetround(FE_UPWARD);
          if (f % 3 == 0) _mm_setcsr(_mm_getcsr() | kFlushToZero);
          if (f % 5 != 0) return;
          try {
            throw f;
          } catch (int) {
            wr_end_fiber();
          }
        });
        if (f % 7 == 0) {
          wr_yield();
          if (fegetround() != FE_TONEAREST || (_mm_getcsr() & kControl) != usual || errno != 7) ++wrong;
        }
      }
      await(done, 300);
      EXPECT_EQ(wrong, 0);
      EXPECT_EQ(std::current_exception(), nullptr);
    });
  }
}

TEST(Fiber, WhoIsAbandonedNeverRunsAgain) {
  static std::atomic<int> turns{0};
  EXPECT_EQ(0, run([] {
    for (int i = 0; i < 20; ++i) {
      go([] {
        for (;;) {
          ++turns;
          wr_yield();
        }
      });
    }
    while (turns < 100) wr_yield();
    return 0;
  }));
  // Who was between two yields when main returned comes to the next one.
  const int most = turns + wr_max_procs(0);
  EXPECT_EQ(0, run([] {
    EXPECT_EQ(wr_fiber_count(), 1u);
    for (int i = 0; i < 1000; ++i) wr_yield();
    wr_sleep_ns(1000000);
    return 0;
  }));
  EXPECT_LE(turns, most);
}

TEST(Fiber, ManyRunsOneAfterTheOther) {
  // Outlives the runs: a fiber that is abandoned in the middle of its code counts once more.
  static std::atomic<int> done[200];
  for (std::atomic<int> &each : done) each = 0;
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(i, run([i] {
      for (int f = 0; f < 20; ++f) go([i] { ++done[i]; });
      if (i % 2 == 0) await(done[i], 20);
      return i;
    }));
  }
}

}  // namespace
