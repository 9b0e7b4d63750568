/* warren/context.h: contexts in C. Part of warren/scheduler.h; warren/context_cxx.h is the C++ face.
 *
 * A context says when work that several fibers share is to end, and carries values to it. Contexts form a tree: what
 * ends a context ends all below it. No fiber is needed for that, nor for a deadline. Source: Go's context package.
 */
#ifndef WARREN_CONTEXT_H
#define WARREN_CONTEXT_H

#include <warren/channel.h>

#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

typedef struct wr_context wr_context;

enum wr_context_error { WR_CONTEXT_NONE = 0, WR_CONTEXT_CANCELED = 1, WR_CONTEXT_DEADLINE_EXCEEDED = 2 };

/* The root: never canceled. It needs no references, and takes them. */
wr_context *wr_context_background(void);

/* Each has one reference and refers to its parent. NULL: no memory. The deadline is in nanoseconds of
 * CLOCK_MONOTONIC. */
wr_context *wr_context_with_cancel(wr_context *parent);
wr_context *wr_context_with_deadline(wr_context *parent, uint64_t deadline);
wr_context *wr_context_without_cancel(wr_context *parent); /* the values only */

/* find(entry, query) returns 1 if the entry is what the query is for, and puts its value where the query says.
 * drop(entry) is called with the last reference gone, and must not wait; NULL: nothing to do. */
wr_context *wr_context_with_value(wr_context *parent, void *entry, int (*find)(void *entry, void *query),
                                  void (*drop)(void *entry));

/* Runs fn(argument) on a fiber of its own once the parent has ended; wr_context_cancel of the result returns 1 if it
 * has kept that from happening. drop(argument), if not NULL, comes after fn, or instead. Source: context.AfterFunc. */
wr_context *wr_context_after_func(wr_context *parent, void (*fn)(void *argument), void *argument,
                                  void (*drop)(void *argument));

void wr_context_ref(wr_context *c);
void wr_context_unref(wr_context *c);

/* 1: it was this call that ended it. Contexts that have no end of their own (background, values) are left alone. */
int wr_context_cancel(wr_context *c);

/* A channel that is closed when the context ends: the context's reference. NULL: it never ends, or there is no
 * memory. */
wr_chan *wr_context_done(wr_context *c);
enum wr_context_error wr_context_err(const wr_context *c);
uint64_t wr_context_deadline(const wr_context *c); /* UINT64_MAX: none */

/* Asks the entries from here upwards, nearest first. 1: one had it. */
int wr_context_value(wr_context *c, void *query);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
