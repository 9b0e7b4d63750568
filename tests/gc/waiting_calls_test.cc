// Calls that the kernel never starts again, with cycles going on: they wait on, and a signal of the program's ends them
// (preload/waiting_calls.cc). Invariant: nothing depends on how long a thing takes; who must sleep is seen to sleep, and a time that
// may be too short for what has to happen in it is doubled until it is not.
#include "cycles.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/tasks.h"
#include "warren/gc.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <string>
#include <thread>
#include <threads.h>
#include <vector>

extern "C" int __poll_chk(pollfd *fds, nfds_t count, int timeout, size_t bytes);
extern "C" int __ppoll_chk(pollfd *fds, nfds_t count, const timespec *timeout, const sigset_t *mask, size_t bytes);

namespace warren::gc_tests {
namespace {

constexpr timespec kHour{3600, 0};
constexpr int kHourInMs = 3'600'000;

// A thread inside a call.
class Caller {
 public:
  template <class Body>
  explicit Caller(Body body) {
    thread_ = std::thread([this, body] {
      id_ = static_cast<int>(syscall(SYS_gettid));
      body();
      done_ = true;
    });
    while (id_ == 0 || (!done_ && state_of(id_) != 'S')) sched_yield();
  }
  ~Caller() {
    if (thread_.joinable()) thread_.join();
  }
  bool done() const { return done_; }
  void join() { thread_.join(); }
  pthread_t handle() { return thread_.native_handle(); }

 private:
  std::atomic<int> id_{0};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// What a call waits for, in the ways that there are.
struct Scene {
  int ends[2];
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  Scene() {
    if (pipe(ends) != 0) abort();
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0) abort();
  }
  ~Scene() {
    for (const int fd : {ends[0], ends[1], epoll}) close(fd);
  }
  Scene(const Scene &) = delete;
  Scene &operator=(const Scene &) = delete;

  void make_ready() const { EXPECT_EQ(write(ends[1], "x", 1), 1); }
};

struct Call {
  const char *name;
  int (*wait)(const Scene &scene, const sigset_t *mask);
  bool has_mask = false;
};

void PrintTo(const Call &call, std::ostream *out) { *out << call.name; }

int wait_by_select(const Scene &scene, timeval *time) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(scene.ends[0], &set);
  return select(scene.ends[0] + 1, &set, nullptr, nullptr, time);
}

int wait_by_pselect(const Scene &scene, const timespec *time, const sigset_t *mask) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(scene.ends[0], &set);
  return pselect(scene.ends[0] + 1, &set, nullptr, nullptr, time, mask);
}

pollfd input_of(const Scene &scene) { return {scene.ends[0], POLLIN, 0}; }
epoll_event event;

const Call kCalls[] = {
    {"poll", [](const Scene &scene, const sigset_t *) { auto one = input_of(scene); return poll(&one, 1, -1); }},
    {"poll, an hour", [](const Scene &scene, const sigset_t *) { auto one = input_of(scene); return poll(&one, 1, kHourInMs); }},
    {"poll, checked",
     [](const Scene &scene, const sigset_t *) { auto one = input_of(scene); return __poll_chk(&one, 1, kHourInMs, sizeof one); }},
    {"ppoll", [](const Scene &scene, const sigset_t *mask) { auto one = input_of(scene); return ppoll(&one, 1, nullptr, mask); }, true},
    {"ppoll, an hour",
     [](const Scene &scene, const sigset_t *mask) { auto one = input_of(scene); return ppoll(&one, 1, &kHour, mask); }, true},
    {"ppoll, checked",
     [](const Scene &scene, const sigset_t *mask) {
       auto one = input_of(scene);
       return __ppoll_chk(&one, 1, &kHour, mask, sizeof one);
     },
     true},
    {"select", [](const Scene &scene, const sigset_t *) { return wait_by_select(scene, nullptr); }},
    {"select, an hour",
     [](const Scene &scene, const sigset_t *) {
       timeval time{3600, 0};
       const int result = wait_by_select(scene, &time);
       EXPECT_LT(time.tv_sec, 3600);
       EXPECT_GT(time.tv_sec, 0);
       return result;
     }},
    {"pselect", [](const Scene &scene, const sigset_t *mask) { return wait_by_pselect(scene, nullptr, mask); }, true},
    {"pselect, an hour", [](const Scene &scene, const sigset_t *mask) { return wait_by_pselect(scene, &kHour, mask); }, true},
    {"epoll_wait", [](const Scene &scene, const sigset_t *) { return epoll_wait(scene.epoll, &event, 1, -1); }},
    {"epoll_wait, an hour", [](const Scene &scene, const sigset_t *) { return epoll_wait(scene.epoll, &event, 1, kHourInMs); }},
    {"epoll_pwait", [](const Scene &scene, const sigset_t *mask) { return epoll_pwait(scene.epoll, &event, 1, -1, mask); }, true},
    {"epoll_pwait2", [](const Scene &scene, const sigset_t *mask) { return epoll_pwait2(scene.epoll, &event, 1, &kHour, mask); }, true},
};

// For GoogleTest, which wants letters.
template <class Case>
std::string name_of(const testing::TestParamInfo<Case> &tested) {
  std::string name = tested.param.name;
  std::erase_if(name, [](char c) { return !isalnum(static_cast<unsigned char>(c)); });
  return name;
}

class Waits : public testing::TestWithParam<Call> {};

void expect_to_go_on(const Call &call) {
  const Scene scene;
  int result = -1;
  Caller caller([&] { result = call.wait(scene, nullptr); });
  for (int i = 0; i < 20; ++i) wr_gc_collect();
  EXPECT_FALSE(caller.done());
  scene.make_ready();
  caller.join();
  EXPECT_EQ(result, 1);
}

TEST_P(Waits, GoOnThroughCycles) {
  in_own_process([] {
    wr_gc_collect();
    expect_to_go_on(GetParam());
  });
}

// One that waits for descriptors and a time would have to look at the clock each time; it returns early, once.
class WaitsForEver : public Waits {};

std::vector<Call> calls_without_a_time() {
  std::vector<Call> calls(std::begin(kCalls), std::end(kCalls));
  std::erase_if(calls, [](const Call &call) { return strchr(call.name, ',') != nullptr || call.name == std::string("epoll_pwait2"); });
  return calls;
}

TEST_P(WaitsForEver, GoOnThroughTheCollectorsFirstUse) {
  in_own_process([] { expect_to_go_on(GetParam()); });
}

std::atomic<int> handled{0};

void handle_usr1(const sigset_t &meanwhile) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++handled; };
  action.sa_mask = meanwhile;
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
}

sigset_t set_of(bool full) {
  sigset_t set;
  full ? sigfillset(&set) : sigemptyset(&set);
  return set;
}

// A signal that comes while the thread is stopped, or just before or after, is not passed over: nothing else would end the call.
TEST_P(Waits, EndWithTheProgramsSignals) {
  const Scene scene;
  for (const bool full : {false, true}) {
    handle_usr1(set_of(full));
    const Cycles cycles;
    for (int round = 0; round < 50; ++round) {
      const int before = handled;
      int result = 0, error = 0;
      Caller caller([&] {
        result = GetParam().wait(scene, nullptr);
        error = errno;
      });
      pthread_kill(caller.handle(), SIGUSR1);
      caller.join();
      ASSERT_EQ(result, -1);
      ASSERT_EQ(error, EINTR);
      ASSERT_EQ(handled, before + 1);
    }
  }
}

class WaitsWithMask : public Waits {};

std::vector<Call> calls_with_mask() {
  std::vector<Call> calls(std::begin(kCalls), std::end(kCalls));
  std::erase_if(calls, [](const Call &call) { return !call.has_mask; });
  return calls;
}

// The signal is blocked but in the wait, and is there before it. The mask is as before afterwards.
TEST_P(WaitsWithMask, ChangeTheMaskAtOnce) {
  const Scene scene;
  const sigset_t none = set_of(false), all = set_of(true);
  handle_usr1(none);
  const Cycles cycles;
  for (int round = 0; round < 50; ++round) {
    const int before = handled;
    std::thread([&] {
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
      pthread_kill(pthread_self(), SIGUSR1);
      EXPECT_EQ(handled, before);
      EXPECT_EQ(GetParam().wait(scene, &none), -1);
      EXPECT_EQ(errno, EINTR);
      EXPECT_EQ(handled, before + 1);
      sigset_t now;
      pthread_sigmask(SIG_BLOCK, nullptr, &now);
      EXPECT_TRUE(sigismember(&now, SIGUSR1));
    }).join();
  }
}

// A full mask for the wait does not keep the collector out.
TEST_P(Waits, AreStoppedInWithAnyMask) {
  const Scene scene;
  const sigset_t all = set_of(true);
  int result = -1;
  Caller caller([&] { result = GetParam().wait(scene, &all); });
  wr_gc_collect();
  scene.make_ready();
  caller.join();
  EXPECT_EQ(result, 1);
}

TEST_P(Waits, AreCancelledIn) {
  static const Scene scene;
  static std::atomic<int> blocked;
  const Cycles cycles;
  for (int round = 0; round < 10; ++round) {
    blocked = -1;
    pthread_t thread;
    static std::atomic<int> id;
    id = 0;
    static const Call *call;
    call = &GetParam();
    const auto body = [](void *) -> void * {
      pthread_cleanup_push(
          [](void *) {
            sigset_t now;
            pthread_sigmask(SIG_BLOCK, nullptr, &now);
            blocked = sigismember(&now, SIGUSR1);
          },
          nullptr);
      id = static_cast<int>(syscall(SYS_gettid));
      call->wait(scene, nullptr);
      pthread_cleanup_pop(0);
      return nullptr;
    };
    ASSERT_EQ(pthread_create(&thread, nullptr, body, nullptr), 0);
    while (id == 0 || state_of(id) != 'S') sched_yield();
    ASSERT_EQ(pthread_cancel(thread), 0);
    void *ending = nullptr;
    ASSERT_EQ(pthread_join(thread, &ending), 0);
    EXPECT_EQ(ending, PTHREAD_CANCELED);
    EXPECT_EQ(blocked, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Waits, testing::ValuesIn(kCalls), name_of<Call>);
INSTANTIATE_TEST_SUITE_P(All, WaitsWithMask, testing::ValuesIn(calls_with_mask()), name_of<Call>);
INSTANTIATE_TEST_SUITE_P(All, WaitsForEver, testing::ValuesIn(calls_without_a_time()), name_of<Call>);

TEST(Pause, OnlyTheProgramsSignalsEndIt) {
  for (const bool full : {false, true}) {
    handle_usr1(set_of(full));
    const sigset_t none = set_of(false);
    for (const bool suspend : {false, true}) {
      int result = 0;
      Caller caller([&] { result = suspend ? sigsuspend(&none) : pause(); });
      for (int i = 0; i < 20; ++i) wr_gc_collect();
      EXPECT_FALSE(caller.done());
      const Cycles cycles;
      pthread_kill(caller.handle(), SIGUSR1);
      caller.join();
      EXPECT_EQ(result, -1);
    }
  }
}

// --- sleeps ---

timespec plus(timespec time, int64_t nanoseconds) {
  time.tv_nsec += nanoseconds;
  time.tv_sec += time.tv_nsec / 1'000'000'000;
  time.tv_nsec %= 1'000'000'000;
  return time;
}

timespec now(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time;
}

timespec length_of(int64_t nanoseconds) { return plus({}, nanoseconds); }

struct Sleep {
  const char *name;
  int (*sleep)(int64_t nanoseconds);  // its result, or the error; -ETIMEDOUT where that is how it ends
  int wanted = 0;
};

int or_error(int result) { return result == -1 ? errno : result; }

sem_t semaphore;  // nobody posts it
const Scene &nothing() {
  static const Scene scene;
  return scene;
}

const Sleep kSleeps[] = {
    {"nanosleep", [](int64_t time) { const timespec length = length_of(time); return or_error(nanosleep(&length, nullptr)); }},
    {"clock_nanosleep",
     [](int64_t time) { const timespec length = length_of(time); return clock_nanosleep(CLOCK_MONOTONIC, 0, &length, nullptr); }},
    {"clock_nanosleep until",
     [](int64_t time) {
       const timespec until = plus(now(CLOCK_MONOTONIC), time);
       return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
     }},
    {"usleep", [](int64_t time) { return or_error(usleep(static_cast<useconds_t>(time / 1000))); }},
    {"sleep", [](int64_t time) { return static_cast<int>(sleep(static_cast<unsigned>((time + 999'999'999) / 1'000'000'000))); }},
    {"thrd_sleep", [](int64_t time) { const timespec length = length_of(time); return thrd_sleep(&length, nullptr); }},
    {"sem_timedwait",
     [](int64_t time) { const timespec until = plus(now(CLOCK_REALTIME), time); return or_error(sem_timedwait(&semaphore, &until)); },
     ETIMEDOUT},
    {"sem_clockwait",
     [](int64_t time) {
       const timespec until = plus(now(CLOCK_MONOTONIC), time);
       return or_error(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &until));
     },
     ETIMEDOUT},
    {"poll", [](int64_t time) { return or_error(poll(nullptr, 0, static_cast<int>(time / 1'000'000))); }},
    {"ppoll", [](int64_t time) { const timespec length = length_of(time); return or_error(ppoll(nullptr, 0, &length, nullptr)); }},
    {"select",
     [](int64_t time) {
       timeval length{time / 1'000'000'000, time % 1'000'000'000 / 1000};
       const int result = or_error(select(0, nullptr, nullptr, nullptr, &length));
       EXPECT_EQ(result == 0, length.tv_sec == 0 && length.tv_usec == 0);
       return result;
     }},
    {"pselect",
     [](int64_t time) {
       const timespec length = length_of(time);
       return or_error(pselect(0, nullptr, nullptr, nullptr, &length, nullptr));
     }},
    {"epoll_wait",
     [](int64_t time) { return or_error(epoll_wait(nothing().epoll, &event, 1, static_cast<int>(time / 1'000'000))); }},
    {"epoll_pwait2",
     [](int64_t time) {
       const timespec length = length_of(time);
       return or_error(epoll_pwait2(nothing().epoll, &event, 1, &length, nullptr));
     }},
};

class Sleeps : public testing::TestWithParam<Sleep> {};

// Through many cycles, and not less long for it.
TEST_P(Sleeps, LastTheirTime) {
  sem_init(&semaphore, 0, 0);
  const Cycles cycles;
  for (int64_t time = 20'000'000;; time *= 2) {
    const uint64_t before = cycles.count();
    const timespec until = plus(now(CLOCK_MONOTONIC), time);
    ASSERT_EQ(GetParam().sleep(time), GetParam().wanted);
    const timespec ended = now(CLOCK_MONOTONIC);
    const bool early = ended.tv_sec < until.tv_sec || (ended.tv_sec == until.tv_sec && ended.tv_nsec < until.tv_nsec);
    ASSERT_FALSE(early && GetParam().name != std::string("sem_timedwait")) << "by a clock that may have been set";
    if (cycles.count() >= before + 5) break;
  }
}

// Sooner or later: these have no mask with which a wait begins, so one that comes just before it is not seen.
TEST_P(Sleeps, EndWithTheProgramsSignals) {
  handle_usr1(set_of(false));
  sem_init(&semaphore, 0, 0);
  const Cycles cycles;
  int result = 0;
  Caller caller([&] { result = GetParam().sleep(int64_t{1000} * 1'000'000'000); });
  while (!caller.done()) {
    pthread_kill(caller.handle(), SIGUSR1);
    sched_yield();
  }
  caller.join();
  if (GetParam().name == std::string("sleep")) {
    EXPECT_TRUE(result > 0 && result <= 1000) << result;
  } else {
    EXPECT_EQ(result, GetParam().name == std::string("thrd_sleep") ? -1 : EINTR);
  }
}

// What sleeps and does nothing else goes on, too, when the collector is used for the first time.
class SleepsAlone : public Sleeps {};

TEST_P(SleepsAlone, LastTheirTimeThroughTheCollectorsFirstUse) {
  in_own_process([] {
    constexpr int64_t kTime = 1'000'000'000;
    sem_init(&semaphore, 0, 0);
    const timespec until = plus(now(CLOCK_MONOTONIC), kTime);
    int result = -1;
    Caller caller([&] { result = GetParam().sleep(kTime); });
    for (const Cycles cycles; !caller.done() || cycles.count() < 2;) usleep(1000);
    caller.join();
    const timespec ended = now(CLOCK_MONOTONIC);
    EXPECT_EQ(result, GetParam().wanted);
    EXPECT_FALSE(ended.tv_sec < until.tv_sec || (ended.tv_sec == until.tv_sec && ended.tv_nsec < until.tv_nsec));
  });
}

INSTANTIATE_TEST_SUITE_P(All, Sleeps, testing::ValuesIn(kSleeps), name_of<Sleep>);
INSTANTIATE_TEST_SUITE_P(All, SleepsAlone, testing::ValuesIn(kSleeps, kSleeps + 6), name_of<Sleep>);

TEST(Nanosleep, SaysWhatIsLeft) {
  handle_usr1(set_of(false));
  for (const bool relative : {false, true}) {
    const Cycles cycles;
    timespec left{-1, 0};
    int result = 0;
    Caller caller([&] {
      result = relative ? clock_nanosleep(CLOCK_MONOTONIC, 0, &kHour, &left) : or_error(nanosleep(&kHour, &left));
    });
    while (!caller.done()) {
      pthread_kill(caller.handle(), SIGUSR1);
      sched_yield();
    }
    caller.join();
    EXPECT_EQ(result, EINTR);
    EXPECT_TRUE(left.tv_sec >= 1800 && left.tv_sec < 3600) << left.tv_sec;
  }
}

TEST(Errors, AreLibcs) {
  wr_gc_collect();
  const timespec wrong{0, 1'000'000'000};
  EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &wrong, nullptr), EINVAL);
  EXPECT_EQ(clock_nanosleep(4711, 0, &kHour, nullptr), EINVAL);
  EXPECT_EQ(or_error(nanosleep(&wrong, nullptr)), EINVAL);
  EXPECT_EQ(or_error(ppoll(nullptr, 0, &wrong, nullptr)), EINVAL);
  EXPECT_EQ(or_error(pselect(0, nullptr, nullptr, nullptr, &wrong, nullptr)), EINVAL);
  timeval negative{-1, 0};
  EXPECT_EQ(or_error(select(0, nullptr, nullptr, nullptr, &negative)), EINVAL);
  EXPECT_EQ(or_error(epoll_wait(-1, &event, 1, -1)), EBADF);
  EXPECT_EQ(or_error(epoll_wait(nothing().epoll, &event, 0, -1)), EINVAL);
}

}  // namespace
}  // namespace warren::gc_tests
