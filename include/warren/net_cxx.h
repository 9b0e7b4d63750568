// warren/net_cxx.h: net::listen, net::dial, net::conn. Part of warren/scheduler.h; in C: warren/net.h.
// Listeners and connections are handles, copied as often as one likes; the last one closes. Each failure throws
// net::error.
#ifndef WARREN_NET_CXX_H
#define WARREN_NET_CXX_H

#include <warren/fiber_cxx.h>
#include <warren/net.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace warren::net {

inline constexpr time_point never = time_point::max();

// An errno. Compares with the numbers of <cerrno> and with std::errc alike.
class error_number {
 public:
  explicit error_number(int value) : value_(value) {}
  int value() const { return value_; }
  operator int() const { return value_; }
  operator std::error_code() const { return {value_, std::generic_category()}; }
  friend bool operator==(error_number a, std::errc b) { return a.value_ == static_cast<int>(b); }

 private:
  int value_;
};

class error : public std::system_error {
 public:
  error(int number, const std::string &what) : std::system_error(number, std::generic_category(), what) {}
  error_number code() const noexcept { return error_number(std::system_error::code().value()); }
};

namespace detail {

inline uint64_t deadline_of(time_point time) { return time == never ? WR_NEVER : warren::detail::nanoseconds_of(time); }

inline void check(int64_t result, const char *what) {
  if (result < 0) throw error(static_cast<int>(-result), what);
}

// A counted reference to a wr_socket.
class socket_handle {
 public:
  socket_handle() = default;
  explicit socket_handle(wr_socket *s) : s_(s) {}
  socket_handle(const socket_handle &other) : s_(other.s_) {
    if (s_ != nullptr) wr_net_ref(s_);
  }
  socket_handle(socket_handle &&other) noexcept : s_(std::exchange(other.s_, nullptr)) {}
  socket_handle &operator=(socket_handle other) noexcept {
    std::swap(s_, other.s_);
    return *this;
  }
  ~socket_handle() {
    if (s_ != nullptr) wr_net_unref(s_);
  }
  // A handle that was moved from, or holds nothing yet, is like one that was closed.
  wr_socket *get(const char *what) const {
    if (s_ == nullptr) throw error(ECANCELED, what);
    return s_;
  }
  wr_socket *get() const { return s_; }

 private:
  wr_socket *s_ = nullptr;
};

}  // namespace detail

class conn {
 public:
  conn() = default;
  explicit conn(wr_socket *s) : handle_(s) {}

  // As soon as there is anything; 0 at the end of the stream.
  size_t read(std::span<std::byte> to) const {
    const int64_t n = wr_net_read(handle_.get("read"), to.data(), to.size());
    detail::check(n, "read");
    return static_cast<size_t>(n);
  }
  // All of it.
  void write(std::span<const std::byte> from) const {
    detail::check(wr_net_write(handle_.get("write"), from.data(), from.size()), "write");
  }
  // A template, so that braces mean a span: write({}), write({data, size}).
  template <class Text>
    requires std::is_convertible_v<const Text &, std::string_view>
  void write(const Text &text) const {
    const std::string_view view = text;
    write(std::as_bytes(std::span(view)));
  }

  void shutdown_write() const { detail::check(wr_net_shutdown_write(handle_.get("shutdown")), "shutdown"); }
  void set_deadline(time_point deadline) const {
    wr_net_set_deadline(handle_.get("set_deadline"), detail::deadline_of(deadline));
  }
  void close() const {
    if (handle_.get() != nullptr) wr_net_close(handle_.get());
  }
  std::string local_addr() const { return wr_net_local_address(handle_.get("local_addr")); }
  std::string remote_addr() const { return wr_net_remote_address(handle_.get("remote_addr")); }

 private:
  detail::socket_handle handle_;
};

class listener {
 public:
  listener() = default;
  explicit listener(wr_socket *s) : handle_(s) {}

  conn accept() const {
    wr_socket *s = nullptr;
    detail::check(wr_net_accept(handle_.get("accept"), &s), "accept");
    return conn(s);
  }
  void set_deadline(time_point deadline) const {
    wr_net_set_deadline(handle_.get("set_deadline"), detail::deadline_of(deadline));
  }
  void close() const {
    if (handle_.get() != nullptr) wr_net_close(handle_.get());
  }
  std::string addr() const { return wr_net_local_address(handle_.get("addr")); }

 private:
  detail::socket_handle handle_;
};

inline listener listen(std::string_view address) {
  wr_socket *s = nullptr;
  const std::string text(address);
  detail::check(wr_net_listen(text.c_str(), &s), ("listen " + text).c_str());
  return listener(s);
}

inline conn dial(std::string_view address, time_point deadline = never) {
  wr_socket *s = nullptr;
  const std::string text(address);
  detail::check(wr_net_dial(text.c_str(), detail::deadline_of(deadline), &s), ("dial " + text).c_str());
  return conn(s);
}

}  // namespace warren::net

#endif
