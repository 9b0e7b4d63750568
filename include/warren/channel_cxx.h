// warren/channel_cxx.h: chan<T>, make_chan, select. Part of warren/scheduler.h; the C functions are in
// warren/channel.h. Values are moved by functions that the library calls; where the bytes are all there is to a T, it
// copies bytes.
#ifndef WARREN_CHANNEL_CXX_H
#define WARREN_CHANNEL_CXX_H

#include <warren/channel.h>
#include <warren/fiber_cxx.h>
#include <warren/rooted_cxx.h>

#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace warren {

enum class recv_status { received, empty, closed };

namespace detail {

// What a T that cannot travel as itself travels in.
template <class T>
struct element_box : rooted {
  explicit element_box(T &&from) : value(std::move(from)) {}
  T value;
};

// How a T travels: as itself where moving it cannot fail and it is not huge, else in a box on the heap.
template <class T>
struct element {
  static constexpr bool boxed =
      !std::is_nothrow_move_constructible_v<T> || sizeof(T) > 1024 || alignof(T) > 16;
  using stored = std::conditional_t<boxed, element_box<T> *, T>;

  static void relocate(void *to, void *from) {
    auto *value = static_cast<stored *>(from);
    ::new (to) stored(std::move(*value));
    value->~stored();
  }
  static void destroy(void *value) {
    if constexpr (boxed) {
      delete *static_cast<stored *>(value);
    } else {
      static_cast<T *>(value)->~T();
    }
  }
  static constexpr bool bytes = boxed || std::is_trivially_copyable_v<T>;
  static constexpr wr_element how{sizeof(stored), bytes ? nullptr : relocate,
                                  boxed || !std::is_trivially_destructible_v<T> ? destroy : nullptr};
};

// Memory for one element, with a value in it or without.
template <class T>
class slot {
 public:
  slot() {}
  explicit slot(T &&value) : full_(true) {
    if constexpr (element<T>::boxed) {
      stored_ = new element_box<T>(std::move(value));
    } else {
      ::new (static_cast<void *>(&stored_)) T(std::move(value));
    }
  }
  slot(slot &&other) noexcept : full_(other.full_) {
    if (full_) element<T>::relocate(&stored_, &other.stored_);
    other.full_ = false;
  }
  slot &operator=(slot &&) = delete;
  ~slot() {
    if (full_) element<T>::destroy(&stored_);
  }

  bool full() const { return full_; }
  void *address() { return &stored_; }
  void filled(bool full) { full_ = full; }

  T &value() {
    if constexpr (element<T>::boxed) {
      return stored_->value;
    } else {
      return stored_;
    }
  }

 private:
  union {
    typename element<T>::stored stored_;
  };
  bool full_ = false;
};

}  // namespace detail

template <class T>
class chan {
 public:
  using value_type = T;

  chan() = default;
  chan(const chan &other) : c_(other.c_) { wr_chan_ref(c_); }
  chan(chan &&other) noexcept : c_(std::exchange(other.c_, nullptr)) {}
  chan &operator=(chan other) noexcept {
    std::swap(c_, other.c_);
    return *this;
  }
  ~chan() {
    if (c_ != nullptr) wr_chan_unref(c_);
  }

  // Takes over a reference of a channel of the C functions.
  static chan adopt(wr_chan *c) {
    chan handle;
    handle.c_ = c;
    return handle;
  }

  void send(T value) const {
    int status;
    if constexpr (detail::element<T>::bytes && !detail::element<T>::boxed) {
      status = wr_chan_send(c_, std::addressof(value));
    } else {
      detail::slot<T> slot(std::move(value));
      status = wr_chan_send(c_, slot.address());
      slot.filled(status != WR_CHAN_DONE);
      if (status != WR_CHAN_DONE) panic("send on closed channel");
    }
    if (status != WR_CHAN_DONE) panic("send on closed channel");
  }

  std::optional<T> recv() const {
    detail::slot<T> slot;
    if (wr_chan_recv(c_, slot.address()) != WR_CHAN_DONE) return std::nullopt;
    slot.filled(true);
    return std::optional<T>(std::move(slot.value()));
  }

  bool try_send(T value) const {
    detail::slot<T> slot(std::move(value));
    const int status = wr_chan_try_send(c_, slot.address());
    slot.filled(status != WR_CHAN_DONE);
    if (status == WR_CHAN_CLOSED) panic("send on closed channel");
    return status == WR_CHAN_DONE;
  }

  // `out` is written only where a value was received.
  recv_status try_recv(T &out) const {
    detail::slot<T> slot;
    switch (wr_chan_try_recv(c_, slot.address())) {
      case WR_CHAN_DONE:
        slot.filled(true);
        out = std::move(slot.value());
        return recv_status::received;
      case WR_CHAN_CLOSED: return recv_status::closed;
      default: return recv_status::empty;
    }
  }

  void close() const {
    switch (wr_chan_close(c_)) {
      case WR_CHAN_CLOSED: panic("close of closed channel");
      case WR_CHAN_NIL: panic("close of nil channel");
      default: break;
    }
  }

  size_t len() const { return wr_chan_len(c_); }
  size_t cap() const { return wr_chan_cap(c_); }

  explicit operator bool() const { return c_ != nullptr; }
  bool operator==(const chan &other) const { return c_ == other.c_; }
  wr_chan *get() const { return c_; }

  // for (T &value : c): until it is closed and drained.
  class iterator {
   public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = T *;
    using reference = T &;
    using iterator_category = std::input_iterator_tag;

    iterator() = default;
    explicit iterator(const chan *from) : from_(from) { ++*this; }
    T &operator*() const { return *value_; }
    T *operator->() const { return &*value_; }
    iterator &operator++() {
      value_.reset();
      if (std::optional<T> next = from_->recv()) value_.emplace(std::move(*next));
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(const iterator &other) const { return value_.has_value() == other.value_.has_value(); }

   private:
    const chan *from_ = nullptr;
    mutable std::optional<T> value_;
  };
  iterator begin() const { return iterator(this); }
  iterator end() const { return iterator(); }

 private:
  wr_chan *c_ = nullptr;
};

template <class T>
chan<T> make_chan(size_t capacity = 0) {
  wr_chan *c = wr_chan_make_of(&detail::element<T>::how, capacity);
  if (c == nullptr) panic("makechan: size out of range");
  return chan<T>::adopt(c);
}

namespace detail {

// A case names a channel that outlives it, or keeps the handle it was given.
template <class T, bool kOwns>
struct case_channel {
  chan<T> handle;
  wr_chan *get() const { return handle.get(); }
};
template <class T>
struct case_channel<T, false> {
  const chan<T> *handle;
  wr_chan *get() const { return handle->get(); }
};

template <class T, bool kOwns, class F>
struct receive_case {
  case_channel<T, kOwns> channel;
  F body;
  slot<T> place{};

  void fill(wr_select_case &c) {
    if (place.full()) element<T>::destroy(place.address());  // of a select before
    place.filled(false);
    c.chan = channel.get(), c.element = place.address(), c.send = 0;
  }
  void run(int status) {
    place.filled(status == WR_CHAN_DONE);
    if constexpr (std::is_invocable_v<F &, std::optional<T>>) {
      std::optional<T> value;
      if (status == WR_CHAN_DONE) value.emplace(std::move(place.value()));
      body(std::move(value));
    } else {
      body();
    }
  }
};

template <class T, bool kOwns, class F>
struct send_case {
  case_channel<T, kOwns> channel;
  slot<T> value;
  F body;

  void fill(wr_select_case &c) {
    if (!value.full()) panic("select: the value of this on_send has been sent already");
    c.chan = channel.get(), c.element = value.address(), c.send = 1;
  }
  void run(int status) {
    value.filled(status != WR_CHAN_DONE);
    if (status != WR_CHAN_DONE) panic("send on closed channel");
    body();
  }
};

template <class F>
struct default_case {
  F body;
};

template <class C>
inline constexpr bool is_default = false;
template <class F>
inline constexpr bool is_default<default_case<F>> = true;

struct nothing {
  void operator()() const {}
};

}  // namespace detail

// The cases of select. A channel given as a temporary is kept alive by its case, one given by name must outlive it.
// The body of a receive takes std::optional<T> (nullopt: closed), or nothing.
template <class T, class F = detail::nothing>
auto on_recv(const chan<T> &c, F body = {}) {
  return detail::receive_case<T, false, F>{{&c}, std::move(body)};
}
template <class T, class F = detail::nothing>
auto on_recv(chan<T> &&c, F body = {}) {
  return detail::receive_case<T, true, F>{{std::move(c)}, std::move(body)};
}
template <class T, class F = detail::nothing>
auto on_send(const chan<T> &c, std::type_identity_t<T> value, F body = {}) {
  return detail::send_case<T, false, F>{{&c}, detail::slot<T>(std::move(value)), std::move(body)};
}
template <class T, class F = detail::nothing>
auto on_send(chan<T> &&c, std::type_identity_t<T> value, F body = {}) {
  return detail::send_case<T, true, F>{{std::move(c)}, detail::slot<T>(std::move(value)), std::move(body)};
}
template <class F = detail::nothing>
auto on_default(F body = {}) {
  return detail::default_case<F>{std::move(body)};
}

// Runs exactly one ready case and returns its place among the arguments. Where none is ready: on_default, or waits.
template <class... Cases>
int select(Cases &&...cases) {
  constexpr int kDefaults = (0 + ... + int{detail::is_default<std::remove_cvref_t<Cases>>});
  static_assert(kDefaults <= 1, "select takes one on_default at most");
  constexpr size_t kOperations = sizeof...(Cases) - kDefaults;
  wr_select_case operations[kOperations + 1];
  size_t filled = 0;
  [[maybe_unused]] const auto fill = [&](auto &c) {
    if constexpr (!detail::is_default<std::remove_cvref_t<decltype(c)>>) c.fill(operations[filled++]);
  };
  (fill(cases), ...);
  const int chosen = wr_select(operations, kOperations, kDefaults == 0);

  int result = -1;
  int place = 0;
  int operation = 0;
  [[maybe_unused]] const auto run = [&](auto &c) {
    if constexpr (detail::is_default<std::remove_cvref_t<decltype(c)>>) {
      if (chosen == WR_SELECT_DEFAULT) {
        result = place;
        c.body();
      }
    } else if (operation++ == chosen) {
      result = place;
      c.run(operations[chosen].status);
    }
    ++place;
  };
  (run(cases), ...);
  return result;
}

}  // namespace warren

#endif
