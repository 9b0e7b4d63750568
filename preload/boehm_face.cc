// The names of Boehm's collector (libgc.so.1) over this one, for programs that were built against that: libwarren-gc.so.1.
//
// Different from the original: cycles are concurrent, finalizers run on a thread of their own, and GC_invoke_finalizers has nothing
// to do; an object that refers to itself is never finalized, whatever the order that was asked for; the debugging functions
// are the plain ones. Not here: disappearing links, kinds and mark procedures, GC_finalized_malloc. A program that needs them is
// told so by the loader.
//
// Callers: programs. Invariant: only this library's public functions are used, so that the one collector of the process
// serves, wherever it was loaded from. Signatures are those of gc.h 8.2.
#include "warren/allocator.h"
#include "warren/gc.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

namespace {

using Word = unsigned long;
using Finalizer = void (*)(void *object, void *data);
using OutOfMemory = void *(*)(size_t size);
using Warn = void (*)(char *format, Word argument);

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

class Locked {
 public:
  Locked() { pthread_mutex_lock(&lock); }
  ~Locked() { pthread_mutex_unlock(&lock); }
  Locked(const Locked &) = delete;
  Locked &operator=(const Locked &) = delete;
};

__attribute__((constructor)) void keep_whole_over_fork() {
  pthread_atfork([] { pthread_mutex_lock(&lock); }, [] { pthread_mutex_unlock(&lock); },
                 [] { pthread_mutex_unlock(&lock); });
}

void warn_by_default(char *format, Word argument) {
  fprintf(stderr, "GC Warning: ");
  fprintf(stderr, format, argument);
}
void ignore_warning(char *, Word) {}

OutOfMemory out_of_memory = nullptr;
Warn warn = warn_by_default;
Word freed_by_hand = 0;

// As the original's granules are: a multiple of 16, so that every object is aligned to 16 and none shares its place.
size_t rounded(size_t size) {
  if (size > static_cast<size_t>(PTRDIFF_MAX)) return size;
  return size == 0 ? 16 : (size + 15) & ~size_t{15};
}

void *or_out_of_memory(void *object, size_t size) {
  return object != nullptr || out_of_memory == nullptr ? object : out_of_memory(size);
}

void *make(size_t size) { return or_out_of_memory(wr_gc_malloc(rounded(size)), size); }
void *make_atomic(size_t size) { return or_out_of_memory(wr_gc_malloc_noscan(rounded(size)), size); }

// --- blocks that live until they are freed, and are roots ---

struct alignas(16) Header {
  uint64_t magic;
  size_t size;
};
constexpr uint64_t kMagic = 0x756e636f6c6c6563;

void *make_uncollectable(size_t size) {
  if (size > static_cast<size_t>(PTRDIFF_MAX)) return or_out_of_memory(nullptr, size);
  auto *header = static_cast<Header *>(wr_gc_malloc_rooted(sizeof(Header) + rounded(size)));
  if (header == nullptr) return or_out_of_memory(nullptr, size);
  *header = {kMagic, rounded(size)};
  return header + 1;
}

// nullptr: of this heap, or no block at all.
Header *header_of(void *block) {
  if (wr_gc_is_object(block) != 0) return nullptr;
  Header *header = static_cast<Header *>(block) - 1;
  return reinterpret_cast<uintptr_t>(block) % 16 == 0 && header->magic == kMagic ? header : nullptr;
}

void free_uncollectable(Header *header) {
  header->magic = 0;
  wr_gc_free_rooted(header);
}

// --- finalizers: the original tells which function was there before ---

struct Registration {
  Registration *next;
  uintptr_t hidden;  // the object, as its complement: it must be able to die
  Finalizer function;
  void *data;
};

// Under the lock. Four times as many buckets when each has two.
Registration **buckets = nullptr;
size_t bucket_count = 0, registered = 0;

Registration **link_of(uintptr_t hidden) {
  Registration **link = &buckets[(hidden * 0x9e3779b97f4a7c15 >> 32) & (bucket_count - 1)];
  while (*link != nullptr && (*link)->hidden != hidden) link = &(*link)->next;
  return link;
}

bool make_buckets() {
  if (registered < 2 * bucket_count) return true;
  const size_t count = bucket_count == 0 ? 64 : 4 * bucket_count;
  auto **fresh = static_cast<Registration **>(calloc(count, sizeof(Registration *)));
  if (fresh == nullptr) return bucket_count != 0;
  Registration **const old = buckets;
  const size_t old_count = bucket_count;
  buckets = fresh;
  bucket_count = count;
  for (size_t i = 0; i < old_count; ++i) {
    while (Registration *moved = old[i]) {
      old[i] = moved->next;
      moved->next = nullptr;
      *link_of(moved->hidden) = moved;
    }
  }
  free(old);
  return true;
}

// The registration, which is in no list any more; nullptr: there is none.
Registration *take(uintptr_t hidden) {
  if (registered == 0) return nullptr;
  Registration **link = link_of(hidden);
  Registration *found = *link;
  if (found == nullptr) return nullptr;
  *link = found->next;
  --registered;
  return found;
}

void run_finalizer(void *object, void *) {
  Registration *found;
  {
    const Locked locked;
    found = take(~reinterpret_cast<uintptr_t>(object));
  }
  if (found == nullptr) return;
  const Finalizer function = found->function;
  void *const data = found->data;
  wr_gc_free_rooted(found);
  function(object, data);
}

void set_finalizer(void *object, Finalizer function, void *data, Finalizer *old_function, void **old_data) {
  const uintptr_t hidden = ~reinterpret_cast<uintptr_t>(object);
  const Locked locked;
  Registration *found = take(hidden);
  if (old_function != nullptr) *old_function = found == nullptr ? nullptr : found->function;
  if (old_data != nullptr) *old_data = found == nullptr ? nullptr : found->data;
  if (function == nullptr) {
    if (found == nullptr) return;
    wr_gc_set_finalizer(object, nullptr, nullptr);
    wr_gc_free_rooted(found);
    return;
  }
  const bool is_new = found == nullptr;
  if (is_new) found = static_cast<Registration *>(wr_gc_malloc_rooted(sizeof(Registration)));
  if (found == nullptr || !make_buckets() || (is_new && wr_gc_set_finalizer(object, run_finalizer, nullptr) != 0)) {
    wr_gc_free_rooted(found);  // of what is no object there is none, as in the original
    return;
  }
  *found = {nullptr, hidden, function, data};
  *link_of(hidden) = found;
  ++registered;
}

void forget_finalizer(void *object) {
  if (__atomic_load_n(&registered, __ATOMIC_RELAXED) == 0) return;  // relaxed: it is this object's own thread's affair
  Registration *found;
  {
    const Locked locked;
    found = take(~reinterpret_cast<uintptr_t>(object));
  }
  wr_gc_free_rooted(found);
}

void release(void *block) {
  if (block == nullptr) return;
  if (Header *header = header_of(block)) return free_uncollectable(header);
  forget_finalizer(block);
  wr_gc_free(block);
}

void *resize(void *block, size_t size) {
  if (block == nullptr) return make(size);
  if (size == 0) {
    release(block);
    return nullptr;
  }
  if (Header *header = header_of(block)) {
    void *fresh = make_uncollectable(size);
    if (fresh == nullptr) return nullptr;
    memcpy(fresh, block, header->size < size ? header->size : size);
    free_uncollectable(header);
    return fresh;
  }
  void *fresh = wr_gc_realloc(block, rounded(size));
  if (fresh != block && fresh != nullptr) forget_finalizer(block);
  return or_out_of_memory(fresh, size);
}

char *copy_text(const char *text, size_t length) {
  if (text == nullptr) return nullptr;
  auto *copy = static_cast<char *>(make_atomic(length + 1));
  if (copy == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

void *make_aligned(size_t align, size_t size) {
  if (align <= 16) return make(size);
  if (align > 4096 || size > static_cast<size_t>(PTRDIFF_MAX)) return or_out_of_memory(nullptr, size);
  // An object is kept by a pointer into it.
  auto *object = static_cast<char *>(make(size + align));
  if (object == nullptr) return nullptr;
  return object + (align - reinterpret_cast<uintptr_t>(object) % align) % align;
}

// --- turned off and on ---

int disabled = 0;
int percent_before = 0;

void disable() {
  const Locked locked;
  if (disabled++ == 0) percent_before = wr_gc_set_percent(-1);
}
void enable() {
  const Locked locked;
  if (disabled != 0 && --disabled == 0) wr_gc_set_percent(percent_before);
}
bool is_disabled() { return __atomic_load_n(&disabled, __ATOMIC_RELAXED) != 0; }  // relaxed: as with the original, who races may lose

wr_mem_stats stats() {
  wr_mem_stats now;
  wr_read_mem_stats(&now);
  return now;
}

}  // namespace

#define FACE extern "C" __attribute__((visibility("default")))

// Data that programs set or read. What is set has no effect.
FACE int GC_all_interior_pointers, GC_no_dls, GC_java_finalization, GC_finalize_on_demand, GC_find_leak, GC_parallel, GC_dont_gc,
    GC_dont_expand, GC_use_entire_heap, GC_full_freq, GC_dont_precollect, GC_quiet;
int GC_all_interior_pointers = 1, GC_no_dls = 0, GC_java_finalization = 0, GC_finalize_on_demand = 0, GC_find_leak = 0,
    GC_parallel = 1, GC_dont_gc = 0, GC_dont_expand = 0, GC_use_entire_heap = 0, GC_full_freq = 19, GC_dont_precollect = 0, GC_quiet = 0;
FACE Word GC_gc_no, GC_free_space_divisor, GC_max_retries, GC_non_gc_bytes, GC_time_limit;
Word GC_gc_no = 0, GC_free_space_divisor = 3, GC_max_retries = 0, GC_non_gc_bytes = 0, GC_time_limit = 50;
FACE void *GC_stackbottom;
void *GC_stackbottom = nullptr;

// --- allocation ---

FACE void *GC_malloc(size_t size) { return make(size); }
FACE void *GC_malloc_atomic(size_t size) { return make_atomic(size); }
FACE void *GC_malloc_stubborn(size_t size) { return make(size); }
FACE void *GC_malloc_ignore_off_page(size_t size) { return make(size); }
FACE void *GC_malloc_atomic_ignore_off_page(size_t size) { return make_atomic(size); }
FACE void *GC_malloc_uncollectable(size_t size) { return make_uncollectable(size); }
FACE void *GC_malloc_atomic_uncollectable(size_t size) { return make_uncollectable(size); }
FACE void *GC_realloc(void *block, size_t size) { return resize(block, size); }
FACE void GC_free(void *block) {
  ++freed_by_hand;
  release(block);
}
FACE char *GC_strdup(const char *text) { return copy_text(text, text == nullptr ? 0 : strlen(text)); }
FACE char *GC_strndup(const char *text, size_t most) { return copy_text(text, strnlen(text, most)); }
FACE void *GC_memalign(size_t align, size_t size) { return make_aligned(align, size); }
FACE int GC_posix_memalign(void **out, size_t align, size_t size) {
  if (align < sizeof(void *) || (align & (align - 1)) != 0) return EINVAL;
  void *object = make_aligned(align, size);
  if (object == nullptr) return ENOMEM;
  *out = object;
  return 0;
}
// A list of fresh objects, each linked to the next by its first word.
FACE void *GC_malloc_many(size_t size) {
  void *first = nullptr;
  for (int i = 0; i < 32; ++i) {
    void *object = make(size < sizeof(void *) ? sizeof(void *) : size);
    if (object == nullptr) break;
    memcpy(object, &first, sizeof first);
    first = object;
  }
  return first;
}
FACE Word GC_make_descriptor(const Word *, size_t) { return 0; }
FACE void *GC_malloc_explicitly_typed(size_t size, Word) { return make(size); }
FACE void *GC_calloc_explicitly_typed(size_t count, size_t size, Word) {
  size_t bytes;
  return __builtin_mul_overflow(count, size, &bytes) ? or_out_of_memory(nullptr, SIZE_MAX) : make(bytes);
}

FACE void *GC_debug_malloc(size_t size, const char *, int) { return make(size); }
FACE void *GC_debug_malloc_atomic(size_t size, const char *, int) { return make_atomic(size); }
FACE void *GC_debug_malloc_stubborn(size_t size, const char *, int) { return make(size); }
FACE void *GC_debug_malloc_ignore_off_page(size_t size, const char *, int) { return make(size); }
FACE void *GC_debug_malloc_atomic_ignore_off_page(size_t size, const char *, int) { return make_atomic(size); }
FACE void *GC_debug_malloc_uncollectable(size_t size, const char *, int) { return make_uncollectable(size); }
FACE void *GC_debug_malloc_atomic_uncollectable(size_t size, const char *, int) { return make_uncollectable(size); }
FACE void *GC_debug_malloc_replacement(size_t size) { return make(size); }
FACE void *GC_debug_realloc_replacement(void *block, size_t size) { return resize(block, size); }
FACE void *GC_debug_realloc(void *block, size_t size, const char *, int) { return resize(block, size); }
FACE void GC_debug_free(void *block) { GC_free(block); }
FACE char *GC_debug_strdup(const char *text, const char *, int) { return GC_strdup(text); }
FACE char *GC_debug_strndup(const char *text, size_t most, const char *, int) { return GC_strndup(text, most); }

// --- objects ---

FACE void *GC_base(void *pointer) {
  void *base = wr_gc_base(pointer);
  if (base != nullptr) return base;
  return reinterpret_cast<uintptr_t>(pointer) > 4096 && header_of(pointer) != nullptr ? pointer : nullptr;
}
FACE size_t GC_size(const void *object) {
  const Header *header = header_of(const_cast<void *>(object));
  return header != nullptr ? header->size : wr_gc_size(object);
}
FACE int GC_is_heap_ptr(const void *pointer) { return wr_gc_is_object(pointer); }
FACE void *GC_same_obj(void *pointer, void *) { return pointer; }
FACE void *GC_is_visible(void *pointer) { return pointer; }
FACE void *GC_is_valid_displacement(void *pointer) { return pointer; }
FACE void GC_register_displacement(size_t) {}
FACE void GC_debug_register_displacement(size_t) {}
FACE void GC_ptr_store_and_dirty(void *place, const void *value) { *static_cast<const void **>(place) = value; }
FACE void GC_debug_ptr_store_and_dirty(void *place, const void *value) { *static_cast<const void **>(place) = value; }
FACE void GC_end_stubborn_change(const void *) {}
FACE void GC_debug_end_stubborn_change(const void *) {}
FACE void GC_change_stubborn(const void *) {}
FACE void GC_debug_change_stubborn(const void *) {}
FACE void GC_reachable_here(const void *) {}

#define FINALIZER_FUNCTION(name)                                                                            \
  FACE void name(void *object, Finalizer function, void *data, Finalizer *old_function, void **old_data) { \
    set_finalizer(object, function, data, old_function, old_data);                                         \
  }
FINALIZER_FUNCTION(GC_register_finalizer)
FINALIZER_FUNCTION(GC_register_finalizer_ignore_self)
FINALIZER_FUNCTION(GC_register_finalizer_no_order)
FINALIZER_FUNCTION(GC_register_finalizer_unreachable)
FINALIZER_FUNCTION(GC_debug_register_finalizer)
FINALIZER_FUNCTION(GC_debug_register_finalizer_ignore_self)
FINALIZER_FUNCTION(GC_debug_register_finalizer_no_order)
FINALIZER_FUNCTION(GC_debug_register_finalizer_unreachable)
#undef FINALIZER_FUNCTION
FACE int GC_invoke_finalizers() { return 0; }
FACE int GC_should_invoke_finalizers() { return 0; }
FACE void GC_finalize_all() { wr_gc_collect(); }

// --- collections ---

FACE void GC_init() {}
FACE void GC_deinit() {}
FACE int GC_is_init_called() { return 1; }
FACE unsigned GC_get_version() { return 8u << 16 | 2u << 8 | 2u; }
FACE void GC_gcollect() {
  if (!is_disabled() && GC_dont_gc == 0) wr_gc_collect();
}
FACE void GC_gcollect_and_unmap() {
  GC_gcollect();
  wr_release_free_memory();
}
FACE int GC_try_to_collect(int (*)()) {
  GC_gcollect();
  return is_disabled() ? 0 : 1;
}
FACE int GC_collect_a_little() { return 0; }
FACE void GC_start_incremental_collection() {}
FACE void GC_disable() { disable(); }
FACE void GC_enable() { enable(); }
FACE int GC_is_disabled() { return is_disabled(); }
FACE void GC_enable_incremental() {}
FACE int GC_is_incremental_mode() { return 1; }
FACE void GC_add_roots(void *low, void *high) { wr_gc_add_root(low, high); }
FACE void GC_remove_roots(void *low, void *high) { wr_gc_remove_root(low, high); }
FACE int GC_expand_hp(size_t) { return 1; }
FACE void GC_set_max_heap_size(Word bytes) { wr_gc_set_memory_limit(bytes == 0 || bytes > INT64_MAX ? INT64_MAX : static_cast<int64_t>(bytes)); }

FACE size_t GC_get_heap_size() { return stats().heap_sys - stats().heap_released; }
FACE size_t GC_get_free_bytes() { return stats().heap_idle - stats().heap_released; }
FACE size_t GC_get_unmapped_bytes() { return stats().heap_released; }
FACE size_t GC_get_total_bytes() { return stats().gc_total_bytes; }
FACE size_t GC_get_bytes_since_gc() { return stats().gc_live_bytes; }
FACE size_t GC_get_memory_use() { return stats().heap_sys; }
FACE size_t GC_get_expl_freed_bytes_since_gc() { return freed_by_hand; }
FACE Word GC_get_gc_no() { return stats().num_gc; }
FACE void GC_get_heap_usage_safe(Word *heap, Word *idle, Word *unmapped, Word *since, Word *total) {
  const wr_mem_stats now = stats();
  if (heap != nullptr) *heap = now.heap_sys - now.heap_released;
  if (idle != nullptr) *idle = now.heap_idle - now.heap_released;
  if (unmapped != nullptr) *unmapped = now.heap_released;
  if (since != nullptr) *since = now.gc_live_bytes;
  if (total != nullptr) *total = now.gc_total_bytes;
}

FACE void GC_set_oom_fn(OutOfMemory function) { out_of_memory = function; }
FACE OutOfMemory GC_get_oom_fn() { return out_of_memory; }
FACE void GC_set_warn_proc(Warn function) { warn = function; }
FACE Warn GC_get_warn_proc() { return warn; }
FACE void GC_ignore_warn_proc(char *format, Word argument) { ignore_warning(format, argument); }

// Settings that this collector does not need.
#define SETTING(type, setter, getter, value) \
  FACE void setter(type) {}                  \
  FACE type getter() { return value; }
SETTING(int, GC_set_all_interior_pointers, GC_get_all_interior_pointers, 1)
SETTING(int, GC_set_no_dls, GC_get_no_dls, 0)
SETTING(int, GC_set_find_leak, GC_get_find_leak, 0)
SETTING(int, GC_set_java_finalization, GC_get_java_finalization, 0)
SETTING(int, GC_set_finalize_on_demand, GC_get_finalize_on_demand, 0)
SETTING(int, GC_set_dont_expand, GC_get_dont_expand, 0)
SETTING(int, GC_set_dont_precollect, GC_get_dont_precollect, 0)
SETTING(int, GC_set_full_freq, GC_get_full_freq, 19)
SETTING(int, GC_set_force_unmap_on_gcollect, GC_get_force_unmap_on_gcollect, 0)
SETTING(Word, GC_set_free_space_divisor, GC_get_free_space_divisor, 3)
SETTING(Word, GC_set_max_retries, GC_get_max_retries, 0)
SETTING(Word, GC_set_non_gc_bytes, GC_get_non_gc_bytes, 0)
SETTING(Word, GC_set_time_limit, GC_get_time_limit, 50)
SETTING(int, GC_set_suspend_signal, GC_get_suspend_signal, -1)
SETTING(int, GC_set_thr_restart_signal, GC_get_thr_restart_signal, -1)
using Notifier = void (*)();
using Resized = void (*)(Word);
SETTING(Notifier, GC_set_finalizer_notifier, GC_get_finalizer_notifier, nullptr)
SETTING(Resized, GC_set_on_heap_resize, GC_get_on_heap_resize, nullptr)
#undef SETTING
FACE void GC_set_handle_fork(int) {}
FACE void GC_set_markers_count(unsigned) {}
FACE int GC_get_parallel() { return 1; }
FACE void GC_dump() {}

// --- threads: all are known ---

struct GC_stack_base {
  void *mem_base;
};
constexpr int kSuccess = 0, kDuplicate = 1;

FACE void GC_start_mark_threads() {}
FACE void GC_allow_register_threads() {}
FACE int GC_register_my_thread(const GC_stack_base *) { return kDuplicate; }
FACE int GC_unregister_my_thread() { return kSuccess; }
FACE int GC_thread_is_registered() { return 1; }
FACE int GC_get_stack_base(GC_stack_base *out) {
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return 3;  // GC_UNIMPLEMENTED
  void *low = nullptr;
  size_t bytes = 0;
  pthread_attr_getstack(&attributes, &low, &bytes);
  pthread_attr_destroy(&attributes);
  out->mem_base = static_cast<char *>(low) + bytes;
  return kSuccess;
}
FACE void *GC_call_with_stack_base(void *(*function)(GC_stack_base *, void *), void *argument) {
  GC_stack_base base{};
  GC_get_stack_base(&base);
  return function(&base, argument);
}
FACE void *GC_call_with_alloc_lock(void *(*function)(void *), void *argument) {
  static pthread_mutex_t calls = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  pthread_mutex_lock(&calls);
  void *result = function(argument);
  pthread_mutex_unlock(&calls);
  return result;
}
FACE void *GC_do_blocking(void *(*function)(void *), void *argument) { return function(argument); }
FACE void *GC_call_with_gc_active(void *(*function)(void *), void *argument) { return function(argument); }

FACE int GC_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
  return pthread_create(thread, attributes, body, argument);
}
FACE int GC_pthread_join(pthread_t thread, void **result) { return pthread_join(thread, result); }
FACE int GC_pthread_detach(pthread_t thread) { return pthread_detach(thread); }
FACE int GC_pthread_cancel(pthread_t thread) { return pthread_cancel(thread); }
FACE void GC_pthread_exit(void *result) { pthread_exit(result); }
FACE int GC_pthread_sigmask(int how, const sigset_t *set, sigset_t *old) { return pthread_sigmask(how, set, old); }
FACE void *GC_dlopen(const char *path, int mode) { return dlopen(path, mode); }
