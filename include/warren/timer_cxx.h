// warren/timer_cxx.h: timer, ticker, after, after_func. Part of warren/scheduler.h; in C: warren/timer.h.
// The channels carry the time at which they fired, as steady_clock knows it: the bytes of a time_point.
#ifndef WARREN_TIMER_CXX_H
#define WARREN_TIMER_CXX_H

#include <warren/rooted_cxx.h>
#include <warren/channel_cxx.h>
#include <warren/fiber_cxx.h>
#include <warren/timer.h>

#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace warren {

namespace detail {

static_assert(sizeof(time_point) == sizeof(int64_t) && std::is_trivially_copyable_v<time_point>);

// A counted reference to a wr_timer.
class timer_handle {
 public:
  timer_handle() = default;
  explicit timer_handle(wr_timer *t) : t_(t) {
    if (t_ == nullptr) throw std::bad_alloc();
  }
  timer_handle(const timer_handle &other) : t_(other.t_) {
    if (t_ != nullptr) wr_timer_ref(t_);
  }
  timer_handle(timer_handle &&other) noexcept : t_(std::exchange(other.t_, nullptr)) {}
  timer_handle &operator=(timer_handle other) noexcept {
    std::swap(t_, other.t_);
    return *this;
  }
  ~timer_handle() {
    if (t_ != nullptr) wr_timer_unref(t_);
  }
  wr_timer *get() const { return t_; }
  chan<time_point> channel() const {
    wr_chan *c = wr_timer_chan(t_);
    wr_chan_ref(c);
    return chan<time_point>::adopt(c);
  }

 private:
  wr_timer *t_ = nullptr;
};

}  // namespace detail

// Fires once. Source: time.Timer.
class timer {
  detail::timer_handle handle_;  // before c: it is where c comes from

 public:
  template <class Rep, class Period>
  explicit timer(std::chrono::duration<Rep, Period> d)
      : timer(detail::timer_handle(wr_timer_make(detail::nanoseconds_of(d)))) {}
  explicit timer(detail::timer_handle handle) : handle_(std::move(handle)), c(handle_.channel()) {}

  bool stop() { return wr_timer_stop(handle_.get()) == 1; }
  template <class Rep, class Period>
  bool reset(std::chrono::duration<Rep, Period> d) {
    return wr_timer_reset(handle_.get(), detail::nanoseconds_of(d)) == 1;
  }

  chan<time_point> c;
};

// Fires each period, and leaves out what nobody was there to receive. Source: time.Ticker.
class ticker {
  detail::timer_handle handle_;

  template <class Duration>
  static int64_t checked(Duration d, const char *text) {
    const int64_t period = detail::nanoseconds_of(d);
    if (period <= 0) panic(text);
    return period;
  }

 public:
  template <class Rep, class Period>
  explicit ticker(std::chrono::duration<Rep, Period> d)
      : handle_(wr_ticker_make(checked(d, "non-positive interval for NewTicker"))), c(handle_.channel()) {}

  void stop() { wr_timer_stop(handle_.get()); }
  template <class Rep, class Period>
  void reset(std::chrono::duration<Rep, Period> d) {
    wr_timer_reset(handle_.get(), checked(d, "non-positive interval for Ticker.Reset"));
  }

  chan<time_point> c;
};

template <class Rep, class Period>
chan<time_point> after(std::chrono::duration<Rep, Period> d) {
  wr_chan *c = wr_after(detail::nanoseconds_of(d));
  if (c == nullptr) throw std::bad_alloc();
  return chan<time_point>::adopt(c);
}

// The timer's channel is nil; stop() tells whether f will not run.
template <class Rep, class Period, class F>
timer after_func(std::chrono::duration<Rep, Period> d, F f) {
  using Closure = detail::rooted_closure<F>;
  auto closure = std::make_unique<Closure>(std::move(f));
  wr_timer *t = wr_timer_make_func(
      detail::nanoseconds_of(d),
      [](void *argument) { detail::run_to_end(static_cast<Closure *>(argument)->call); },  // exit_fiber is its end as well
      closure.get(), [](void *argument) { delete static_cast<Closure *>(argument); });
  detail::timer_handle handle(t);
  closure.release();
  return timer(std::move(handle));
}

}  // namespace warren

#endif
