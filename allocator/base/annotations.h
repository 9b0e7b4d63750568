// What the compilers are told about locks and about hot and cold code.
// Invariant: each name expands to nothing that changes behaviour.
#pragma once

#if defined(__clang__)
#define WARREN_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define WARREN_THREAD_ANNOTATION(x)
#endif

#define CAPABILITY(name) WARREN_THREAD_ANNOTATION(capability(name))
#define SCOPED_CAPABILITY WARREN_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(lock) WARREN_THREAD_ANNOTATION(guarded_by(lock))
#define REQUIRES(lock) WARREN_THREAD_ANNOTATION(requires_capability(lock))
#define EXCLUDES(lock) WARREN_THREAD_ANNOTATION(locks_excluded(lock))
#define ACQUIRE(...) WARREN_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) WARREN_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) WARREN_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS WARREN_THREAD_ANNOTATION(no_thread_safety_analysis)

#define WARREN_COLD __attribute__((noinline, cold))
#define WARREN_NOINLINE __attribute__((noinline))
#define WARREN_ALWAYS_INLINE inline __attribute__((always_inline))
#define WARREN_LIKELY(x) __builtin_expect(!!(x), 1)
#define WARREN_UNLIKELY(x) __builtin_expect(!!(x), 0)

// Runs when any program starts or ends. Put together: the kernel maps the file in 64 KiB at a time around what is touched, and a dozen
// such functions all over the code had it map 200 KiB that nobody wanted.
#define WARREN_AT_START __attribute__((section(".text.startup")))

// A variable that any program's start writes to: beside others that are, and not on a page of its own (preload/sections.ld).
#define WARREN_WRITTEN_AT_START __attribute__((section(".data.at_start")))

// A zeroed table of pages that most programs never use. Behind all other variables (preload/sections.ld, or else the linker sorts sections
// by name): in between, such tables left each file's few variables on a page of their own, and start-up touched 13 pages for 300 bytes.
#define WARREN_LARGE_TABLE __attribute__((section(".bss.large")))

// Likewise, with locks in it: in debug builds they have ranks, and are not zero (base/mutex.h).
#ifdef NDEBUG
#define WARREN_LARGE_TABLE_WITH_LOCKS WARREN_LARGE_TABLE
#else
#define WARREN_LARGE_TABLE_WITH_LOCKS
#endif
