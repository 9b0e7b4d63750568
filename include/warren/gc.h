/* warren/gc.h: memory that nobody frees.
 *
 * Objects from wr_gc_malloc live for as long as the collector finds a word that points to or into them: in the stacks
 * and registers of threads and fibers, in thread-local storage, in the data segments of the program and of each loaded
 * library, in ranges added by wr_gc_add_root, in exceptions that are in flight, and in other such objects. Words in memory
 * from malloc are not looked at, nor exceptions that only an exception_ptr holds, unless WARREN_CONF=malloc_roots=1.
 * Pointers that are hidden (combined with others, tagged in their high bits, kept in files) do not count. The collector
 * runs beside the program and stops it twice a cycle, for fractions of a millisecond; no store needs to be announced.
 * C11 and C++20.
 *
 * Any function here may be called from any thread, none from a signal handler.
 */
#ifndef WARREN_GC_H
#define WARREN_GC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A zeroed object of `size` bytes, aligned to 16 where its size class is (to 8 for sizes of 17 to 24), whose words may
 * be pointers to others. NULL: no memory, not even after a collection; errno is ENOMEM. Source: Go's new, Boehm's GC_malloc. */
void *wr_gc_malloc(size_t size);

/* The same for contents without pointers: they are never read. Objects below 16 bytes share blocks, aligned to 8, 4, 2 or 1 as
 * their size is; a block lives as long as one of them, and wr_gc_base() gives its start. Source: Boehm's GC_malloc_atomic, Go's tiny allocator. */
void *wr_gc_malloc_noscan(size_t size);

/* An object that begins at a multiple of `alignment`: a power of two of up to 8192. Takes up to twice the memory. NULL and
 * EINVAL: another alignment. Resized, it may lose its alignment. Source: aligned_alloc, Boehm's GC_memalign. */
void *wr_gc_malloc_aligned(size_t alignment, size_t size, int noscan);

/* Another size for an object, its kind and its contents kept; new bytes are zero. NULL object: wr_gc_malloc. Size 0:
 * wr_gc_free, returns NULL. NULL and ENOMEM: the object is as before. (Of an object that
 * shares a block the size is not known: the contents of its neighbours may be copied along.) Finalizers and weak references stay with the old
 * object. Source: realloc. */
void *wr_gc_realloc(void *object, size_t size);

/* Optional: releases an object early. NULL does nothing. A pointer that is not the start of a live object ends the
 * process with a message (WARREN_CONF=abort_on_error=0: is ignored). Its finalizer does not run. From then on
 * all cycles are full: minor ones do not see that a word which dangles has come to point to another object. Source: GC_free. */
void wr_gc_free(void *object);

/* fn(object, argument) is called, on a thread of its own, after the object was found unreachable; in that cycle the object
 * and what it refers to live on. One at most for an object; fn NULL removes it. An object that another one with a
 * finalizer refers to waits until that one is gone; rings with finalizers never go. Not promised before exit. The child of a
 * fork has those that were due as well, and calls them after its first cycle. fn may end its thread: the next cycle starts another.
 * 0; EINVAL: not the start of an object; EEXIST: it has one; ENOMEM. Source: Go's SetFinalizer. */
int wr_gc_set_finalizer(void *object, void (*fn)(void *object, void *argument), void *argument);

/* A reference that keeps nothing alive; may be stored and copied anywhere. Zero is one to nothing. */
typedef struct wr_weak {
  uint64_t value;
} wr_weak;

/* A weak reference to the object that `object` points into; to nothing if it is none, or for want of memory. */
wr_weak wr_weak_make(void *object);

/* The start of the object, which the caller thereby holds; NULL once it was found unreachable, which is before its
 * finalizer runs, and for ever. Source: Go's weak.Pointer. */
void *wr_weak_get(wr_weak reference);

/* The aligned words in [lo, hi) are roots. Ranges may overlap; removing takes away any part. Source: GC_add_roots. */
void wr_gc_add_root(const void *lo, const void *hi);
void wr_gc_remove_root(const void *lo, const void *hi);

/* Zeroed memory from malloc whose words are roots for as long as it lives, and what frees it (NULL: nothing). NULL and ENOMEM:
 * no memory. Source: Boehm's GC_malloc_uncollectable. */
void *wr_gc_malloc_rooted(size_t size);
void wr_gc_free_rooted(void *memory);

/* A whole cycle that begins after the call, swept before it returns. With WARREN_CONF=gc=collect also a search for blocks from
 * malloc that nothing leads to, which are free when it returns. Source: runtime.GC. */
void wr_gc_collect(void);

/* A cycle starts so that it ends when the heap has grown by so many percent over what was live. Negative: never. Returns the
 * value before, -1 for off. Initially 100, or WARREN_CONF=gogc. Source: debug.SetGCPercent. */
int wr_gc_set_percent(int percent);

/* Bytes that heap and runtime are to stay below by collecting more often, as long as that does not take more than half of
 * the time. Negative: only asks. Returns the value before, INT64_MAX for none. Source: debug.SetMemoryLimit. */
int64_t wr_gc_set_memory_limit(int64_t limit);

/* Whether `p` points to or into a live object; its start, or NULL; and the bytes it may use, of which there may be more than were
 * asked for, or 0. */
int wr_gc_is_object(const void *p);
void *wr_gc_base(const void *p);
size_t wr_gc_size(const void *p);

#ifdef __cplusplus
}  // extern "C"

#include <cstdlib>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

namespace warren::gc {

// Whether objects of T hold no pointers. True for numbers, enumerations and arrays of them; say so for a class of your
// own by specializing it.
template <class T>
struct is_noscan : std::bool_constant<std::is_arithmetic_v<T> || std::is_enum_v<T>> {};
template <class T, size_t N>
struct is_noscan<T[N]> : is_noscan<T> {};
template <class T>
struct is_noscan<const T> : is_noscan<T> {};
template <class T>
inline constexpr bool is_noscan_v = is_noscan<T>::value;

namespace detail {

[[noreturn]] inline void no_memory() {
#ifdef __cpp_exceptions
  throw std::bad_alloc();
#else
  std::abort();
#endif
}

template <class T>
void *allocate(size_t bytes) {
  static_assert(alignof(T) <= 8192, "the collector's objects are aligned to 8192 bytes at most");
  if constexpr (alignof(T) > 16) {
    void *aligned = wr_gc_malloc_aligned(alignof(T), bytes, is_noscan_v<T>);
    if (aligned == nullptr) no_memory();
    return aligned;
  }
  // Sizes whose class is aligned to 8 only are rounded up where more is asked for.
  if constexpr (alignof(T) > 8) bytes = (bytes + 15) & ~size_t{15};
  if constexpr (is_noscan_v<T> && alignof(T) > 1) bytes = (bytes + alignof(T) - 1) & ~(alignof(T) - 1);
  void *memory = is_noscan_v<T> ? wr_gc_malloc_noscan(bytes) : wr_gc_malloc(bytes);
  if (memory == nullptr) no_memory();
  return memory;
}

template <class T>
void destroy(void *object, void *) {
  static_cast<T *>(object)->~T();
}

template <class T>
void destroy_array(void *object, void *count) {
  T *elements = static_cast<T *>(object);
  for (size_t i = reinterpret_cast<size_t>(count); i-- > 0;) elements[i].~T();
}

// Takes back the elements that there are when a constructor throws.
template <class T>
struct unfinished_array {
  T *elements;
  size_t count = 0;
  ~unfinished_array() { destroy_array<T>(elements, reinterpret_cast<void *>(count)); }
};

inline void need(int error) {
  if (error != 0) no_memory();
}

}  // namespace detail

// A new T. A destructor that does something becomes the object's finalizer.
template <class T, class... Args>
T *make(Args &&...args) {
  void *memory = detail::allocate<T>(sizeof(T));
  T *object = ::new (memory) T(std::forward<Args>(args)...);
  if constexpr (!std::is_trivially_destructible_v<T>) detail::need(wr_gc_set_finalizer(object, detail::destroy<T>, nullptr));
  return object;
}

// n value-initialized Ts.
template <class T>
T *make_array(size_t n) {
  if (n > std::numeric_limits<size_t>::max() / 2 / sizeof(T)) detail::no_memory();
  T *elements = static_cast<T *>(detail::allocate<T>(n * sizeof(T)));
  if constexpr (!std::is_trivially_default_constructible_v<T>) {
    detail::unfinished_array<T> made{elements};
    for (; made.count < n; ++made.count) ::new (static_cast<void *>(elements + made.count)) T();
    made.count = 0;
  }
  if constexpr (!std::is_trivially_destructible_v<T>) {
    detail::need(wr_gc_set_finalizer(elements, detail::destroy_array<T>, reinterpret_cast<void *>(n)));
  }
  return elements;
}

// For standard containers: their nodes are the collector's, and never have to be given back.
template <class T>
struct allocator {
  using value_type = T;
  constexpr allocator() noexcept = default;
  template <class U>
  constexpr allocator(const allocator<U> &) noexcept {}
  T *allocate(size_t n) {
    if (n > std::numeric_limits<size_t>::max() / 2 / sizeof(T)) detail::no_memory();
    return static_cast<T *>(detail::allocate<T>(n * sizeof(T)));
  }
  void deallocate(T *elements, size_t) noexcept { wr_gc_free(elements); }
  template <class U>
  constexpr bool operator==(const allocator<U> &) const noexcept {
    return true;
  }
};

// Refers to an object without keeping it alive.
template <class T>
class weak {
 public:
  weak() noexcept = default;
  weak(std::nullptr_t) noexcept {}
  weak(T *object) : reference_(object == nullptr ? wr_weak{0} : wr_weak_make(const_cast<std::remove_cv_t<T> *>(object))) {
    if (object != nullptr && reference_.value == 0) detail::no_memory();
    if (object != nullptr) offset_ = reinterpret_cast<const volatile char *>(object) - static_cast<const volatile char *>(wr_gc_base(const_cast<std::remove_cv_t<T> *>(object)));
  }
  // The object, or nullptr once it was found unreachable.
  T *get() const {
    char *start = static_cast<char *>(wr_weak_get(reference_));
    return start == nullptr ? nullptr : reinterpret_cast<T *>(start + offset_);
  }
  T *lock() const { return get(); }
  explicit operator bool() const { return get() != nullptr; }
  void reset() noexcept { *this = weak(); }

 private:
  wr_weak reference_{0};
  std::ptrdiff_t offset_ = 0;
};

inline void collect() { wr_gc_collect(); }
inline int set_percent(int percent) { return wr_gc_set_percent(percent); }
inline int64_t set_memory_limit(int64_t limit) { return wr_gc_set_memory_limit(limit); }

}  // namespace warren::gc

#endif
#endif
