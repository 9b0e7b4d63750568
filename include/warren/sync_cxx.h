// warren/sync_cxx.h: mutex, rw_mutex, wait_group, once, cond, semaphore, pool. Part of warren/scheduler.h; in C:
// warren/sync.h. mutex and rw_mutex are what std::lock_guard, unique_lock, scoped_lock and shared_lock expect.
#ifndef WARREN_SYNC_CXX_H
#define WARREN_SYNC_CXX_H

#include <warren/fiber_cxx.h>
#include <warren/sync.h>

#include <functional>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace warren {

class mutex {
 public:
  constexpr mutex() = default;
  mutex(const mutex &) = delete;
  mutex &operator=(const mutex &) = delete;

  // Nobody else there is one exchange, here; the rest is in the library. The look before it saves an exchange that
  // would fail, and would take the word away from its owner.
  void lock() {
    uint32_t seen = __atomic_load_n(&m_.state, __ATOMIC_RELAXED);
    if ((seen & 1) != 0 ||
        !__atomic_compare_exchange_n(&m_.state, &seen, seen | 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
      wr_mutex_lock(&m_);
    }
  }
  bool try_lock() { return wr_mutex_try_lock(&m_) != 0; }
  void unlock() { wr_mutex_unlock(&m_); }
  wr_mutex *get() { return &m_; }

 private:
  wr_mutex m_ = WR_INIT;
};

class rw_mutex {
 public:
  constexpr rw_mutex() = default;
  rw_mutex(const rw_mutex &) = delete;
  rw_mutex &operator=(const rw_mutex &) = delete;

  void lock() { wr_rw_mutex_lock(&m_); }
  bool try_lock() { return wr_rw_mutex_try_lock(&m_) != 0; }
  void unlock() { wr_rw_mutex_unlock(&m_); }
  void lock_shared() { wr_rw_mutex_rlock(&m_); }
  bool try_lock_shared() { return wr_rw_mutex_try_rlock(&m_) != 0; }
  void unlock_shared() { wr_rw_mutex_runlock(&m_); }
  wr_rw_mutex *get() { return &m_; }

 private:
  wr_rw_mutex m_ = WR_INIT;
};

class wait_group {
 public:
  constexpr wait_group() = default;
  wait_group(const wait_group &) = delete;
  wait_group &operator=(const wait_group &) = delete;

  void add(int delta) {
    if (wr_wait_group_add(&g_, delta) != 0) panic("sync: negative WaitGroup counter");
  }
  void done() { add(-1); }
  void wait() { wr_wait_group_wait(&g_); }

  // Runs f on a fiber and counts it. The group must live until it is done.
  template <class F>
  void go(F &&f) {
    add(1);
    detail::on_unwind not_started([this] { done(); });
    warren::go([this, f = std::optional<std::decay_t<F>>(std::forward<F>(f))]() mutable {
      const auto end = [this, &f] {
        f.reset();  // what f holds may lie with the one that waits
        done();
      };
      detail::on_unwind cut_short(end);
      (*f)();
      cut_short.disarm();
      end();
    });
    not_started.disarm();
  }
  wr_wait_group *get() { return &g_; }

 private:
  wr_wait_group g_ = WR_INIT;
};

class once {
 public:
  constexpr once() = default;
  once(const once &) = delete;
  once &operator=(const once &) = delete;

  // Runs f, the first time. A call that panics counts as done. A call inside f waits for ever, as in Go.
  template <class F>
  void call(F &&f) {
    // acquire: pairs with the release in wr_once_end.
    if (__atomic_load_n(&o_.done, __ATOMIC_ACQUIRE) != 0 || wr_once_begin(&o_) == 0) return;
    defer finish([this] { wr_once_end(&o_); });
    std::invoke(std::forward<F>(f));
  }

 private:
  wr_once o_ = WR_INIT;
};

class cond {
 public:
  explicit cond(mutex &m) : mutex_(m) {}
  cond(const cond &) = delete;
  cond &operator=(const cond &) = delete;

  void wait() { wr_cond_wait(&c_, mutex_.get()); }
  template <class Condition>
  void wait(Condition condition) {
    while (!condition()) wait();
  }
  void signal() { wr_cond_signal(&c_); }
  void broadcast() { wr_cond_broadcast(&c_); }

 private:
  mutex &mutex_;
  wr_cond c_ = WR_INIT;
};

class semaphore {
 public:
  explicit semaphore(int n) { s_.available = n; }
  semaphore(const semaphore &) = delete;
  semaphore &operator=(const semaphore &) = delete;

  void acquire(int n = 1) { wr_semaphore_acquire(&s_, checked(n)); }
  bool try_acquire(int n = 1) { return wr_semaphore_try_acquire(&s_, checked(n)) != 0; }
  void release(int n = 1) { wr_semaphore_release(&s_, checked(n)); }

 private:
  static int checked(int n) {
    if (n < 0) panic("semaphore: negative count");
    return n;
  }
  wr_semaphore s_ = WR_INIT;
};

// Objects come from `make` with new, or from the collector's heap. get() gives one that was put, else a new one.
template <class T>
class pool {
 public:
  explicit pool(std::function<T *()> make) : make_(std::move(make)), p_(wr_pool_make(dispose)) {
    if (p_ == nullptr) throw std::bad_alloc();
  }
  pool(const pool &) = delete;
  pool &operator=(const pool &) = delete;
  ~pool() { wr_pool_delete(p_); }

  T *get() {
    if (void *object = wr_pool_get(p_)) return static_cast<T *>(object);
    return make_ ? make_() : nullptr;
  }
  void put(T *object) {
    if (object != nullptr) wr_pool_put(p_, object);
  }

 private:
  static void dispose(void *object) { delete static_cast<T *>(object); }
  std::function<T *()> make_;
  wr_pool *p_;
};

}  // namespace warren

#endif
