// warren/context_cxx.h: context, background, with_cancel, with_deadline, with_timeout, with_value. Part of
// warren/scheduler.h; in C: warren/context.h. Contexts and their cancel functions are handles, copied as often as one
// likes.
#ifndef WARREN_CONTEXT_CXX_H
#define WARREN_CONTEXT_CXX_H

#include <warren/rooted_cxx.h>
#include <warren/channel_cxx.h>
#include <warren/context.h>
#include <warren/fiber_cxx.h>

#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace warren {

enum class context_error { none, canceled, deadline_exceeded };

namespace detail {

// One address for each type.
template <class T>
inline constexpr char type_mark = 0;

// Texts are kept and compared by what they say, not by where they lie.
template <class T>
using kept = std::conditional_t<
    std::is_same_v<std::decay_t<T>, const char *> || std::is_same_v<std::decay_t<T>, char *> ||
        std::is_same_v<std::decay_t<T>, std::string_view>,
    std::string, std::decay_t<T>>;

struct context_query {
  const void *key_type;
  const void *key;
  const void *value_type;
  void (*found)(void *result, const void *value);
  void *result;
};

template <class Key, class Value>
struct context_entry : rooted {
  context_entry(Key &&k, Value &&v) : key(std::move(k)), value(std::move(v)) {}
  Key key;
  Value value;

  static int find(void *entry, void *asked) {
    const auto *self = static_cast<context_entry *>(entry);
    const auto *query = static_cast<context_query *>(asked);
    if (query->key_type != &type_mark<Key> || !(*static_cast<const Key *>(query->key) == self->key)) return 0;
    query->found(query->result, query->value_type == &type_mark<Value> ? &self->value : nullptr);
    return 1;
  }
  static void drop(void *entry) { delete static_cast<context_entry *>(entry); }
};

}  // namespace detail

class context {
 public:
  context() : c_(wr_context_background()) {}
  context(const context &other) : c_(other.c_) { wr_context_ref(c_); }
  context(context &&other) noexcept : c_(std::exchange(other.c_, wr_context_background())) {}
  context &operator=(context other) noexcept {
    std::swap(c_, other.c_);
    return *this;
  }
  ~context() { wr_context_unref(c_); }

  static context adopt(wr_context *c) {
    if (c == nullptr) throw std::bad_alloc();
    context handle;
    handle.c_ = c;
    return handle;
  }

  // Closed when the context ends; nil for one that never does.
  chan<std::monostate> done() const {
    wr_chan *c = wr_context_done(c_);
    wr_chan_ref(c);
    return chan<std::monostate>::adopt(c);
  }
  context_error err() const { return static_cast<context_error>(wr_context_err(c_)); }

  std::optional<time_point> deadline() const {
    const uint64_t time = wr_context_deadline(c_);
    if (time == WR_NEVER) return std::nullopt;
    return time_point(std::chrono::nanoseconds(static_cast<int64_t>(time)));
  }

  // The value of the nearest with_value with this key; V{} where there is none. A value of another type is a panic.
  template <class V, class Key>
  V value(const Key &key) const {
    using Stored = detail::kept<V>;
    struct Result {
      std::optional<V> value;
      bool mismatch = false;
    } result;
    const detail::kept<Key> kept_key(key);
    detail::context_query query{&detail::type_mark<detail::kept<Key>>, &kept_key, &detail::type_mark<Stored>,
                                [](void *to, const void *value) {
                                  auto *into = static_cast<Result *>(to);
                                  if (value == nullptr) {
                                    into->mismatch = true;
                                  } else if constexpr (std::is_same_v<V, const char *>) {
                                    into->value = static_cast<const Stored *>(value)->c_str();
                                  } else {
                                    into->value.emplace(*static_cast<const Stored *>(value));
                                  }
                                },
                                &result};
    wr_context_value(c_, &query);
    if (result.mismatch) panic("context: the value is of another type");
    if (result.value) return std::move(*result.value);
    if constexpr (std::is_default_constructible_v<V>) {
      return V{};
    } else {
      panic("context: no such value");
    }
  }

  wr_context *get() const { return c_; }

 private:
  wr_context *c_;
};

inline context background() { return context(); }

// Ends its context. Calls after the first do nothing.
class cancel_func {
 public:
  explicit cancel_func(context c) : context_(std::move(c)) {}
  void operator()() const { wr_context_cancel(context_.get()); }

 private:
  context context_;
};

struct cancelable {
  context ctx;
  cancel_func cancel;
};

[[nodiscard]] inline cancelable with_cancel(const context &parent) {
  context c = context::adopt(wr_context_with_cancel(parent.get()));
  return {c, cancel_func(c)};
}

[[nodiscard]] inline cancelable with_deadline(const context &parent, time_point deadline) {
  context c = context::adopt(wr_context_with_deadline(parent.get(), detail::nanoseconds_of(deadline)));
  return {c, cancel_func(c)};
}

template <class Rep, class Period>
[[nodiscard]] cancelable with_timeout(const context &parent, std::chrono::duration<Rep, Period> d) {
  const int64_t duration = detail::nanoseconds_of(d);
  const uint64_t time = wr_now_ns();
  const uint64_t deadline = duration < 0 ? time : time + static_cast<uint64_t>(duration);
  context c = context::adopt(wr_context_with_deadline(parent.get(), deadline));
  return {c, cancel_func(c)};
}

template <class Key, class Value>
[[nodiscard]] context with_value(const context &parent, Key &&key, Value &&value) {
  using Entry = detail::context_entry<detail::kept<Key>, detail::kept<Value>>;
  auto entry = std::unique_ptr<Entry>(
      new Entry(detail::kept<Key>(std::forward<Key>(key)), detail::kept<Value>(std::forward<Value>(value))));
  context c = context::adopt(wr_context_with_value(parent.get(), entry.get(), Entry::find, Entry::drop));
  entry.release();
  return c;
}

[[nodiscard]] inline context without_cancel(const context &parent) {
  return context::adopt(wr_context_without_cancel(parent.get()));
}

// Runs f on a fiber of its own once ctx has ended. The result, called, keeps it from that: true if it has.
template <class F>
auto after_func(const context &ctx, F f) {
  using Closure = detail::rooted_closure<F>;
  auto closure = std::make_unique<Closure>(std::move(f));
  context c = context::adopt(wr_context_after_func(
      ctx.get(), [](void *argument) { detail::run_to_end(static_cast<Closure *>(argument)->call); }, closure.get(),
      [](void *argument) { delete static_cast<Closure *>(argument); }));
  closure.release();
  return [c] { return wr_context_cancel(c.get()) == 1; };
}

}  // namespace warren

#endif
