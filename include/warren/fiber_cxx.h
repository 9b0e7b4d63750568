// warren/fiber_cxx.h: run, go, blocking, panic, defer: the C++ face of warren/scheduler_core.h. Part of
// warren/scheduler.h. A fiber's function is called inside a frame that nothing leaves: exit_fiber ends there, and any
// other exception ends the process with "panic: ", its text and the stacks of all fibers; so does std::terminate, its own way.
#ifndef WARREN_FIBER_CXX_H
#define WARREN_FIBER_CXX_H

#include <warren/rooted_cxx.h>
#include <warren/scheduler_core.h>

#include <cxxabi.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace warren {

using time_point = std::chrono::steady_clock::time_point;

// What panic throws. Source: a Go panic; to catch it is to recover. It knows where it was made: when it ends the
// process, the fiber's frames are gone, but the report shows them.
class panic_error : public std::runtime_error {
 public:
  explicit panic_error(const std::string &text) : runtime_error(text), count_(wr_stack_here(frames_, kMost)) {}

  // Of the calls around it, innermost first.
  void *const *frames() const noexcept { return frames_; }
  int frame_count() const noexcept { return count_; }

 private:
  static constexpr int kMost = 48;
  void *frames_[kMost];
  int count_;
};

[[noreturn]] inline void panic(std::string text) { throw panic_error(text); }

namespace detail {

// What exit_fiber throws. Not an std::exception: only catch (...) sees it, and has to rethrow it.
struct fiber_exit {};

// Hands the exception being handled to `tell`: its text, and the calls around its throw where it knows them.
inline void tell_exception(void (*tell)(const char *text, void *const *frames, int count)) {
  try {
    throw;
  } catch (const panic_error &error) {
    tell(error.what(), error.frames(), error.frame_count());
  } catch (const std::exception &error) {
    tell(error.what(), nullptr, 0);
  } catch (const std::string &text) {
    tell(text.c_str(), nullptr, 0);
  } catch (const char *text) {
    tell(text, nullptr, 0);
  } catch (const fiber_exit &) {
    tell("exit_fiber where nothing may be thrown", nullptr, 0);
  } catch (...) {
    tell("an exception of unknown type", nullptr, 0);
  }
}

// The end of the process for the exception being handled. Out of line: what it takes costs those nothing that end well.
[[noreturn]] __attribute__((noinline, cold)) inline void end_by_exception() {
  tell_exception([](const char *text, void *const *frames, int count) { wr_fatal_panic_at(text, frames, count); });
  __builtin_unreachable();
}

// std::terminate() during a run: an exception that may not leave where it got to, or has nobody to take it. On a fiber all
// fibers are shown first; how the process ends is for the handler that was there before.
class terminate_report {
 public:
  terminate_report() {
    const std::terminate_handler found = std::get_terminate();
    if (found == report) return;  // a run is under way already
    before_.store(found, std::memory_order_release);  // pairs with report()
    std::set_terminate(report);
    installed_ = true;
  }
  terminate_report(const terminate_report &) = delete;
  terminate_report &operator=(const terminate_report &) = delete;
  ~terminate_report() {
    if (installed_ && std::get_terminate() == report) std::set_terminate(before_.load(std::memory_order_relaxed));
  }

 private:
  [[noreturn]] static void report() {
    if (wr_fiber_id() != 0) {
      if (std::current_exception() != nullptr) {
        tell_exception(wr_report_terminate);
      } else {
        wr_report_terminate("no exception is being handled", nullptr, 0);
      }
    }
    if (const std::terminate_handler before = before_.load(std::memory_order_acquire)) before();
    std::abort();
  }

  static inline std::atomic<std::terminate_handler> before_{nullptr};
  bool installed_ = false;
};

template <class F>
int call_until_exit(void *f) {
  try {
    (*static_cast<F *>(f))();
    return 1;
  } catch (const fiber_exit &) {
    return 0;
  }
}

// Runs f. Returns false where exit_fiber ended it. noexcept: a cancellation of the thread is the end of the process.
template <class F>
bool run_to_end(F &f) noexcept {
  try {
    return wr_call_watched(call_until_exit<F>, std::addressof(f)) != 0;
  } catch (const abi::__forced_unwind &) {
    wr_fatal_panic("a fiber's thread was cancelled, or ended with pthread_exit");
  } catch (...) {
    end_by_exception();
  }
}

// The root of a fiber. The closure is destroyed on the fiber, before it ends.
template <class F>
void fiber_root(void *argument) {
  bool returned;
  {
    std::unique_ptr<rooted_closure<F>> f(static_cast<rooted_closure<F> *>(argument));
    returned = run_to_end(f->call);
  }
  if (!returned) wr_end_fiber();
}

// The same for a closure on the fiber's own stack.
template <class F>
void fiber_root_on_stack(void *argument) {
  bool returned;
  {
    struct Destroy {
      F *f;
      ~Destroy() { f->~F(); }
    } destroy{static_cast<F *>(argument)};
    returned = run_to_end(*destroy.f);
  }
  if (!returned) wr_end_fiber();
}

template <class F>
void move_closure(void *to, void *from) {
  ::new (to) F(std::move(*static_cast<F *>(from)));
}

template <class F>
inline constexpr bool fits_on_stack =
    sizeof(F) <= WR_CLOSURE_ROOM && alignof(F) <= 16 && std::is_nothrow_move_constructible_v<F>;

template <class F>
void start_fiber(F &&f, const wr_fiber_options *options) {
  using Closure = std::decay_t<F>;
  if constexpr (fits_on_stack<Closure>) {
    Closure closure(std::forward<F>(f));
    const int error = wr_go_moved(fiber_root_on_stack<Closure>, &closure, sizeof closure, move_closure<Closure>, options);
    if (error != 0) throw std::system_error(-error, std::generic_category(), "warren::go");
    return;
  }
  auto closure = std::make_unique<rooted_closure<Closure>>(std::forward<F>(f));
  const int error = wr_go(fiber_root<Closure>, closure.get(), options);
  if (error != 0) throw std::system_error(-error, std::generic_category(), "warren::go");
  closure.release();
}

inline uint64_t nanoseconds_of(time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  return since < 0 ? 0 : static_cast<uint64_t>(since);
}

// A duration of any unit, without the overflow of std::chrono::hours::max() and the like.
template <class Rep, class Period>
int64_t nanoseconds_of(std::chrono::duration<Rep, Period> d) {
  using nanoseconds = std::chrono::nanoseconds;
  if constexpr (!std::chrono::treat_as_floating_point_v<Rep>) {
    if (d == d.zero()) return 0;
  }
  const auto seconds = std::chrono::duration<double>(d).count();
  if (seconds >= 9.2e9) return INT64_MAX;
  if (seconds <= -9.2e9) return INT64_MIN;
  return std::chrono::duration_cast<nanoseconds>(d).count();
}

}  // namespace detail

// Starts the runtime, runs f as fiber 1 and returns its int (void: 0). The other fibers are then abandoned, as in Go.
template <class F>
int run(F &&f) {
  struct Main {
    std::remove_reference_t<F> *f;
    int result = 0;
  } main{std::addressof(f)};
  const detail::terminate_report while_running;
  const int error = wr_run(
      [](void *argument) -> int {
        auto *m = static_cast<Main *>(argument);
        auto body = [m] {
          if constexpr (std::is_void_v<std::invoke_result_t<F &>>) {
            std::invoke(*m->f);
          } else {
            m->result = static_cast<int>(std::invoke(*m->f));
          }
        };
        if (!detail::run_to_end(body)) wr_end_fiber();
        return 0;
      },
      &main);
  if (error != 0) throw std::system_error(-error, std::generic_category(), "warren::run");
  return main.result;
}

struct fiber_options {
  size_t stack_size = 0;  // 0: the default
  std::string name = {};
};

// Starts a fiber. Function and arguments are copied, as std::thread does. std::system_error: no memory for it, or no
// run().
template <class F, class... Args>
  requires(!std::is_same_v<std::remove_cvref_t<F>, fiber_options>)
void go(F &&f, Args &&...args) {
  if constexpr (sizeof...(Args) == 0) {
    detail::start_fiber(std::forward<F>(f), nullptr);
  } else {
    detail::start_fiber(
        [f = std::decay_t<F>(std::forward<F>(f)),
         bound = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)]() mutable {
          std::apply([&f](auto &...each) { std::invoke(std::move(f), std::move(each)...); }, bound);
        },
        nullptr);
  }
}

template <class F, class... Args>
void go(const fiber_options &options, F &&f, Args &&...args) {
  const wr_fiber_options c_options{options.stack_size, options.name.empty() ? nullptr : options.name.c_str()};
  detail::start_fiber(
      [f = std::decay_t<F>(std::forward<F>(f)),
         bound = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)]() mutable {
        std::apply([&f](auto &...each) { std::invoke(std::move(f), std::move(each)...); }, bound);
      },
      &c_options);
}

inline void yield() { wr_yield(); }
inline void preempt_point() { wr_preempt_point(); }

// Ends the calling fiber: destructors and deferred calls run, others go on. On a plain thread: ends the thread
// likewise.
[[noreturn]] inline void exit_fiber() {
  if (wr_fiber_id() == 0) pthread_exit(nullptr);
  throw detail::fiber_exit();
}

inline uint64_t fiber_id() { return wr_fiber_id(); }
inline size_t fiber_count() { return wr_fiber_count(); }
inline int max_procs(int n = 0) { return wr_max_procs(n); }
inline void lock_os_thread() { wr_lock_os_thread(); }
inline void unlock_os_thread() { wr_unlock_os_thread(); }

template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> d) {
  wr_sleep_ns(detail::nanoseconds_of(d));
}
inline void sleep_until(time_point time) { wr_sleep_until_ns(detail::nanoseconds_of(time)); }

// Runs f, which may block its thread, while other fibers get this one's place.
template <class F>
auto blocking(F &&f) -> std::invoke_result_t<F> {
  struct Blocking {
    Blocking() { wr_enter_blocking(); }
    ~Blocking() { wr_exit_blocking(); }
  } scope;
  return std::invoke(std::forward<F>(f));
}

// Runs f at the end of the scope, however that comes.
template <class F>
struct [[nodiscard]] defer {
  defer(F f) : f_(std::move(f)) {}  // not explicit: defer d = [&] { … };
  defer(const defer &) = delete;
  defer &operator=(const defer &) = delete;
  ~defer() noexcept(false) {
    if (std::uncaught_exceptions() == exceptions_) {
      f_();
      return;
    }
    // Two panics at once: the second ends the process, with its own text and not std::terminate's.
    detail::run_to_end(f_);
  }

 private:
  F f_;
  int exceptions_ = std::uncaught_exceptions();
};

namespace detail {

// Runs f where its scope is left by unwinding; who gets to the end of it takes that back. Unlike defer it need not know, at its
// beginning and at its end, how many exceptions are in flight, which is a call each time.
template <class F>
struct [[nodiscard]] on_unwind {
  on_unwind(F f) : f_(std::move(f)) {}
  on_unwind(const on_unwind &) = delete;
  on_unwind &operator=(const on_unwind &) = delete;
  ~on_unwind() {
    if (armed_) run_to_end(f_);
  }
  void disarm() { armed_ = false; }

 private:
  F f_;
  bool armed_ = true;
};

}  // namespace detail

inline int wait_fd(int fd, short events, time_point deadline = time_point::max()) {
  return wr_wait_fd(fd, events, deadline == time_point::max() ? WR_NEVER : detail::nanoseconds_of(deadline));
}

}  // namespace warren

#endif
