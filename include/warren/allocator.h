/* warren/allocator.h: the heap's statistics and controls.
 *
 * A program that runs on warren (linked with -lwarren or under LD_PRELOAD) uses malloc, free and
 * operator new as always; their semantics are those of glibc, POSIX and C23. What is declared here
 * is in addition. C11 and C++20.
 */
#ifndef WARREN_ALLOCATOR_H
#define WARREN_ALLOCATOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Number of entries of wr_mem_stats.by_size: 67 size classes, and entry 0 for blocks above 32 KiB. */
#define WR_SIZE_CLASSES 68

/* A snapshot of the heap. All sizes in bytes, all times in nanoseconds. The meanings are those of Go's runtime.MemStats where
 * the names are the same; Go's name is given where it is another. Values are taken one after the other while other threads go
 * on, so that sums may be off by what happened in between; in a quiet process they are exact. */
struct wr_mem_stats {
  /* Blocks. A block counts with the bytes of its size class, above 32 KiB with those of its pages, not with what was asked for.
   * What a thread's cache keeps ready is not live. */
  uint64_t alloc_bytes;       /* in live blocks of malloc's, and gc_live_bytes. Grows and shrinks. (HeapAlloc) */
  uint64_t total_alloc_bytes; /* in all blocks ever allocated, and gc_total_bytes. Never shrinks: twice read, it is a rate */
  uint64_t sys_bytes;         /* mapped from the kernel: heap_sys, the maps of the heap (their part for each page of it), and
                                 metadata_sys. Address space: what was never touched or was given back takes no memory */
  uint64_t mallocs;           /* blocks of malloc's ever allocated; a realloc that moves counts as one more */
  uint64_t frees;             /* blocks of malloc's ever freed; mallocs - frees blocks live */

  /* Pages of 8 KiB. heap_sys = heap_idle + heap_inuse. */
  uint64_t heap_sys;          /* the part of the arena that is in use or was */
  uint64_t heap_idle;         /* of it: in free runs */
  uint64_t heap_inuse;        /* of it: in spans that hold blocks or objects, or are kept for the next ones. What of it is not
                                 alloc_bytes and not cache_inuse is lost to fragmentation, or free inside of spans */
  uint64_t heap_released;     /* of heap_idle: given back to the kernel, or never touched; takes no memory */
  uint64_t heap_objects;      /* live blocks of malloc's: mallocs - frees */

  /* The heap's own. */
  uint64_t stacks_inuse;      /* address space of fibers' stacks, free ones too; memory stands behind what was touched. Not in
                                 sys_bytes. (StackSys) */
  uint64_t span_inuse;        /* descriptors of spans; in metadata_sys. (MSpanInuse) */
  uint64_t cache_inuse;       /* free blocks that wait in threads' caches; in heap_inuse, not in alloc_bytes */
  uint64_t metadata_sys;      /* descriptors of spans, threads' caches, tables of the collector and the profiler. (OtherSys) */
  uint64_t scavenged_bytes;   /* given back to the kernel so far by the scavenger and for memlimit; not what
                                 wr_release_free_memory gave back */
  uint64_t scavenger_ns;      /* processor time that the scavenger has had */

  /* The collector; 0 where it was never used. */
  uint64_t next_gc;           /* bytes of collected objects at which the next collection is to end: the goal, from gogc and memlimit */
  uint64_t last_gc_unix_ns;   /* end of the last collection, since 1970; 0 for none. (LastGC) */
  uint64_t pause_total_ns;    /* for which collections have stopped the program, summed over all stops */
  uint64_t num_gc;            /* collections completed */
  uint64_t pause_longest_ns;  /* the longest single stop */
  uint64_t gc_live_bytes;     /* in collected objects: what the last collection left, and all that came since */
  uint64_t gc_total_bytes;    /* in collected objects ever allocated */

  /* By size class, malloc's blocks only. Entry 0 is for blocks above 32 KiB, which have no class. (BySize) */
  struct {
    uint32_t size;            /* bytes of a block; 0 in entry 0 */
    uint64_t mallocs;
    uint64_t frees;
  } by_size[WR_SIZE_CLASSES];
};

/* Fills *out. Takes the heap's locks one by one: not from a signal handler. Source: Go's
 * runtime.ReadMemStats, but nothing is stopped. */
void wr_read_mem_stats(struct wr_mem_stats *out);

/* Gives all free memory back to the kernel now, the calling thread's cache included; blocks in the caches
 * of other threads stay there. Returns the bytes given back. Any thread; not from a signal handler.
 * Source: Go's debug.FreeOSMemory. */
size_t wr_release_free_memory(void);

/* The bytes malloc(size) would occupy: size rounded up to its class, above 32 KiB to pages of 8 KiB;
 * 0 for a size that can never be had. Any thread, signal-safe. */
size_t wr_size_class(size_t size);

/* Sets a key of WARREN_CONF while the program runs. 0; ENOENT for no such key; EPERM for a key that is
 * read at the start only; EINVAL for a value outside its range, and the old one stays. Any thread. */
int wr_conf_set(const char *key, const char *value);

/* Writes the value of a key as text, with a terminating NUL, into at most `size` bytes at `out`. Returns
 * the length of the whole text as snprintf does, or -1 for no such key. Any thread. */
int wr_conf_get(const char *key, char *out, size_t size);

/* Writes a heap dump: every live object of malloc's and of the collector's, what each points to, and the roots. 0, or an
 * errno, and what was at `path` before is still there. The program is stopped for some milliseconds a GiB; the file is written
 * by a copy of the process meanwhile, and complete when the call returns. `./warren heap FILE` shows it. Any thread; not from a
 * signal handler. Source: Go's debug.WriteHeapDump. */
int wr_heap_dump(const char *path);

#ifdef __cplusplus
}
#endif

#endif
