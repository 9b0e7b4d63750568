/* warren/sync.h: locks and counters to wait for, in C. Part of warren/scheduler.h; warren/sync_cxx.h is the C++ face.
 *
 * A fiber that waits parks and gives its thread to others; a plain thread sleeps. Fibers and threads may share one
 * object, and whoever locks need not be the one that unlocks. All objects start as zero bytes (WR_INIT), need no
 * destruction, must not be moved in memory, and may be destroyed as soon as the call that says so has returned: a
 * mutex by the next owner after its unlock, a wait group after its wait. The members are the scheduler's.
 */
#ifndef WARREN_SYNC_H
#define WARREN_SYNC_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#define WR_INIT {}
#else
#define WR_INIT {0}
#endif

/* Normally whoever comes first after an unlock has it; once somebody has waited for 1 ms, those that wait have it
 * in their order. Unlocking what is not locked is a fatal error. Source: sync.Mutex. */
typedef struct wr_mutex {
  uint32_t state;
  uint32_t woken_in;
  void *first;
  void *last;
} wr_mutex;
void wr_mutex_lock(wr_mutex *m);
int wr_mutex_try_lock(wr_mutex *m); /* 1: locked */
void wr_mutex_unlock(wr_mutex *m);

/* Many readers or one writer. Readers that come while a writer waits stay behind it; readers that wait when it unlocks
 * go first. Not recursive, not even for reading. Source: sync.RWMutex. */
typedef struct wr_rw_mutex {
  uint32_t lock;
  uint32_t writer;
  uint64_t readers;
  void *room[4];
} wr_rw_mutex;
void wr_rw_mutex_lock(wr_rw_mutex *m);
int wr_rw_mutex_try_lock(wr_rw_mutex *m);
void wr_rw_mutex_unlock(wr_rw_mutex *m);
void wr_rw_mutex_rlock(wr_rw_mutex *m);
int wr_rw_mutex_try_rlock(wr_rw_mutex *m);
void wr_rw_mutex_runlock(wr_rw_mutex *m);

/* Waits for a number of things to be done. Source: sync.WaitGroup. */
typedef struct wr_wait_group {
  uint32_t lock;
  uint32_t unused;
  int64_t count;
  void *room[2];
} wr_wait_group;
/* 0; -ERANGE: the count would be negative, and stays as it was. */
int wr_wait_group_add(wr_wait_group *g, int64_t delta);
void wr_wait_group_wait(wr_wait_group *g);

/* Signals wake those that wait in their order. Source: sync.Cond. */
typedef struct wr_cond {
  uint32_t lock;
  uint32_t unused;
  void *room[2];
} wr_cond;
void wr_cond_wait(wr_cond *c, wr_mutex *m); /* the caller holds m; it is unlocked while waiting */
void wr_cond_signal(wr_cond *c);
void wr_cond_broadcast(wr_cond *c);

/* A number of things to be had, given out in the order of asking. Source: golang.org/x/sync/semaphore. */
typedef struct wr_semaphore {
  uint32_t lock;
  uint32_t unused;
  int64_t available; /* the first value is the caller's to write */
  void *room[2];
} wr_semaphore;
void wr_semaphore_acquire(wr_semaphore *s, int64_t n);
int wr_semaphore_try_acquire(wr_semaphore *s, int64_t n); /* 1: acquired */
void wr_semaphore_release(wr_semaphore *s, int64_t n);

/* if (wr_once_begin(&once)) { …; wr_once_end(&once); } Others wait in wr_once_begin until the first is at its end, and
 * get 0. */
typedef struct wr_once {
  uint32_t done;
  uint32_t unused;
  wr_mutex mutex;
} wr_once;
int wr_once_begin(wr_once *o);
void wr_once_end(wr_once *o);

/* A store of objects that are costly to make. What has not been asked for during two cycles of the collector is
 * dropped. `dispose` may be NULL; it is not called for objects of the collector's heap. Source: sync.Pool. */
typedef struct wr_pool wr_pool;
wr_pool *wr_pool_make(void (*dispose)(void *object));
void wr_pool_delete(wr_pool *p);
void wr_pool_put(wr_pool *p, void *object);
void *wr_pool_get(wr_pool *p); /* NULL: it is empty */

/* Called by the collector once a cycle, while the program runs, from where finalizers may run. */
void wr_pool_cycle(void);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
